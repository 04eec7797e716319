//! A broker that says exactly what a test wants, byte by byte, for what no real one does.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// CONNACK: accepted, no session, no properties.
pub const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

/// Listens until it is dropped; each client has a thread that runs the test's script.
pub struct FakeBroker {
    port: u16,
    clients: Arc<AtomicUsize>,
}

impl FakeBroker {
    /// `script` is called with each client, after its first packet (CONNECT) was read, and the
    /// number of clients before it.
    pub fn start(script: impl Fn(Client, usize) + Send + Sync + 'static) -> Self {
        Self::start_mute(move |mut client, before| {
            if client.packet().is_some() {
                script(client, before);
            }
        })
    }

    /// As [`Self::start`], without reading anything first.
    pub fn start_mute(script: impl Fn(Client, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let clients = Arc::new(AtomicUsize::new(0));
        let (count, script) = (clients.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let before = count.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                std::thread::spawn(move || script(Client { stream }, before));
            }
        });
        Self { port, clients }
    }

    /// Where it listens, on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Clients that have connected so far.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::SeqCst)
    }
}

/// One connection.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Sends bytes as they are; a client that is gone is no error.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next whole packet as it came; none when the client is gone.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 1];
        self.stream.read_exact(&mut packet).ok()?;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            packet.push(byte[0]);
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        self.stream.read_exact(&mut packet[head..]).ok()?;
        Some(packet)
    }

    /// Reads until the client is gone; what it said.
    pub fn rest(mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.packet()).collect()
    }

    /// Reads for that long, or until the client is gone.
    pub fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut bytes = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// The connection itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Holds the connection without reading or saying anything.
    pub fn hold(self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// PUBLISH of QoS 0 or 1 (`packet` is 0 for QoS 0) without properties.
pub fn publish(topic: &str, packet: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((topic.len() as u16).to_be_bytes());
    body.extend(topic.as_bytes());
    if packet != 0 {
        body.extend(packet.to_be_bytes());
    }
    body.push(0);
    body.extend(payload);
    framed(if packet == 0 { 0x30 } else { 0x32 }, &body)
}

/// A packet of that first byte.
pub fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let byte = (rest % 128) as u8;
        rest /= 128;
        packet.push(if rest > 0 { byte | 0x80 } else { byte });
        if rest == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
