//! One answer for each prompt: what is accepted, journalled, acknowledged, answered, published, and
//! kept for the client who asks again.
//!
//! The rules, which `docs/mqtt.md` gives to users:
//!
//! - What can be refused at once is refused, and never journalled: its PUBACK goes out after the
//!   refusal, so until then the broker has it.
//! - What is accepted goes to the runtime and to the journal at the same time. Its PUBACK goes out
//!   when the journal has committed it, its answer when the journal has committed that.
//! - A key that is known gets the answer that it got before, or waits for the one under way.
//!
//! No I/O and no clock: messages and times go in, messages and acknowledgements come out. The
//! journal is a [`Log`], the runtime a [`Service`].

mod recovery;

use super::Now;
use super::acks::{Acks, Until};
use super::entry::{Answered, Entry, State, payload, response};
use super::message::{Message, Properties, Qos};
use super::outgoing::{Offline, Outgoing, Parcel};
use super::request::{self, Address, Request};
use super::stored::{self, Head, Key};
use super::topics::{Inbound, ReplyTopics, Topics};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::RequestId;
use crate::journal::{EntryId, Record};
use crate::runtime::{Event, Outbox, Service};
use crate::transport::quota::{Asker, Quota, Quotas};
use crate::wire::Reply;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use tokio::sync::mpsc;

/// What the desk needs of the journal.
pub trait Log {
    /// Takes a record and says its number; they are committed in order. Must not block.
    fn append(&mut self, record: Record<'_>) -> u64;

    /// The answer of an entry.
    ///
    /// # Errors
    /// The disk's.
    fn read_answer(&self, id: EntryId) -> io::Result<Option<Vec<u8>>>;
}

/// What the configuration says about requests.
#[derive(Debug)]
pub struct Policy {
    /// Our topics.
    pub topics: Topics,
    /// Where replies may go.
    pub replies: ReplyTopics,
    /// What topics may ask for.
    pub quotas: Vec<Quota>,
    /// The largest body of a request.
    pub max_request_bytes: usize,
    /// Prompts and answers that are kept.
    pub max_entries: usize,
    /// What they may take in the journal.
    pub max_bytes: usize,
    /// How long they are kept.
    pub max_age_s: u64,
    /// Identifies this boot of the machine.
    pub boot: String,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Prompts accepted.
    pub accepted: u64,
    /// Refused before they were.
    pub refused: u64,
    /// Repeated keys.
    pub repeated: u64,
    /// Without a place to answer to, or with one that is not allowed, or retained.
    pub ignored: u64,
    /// Answers that reached the broker.
    pub delivered: u64,
    /// Answers that found no subscriber.
    pub unheard: u64,
    /// Deltas that found no room.
    pub lost_deltas: u64,
}

/// Refusals that wait to be published; what is refused beyond them is refused in silence.
const MAX_REFUSALS: usize = 4096;
/// Deltas that wait for the link.
const MAX_DELTAS: usize = 256;
/// The flags of a stored answer.
const PASSING: u8 = 1;
/// The process went down so often while it answered a prompt: not again.
const MAX_STARTS: u32 = 2;
/// MQTT 5.0, section 2.4: reason codes from here on are failures.
const FAILURE: u8 = 0x80;
/// Packet too large.
const TOO_LARGE: u8 = 0x95;
/// No matching subscribers.
const NO_SUBSCRIBERS: u8 = 0x10;

/// The state of all prompts that came by MQTT. `A` is the link's token for an acknowledgement.
#[derive(Debug)]
pub struct Desk<S, L, A> {
    service: S,
    log: L,
    policy: Policy,
    quotas: Quotas,
    replies: mpsc::Sender<Event>,
    starts: mpsc::Sender<RequestId>,
    entries: BTreeMap<EntryId, Entry>,
    by_key: HashMap<Key, EntryId>,
    by_request: HashMap<RequestId, EntryId>,
    waiting: VecDeque<EntryId>,
    /// Answered, but not committed.
    uncommitted: VecDeque<EntryId>,
    acks: Acks<A>,
    outgoing: Outgoing,
    /// Tags whose message was replaced by a complaint about its size.
    shrunk: BTreeSet<u64>,
    deltas: VecDeque<Message>,
    next_id: u64,
    committed: u64,
    bytes: usize,
    stalled: Option<String>,
    is_connected: bool,
    is_draining: bool,
    counters: Counters,
}

impl<S: Service, L: Log, A> Desk<S, L, A> {
    /// An empty desk. The runtime's replies come through `replies` and are to be handed to
    /// [`Desk::reply`], the beginnings of their inference through `starts` to [`Desk::began`].
    pub fn new(
        service: S,
        log: L,
        mut policy: Policy,
        replies: mpsc::Sender<Event>,
        starts: mpsc::Sender<RequestId>,
    ) -> Self {
        Self {
            service,
            log,
            quotas: Quotas::new(std::mem::take(&mut policy.quotas)),
            policy,
            replies,
            starts,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            by_request: HashMap::new(),
            waiting: VecDeque::new(),
            uncommitted: VecDeque::new(),
            acks: Acks::new(),
            outgoing: Outgoing::new(),
            shrunk: BTreeSet::new(),
            deltas: VecDeque::new(),
            next_id: 1,
            committed: 0,
            bytes: 0,
            stalled: None,
            is_connected: false,
            is_draining: false,
            counters: Counters::default(),
        }
    }

