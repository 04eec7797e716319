//! Real tokenizers: ids as the library gives them, and text that never becomes a control token.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use serde_json::Value;
use slmd::text::{ChatTemplate, Conversation, Detokenizer, Segment, TextError, Tokenizer};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

struct Real {
    name: &'static str,
    ours: Tokenizer,
    library: tokenizers::Tokenizer,
    template: ChatTemplate,
}

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let path = path.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    path.is_dir().then_some(path)
}

fn load(name: &'static str) -> Option<Real> {
    let folder = shared()?.join("data/tokenizers").join(name);
    let json = std::fs::read(folder.join("tokenizer.json")).unwrap();
    let config = std::fs::read(folder.join("tokenizer_config.json")).ok();
    let map = std::fs::read(folder.join("special_tokens_map.json")).ok();
    let ours = Tokenizer::new(&json, config.as_deref(), map.as_deref()).unwrap();
    let source = match name {
        "phi3" => ours.names().template(None).unwrap(),
        "gpt2" => {
            "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}<|endoftext|>{% endfor %}"
        }
        _ => {
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}\
             {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        }
    };
    let template = ChatTemplate::new(source, Arc::new(|| 0)).unwrap();
    let library = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    Some(Real { name, ours, library, template })
}

fn all() -> &'static [Real] {
    static ALL: OnceLock<Vec<Real>> = OnceLock::new();
    let all =
        ALL.get_or_init(|| ["smollm2", "gpt2", "phi3"].into_iter().filter_map(load).collect());
    if all.is_empty() {
        println!("SKIP: no shared data");
    }
    all
}

fn texts() -> Vec<String> {
    let Some(shared) = shared() else { return Vec::new() };
    let lines = std::fs::read_to_string(shared.join("data/commands/home_actions.jsonl")).unwrap();
    let text = |line: &str| -> Option<String> {
        let json: Value = serde_json::from_str(line).ok()?;
        Some(json.as_object()?.values().find_map(Value::as_str)?.to_owned())
    };
    let mut out: Vec<String> = lines.lines().step_by(4).filter_map(text).collect();
    for odd in [
        "a",
        "  two  spaces ",
        "\n\n\tx\r\n",
        "Äpfel 你好 😀 e\u{301}",
        "12345.678e-9",
        " ",
        "a\u{0}b",
    ] {
        out.push(odd.to_owned());
    }
    out
}

#[test]
fn ids_are_those_of_the_library() {
    let texts = texts();
    for real in all() {
        for text in &texts {
            let want = real.library.encode(text.as_str(), false).unwrap();
            let got = real.ours.encode(text, false).unwrap();
            assert_eq!(got, want.get_ids(), "{} {text:?}", real.name);
        }
        println!("{}: {} texts", real.name, texts.len());
    }
}

fn chat(content: &[String]) -> impl Fn(&Real) -> Conversation + '_ {
    move |real| {
        let mut out = Conversation::new(real.ours.names());
        for (i, text) in content.iter().enumerate() {
            out.push(if i % 2 == 0 { "user" } else { "assistant" }, text);
        }
        out
    }
}

#[test]
fn harmless_conversations_give_the_ids_of_the_library() {
    for real in all() {
        for texts in texts().chunks(3) {
            let rendered = real.template.render(&chat(texts)(real), real.ours.control()).unwrap();
            let want = real.library.encode(rendered.text(), false).unwrap();
            assert_eq!(real.ours.encode_rendered(&rendered).unwrap(), want.get_ids());
        }
    }
}

#[test]
fn what_surrounds_a_raw_text_is_the_model_s_wish() {
    for real in all() {
        let empty = real.ours.encode("", true);
        match real.name {
            "phi3" => {
                assert_eq!(empty.unwrap(), [1]);
                assert_eq!(real.ours.encode("a", true).unwrap()[0], 1);
                assert_eq!((real.ours.bos_id(), real.ours.eos_id()), (Some(1), Some(32000)));
                assert_eq!(real.ours.eos_candidates()[0], 32000);
                assert_eq!(real.ours.vocab_size(), 32045);
            }
            _ => assert_eq!(empty, Err(TextError::NoToken)),
        }
        assert_eq!(real.ours.encode("", false), Err(TextError::NoToken));
    }
}

#[test]
fn control_tokens_in_raw_text_stay_text() {
    for real in all() {
        for token in real.ours.control().tokens() {
            let text = format!("a{}b", token.content);
            let ids = real.ours.encode(&text, false).unwrap();
            assert!(!ids.contains(&token.id), "{} {text}", real.name);
            assert_eq!(decode(real, &ids), text);
        }
    }
}

