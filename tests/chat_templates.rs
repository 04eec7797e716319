//! Chat templates render as in transformers: goldens made by `goldens/chat_templates.py`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use sha2::{Digest, Sha256};
use slmd::text::{ChatTemplate, ControlTokens, Conversation, SpecialNames, TextError, ToolFormat};
use std::path::PathBuf;
use std::sync::Arc;

/// 2025-07-10 12:10:45, where the clock of the goldens stands.
const NOW: i64 = 1_752_149_445;

fn goldens() -> Value {
    serde_json::from_str(include_str!("goldens/chat_templates.json")).unwrap()
}

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let path = path.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    path.is_dir().then_some(path)
}

fn conversation(context: &Value) -> Conversation {
    let mut out = Conversation::default();
    for (key, value) in context.as_object().unwrap() {
        let special = ["bos_token", "eos_token"].into_iter().find(|s| s == key);
        match (key.as_str(), special) {
            (_, Some(name)) => out.special.push((name, value.as_str().unwrap().to_owned())),
            ("messages", _) => out.messages = value.as_array().unwrap().clone(),
            ("tools", _) => out.tools = value.as_array().cloned(),
            ("add_generation_prompt", _) => out.add_generation_prompt = value.as_bool().unwrap(),
            _ => drop(out.vars.insert(key.clone(), value.clone())),
        }
    }
    out
}

fn render(source: &str, context: &Value) -> Result<String, TextError> {
    let template = ChatTemplate::new(source, Arc::new(|| NOW))?;
    Ok(template.render(&conversation(context), &ControlTokens::none())?.text())
}

#[test]
fn our_own_templates_render_as_in_transformers() {
    let goldens = goldens();
    let mut wrong = Vec::new();
    for case in goldens["own"].as_array().unwrap() {
        let got = render(case["template"].as_str().unwrap(), &goldens["values"]);
        match (case["text"].as_str(), got) {
            (Some(want), Ok(got)) if want == got => {}
            (None, Err(_)) => {}
            (want, got) => wrong.push(format!("{}\n want {want:?}\n got  {got:?}", case["name"])),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn templates_of_real_models_render_as_in_transformers() {
    let Some(shared) = shared() else { return println!("SKIP: no shared data") };
    let goldens = goldens();
    let (mut wrong, mut equal, mut refused, mut lenient) = (Vec::new(), 0, 0, 0);
    for case in goldens["held"].as_array().unwrap() {
        let folder = shared.join("data/chat-templates");
        let name = case["template"].as_str().unwrap();
        let mut source = std::fs::read_to_string(folder.join(name)).unwrap();
        if name.ends_with(".json") {
            let json: Value = serde_json::from_str(&source).unwrap();
            source = json["chat_template"].as_str().unwrap().to_owned();
        }
        let which = case["context"].as_str().unwrap();
        let context = match goldens["contexts"].get(which) {
            Some(own) => own.clone(),
            None => serde_json::from_slice(&std::fs::read(folder.join(which)).unwrap()).unwrap(),
        };
        let got = render(&source, &context);
        let hash =
            |text: &String| Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect();
        let got_hash: Result<String, _> = got.as_ref().map(hash);
        match (case["sha256"].as_str(), got_hash) {
            (Some(want), Ok(got)) if want == got => equal += 1,
            (None, Err(_)) => refused += 1,
            // `for tool in tools` without tools: Python fails, minijinja takes none for empty.
            (None, Ok(_)) if name.contains("hermes") && case["error"] == "TypeError" => {
                lenient += 1
            }
            (want, _) => wrong.push(format!("{name} {which}: {:?} {got:?}", want.is_some())),
        }
    }
    println!("{equal} equal, {refused} refused by both, {lenient} only by transformers");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The format of the calls of real templates, as this page's readers know them from their model cards.
#[test]
fn formats_of_calls_are_found_in_real_templates() {
    let Some(shared) = shared() else { return println!("SKIP: no shared data") };
    let hermes = ["<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>"];
    let known = [
        ("smollm3.jinja", "<|im_end|>", None),
        ("nousresearch_hermes3_tool_use.jinja", "<|im_end|>", Some(hermes)),
        ("nousresearch_hermes2_pro_tool_use.jinja", "<|im_end|>", Some(hermes)),
        ("mistral_nemo_tool_call.jinja", "</s>", None),
        ("mistral_small_tool_call.jinja", "</s>", None),
        ("deepseek_tool_call.jinja", "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>", None),
    ];
    for (name, eos, wanted) in known {
        let source =
            std::fs::read_to_string(shared.join("data/chat-templates").join(name)).unwrap();
        let template = ChatTemplate::new(&source, Arc::new(|| NOW)).unwrap();
        let names = SpecialNames {
            bos: Some("<s>".into()),
            eos: Some(eos.to_owned()),
            ..SpecialNames::default()
        };
        let format = ToolFormat::of(&template, &ControlTokens::none(), &names);
        let texts = format.parts().map(slmd::text::Rendered::text);
        println!("{name}: native {} {texts:?}", format.is_native);
        if let Some([open, middle, close]) = wanted {
            assert!(format.is_native, "{name}");
            assert_eq!([&*texts[0], &*texts[1], &*texts[3]], [open, middle, close], "{name}");
        }
    }
}
