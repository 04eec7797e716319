//! What was really said about each prompt, as the taps saw it.

use std::collections::HashMap;
use std::sync::Mutex;

/// The requesters' side of the broker; the daemons' are those after it.
pub const REQUESTERS: usize = 0;

/// Something that a client of the broker said or heard about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The client published it.
    Sent,
    /// The broker acknowledged that, with this reason code.
    Confirmed(u8),
    /// The broker delivered it to the client.
    Received,
    /// The client acknowledged that.
    Acked,
}

/// What one side said and heard of a key.
#[derive(Debug, Clone, Default)]
pub struct Account {
    pub sent: u32,
    pub received: u32,
    pub acked: u32,
    /// The reason codes of the broker's acknowledgements.
    pub confirmed: Vec<u8>,
}

impl Account {
    /// Whether slmd answers for it: it has acknowledged the prompt, and the broker has not
    /// acknowledged the answer.
    pub fn is_owed(&self) -> bool {
        self.acked > 0 && self.confirmed.is_empty()
    }
}

/// All accounts; shared by the taps.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Mutex<HashMap<(usize, String), Account>>,
    subscriptions: Mutex<HashMap<usize, usize>>,
    misread: Mutex<Vec<String>>,
}

impl Ledger {
    /// Notes a fact.
    pub fn add(&self, side: usize, key: &str, fact: Fact) {
        let mut accounts = self.accounts.lock().expect("no panic");
        let account = accounts.entry((side, key.to_owned())).or_default();
        match fact {
            Fact::Sent => account.sent += 1,
            Fact::Confirmed(reason) => account.confirmed.push(reason),
            Fact::Received => account.received += 1,
            Fact::Acked => account.acked += 1,
        }
    }

    /// The broker has answered a SUBSCRIBE of this side.
    pub fn subscribe(&self, side: usize) {
        *self.subscriptions.lock().expect("no panic").entry(side).or_default() += 1;
    }

    /// How often it did.
    pub fn subscriptions(&self, side: usize) -> usize {
        self.subscriptions.lock().expect("no panic").get(&side).copied().unwrap_or(0)
    }

    /// A packet that the tap could not read: its figures are worth nothing.
    pub fn misread(&self, why: &str) {
        self.misread.lock().expect("no panic").push(why.to_owned());
    }

    /// How many packets could not be read.
    pub fn misreads(&self) -> usize {
        self.misread.lock().expect("no panic").len()
    }

    /// What this side said and heard of a key.
    pub fn account(&self, side: usize, key: &str) -> Account {
        let accounts = self.accounts.lock().expect("no panic");
        accounts.get(&(side, key.to_owned())).cloned().unwrap_or_default()
    }

    /// Begins a key anew: it is asked again.
    pub fn forget(&self, side: usize, key: &str) {
        self.accounts.lock().expect("no panic").remove(&(side, key.to_owned()));
    }

    /// How many keys of this side are so.
    pub fn count(&self, side: usize, is: impl Fn(&Account) -> bool) -> usize {
        let accounts = self.accounts.lock().expect("no panic");
        accounts.iter().filter(|((of, _), account)| *of == side && is(account)).count()
    }
}
