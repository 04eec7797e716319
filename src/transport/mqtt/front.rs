//! The MQTT front end at work: one task that moves everything between the link, the journal, the
//! runtime, the desk and the watches. It decides nothing that they could.

use super::Now;
use super::calls::Calls;
use super::desk::{Desk, Log, Policy};
use super::link::{Link, LinkEvent, LinkOptions, NotSent, Retained, Subscription};
use super::message::{Ack, Message, Qos, Received};
use super::outgoing::Offline;
use super::presence::Presence;
use super::topics::Topics;
use super::watchers::Watchers;
use crate::core::request::RequestId;
use crate::journal::{EntryId, Journal, Progress, Record, Recovered};
use crate::routing::Notice;
use crate::runtime::{Event, Service};
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Everything that the front end is made of.
pub struct Parts {
    /// How to reach the broker; the will is filled in here.
    pub link: LinkOptions,
    /// Open, with what was found in it.
    pub journal: Journal,
    /// As [`Journal::open`] gave it.
    pub recovered: Recovered,
    /// What the configuration says about requests.
    pub policy: Policy,
    /// The watches, and their runs.
    pub watches: Watchers,
    /// Milliseconds between two reports of the status.
    pub status_every_ms: u64,
    /// Home Assistant's discovery prefix.
    pub home_assistant: Option<String>,
    /// Whether tools answer by messages.
    pub tools_answer: bool,
    /// Requests that the runtime holds at most.
    pub seats: usize,
    /// How long to wait for the last answers once the end is asked for.
    pub drain_timeout: Duration,
}

/// The journal's note of the filters that the broker knows us to have subscribed to.
const FILTERS_NOTE: u8 = 1;
/// Prompts of an earlier run are offered to the runtime so often.
const RETRY: Duration = Duration::from_millis(50);
/// What is too old is looked for so often.
const SWEEP: Duration = Duration::from_secs(30);
/// How long the broker may take to confirm that we get no more prompts.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// Deltas that wait to be looked at, of all requests together.
const DELTAS: usize = 256;

impl Log for Journal {
    fn append(&mut self, record: Record<'_>) -> u64 {
        Self::append(self, record)
    }

    fn read_answer(&self, id: EntryId) -> io::Result<Option<Vec<u8>>> {
        Self::read_answer(self, id)
    }
}

