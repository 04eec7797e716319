//! A daemon's socket without a daemon: what a client says decides how the fake service answers.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

use serde_json::{Value, json};
use slmd::core::error::{ErrorCode, RejectReason};
use slmd::core::request::RequestId;
use slmd::runtime::{Event, Origin, Outbox, Service};
use slmd::transport::access::Access;
use slmd::transport::listen::Listener;
use slmd::transport::quota::Quota;
use slmd::transport::shares::Shares;
use slmd::transport::unix::{Limits, serve};
use slmd::wire::{Answer, Ask, Reply};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a cancelled request has cost.
pub const CANCELLED_TOKENS: u32 = 25;

/// Answers `echo WORDS` at once, `flood N` with N deltas, and `hang` never, until cancelled.
#[derive(Clone, Default)]
pub struct Fake(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    hanging: Mutex<Vec<(RequestId, Option<String>, Outbox)>>,
    cancelled: Mutex<Vec<RequestId>>,
}

impl Fake {
    pub fn hanging(&self) -> usize {
        self.0.hanging.lock().unwrap().len()
    }

    pub fn cancelled(&self) -> usize {
        self.0.cancelled.lock().unwrap().len()
    }

    /// Answers all that hangs.
    pub fn release(&self) {
        for (request, id, outbox) in self.0.hanging.lock().unwrap().drain(..) {
            finish(outbox, request, id, "released".into());
        }
    }
}

fn finish(outbox: Outbox, request: RequestId, id: Option<String>, text: String) {
    let answer = Answer { id, text, finish_reason: "stop", cause: "stop", ..Answer::default() };
    // A token for each byte of the text.
    let tokens = answer.text.len() as u32;
    outbox.finish(Event { request, reply: Reply::Answer(Box::new(answer)), tokens });
}

fn stream(outbox: &Outbox, request: RequestId, id: &Option<String>, piece: &str) {
    let reply = Reply::Delta { id: id.clone(), text: piece.to_owned() };
    outbox.delta(Event { request, reply, tokens: 0 });
}

impl Service for Fake {
    fn submit(&self, ask: Ask, _: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason> {
        let request = RequestId(self.0.next.fetch_add(1, Ordering::Relaxed));
        let last = ask.messages.last().map(|m| m.content.clone());
        let prompt = ask.prompt.or(last).unwrap_or_default();
        let (verb, rest) = prompt.split_once(' ').unwrap_or((&prompt, ""));
        match verb {
            "echo" => {
                if ask.stream {
                    rest.split_inclusive(' ').for_each(|p| stream(&outbox, request, &ask.id, p));
                }
                finish(outbox, request, ask.id, rest.to_owned());
            }
            "flood" => {
                let (rest, id) = (rest.to_owned(), ask.id);
                std::thread::spawn(move || {
                    let count: usize = rest.parse().expect("flood N");
                    let mut text = String::new();
                    for i in 0..count {
                        let piece = format!("{i} ");
                        stream(&outbox, request, &id, &piece);
                        text += &piece;
                    }
                    finish(outbox, request, id, text);
                });
            }
            "hang" => self.0.hanging.lock().unwrap().push((request, ask.id, outbox)),
            "busy" => return Err(RejectReason::new(ErrorCode::Busy, "the queue is full")),
            other => panic!("the fake does not know {other}"),
        }
        Ok(request)
    }

    fn cancel(&self, request: RequestId) {
        self.0.cancelled.lock().unwrap().push(request);
        let mut hanging = self.0.hanging.lock().unwrap();
        let Some(i) = hanging.iter().position(|(r, ..)| *r == request) else { return };
        let (_, id, outbox) = hanging.swap_remove(i);
        let reply = Reply::refuse(id, ErrorCode::Cancelled, "cancelled");
        outbox.finish(Event { request, reply, tokens: CANCELLED_TOKENS });
    }

    fn status(&self) -> Value {
        json!({ "engine": "fake", "hanging": self.hanging() })
    }

    fn is_serving(&self) -> bool {
        true
    }
}

/// A socket in a directory of its own, served by a thread.
pub struct Daemon {
    pub fake: Fake,
    pub shares: Arc<Shares>,
    pub path: PathBuf,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    pub fn start() -> Self {
        Self::with(Limits { drain_timeout: Duration::from_secs(5), ..Limits::default() })
    }

    pub fn with(limits: Limits) -> Self {
        Self::letting_in(Access::default(), limits)
    }

    pub fn letting_in(access: Access, limits: Limits) -> Self {
        Self::sharing(access, limits, Vec::new())
    }

    pub fn sharing(access: Access, limits: Limits, quotas: Vec<Quota>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slmd.sock");
        let listener = Listener::bind(&path, None).unwrap();
        let (stop, stopped) = watch::channel(false);
        let fake = Fake::default();
        let service = fake.clone();
        let shares = Shares::new(quotas);
        let figures = Arc::clone(&shares);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let serving = serve(listener, access, shares, limits, service, stopped);
            runtime.unwrap().block_on(serving).unwrap();
        });
        Self { fake, shares: figures, path, stop, thread: Some(thread), _dir: dir }
    }

    pub fn connect(&self) -> Lines {
        Lines::new(UnixStream::connect(&self.path).unwrap())
    }

    /// As SIGTERM does.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the socket's task has come to its end.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        self.fake.release();
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

/// A client that speaks JSON lines by hand.
pub struct Lines {
    pub stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Lines {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub fn send(&mut self, value: &Value) {
        self.raw(format!("{value}\n").as_bytes());
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next line; none at the end of the stream.
    pub fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line).unwrap() {
            0 => None,
            _ => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    pub fn hear(&mut self) -> Value {
        self.next().expect("a reply, not the end")
    }

    pub fn ask(&mut self, id: &str, prompt: &str) {
        self.send(&json!({ "id": id, "prompt": prompt }));
    }
}

/// Waits for what another thread is about to bring about.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
