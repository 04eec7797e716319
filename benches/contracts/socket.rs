//! slmd through its socket: JSON lines on a few connections, written and read without waiting.

use crate::mix::{Request, Shape};
use crate::server::{Ending, Heard, Number, Server, What};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections; each may have 16 requests under way.
const CONNECTIONS: usize = 8;

/// The daemon as a [`Server`].
pub struct Socket {
    pid: u32,
    lines: Vec<Line>,
}

/// One connection.
struct Line {
    stream: UnixStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
    pending: Vec<Number>,
}

impl Socket {
    pub fn connect(path: &Path, pid: u32) -> Self {
        let lines = (0..CONNECTIONS).map(|_| Line::connect(path)).collect();
        Self { pid, lines }
    }
}

impl Server for Socket {
    fn send(&mut self, number: Number, request: &Request) {
        let line =
            self.lines.iter_mut().min_by_key(|line| line.pending.len()).expect("there are some");
        line.pending.push(number);
        serde_json::to_writer(&mut line.unsent, &body(number, request)).expect("into memory");
        line.unsent.push(b'\n');
        line.write();
    }

    fn hear(&mut self, until: Instant, heard: &mut Vec<Heard>) {
        let ready = wait(self.lines.iter().map(|l| (&l.stream, !l.unsent.is_empty())), until);
        for (line, is_ready) in self.lines.iter_mut().zip(ready) {
            if is_ready {
                line.write();
                line.read(heard);
            }
        }
    }

    fn keeps_deadlines(&self) -> bool {
        true
    }

    fn abandon(&mut self, number: Number) -> bool {
        let mut line = self.lines.iter_mut().find(|line| line.pending.contains(&number));
        if let Some(line) = &mut line {
            let cancel = json!({ "op": "cancel", "id": number.to_string() });
            serde_json::to_writer(&mut line.unsent, &cancel).expect("into memory");
            line.unsent.push(b'\n');
            line.write();
        }
        line.is_some()
    }

    fn pid(&self) -> u32 {
        self.pid
    }
}

/// Waits until one of these may be read (or written, where that is wanted) or it is time.
pub fn wait<'a, S: AsFd + 'a>(
    streams: impl Iterator<Item = (&'a S, bool)>,
    until: Instant,
) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = streams
        .map(|(stream, writes)| {
            let writes = if writes { PollFlags::POLLOUT } else { PollFlags::empty() };
            PollFd::new(stream.as_fd(), PollFlags::POLLIN | writes)
        })
        .collect();
    let left = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(3600));
    match ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(e) => panic!("poll: {e}"),
    }
    polled.iter().map(|p| p.any().unwrap_or(false)).collect()
}

impl Line {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the daemon listens");
        stream.set_nonblocking(true).expect("a socket");
        Self { stream, unsent: Vec::new(), received: Vec::new(), pending: Vec::new() }
    }

    fn write(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("the daemon is gone: {e}"),
            }
        }
    }

    fn read(&mut self, heard: &mut Vec<Heard>) {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("the daemon closed the connection"),
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("the daemon is gone: {e}"),
            }
        }
        let at = Instant::now();
        let mut begin = 0;
        while let Some(length) = self.received[begin..].iter().position(|&b| b == b'\n') {
            let message = message(&self.received[begin..begin + length], at);
            if matches!(message.what, What::Ended(_)) {
                self.pending.retain(|&number| number != message.number);
            }
            heard.push(message);
            begin += length + 1;
        }
        self.received.drain(..begin);
    }
}

fn body(number: Number, request: &Request) -> Value {
    let mut body = json!({
        "id": number.to_string(), "prompt": request.prompt, "max_tokens": request.max_tokens,
        "temperature": 0, "priority": request.priority(),
        "deadline_ms": request.deadline_ms as u64, "stream": request.stream,
        "best_effort": request.best_effort,
    });
    if let Some(ms) = request.ttft_ms {
        body["ttft_ms"] = (ms as u64).into();
    }
    let regex = match request.shape {
        Shape::Free => return body,
        Shape::Digits => "[0-9]+".to_owned(),
        Shape::Early(count) => format!("[0-9]{{{count}}}"),
    };
    body["response_format"] = json!({ "type": "regex", "regex": regex });
    body
}

fn message(line: &[u8], at: Instant) -> Heard {
    // Deltas are many, and all that matters is whose they are.
    if let Some(number) = delta(line) {
        return Heard { number, at, what: What::First };
    }
    let reply: Value = serde_json::from_slice(line).expect("a line of JSON");
    let number = reply["id"].as_str().and_then(|id| id.parse().ok());
    let number = number.unwrap_or_else(|| panic!("a reply to nobody: {reply}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ending = if reply["status"] == "ok" {
        Ending::Answer {
            cause: text(&reply["cause"]),
            tokens: reply["usage"]["completion_tokens"].as_u64().expect("a count") as u32,
            own_ms: reply["timings"]["total_ms"].as_f64(),
        }
    } else {
        let error = &reply["error"];
        Ending::Error { code: text(&error["code"]), needs_ms: error["needs_ms"].as_f64() }
    };
    Heard { number, at, what: What::Ended(ending) }
}

/// The number of `{"id":"NUMBER","delta":...`.
fn delta(line: &[u8]) -> Option<Number> {
    let rest = line.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|&b| b == b'"')?;
    rest[end..].strip_prefix(b"\",\"delta\"")?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}
