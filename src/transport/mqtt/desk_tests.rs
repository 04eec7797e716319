use super::super::message::Properties;
use super::*;
use crate::core::request::Priority;
use crate::journal;
use crate::runtime::Origin;
use crate::transport::quota::Selector;
use crate::wire::{Answer, Ask};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A runtime that takes `seats` requests and says nothing by itself.
#[derive(Clone, Default)]
struct Runtime(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    submitted: Vec<(Ask, Origin)>,
    cancelled: Vec<RequestId>,
    outboxes: Vec<Outbox>,
    seats: Option<usize>,
}

impl Service for Runtime {
    fn submit(&self, ask: Ask, origin: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason> {
        let mut held = self.0.lock().expect("no panic");
        if held.seats == Some(0) {
            return Err(RejectReason::new(ErrorCode::Busy, "full"));
        }
        held.seats = held.seats.map(|n| n - 1);
        held.submitted.push((ask, origin.clone()));
        held.outboxes.push(outbox);
        Ok(RequestId(held.submitted.len() as u64))
    }
    fn cancel(&self, request: RequestId) {
        self.0.lock().expect("no panic").cancelled.push(request);
    }
    fn status(&self) -> Value {
        Value::Null
    }
    fn is_serving(&self) -> bool {
        true
    }
}

/// A journal in memory.
#[derive(Default)]
struct Memory {
    records: Vec<String>,
    answers: BTreeMap<EntryId, Vec<u8>>,
    entries: BTreeMap<EntryId, journal::Entry>,
}

impl Log for Memory {
    fn append(&mut self, record: Record<'_>) -> u64 {
        let text = match record {
            Record::Accepted { id, head, body } => {
                let entry = journal::Entry {
                    id,
                    head: head.to_vec(),
                    body: Some(body.to_vec()),
                    starts: 0,
                    answered: false,
                    delivered: None,
                    written_at: 1_000,
                };
                self.entries.insert(id, entry);
                format!("accepted {}", id.0)
            }
            Record::Started { id } => {
                self.entries.get_mut(&id).expect("there").starts += 1;
                format!("started {}", id.0)
            }
            Record::Parked { id } => {
                self.entries.get_mut(&id).expect("there").starts -= 1;
                format!("parked {}", id.0)
            }
            Record::Answered { id, answer } => {
                self.answers.insert(id, answer.to_vec());
                self.entries.get_mut(&id).expect("there").answered = true;
                format!("answered {}", id.0)
            }
            Record::Delivered { id, reason } => {
                self.entries.get_mut(&id).expect("there").delivered = Some(reason);
                format!("delivered {} {reason:#x}", id.0)
            }
            Record::Forgotten { id } => {
                self.entries.remove(&id);
                format!("forgotten {}", id.0)
            }
            Record::Note { key, .. } => format!("note {key}"),
        };
        self.records.push(text);
        self.records.len() as u64
    }
    fn read_answer(&self, id: EntryId) -> io::Result<Option<Vec<u8>>> {
        Ok(self.answers.get(&id).cloned())
    }
}

const NOW: Now = Now { boot_ms: 50_000, unix_ms: 1_000_000 };

fn at(ms: u64) -> Now {
    Now { boot_ms: NOW.boot_ms + ms, unix_ms: NOW.unix_ms + ms }
}

fn policy() -> Policy {
    let topics = Topics::new("n", &["g".into()]);
    Policy {
        replies: ReplyTopics::new(&topics, &["clients/#".into()], &[]),
        topics,
        quotas: Vec::new(),
        max_request_bytes: 200,
        max_entries: 4,
        max_bytes: 1 << 20,
        max_age_s: 3600,
        boot: "boot".into(),
    }
}

#[derive(Debug, PartialEq)]
enum Action {
    Ack(u32),
    Publish { tag: u64, message: Message },
}

struct Bench {
    runtime: Runtime,
    desk: Desk<Runtime, Memory, u32>,
    next_ack: u32,
    _replies: mpsc::Receiver<Event>,
    _starts: mpsc::Receiver<RequestId>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self::with(policy());
        bench.desk.connected(16);
        bench
    }