    /// A connection stands; the broker takes up to `window` messages without a PUBACK. Everything
    /// that the broker has not confirmed is published again.
    pub fn connected(&mut self, window: u16) {
        self.is_connected = true;
        self.outgoing.connect(window);
        let unconfirmed = |entry: &Entry| match &entry.state {
            State::Answered(a) if a.delivered.is_none() => Some((a.record, self.may_go(a))),
            _ => None,
        };
        let found = self.entries.iter().filter_map(|(id, entry)| Some((*id, unconfirmed(entry)?)));
        let mut wait = Vec::new();
        for (id, (record, goes)) in found.collect::<Vec<_>>() {
            if goes {
                self.send(id);
            } else {
                wait.push((record, id));
            }
        }
        // A stall may have taken some from the line while nobody could hear them.
        wait.sort_unstable();
        self.uncommitted = wait.into_iter().map(|(_, id)| id).collect();
    }

    /// The connection is gone.
    pub fn lost(&mut self) {
        self.is_connected = false;
        self.acks.forget();
        self.outgoing.disconnect();
        self.shrunk.clear();
        self.deltas.clear();
        let committed = self.committed;
        for entry in self.entries.values_mut() {
            if let State::Answered(answered) = &mut entry.state {
                answered.queued = None;
                // The journal has it; memory is for what moves.
                if answered.record <= committed {
                    answered.payload = None;
                }
            }
        }
    }

    /// Takes a message on one of our topics.
    pub fn receive(&mut self, now: Now, message: &Message, ack: Option<A>) {
        let name = message.topic.clone();
        let until = match self.policy.topics.inbound(&name) {
            Some(Inbound::Cancel { id }) => {
                self.cancel(id);
                Until::Now
            }
            Some(Inbound::Request { task }) if !message.retain => self.request(now, task, message),
            _ => {
                self.ignore(&name, "it is retained, or of no meaning here");
                Until::Now
            }
        };
        self.acks.hold(ack, until);
    }

    fn ignore(&mut self, topic: &str, why: &str) {
        self.counters.ignored += 1;
        tracing::info!(topic, why, "a message was ignored");
    }

    fn request(&mut self, now: Now, task: Option<&str>, message: &Message) -> Until {
        let (address, request) = request::read(task, message);
        let allowed = match &address.reply_topic {
            None => Err("it says nowhere to answer to"),
            Some(topic) => self.policy.replies.check(topic),
        };
        if let Err(why) = allowed {
            self.ignore(&message.topic, why);
            return Until::Now;
        }
        let key = stored::key(&address);
        if let Some(id) = key.and_then(|key| self.by_key.get(&key).copied()) {
            return self.repeat(id);
        }
        match request.and_then(|request| self.admit(now, message, request, &address, key)) {
            Ok(record) => Until::Committed(record),
            Err(reason) => self.refuse(&address, reason),
        }
    }

