//! llama-server, asked over HTTP: one connection a request, closed where the client gives up.

use crate::mix::{Request, Shape};
use crate::mosquitto::free_port;
use crate::server::{Ending, Heard, Number, Server, What};
use crate::socket::wait;
use serde_json::{Value, json};
use slmd::text::Tokenizer;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How it is started.
pub struct Plan<'a> {
    pub program: &'a Path,
    pub gguf: &'a Path,
    pub threads: usize,
    /// Sessions, each with a context of its own.
    pub sessions: usize,
    pub context_tokens: usize,
    /// Further arguments.
    pub more: &'a [String],
}

/// The server; ended when dropped.
pub struct LlamaServer {
    child: Child,
    port: u16,
    calls: BTreeMap<Number, Call>,
    tokenizer: Arc<Tokenizer>,
}

/// One request.
struct Call {
    stream: TcpStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
    has_first: bool,
}

impl LlamaServer {
    /// Starts it and waits until it is healthy; prompts are sent as tokens.
    pub fn start(plan: &Plan<'_>, tokenizer: Arc<Tokenizer>) -> Self {
        let port = free_port();
        let context = plan.sessions * plan.context_tokens;
        let child = Command::new(plan.program)
            .arg("--model")
            .arg(plan.gguf)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--threads", &plan.threads.to_string()])
            .args(["--threads-batch", &plan.threads.to_string()])
            .args(["--parallel", &plan.sessions.to_string(), "--ctx-size", &context.to_string()])
            .args(plan.more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("llama-server starts");
        let mut server = Self { child, port, calls: BTreeMap::new(), tokenizer };
        let began = Instant::now();
        while !server.is_healthy() {
            assert!(server.child.try_wait().expect("a child").is_none(), "llama-server has ended");
            assert!(began.elapsed() < Duration::from_secs(60), "llama-server does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let request = "GET /health HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n";
        let mut reply = String::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_string(&mut reply).is_ok()
            && reply.starts_with("HTTP/1.1 200")
    }

    fn body(&self, request: &Request) -> Value {
        let tokens = self.tokenizer.encode(&request.prompt, true).expect("good text has tokens");
        let mut body = json!({
            "prompt": tokens, "n_predict": request.max_tokens,
            "temperature": 0, "ignore_eos": true, "cache_prompt": false, "stream": request.stream,
        });
        match request.shape {
            Shape::Free => {}
            Shape::Digits => body["grammar"] = "root ::= [0-9]+".into(),
            Shape::Early(count) => body["grammar"] = format!("root ::= [0-9]{{{count}}}").into(),
        }
        body
    }
}

impl Server for LlamaServer {
    fn send(&mut self, number: Number, request: &Request) {
        let body = self.body(request).to_string();
        let length = body.len();
        let head = format!(
            "POST /completion HTTP/1.1\r\nHost: l\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("llama-server listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_nonblocking(true).expect("a socket");
        let unsent = (head + &body).into_bytes();
        let mut call = Call { stream, unsent, received: Vec::new(), has_first: false };
        call.write();
        self.calls.insert(number, call);
    }

    fn hear(&mut self, until: Instant, heard: &mut Vec<Heard>) {
        let ready = wait(self.calls.values().map(|c| (&c.stream, !c.unsent.is_empty())), until);
        let mut ended = Vec::new();
        for ((&number, call), is_ready) in self.calls.iter_mut().zip(ready) {
            if is_ready && call.progress(number, heard) {
                ended.push(number);
            }
        }
        for number in ended {
            self.calls.remove(&number);
        }
    }

    fn keeps_deadlines(&self) -> bool {
        false
    }

    fn abandon(&mut self, number: Number) -> bool {
        // Closing the connection is how llama-server is told.
        self.calls.remove(&number);
        false
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Call {
    fn write(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("llama-server is gone: {e}"),
            }
        }
    }

    /// Reads what is there; whether that was all of it.
    fn progress(&mut self, number: Number, heard: &mut Vec<Heard>) -> bool {
        self.write();
        let mut bytes = [0; 16 * 1024];
        let is_closed = loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break true,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break true,
                Err(e) => panic!("llama-server is gone: {e}"),
            }
        };
        let at = Instant::now();
        let text = String::from_utf8_lossy(&self.received);
        if !self.has_first && text.contains("\ndata: ") {
            self.has_first = true;
            heard.push(Heard { number, at, what: What::First });
        }
        // The last event, or the only object, has the count; before that it is not all there.
        let tokens = count_after(&text, "\"tokens_predicted\":", "\"stop\":true");
        let ending = match tokens {
            Some(tokens) => Ending::Answer { cause: "length".to_owned(), tokens, own_ms: None },
            None if is_closed => {
                let code = text.lines().next().unwrap_or("closed").to_owned();
                Ending::Error { code, needs_ms: None }
            }
            None => return false,
        };
        heard.push(Heard { number, at, what: What::Ended(ending) });
        true
    }
}

/// The number after `name` in the message that has `mark`, once it is there.
fn count_after(text: &str, name: &str, mark: &str) -> Option<u32> {
    let message = &text[text.find(mark)?..];
    let rest = &message[message.find(name)? + name.len()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    // The digits are all there when something follows them.
    rest.get(digits..digits + 1)?;
    rest[..digits].parse().ok()
}