    fn with(policy: Policy) -> Self {
        let (replies, replies_end) = mpsc::channel(64);
        let (starts, starts_end) = mpsc::channel(64);
        let runtime = Runtime::default();
        let desk = Desk::new(runtime.clone(), Memory::default(), policy, replies, starts);
        Self { runtime, desk, next_ack: 0, _replies: replies_end, _starts: starts_end }
    }

    /// The same journal under a new process.
    fn restarted(self, now: Now, change: impl FnOnce(&mut Bench)) -> Self {
        let mut next = Self::with(policy());
        let entries: Vec<_> = self.desk.log.entries.values().cloned().collect();
        let next_id = self.desk.next_id;
        next.desk.log.answers = self.desk.log.answers;
        next.desk.log.entries = self.desk.log.entries;
        change(&mut next);
        next.desk.recover(now, entries, EntryId(next_id));
        next
    }

    fn receive(&mut self, now: Now, message: &Message) -> u32 {
        self.next_ack += 1;
        self.desk.receive(now, message, Some(self.next_ack));
        self.next_ack
    }

    /// All that is due.
    fn actions(&mut self) -> Vec<Action> {
        let mut acks: Vec<_> =
            std::iter::from_fn(|| self.desk.next_ack()).map(Action::Ack).collect();
        let publish = |(tag, message)| Action::Publish { tag, message };
        acks.extend(std::iter::from_fn(|| self.desk.next_message(NOW)).map(publish));
        acks
    }

    fn commit(&mut self) {
        let all = self.desk.log.records.len() as u64;
        self.desk.committed(all, None);
    }

    fn reply(&mut self, request: u64, reply: Reply) {
        let event = Event { request: RequestId(request), reply, tokens: 0 };
        assert!(self.desk.reply(NOW, &event), "it is a prompt of the desk");
    }

    fn submitted(&self) -> usize {
        self.runtime.0.lock().expect("no panic").submitted.len()
    }

    fn records(&self) -> Vec<&str> {
        self.desk.log.records.iter().map(String::as_str).collect()
    }
}

fn request(correlation: &'static str) -> Message {
    Message {
        topic: "slmd/n/request".into(),
        payload: Bytes::from_static(b"how hot?"),
        qos: Qos::AtLeastOnce,
        retain: false,
        properties: Properties {
            response_topic: Some("clients/a".into()),
            correlation: Some(Bytes::from_static(correlation.as_bytes())),
            ..Properties::default()
        },
    }
}

fn answer(text: &str) -> Reply {
    Reply::Answer(Box::new(Answer {
        text: text.into(),
        finish_reason: "stop",
        cause: "stop",
        ..Answer::default()
    }))
}

/// The published messages, as (tag, topic, payload).
fn published(actions: &[Action]) -> Vec<(u64, String, Value)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Ack(_) => None,
            Action::Publish { tag, message } => {
                let payload = serde_json::from_slice(&message.payload).expect("JSON");
                Some((*tag, message.topic.clone(), payload))
            }
        })
        .collect()
}

fn acked(actions: &[Action]) -> Vec<u32> {
    let ack = |action: &Action| match action {
        Action::Ack(ack) => Some(*ack),
        Action::Publish { .. } => None,
    };
    actions.iter().filter_map(ack).collect()
}

