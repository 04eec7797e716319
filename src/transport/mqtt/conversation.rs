//! What is said on one connection after CONNACK. No I/O and no clock: packets come in by
//! [`Conversation::receive`], bytes gather in [`Conversation::outgoing`], time is an argument.
//!
//! Nothing is sent twice here and nothing outlives the connection: what was not confirmed is
//! reported as lost, and who published it owns it. Everything is bounded: publications in flight by
//! [`WINDOW`], bytes that wait for the socket by [`OUTGOING_LIMIT`] and one message, our answers to
//! the broker by [`REPLY_LIMIT`], beyond which nothing more is read.

use super::link::{BrokerLimits, LinkEvent, Lost, NotSent, Retained, Subscription};
use super::message::{Ack, Message, Qos, Received, publish};
use bytes::BytesMut;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{
    ConnAck, Disconnect, DisconnectReasonCode, Packet, PubAck, PubComp, PubCompReason, PubRec,
    Publish, RetainForwardRule, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode,
    Unsubscribe,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Publications of QoS 1 without PUBACK, at most; the broker may allow fewer.
const WINDOW: u16 = 16;
/// SUBSCRIBE and UNSUBSCRIBE without an answer, at most.
const ASKED_LIMIT: usize = 16;
/// Bytes that wait for the socket; at this, nothing more is published.
const OUTGOING_LIMIT: usize = 64 << 10;
/// Bytes of our answers that wait for the socket; at this, nothing more is read.
const REPLY_LIMIT: usize = 64 << 10;
/// A buffer that grew larger is given back when it is empty.
const KEPT_CAPACITY: usize = 64 << 10;
/// MQTT's own limit of a packet, less its header.
const PACKET_LIMIT: usize = 268_435_455;

/// Whether another client of our id ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takeover {
    No,
    /// The broker closed it without a word, as mosquitto 2.0 does then; but others do so too.
    Perhaps,
    /// The broker says so.
    Yes,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// For people.
    pub reason: String,
    pub takeover: Takeover,
    /// What to tell the broker.
    pub say: Option<DisconnectReasonCode>,
}

impl End {
    /// The connection broke.
    pub fn broken(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), takeover: Takeover::No, say: None }
    }

    /// The broker does not keep to the protocol.
    pub fn fault(say: DisconnectReasonCode, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), takeover: Takeover::No, say: Some(say) }
    }

    /// The broker closed the connection without a word.
    pub fn silent() -> Self {
        let reason = "the broker closed the connection and does not say why".into();
        Self { reason, takeover: Takeover::Perhaps, say: None }
    }
}

/// What we keep to, whatever the broker says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub generation: u64,
    /// As in CONNECT.
    pub keep_alive: Duration,
    /// As in CONNECT.
    pub receive_maximum: u16,
}

enum Asked {
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
}

pub(super) struct Conversation {
    terms: Terms,
    limits: BrokerLimits,
    keep_alive: Duration,
    outgoing: BytesMut,
    reply_bytes: usize,
    /// Tags of publications without PUBACK, by packet id.
    published: BTreeMap<u16, u64>,
    asked: BTreeMap<u16, Asked>,
    /// Packet ids of messages that we have not acknowledged.
    unacked: BTreeSet<u16>,
    last_packet: u16,
    last_in: Instant,
    last_out: Instant,
    pinged: Option<Instant>,
    /// The least QoS for which there was no room.
    wanted: Option<Qos>,
    useful: bool,
    events: VecDeque<LinkEvent>,
}

impl Conversation {
    /// A connection that the broker has just accepted.
    pub fn new(terms: Terms, accepted: &ConnAck, now: Instant) -> Self {
        let properties = accepted.properties.as_ref();
        // Zero: the broker does not care. We do.
        let asked_for = properties.and_then(|p| p.server_keep_alive).filter(|&s| s > 0);
        let asked_for = asked_for.map(|s| Duration::from_secs(s.into()));
        Self {
            terms,
            limits: BrokerLimits::of(accepted),
            keep_alive: asked_for.unwrap_or(terms.keep_alive).min(terms.keep_alive),
            outgoing: BytesMut::new(),
            reply_bytes: 0,
            published: BTreeMap::new(),
            asked: BTreeMap::new(),
            unacked: BTreeSet::new(),
            last_packet: 0,
            last_in: now,
            last_out: now,
            pinged: None,
            wanted: None,
            useful: false,
            events: VecDeque::new(),
        }
    }

