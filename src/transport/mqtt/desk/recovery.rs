//! What an earlier run of the daemon left behind: read from the journal, and given to the runtime
//! as it has seats.

use super::super::stored::{self, Head};
use super::{Answered, Desk, Entry, Log, MAX_STARTS, PASSING, State};
use crate::core::error::{ErrorCode, RejectReason};
use crate::journal::{self, EntryId, Record};
use crate::runtime::{Origin, Outbox, Service};
use crate::transport::mqtt::Now;
use crate::transport::quota::Asker;
use crate::wire::Ask;
use std::collections::VecDeque;

impl<S: Service, L: Log, A> Desk<S, L, A> {
    /// Takes over what an earlier run of the daemon left in the journal.
    pub fn recover(&mut self, now: Now, entries: Vec<journal::Entry>, next_id: EntryId) {
        self.next_id = self.next_id.max(next_id.0);
        for stored in entries {
            let (id, starts) = (stored.id, stored.starts);
            let Some((entry, ask)) = self.read_entry(now, stored) else {
                tracing::warn!(entry = id.0, "a prompt in the journal cannot be read; forgotten");
                self.log.append(Record::Forgotten { id });
                continue;
            };
            self.bytes += entry.bytes;
            // Who was refused for the time being may ask again.
            let key = entry.key.filter(|_| !entry.is_passing());
            self.by_key.extend(key.map(|key| (key, id)));
            self.entries.insert(id, entry);
            match ask {
                None => {}
                Some(_) if starts >= MAX_STARTS => {
                    let message = "slmd went down twice while it answered this prompt, and does \
                                   not try again";
                    self.fail(id, ErrorCode::Internal, message);
                }
                Some(_) => self.waiting.push_back(id),
            }
        }
        self.start_waiting(now);
    }

    fn read_entry(&self, now: Now, stored: journal::Entry) -> Option<(Entry, Option<Ask>)> {
        let head = Head::read(&stored.head)?;
        let address = head.address();
        let kept = match stored.answered {
            // What cannot be read now is looked for again when it is to be sent.
            true => self.log.read_answer(stored.id).ok().flatten().unwrap_or_default(),
            false => Vec::new(),
        };
        let ask = match (stored.answered, &stored.body) {
            (true, _) => None,
            (false, body) => Some(stored::read_body(body.as_deref()?)?),
        };
        let state = match &ask {
            Some(ask) => State::Waiting(Box::new(ask.clone())),
            None => State::Answered(Answered {
                record: 0,
                payload: None,
                queued: None,
                is_out: false,
                delivered: stored.delivered,
                is_refused: false,
                is_passing: kept.first().is_some_and(|flags| flags & PASSING != 0),
            }),
        };
        let entry = Entry {
            key: stored::key(&address),
            address,
            arrived_ms: now.translate(&head, &self.policy.boot),
            due_ms: head.due_ms,
            max_priority: head.priority(),
            accepted: 0,
            since_ms: now.began(&head, &self.policy.boot),
            account: self.quotas.account(Asker::Topic(&head.topic)),
            topic: head.topic,
            bytes: stored.head.len() + stored.body.map_or(0, |b| b.len()) + kept.len(),
            is_suspect: ask.is_some() && stored.starts > 0,
            has_begun: false,
            state,
        };
        Some((entry, ask))
    }

    /// Gives prompts of an earlier run to the runtime as it has seats. One that ran when the
    /// process ended runs beside no other such one, so that only the guilty is found guilty.
    pub(super) fn start_waiting(&mut self, now: Now) {
        let mut left = VecDeque::new();
        while let Some(id) = self.waiting.pop_front() {
            let is_suspect = self.entries[&id].is_suspect;
            let running = |e: &Entry| e.is_suspect && matches!(e.state, State::Running(_));
            if is_suspect && self.entries.values().any(running) {
                left.push_back(id);
                continue;
            }
            match self.start(now, id) {
                Err(reason) if reason.code.retryable() => {
                    left.push_back(id);
                    break;
                }
                Err(reason) => self.fail(id, reason.code, &reason.message),
                Ok(()) => {}
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
    }

    fn start(&mut self, now: Now, id: EntryId) -> Result<(), RejectReason> {
        let entry = self.entries.get_mut(&id).expect("what waits is an entry");
        let State::Waiting(ask) = &entry.state else { return Ok(()) };
        if self.is_draining {
            return Err(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
        }
        if entry.is_expired(now) {
            let message = "the deadline passed while slmd was down";
            return Err(RejectReason::new(ErrorCode::Expired, message));
        }
        let outbox = Outbox::reserve(&self.replies)?.reporting_start(&self.starts);
        let origin = Origin { tries_again: true, ..entry.origin(now) };
        let request = self.service.submit((**ask).clone(), &origin, outbox)?;
        entry.state = State::Running(request);
        self.by_request.insert(request, id);
        Ok(())
    }
}
