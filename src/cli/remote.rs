//! Answers by the daemon.

use super::answerer::{Answerer, Cancel};
use super::exit::Failure;
use crate::client::{Client, ClientError};
use crate::wire::{Answer, Ask};
use std::path::Path;
use std::time::Duration;

/// The id of the one request that this connection has under way.
const ID: &str = "cli";
/// Patience for a request without a deadline.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How long after the deadline the reply may still arrive.
const GRACE: Duration = Duration::from_secs(5);

/// A connection to the daemon.
pub struct Remote {
    client: Client,
}

impl Remote {
    /// Connects.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Ok(Self { client: Client::connect(path)? })
    }

    /// For commands that ask no prompts.
    pub fn into_client(self) -> Client {
        self.client
    }
}

impl Answerer for Remote {
    fn answer(&mut self, ask: &Ask, on_delta: &mut dyn FnMut(&str)) -> Result<Answer, Failure> {
        let within = |ms: u32| Duration::from_millis(ms.into()) + GRACE;
        self.client.set_timeout(ask.deadline_ms.map_or(TIMEOUT, within));
        let ask = Ask { id: Some(ID.to_owned()), ..ask.clone() };
        let answer = self.client.ask(&ask, on_delta)?;
        Ok(Answer { id: None, ..answer })
    }

    fn cancel(&self) -> Cancel {
        match self.client.canceller(ID) {
            // A daemon that is gone has nothing to cancel.
            Ok(canceller) => Box::new(move || drop(canceller.cancel())),
            Err(_) => Box::new(|| ()),
        }
    }
}
