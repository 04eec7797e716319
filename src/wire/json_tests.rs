use super::*;
use serde_json::json;

fn refused(line: &str) -> (Option<String>, String) {
    let e = parse_command(line.as_bytes()).expect_err(line);
    assert_eq!(e.reason.code(), "bad_request");
    (e.id, e.reason.message)
}

fn parsed(value: Value) -> Ask {
    match parse_command(value.to_string().as_bytes()) {
        Ok(Command::Ask(ask)) => *ask,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_readmes_request_reads() {
    let ask = parsed(json!({"id": "7", "task": "vehicle", "prompt": "warmer in the back",
        "deadline_ms": 800, "stop": "\n", "top_p": null}));
    assert_eq!(ask.id.as_deref(), Some("7"));
    assert_eq!((ask.deadline_ms, ask.top_p), (Some(800), None));
    assert_eq!(ask.stop, ["\n"]);
}

#[test]
fn each_complaint_names_its_field() {
    for (body, says) in [
        (r#""max_tokens":0"#, "`max_tokens` must be at least 1"),
        (r#""max_tokens":1.5"#, "`max_tokens` must be a whole number, 0 or more, not 1.5"),
        (r#""max_tokens":-1"#, "`max_tokens` must be a whole number"),
        (r#""max_tokens":5000000000"#, "`max_tokens` must be at most 4294967295"),
        (r#""temperature":"hot""#, "`temperature` must be a number, not \"hot\""),
        (r#""temperature":11"#, "`temperature` must be between 0 and 10, not 11"),
        (r#""temperature":1e60"#, "`temperature` must be between"),
        (r#""top_p":0"#, "`top_p` must be above 0"),
        (r#""stop":["a",""]"#, "`stop[1]` must not be empty"),
        (r#""stop":["a",1]"#, "`stop[1]` must be a string"),
        (r#""deadline_ms":0"#, "`deadline_ms` must be at least 1"),
        (r#""priority":"high""#, "`priority` must be urgent, normal or background, not \"high\""),
        (r#""stream":1"#, "`stream` must be true or false, not 1"),
        (r#""vars":[]"#, "`vars` must be a JSON object"),
        (r#""n":2"#, "`n` is not supported; one request has one answer"),
        (r#""logit_bias":{}"#, "`logit_bias` is not supported"),
        (r#""functions":[]"#, "`functions` is not supported; use `tools`"),
        (r#""tools":{}"#, "`tools` must be an array"),
        (r#""tools":[{"type":"retrieval"}]"#, "`tools[0].type` must be function"),
        (r#""tools":[{"type":"function"}]"#, "`tools[0].function` is missing"),
        (r#""tools":[{"function":{}}]"#, "`tools[0].function.name` is missing"),
        (r#""tools":[{"function":{"name":"a b"}}]"#, "`tools[0].function.name` must have 1 to 64"),
        (
            r#""tools":[{"function":{"name":"a","parameters":1}}]"#,
            "parameters` must be a JSON object",
        ),
        (r#""tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}]"#, "holds \"a\" twice"),
        (r#""tools":[{"function":{"name":"a","x":1}}]"#, "unknown field `tools[0].function.x`"),
        (r#""tool_choice":"any""#, "`tool_choice` must be auto, none, required or a function"),
        (
            r#""tools":[{"function":{"name":"a"}}],"tool_choice":{"function":{"name":"b"}}"#,
            "`tool_choice` names \"b\"",
        ),
        (
            r#""tools":[{"function":{"name":"a"}}],"response_format":{"type":"regex","regex":"a"}"#,
            "may be text or JSON",
        ),
        (r#""logprobs":1"#, "`logprobs` must be true or false, not 1"),
        (r#""top_logprobs":2"#, "`top_logprobs` needs `logprobs` to be true"),
        (r#""logprobs":true,"top_logprobs":6"#, "`top_logprobs` must be at most 5"),
        (r#""max_token":5"#, "unknown field `max_token`"),
        (r#""messages":[]"#, "`messages` must hold at least one turn"),
        (r#""messages":[{"role":"user","content":"x"}]"#, "not both"),
        (r#""messages":[{"role":"user"}]"#, "`messages[0].content` is missing"),
        (r#""messages":[{"role":"user","content":[]}]"#, "`messages[0].content` must be a string"),
        (r#""messages":[7]"#, "`messages[0]` must be an object, not 7"),
        (r#""response_format":{"type":"xml"}"#, "`response_format.type` must be text"),
        (r#""response_format":{}"#, "`response_format.type` is missing"),
        (r#""response_format":{"type":"text","x":1}"#, "unknown field `response_format.x`"),
        (r#""response_format":{"type":"choice"}"#, "`response_format.choices` is missing"),
        (r#""response_format":{"type":"choice","choices":[1]}"#, "choices[0]` must be a string"),
        (r#""response_format":{"type":"json_schema"}"#, "`response_format.schema` is missing"),
        (r#""prompt":"again""#, "field `prompt` appears twice"),
        (r#""op":"sing""#, "`op` must be ask, cancel, status or health"),
    ] {
        let (id, message) = refused(&format!(r#"{{"id":"7","prompt":"x",{body}}}"#));
        assert_eq!(id.as_deref(), Some("7"), "{body}");
        assert!(message.contains(says), "{body}: {message}");
    }
}

#[test]
fn the_id_comes_back_from_broken_lines_if_it_was_read_before_the_fault() {
    let broken = [r#"{"id":"7","prompt":"#, r#"{"id":"7"} {}"#, r#"{"id":"7","a":nul}"#];
    for line in broken {
        assert_eq!(refused(line).0.as_deref(), Some("7"), "{line}");
    }
    assert_eq!(refused(r#"{"prompt":,"id":"7"}"#).0, None);
    assert_eq!(refused(r#"{"id":7,"prompt":"x"}"#).0.as_deref(), Some("7"));
    let e = parse_command(b"{\"id\":\"7\",\"prompt\":\"\xff\"}").expect_err("not UTF-8");
    assert_eq!(e.id.as_deref(), Some("7"));
    assert!(e.reason.message.contains("not UTF-8 from byte 20"), "{e}");
    let long = format!(r#"{{"id":"{}","prompt":"x"}}"#, "x".repeat(1000));
    assert_eq!(refused(&long).0, None);
}

#[test]
fn what_is_no_object_is_told_so() {
    for line in ["[]", "7", "\"x\"", "nonsense"] {
        assert!(refused(line).1.starts_with("not a JSON object"), "{line}");
    }
    assert!(refused(r#"{"id":"7""#).1.contains("whole, on one line"));
    let deep = format!(r#"{{"vars":{}"#, "[".repeat(100_000));
    assert!(refused(&deep).1.contains("more than 127 levels"));
}

#[test]
fn formats_read_in_both_of_openais_spellings() {
    let schema = json!({"type": "object"});
    for format in [
        json!({"type": "json_schema", "schema": schema}),
        json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true,
            "schema": schema}}),
    ] {
        let ask = parsed(json!({"prompt": "x", "response_format": format}));
        assert_eq!(ask.response_format, Some(ResponseFormat::JsonSchema(schema.clone())));
    }
    let both = json!({"prompt": "x", "response_format":
        {"type": "json_schema", "schema": {}, "json_schema": {"schema": {}}}});
    assert!(refused(&both.to_string()).1.contains("not both"));
}

#[test]
fn operations_read() {
    let read = |line: &str| parse_command(line.as_bytes()).expect(line);
    assert_eq!(read(r#"{"op":"cancel","id":"7"}"#), Command::Cancel { id: "7".into() });
    assert_eq!(
        read(r#"{"op":"cancel","request":9}"#),
        Command::CancelNumber { id: None, request: 9 }
    );
    assert_eq!(read(r#"{"op":"status"}"#), Command::Status { id: None });
    assert_eq!(read(r#"{"op":"health","id":"h"}"#), Command::Health { id: Some("h".into()) });
    assert!(refused(r#"{"op":"cancel"}"#).1.contains("needs the `id`"));
    assert!(refused(r#"{"op":"status","prompt":"x"}"#).1.contains("unknown field `prompt`"));
}

#[test]
fn an_envelope_is_read_even_around_a_bad_request() {
    let body = br#"{"reply_to":"a/b","client":"c","id":"7","prompt":"hi","deadline_ms":5}"#;
    let (envelope, ask) = parse_enveloped(body);
    let ask = ask.expect("a good request");
    assert_eq!((ask.prompt.as_deref(), ask.deadline_ms), (Some("hi"), Some(5)));
    let full = |id: &str| Envelope {
        reply_to: Some("a/b".into()),
        client: Some("c".into()),
        id: Some(id.into()),
    };
    assert_eq!(envelope, full("7"));
    for (body, says) in [
        (&br#"{"reply_to":"a/b","client":"c","id":"8","prompt":1}"#[..], "`prompt`"),
        (br#"{"reply_to":"a/b","client":"c","id":"8","op":"cancel"}"#, "`op`"),
        (br#"{"reply_to":"a/b","client":"c","id":"8","tools":1}"#, "`tools`"),
    ] {
        let (envelope, ask) = parse_enveloped(body);
        assert_eq!(envelope, full("8"));
        assert!(ask.expect_err("refused").message.contains(says), "{says}");
    }
    let (envelope, ask) = parse_enveloped(br#"{"id":"9","prompt":"#);
    assert_eq!((envelope.id.as_deref(), envelope.reply_to), (Some("9"), None));
    assert!(ask.is_err());
}

#[test]
fn turns_with_calls_are_read_and_held_against_their_roles() {
    let turns = |turns: &str| format!(r#"{{"id":"7","messages":[{turns}]}}"#);
    let call = r#"{"id":"c1","type":"function","function":{"name":"t","arguments":"{}"}}"#;
    let sound = format!(
        r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}},
           {{"role":"tool","tool_call_id":"c1","name":"t","content":"21"}}"#
    );
    let ask = parsed(serde_json::from_str(&turns(&sound)).expect("JSON"));
    assert_eq!((&*ask.messages[0].content, ask.messages[0].tool_calls.len()), ("", 1));
    assert_eq!(ask.messages[1].tool_call_id.as_deref(), Some("c1"));
    for (turn, says) in [
        (r#"{"role":"assistant"}"#.to_owned(), "`messages[0].content` is missing"),
        (
            format!(r#"{{"role":"user","content":"","tool_calls":[{call}]}}"#),
            "the assistant's alone",
        ),
        (r#"{"role":"user","content":"","tool_call_id":"1"}"#.to_owned(), "a tool's message alone"),
        (
            format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, call.replace("{}", "[]")),
            "arguments` must be a JSON object, as text",
        ),
        (
            format!(
                r#"{{"role":"assistant","tool_calls":[{}]}}"#,
                call.replace(r#""id":"c1","#, "")
            ),
            "`messages[0].tool_calls[0].id` is missing",
        ),
    ] {
        let (_, message) = refused(&turns(&turn));
        assert!(message.contains(says), "{turn}: {message}");
    }
}
