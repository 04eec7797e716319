//! Any bytes as schema, regular expression or grammar: an error or a constraint whose first steps
//! work, never a panic or a hang. `-- -dict=dictionaries/schemas.dict` knows the keywords of schemas.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slmd::bundle::Bundle;
use slmd::core::tool::{Tool, ToolChoice};
use slmd::runtime::{AskedForm, Model};
use slmd::sample::{Masked, ResponseShape};
use std::sync::OnceLock;

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let bundle = Bundle::default_model().expect("the embedded model");
        Model::new(&bundle, &[]).expect("its text side")
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = || String::from_utf8_lossy(rest).into_owned();
    let schema = || serde_json::from_slice(rest).ok();
    let shape = match kind % 4 {
        0 => Some(ResponseShape::Regex(text())),
        1 => Some(ResponseShape::Lark(text())),
        2 => schema().map(ResponseShape::JsonSchema),
        _ => schema().and_then(|parameters| {
            let (name, description) = ("tool".to_owned(), String::new());
            let tool = Tool { name, description, parameters };
            match model().calls(&[tool], &ToolChoice::Required, true, None) {
                Ok(AskedForm::Shape(shape)) => Some(shape),
                _ => None,
            }
        }),
    };
    let Some(shape) = shape else { return };
    let Ok(mut constraint) = model().grammars.compile(&shape) else { return };
    for _ in 0..8 {
        let _ = constraint.closing();
        let Ok(Masked::Tokens(mask)) = constraint.mask() else { return };
        let token = mask.ids().next().expect("a mask has a token");
        if constraint.advance(token).is_err() || constraint.must_stop() {
            return;
        }
    }
});
