use super::*;
use crate::core::error::ErrorCode;
use crate::wire::{frame, json};
use proptest::prelude::*;
use serde_json::json;

/// Chosen so that JSON's text form is not always shorter than the float: most `f32` values.
fn figure(low: f32, high: f32) -> impl Strategy<Value = Option<f32>> {
    prop::option::of((low..=high).prop_filter("positive", |v| *v > 0.0))
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 \\n\"\\\\äß€😀\u{0}\u{7f}]{1,20}"
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object_of(inner),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop::collection::hash_map(word(), inner, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn object() -> impl Strategy<Value = Value> {
    object_of(json_value())
}

fn format() -> impl Strategy<Value = ResponseFormat> {
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        object().prop_map(ResponseFormat::JsonSchema),
        (prop::collection::hash_set(word(), 1..5), prop::sample::select(&Score::ALL[..]))
            .prop_map(|(set, score)| ResponseFormat::Choice(set.into_iter().collect(), score)),
        word().prop_map(ResponseFormat::Regex),
        word().prop_map(ResponseFormat::Lark),
    ]
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let role = prop::sample::select(&crate::wire::limits::ROLES[..]);
    let calls = prop::collection::vec(call(), 0..3);
    let message = (role, prop_oneof![Just(String::new()), word()], calls, prop::option::of(word()));
    let message = message.prop_map(|(role, content, tool_calls, tool_call_id)| Message {
        tool_calls: if role == "assistant" { tool_calls } else { Vec::new() },
        tool_call_id: tool_call_id.filter(|_| role == "tool"),
        role: role.to_owned(),
        content,
    });
    prop::collection::vec(message, 1..4)
}

fn call() -> impl Strategy<Value = ToolCall> {
    (word(), "[a-zA-Z0-9_-]{1,12}", object()).prop_map(|(id, name, arguments)| ToolCall {
        id,
        name,
        arguments: arguments.to_string(),
    })
}

/// Tools, and a choice that fits them.
fn tools() -> impl Strategy<Value = (Vec<Tool>, ToolChoice)> {
    let names = prop::collection::hash_set("[a-zA-Z0-9_-]{1,12}", 0..3);
    (names, word(), object(), 0..4usize).prop_map(|(names, description, parameters, choice)| {
        let tool =
            |name| Tool { name, description: description.clone(), parameters: parameters.clone() };
        let tools: Vec<Tool> = names.into_iter().map(tool).collect();
        let choice = match (choice, tools.first()) {
            (0, Some(tool)) => ToolChoice::Named(tool.name.clone()),
            (1, _) => ToolChoice::None,
            (2, Some(_)) => ToolChoice::Required,
            _ => ToolChoice::Auto,
        };
        (tools, choice)
    })
}

prop_compose! {
    fn texts()(
        id in prop::option::of(word()),
        task in prop::option::of(word()),
        vars in prop::option::of(object()),
        input in prop_oneof![
            word().prop_map(|p| (Some(p), vec![])),
            messages().prop_map(|m| (None, m)),
        ],
        stop in prop::collection::vec(word(), 0..3),
        response_format in prop::option::of(format()),
        (tools, tool_choice) in tools(),
        parallel_tool_calls in any::<Option<bool>>(),
    ) -> Ask {
        let (prompt, messages) = input;
        // Beside calls, an answer is text or JSON.
        let response_format = response_format.filter(|f| {
            use ResponseFormat::{Choice, Lark, Regex};
            tools.is_empty() || !matches!(f, Choice(..) | Regex(_) | Lark(_))
        });
        Ask {
            id, task, vars, prompt, messages, stop, response_format, tools, tool_choice,
            parallel_tool_calls, ..Ask::default()
        }
    }
}

prop_compose! {
    fn ask()(
        texts in texts(),
        (max_tokens, top_k, seed) in any::<(Option<u32>, Option<u32>, Option<u64>)>(),
        (temperature, top_p, min_p) in (figure(0.0, 10.0), figure(0.0, 1.0), figure(0.0, 1.0)),
        (repetition_penalty, frequency_penalty, presence_penalty) in
            (figure(0.0, 10.0), figure(0.0, 2.0), figure(0.0, 2.0)),
        (stream, best_effort) in any::<(bool, bool)>(),
        (ttft_ms, deadline_ms) in
            (prop::option::of(1u32..1000), prop::option::of(1000u32..)),
        priority in prop::option::of(prop::sample::select(&Priority::ALL[..])),
        logprobs in prop::option::of(0..=crate::wire::limits::TOP_LOGPROBS),
        min_confidence in figure(0.0, 1.0),
        on_deadline in prop::option::of(prop::sample::select(&OnDeadline::ALL[..])),
    ) -> Ask {
        Ask {
            max_tokens: max_tokens.filter(|n| *n > 0),
            top_k, seed, temperature, top_p, min_p, repetition_penalty, frequency_penalty,
            presence_penalty, stream, best_effort, ttft_ms, deadline_ms, priority, logprobs,
            min_confidence, on_deadline,
            ..texts
        }
    }
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => ask().prop_map(|ask| Command::Ask(Box::new(ask))),
        1 => word().prop_map(|id| Command::Cancel { id }),
        1 => (prop::option::of(word()), any::<u64>())
            .prop_map(|(id, request)| Command::CancelNumber { id, request }),
        1 => prop::option::of(word()).prop_map(|id| Command::Status { id }),
        1 => prop::option::of(word()).prop_map(|id| Command::Health { id }),
    ]
}