#[test]
fn a_prompt_is_acknowledged_when_kept_and_answered_when_the_answer_is() {
    let mut bench = Bench::new();
    let ack = bench.receive(NOW, &request("c1"));
    assert_eq!(bench.submitted(), 1, "the runtime has it while the journal still writes");
    assert_eq!(bench.actions(), []);
    bench.commit();
    assert_eq!(acked(&bench.actions()), [ack]);
    bench.desk.began(RequestId(1));
    bench.reply(1, answer("warm"));
    assert_eq!(bench.actions(), [], "the answer is not committed yet");
    bench.commit();
    let actions = bench.actions();
    let [Action::Publish { tag, message }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(message.topic, "clients/a");
    assert_eq!(message.properties.correlation.as_deref(), Some(&b"c1"[..]));
    assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(published(&actions)[0].2["text"], "warm");
    bench.desk.published(*tag, 0);
    assert_eq!(
        bench.records(),
        ["accepted 1", "started 1", "answered 1", "delivered 1 0x0"],
        "and nothing else"
    );
    assert!(bench.desk.is_settled() || bench.desk.uncommitted.is_empty());
}

#[test]
fn a_known_key_is_never_computed_again() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    for _ in 0..50 {
        bench.receive(NOW, &request("c1"));
    }
    bench.commit();
    assert_eq!(acked(&bench.actions()).len(), 51);
    bench.reply(1, answer("one"));
    bench.commit();
    let first = published(&bench.actions());
    assert_eq!(first.len(), 1);
    bench.desk.published(first[0].0, 0);
    for _ in 0..50 {
        let ack = bench.receive(NOW, &request("c1"));
        let actions = bench.actions();
        assert_eq!(acked(&actions), [0; 0], "the broker keeps it until its copy is out");
        let again = published(&actions);
        assert_eq!(again.len(), 1);
        assert_eq!((&again[0].1, &again[0].2), (&first[0].1, &first[0].2));
        bench.desk.published(again[0].0, 0);
        assert_eq!(acked(&bench.actions()), [ack]);
    }
    assert_eq!(bench.submitted(), 1);
}

#[test]
fn a_repeat_before_the_puback_gets_a_message_of_its_own() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("one"));
    bench.commit();
    assert_eq!(published(&bench.actions()).len(), 1);
    bench.receive(NOW, &request("c1"));
    bench.receive(NOW, &request("c1"));
    assert_eq!(published(&bench.actions()).len(), 1, "one more under way serves both");
}

#[test]
fn what_cannot_be_served_is_refused_and_never_journalled() {
    let mut bench = Bench::new();
    bench.runtime.0.lock().expect("no panic").seats = Some(0);
    let busy = bench.receive(NOW, &request("c1"));
    let malformed =
        Message { payload: Bytes::from_static(br#"{"prompt":1,"id":"7"}"#), ..request("c2") };
    bench.receive(NOW, &malformed);
    let large = Message { payload: vec![b'x'; 201].into(), ..request("c3") };
    bench.receive(NOW, &large);
    let unknown = Message { topic: "slmd/n/request/a/b".into(), ..request("c4") };
    bench.receive(NOW, &unknown);
    let actions = bench.actions();
    let refusals = published(&actions);
    let codes: Vec<_> = refusals.iter().map(|r| r.2["error"]["code"].clone()).collect();
    assert_eq!(codes, ["busy", "bad_request", "too_large", "unknown_task"]);
    assert_eq!(refusals[1].2["id"], "7");
    assert_eq!(acked(&actions), [0; 0], "the broker keeps them until the refusals are out");
    bench.desk.published(refusals[0].0, 0);
    assert_eq!(acked(&bench.actions()), [busy]);
    refusals[1..].iter().for_each(|r| bench.desk.published(r.0, 0x10));
    assert_eq!(acked(&bench.actions()).len(), 3);
    assert_eq!(bench.records(), [""; 0]);
}

#[test]
fn without_an_address_there_is_no_inference_but_an_acknowledgement() {
    let mut bench = Bench::new();
    let nowhere = Message { properties: Properties::default(), ..request("c") };
    let forbidden = |topic: &str| Message {
        properties: Properties { response_topic: Some(topic.into()), ..request("c").properties },
        ..request("c")
    };
    let retained = Message { retain: true, ..request("c") };
    let messages = [
        nowhere,
        forbidden("elsewhere"),
        forbidden("slmd/n/request/x"),
        forbidden("clients/#"),
        retained,
    ];
    let acks: Vec<u32> = messages.iter().map(|m| bench.receive(NOW, m)).collect();
    let actions = bench.actions();
    assert_eq!(acked(&actions), acks);
    assert_eq!(published(&actions), []);
    assert_eq!((bench.submitted(), bench.desk.counters().ignored), (0, 5));
}

#[test]
fn deadlines_are_the_smallest_that_was_named() {
    let mut bench = Bench::new();
    let json = Message {
        payload: Bytes::from_static(br#"{"prompt":"x","deadline_ms":1500}"#),
        properties: Properties { expiry_s: Some(2), ..request("c1").properties },
        ..request("c1")
    };
    bench.receive(NOW, &json);
    let text = Message {
        properties: Properties {
            expiry_s: Some(2),
            user: vec![("deadline_ms".into(), "9000".into()), ("priority".into(), "urgent".into())],
            ..request("c2").properties
        },
        ..request("c2")
    };
    bench.receive(NOW, &text);
    let held = bench.runtime.0.lock().expect("no panic");
    let due: Vec<_> = held.submitted.iter().map(|(_, origin)| origin.due).collect();
    assert_eq!(due, [Some(Duration::from_millis(1500)), Some(Duration::from_secs(2))]);
    assert!(held.submitted.iter().all(|(ask, _)| ask.deadline_ms.is_none()));
    assert_eq!(held.submitted[1].0.priority, Some(Priority::Urgent));
}

#[test]
fn a_connection_lost_takes_acks_along_and_answers_go_again() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.commit();
    bench.desk.lost();
    assert_eq!(bench.actions(), []);
    bench.reply(1, answer("one"));
    bench.commit();
    assert_eq!(bench.actions(), []);
    bench.desk.connected(16);
    let first = published(&bench.actions());
    assert_eq!(first.len(), 1);
    bench.desk.lost();
    bench.desk.published(first[0].0, 0);
    bench.desk.connected(16);
    let again = published(&bench.actions());
    assert_eq!(again.len(), 1, "nobody confirmed it");
    assert_eq!(again[0].2, first[0].2, "read back from the journal");
    bench.desk.published(again[0].0, 0);
    bench.desk.lost();
    bench.desk.connected(16);
    assert_eq!(bench.actions(), [], "confirmed is done");
}

#[test]
fn an_answer_without_a_subscriber_is_kept_for_the_repeated_key() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("one"));
    bench.commit();
    let out = published(&bench.actions());
    bench.desk.published(out[0].0, NO_SUBSCRIBERS);
    bench.desk.lost();
    bench.desk.connected(16);
    assert_eq!(bench.actions(), []);
    bench.receive(NOW, &request("c1"));
    assert_eq!(published(&bench.actions()).len(), 1);
    assert_eq!(bench.desk.counters().unheard, 1);
}

