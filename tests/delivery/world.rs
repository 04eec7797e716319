//! Everything around the desk, and what must hold at each moment.

use super::broker::{Broker, Token, Under};
use super::disk::{Journal, Kept};
use super::engine::Engine;
use super::random::Random;
use super::{unix_ms, wishes};
use serde_json::Value;
use slmd::core::error::ErrorCode;
use slmd::core::request::RequestId;
use slmd::journal::EntryId;
use slmd::runtime::Event;
use slmd::transport::mqtt::Now;
use slmd::transport::mqtt::desk::{Desk, Policy};
use slmd::transport::mqtt::message::{Message, Qos};
use slmd::transport::mqtt::topics::{ReplyTopics, Topics};
use slmd::wire::Reply;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// The last events, for who has to find out.
pub type Trace = Arc<Mutex<VecDeque<String>>>;

/// A prompt that slmd acknowledged.
struct Owed {
    topic: String,
    received_ms: u64,
}

struct Process {
    desk: Desk<Engine, Journal, Token>,
    replies: mpsc::Receiver<Event>,
    starts: mpsc::Receiver<RequestId>,
    is_draining: bool,
    /// What the link had no room for, and whether it is an answer of the journal's.
    held: Option<(u64, Message, bool)>,
    entries: BTreeMap<RequestId, EntryId>,
    /// The place in the journal behind the note that it began, or was taken back.
    began: BTreeMap<EntryId, usize>,
    parked: BTreeMap<EntryId, usize>,
    suspects: BTreeSet<EntryId>,
    /// Answers that may go out before they are committed: the journal stalled.
    freed: BTreeSet<EntryId>,
    /// Those of them that went.
    risky: BTreeMap<EntryId, String>,
    looked_at: usize,
    /// All places below it are committed, and the desk knows.
    told: usize,
}

pub struct World {
    pub random: Random,
    pub broker: Broker,
    trace: Trace,
    now_ms: u64,
    boot: u64,
    boot_began_ms: u64,
    journal: Journal,
    engine: Engine,
    process: Option<Process>,
    max_entries: usize,
    max_age_s: u64,
    names: Vec<String>,
    owed: Vec<Owed>,
    /// The one answer of a topic; none: a crash during a stall or the bounds took it away.
    answers: BTreeMap<String, Option<Vec<u8>>>,
    strikes: BTreeMap<EntryId, u32>,
    /// At least as many as the journal may count.
    most_starts: BTreeMap<EntryId, u32>,
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random(seed);
        Self {
            broker: Broker::new(&mut random),
            trace,
            now_ms: 1_000,
            boot: 1,
            boot_began_ms: 0,
            journal: Journal::default(),
            engine: Engine::new(seed, 1, 0),
            process: None,
            max_entries: if random.one_in(4) { 6 } else { 500 },
            max_age_s: if random.one_in(8) { 3 } else { 100_000 },
            names: Vec::new(),
            owed: Vec::new(),
            answers: BTreeMap::new(),
            strikes: BTreeMap::new(),
            most_starts: BTreeMap::new(),
            random,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        let mut trace = self.trace.lock().expect("nobody panicked with it");
        let event = what();
        if trace.back().is_some_and(|last| last.ends_with(&event)) {
            return;
        }
        trace.push_back(format!("{:>6} {event}", self.now_ms));
        if trace.len() > 60 {
            trace.pop_front();
        }
    }

    fn now(&self) -> Now {
        // A boot takes half a second.
        let boot_ms = self.now_ms - self.boot_began_ms + 500;
        Now { boot_ms, unix_ms: unix_ms(self.now_ms) }
    }

    fn desk(&mut self) -> &mut Desk<Engine, Journal, Token> {
        &mut self.process.as_mut().expect("it is up").desk
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.journal.disk().now_ms = self.now_ms;
    }

