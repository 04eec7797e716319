//! The socket of one connection: reads, writes and keeps the time, all at once.

use super::conversation::{Conversation, End, Terms};
use super::dial::{Dialled, Stream, next_packet};
use super::link::{LinkEvent, NotSent};
use super::message::{Message, Qos};
use bytes::BytesMut;
use rumqttc::mqttbytes::v5::DisconnectReasonCode;
use std::future::Future;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

/// A read buffer that grew larger is given back when it is empty.
const KEPT_CAPACITY: usize = 16 << 10;

/// A connection, from CONNACK on.
pub(super) struct Open {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    incoming: BytesMut,
    max_packet_bytes: u32,
    pub talk: Conversation,
    /// TLS may hold back what it was given.
    unflushed: bool,
    /// CONNACK.
    pub since: Instant,
}

impl Open {
    /// A connection that was accepted at `now`.
    pub fn new(dialled: Dialled, terms: Terms, max_packet_bytes: u32, now: Instant) -> Self {
        let (reader, writer) = tokio::io::split(dialled.stream);
        Self {
            reader,
            writer,
            incoming: dialled.incoming,
            max_packet_bytes,
            talk: Conversation::new(terms, &dialled.accepted, now.into_std()),
            unflushed: false,
            since: now,
        }
    }

    /// Until something happens.
    pub async fn step(&mut self) -> Result<LinkEvent, End> {
        loop {
            if let Some(event) = self.talk.next_event() {
                return Ok(event);
            }
            match next_packet(&mut self.incoming, self.max_packet_bytes) {
                Ok(Some(packet)) => self.talk.receive(packet)?,
                Ok(None) => self.exchange().await?,
                Err(reason) => {
                    return Err(End::fault(DisconnectReasonCode::MalformedPacket, reason));
                }
            }
        }
    }

    /// Reads, writes or waits, whatever is possible first.
    async fn exchange(&mut self) -> Result<(), End> {
        if self.incoming.is_empty() && self.incoming.capacity() > KEPT_CAPACITY {
            self.incoming = BytesMut::with_capacity(4096);
        }
        let due = self.talk.deadline().into();
        let may_read = self.talk.may_read();
        let has_to_write = self.unflushed || !self.talk.outgoing().is_empty();
        tokio::select! {
            // In this order: what is written is bounded by what is read, and the time is up only if
            // there was nothing to read (also when the whole machine was asleep).
            biased;
            written = write(&mut self.writer, self.talk.outgoing()), if has_to_write => {
                self.unflushed = written.map_err(|e| End::broken(e.to_string()))?;
                self.talk.written(now());
            }
            read = self.reader.read_buf(&mut self.incoming), if may_read => match read {
                Ok(0) => return Err(End::silent()),
                Ok(_) => self.talk.heard(now()),
                Err(e) => return Err(End::broken(e.to_string())),
            },
            () = sleep_until(due) => self.talk.tick(now())?,
        }
        Ok(())
    }

    /// Publishes `message`, and waits for its PUBACK.
    pub async fn last_word(&mut self, message: Message) -> Result<(), End> {
        const TAG: u64 = u64::MAX;
        let unconfirmed = message.qos == Qos::AtMostOnce;
        while self.talk.publish(TAG, message.clone()) == Err(NotSent::Full) {
            self.step().await?;
        }
        while !unconfirmed && !matches!(self.step().await?, LinkEvent::Published { tag: TAG, .. }) {
        }
        Ok(())
    }

    pub async fn farewell(&mut self) -> io::Result<()> {
        self.talk.disconnect(DisconnectReasonCode::NormalDisconnection);
        while write(&mut self.writer, self.talk.outgoing()).await? {}
        self.writer.shutdown().await
    }

    /// Tells the broker why, if that takes no time.
    pub fn say(&mut self, reason: DisconnectReasonCode) {
        self.talk.disconnect(reason);
        let mut outgoing = std::mem::take(self.talk.outgoing());
        let writer = &mut self.writer;
        let mut once =
            Box::pin(async move { while let Ok(true) = write(writer, &mut outgoing).await {} });
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = once.as_mut().poll(&mut cx);
    }
}

/// Writes some bytes, or flushes if there are none; whether there is more to do.
async fn write(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    outgoing: &mut BytesMut,
) -> io::Result<bool> {
    if outgoing.is_empty() {
        writer.flush().await?;
        return Ok(false);
    }
    match writer.write_buf(outgoing).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(true),
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
