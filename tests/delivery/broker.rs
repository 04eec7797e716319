//! The broker as a model, with the network to it: a session of messages without a PUBACK, which
//! come again in order on the next connection, and a wire that may break anywhere.

use super::random::Random;
use slmd::transport::mqtt::message::{Message, Qos};
use std::collections::{BTreeMap, VecDeque};

/// The right to acknowledge: connection and message.
pub type Token = (u64, u64);

pub struct Pending {
    pub seq: u64,
    pub message: Message,
    /// The last connection that it was sent on.
    pub sent_on: u64,
    pub received_ms: u64,
}

/// One publication of ours, under way to the broker.
pub struct Under {
    pub tag: u64,
    pub message: Message,
}

/// A terminal reply that the broker has said something about.
#[derive(Debug, Clone)]
pub struct Heard {
    pub at_ms: u64,
    pub reason: u8,
    pub message: Message,
}

pub struct Broker {
    pub session: VecDeque<Pending>,
    /// Whether the broker knows of us at all.
    pub has_session: bool,
    pub generation: u64,
    pub is_connected: bool,
    pub receive_maximum: usize,
    pub window: u16,
    pub max_packet: usize,
    pub next_seq: u64,
    /// On the current connection, in order of arrival.
    pub unacked: VecDeque<u64>,
    pub acks: VecDeque<u64>,
    pub wire: VecDeque<Under>,
    pub pubacks: VecDeque<(u64, u8)>,
    pub heard: BTreeMap<String, Vec<Heard>>,
}

impl Broker {
    pub fn new(random: &mut Random) -> Self {
        Self {
            session: VecDeque::new(),
            has_session: false,
            generation: 0,
            is_connected: false,
            receive_maximum: random.between(2, 12),
            window: random.between(1, 6) as u16,
            max_packet: if random.one_in(3) { 400 } else { 1 << 20 },
            next_seq: 1,
            unacked: VecDeque::new(),
            acks: VecDeque::new(),
            wire: VecDeque::new(),
            pubacks: VecDeque::new(),
            heard: BTreeMap::new(),
        }
    }

    /// A client's message.
    pub fn queue(&mut self, message: Message) {
        if self.has_session {
            let seq = self.next_seq;
            self.next_seq += 1;
            self.session.push_back(Pending { seq, message, sent_on: 0, received_ms: 0 });
        }
    }

    pub fn connect(&mut self, forget: bool) {
        if forget {
            self.session.clear();
        }
        (self.has_session, self.is_connected) = (true, true);
        self.generation += 1;
    }

    /// The connection breaks: of what is on the wire a part arrives.
    pub fn lose(&mut self, now_ms: u64, random: &mut Random) {
        for _ in 0..random.between(0, self.acks.len()) {
            self.take_ack();
        }
        for _ in 0..random.between(0, self.wire.len()) {
            self.take_publication(now_ms, random, false);
        }
        self.is_connected = false;
        self.unacked.clear();
        self.acks.clear();
        self.wire.clear();
        self.pubacks.clear();
    }

    /// The next message for slmd, if it may have one more.
    pub fn deliver(&mut self, now_ms: u64) -> Option<(Message, Option<Token>)> {
        let generation = self.generation;
        let on_the_way = self.session.iter().filter(|p| p.sent_on == generation).count();
        if !self.is_connected || on_the_way >= self.receive_maximum {
            return None;
        }
        let place = self.session.iter().position(|p| p.sent_on != generation)?;
        if self.session[place].message.qos == Qos::AtMostOnce {
            return self.session.remove(place).map(|p| (p.message, None));
        }
        let pending = &mut self.session[place];
        (pending.sent_on, pending.received_ms) = (generation, now_ms);
        let seq = pending.seq;
        self.unacked.push_back(seq);
        Some((self.session[place].message.clone(), Some((generation, seq))))
    }

    pub fn take_ack(&mut self) -> bool {
        let Some(seq) = self.acks.pop_front() else { return false };
        self.session.retain(|p| p.seq != seq);
        true
    }

    /// Takes a publication of ours from the wire.
    pub fn take_publication(&mut self, now_ms: u64, random: &mut Random, calm: bool) -> bool {
        let Some(Under { tag, message }) = self.wire.pop_front() else { return false };
        if message.qos == Qos::AtMostOnce {
            return true;
        }
        let reason = match random.below(20) {
            _ if calm => 0,
            0 => 0x87,
            1..=3 => 0x10,
            _ => 0,
        };
        self.pubacks.push_back((tag, reason));
        let heard = Heard { at_ms: now_ms, reason, message };
        self.heard.entry(heard.message.topic.clone()).or_default().push(heard);
        true
    }
}