    /// A thing happens.
    pub fn step(&mut self) {
        let ms = 1 + self.random.below(20);
        self.pass(ms);
        if self.process.is_none() {
            match self.random.below(4) {
                0 => self.start(),
                1 => self.ask(),
                _ => {}
            }
            return;
        }
        match self.random.below(100) {
            0..=11 => self.ask(),
            12..=27 => drop(self.deliver()),
            28..=33 => drop(self.broker.take_ack()),
            34..=43 => self.publication_arrives(false),
            44..=51 => drop(self.puback()),
            52..=57 => drop(self.begin()),
            58..=60 => self.delta(),
            61..=66 => drop(self.finish()),
            67..=74 => drop(self.reply()),
            75..=78 => drop(self.began()),
            79..=83 => self.commit(),
            84..=87 => self.progress(),
            88 => self.fill_or_free_disk(),
            89..=90 if self.broker.is_connected => self.lose(),
            89..=93 if !self.broker.is_connected => self.connect(false),
            94..=95 => self.tick(),
            96 => self.disaster(),
            _ => {}
        }
        if self.process.is_some() && !self.random.one_in(3) {
            let most = self.random.between(0, 9);
            self.pump(most);
        }
        self.maybe_end_drain();
    }

    fn disaster(&mut self) {
        match self.random.below(6) {
            0 => self.end("crash", false),
            1 => self.end("power loss", true),
            2 => {
                self.say(|| "SIGTERM".into());
                self.process.as_mut().expect("it is up").is_draining = true;
                self.engine.jobs().is_draining = true;
                self.desk().drain();
            }
            _ => {}
        }
    }

    pub fn start(&mut self) {
        let (replies, from_runtime) = mpsc::channel(16);
        let (starts, begun) = mpsc::channel(8);
        let seats = self.random.between(1, 4);
        let next_text = self.engine.jobs().next_text;
        self.engine = Engine::new(self.random.next(), seats, next_text);
        let topics = Topics::new("n", &["g".into()]);
        let policy = Policy {
            replies: ReplyTopics::new(&topics, &["clients/#".into()], &[]),
            topics,
            quotas: Vec::new(),
            max_request_bytes: wishes::MAX_REQUEST_BYTES,
            max_entries: self.max_entries,
            max_bytes: 1 << 30,
            max_age_s: self.max_age_s,
            boot: format!("boot {}", self.boot),
        };
        let desk = Desk::new(self.engine.clone(), self.journal.clone(), policy, replies, starts);
        let live = self.journal.disk().live.clone();
        let ran = live.values().filter(|l| !l.entry.answered && l.entry.starts > 0);
        self.say(|| format!("starts with {} entries, {seats} seats", live.len()));
        let records = self.journal.disk().records.len();
        self.process = Some(Process {
            desk,
            replies: from_runtime,
            starts: begun,
            is_draining: false,
            held: None,
            entries: BTreeMap::new(),
            began: BTreeMap::new(),
            parked: BTreeMap::new(),
            suspects: ran.map(|l| l.entry.id).collect(),
            freed: BTreeSet::new(),
            risky: BTreeMap::new(),
            looked_at: records,
            told: records,
        });
        let next_id = live.keys().last().map_or(1, |id| id.0 + 1);
        let entries = live.into_values().map(|live| live.entry).collect();
        let now = self.now();
        self.desk().recover(now, entries, EntryId(next_id));
        self.check();
    }

    /// The process is gone, and with it all that is not on the disk.
    fn end(&mut self, why: &str, power: bool) {
        if self.broker.is_connected {
            self.broker.lose(self.now_ms, &mut self.random);
        }
        let Some(process) = self.process.take() else { return };
        let left = match why {
            "closed" => self.journal.disk().close(),
            _ => self.journal.disk().crash(&mut self.random),
        };
        self.say(|| format!("{why}; {left} records are left"));
        let running: BTreeSet<EntryId> = self
            .engine
            .jobs()
            .jobs
            .keys()
            .filter_map(|r| process.entries.get(r))
            .copied()
            .collect();
        for (id, _) in process.began.iter().filter(|(_, place)| **place <= left) {
            let parked = process.parked.get(id);
            *self.strikes.entry(*id).or_default() += u32::from(running.contains(id));
            let counts = parked.is_none_or(|place| *place > left);
            *self.most_starts.entry(*id).or_default() += u32::from(counts);
        }
        let disk = self.journal.disk();
        for (id, topic) in process.risky {
            if disk.live.get(&id).is_none_or(|live| live.answer.is_none()) {
                self.answers.insert(topic, None);
            }
        }
        self.strikes.retain(|id, _| disk.live.contains_key(id));
        self.most_starts.retain(|id, _| disk.live.contains_key(id));
        drop(disk);
        if power {
            self.boot += 1;
            self.boot_began_ms = self.now_ms;
        }
    }

