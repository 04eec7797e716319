//! One connection to the broker, opened again for as long as the process lives.
//!
//! ```text
//! resting --(the wait is over)--> dialling --(CONNACK)--> open
//!    ^------------(failed)-----------'  ^------(lost)------'
//! ```
//!
//! There is no task and no channel behind it: [`Link::next`] does all the work, and reads, writes
//! and keeps the time at once, so that a broker that does not read cannot hold up what it says, or
//! the notice that it is dead. The library `rumqttc` reads and writes packets and brings TLS; its
//! event loop is not used, because it refuses to publish in a session that only the broker
//! remembers, does not ping while it sends, and does not read while it writes.
//!
//! Nothing is kept from one connection to the next: what was not confirmed is reported as
//! [`Lost`], and whoever published it publishes it again.

use super::backoff::{Backoff, Past};
use super::conversation::{Conversation, End, Takeover, Terms};
use super::dial::{Dialled, Refusal, dial};
use super::message::{Ack, Message, Qos, Received};
use super::open::Open;
use super::tls::Tls;
use bytes::Bytes;
use rumqttc::mqttbytes::v5::ConnAck;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// For the last message's PUBACK.
const LAST_WORD_LIMIT: Duration = Duration::from_millis(600);
/// For DISCONNECT to be written.
const FAREWELL_LIMIT: Duration = Duration::from_millis(400);

/// Where to, as whom, and on which terms.
#[derive(Clone)]
pub struct LinkOptions {
    /// A name or an address, IPv6 without brackets; also what the broker's certificate must name.
    pub host: String,
    /// 1883, or 8883 with TLS, by custom.
    pub port: u16,
    /// None: in plain text.
    pub tls: Option<Tls>,
    /// What the broker knows the session by.
    pub client_id: String,
    /// For the broker's own check.
    pub username: Option<String>,
    /// Bytes, as the broker wants them.
    pub password: Option<Bytes>,
    /// The longest silence; a dead broker is noticed after two of them. Whole seconds.
    pub keep_alive: Duration,
    /// How long the broker remembers us and our messages, in seconds.
    pub session_expiry_s: u32,
    /// Messages that the broker may send before they are acknowledged, at least 1.
    pub receive_maximum: u16,
    /// The largest packet that we take, in bytes; the broker drops larger ones.
    pub max_packet_bytes: u32,
    /// Sent by the broker when we vanish.
    pub will: Option<Message>,
}

impl fmt::Debug for LinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the password.
        let LinkOptions { host, port, client_id, .. } = self;
        write!(f, "LinkOptions({client_id} at {host}:{port})")
    }
}

/// What the broker said in CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerLimits {
    /// The largest packet that it takes.
    pub max_packet_bytes: Option<u32>,
    /// Publications that may be in flight to it; we use at most 16.
    pub receive_maximum: u16,
    /// It keeps retained messages; if not, `retain` is left out of what we send.
    pub retain: bool,
    /// `$share/...` works.
    pub shared_subscriptions: bool,
    /// Filters may have wildcards.
    pub wildcard: bool,
    /// The highest QoS that it takes: 0, 1 or 2.
    pub max_qos: u8,
}

impl BrokerLimits {
    pub(super) fn of(accepted: &ConnAck) -> Self {
        let said = accepted.properties.as_ref();
        let has = |flag: Option<u8>| flag != Some(0);
        Self {
            max_packet_bytes: said.and_then(|p| p.max_packet_size),
            receive_maximum: said.and_then(|p| p.receive_max).unwrap_or(u16::MAX),
            retain: has(said.and_then(|p| p.retain_available)),
            shared_subscriptions: has(said.and_then(|p| p.shared_subscription_available)),
            wildcard: has(said.and_then(|p| p.wildcard_subscription_available)),
            max_qos: said.and_then(|p| p.max_qos).unwrap_or(2),
        }
    }
}

/// Which retained messages a subscription brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retained {
    /// All, at every subscription anew.
    Always,
    /// All, if there was no such subscription before.
    IfNew,
    /// None.
    Never,
}

/// One filter to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// With wildcards, or `$share/GROUP/FILTER`.
    pub filter: String,
    /// The highest QoS of what comes by it.
    pub qos: Qos,
    /// Whether the messages come that the broker has kept.
    pub retained: Retained,
    /// Not what we publish ourselves; not allowed in shared subscriptions.
    pub no_local: bool,
}