#[test]
fn a_passing_refusal_is_forgotten_when_it_is_out() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, Reply::refuse(None, ErrorCode::Busy, "later"));
    bench.commit();
    let out = published(&bench.actions());
    bench.receive(NOW, &request("c1"));
    assert_eq!(bench.submitted(), 2, "who asks again gets another chance at once");
    bench.desk.published(out[0].0, 0);
    assert!(bench.records().contains(&"forgotten 1"));
    bench.reply(2, answer("now"));
    bench.commit();
    assert_eq!(published(&bench.actions()).last().expect("one").2["text"], "now");
}

#[test]
fn a_restart_serves_what_was_accepted_and_sends_what_was_not_confirmed() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.receive(NOW, &request("c2"));
    bench.receive(NOW, &request("c3"));
    bench.reply(1, answer("one"));
    let late = Message {
        properties: Properties { expiry_s: Some(5), ..request("c4").properties },
        ..request("c4")
    };
    bench.receive(NOW, &late);
    let mut bench = bench.restarted(at(10_000), |_| {});
    let waited: Vec<_> = {
        let held = bench.runtime.0.lock().expect("no panic");
        held.submitted.iter().map(|(_, origin)| origin.waited).collect()
    };
    assert_eq!(waited, [Duration::from_secs(10); 2], "two and three, as old as they are");
    bench.desk.connected(16);
    bench.commit();
    let out = published(&bench.actions());
    let texts: Vec<_> = out.iter().map(|p| (&p.2["text"], &p.2["error"]["code"])).collect();
    assert_eq!(texts, [(&"one".into(), &Value::Null), (&Value::Null, &"expired".into())]);
}

#[test]
fn a_prompt_that_ran_when_the_process_died_twice_is_not_tried_again() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("bad"));
    bench.receive(NOW, &request("good"));
    bench.desk.began(RequestId(1));
    bench.desk.began(RequestId(2));
    let mut bench = bench.restarted(NOW, |_| {});
    assert_eq!(bench.submitted(), 1, "suspects run one by one");
    bench.desk.began(RequestId(1));
    let mut bench = bench.restarted(NOW, |_| {});
    bench.desk.connected(16);
    bench.commit();
    let out = published(&bench.actions());
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].2["error"]["code"], "internal");
    assert_eq!(bench.submitted(), 1);
    bench.reply(1, answer("fine"));
    bench.commit();
    assert_eq!(published(&bench.actions())[0].2["text"], "fine", "the other one is served");
}