    fn maybe_end_drain(&mut self) {
        let Some(process) = &self.process else { return };
        let gives_up = self.random.one_in(60);
        let is_settled = process.desk.is_settled();
        if is_settled {
            let broker = &self.broker;
            let is_out = broker.wire.iter().all(|u| u.tag == 0) && broker.pubacks.is_empty();
            assert!(is_out, "settled, with answers on their way");
            assert!(self.engine.jobs().jobs.is_empty(), "settled, with prompts under way");
        }
        if process.is_draining && (is_settled || gives_up) {
            let is_full = self.journal.disk().is_full;
            self.end(if is_full { "ended on a full disk" } else { "closed" }, false);
        }
    }

    fn ask(&mut self) {
        let message = match self.random.below(20) {
            0 => wishes::nothing(self.random.below(20)),
            1 | 2 if !self.names.is_empty() => {
                let which = self.random.below(self.names.len() as u64) as usize;
                wishes::cancel(&self.names[which])
            }
            3..=8 if !self.names.is_empty() => {
                let which = self.random.below(self.names.len() as u64) as usize;
                wishes::request(&self.names[which])
            }
            luck => {
                let kind = if luck < 12 { 'n' } else { 'k' };
                let name = format!("{kind}{}", self.names.len());
                self.names.push(name.clone());
                let mut message = wishes::request(&name);
                if self.random.one_in(12) {
                    message.qos = Qos::AtMostOnce;
                }
                message
            }
        };
        self.broker.queue(message);
    }

    fn deliver(&mut self) -> bool {
        let Some((message, token)) = self.broker.deliver(self.now_ms) else { return false };
        self.say(|| {
            let name = message.properties.response_topic.as_deref().unwrap_or("-");
            format!("receives {} for {name} as {token:?}", message.topic)
        });
        let now = self.now();
        let reply_topic = wishes::expected_reply(&message);
        let is_known = self.journal.disk().live.values().any(|live| {
            let is_it = reply_topic.as_ref() == Some(&live.topic);
            is_it && live.topic.starts_with("clients/k") && !live.is_passing()
        });
        let before = self.desk().counters().repeated;
        self.desk().receive(now, &message, token);
        let is_repeated = self.desk().counters().repeated > before;
        assert_eq!(is_repeated, is_known, "{reply_topic:?} is known, or it is not");
        self.check();
        true
    }

    fn publication_arrives(&mut self, calm: bool) {
        self.broker.take_publication(self.now_ms, &mut self.random, calm);
    }

    fn puback(&mut self) -> bool {
        let Some((tag, reason)) = self.broker.pubacks.pop_front() else { return false };
        self.say(|| format!("PUBACK of {tag}: {reason:#x}"));
        self.desk().published(tag, reason);
        self.check();
        true
    }

    fn one_of(&mut self, requests: &[RequestId]) -> Option<RequestId> {
        let n = requests.len() as u64;
        (n > 0).then(|| requests[self.random.below(n) as usize])
    }

    fn begin(&mut self) -> bool {
        let idle = self.engine.jobs().running(false);
        let Some(request) = self.one_of(&idle) else { return false };
        self.engine.jobs().begin(request);
        true
    }

    fn delta(&mut self) {
        let running = self.engine.jobs().running(true);
        if let Some(request) = self.one_of(&running) {
            self.engine.jobs().say(request);
        }
    }