/// The connection ended before the broker confirmed: it may or may not have the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was lost before the broker confirmed")]
pub struct Lost;

/// Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Too much is on its way; [`LinkEvent::Room`] says when to try again.
    #[error("too much is on its way to the broker")]
    Full,
    /// There is no connection.
    #[error("not connected to the broker")]
    Offline,
    /// More than the broker takes; it would hang up.
    #[error("{size} bytes are more than the {limit} that the broker takes")]
    TooLarge {
        /// The whole packet, in bytes.
        size: usize,
        /// The broker's, in bytes.
        limit: usize,
    },
    /// It cannot be said in MQTT, or not to this broker.
    #[error("{0}")]
    Invalid(&'static str),
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The broker has accepted us.
    Connected {
        /// Counts the connections, from 1.
        generation: u64,
        /// The broker remembers us: subscriptions, and messages that we have not acknowledged.
        session_present: bool,
        /// What it takes.
        broker: BrokerLimits,
        /// Attempts that this connection took.
        attempts: u32,
    },
    /// A message.
    Received(Received),
    /// A publication of QoS 1 is over; those of QoS 0 are never heard of again.
    Published {
        /// As it was given to [`Link::publish`].
        tag: u64,
        /// The connection.
        generation: u64,
        /// MQTT's reason code: 0x00, 0x10 (nobody subscribes), from 0x80 on refused.
        outcome: Result<u8, Lost>,
    },
    /// The broker's answer, with MQTT's reason codes: the QoS granted, from 0x80 on refused.
    Subscribed {
        /// As asked for.
        filters: Vec<(String, u8)>,
    },
    /// The broker's answer: 0x00, 0x11 (there was none), from 0x80 on refused.
    Unsubscribed {
        /// As asked for.
        filters: Vec<(String, u8)>,
    },
    /// After a [`NotSent::Full`]: try again.
    Room,
    /// The connection is over (each publication in flight was reported before), or an attempt
    /// failed.
    Lost {
        /// For people.
        reason: String,
        /// Whether there was a connection.
        was_connected: bool,
        /// When the next attempt begins.
        retry_in: Duration,
    },
}

/// For status reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// Attempts to connect, ever.
    pub attempts: u64,
    /// Connections, ever.
    pub connections: u64,
    /// Since when there is one.
    pub connected_since: Option<Instant>,
    /// Why the last one ended, or the last attempt failed.
    pub last_error: Option<String>,
}

enum State {
    Resting(Instant),
    Dialling(Pin<Box<dyn Future<Output = Result<Dialled, Refusal>> + Send>>),
    Open(Box<Open>),
}

/// One connection to the broker at a time. See the module.
pub struct Link {
    options: LinkOptions,
    state: State,
    backoff: Backoff,
    /// Since the last connection.
    attempts: u32,
    figures: LinkFigures,
    /// The reason that was logged last, so that it is not logged for ever.
    warned: Option<String>,
    events: VecDeque<LinkEvent>,
}

impl Link {
    /// Connects as soon as [`Self::next`] is polled.
    pub fn new(options: LinkOptions) -> Self {
        Self {
            options,
            state: State::Resting(Instant::now()),
            backoff: Backoff::default(),
            attempts: 0,
            figures: LinkFigures::default(),
            warned: None,
            events: VecDeque::new(),
        }
    }

