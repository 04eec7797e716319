//! What waits to be published and what waits for its PUBACK: a window of a few messages, and rules
//! for what becomes of the rest while the broker is away.

use super::message::Message;
use crate::journal::EntryId;
use std::collections::{BTreeMap, VecDeque};

/// Messages without a PUBACK at the same time.
pub const WINDOW: usize = 16;
/// Alerts that wait, of all watches together; each watch has a limit of its own besides.
const MAX_ALERTS: usize = 1024;

/// Something to be published with QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parcel {
    /// The committed answer of an entry; the journal has it.
    Answer(EntryId),
    /// A refusal that is nowhere else; it dies with the connection, and the broker sends the
    /// request again.
    Refusal(Message),
    /// Something that slmd says by itself.
    Notice(Message, Offline),
}

/// What becomes of a notice while the broker is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// All are kept, in order; beyond so many of one topic the oldest goes.
    Keep(usize),
    /// The newest of its topic is kept.
    Newest,
    /// The newest of its topic is kept, until this time in milliseconds.
    Until(u64),
}

/// The parcels on their way.
#[derive(Debug, Default)]
pub struct Outgoing {
    connected: bool,
    next_tag: u64,
    window: usize,
    waiting: VecDeque<(u64, Parcel)>,
    in_flight: BTreeMap<u64, Parcel>,
    dropped: u64,
}

impl Outgoing {
    /// Nothing on its way, and nobody to send it to.
    pub fn new() -> Self {
        Self { next_tag: 1, window: WINDOW, ..Self::default() }
    }

    /// The broker takes up to `window` messages without a PUBACK.
    pub fn connect(&mut self, window: u16) {
        self.connected = true;
        self.window = usize::from(window).clamp(1, WINDOW);
    }

    /// The connection is gone. Notices under way wait again; answers and refusals come from
    /// elsewhere.
    pub fn disconnect(&mut self) {
        self.connected = false;
        let back = std::mem::take(&mut self.in_flight);
        let waiting = std::mem::take(&mut self.waiting);
        let keep = |(_, parcel): &(u64, Parcel)| matches!(parcel, Parcel::Notice(..));
        self.waiting = back.into_iter().chain(waiting).filter(keep).collect();
    }

    /// Takes a parcel; gives the tag by which its fate will be told.
    pub fn push(&mut self, parcel: Parcel) -> u64 {
        if let Parcel::Notice(message, offline) = &parcel {
            self.make_room(&message.topic, *offline);
        }
        let tag = self.next_tag;
        self.next_tag += 1;
        self.waiting.push_back((tag, parcel));
        tag
    }

    fn make_room(&mut self, topic: &str, offline: Offline) {
        let same = |parcel: &Parcel| matches!(parcel, Parcel::Notice(m, _) if m.topic == topic);
        let of_topic = self.waiting.iter().filter(|(_, p)| same(p)).count();
        let notices = self.waiting.iter().filter(|(_, p)| matches!(p, Parcel::Notice(..))).count();
        let surplus = match offline {
            Offline::Newest | Offline::Until(_) => of_topic,
            Offline::Keep(limit) => (of_topic + 1).saturating_sub(limit.max(1)),
        };
        for _ in 0..surplus {
            let first = self.waiting.iter().position(|(_, p)| same(p));
            first.and_then(|i| self.waiting.remove(i));
        }
        self.dropped += if matches!(offline, Offline::Keep(_)) { surplus as u64 } else { 0 };
        if notices - surplus >= MAX_ALERTS {
            let notice = |(_, p): &(u64, Parcel)| matches!(p, Parcel::Notice(..));
            let first = self.waiting.iter().position(notice);
            first.and_then(|i| self.waiting.remove(i));
            self.dropped += 1;
        }
    }

    /// The next one that may be sent at `now`, in milliseconds.
    pub fn next(&mut self, now: u64) -> Option<(u64, &Parcel)> {
        if !self.connected || self.in_flight.len() >= self.window {
            return None;
        }
        loop {
            let (tag, parcel) = self.waiting.pop_front()?;
            if matches!(&parcel, Parcel::Notice(_, Offline::Until(end)) if *end <= now) {
                self.dropped += 1;
                continue;
            }
            return Some((tag, self.in_flight.entry(tag).or_insert(parcel)));
        }
    }

