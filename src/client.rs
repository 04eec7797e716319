//! A small blocking client of the daemon's Unix socket, for Rust programs and for `slmd` itself.
//!
//! ```no_run
//! use slmd::{client::Client, wire::Ask};
//!
//! let mut client = Client::connect("/run/slmd/slmd.sock")?;
//! let ask = Ask { prompt: Some("hello".into()), stream: true, ..Ask::default() };
//! let answer = client.ask(&ask, |delta| print!("{delta}"))?;
//! eprintln!("{} tokens", answer.completion_tokens);
//! # Ok::<(), slmd::client::ClientError>(())
//! ```

use crate::core::error::RejectReason;
use crate::wire::frame::{self, ClientFrame, ServerFrame};
use crate::wire::framer::{Cut, Framer};
use crate::wire::{Answer, Ask, Codec, Command, Reply, json};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where a packaged daemon listens.
pub const DEFAULT_PATH: &str = "/run/slmd/slmd.sock";

/// The longest reply: an answer may be longer than a request.
const REPLY_BYTES: usize = 16 * 1024 * 1024;
/// The usual patience for one reply.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or one may not connect.
    #[error("cannot connect to {path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon does not want this client: not allowed, too many clients, other version.
    #[error("the daemon turned this client away: {0}")]
    TurnedAway(RejectReason),
    /// The daemon refused the request, or could not complete it.
    #[error("{0}")]
    Rejected(RejectReason),
    /// Nothing came for too long.
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    /// The daemon closed the connection.
    #[error("the daemon closed the connection")]
    Closed,
    /// What came is no reply of this protocol.
    #[error("not a reply of slmd: {0}")]
    Protocol(String),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// One connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    framer: Framer,
    timeout: Duration,
    next_id: u64,
}

