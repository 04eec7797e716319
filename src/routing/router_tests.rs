use super::*;
use crate::bundle::{Bundle, Escalate, Output, Task};
use crate::core::error::ErrorCode;
use crate::core::tool::{Action, Tool, ToolCall, ToolChoice};
use crate::routing::{BoundTool, Endpoint, Then};
use crate::runtime::{Asked, Bounds, Limits, Model, Shapes};
use crate::wire::{Answer, Message};
use serde_json::json;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpListener;

/// Replies as scripted; hears what was asked.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Scripted>>);

#[derive(Default)]
struct Scripted {
    replies: VecDeque<Result<Reply, RejectReason>>,
    asked: Vec<Ask>,
    models: Vec<Asked>,
    cancelled: Vec<RequestId>,
    next: u64,
}

impl Service for Script {
    fn submit(&self, ask: Ask, origin: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason> {
        let mut all = self.0.lock().expect("whole");
        all.next += 1;
        let request = RequestId(all.next);
        all.asked.push(ask);
        all.models.push(origin.model);
        let reply = all.replies.pop_front().expect("a reply is scripted")?;
        outbox.finish(Event { request, reply, tokens: 10 });
        Ok(request)
    }

    fn cancel(&self, request: RequestId) {
        self.0.lock().expect("whole").cancelled.push(request);
    }

    fn status(&self) -> Value {
        Value::Null
    }

    fn is_serving(&self) -> bool {
        true
    }
}

struct World {
    script: Script,
    router: Router<Script>,
    notices: mpsc::Receiver<Notice>,
    stop: watch::Sender<bool>,
}

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["severity", "n"],
        "properties": {"severity": {"enum": ["low", "high"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
    })
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), description: String::new(), parameters: json!({"type": "object"}) }
}

fn sh(name: &str, script: &str) -> BoundTool {
    BoundTool {
        name: name.into(),
        action: Some(Action::Run(vec!["/bin/sh".into(), "-c".into(), script.into()])),
        timeout: Duration::from_secs(30),
    }
}

impl World {
    /// With a task `alert` that escalates so, and a task `operator` that has tools.
    fn new(escalate: Escalate, endpoint: &str, replies: Vec<Result<Reply, RejectReason>>) -> Self {
        let model = Model::new(&Bundle::default_model().expect("embedded"), &[]).expect("sound");
        let alert = Task {
            name: "alert".into(),
            system: Some("Be brief.".into()),
            template: Some("It says: {{ prompt }}".into()),
            output: Some(Output::JsonSchema(schema())),
            escalate: Some(escalate),
            ..Task::default()
        };
        let operator = Task {
            name: "operator".into(),
            template: Some("Do: {{ prompt }}".into()),
            tools: vec![tool("slow"), tool("quick"), tool("theirs")],
            ..Task::default()
        };
        let tasks = [alert, operator, Task { name: "plain".into(), ..Task::default() }];
        let limits = Limits {
            queue: 4,
            max_step: Duration::from_millis(60),
            deadline: Duration::from_secs(20),
            first_token: None,
            max_tokens: 64,
            prompt_bytes: 4096,
        };
        let bounds = Bounds::new(tasks.iter(), Some("alert".into()), &limits);
        let theirs = BoundTool { action: None, ..sh("theirs", "") };
        let tools = vec![sh("slow", "sleep 0.3; cat"), sh("quick", "echo warm"), theirs];
        let endpoint = Endpoint {
            name: "box".into(),
            authority: endpoint.into(),
            path: "/v1".into(),
            model: Some("large".into()),
            api_key: Some("key".into()),
        };
        let shapes = Shapes::of(&model);
        let routes = Routes::new(&tasks, bounds, tools, vec![endpoint], 2, shapes);
        let script = Script::default();
        script.0.lock().expect("whole").replies = replies.into();
        let (sender, notices) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let here = tokio::runtime::Handle::current();
        let patience = Duration::from_millis(100);
        let router =
            Router::new(script.clone(), Slot::new(routes), sender, stopped, patience, here);
        Self { script, router, notices, stop }
    }