    /// A key that is known.
    fn repeat(&mut self, id: EntryId) -> Until {
        self.counters.repeated += 1;
        let Some(entry) = self.entries.get(&id) else { return Until::Now };
        let accepted = Until::Committed(entry.accepted);
        match &entry.state {
            State::Answered(answered) if self.may_go(answered) => {
                self.send(id).map_or(accepted, Until::Out)
            }
            _ => accepted,
        }
    }

    /// Says no. The tag's fate releases the acknowledgement.
    fn refuse(&mut self, address: &Address, reason: RejectReason) -> Until {
        self.counters.refused += 1;
        tracing::info!(code = reason.code(), message = reason.message, "refused");
        let reply = Reply::Error { id: address.id.clone(), reason };
        if self.outgoing.refusals() >= MAX_REFUSALS {
            // Only QoS 0 gets here; the window of the others is smaller.
            return Until::Now;
        }
        let parcel = Parcel::Refusal(response(address, payload(&reply)));
        Until::Out(self.outgoing.push(parcel))
    }

    /// Accepts a request; gives the journal's record of it.
    fn admit(
        &mut self,
        now: Now,
        message: &Message,
        request: Request,
        address: &Address,
        key: Option<Key>,
    ) -> Result<u64, RejectReason> {
        self.check(message)?;
        let Request { ask, due } = request;
        let account = self.quotas.account(Asker::Topic(&message.topic));
        let mut entry = Entry {
            address: address.clone(),
            key,
            arrived_ms: i64::try_from(now.boot_ms).ok(),
            due_ms: due.map(|due| u64::try_from(due.as_millis()).unwrap_or(u64::MAX)),
            topic: message.topic.clone(),
            max_priority: self.quotas.max_priority(account),
            accepted: 0,
            since_ms: i64::try_from(now.boot_ms).unwrap_or(i64::MAX),
            account,
            bytes: 0,
            is_suspect: false,
            has_begun: false,
            state: State::Running(RequestId(0)),
        };
        let (head, body) = (self.head(now, &entry).to_bytes(), stored::body(&ask));
        entry.bytes = head.len() + body.len();
        let outbox = Outbox::reserve(&self.replies)?.reporting_start(&self.starts);
        let running = self.quotas.submit(now.boot_ms, account, ask.priority, || {
            self.service.submit(ask, &entry.origin(now), outbox)
        })?;
        let id = EntryId(self.next_id);
        self.next_id += 1;
        let record = self.log.append(Record::Accepted { id, head: &head, body: &body });
        entry.accepted = record;
        entry.state = State::Running(running);
        self.bytes += entry.bytes;
        self.by_key.extend(key.map(|key| (key, id)));
        self.by_request.insert(running, id);
        self.entries.insert(id, entry);
        self.counters.accepted += 1;
        Ok(record)
    }

    /// What the desk itself has to say against a request.
    fn check(&mut self, message: &Message) -> Result<(), RejectReason> {
        let reject = |code, message: String| Err(RejectReason::new(code, message));
        if self.is_draining {
            return reject(ErrorCode::ShuttingDown, "slmd is going down".into());
        }
        let (bytes, most) = (message.payload.len(), self.policy.max_request_bytes);
        if bytes > most {
            let message = format!("the message has {bytes} bytes; at most {most} are taken");
            return reject(ErrorCode::TooLarge, message);
        }
        if let Some(why) = &self.stalled {
            let message =
                format!("the journal cannot be written ({why}): what cannot be kept is not taken");
            return reject(ErrorCode::Busy, message);
        }
        if !self.make_room() {
            let message = "the journal is full of answers that nobody has taken yet";
            return reject(ErrorCode::Busy, message.into());
        }
        Ok(())
    }

    fn head(&self, now: Now, entry: &Entry) -> Head {
        let address = &entry.address;
        Head {
            reply_topic: address.reply_topic.clone().unwrap_or_default(),
            correlation: address.correlation.as_deref().map(stored::hex),
            id: address.id.clone(),
            client: address.client.clone(),
            boot: self.policy.boot.clone(),
            arrived_ms: entry.arrived_ms.unwrap_or_default(),
            arrived_unix_ms: now.unix_ms,
            due_ms: entry.due_ms,
            topic: entry.topic.clone(),
            max_priority: Some(entry.max_priority.name().to_owned()),
        }
    }