    /// What happens next. Must be polled at all times, as nothing moves without it; may be dropped
    /// at any time and called again.
    pub async fn next(&mut self) -> LinkEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match &mut self.state {
                State::Resting(until) => {
                    sleep_until(*until).await;
                    self.attempts = self.attempts.saturating_add(1);
                    self.figures.attempts += 1;
                    self.state = State::Dialling(Box::pin(dial(self.options.clone())));
                }
                State::Dialling(dialling) => match dialling.await {
                    Ok(dialled) => self.open(dialled),
                    Err(refusal) => self.rest(End::broken(refusal), None),
                },
                State::Open(open) => match open.step().await {
                    Ok(event) => return event,
                    Err(end) => self.lose(end),
                },
            }
        }
    }

    /// Sends a message, if there is room; `tag` comes back with its [`LinkEvent::Published`].
    ///
    /// # Errors
    /// [`NotSent`]; the message is not kept.
    pub fn publish(&mut self, tag: u64, message: Message) -> Result<(), NotSent> {
        self.talk()?.publish(tag, message)
    }

    /// Acknowledges a message: the broker forgets it. One of an earlier connection is not
    /// acknowledged, as it comes again on this one. Never refused: its four bytes have room, since
    /// no more than `receive_maximum` can be outstanding.
    pub fn ack(&mut self, ack: Ack) {
        if let Ok(talk) = self.talk() {
            talk.ack(&ack);
        }
    }

    /// Asks for messages; [`LinkEvent::Subscribed`] is the answer.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn subscribe(&mut self, wanted: &[Subscription]) -> Result<(), NotSent> {
        self.talk()?.subscribe(wanted)
    }

    /// Asks for no more of them; [`LinkEvent::Unsubscribed`] is the answer.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn unsubscribe(&mut self, filters: &[String]) -> Result<(), NotSent> {
        self.talk()?.unsubscribe(filters)
    }

    /// Sends `last` and says good-bye, so that the broker does not send the last will; takes a
    /// second at most. What was received and not acknowledged comes again in the next session.
    pub async fn close(self, last: Option<Message>) {
        if let State::Open(mut open) = self.state {
            if let Some(message) = last {
                let _ = timeout(LAST_WORD_LIMIT, open.last_word(message)).await;
            }
            let _ = timeout(FAREWELL_LIMIT, open.farewell()).await;
        }
    }

    /// For status reports.
    pub fn figures(&self) -> &LinkFigures {
        &self.figures
    }

    fn talk(&mut self) -> Result<&mut Conversation, NotSent> {
        match &mut self.state {
            State::Open(open) => Ok(&mut open.talk),
            State::Resting(_) | State::Dialling(_) => Err(NotSent::Offline),
        }
    }

    fn open(&mut self, dialled: Dialled) {
        let now = Instant::now();
        self.figures.connections += 1;
        self.figures.connected_since = Some(now);
        let terms = Terms {
            generation: self.figures.connections,
            keep_alive: self.options.keep_alive,
            receive_maximum: self.options.receive_maximum,
        };
        let session_present = dialled.accepted.session_present;
        let attempts = std::mem::take(&mut self.attempts);
        let open = Open::new(dialled, terms, self.options.max_packet_bytes, now);
        let LinkOptions { host, port, .. } = &self.options;
        tracing::info!(broker = %format_args!("{host}:{port}"), session_present, attempts, "connected");
        self.events.push_back(LinkEvent::Connected {
            generation: terms.generation,
            session_present,
            broker: open.talk.limits(),
            attempts,
        });
        self.state = State::Open(Box::new(open));
    }

    fn lose(&mut self, mut end: End) {
        let State::Open(mut open) =
            std::mem::replace(&mut self.state, State::Resting(Instant::now()))
        else {
            return;
        };
        if let Some(reason) = end.say {
            open.say(reason);
        }
        let id = &self.options.client_id;
        match end.takeover {
            Takeover::No => {}
            Takeover::Perhaps => {
                end.reason.push_str(&format!("; does another client use the client id {id:?}?"));
            }
            Takeover::Yes => end.reason = format!("another client uses the client id {id:?}"),
        }
        let past = Past {
            age: open.since.elapsed(),
            useful: open.talk.was_useful(),
            contested: end.takeover != Takeover::No,
        };
        self.figures.connected_since = None;
        self.events.extend(open.talk.into_events());
        self.rest(end, Some(past));
    }

    /// Until the next attempt.
    fn rest(&mut self, end: End, past: Option<Past>) {
        if past.is_some_and(Past::was_good) {
            self.warned = None;
        }
        let retry_in = self.backoff.after(past, chance());
        self.state = State::Resting(Instant::now() + retry_in);
        self.log(&end.reason, retry_in);
        self.figures.last_error = Some(end.reason.clone());
        self.events.push_back(LinkEvent::Lost {
            reason: end.reason,
            was_connected: past.is_some(),
            retry_in,
        });
    }

    /// The first time it is worth a warning, then no more.
    fn log(&mut self, reason: &str, retry_in: Duration) {
        let retry_in = format_args!("{:.1} s", retry_in.as_secs_f64());
        if self.warned.as_deref() == Some(reason) {
            tracing::debug!(reason, %retry_in, "not connected to the broker");
        } else {
            tracing::warn!(reason, %retry_in, "not connected to the broker");
            self.warned = Some(reason.to_owned());
        }
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    // The standard library's own source of randomness: the keys of a new hash map.
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}