    fn submit(&self, ask: Ask) -> (RequestId, mpsc::Receiver<Event>) {
        let (sender, heard) = mpsc::channel(8);
        let outbox = Outbox::reserve(&sender).expect("room");
        let id = self.router.submit(ask, &Origin::new("test"), outbox).expect("accepted");
        (id, heard)
    }

    async fn ask(&self, ask: Ask) -> Event {
        let (id, mut heard) = self.submit(ask);
        let event = heard.recv().await.expect("a reply");
        assert_eq!(event.request, id);
        assert!(heard.recv().await.is_none(), "one reply alone");
        event
    }

    fn asked(&self) -> Vec<Ask> {
        self.script.0.lock().expect("whole").asked.clone()
    }

    fn figures(&self) -> Value {
        self.router.figures().figures()
    }
}

fn to_box() -> Escalate {
    Escalate { endpoint: Some("box".into()), ..Escalate::default() }
}

/// An endpoint that says this to everybody, after a while; gives its address and what it hears.
fn endpoint(text: &str, after: Duration) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let (say, heard) = std::sync::mpsc::channel();
    let body = json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut request = vec![0; 1 << 16];
            let n = stream.read(&mut request).expect("readable");
            let _ = say.send(String::from_utf8_lossy(&request[..n]).into_owned());
            std::thread::sleep(after);
            let body = body.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    (address, heard)
}

fn ask(task: &str) -> Ask {
    Ask {
        id: Some("7".into()),
        task: Some(task.into()),
        prompt: Some("hot".into()),
        ..Ask::default()
    }
}

fn said(text: &str, abstained: bool) -> Result<Reply, RejectReason> {
    Ok(Reply::Answer(Box::new(Answer {
        id: Some("7".into()),
        text: text.into(),
        finish_reason: "stop",
        cause: "stop",
        prompt_tokens: 20,
        completion_tokens: 5,
        abstained: Some(abstained),
        ..Answer::default()
    })))
}

fn calls(names: &[&str]) -> Result<Reply, RejectReason> {
    let call = |(i, name): (usize, &&str)| ToolCall {
        id: format!("c{i}"),
        name: (*name).into(),
        arguments: r#"{"a":1}"#.into(),
    };
    Ok(Reply::Answer(Box::new(Answer {
        id: Some("7".into()),
        prompt_tokens: 20,
        completion_tokens: 5,
        tool_calls: names.iter().enumerate().map(call).collect(),
        ..Answer::default()
    })))
}

fn refused(code: ErrorCode) -> Result<Reply, RejectReason> {
    Ok(Reply::refuse(Some("7".into()), code, "no"))
}