    /// Forgets the oldest answers until the journal has room: those that are out, then those that
    /// the broker refuses, or who asks for them where slmd must not publish would fill it for good.
    fn make_room(&mut self) -> bool {
        while self.entries.len() >= self.policy.max_entries || self.bytes >= self.policy.max_bytes {
            let oldest = |those: fn(&Entry) -> bool| {
                self.entries.iter().find(|(_, entry)| those(entry)).map(|(id, _)| *id)
            };
            let Some(id) = oldest(Entry::is_final).or_else(|| oldest(Entry::is_refused)) else {
                return false;
            };
            if !self.entries[&id].is_final() {
                tracing::warn!(entry = id.0, "an answer that the broker refuses makes room");
            }
            self.forget(id);
        }
        true
    }

    fn forget(&mut self, id: EntryId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.bytes -= entry.bytes;
        if let Some(key) = entry.key
            && self.by_key.get(&key) == Some(&id)
        {
            self.by_key.remove(&key);
        }
        self.log.append(Record::Forgotten { id });
    }

    fn cancel(&mut self, name: &str) {
        let called: Vec<EntryId> =
            self.entries.iter().filter(|(_, e)| e.is_called(name)).map(|(id, _)| *id).collect();
        for id in called {
            match self.entries[&id].state {
                State::Running(request) if self.by_request.contains_key(&request) => {
                    self.service.cancel(request);
                }
                // The runtime has it no more (it was parked at the end of this run), or not yet.
                State::Running(_) | State::Waiting(_) => {
                    self.waiting.retain(|waiting| *waiting != id);
                    self.fail(id, ErrorCode::Cancelled, "cancelled");
                }
                State::Answered(_) => {}
            }
        }
    }

    /// The first step of a request is about to run.
    pub fn began(&mut self, request: RequestId) {
        if let Some(&id) = self.by_request.get(&request)
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.has_begun = true;
            self.log.append(Record::Started { id });
        }
    }

    /// Takes a reply of the runtime; says whether it belonged to a prompt of ours.
    pub fn reply(&mut self, now: Now, event: &Event) -> bool {
        let Some(&id) = self.by_request.get(&event.request) else { return false };
        match &event.reply {
            Reply::Delta { .. } => self.delta(id, &event.reply),
            Reply::Error { reason, .. } if reason.code == ErrorCode::ShuttingDown => {
                // The journal keeps it for the next run; this end was not its fault.
                self.by_request.remove(&event.request);
                self.book(now, id, event);
                if self.entries[&id].has_begun {
                    self.log.append(Record::Parked { id });
                }
            }
            terminal => {
                self.by_request.remove(&event.request);
                self.book(now, id, event);
                self.answer(id, terminal);
                self.start_waiting(now);
            }
        }
        true
    }

    fn delta(&mut self, id: EntryId, reply: &Reply) {
        let Some(name) = &self.entries[&id].address.id else { return };
        if !self.is_connected || self.deltas.len() >= MAX_DELTAS {
            self.counters.lost_deltas += 1;
            return;
        }
        self.deltas.push_back(Message {
            topic: self.policy.topics.stream(name),
            payload: payload(reply),
            qos: Qos::AtMostOnce,
            retain: false,
            properties: Properties::default(),
        });
    }

    fn book(&mut self, now: Now, id: EntryId, event: &Event) {
        let entry = &self.entries[&id];
        match entry.account {
            None => {}
            // An earlier run of the daemon has booked the request itself.
            Some(account) if entry.is_recovered() => {
                self.quotas.spend(now.boot_ms, account, event.tokens);
            }
            Some(account) => self.quotas.ended(now.boot_ms, account, event),
        }
    }

    fn fail(&mut self, id: EntryId, code: ErrorCode, message: &str) {
        let reply = Reply::refuse(self.entries[&id].address.id.clone(), code, message);
        self.answer(id, &reply);
    }

