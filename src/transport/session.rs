//! What one client says and hears, without I/O; the only clock is that of its share.
//!
//! Bytes go in by [`Session::receive`], replies of the runtime by [`Session::deliver`]; what is to
//! be written gathers in [`Session::outgoing`].

use super::shares::Share;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::RequestId;
use crate::runtime::{Event, Origin, Outbox, Service};
use crate::wire::frame::{self, ClientFrame, ServerFrame};
use crate::wire::framer::{Cut, Framer};
use crate::wire::{Ask, Codec, Command, Malformed, Reply, json};
use serde_json::json;
use std::ops::Range;
use tokio::sync::mpsc;

/// What one client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of one line or frame.
    pub message_bytes: usize,
    /// Requests without a terminal reply.
    pub pending: usize,
}

struct Pending {
    request: RequestId,
    id: Option<String>,
}

/// One client's side of the conversation.
pub struct Session<S> {
    service: S,
    origin: Origin,
    share: Share,
    /// May cancel by number.
    is_owner: bool,
    bounds: Bounds,
    replies: mpsc::Sender<Event>,
    /// None until the first byte says which codec it is.
    framer: Option<Framer>,
    /// Whether a postcard client has said which version it speaks.
    greeted: bool,
    pending: Vec<Pending>,
    /// Requests that were cancelled with the connection, and have not ended yet.
    abandoned: usize,
    outgoing: Vec<u8>,
    draining: bool,
    ended: bool,
}