/// Serves MQTT until `stop` says so and the last answers are out, or time is up.
///
/// # Errors
/// What could not be written to the journal at the end.
pub async fn serve<S: Service>(
    parts: Parts,
    service: S,
    mut notices: mpsc::Receiver<Notice>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let (replies, mut from_runtime) = mpsc::channel(2 * parts.seats + DELTAS);
    let (starts, mut begun) = mpsc::channel(2 * parts.seats + DELTAS);
    let drain_timeout = parts.drain_timeout;
    let mut progress = parts.journal.progress();
    let mut front = Front::new(parts, service, replies, starts);
    let mut drained_by = None;
    loop {
        front.pump();
        let is_settled = || front.is_settled() && notices.is_empty();
        if drained_by.is_some_and(|by| Instant::now() >= by || is_settled()) {
            break;
        }
        let wakeup = front.wakeup().min(drained_by.unwrap_or_else(far_away));
        tokio::select! {
            event = front.link.next() => front.on_link(event),
            Some(event) = from_runtime.recv() => {
                front.on_reply(&event);
                while let Ok(event) = from_runtime.try_recv() {
                    front.on_reply(&event);
                }
            }
            Some(request) = begun.recv() => front.desk.began(request),
            Some(notice) = notices.recv() => front.notice(notice),
            Ok(()) = progress.changed() => front.on_progress(&progress.borrow_and_update()),
            () = sleep_until(wakeup) => front.on_time(),
            changed = stop.changed(), if drained_by.is_none() => {
                if changed.is_err() || *stop.borrow_and_update() {
                    front.drain();
                    drained_by = Some(Instant::now() + drain_timeout);
                }
            }
        }
    }
    front.end().await
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

struct Front<S> {
    service: S,
    link: Link,
    desk: Desk<S, Journal, Ack>,
    watches: Watchers,
    calls: Calls,
    presence: Presence,
    replies: mpsc::Sender<Event>,
    filters: Vec<String>,
    /// Those that the broker may still know from an earlier configuration.
    stale_filters: Vec<String>,
    request_filters: Vec<String>,
    home_assistant: Option<String>,
    /// What the link had no room for.
    held: Option<(u64, Message)>,
    is_connected: bool,
    is_draining: bool,
    /// Until then the broker may confirm that it sends no more prompts. What it sends before that
    /// is refused; it would be left behind in our session if we did not listen.
    leaving_until: Option<Instant>,
    swept: Instant,
}

impl<S: Service> Front<S> {
    fn new(
        parts: Parts,
        service: S,
        replies: mpsc::Sender<Event>,
        starts: mpsc::Sender<RequestId>,
    ) -> Self {
        let Parts { mut link, mut journal, recovered, policy, watches, .. } = parts;
        let topics: Topics = policy.topics.clone();
        let presence = Presence::new(topics.clone(), policy.boot.clone(), parts.status_every_ms);
        link.will = Some(presence.will());
        let mut filters = topics.filters();
        filters.extend(watches.filters());
        filters.extend(parts.tools_answer.then(|| topics.tool_filter()));
        let stale_filters = note_filters(&mut journal, &recovered, &filters);
        let mut desk = Desk::new(service.clone(), journal, policy, replies.clone(), starts);
        desk.recover(Now::read(), recovered.entries, recovered.next_id);
        Self {
            service,
            link: Link::new(link),
            desk,
            watches,
            calls: Calls::new(topics.clone()),
            presence,
            replies,
            request_filters: topics.request_filters(),
            filters,
            stale_filters,
            home_assistant: parts.home_assistant,
            held: None,
            is_connected: false,
            is_draining: false,
            leaving_until: None,
            swept: Instant::now(),
        }
    }

    /// Moves everything that can move.
    fn pump(&mut self) {
        let now = Now::read();
        self.watches.run(now, &self.service, &self.replies);
        for (message, offline) in self.watches.messages() {
            self.desk.notify(message, offline);
        }
        self.tell_status(now);
        while let Some(ack) = self.desk.next_ack() {
            self.link.ack(ack);
        }
        while let Some((tag, message)) = self.held.take().or_else(|| self.desk.next_message(now)) {
            if !self.publish(tag, message) {
                break;
            }
        }
    }

    /// Says whether there may be room for more.
    fn publish(&mut self, tag: u64, message: Message) -> bool {
        match self.link.publish(tag, message.clone()) {
            Ok(()) => true,
            Err(NotSent::Full) => {
                self.held = Some((tag, message));
                false
            }
            Err(NotSent::TooLarge { size, limit }) => {
                let instead = self.desk.too_large(tag, size, limit);
                self.held = instead.map(|message| (tag, message));
                true
            }
            // Its end is on its way as an event.
            Err(NotSent::Offline) => false,
            Err(error @ NotSent::Invalid(_)) => {
                tracing::warn!(topic = message.topic, %error, "a message cannot be sent");
                // MQTT 5.0, section 2.4: implementation specific error.
                self.desk.published(tag, 0x83);
                true
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected { session_present, broker, .. } => {
                self.is_connected = true;
                match self.is_draining {
                    true => self.leave(),
                    false => self.subscribe(session_present),
                }
                self.presence.forget();
                self.desk.connected(broker.receive_maximum);
                self.discover();
            }
            LinkEvent::Received(received) => self.receive(received),
            LinkEvent::Published { tag, outcome, .. } => {
                if let Ok(reason) = outcome {
                    self.desk.published(tag, reason);
                }
            }
            LinkEvent::Subscribed { filters } => {
                for (filter, reason) in filters.iter().filter(|(_, reason)| *reason >= 0x80) {
                    tracing::error!(filter, reason, "the broker refused a subscription");
                }
            }
            LinkEvent::Unsubscribed { filters } => {
                if filters.iter().any(|(filter, _)| self.request_filters.contains(filter)) {
                    self.leaving_until = None;
                }
            }
            LinkEvent::Room => {}
            LinkEvent::Lost { was_connected, .. } => {
                if was_connected {
                    self.is_connected = false;
                    self.leaving_until = None;
                    self.held = None;
                    self.desk.lost();
                }
            }
        }
    }

    fn receive(&mut self, Received { message, ack, .. }: Received) {
        let now = Now::read();
        self.presence.touch();
        self.watches.sample(now, &message.topic, &message.payload);
        match self.calls.answer(&message) {
            true => self.desk.pass(ack),
            false => self.desk.receive(now, &message, ack),
        }
    }

    /// Publishes what a tool or an escalation says.
    fn notice(&mut self, notice: Notice) {
        if let Some((message, offline)) = self.calls.message(Now::read(), notice, self.is_connected)
        {
            self.desk.notify(message, offline);
        }
    }

    /// Asks for everything that we listen to. The broker that remembers us may have more than that.
    fn subscribe(&mut self, session_present: bool) {
        let watched = self.watches.filters();
        let wanted: Vec<Subscription> = self
            .filters
            .iter()
            .map(|filter| Subscription {
                filter: filter.clone(),
                qos: Qos::AtLeastOnce,
                // A sensor's last value counts, once; a retained prompt never does.
                retained: match watched.contains(filter) {
                    true => Retained::IfNew,
                    false => Retained::Never,
                },
                no_local: false,
            })
            .collect();
        if session_present && !self.stale_filters.is_empty() {
            let gone = std::mem::take(&mut self.stale_filters);
            warn(self.link.unsubscribe(&gone));
        }
        warn(self.link.subscribe(&wanted));
    }

    fn discover(&mut self) {
        let Some(prefix) = &self.home_assistant else { return };
        let status = self.service.status();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, model) = (text(&status["version"]), text(&status["model"]["name"]));
        for message in self.presence.discovery(prefix, &version, &model) {
            self.desk.notify(message, Offline::Newest);
        }
    }

    /// Tells the broker, and those who ask on the socket.
    fn tell_status(&mut self, now: Now) {
        if now.boot_ms < self.presence.next_ms(now) {
            return;
        }
        let front = self.figures(now);
        for (section, figures) in &front {
            self.service.report(section, figures.clone());
        }
        if !self.is_connected {
            return self.presence.looked(now);
        }
        let runtime = self.service.status();
        if let Some(message) = self.presence.online(now, &runtime) {
            self.desk.notify(message, Offline::Newest);
        }
    }

    /// What the status says of MQTT itself.
    fn figures(&mut self, now: Now) -> [(&'static str, Value); 3] {
        let counters = self.desk.counters();
        let (entries, waiting) = self.desk.load();
        let journal = self.desk.log().figures();
        let link = self.link.figures();
        let mqtt = json!({
            "connected": self.is_connected, "connections": link.connections,
            "attempts": link.attempts, "last_error": link.last_error,
            "accepted": counters.accepted, "refused": counters.refused,
            "repeated": counters.repeated, "ignored": counters.ignored,
            "delivered": counters.delivered, "unheard": counters.unheard,
            "lost_deltas": counters.lost_deltas, "dropped_alerts": self.desk.dropped(),
            "quotas": self.desk.quotas(now),
        });
        let journal = json!({
            "entries": entries, "waiting": waiting, "stalled": self.desk.stalled(),
            "file_bytes": journal.file_bytes,
            "bytes_written": journal.written_bytes_total,
            "bytes_written_today": journal.written_bytes_today,
            "page_bytes_written": journal.page_bytes_total,
            "bytes_per_prompt": journal.page_bytes_total.checked_div(journal.prompts),
        });
        [("mqtt", mqtt), ("journal", journal), ("watches", self.watches.status())]
    }

    fn on_reply(&mut self, event: &Event) {
        let now = Now::read();
        self.presence.touch();
        if !self.desk.reply(now, event) {
            self.watches.reply(now, event);
        }
    }

    fn on_progress(&mut self, progress: &Progress) {
        if let Some(why) = &progress.stalled
            && self.desk.stalled().is_none()
        {
            tracing::error!(why, "the journal cannot be written; no prompts are taken by MQTT");
        }
        self.desk.committed(progress.committed, progress.stalled.as_deref());
    }

    fn on_time(&mut self) {
        let now = Now::read();
        self.watches.tick(now);
        self.leaving_until = self.leaving_until.filter(|&until| Instant::now() < until);
        if self.desk.is_waiting() || self.swept.elapsed() >= SWEEP {
            self.desk.tick(now);
            self.swept = Instant::now();
        }
    }

    fn wakeup(&self) -> Instant {
        let (now, at) = (Now::read(), Instant::now());
        let after = |ms: u64| at + Duration::from_millis(ms.saturating_sub(now.boot_ms));
        let status = Some(after(self.presence.next_ms(now)));
        let waiting = (self.desk.is_waiting() || self.is_draining).then(|| at + RETRY);
        let watches = self.watches.next_wakeup().map(after);
        let sweep = self.swept + SWEEP;
        [status, waiting, watches, self.leaving_until]
            .into_iter()
            .flatten()
            .fold(sweep, Instant::min)
    }

    /// Nothing new from now on: whoever shares our work shall get it.
    fn drain(&mut self) {
        self.desk.drain();
        self.is_draining = true;
        if self.is_connected {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let asked = self.link.unsubscribe(&self.request_filters);
        self.leaving_until = asked.is_ok().then(|| Instant::now() + LEAVE_LIMIT);
        warn(asked);
    }

    /// Whether everything that can be said has been said, and nothing more is to come.
    fn is_settled(&self) -> bool {
        // What others are asked about may still have something to publish.
        self.leaving_until.is_none() && self.desk.is_settled() && self.service.is_settled()
    }

    async fn end(self) -> io::Result<()> {
        let Self { link, desk, presence, .. } = self;
        link.close(Some(presence.offline())).await;
        let closed = tokio::task::spawn_blocking(move || desk.into_log().close()).await;
        closed.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

fn warn(sent: Result<(), NotSent>) {
    if let Err(error) = sent {
        tracing::error!(%error, "a subscription could not be sent");
    }
}

/// Notes the filters that the broker will know us by; gives those that it may know and that are
/// not wanted any more.
fn note_filters(journal: &mut Journal, recovered: &Recovered, filters: &[String]) -> Vec<String> {
    let noted = recovered.notes.get(&FILTERS_NOTE);
    let known: Vec<String> =
        noted.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    if known != filters {
        let bytes = serde_json::to_vec(filters).expect("strings become JSON");
        journal.append(Record::Note { key: FILTERS_NOTE, bytes: &bytes });
    }
    known.into_iter().filter(|filter| !filters.contains(filter)).collect()
}
