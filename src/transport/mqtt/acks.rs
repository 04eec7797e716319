//! Acknowledgements of what came in. They go out in the order of arrival (MQTT 5.0, section 4.6),
//! each as soon as slmd, and no longer the broker, answers for the message.

use std::collections::VecDeque;

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Nothing.
    Now,
    /// The journal has committed this record.
    Committed(u64),
    /// The message with this tag is out. It is all that the journal would not send again: a refusal,
    /// or one more copy of an answer that is out already. So the broker keeps the request until then.
    Out(u64),
}

/// The acknowledgements held back; `A` is the link's token for one.
#[derive(Debug)]
pub struct Acks<A> {
    held: VecDeque<(A, Until)>,
    committed: u64,
}

impl<A> Default for Acks<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Acks<A> {
    /// None.
    pub const fn new() -> Self {
        Self { held: VecDeque::new(), committed: 0 }
    }

    /// Takes the next one, in the order of arrival. A QoS 0 message has none.
    pub fn hold(&mut self, ack: Option<A>, until: Until) {
        self.held.extend(ack.map(|ack| (ack, until)));
    }

    /// The journal has committed all records up to this one.
    pub fn committed(&mut self, record: u64) {
        self.committed = self.committed.max(record);
    }

    /// A message is out, or never will be.
    pub fn out(&mut self, tag: u64) {
        self.release(Until::Out(tag));
    }

    /// The broker has the answer of the prompt with this record, which need not be committed for
    /// its sake any more.
    pub fn answered(&mut self, record: u64) {
        self.release(Until::Committed(record));
    }

    fn release(&mut self, what: Until) {
        for (_, until) in &mut self.held {
            if *until == what {
                *until = Until::Now;
            }
        }
    }

    /// The connection is gone, and with it the right to acknowledge; the broker will send again.
    pub fn forget(&mut self) {
        self.held.clear();
    }

    /// The next one that may go out.
    pub fn pop(&mut self) -> Option<A> {
        let ready = match self.held.front()?.1 {
            Until::Now => true,
            Until::Committed(record) => record <= self.committed,
            Until::Out(_) => false,
        };
        if ready { self.held.pop_front().map(|(ack, _)| ack) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(acks: &mut Acks<u8>) -> Vec<u8> {
        std::iter::from_fn(|| acks.pop()).collect()
    }

    #[test]
    fn they_go_out_in_order_of_arrival() {
        let mut acks = Acks::new();
        acks.hold(Some(1), Until::Committed(5));
        acks.hold(Some(2), Until::Now);
        acks.hold(None, Until::Now);
        acks.hold(Some(3), Until::Out(9));
        acks.hold(Some(4), Until::Committed(6));
        assert_eq!(ready(&mut acks), [0; 0]);
        acks.committed(4);
        assert_eq!(ready(&mut acks), [0; 0]);
        acks.committed(6);
        assert_eq!(ready(&mut acks), [1, 2]);
        acks.out(8);
        assert_eq!(ready(&mut acks), [0; 0]);
        acks.out(9);
        assert_eq!(ready(&mut acks), [3, 4]);
    }

    #[test]
    fn a_lost_connection_takes_them_along() {
        let mut acks = Acks::new();
        acks.hold(Some(1), Until::Committed(1));
        acks.forget();
        acks.committed(1);
        assert_eq!(ready(&mut acks), [0; 0]);
    }
}