#[test]
fn a_clean_end_is_nobodys_fault() {
    let mut bench = Bench::new();
    for _ in 0..5 {
        if bench.submitted() == 0 {
            bench.receive(NOW, &request("c1"));
        }
        bench.desk.began(RequestId(1));
        bench.desk.drain();
        bench.reply(1, Reply::refuse(None, ErrorCode::ShuttingDown, "down"));
        bench.commit();
        assert_eq!(published(&bench.actions()), [], "the next run answers");
        assert!(bench.desk.is_settled());
        bench = bench.restarted(NOW, |_| {});
        assert_eq!(bench.submitted(), 1);
    }
}

#[test]
fn while_it_drains_it_takes_nothing_new() {
    let mut bench = Bench::new();
    bench.desk.drain();
    bench.receive(NOW, &request("c1"));
    assert_eq!(published(&bench.actions())[0].2["error"]["code"], "shutting_down");
}

#[test]
fn cancels_go_by_id_or_correlation() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    let named = Message {
        payload: Bytes::from_static(br#"{"prompt":"x","id":"job-2","reply_to":"clients/b"}"#),
        properties: Properties::default(),
        ..request("")
    };
    bench.receive(NOW, &named);
    for id in ["nobody", "job-2", "c1"] {
        let cancel = Message { topic: format!("slmd/n/cancel/{id}"), ..request("") };
        bench.receive(NOW, &cancel);
    }
    let held = bench.runtime.0.lock().expect("no panic");
    assert_eq!(held.cancelled, [RequestId(2), RequestId(1)]);
}

#[test]
fn deltas_go_to_the_stream_of_the_id() {
    let mut bench = Bench::new();
    let stream = |id: &str| Message {
        payload: format!(r#"{{"prompt":"x","stream":true,"id":"{id}"}}"#).into(),
        ..request("c1")
    };
    bench.receive(NOW, &stream("a/b"));
    let refused = published(&bench.actions());
    assert_eq!(refused[0].2["error"]["code"], "bad_request");
    bench.receive(NOW, &stream("s1"));
    bench.reply(1, Reply::Delta { id: Some("s1".into()), text: "wa".into() });
    let deltas = published(&bench.actions());
    assert_eq!(deltas.len(), 1);
    assert_eq!((deltas[0].0, deltas[0].1.as_str()), (0, "slmd/n/stream/s1"));
    assert_eq!(deltas[0].2["delta"], "wa");
}

#[test]
fn an_answer_over_the_brokers_limit_becomes_one_error() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("long"));
    bench.commit();
    let out = published(&bench.actions());
    let instead = bench.desk.too_large(out[0].0, 5000, 1000).expect("an error");
    let payload: Value = serde_json::from_slice(&instead.payload).expect("JSON");
    assert_eq!(payload["error"]["code"], "too_large");
    bench.desk.published(out[0].0, 0);
    assert!(bench.records().contains(&"delivered 1 0x95"));
    bench.desk.lost();
    bench.desk.connected(16);
    assert_eq!(bench.actions(), []);
    // Not even the error fits.
    bench.receive(NOW, &request("c1"));
    let out = published(&bench.actions());
    assert!(bench.desk.too_large(out[0].0, 5000, 10).is_some());
    assert!(bench.desk.too_large(out[0].0, 300, 10).is_none());
    assert!(bench.desk.outgoing.is_empty());
}

#[test]
fn a_full_journal_drops_what_is_out_and_then_says_busy() {
    let mut bench = Bench::new();
    for correlation in ["c1", "c2", "c3", "c4"] {
        bench.receive(NOW, &request(correlation));
    }
    bench.reply(1, answer("one"));
    bench.commit();
    let out = published(&bench.actions());
    bench.receive(NOW, &request("c5"));
    let refused = published(&bench.actions());
    assert_eq!(refused[0].2["error"]["code"], "busy", "none of the four is out");
    bench.desk.published(out[0].0, 0);
    bench.receive(NOW, &request("c6"));
    assert_eq!(bench.submitted(), 5);
    assert!(bench.records().contains(&"forgotten 1"));
}