    fn finish(&mut self) -> bool {
        let running = self.engine.jobs().running(true);
        let Some(request) = self.one_of(&running) else { return false };
        self.engine.jobs().finish(request);
        true
    }

    fn reply(&mut self) -> bool {
        let process = self.process.as_mut().expect("it is up");
        let Ok(event) = process.replies.try_recv() else { return false };
        let mut is_parked = false;
        if let Reply::Answer(_) | Reply::Error { .. } = &event.reply {
            self.engine.jobs().jobs.remove(&event.request);
            is_parked = matches!(&event.reply, Reply::Error { reason, .. }
                if reason.code == ErrorCode::ShuttingDown);
        }
        self.say(|| {
            format!("reply to {:?}{}", event.request, if is_parked { ": parked" } else { "" })
        });
        let now = self.now();
        assert!(self.desk().reply(now, &event), "all requests are the desk's");
        let place = self.journal.disk().records.len();
        let process = self.process.as_mut().expect("it is up");
        if is_parked {
            process.parked.insert(process.entries[&event.request], place);
        }
        self.check();
        true
    }

    fn began(&mut self) -> bool {
        let process = self.process.as_mut().expect("it is up");
        let Ok(request) = process.starts.try_recv() else { return false };
        process.desk.began(request);
        if self.engine.jobs().jobs.contains_key(&request) {
            let place = self.journal.disk().records.len();
            process.began.insert(process.entries[&request], place);
        }
        self.check();
        true
    }

    fn commit(&mut self) {
        let mut disk = self.journal.disk();
        if !disk.is_full {
            disk.committed = self.random.between(disk.committed, disk.records.len());
        }
    }

    /// The desk hears how far the journal is.
    fn progress(&mut self) {
        let (number, is_full) = {
            let disk = self.journal.disk();
            (disk.committed_number(), disk.is_full)
        };
        self.say(|| format!("committed {number}{}", if is_full { ", stalled" } else { "" }));
        let process = self.process.as_mut().expect("it is up");
        process.desk.committed(number, is_full.then_some("no space left"));
        process.told = number as usize + self.journal.disk().base;
        self.check();
    }

    fn fill_or_free_disk(&mut self) {
        let mut disk = self.journal.disk();
        disk.is_full = !disk.is_full && self.random.one_in(2);
    }

    fn lose(&mut self) {
        self.say(|| "connection lost".into());
        self.broker.lose(self.now_ms, &mut self.random);
        if self.random.one_in(10) {
            self.say(|| "the broker forgets the session".into());
            self.broker.session.clear();
            self.broker.has_session = false;
        }
        let process = self.process.as_mut().expect("it is up");
        process.held = None;
        process.desk.lost();
        self.check();
    }

    fn connect(&mut self, calm: bool) {
        self.say(|| "connected".into());
        let forget = !calm && self.random.one_in(10);
        self.broker.connect(forget);
        let window = self.broker.window;
        self.desk().connected(window);
        self.check();
    }

    fn tick(&mut self) {
        let now = self.now();
        self.desk().tick(now);
        self.check();
    }

    /// Acknowledgements and messages go to the link; it has room for a few.
    fn pump(&mut self, most: usize) {
        while let Some((generation, seq)) = self.desk().next_ack() {
            self.acknowledge(generation, seq);
        }
        self.check_first_ack();
        for _ in 0..most {
            let now = self.now();
            let process = self.process.as_mut().expect("it is up");
            let Some((tag, message, is_stored)) = process.held.take().or_else(|| {
                let (tag, message) = process.desk.next_message(now)?;
                let is_stored = is_stored(process, &self.journal, &message);
                Some((tag, message, is_stored))
            }) else {
                break;
            };
            let (size, limit) = (message.payload.len(), self.broker.max_packet);
            if size > limit {
                let instead = process.desk.too_large(tag, size, limit);
                process.held = instead.map(|message| (tag, message, is_stored));
            } else if self.broker.wire.len() >= 4 {
                process.held = Some((tag, message, is_stored));
                break;
            } else {
                self.publish(tag, message, is_stored);
            }
        }
        self.check();
    }