    /// The fate of `tag` is known; it takes no place in the window any more.
    pub fn done(&mut self, tag: u64) -> Option<Parcel> {
        self.in_flight.remove(&tag)
    }

    /// The parcel of a tag that is under way.
    pub fn under_way(&self, tag: u64) -> Option<&Parcel> {
        self.in_flight.get(&tag)
    }

    /// Whether nothing waits, neither to be sent nor for a PUBACK.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// Refusals that wait to be sent.
    pub fn refusals(&self) -> usize {
        self.waiting.iter().filter(|(_, parcel)| matches!(parcel, Parcel::Refusal(_))).count()
    }

    /// Notices dropped because there were too many or they were too old.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Properties, Qos};
    use super::*;

    fn message(topic: &str, payload: &'static str) -> Message {
        Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Properties::default(),
        }
    }

    fn notice(topic: &str, payload: &'static str, offline: Offline) -> Parcel {
        Parcel::Notice(message(topic, payload), offline)
    }

    /// What goes out at `now`, each acknowledged at once.
    fn drained(outgoing: &mut Outgoing, now: u64) -> Vec<Parcel> {
        let mut out = Vec::new();
        while let Some((tag, parcel)) = outgoing.next(now) {
            out.push(parcel.clone());
            outgoing.done(tag);
        }
        out
    }

    #[test]
    fn the_window_holds() {
        let mut outgoing = Outgoing::new();
        outgoing.connect(2);
        for id in 0..5 {
            outgoing.push(Parcel::Answer(EntryId(id)));
        }
        let first = outgoing.next(0).expect("a place").0;
        assert!(outgoing.next(0).is_some());
        assert_eq!(outgoing.next(0), None, "two are under way");
        assert_eq!(outgoing.done(first), Some(Parcel::Answer(EntryId(0))));
        assert_eq!(outgoing.done(first), None);
        assert_eq!(outgoing.next(0).map(|(_, p)| p.clone()), Some(Parcel::Answer(EntryId(2))));
    }

    #[test]
    fn a_lost_connection_keeps_notices_only_and_in_order() {
        let mut outgoing = Outgoing::new();
        outgoing.connect(100);
        outgoing.push(notice("a", "1", Offline::Keep(9)));
        outgoing.push(Parcel::Answer(EntryId(1)));
        outgoing.push(Parcel::Refusal(message("r", "no")));
        assert!(outgoing.next(0).is_some());
        outgoing.push(notice("a", "2", Offline::Keep(9)));
        outgoing.disconnect();
        assert_eq!(outgoing.next(0), None);
        outgoing.connect(100);
        let kept = [notice("a", "1", Offline::Keep(9)), notice("a", "2", Offline::Keep(9))];
        assert_eq!(drained(&mut outgoing, 0), kept);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn notices_are_kept_merged_or_dropped_as_they_ask() {
        let mut outgoing = Outgoing::new();
        for payload in ["1", "2", "3"] {
            outgoing.push(notice("keep", payload, Offline::Keep(2)));
            outgoing.push(notice("newest", payload, Offline::Newest));
            outgoing.push(notice("old", payload, Offline::Until(100)));
        }
        outgoing.push(notice("fresh", "1", Offline::Until(200)));
        outgoing.connect(100);
        let kept = [
            notice("keep", "2", Offline::Keep(2)),
            notice("keep", "3", Offline::Keep(2)),
            notice("newest", "3", Offline::Newest),
            notice("fresh", "1", Offline::Until(200)),
        ];
        assert_eq!(drained(&mut outgoing, 150), kept);
        assert_eq!(outgoing.dropped(), 2, "one of `keep`, and the last of `old`");
    }

    #[test]
    fn there_is_an_end_to_what_waits() {
        let mut outgoing = Outgoing::new();
        for i in 0..2 * MAX_ALERTS {
            outgoing.push(notice(&i.to_string(), "x", Offline::Newest));
        }
        assert_eq!(outgoing.waiting.len(), MAX_ALERTS);
    }
}