    /// Commits the terminal reply of a prompt; it goes out when the journal has it.
    fn answer(&mut self, id: EntryId, reply: &Reply) {
        let is_passing = matches!(reply, Reply::Error { reason, .. } if reason.code.retryable());
        let payload = payload(reply);
        let mut stored = vec![if is_passing { PASSING } else { 0 }];
        stored.extend_from_slice(&payload);
        let record = self.log.append(Record::Answered { id, answer: &stored });
        let entry = self.entries.get_mut(&id).expect("what is answered is an entry");
        entry.bytes += stored.len();
        self.bytes += stored.len();
        let payload = Some(payload);
        entry.state = State::Answered(Answered {
            record,
            payload,
            queued: None,
            is_out: false,
            delivered: None,
            is_refused: false,
            is_passing,
        });
        // Who asks again shall get another chance.
        if is_passing && let Some(key) = entry.key {
            self.by_key.remove(&key);
        }
        match self.stalled {
            Some(_) => {
                self.send(id);
            }
            None => self.uncommitted.push_back(id),
        }
    }

    /// Whether an answer may go out. While the journal stalls the deadline counts for more than the
    /// danger of a second answer after a crash.
    fn may_go(&self, answered: &Answered) -> bool {
        answered.record <= self.committed || answered.is_out || self.stalled.is_some()
    }

    /// Gives the tag of a copy of the answer that the link is still to take; none: there is no
    /// connection.
    fn send(&mut self, id: EntryId) -> Option<u64> {
        let entry = self.entries.get_mut(&id)?;
        let State::Answered(answered) = &mut entry.state else { return None };
        if self.is_connected && answered.queued.is_none() {
            answered.queued = Some(self.outgoing.push(Parcel::Answer(id)));
        }
        answered.queued
    }

    /// The journal has committed all records up to `record`, or stalls.
    pub fn committed(&mut self, record: u64, stalled: Option<&str>) {
        self.committed = self.committed.max(record);
        self.acks.committed(self.committed);
        self.stalled = stalled.map(str::to_owned);
        while let Some(&id) = self.uncommitted.front() {
            let goes = match self.entries.get(&id).map(|entry| &entry.state) {
                Some(State::Answered(answered)) => self.may_go(answered),
                _ => true,
            };
            if !goes {
                break;
            }
            self.uncommitted.pop_front();
            self.send(id);
        }
    }

    /// The fate of a message: the reason code of its PUBACK.
    pub fn published(&mut self, tag: u64, reason: u8) {
        let was_shrunk = self.shrunk.remove(&tag);
        self.acks.out(tag);
        match self.outgoing.done(tag) {
            Some(Parcel::Answer(id)) => self.answer_is_out(id, reason, was_shrunk),
            Some(Parcel::Notice(message, _)) if reason >= FAILURE => {
                tracing::warn!(topic = message.topic, reason, "the broker refused a message");
            }
            Some(Parcel::Refusal(_) | Parcel::Notice(..)) | None => {}
        }
    }