    /// What is accepted and committed is acknowledged, and does not wait for its answer.
    fn check_first_ack(&self) {
        let Some(&seq) = self.broker.unacked.front() else { return };
        let first = self.broker.session.iter().find(|p| p.seq == seq).expect("the broker has it");
        let topic = wishes::expected_reply(&first.message).unwrap_or_default();
        let told = self.process.as_ref().expect("it is up").told;
        let disk = self.journal.disk();
        let mut committed = disk.live.values().filter(|live| {
            let is_known = live.arrived_ms <= first.received_ms;
            is_known && !live.entry.answered && live.accepted_at < told
        });
        let is_kept = topic.starts_with("clients/k") && committed.any(|live| live.topic == topic);
        assert!(!is_kept, "{topic} is committed, and not acknowledged");
    }

    fn acknowledge(&mut self, generation: u64, seq: u64) {
        let broker = &mut self.broker;
        assert!(broker.is_connected && generation == broker.generation, "an ack too late: {seq}");
        assert_eq!(broker.unacked.pop_front(), Some(seq), "acks go in the order of arrival");
        broker.acks.push_back(seq);
        let pending = broker.session.iter().find(|p| p.seq == seq).expect("the broker has it");
        if let Some(topic) = wishes::expected_reply(&pending.message) {
            self.owed.push(Owed { topic, received_ms: pending.received_ms });
        }
        self.say(|| format!("acknowledges {seq}"));
    }

    fn publish(&mut self, tag: u64, message: Message, is_stored: bool) {
        assert!(self.broker.is_connected, "published without a connection");
        assert!(!message.retain, "{message:?}");
        self.say(|| {
            format!("publishes {tag} to {}{}", message.topic, if is_stored { " *" } else { "" })
        });
        let reply: Value = serde_json::from_slice(&message.payload).expect("replies are JSON");
        if let Some(id) = message.topic.strip_prefix("slmd/n/stream/") {
            assert_eq!((message.qos, &reply["id"]), (Qos::AtMostOnce, &Value::from(id)));
        } else {
            let name = message.topic.strip_prefix("clients/").expect("an allowed topic");
            assert!(self.names.iter().any(|n| n == name), "{name} asked for nothing");
            let under_way = self.broker.wire.iter().filter(|u| u.tag != 0).count();
            let window = usize::from(self.broker.window);
            assert!(under_way + self.broker.pubacks.len() < window, "the window is {window}");
            if is_stored && wishes::has_key(name) && reply["error"]["retryable"] != true {
                let bytes = message.payload.to_vec();
                let first =
                    self.answers.entry(message.topic.clone()).or_insert(Some(bytes.clone()));
                let is_same = first.as_ref().is_none_or(|first| *first == bytes);
                assert!(is_same, "{name} gets another answer: {reply}, not {first:?}");
            }
        }
        self.broker.wire.push_back(Under { tag, message });
    }

