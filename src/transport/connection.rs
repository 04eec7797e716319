//! Moves the bytes of one client. One task, no locks: it reads while there is room for replies, and
//! writes when the client takes them.

use super::session::Session;
use crate::runtime::{Event, Service};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;
/// Unwritten bytes from which on nothing more is read, and replies wait in their channel.
const HIGH_WATER_BYTES: usize = 64 * 1024;
/// How often a client that has closed its sending side is checked for being there at all.
const HANGUP_CHECK: Duration = Duration::from_millis(100);

/// One client's place among the others, as the acceptor sees it.
#[derive(Debug)]
pub struct Place {
    pending: AtomicUsize,
    last_active: Mutex<Instant>,
    /// Tells the connection to make room.
    pub evict: Notify,
}

impl Place {
    /// A client that has just come.
    pub fn new() -> Self {
        Self {
            pending: AtomicUsize::new(0),
            last_active: Mutex::new(Instant::now()),
            evict: Notify::new(),
        }
    }

    /// How long the client has been silent, if nothing of its is under way.
    pub fn idle_for(&self) -> Option<Duration> {
        let since = *self.last_active.lock().unwrap_or_else(PoisonError::into_inner);
        (self.pending.load(Ordering::Relaxed) == 0).then(|| since.elapsed())
    }

    fn touch(&self, pending: usize) {
        self.pending.store(pending, Ordering::Relaxed);
        *self.last_active.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client has gone, or the socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client did not read its answers in time.
    #[error("client_slow: nothing was read for {0:?}")]
    ClientSlow(Duration),
    /// Its place was needed for somebody else.
    #[error("idle, and its place was needed")]
    Evicted,
}

/// One client.
pub struct Connection<S> {
    pub stream: UnixStream,
    pub session: Session<S>,
    pub replies: mpsc::Receiver<Event>,
    pub stop: watch::Receiver<bool>,
    pub place: Arc<Place>,
    /// How long a client may leave what is written to it unread.
    pub write_timeout: Duration,
}

impl<S: Service> Connection<S> {
    /// Serves the client to the end; whatever it has under way then is cancelled.
    pub async fn run(mut self) -> Result<(), Ended> {
        let outcome = self.converse().await;
        self.session.abandon();
        let Self { stream, mut session, mut replies, place, .. } = self;
        // Nothing more is said, and somebody else may have the place meanwhile.
        drop((stream, place));
        while session.is_owing()
            && let Some(event) = replies.recv().await
        {
            session.deliver(&event);
        }
        outcome
    }

    async fn converse(&mut self) -> Result<(), Ended> {
        let (mut input_ended, mut looked_again) = (false, false);
        let mut stalled_at = Instant::now() + self.write_timeout;
        if *self.stop.borrow_and_update() {
            self.session.drain();
        }
        loop {
            let unwritten = self.session.outgoing().len();
            if self.session.is_over(input_ended) && unwritten == 0 {
                if input_ended || looked_again || !self.session.is_draining() {
                    return Ok(());
                }
                // What was sent before the client could know is refused, not lost.
                looked_again = true;
                input_ended = self.read()?;
                continue;
            }
            let has_room = unwritten < HIGH_WATER_BYTES;
            let may_read = has_room && !input_ended && !self.session.is_over(false);
            tokio::select! {
                event = self.replies.recv(), if has_room => if let Some(event) = event {
                    self.session.deliver(&event);
                },
                ready = self.stream.readable(), if may_read => {
                    ready?;
                    input_ended = self.read()?;
                }
                ready = self.stream.writable(), if unwritten > 0 => {
                    ready?;
                    if self.write()? {
                        stalled_at = Instant::now() + self.write_timeout;
                    }
                    continue;
                }
                () = sleep_until(stalled_at), if unwritten > 0 => {
                    return Err(Ended::ClientSlow(self.write_timeout));
                }
                () = sleep(HANGUP_CHECK), if input_ended => {
                    if has_hung_up(&self.stream)? {
                        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                    }
                    continue;
                }
                () = self.place.evict.notified() => {
                    if self.session.pending() == 0 {
                        return Err(Ended::Evicted);
                    }
                }
                changed = self.stop.changed(), if !self.session.is_draining() => {
                    // A sender that is gone will not say it any more.
                    if changed.is_err() || *self.stop.borrow_and_update() {
                        self.session.drain();
                    }
                }
            }
            if unwritten == 0 {
                stalled_at = Instant::now() + self.write_timeout;
            }
            self.place.touch(self.session.pending());
            // A client that never pauses must not keep the others waiting.
            tokio::task::yield_now().await;
        }
    }

    /// Reads what is there; says whether it was the last.
    fn read(&mut self) -> Result<bool, Ended> {
        let mut bytes = [0; READ_BYTES];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => {
                self.session.end_of_input();
                if has_hung_up(&self.stream)? {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                }
                Ok(true)
            }
            Ok(n) => {
                self.session.receive(&bytes[..n]);
                Ok(false)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes what the client takes; says whether it took anything.
    fn write(&mut self) -> Result<bool, Ended> {
        let outgoing = self.session.outgoing();
        match self.stream.try_write(outgoing) {
            Ok(n) => {
                outgoing.drain(..n);
                if outgoing.is_empty() {
                    outgoing.shrink_to(READ_BYTES);
                }
                Ok(n > 0)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Whether the other end has closed both ways; a half-closed one still wants its answers.
fn has_hung_up(stream: &UnixStream) -> Result<bool, Ended> {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).map_err(io::Error::from)?;
    Ok(fds[0].revents().is_some_and(|e| e.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)))
}