fn answer(event: Event) -> Answer {
    match event.reply {
        Reply::Answer(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

const LOCAL: &str = r#"{"severity":"low","n":1}"#;

#[tokio::test]
async fn what_is_sure_enough_stays_here() {
    let world = World::new(to_box(), "127.0.0.1:9", vec![said(LOCAL, false)]);
    let event = world.ask(ask("alert")).await;
    assert_eq!(event.tokens, 10);
    let told = answer(event);
    assert_eq!((&*told.text, told.escalated), (LOCAL, false));
    assert_eq!(world.figures()["local"], 1);
}

#[tokio::test]
async fn who_has_no_route_is_not_touched() {
    let world = World::new(to_box(), "127.0.0.1:9", vec![said("x", true), said("y", true)]);
    assert!(!answer(world.ask(ask("plain")).await).escalated);
    // Nor is a conversation that names no task; a plain prompt is the default task's.
    let turns = vec![Message::new("user", "hot")];
    let chat = Ask { messages: turns, task: None, prompt: None, ..ask("") };
    assert!(!answer(world.ask(chat).await).escalated);
    assert_eq!(world.figures()["requests"], 0);
}

#[tokio::test]
async fn an_endpoint_answers_what_is_unsure_in_the_shape_that_was_asked_for() {
    let (address, heard) =
        endpoint("```json\n{\"n\": 2.0, \"severity\": \"high\"}\n```", Duration::ZERO);
    let world = World::new(to_box(), &address, vec![said(LOCAL, true)]);
    let told = answer(world.ask(Ask { task: None, stream: true, ..ask("alert") }).await);
    assert_eq!(told.text, r#"{"severity":"high","n":2}"#);
    assert_eq!((told.escalated, told.answered_by.as_deref()), (true, Some("endpoint box")));
    assert_eq!((told.prompt_tokens, told.completion_tokens), (7, 3));
    assert_eq!((told.id.as_deref(), told.finish_reason), (Some("7"), "stop"));
    assert!(!world.asked()[0].stream, "the answer's beginning is not known yet");
    let request = heard.recv().expect("asked");
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Bearer key"), "{request}");
    let body: Value =
        serde_json::from_str(request.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(body["model"], "large");
    assert_eq!(
        body["messages"],
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "It says: hot"}])
    );
    assert_eq!(body["response_format"]["json_schema"]["schema"], schema());
    let figures = world.figures();
    assert_eq!(figures["answered_by"], json!({"endpoint box": 1}));
    assert_eq!(figures["escalated"], json!({"unsure": 1}));
}

#[tokio::test]
async fn who_answers_in_another_shape_or_too_late_or_not_at_all_is_not_believed() {
    let late = endpoint(LOCAL, Duration::from_secs(5));
    let wrong = endpoint(r#"{"severity":"middling","n":2}"#, Duration::ZERO);
    for (address, deadline_ms) in
        [(&wrong.0, 10_000), (&late.0, 150), (&"127.0.0.1:9".to_owned(), 10_000)]
    {
        let world = World::new(to_box(), address, vec![said(LOCAL, true)]);
        let began = Instant::now();
        let asked = Ask { deadline_ms: Some(deadline_ms), ..ask("alert") };
        let told = answer(world.ask(asked).await);
        assert_eq!((&*told.text, told.escalated, told.answered_by), (LOCAL, true, None));
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(world.figures()["asked_in_vain"], json!({"endpoint box": 1}));
    }
}

#[tokio::test]
async fn a_second_model_is_asked_and_the_first_answer_counts() {
    let second = Escalate { second_model: true, ..Escalate::default() };
    let better = r#"{"severity":"high","n":2}"#;
    let world =
        World::new(second.clone(), "127.0.0.1:9", vec![said(LOCAL, true), said(better, false)]);
    let event = world.ask(ask("alert")).await;
    assert_eq!(event.tokens, 20);
    let told = answer(event);
    assert_eq!((&*told.text, told.answered_by.as_deref()), (better, Some("second model")));
    let models = world.script.0.lock().expect("whole").models.clone();
    assert_eq!(models, [Asked::First, Asked::Second]);
    // No surer than the first.
    let world =
        World::new(second.clone(), "127.0.0.1:9", vec![said(LOCAL, true), said(better, true)]);
    let doubtful = answer(world.ask(ask("alert")).await);
    assert_eq!((&*doubtful.text, doubtful.escalated), (LOCAL, true));
    assert_eq!(world.figures()["asked_in_vain"], json!({"second model": 1}));
    // Both are asked: who fails first leaves it to the other.
    let both = Escalate { endpoint: Some("box".into()), ..second };
    let (address, _heard) = endpoint(better, Duration::from_millis(100));
    let world =
        World::new(both, &address, vec![said(LOCAL, true), refused(ErrorCode::MemoryInfeasible)]);
    let last = answer(world.ask(ask("alert")).await);
    assert_eq!(last.answered_by.as_deref(), Some("endpoint box"));
    assert_eq!(world.figures()["asked_in_vain"], json!({"second model": 1}));
}

#[tokio::test]
async fn what_cannot_be_served_here_may_be_elsewhere() {
    let (address, _heard) = endpoint(LOCAL, Duration::ZERO);
    for reply in [
        refused(ErrorCode::DeadlineInfeasible),
        refused(ErrorCode::MemoryInfeasible),
        Err(RejectReason::new(ErrorCode::Busy, "full")),
    ] {
        let world = World::new(to_box(), &address, vec![reply]);
        let told = answer(world.ask(ask("alert")).await);
        assert_eq!(told.answered_by.as_deref(), Some("endpoint box"));
    }
    let world = World::new(to_box(), &address, vec![refused(ErrorCode::BadRequest)]);
    let Reply::Error { reason, .. } = world.ask(ask("alert")).await.reply else {
        panic!("refused")
    };
    assert_eq!((reason.code, reason.escalated), (ErrorCode::BadRequest, false));
    let world =
        World::new(to_box(), &address, vec![Err(RejectReason::new(ErrorCode::OverQuota, ""))]);
    let (sender, _heard) = mpsc::channel(1);
    let outbox = Outbox::reserve(&sender).expect("room");
    let refused = world.router.submit(ask("alert"), &Origin::new("test"), outbox);
    assert_eq!(refused.expect_err("at once").code, ErrorCode::OverQuota);
}

#[tokio::test]
async fn the_request_and_what_came_of_it_are_published() {
    let escalate = Escalate { mqtt: Some("a/b".into()), ..Escalate::default() };
    let mut draft = RejectReason::new(ErrorCode::Incomplete, "cut");
    draft.draft = Some("{\"sev".into());
    let reply = Ok(Reply::Error { id: Some("7".into()), reason: draft });
    let mut world = World::new(escalate, "127.0.0.1:9", vec![reply]);
    let Reply::Error { reason, .. } = world.ask(ask("alert")).await.reply else {
        panic!("refused")
    };
    assert!(reason.escalated);
    let notice = world.notices.recv().await.expect("published");
    assert_eq!(notice.topic, "a/b");
    assert!(matches!(notice.then, Then::Nothing));
    let told: Value = serde_json::from_slice(&notice.payload).expect("JSON");
    assert_eq!((&told["task"], &told["why"]), (&json!("alert"), &json!("incomplete")));
    assert_eq!(told["request"]["prompt"], "hot");
    assert_eq!(told["reply"]["error"]["draft"], "{\"sev");
}

#[tokio::test]
async fn tools_run_until_the_model_has_no_more_calls() {
    let world = World::new(
        to_box(),
        "127.0.0.1:9",
        vec![calls(&["slow", "quick"]), calls(&["quick"]), said("done", false)],
    );
    let event = world.ask(ask("operator")).await;
    assert_eq!(event.tokens, 30);
    let told = answer(event);
    assert_eq!((&*told.text, told.prompt_tokens, told.completion_tokens), ("done", 60, 15));
    assert!(told.total_ms >= 300.0 && told.ttft_ms >= 300.0);
    let asked = world.asked();
    assert_eq!(asked.len(), 3);
    let roles: Vec<&str> = asked[1].messages.iter().map(|m| &*m.role).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
    assert_eq!(asked[1].messages[0].content, "Do: hot");
    // In the order of the calls, not of their ends.
    assert_eq!(
        (&*asked[1].messages[2].content, &*asked[1].messages[3].content),
        (r#"{"a":1}"#, "warm")
    );
    assert_eq!(asked[1].messages[3].tool_call_id.as_deref(), Some("c1"));
    let choices: Vec<&ToolChoice> = asked.iter().map(|ask| &ask.tool_choice).collect();
    // Two rounds are allowed: after the second one it must not call.
    assert_eq!(choices, [&ToolChoice::Auto, &ToolChoice::Auto, &ToolChoice::None]);
    assert!(asked[2].deadline_ms < Some(20_000) && asked[2].validate().is_ok());
    assert_eq!(world.figures()["tool_calls"], json!({"quick": 2, "slow": 1}));
}

#[tokio::test]
async fn calls_that_are_not_all_ours_are_the_clients() {
    let world =
        World::new(to_box(), "127.0.0.1:9", vec![calls(&["quick", "theirs"]), calls(&["quick"])]);
    assert_eq!(answer(world.ask(ask("operator")).await).tool_calls.len(), 2);
    let own = Ask { tools: vec![tool("quick")], ..ask("operator") };
    assert_eq!(answer(world.ask(own).await).tool_calls.len(), 1);
    assert_eq!(world.figures()["tool_calls"], json!({}));
}

#[tokio::test]
async fn who_cancels_hears_so_at_once() {
    let world = World::new(to_box(), "127.0.0.1:9", vec![calls(&["slow"])]);
    let (id, mut heard) = world.submit(ask("operator"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.router.cancel(id);
    let Reply::Error { reason, .. } = heard.recv().await.expect("a reply").reply else {
        panic!("no")
    };
    assert_eq!(reason.code, ErrorCode::Cancelled);
    assert_eq!(world.script.0.lock().expect("whole").cancelled, [id]);
    // Nobody knows it any more.
    world.router.cancel(id);
    assert_eq!(world.asked().len(), 1);
}

#[tokio::test]
async fn at_the_end_the_answer_of_this_device_goes_out() {
    let (address, _heard) = endpoint(LOCAL, Duration::from_secs(10));
    let world = World::new(to_box(), &address, vec![said(LOCAL, true)]);
    let (_, mut heard) = world.submit(ask("alert"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.stop.send_replace(true);
    let told = answer(heard.recv().await.expect("a reply"));
    assert_eq!((&*told.text, told.escalated, told.answered_by), (LOCAL, true, None));
}

#[tokio::test]
async fn who_tries_again_hears_that_there_is_no_seat() {
    let busy = Err(RejectReason::new(ErrorCode::Busy, "full"));
    let world = World::new(to_box(), "127.0.0.1:9", vec![busy]);
    let (sender, _heard) = mpsc::channel(1);
    let outbox = Outbox::reserve(&sender).expect("room");
    let origin = Origin { tries_again: true, ..Origin::new("test") };
    let refused = world.router.submit(ask("alert"), &origin, outbox).expect_err("at once");
    assert_eq!(refused.code, ErrorCode::Busy);
    assert!(world.router.is_settled());
}

#[tokio::test]
async fn going_down_no_tool_is_set_in_motion() {
    let world = World::new(to_box(), "127.0.0.1:9", vec![calls(&["quick"])]);
    world.stop.send_replace(true);
    let event = world.ask(ask("operator")).await;
    let Reply::Error { reason, .. } = event.reply else { panic!("refused") };
    assert_eq!(reason.code, ErrorCode::ShuttingDown);
    assert_eq!(world.figures()["tool_calls"], json!({}));
}

#[tokio::test]
async fn an_endpoint_is_not_asked_about_the_tools_of_a_client() {
    let (address, _heard) = endpoint(LOCAL, Duration::ZERO);
    let world = World::new(to_box(), &address, vec![said(LOCAL, true)]);
    let own = Ask { tools: vec![tool("theirs")], ..ask("alert") };
    assert_eq!(answer(world.ask(own).await).answered_by, None);
}

#[tokio::test]
async fn a_call_that_is_unsure_sets_nothing_in_motion() {
    let Ok(Reply::Answer(mut unsure)) = calls(&["quick"]) else { panic!("an answer") };
    unsure.abstained = Some(true);
    let world = World::new(to_box(), "127.0.0.1:9", vec![Ok(Reply::Answer(unsure))]);
    let told = answer(world.ask(ask("operator")).await);
    assert_eq!((told.tool_calls.len(), told.abstained), (1, Some(true)));
    assert_eq!(world.figures()["tool_calls"], json!({}));
}
