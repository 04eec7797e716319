//! Any bytes as chat template and message: an error or a prompt, never a panic or a hang, and never
//! a control token that the message wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slmd::bundle::Bundle;
use slmd::runtime::Model;
use slmd::text::{ChatTemplate, Conversation};
use std::sync::{Arc, OnceLock};

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let bundle = Bundle::default_model().expect("the embedded model");
        Model::new(&bundle, &[]).expect("its text side")
    })
}

fuzz_target!(|data: (&str, &str)| {
    let (source, message) = data;
    let tokenizer = &model().tokenizer;
    let mut conversation = Conversation::new(tokenizer.names());
    conversation.push("user", message);
    if let Ok(template) = ChatTemplate::new(source, Arc::new(|| 0))
        && let Ok(rendered) = template.render(&conversation, tokenizer.control())
    {
        _ = tokenizer.encode_rendered(&rendered);
    }
    _ = tokenizer.encode(message, true);
});