    /// What must hold after each call of the desk.
    fn check(&mut self) {
        let now_ms = self.now_ms;
        let process = self.process.as_mut().expect("it is up");
        let disk = self.journal.disk();
        assert!(
            process.desk.load().0 <= self.max_entries.max(disk.live.len()),
            "{:?}",
            process.desk.load()
        );
        assert!(disk.live.len() <= self.max_entries, "{} entries", disk.live.len());
        if process.desk.stalled().is_some() {
            let open = disk.live.values().filter(|l| l.entry.answered);
            process
                .freed
                .extend(open.filter(|l| l.answered_at >= disk.committed).map(|l| l.entry.id));
        }
        for place in process.looked_at..disk.records.len() {
            match &disk.records[place] {
                Kept::Answered(id, answer) => {
                    let reply: Value = serde_json::from_slice(&answer[1..]).expect("JSON");
                    let was_asked = process.entries.values().any(|asked| asked == id);
                    let is_passing = reply["error"]["retryable"] == true;
                    assert!(was_asked || !is_passing, "{id:?} was accepted once, and is {reply}");
                    if reply["error"]["code"] == "internal" {
                        let most = self.most_starts.get(id).copied().unwrap_or(0);
                        assert!(most >= 2, "{id:?} is innocent: it ran at {most} crashes");
                    }
                }
                Kept::Forgotten(id) => {
                    let before = disk.records[..place].iter().rev();
                    let is_of = |r: &&Kept| matches!(r, Kept::Delivered(of, _) if of == id);
                    let is_out = before.clone().any(|r| is_of(&r));
                    let head = before.clone().find_map(|r| match r {
                        Kept::Accepted { id: of, head, .. } if of == id => Some(head),
                        _ => None,
                    });
                    let answer = before.clone().find_map(|r| match r {
                        Kept::Answered(of, answer) if of == id => Some(answer),
                        _ => None,
                    });
                    let head: Value = serde_json::from_slice(head.expect("a head")).expect("JSON");
                    let answer = &answer.expect("only what is answered is forgotten")[1..];
                    let answer: Value = serde_json::from_slice(answer).expect("JSON");
                    let topic = head["reply_topic"].as_str().expect("a topic");
                    let heard = self.broker.heard.get(topic).into_iter().flatten();
                    let is_refused = heard.map(|heard| heard.reason).any(|reason| reason >= 0x80);
                    assert!(
                        is_out || is_refused || self.max_age_s < 100,
                        "{id:?} was forgotten before it was out"
                    );
                    if answer["error"]["retryable"] != true {
                        self.answers.insert(topic.to_owned(), None);
                    }
                }
                _ => {}
            }
        }
        process.looked_at = disk.records.len();
        let mut jobs = self.engine.jobs();
        for submission in std::mem::take(&mut jobs.submitted) {
            let (name, origin) = (submission.text, submission.origin);
            assert!(!name.starts_with('x'), "{name} must not be served");
            let topic = wishes::reply_topic(&name);
            let arrived_ms = now_ms - origin.waited.as_millis() as u64;
            let of_topic: Vec<_> = disk.live.values().filter(|l| l.topic == topic).collect();
            let own = of_topic.iter().find(|l| !l.entry.answered && l.arrived_ms == arrived_ms);
            let id = own.map(|l| l.entry.id);
            let id = id.unwrap_or_else(|| panic!("{name} waited {:?}: not so", origin.waited));
            assert_eq!(origin.due, wishes::due(&name), "the deadline of {name}");
            assert!(origin.due.is_none_or(|due| origin.waited < due), "{name} was expired");
            if wishes::has_key(&name) {
                let mut answered = of_topic.iter().filter(|l| l.entry.answered);
                let is_new = answered.all(|live| live.is_passing());
                assert!(is_new, "{name} has its answer, and is computed again");
                let same = |prompt: &Option<String>| prompt.as_ref() == Some(&name);
                let at_once = jobs.jobs.values().filter(|job| same(&job.ask.prompt)).count();
                assert_eq!(at_once, 1, "{name} is computed twice at once");
            }
            let strikes = self.strikes.get(&id).copied().unwrap_or(0);
            assert!(strikes < 2, "{name} ran at {strikes} crashes, and runs again");
            if process.suspects.contains(&id) {
                let beside = |r: &RequestId| process.entries.get(r).copied();
                let mut others = jobs.jobs.keys().filter_map(beside);
                let other = others.find(|other| process.suspects.contains(other));
                assert_eq!(other, None, "{name} runs beside another suspect");
            }
            process.entries.insert(submission.request, id);
        }
    }

    fn everything_moves(&mut self) {
        self.pass(20);
        // One at a time, so that the arrival tells who is who.
        while self.deliver() {
            self.pass(1);
        }
        self.pump(100);
        while !self.broker.wire.is_empty() {
            self.publication_arrives(true);
        }
        while self.broker.take_ack() {}
        while self.puback() {}
        while self.begin() {}
        while self.began() {}
        while self.finish() {}
        while self.reply() {}
        let mut disk = self.journal.disk();
        if !disk.is_full {
            disk.committed = disk.records.len();
        }
        drop(disk);
        self.progress();
        self.tick();
        self.pump(100);
    }