    fn answer_is_out(&mut self, id: EntryId, reason: u8, was_shrunk: bool) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        self.acks.answered(entry.accepted);
        let topic = entry.address.reply_topic.clone();
        let State::Answered(answered) = &mut entry.state else { return };
        answered.is_refused = reason >= FAILURE && !was_shrunk;
        if answered.is_refused {
            tracing::warn!(?topic, reason, "the broker refused an answer; it is kept");
            return;
        }
        answered.payload = None;
        let reason = if was_shrunk { TOO_LARGE } else { reason };
        let is_over = answered.is_passing;
        if answered.delivered != Some(reason) {
            answered.delivered = Some(reason);
            self.log.append(Record::Delivered { id, reason });
        }
        match reason {
            NO_SUBSCRIBERS => self.counters.unheard += 1,
            _ => self.counters.delivered += 1,
        }
        if is_over {
            self.forget(id);
        }
    }

    /// The message of this tag is larger than the broker takes; gives what to publish with the same
    /// tag instead: whoever asked is told so, once.
    pub fn too_large(&mut self, tag: u64, bytes: usize, most: usize) -> Option<Message> {
        let is_first = self.shrunk.insert(tag);
        let Some(Parcel::Answer(id)) = self.outgoing.under_way(tag).filter(|_| is_first) else {
            tracing::warn!(bytes, most, "a message is larger than the broker takes; dropped");
            self.published(tag, TOO_LARGE);
            return None;
        };
        let Some(entry) = self.entries.get(id) else {
            self.published(tag, TOO_LARGE);
            return None;
        };
        let address = &entry.address;
        let message =
            format!("the answer's message has {bytes} bytes, and the broker takes at most {most}");
        let reply = Reply::refuse(address.id.clone(), ErrorCode::TooLarge, message);
        Some(response(address, payload(&reply)))
    }

    /// Acknowledges a message that is somebody else's business, in its turn.
    pub fn pass(&mut self, ack: Option<A>) {
        self.acks.hold(ack, Until::Now);
    }

    /// Publishes something that slmd says by itself.
    pub fn notify(&mut self, message: Message, offline: Offline) {
        self.outgoing.push(Parcel::Notice(message, offline));
    }

    /// The next acknowledgement that is due.
    pub fn next_ack(&mut self) -> Option<A> {
        self.acks.pop()
    }

    /// The next message for the link, with its tag. With QoS 1 its fate is to be told by
    /// [`Desk::published`]; with QoS 0 the tag is zero.
    pub fn next_message(&mut self, now: Now) -> Option<(u64, Message)> {
        if !self.is_connected {
            return None;
        }
        while let Some((tag, parcel)) = self.outgoing.next(now.boot_ms) {
            let message = match parcel {
                Parcel::Refusal(message) | Parcel::Notice(message, _) => Some(message.clone()),
                Parcel::Answer(id) => {
                    let id = *id;
                    self.message(id)
                }
            };
            match message {
                Some(message) => return Some((tag, message)),
                None => {
                    self.outgoing.done(tag);
                    self.acks.out(tag);
                }
            }
        }
        self.deltas.pop_front().map(|message| (0, message))
    }

    fn message(&mut self, id: EntryId) -> Option<Message> {
        let entry = self.entries.get_mut(&id)?;
        let State::Answered(answered) = &mut entry.state else { return None };
        answered.queued = None;
        answered.is_out |= answered.record > self.committed;
        if let Some(payload) = &answered.payload {
            return Some(response(&entry.address, payload.clone()));
        }
        match self.log.read_answer(id) {
            Ok(Some(stored)) if !stored.is_empty() => {
                answered.is_passing |= stored[0] & PASSING != 0;
                Some(response(&entry.address, Bytes::from(stored).slice(1..)))
            }
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                tracing::error!(entry = id.0, %error, "an answer cannot be read; tried again later");
                None
            }
            Ok(_) | Err(_) => {
                self.fail(id, ErrorCode::Internal, "the answer was damaged on the disk");
                None
            }
        }
    }

    /// What time brings: seats for what waits, and the end of what is old.
    pub fn tick(&mut self, now: Now) {
        self.start_waiting(now);
        let age_ms = i64::try_from(self.policy.max_age_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let oldest = i64::try_from(now.boot_ms).unwrap_or(i64::MAX).saturating_sub(age_ms);
        let old = |e: &Entry| e.since_ms < oldest && e.is_idle();
        let old: Vec<EntryId> =
            self.entries.iter().filter(|(_, e)| old(e)).map(|(id, _)| *id).collect();
        for id in old {
            if !self.entries[&id].is_final() {
                tracing::warn!(entry = id.0, "an answer that nobody took is older than the limit");
            }
            self.forget(id);
        }
    }

    /// Whether something waits that only [`Desk::tick`] moves.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() && !self.is_draining
    }

    /// From now on new requests are refused.
    pub const fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether everything that can be said has been said.
    pub fn is_settled(&self) -> bool {
        let out = self.outgoing.is_empty() && self.deltas.is_empty();
        self.by_request.is_empty() && self.uncommitted.is_empty() && (out || !self.is_connected)
    }

    /// What happened since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// How many prompts and answers are kept, and how many of them wait for their inference.
    pub fn load(&self) -> (usize, usize) {
        (self.entries.len(), self.waiting.len())
    }

    /// The quotas, with what is left of them.
    pub fn quotas(&mut self, now: Now) -> serde_json::Value {
        self.quotas.report(now.boot_ms)
    }

    /// Notices dropped while the broker was away.
    pub const fn dropped(&self) -> u64 {
        self.outgoing.dropped()
    }

    /// Why the journal cannot be written, if it cannot.
    pub fn stalled(&self) -> Option<&str> {
        self.stalled.as_deref()
    }

    /// The journal.
    pub const fn log(&self) -> &L {
        &self.log
    }

    /// The journal, at the end.
    pub fn into_log(self) -> L {
        self.log
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