fn token() -> impl Strategy<Value = TokenLogprob> {
    let bytes = prop::collection::vec(any::<u8>(), 0..4);
    (bytes, -50f32..=0.0).prop_map(|(bytes, logprob)| TokenLogprob { bytes, logprob })
}

fn logprobs() -> impl Strategy<Value = Vec<TokenLogprobs>> {
    let place = (token(), prop::collection::vec(token(), 0..3))
        .prop_map(|(token, top)| TokenLogprobs { token, top });
    prop::collection::vec(place, 0..3)
}

fn confidence() -> impl Strategy<Value = Confidence> {
    let fields = (0f32..=1.0, 0f32..=1.0, word()).prop_map(|(min, mean, lowest)| FieldConfidence {
        min,
        mean,
        lowest,
    });
    (0f32..=1.0, prop::option::of(fields))
        .prop_map(|(overall, fields)| Confidence { overall, fields })
}

fn choice() -> impl Strategy<Value = Choice> {
    (prop::collection::hash_map(word(), 0f32..=1.0, 1..5), 0f32..=1.0)
        .prop_map(|(all, margin)| Choice { probabilities: all.into_iter().collect(), margin })
}

prop_compose! {
    fn answer()(
        (id, text) in (prop::option::of(word()), word()),
        finish_reason in prop::sample::select(vec!["stop", "length", "tool_calls"]),
        cause in prop::sample::select(vec!["stop", "length", "deadline", "cancelled"]),
        (prompt_tokens, completion_tokens, cached_tokens) in any::<(u32, u32, u32)>(),
        (queue_ms, ttft_ms, total_ms) in (0f32..1e6, 0f32..1e6, 0f32..1e6),
        truncated in any::<bool>(),
        logprobs in prop::option::of(logprobs()),
        (confidence, choice) in (prop::option::of(confidence()), prop::option::of(choice())),
        (abstained, filled) in (any::<Option<bool>>(), prop::collection::vec(word(), 0..3)),
        tool_calls in prop::collection::vec(call(), 0..3),
        (escalated, answered_by) in (any::<bool>(), prop::option::of(word())),
    ) -> Answer {
        Answer {
            id, text, finish_reason, cause, truncated, prompt_tokens, completion_tokens,
            cached_tokens, queue_ms, ttft_ms, total_ms, logprobs, confidence, choice, abstained,
            filled, tool_calls, escalated, answered_by,
        }
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    let id = || prop::option::of(word());
    let code = prop::sample::select(&ErrorCode::ALL[..]);
    prop_oneof![
        (id(), word()).prop_map(|(id, text)| Reply::Delta { id, text }),
        answer().prop_map(|a| Reply::Answer(Box::new(a))),
        (id(), code, word(), any::<(Option<u32>, Option<u32>, bool)>(), id()).prop_map(
            |(id, code, message, (max_tokens_that_fit, needs_ms, escalated), draft)| Reply::Error {
                id,
                reason: RejectReason {
                    code,
                    message,
                    max_tokens_that_fit,
                    needs_ms,
                    draft: draft.map(String::into_boxed_str),
                    escalated,
                },
            }
        ),
        (id(), object()).prop_map(|(id, body)| Reply::Report { id, body }),
    ]
}

fn command_by_json(command: &Command) -> Command {
    let mut line = Vec::new();
    json::write_command(command, &mut line);
    assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
    json::parse_command(&line).expect("what we write we read")
}

fn command_by_frame(command: &Command) -> Command {
    let mut bytes = Vec::new();
    frame::append(&ClientFrame::from(command), &mut bytes);
    assert_eq!(bytes.pop(), Some(0));
    assert!(!bytes.contains(&0));
    let frame = frame::decode_client(&mut bytes).expect("what we write we read");
    frame.into_command().expect("valid").expect("no hello")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn commands_survive_both_codecs(command in command()) {
        prop_assert_eq!(&command_by_json(&command), &command);
        prop_assert_eq!(&command_by_frame(&command), &command);
        prop_assert_eq!(command_by_json(&command_by_frame(&command)), command);
    }

    #[test]
    fn replies_survive_both_codecs(reply in reply()) {
        let mut line = Vec::new();
        json::write_reply(&reply, &mut line);
        prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        prop_assert_eq!(&json::parse_reply(&line).expect("what we write we read"), &reply);

        let mut bytes = Vec::new();
        frame::append(&ServerFrame::from(&reply), &mut bytes);
        prop_assert_eq!(bytes.pop(), Some(0));
        let frame = frame::decode_server(&mut bytes).expect("what we write we read");
        prop_assert_eq!(frame.into_reply().expect("valid"), Some(reply));
    }

    #[test]
    fn any_bytes_are_a_command_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = json::parse_command(&bytes);
        let _ = json::parse_reply(&bytes);
        if let Ok(frame) = frame::decode_client(&mut bytes.clone()) {
            let _ = frame.into_command();
        }
        if let Ok(frame) = frame::decode_server(&mut bytes.clone()) {
            let _ = frame.into_reply();
        }
    }

    #[test]
    fn one_wrong_byte_is_a_command_or_an_error(
        command in command(), at in any::<prop::sample::Index>(), byte in 1u8..,
    ) {
        let mut line = Vec::new();
        json::write_command(&command, &mut line);
        let i = at.index(line.len());
        line[i] = byte;
        let _ = json::parse_command(&line);

        let mut bytes = Vec::new();
        frame::append(&ClientFrame::from(&command), &mut bytes);
        bytes.pop();
        let i = at.index(bytes.len());
        bytes[i] = byte;
        if let Ok(frame) = frame::decode_client(&mut bytes) {
            let _ = frame.into_command();
        }
    }
}

