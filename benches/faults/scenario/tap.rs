//! A proxy on the way to the broker that reads along: what each side really said, packet by packet,
//! is written into the [`Ledger`]. It passes on every byte as it came. It can also keep its clients
//! away from the broker for a while.

use super::ledger::{Fact, Ledger};
use bytes::BytesMut;
use rumqttc::mqttbytes::v5::{Packet, Publish};
use rumqttc::mqttbytes::{self, QoS};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Listens until it is dropped.
pub struct Tap {
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    broker: u16,
    /// Whose packets these are, in the ledger.
    side: usize,
    ledger: Arc<Ledger>,
    is_held: AtomicBool,
    has_ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Tap {
    /// Before the broker that listens on this port.
    pub fn start(broker: u16, side: usize, ledger: &Arc<Ledger>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let inner = Arc::new(Inner {
            broker,
            side,
            ledger: Arc::clone(ledger),
            is_held: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&inner);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.has_ended.load(Ordering::Relaxed) {
                    return;
                }
                accepting.connect(client);
            }
        });
        Self { port, inner }
    }

    /// Where it listens, on the loopback address.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the connections and lets nobody through.
    pub fn hold(&self) {
        self.inner.is_held.store(true, Ordering::Relaxed);
        self.inner.cut();
    }

    /// Lets everybody through again.
    pub fn release(&self) {
        self.inner.is_held.store(false, Ordering::Relaxed);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.inner.has_ended.store(true, Ordering::Relaxed);
        self.inner.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Inner {
    fn cut(&self) {
        for stream in self.open.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn connect(self: &Arc<Self>, client: TcpStream) {
        if self.is_held.load(Ordering::Relaxed) {
            return;
        }
        // A broker that is down looks to the client like one that hangs up.
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.broker)) else { return };
        for stream in [&client, &broker] {
            stream.set_nodelay(true).expect("a TCP socket");
        }
        let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        {
            let mut open = self.open.lock().expect("no panic");
            // Those that are over need not be kept.
            open.retain(|stream| stream.peer_addr().is_ok());
            open.extend([clone(&client), clone(&broker)]);
        }
        let ids = Arc::new(Mutex::new(Ids::default()));
        let ways =
            [(clone(&client), clone(&broker), Way::ToBroker), (broker, client, Way::ToClient)];
        for (from, to, way) in ways {
            let reader =
                Reader { way, ids: ids.clone(), inner: self.clone(), bytes: BytesMut::new() };
            std::thread::spawn(move || carry(from, to, reader));
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut reader: Reader) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        reader.see(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToBroker,
    ToClient,
}

/// The keys of messages of QoS 1 without a PUBACK, by packet id, of one connection.
#[derive(Default)]
struct Ids {
    to_broker: HashMap<u16, String>,
    to_client: HashMap<u16, String>,
}

/// Reads one direction of one connection.
struct Reader {
    way: Way,
    ids: Arc<Mutex<Ids>>,
    inner: Arc<Inner>,
    bytes: BytesMut,
}

impl Reader {
    fn see(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        loop {
            match Packet::read(&mut self.bytes, None) {
                Ok(packet) => self.note(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => return,
                Err(error) => {
                    self.inner.ledger.misread(&error.to_string());
                    return self.bytes.clear();
                }
            }
        }
    }

    fn note(&self, packet: Packet) {
        let mut ids = self.ids.lock().expect("no panic");
        let fact = match (packet, self.way) {
            (Packet::Publish(publish), way) => {
                let Some(key) = key(&publish) else { return };
                let (map, fact) = match way {
                    Way::ToBroker => (&mut ids.to_broker, Fact::Sent),
                    Way::ToClient => (&mut ids.to_client, Fact::Received),
                };
                map.insert(publish.pkid, key.clone());
                (key, fact)
            }
            (Packet::PubAck(ack), Way::ToBroker) => match ids.to_client.remove(&ack.pkid) {
                Some(key) => (key, Fact::Acked),
                None => return,
            },
            (Packet::PubAck(ack), Way::ToClient) => match ids.to_broker.remove(&ack.pkid) {
                Some(key) => (key, Fact::Confirmed(ack.reason as u8)),
                None => return,
            },
            (Packet::SubAck(_), Way::ToClient) => {
                return self.inner.ledger.subscribe(self.inner.side);
            }
            _ => return,
        };
        self.inner.ledger.add(self.inner.side, &fact.0, fact.1);
    }
}

/// The correlation of a message of QoS 1 that has one.
fn key(publish: &Publish) -> Option<String> {
    if publish.qos != QoS::AtLeastOnce {
        return None;
    }
    let correlation = publish.properties.as_ref()?.correlation_data.as_ref()?;
    Some(String::from_utf8_lossy(correlation).into_owned())
}