#[test]
fn a_journal_that_stalls_takes_nothing_and_holds_nothing_up() {
    let mut bench = Bench::new();
    let first = bench.receive(NOW, &request("c1"));
    bench.commit();
    assert_eq!(acked(&bench.actions()), [first]);
    bench.reply(1, answer("one"));
    bench.desk.committed(0, Some("no space left on device"));
    assert_eq!(published(&bench.actions())[0].2["text"], "one", "its deadline goes first");
    bench.receive(NOW, &request("c2"));
    let refused = published(&bench.actions());
    assert_eq!(refused[0].2["error"]["code"], "busy");
    assert!(refused[0].2["error"]["message"].as_str().expect("text").contains("no space"));
    bench.desk.published(refused[0].0, 0);
    bench.commit();
    bench.receive(NOW, &request("c3"));
    assert_eq!(bench.submitted(), 2);
}

#[test]
fn a_copy_that_cannot_be_read_holds_nothing_up() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("one"));
    bench.commit();
    let out = published(&bench.actions());
    bench.desk.published(out[0].0, 0);
    bench.desk.log.answers.clear();
    let ack = bench.receive(NOW, &request("c1"));
    assert_eq!(published(&bench.actions()), []);
    assert_eq!(acked(&bench.actions()), [ack]);
    assert!(bench.desk.outgoing.is_empty());
}

#[test]
fn an_answer_forgotten_on_its_way_may_be_too_large() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("one"));
    bench.commit();
    let out = published(&bench.actions());
    bench.desk.tick(at(3_602_000));
    assert_eq!(bench.desk.load().0, 0);
    assert_eq!(bench.desk.too_large(out[0].0, 5000, 1000), None);
    assert!(bench.desk.outgoing.is_empty());
}

#[test]
fn answers_that_the_broker_refuses_do_not_fill_the_journal_for_good() {
    let mut bench = Bench::new();
    for (n, correlation) in ["c1", "c2", "c3", "c4"].into_iter().enumerate() {
        bench.receive(NOW, &request(correlation));
        bench.reply(n as u64 + 1, answer("one"));
    }
    bench.commit();
    for (tag, ..) in published(&bench.actions()) {
        bench.desk.published(tag, 0x87);
    }
    assert_eq!(bench.desk.load().0, 4, "kept for the next connection");
    bench.receive(NOW, &request("c5"));
    assert_eq!((bench.submitted(), bench.desk.load().0), (5, 4));
    assert!(bench.records().contains(&"forgotten 1"));
}

#[test]
fn answers_that_wait_do_not_silence_refusals() {
    let mut bench = Bench::new();
    for id in 1_000..10_000 {
        bench.desk.outgoing.push(Parcel::Answer(EntryId(id)));
    }
    let malformed = Message { payload: Bytes::from_static(b"{"), ..request("c1") };
    let ack = bench.receive(NOW, &malformed);
    let mut actions = bench.actions();
    let refused = published(&actions);
    assert_eq!(refused[0].2["error"]["code"], "bad_request");
    assert_eq!(acked(&actions), [0; 0]);
    bench.desk.published(refused[0].0, 0);
    actions = bench.actions();
    assert_eq!(acked(&actions), [ack]);
}

#[test]
fn answers_of_an_earlier_run_count_with_all_their_bytes() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer(&"long ".repeat(100)));
    let before = bench.desk.bytes;
    assert!(before > 500);
    let bench = bench.restarted(NOW, |_| {});
    assert_eq!(bench.desk.bytes, before);
}

#[test]
fn a_wall_clock_that_is_set_makes_nothing_old() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("one"));
    bench.desk.tick(Now { unix_ms: 1_700_000_000_000, ..at(1_000) });
    assert_eq!(bench.desk.load().0, 1);
}