impl Client {
    /// Connects, speaking postcard.
    ///
    /// # Errors
    /// [`ClientError::Connect`], or [`ClientError::TurnedAway`] by the daemon.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        Self::connect_with(path, Codec::Postcard)
    }

    /// Connects, speaking `codec`. A JSON client that is turned away learns it with its first
    /// reply.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(path: impl AsRef<Path>, codec: Codec) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path)
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        let framer = Framer::new(codec, REPLY_BYTES);
        let mut client = Self { stream, framer, timeout: TIMEOUT, next_id: 1 };
        client.stream.set_write_timeout(Some(TIMEOUT))?;
        if codec == Codec::Postcard {
            client.greet()?;
        }
        Ok(client)
    }

    /// How long [`Client::ask`] waits for the whole answer, and the others for their reply.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Asks and waits. Where `ask.stream` is set, `on_delta` hears the whole text in pieces, also
    /// if the daemon had to drop some of them.
    ///
    /// # Errors
    /// [`ClientError::Rejected`] with the daemon's reason, and all others.
    pub fn ask(
        &mut self,
        ask: &Ask,
        mut on_delta: impl FnMut(&str),
    ) -> Result<Answer, ClientError> {
        let id = ask.id.clone().unwrap_or_else(|| self.fresh_id());
        let command = Command::Ask(Box::new(Ask { id: Some(id.clone()), ..ask.clone() }));
        self.send(&command)?;
        let end = Instant::now() + self.timeout;
        let mut heard = 0;
        loop {
            match self.receive_by(end)? {
                Reply::Delta { id: Some(of), text } if of == id => {
                    heard += text.len();
                    on_delta(&text);
                }
                Reply::Answer(answer) if answer.id.as_ref() == Some(&id) => {
                    if let Some(rest) = answer.text.get(heard..)
                        && ask.stream
                        && !rest.is_empty()
                    {
                        on_delta(rest);
                    }
                    return Ok(*answer);
                }
                Reply::Error { id: of, reason } if of.is_none() || of.as_ref() == Some(&id) => {
                    return Err(ClientError::Rejected(reason));
                }
                _ => {}
            }
        }
    }

    /// The daemon's figures.
    ///
    /// # Errors
    /// All of [`ClientError`].
    pub fn status(&mut self) -> Result<Value, ClientError> {
        self.report(&Command::Status { id: None })
    }

    /// Whether the daemon takes requests.
    ///
    /// # Errors
    /// All of [`ClientError`].
    pub fn health(&mut self) -> Result<bool, ClientError> {
        let report = self.report(&Command::Health { id: None })?;
        Ok(report.get("serving").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Ends any request, by the number in [`Client::status`]; for root and the daemon's own user.
    ///
    /// # Errors
    /// All of [`ClientError`].
    pub fn cancel_number(&mut self, request: u64) -> Result<(), ClientError> {
        self.report(&Command::CancelNumber { id: None, request }).map(drop)
    }

    /// Something by which another thread can end the request `id` of this connection.
    ///
    /// # Errors
    /// If the descriptor cannot be duplicated.
    pub fn canceller(&self, id: &str) -> io::Result<Canceller> {
        let mut message = Vec::new();
        write_command(self.framer.codec(), &Command::Cancel { id: id.to_owned() }, &mut message);
        Ok(Canceller { stream: self.stream.try_clone()?, message })
    }

    /// Sends a command without waiting; for those who have several under way.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn send(&mut self, command: &Command) -> Result<(), ClientError> {
        let mut message = Vec::new();
        write_command(self.framer.codec(), command, &mut message);
        Ok(self.stream.write_all(&message)?)
    }

    /// The next reply, whatever it belongs to.
    ///
    /// # Errors
    /// All but [`ClientError::Rejected`]: refusals are replies here.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        self.receive_by(Instant::now() + self.timeout)
    }

    fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("c{}", self.next_id)
    }

    fn report(&mut self, command: &Command) -> Result<Value, ClientError> {
        self.send(command)?;
        let end = Instant::now() + self.timeout;
        loop {
            match self.receive_by(end)? {
                Reply::Report { body, .. } => return Ok(body),
                Reply::Error { id: None, reason } => return Err(ClientError::Rejected(reason)),
                _ => {}
            }
        }
    }

    fn greet(&mut self) -> Result<(), ClientError> {
        let mut hello = vec![0];
        frame::append(&ClientFrame::Hello { version: frame::VERSION }, &mut hello);
        // Who is turned away may find the door shut already, but can still read why.
        let sent = self.stream.write_all(&hello);
        let end = Instant::now() + self.timeout;
        let first = self.read_some(end)?;
        if first.starts_with(b"{") {
            self.framer = Framer::new(Codec::JsonLines, REPLY_BYTES);
        }
        self.framer.push(&first);
        let range = self.next_message(end)?;
        let bytes = self.framer.bytes(range);
        if first.starts_with(b"{") {
            let reply = json::parse_reply(bytes);
            return Err(turned_away(reply.map_err(|e| ClientError::Protocol(e.to_string()))?));
        }
        match frame::decode_server(bytes) {
            Ok(ServerFrame::Hello { version: frame::VERSION, .. }) => Ok(sent?),
            Ok(ServerFrame::Hello { version, .. }) => {
                Err(ClientError::Protocol(format!("version {version}")))
            }
            other => Err(turned_away(to_reply(other)?)),
        }
    }

    fn receive_by(&mut self, end: Instant) -> Result<Reply, ClientError> {
        let range = self.next_message(end)?;
        match self.framer.codec() {
            Codec::JsonLines => json::parse_reply(self.framer.bytes(range))
                .map_err(|e| ClientError::Protocol(e.to_string())),
            Codec::Postcard => to_reply(frame::decode_server(self.framer.bytes(range))),
        }
    }

    fn next_message(&mut self, end: Instant) -> Result<std::ops::Range<usize>, ClientError> {
        loop {
            match self.framer.cut() {
                Some(Cut::Message(range)) => return Ok(range),
                Some(Cut::TooLarge(_)) => {
                    return Err(ClientError::Protocol(format!("over {REPLY_BYTES} bytes")));
                }
                None => {
                    let bytes = self.read_some(end)?;
                    self.framer.push(&bytes);
                }
            }
        }
    }

    fn read_some(&mut self, end: Instant) -> Result<Vec<u8>, ClientError> {
        let mut bytes = vec![0; 8 * 1024];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::TimedOut(self.timeout));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(n) => {
                    bytes.truncate(n);
                    return Ok(bytes);
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ClientError::Closed);
                }
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Ends one request from another thread.
#[derive(Debug)]
pub struct Canceller {
    stream: UnixStream,
    message: Vec<u8>,
}

impl Canceller {
    /// Asks the daemon to end the request; its reply is `cancelled`, or the answer if that was
    /// faster.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn cancel(&self) -> io::Result<()> {
        (&self.stream).write_all(&self.message)
    }
}

fn write_command(codec: Codec, command: &Command, out: &mut Vec<u8>) {
    match codec {
        Codec::JsonLines => json::write_command(command, out),
        Codec::Postcard => frame::append(&ClientFrame::from(command), out),
    }
}

fn to_reply(frame: Result<ServerFrame<'_>, frame::FrameError>) -> Result<Reply, ClientError> {
    let reply = frame.map_err(|e| ClientError::Protocol(e.to_string()))?.into_reply();
    match reply {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(ClientError::Protocol("a second hello".into())),
        Err(e) => Err(ClientError::Protocol(e.to_string())),
    }
}

fn turned_away(reply: Reply) -> ClientError {
    match reply {
        Reply::Error { reason, .. } => ClientError::TurnedAway(reason),
        other => ClientError::Protocol(format!("no hello, but {other:?}")),
    }
}