#[test]
fn frames_are_validated_too() {
    let nan = Ask {
        id: Some("7".into()),
        prompt: Some("x".into()),
        temperature: Some(f32::NAN),
        ..Ask::default()
    };
    let e = ClientFrame::Ask(Box::new(AskFrame::from(&nan))).into_command().expect_err("NaN");
    assert_eq!(e.id.as_deref(), Some("7"));
    assert!(e.reason.message.contains("`temperature`"), "{e}");
    let mut torn = AskFrame::from(&nan);
    torn.vars = Some("{".into());
    let e = ClientFrame::Ask(Box::new(torn)).into_command().expect_err("torn JSON");
    assert!(e.reason.message.starts_with("`vars` is not JSON"), "{e}");
}

#[test]
fn an_unknown_code_of_a_newer_daemon_is_kept_in_the_text() {
    let line = json!({"id": null, "status": "error", "new": 1,
        "error": {"code": "too_hot", "message": "cooling", "retryable": true}});
    let reply = json::parse_reply(line.to_string().as_bytes()).expect("a reply");
    assert_eq!(reply, Reply::refuse(None, ErrorCode::Internal, "too_hot: cooling"));
}

#[test]
fn the_documented_bytes_are_these() {
    let ask = Ask { id: Some("7".into()), prompt: Some("hi".into()), ..Ask::default() };
    let mut bytes = Vec::new();
    frame::append(&ClientFrame::from(&Command::Ask(Box::new(ask))), &mut bytes);
    let head = [5, 1, 1, 1, b'7', 1, 5, 1, 2, b'h', b'i'];
    assert_eq!(bytes, [&head[..], &[1; 23], &[0]].concat());
    bytes.clear();
    let reply = Reply::Delta { id: Some("7".into()), text: "yes".into() };
    frame::append(&ServerFrame::from(&reply), &mut bytes);
    assert_eq!(bytes, [9, 1, 1, 1, b'7', 3, b'y', b'e', b's', 0]);
}