    pub fn limits(&self) -> BrokerLimits {
        self.limits
    }

    /// Whether a message came or one of ours was confirmed.
    pub fn was_useful(&self) -> bool {
        self.useful
    }

    pub fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// The connection is over: what is in flight is lost.
    pub fn into_events(mut self) -> VecDeque<LinkEvent> {
        let generation = self.terms.generation;
        let lost = |tag| LinkEvent::Published { tag, generation, outcome: Err(Lost) };
        self.events.extend(self.published.into_values().map(lost));
        // Room is of no use any more.
        self.events.retain(|e| !matches!(e, LinkEvent::Room));
        self.events
    }

    // ---- what we say

    /// See `Link::publish`.
    pub fn publish(&mut self, tag: u64, mut message: Message) -> Result<(), NotSent> {
        // Said nevertheless, the broker would have to hang up.
        message.retain &= self.limits.retain;
        if message.qos == Qos::AtLeastOnce && self.limits.max_qos == 0 {
            return Err(NotSent::Invalid("the broker takes messages of QoS 0 only"));
        }
        let qos = message.qos;
        let packet = if qos == Qos::AtLeastOnce { self.free_packet() } else { 0 };
        let packet_bytes = Packet::Publish(publish(message, packet));
        self.check_size(&packet_bytes)?;
        if !self.has_room(qos) {
            self.wanted = Some(self.wanted.map_or(qos, |w| w.min(qos)));
            return Err(NotSent::Full);
        }
        self.write(&packet_bytes)?;
        if packet != 0 {
            self.last_packet = packet;
            self.published.insert(packet, tag);
        }
        Ok(())
    }

    /// See `Link::ack`.
    pub fn ack(&mut self, ack: &Ack) {
        if ack.generation != self.terms.generation || !self.unacked.contains(&ack.packet) {
            return;
        }
        if ack.exactly_once {
            self.reply(&Packet::PubRec(PubRec::new(ack.packet, None)));
        } else {
            self.unacked.remove(&ack.packet);
            self.reply(&Packet::PubAck(PubAck::new(ack.packet, None)));
        }
    }

    /// See `Link::subscribe`.
    pub fn subscribe(&mut self, wanted: &[Subscription]) -> Result<(), NotSent> {
        let filters = wanted.iter().map(|s| SubscribeFilter {
            path: s.filter.clone(),
            qos: s.qos.on_the_wire(),
            nolocal: s.no_local,
            // So that `retain` says whether the broker had kept it.
            preserve_retain: false,
            retain_forward_rule: match s.retained {
                Retained::Always => RetainForwardRule::OnEverySubscribe,
                Retained::IfNew => RetainForwardRule::OnNewSubscribe,
                Retained::Never => RetainForwardRule::Never,
            },
        });
        let pkid = self.free_packet();
        let packet = Subscribe { pkid, ..Subscribe::new_many(filters, None) };
        let asked = Asked::Subscribe(wanted.iter().map(|s| s.filter.clone()).collect());
        self.ask(pkid, &Packet::Subscribe(packet), asked)
    }

    /// See `Link::unsubscribe`.
    pub fn unsubscribe(&mut self, filters: &[String]) -> Result<(), NotSent> {
        let pkid = self.free_packet();
        let packet = Unsubscribe { pkid, filters: filters.to_vec(), properties: None };
        self.ask(pkid, &Packet::Unsubscribe(packet), Asked::Unsubscribe(filters.to_vec()))
    }

    /// Says good-bye; the broker does not send the last will.
    pub fn disconnect(&mut self, reason: DisconnectReasonCode) {
        let _ = self.write(&Packet::Disconnect(Disconnect::new(reason)));
    }