#[test]
fn old_answers_are_forgotten() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.receive(NOW, &request("c2"));
    bench.reply(1, answer("one"));
    bench.desk.tick(at(3_600_000));
    assert_eq!(bench.desk.load().0, 2);
    bench.desk.tick(at(3_602_000));
    assert_eq!(bench.desk.load().0, 1, "what has no answer yet stays");
    bench.receive(at(3_602_000), &request("c1"));
    assert_eq!(bench.submitted(), 3);
}

#[test]
fn prompts_of_an_earlier_run_wait_for_seats() {
    let mut bench = Bench::new();
    for correlation in ["c1", "c2", "c3"] {
        bench.receive(NOW, &request(correlation));
    }
    let mut bench = bench.restarted(NOW, |next| {
        next.runtime.0.lock().expect("no panic").seats = Some(1);
    });
    assert_eq!((bench.submitted(), bench.desk.load()), (1, (3, 2)));
    assert!(bench.desk.is_waiting());
    let cancel = Message { topic: "slmd/n/cancel/c3".into(), ..request("") };
    bench.receive(NOW, &cancel);
    bench.runtime.0.lock().expect("no panic").seats = Some(1);
    bench.reply(1, answer("one"));
    assert_eq!((bench.submitted(), bench.desk.load()), (2, (3, 0)));
}

#[test]
fn an_answer_that_the_disk_has_damaged_is_said_to_be() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.reply(1, answer("one"));
    let mut bench = bench.restarted(NOW, |next| next.desk.log.answers.clear());
    bench.desk.connected(16);
    assert_eq!(bench.actions(), []);
    bench.commit();
    let out = published(&bench.actions());
    assert_eq!(out[0].2["error"]["code"], "internal");
    assert_eq!(bench.submitted(), 0, "the prompt's body is gone");
}

#[test]
fn what_was_parked_can_still_be_cancelled() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.desk.drain();
    bench.reply(1, Reply::refuse(None, ErrorCode::ShuttingDown, "down"));
    let cancel = Message { topic: "slmd/n/cancel/c1".into(), ..request("") };
    bench.receive(NOW, &cancel);
    bench.commit();
    assert_eq!(published(&bench.actions())[0].2["error"]["code"], "cancelled");
    let bench = bench.restarted(NOW, |_| {});
    assert_eq!(bench.submitted(), 0, "the next run does not answer it");
}

fn limited() -> Vec<Quota> {
    vec![Quota {
        name: "all".into(),
        selector: Selector::Topic("slmd/n/request/#".into()),
        requests_per_minute: Some(1),
        tokens_per_minute: Some(10),
        max_priority: Priority::Normal,
    }]
}

#[test]
fn what_the_runtime_had_no_room_for_is_not_booked() {
    let mut bench = Bench::with(Policy { quotas: limited(), ..policy() });
    bench.desk.connected(16);
    bench.runtime.0.lock().expect("no panic").seats = Some(0);
    bench.receive(NOW, &request("c1"));
    assert_eq!(published(&bench.actions())[0].2["error"]["code"], "busy");
    bench.runtime.0.lock().expect("no panic").seats = None;
    bench.receive(NOW, &request("c2"));
    assert_eq!(bench.submitted(), 1);
    let origin = bench.runtime.0.lock().expect("no panic").submitted[0].1.clone();
    assert_eq!(origin.max_priority, Priority::Normal);
    bench.receive(NOW, &request("c3"));
    assert_eq!(bench.submitted(), 1);
    assert_eq!(published(&bench.actions())[0].2["error"]["code"], "over_quota");
}

#[test]
fn prompts_of_an_earlier_run_pay_their_tokens_and_no_second_request() {
    let mut bench = Bench::new();
    bench.receive(NOW, &request("c1"));
    bench.commit();
    let limit = |next: &mut Bench| next.desk.quotas = Quotas::new(limited());
    let mut next = bench.restarted(at(1_000), limit);
    assert_eq!(next.submitted(), 1);
    let event = Event { request: RequestId(1), reply: answer("warm"), tokens: 11 };
    assert!(next.desk.reply(at(1_000), &event));
    let left = &next.desk.quotas(at(1_000))[0];
    assert_eq!((&left["requests"]["left"], &left["tokens"]["left"]), (&1.into(), &(-1).into()));
}