    fn calm(&mut self) {
        if self.process.as_ref().is_some_and(|process| process.is_draining) {
            self.end("closed", false);
        }
        if self.process.is_none() {
            self.start();
        }
        self.engine.jobs().is_calm = true;
        // What the broker refused goes again on a new connection.
        if self.broker.is_connected {
            self.lose();
        }
        self.connect(true);
    }

    fn is_quiet(&mut self) -> bool {
        let broker = &self.broker;
        let is_empty = broker.session.is_empty() && broker.wire.is_empty();
        let is_idle = self.engine.jobs().jobs.is_empty();
        is_empty && broker.unacked.is_empty() && is_idle && self.desk().load().1 == 0
    }

    /// The disk is full for ever: all that came in is answered and acknowledged all the same.
    pub fn settle_without_disk(&mut self) {
        self.say(|| "the disk stays full".into());
        self.calm();
        self.journal.disk().is_full = true;
        for _ in 0..200 {
            self.everything_moves();
        }
        assert!(self.is_quiet(), "a full disk starves it: {}", self.state());
        assert!(self.desk().is_settled(), "not settled without a disk: {}", self.state());
        self.journal.disk().is_full = false;
    }

    /// Nothing goes wrong any more: all that was promised is kept.
    pub fn settle(&mut self) {
        self.say(|| "all is well from now on".into());
        self.journal.disk().is_full = false;
        self.calm();
        for _ in 0..200 {
            self.everything_moves();
            if self.is_quiet() {
                self.retry();
            }
        }
        assert!(self.is_quiet(), "it never comes to rest: {}", self.state());
        assert!(self.desk().is_settled(), "not settled: {}", self.state());
        for name in &self.names {
            let heard = self.broker.heard.get(&wishes::reply_topic(name));
            assert!(heard.is_some(), "{name} was never answered");
        }
        let all_live = self.journal.disk().live.clone();
        for live in all_live.values() {
            let is_out = live.entry.delivered.is_some_and(|reason| reason < 0x80);
            let is_too_large = live.entry.delivered == Some(0x95);
            assert!(is_out || is_too_large, "{live:?} is still to be delivered");
        }
        for owed in &self.owed {
            let heard = &self.broker.heard[&owed.topic];
            let is_kept = heard.iter().any(|heard| heard.at_ms >= owed.received_ms);
            let is_old = self.max_age_s < 100;
            assert!(
                is_kept || is_old,
                "{} was received at {} and acknowledged, and got nothing since",
                owed.topic,
                owed.received_ms
            );
        }
    }

    /// Clients that heard nothing ask again.
    fn retry(&mut self) {
        for name in &self.names {
            if !self.broker.heard.contains_key(&wishes::reply_topic(name)) {
                self.broker.queue(wishes::request(name));
            }
        }
    }

    fn state(&mut self) -> String {
        let session: Vec<u64> = self.broker.session.iter().map(|p| p.seq).collect();
        let unacked = self.broker.unacked.clone();
        let jobs = self.engine.jobs().jobs.len();
        let (load, is_settled) = (self.desk().load(), self.desk().is_settled());
        format!(
            "session {session:?}, unacked {unacked:?}, {jobs} jobs, load {load:?}, settled {is_settled}"
        )
    }
}

/// Whether a message is an answer of the journal's, which then must have been committed.
fn is_stored(process: &mut Process, journal: &Journal, message: &Message) -> bool {
    let disk = journal.disk();
    let is_it = |answer: &Vec<u8>| answer[1..] == message.payload[..];
    let mut of_topic = disk.live.values().filter(|l| l.topic == message.topic);
    let found = of_topic.find(|l| l.answer.as_ref().is_some_and(is_it));
    let Some(live) = found else { return false };
    if live.answered_at >= disk.committed {
        let (id, topic) = (live.entry.id, live.topic.clone());
        assert!(process.freed.contains(&id), "{topic} is answered before the journal has it");
        process.risky.insert(id, topic);
    }
    true
}