    fn ask(&mut self, packet: u16, bytes: &Packet, asked: Asked) -> Result<(), NotSent> {
        self.check_size(bytes)?;
        if self.asked.len() >= ASKED_LIMIT {
            self.wanted = Some(Qos::AtMostOnce);
            return Err(NotSent::Full);
        }
        self.write(bytes)?;
        self.last_packet = packet;
        self.asked.insert(packet, asked);
        Ok(())
    }

    /// The next packet id that is not in use; there are more ids than may be in use.
    fn free_packet(&self) -> u16 {
        let mut id = self.last_packet;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.published.contains_key(&id) && !self.asked.contains_key(&id) {
                return id;
            }
        }
    }

    fn check_size(&self, packet: &Packet) -> Result<(), NotSent> {
        let limit = self.limits.max_packet_bytes.map_or(PACKET_LIMIT, |n| n as usize);
        let size = packet.size();
        match size > limit {
            true => Err(NotSent::TooLarge { size, limit }),
            false => Ok(()),
        }
    }

    fn has_room(&self, qos: Qos) -> bool {
        let window = usize::from(self.limits.receive_maximum.min(WINDOW));
        let in_flight = qos == Qos::AtMostOnce || self.published.len() < window;
        in_flight && self.outgoing.len() < OUTGOING_LIMIT
    }

    fn write(&mut self, packet: &Packet) -> Result<(), NotSent> {
        let before = self.outgoing.len();
        packet.write(&mut self.outgoing, None).map(drop).map_err(|_| {
            // What the library wrote before it found the fault.
            self.outgoing.truncate(before);
            NotSent::Invalid("a topic with wildcards or a zero byte, or a text of over 65535 bytes")
        })
    }

    fn reply(&mut self, packet: &Packet) {
        let before = self.outgoing.len();
        // A packet id and a reason always fit.
        let _ = self.write(packet);
        self.reply_bytes += self.outgoing.len() - before;
    }

    // ---- what the broker says

    /// Takes one packet.
    pub fn receive(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.take(publish),
            Packet::PubAck(PubAck { pkid, reason, .. }) => {
                if let Some(tag) = self.published.remove(&pkid) {
                    self.useful = true;
                    let (generation, outcome) = (self.terms.generation, Ok(reason as u8));
                    self.events.push_back(LinkEvent::Published { tag, generation, outcome });
                    self.offer_room();
                }
                Ok(())
            }
            Packet::SubAck(SubAck { pkid, return_codes, .. }) => {
                let codes = return_codes.into_iter().map(subscribe_code).collect();
                self.answered(pkid, codes)
            }
            Packet::UnsubAck(answer) => {
                self.answered(answer.pkid, answer.reasons.into_iter().map(|r| r as u8).collect())
            }
            Packet::PubRel(release) => {
                let mut complete = PubComp::new(release.pkid, None);
                if !self.unacked.remove(&release.pkid) {
                    complete.reason = PubCompReason::PacketIdentifierNotFound;
                }
                self.reply(&Packet::PubComp(complete));
                Ok(())
            }
            Packet::PingResp => Ok(()),
            Packet::Disconnect(disconnect) => Err(hung_up(disconnect)),
            other => {
                let reason = format!("the broker sent {:?}, out of turn", other.packet_type());
                Err(End::fault(DisconnectReasonCode::ProtocolError, reason))
            }
        }
    }

    fn take(&mut self, publish: Publish) -> Result<(), End> {
        if publish.topic.is_empty() {
            let reason = "the broker uses a topic alias, which it was not offered";
            return Err(End::fault(DisconnectReasonCode::TopicAliasInvalid, reason));
        }
        if publish.qos != QoS::AtMostOnce {
            let limit = usize::from(self.terms.receive_maximum);
            if self.unacked.len() >= limit && !self.unacked.contains(&publish.pkid) {
                let reason = format!("the broker sent more than {limit} unacknowledged messages");
                return Err(End::fault(DisconnectReasonCode::ReceiveMaximumExceeded, reason));
            }
            self.unacked.insert(publish.pkid);
        }
        self.useful = true;
        let received = Received::new(publish, self.terms.generation);
        self.events.push_back(LinkEvent::Received(received));
        Ok(())
    }

    fn answered(&mut self, packet: u16, codes: Vec<u8>) -> Result<(), End> {
        let pair = |filters: Vec<String>| match filters.len() == codes.len() {
            true => Ok(filters.into_iter().zip(codes).collect()),
            false => Err(End::fault(
                DisconnectReasonCode::ProtocolError,
                "the broker's answer to a subscription does not fit it",
            )),
        };
        match self.asked.remove(&packet) {
            None => return Ok(()),
            Some(Asked::Subscribe(filters)) => {
                self.events.push_back(LinkEvent::Subscribed { filters: pair(filters)? });
            }
            Some(Asked::Unsubscribe(filters)) => {
                self.events.push_back(LinkEvent::Unsubscribed { filters: pair(filters)? });
            }
        }
        self.offer_room();
        Ok(())
    }

    // ---- the socket

    /// What is to be written; whoever writes takes it from the front and calls
    /// [`Self::written`].
    pub fn outgoing(&mut self) -> &mut BytesMut {
        &mut self.outgoing
    }

    /// Whether the broker may say more: it reads our answers.
    pub fn may_read(&self) -> bool {
        self.reply_bytes < REPLY_LIMIT
    }

    /// Some bytes were written.
    pub fn written(&mut self, now: Instant) {
        self.last_out = now;
        if self.outgoing.is_empty() {
            self.reply_bytes = 0;
            if self.outgoing.capacity() > KEPT_CAPACITY {
                self.outgoing = BytesMut::new();
            }
        }
        self.offer_room();
    }

    /// Some bytes came: the broker lives.
    pub fn heard(&mut self, now: Instant) {
        self.last_in = now;
        self.pinged = None;
    }

    fn offer_room(&mut self) {
        if self.wanted.is_some_and(|qos| self.has_room(qos)) && self.asked.len() < ASKED_LIMIT {
            self.wanted = None;
            self.events.push_back(LinkEvent::Room);
        }
    }

    // ---- time

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Instant {
        // Also while we send without pause: only an answer says that the broker lives.
        let since = self.pinged.unwrap_or(self.last_in.min(self.last_out));
        since + self.keep_alive
    }

    /// Pings a broker that is silent; gives up on one that does not answer: at most two keep-alive
    /// times after its last sign of life.
    pub fn tick(&mut self, now: Instant) -> Result<(), End> {
        if now < self.deadline() {
            return Ok(());
        }
        if self.pinged.is_some() {
            let silent = now.saturating_duration_since(self.last_in).as_secs();
            return Err(End::broken(format!("no sign of life from the broker for {silent} s")));
        }
        self.reply(&Packet::PingReq);
        self.pinged = Some(now);
        Ok(())
    }
}

fn hung_up(disconnect: Disconnect) -> End {
    let said = disconnect.properties.and_then(|p| p.reason_string);
    let said = said.map_or_else(String::new, |s| format!(", {s}"));
    let reason = format!("the broker hung up: {:?}{said}", disconnect.reason_code);
    let takeover = match disconnect.reason_code {
        DisconnectReasonCode::SessionTakenOver => Takeover::Yes,
        _ => Takeover::No,
    };
    End { reason, takeover, say: None }
}

fn subscribe_code(code: SubscribeReasonCode) -> u8 {
    match code {
        SubscribeReasonCode::Success(qos) => qos as u8,
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => 0x80,
        SubscribeReasonCode::ImplementationSpecific => 0x83,
        SubscribeReasonCode::NotAuthorized => 0x87,
        SubscribeReasonCode::TopicFilterInvalid => 0x8F,
        SubscribeReasonCode::PkidInUse => 0x91,
        SubscribeReasonCode::QuotaExceeded => 0x97,
        SubscribeReasonCode::SharedSubscriptionsNotSupported => 0x9E,
        SubscribeReasonCode::SubscriptionIdNotSupported => 0xA1,
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => 0xA2,
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