impl<S: Service> Session<S> {
    /// A client that has said nothing yet; its replies will come through `replies`.
    pub fn new(
        service: S,
        origin: Origin,
        share: Share,
        is_owner: bool,
        bounds: Bounds,
        replies: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            service,
            origin,
            share,
            is_owner,
            bounds,
            replies,
            framer: None,
            greeted: false,
            pending: Vec::new(),
            abandoned: 0,
            outgoing: Vec::new(),
            draining: false,
            ended: false,
        }
    }

    /// Takes bytes as they come.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        let bytes = if self.framer.is_some() { bytes } else { self.choose_codec(bytes) };
        let Some(framer) = &mut self.framer else { return };
        framer.push(bytes);
        while !self.ended
            && let Some(cut) = self.framer.as_mut().and_then(Framer::cut)
        {
            self.take(cut);
        }
    }

    /// The client will send nothing more, but may still be listening.
    pub fn end_of_input(&mut self) {
        if !self.ended
            && let Some(cut) = self.framer.as_mut().and_then(Framer::rest)
        {
            self.take(cut);
        }
    }

    /// Takes a reply of the runtime.
    pub fn deliver(&mut self, event: &Event) {
        if event.reply.is_terminal() {
            self.share.ended(event);
            match self.pending.iter().position(|p| p.request == event.request) {
                Some(index) => drop(self.pending.swap_remove(index)),
                None => self.abandoned -= 1,
            }
        }
        self.write(&event.reply);
    }

    /// From now on new requests are refused; those that are under way go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether new requests are refused.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Cancels all that is under way: nobody is there to hear it.
    pub fn abandon(&mut self) {
        for pending in self.pending.drain(..) {
            self.service.cancel(pending.request);
            self.abandoned += 1;
        }
    }

    /// Whether requests that were abandoned are still to be booked: who goes away before the answer
    /// pays for what was computed.
    pub const fn is_owing(&self) -> bool {
        self.share.is_limited() && self.abandoned > 0
    }

    /// Requests without a terminal reply.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether the connection is over as soon as all is written.
    pub fn is_over(&self, input_ended: bool) -> bool {
        self.ended || (self.pending.is_empty() && (input_ended || self.draining))
    }

    /// What is to be written; the connection takes it from the front.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// The first byte that is not white space decides; returns what the codec is to see.
    fn choose_codec<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let bytes = bytes.trim_ascii_start();
        let codec = match bytes.first() {
            None => return bytes,
            Some(b'{') => Codec::JsonLines,
            Some(0) => Codec::Postcard,
            Some(other) => {
                let message = match other {
                    b'A'..=b'Z' | b'a'..=b'z' => "this socket speaks no HTTP or plain text; send \
                        one JSON object a line, such as {\"prompt\":\"hello\"}"
                        .to_owned(),
                    _ => {
                        format!("a message begins with '{{' or a zero byte, not with {other:#04x}")
                    }
                };
                self.refuse(None, RejectReason::new(ErrorCode::BadRequest, message));
                self.end();
                return bytes;
            }
        };
        self.framer = Some(Framer::new(codec, self.bounds.message_bytes));
        bytes
    }

    /// Nothing more is read; what is under way is cancelled.
    fn end(&mut self) {
        self.ended = true;
        self.abandon();
    }

    fn take(&mut self, cut: Cut) {
        match (cut, self.codec()) {
            (Cut::TooLarge(head), codec) => self.take_too_large(head, codec),
            (Cut::Message(line), Codec::JsonLines) => {
                let command = json::parse_command(self.bytes(line));
                self.run(command);
            }
            (Cut::Message(frame), Codec::Postcard) => self.take_frame(frame),
        }
    }

    fn take_too_large(&mut self, head: Range<usize>, codec: Codec) {
        let id = match codec {
            Codec::JsonLines => json::salvage(self.bytes(head)),
            Codec::Postcard => None,
        };
        let message = format!("a message has at most {} bytes", self.bounds.message_bytes);
        self.refuse(id, RejectReason::new(ErrorCode::TooLarge, message));
        if codec == Codec::Postcard && !self.greeted {
            self.end();
        }
    }

    fn take_frame(&mut self, range: Range<usize>) {
        let Some(framer) = &mut self.framer else { return };
        match (frame::decode_client(framer.bytes(range)), self.greeted) {
            (Ok(ClientFrame::Hello { version }), _) => self.greet(version),
            (Ok(frame), true) => match frame.into_command() {
                Ok(None) => {}
                Ok(Some(command)) => self.run(Ok(command)),
                Err(malformed) => self.run(Err(malformed)),
            },
            (Err(e), true) => self.run(Err(Malformed::bad(None, e.to_string()))),
            (_, false) => {
                self.run(Err(Malformed::bad(None, "the first frame must be `Hello`")));
                self.end();
            }
        }
    }

    fn greet(&mut self, version: u16) {
        if version == frame::VERSION {
            self.greeted = true;
            frame::append(&ServerFrame::hello(), &mut self.outgoing);
            return;
        }
        let message =
            format!("this slmd speaks version {} of the protocol, not {version}", frame::VERSION);
        self.run(Err(Malformed::bad(None, message)));
        self.end();
    }

    fn run(&mut self, command: Result<Command, Malformed>) {
        match command {
            Err(malformed) => self.refuse(malformed.id, malformed.reason),
            Ok(Command::Ask(ask)) => self.ask(*ask),
            Ok(Command::Cancel { id }) => self.cancel(&id),
            Ok(Command::CancelNumber { id, request }) => self.cancel_number(id, request),
            Ok(Command::Status { id }) => {
                let body = self.service.status();
                self.write(&Reply::Report { id, body });
            }
            Ok(Command::Health { id }) => {
                let serving = self.service.is_serving() && !self.draining;
                self.write(&Reply::Report { id, body: json!({ "serving": serving }) });
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let id = ask.id.clone();
        match self.submit(ask) {
            Ok(request) => self.pending.push(Pending { request, id }),
            Err(reason) => self.refuse(id, reason),
        }
    }

    fn submit(&self, ask: Ask) -> Result<RequestId, RejectReason> {
        let outbox = self.admit(&ask)?;
        let submit = |ask| self.service.submit(ask, &self.origin, outbox);
        self.share.submit(ask.priority, || submit(ask))
    }

    /// What the transport itself has to say against a request.
    fn admit(&self, ask: &Ask) -> Result<Outbox, RejectReason> {
        let reject = |code, message: String| Err(RejectReason::new(code, message));
        if self.draining {
            return reject(ErrorCode::ShuttingDown, "slmd is going down".into());
        }
        if ask.id.is_some() && self.pending.iter().any(|p| p.id == ask.id) {
            let message = "a request of this `id` is under way on this connection";
            return reject(ErrorCode::BadRequest, message.into());
        }
        if self.pending.len() >= self.bounds.pending {
            let n = self.bounds.pending;
            let message = format!("{n} requests of this connection are under way; at most {n}");
            return reject(ErrorCode::OverQuota, message);
        }
        Outbox::reserve(&self.replies)
    }

    fn cancel(&self, id: &str) {
        for pending in self.pending.iter().filter(|p| p.id.as_deref() == Some(id)) {
            self.service.cancel(pending.request);
        }
    }

    fn cancel_number(&mut self, id: Option<String>, request: u64) {
        if !self.is_owner {
            let message = "only root and the daemon's own user may cancel by number";
            return self.refuse(id, RejectReason::new(ErrorCode::BadRequest, message));
        }
        self.service.cancel(RequestId(request));
        self.write(&Reply::Report { id, body: json!({ "cancelling": request }) });
    }

    fn refuse(&mut self, id: Option<String>, reason: RejectReason) {
        tracing::debug!(code = reason.code(), message = reason.message, "refused");
        self.write(&Reply::Error { id, reason });
    }

    fn write(&mut self, reply: &Reply) {
        match self.codec() {
            Codec::JsonLines => json::write_reply(reply, &mut self.outgoing),
            Codec::Postcard => frame::append(&ServerFrame::from(reply), &mut self.outgoing),
        }
    }

    /// Who has not said yet what they speak is told in JSON.
    fn codec(&self) -> Codec {
        self.framer.as_ref().map_or(Codec::JsonLines, Framer::codec)
    }

    fn bytes(&mut self, range: Range<usize>) -> &mut [u8] {
        self.framer.as_mut().map_or(&mut [], |framer| framer.bytes(range))
    }
}