fn decode(real: &Real, ids: &[u32]) -> String {
    let mut out = String::new();
    let mut detokenizer = Detokenizer::new(Arc::clone(real.ours.table()), &[]);
    ids.iter().for_each(|&id| detokenizer.push(id, &mut out));
    detokenizer.finish(&mut out);
    out
}

#[test]
fn long_texts_in_pieces_give_the_same_ids() {
    let words: String = texts().join(" ");
    for real in all() {
        let long: String = words.chars().cycle().take(60_000).collect();
        if long.is_empty() {
            return;
        }
        let want = real.library.encode(long.as_str(), false).unwrap();
        assert_eq!(real.ours.encode(&long, false).unwrap(), want.get_ids(), "{}", real.name);
        let pieces = real.ours.table().longest();
        println!("{}: longest token {pieces} bytes", real.name);
    }
}

#[test]
fn text_without_a_boundary_is_bounded() {
    for real in all() {
        let e = real.ours.encode(&"x".repeat(200_000), false).unwrap_err();
        assert_eq!(e.code(), "too_long");
        assert!(real.ours.encode(&"word ".repeat(100_000), false).is_ok(), "{}", real.name);
        // The bound is of use with every one of them.
        assert!(real.ours.text_cannot_fit(&"x".repeat(10_000), 10), "{}", real.name);
    }
}

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<|im_end|>".to_owned()),
        Just("<|im_start|>system\n".to_owned()),
        Just("<|im_<|im_end|>end|>".to_owned()),
        Just("<|endoftext|>".to_owned()),
        Just("</s><s><unk>".to_owned()),
        Just("<|end|>\n<|assistant|>\n".to_owned()),
        Just("<0x0A>".to_owned()),
        Just("\u{FDD0}\u{FDD1}\u{FDD2}".to_owned()),
        Just("<|".to_owned()),
        Just("|>".to_owned()),
        Just("  \n".to_owned()),
        "[ -~]{0,6}",
        // SmolLM2 has no tokens for some bytes beyond the planes in use.
        any::<char>().prop_filter("assigned", |c| *c < '\u{20000}').prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..10).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn conversations_hold_no_control_token_but_the_template_s(
        content in proptest::collection::vec(nasty(), 1..4),
    ) {
        let harmless: Vec<String> = content.iter().map(|_| "x".to_owned()).collect();
        for real in all() {
            let control = real.ours.control();
            let ids = |texts| {
                let rendered = real.template.render(&chat(texts)(real), control).unwrap();
                (real.ours.encode_rendered(&rendered).unwrap(), rendered)
            };
            let is_control = |id: &u32| control.tokens().iter().any(|t| t.id == *id);
            let (bad, rendered) = ids(&content);
            let (good, _) = ids(&harmless);
            let controls = |ids: &[u32]| -> Vec<u32> {
                ids.iter().copied().filter(|id| is_control(id) && *id != 0).collect()
            };
            prop_assert_eq!(controls(&bad), controls(&good), "{}", real.name);
            // Every text comes back, but for the space that SentencePiece puts before it.
            let mut groups = bad.split(|id| is_control(id) && controls(&[*id]).len() == 1);
            let mut group = groups.next().unwrap();
            for segment in rendered.segments() {
                match segment {
                    Segment::Control { .. } => group = groups.next().unwrap(),
                    Segment::Text(text) => prop_assert_eq!(&decode(real, group), text),
                }
            }
            // And all of it is what the template was given.
            if real.name == "smollm2" {
                for text in &content {
                    prop_assert!(rendered.text().contains(text.as_str()));
                }
            }
        }
    }

    #[test]
    fn raw_text_comes_back(text in nasty()) {
        for real in all().iter().filter(|_| !text.is_empty()) {
            let ids = real.ours.encode(&text, false).unwrap();
            prop_assert_eq!(decode(real, &ids), text.clone(), "{}", real.name);
        }
    }

    #[test]
    fn what_cannot_fit_does_not(text in "[ a-z]{0,400}", context in 1usize..30) {
        for real in all().iter().filter(|_| !text.is_empty()) {
            if real.ours.text_cannot_fit(&text, context) {
                prop_assert!(real.ours.encode(&text, false).unwrap().len() > context);
            }
        }
    }

    #[test]
    fn broken_files_are_errors(at in 0usize..3000, byte in any::<u8>()) {
        let mut json = br#"{"version":"1.0","added_tokens":[{"id":0,"content":"<s>","special":true,
            "single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],"normalizer":null,
            "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},
            "post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,
            "trim_offsets":true},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},
            "merges":["a b"]}}"#.to_vec();
        let at = at % json.len();
        json[at] = byte;
        let _ = Tokenizer::new(&json, Some(&json), Some(&json));
    }
}
