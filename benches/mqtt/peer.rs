//! A blocking MQTT client with nothing between it and its socket: no thread, no queue, so that what
//! is timed is the broker's and slmd's.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v5::{
    Connect, ConnectAuth, Packet, PubAck, Publish, PublishProperties, Subscribe, SubscribeFilter,
};
use rumqttc::mqttbytes::{self, QoS};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::linux::net::TcpStreamExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// One message.
pub struct Heard {
    pub topic: String,
    pub payload: Bytes,
    pub properties: PublishProperties,
    /// When it was read.
    pub at: Instant,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).expect("slmd speaks JSON")
    }

    pub fn is_about(&self, correlation: &str) -> bool {
        self.properties.correlation_data.as_deref() == Some(correlation.as_bytes())
    }
}

/// An open connection.
pub struct Peer {
    stream: TcpStream,
    incoming: BytesMut,
    last_packet: u16,
    /// Whether it acknowledges at once what it reads, which is the default here.
    pub is_prompt: bool,
}

impl Peer {
    /// Connects to a broker on the loopback address, and subscribes with QoS 1.
    pub fn connect(port: u16, filters: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let mut peer = Self { stream, incoming: BytesMut::new(), last_packet: 0, is_prompt: true };
        let connect = Connect {
            keep_alive: 0,
            client_id: format!("peer-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            clean_start: true,
            properties: None,
        };
        peer.send(&Packet::Connect(connect, None, ConnectAuth::None));
        peer.wait_for(|packet| matches!(packet, Packet::ConnAck(_)));
        if !filters.is_empty() {
            let wanted = filters.iter().map(|&f| SubscribeFilter::new(f, QoS::AtLeastOnce));
            let pkid = peer.fresh_packet();
            let subscribe = Subscribe { pkid, ..Subscribe::new_many(wanted, None) };
            peer.send(&Packet::Subscribe(subscribe));
            peer.wait_for(|packet| matches!(packet, Packet::SubAck(_)));
        }
        peer
    }

    /// Publishes with QoS 1, without waiting for the broker's PUBACK.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        properties: PublishProperties,
    ) {
        let pkid = self.fresh_packet();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: topic.to_owned().into(),
            pkid,
            payload: payload.into(),
            properties: Some(properties),
        };
        self.send(&Packet::Publish(publish));
    }

    /// The next message, unless the broker is gone; it is timed, then acknowledged.
    pub fn hear(&mut self, limit: Duration) -> Option<Heard> {
        let end = Instant::now() + limit;
        loop {
            match self.next_packet(end)? {
                Packet::Publish(publish) => {
                    let at = Instant::now();
                    if publish.qos == QoS::AtLeastOnce {
                        self.send(&Packet::PubAck(PubAck::new(publish.pkid, None)));
                    }
                    return Some(Heard {
                        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                        payload: publish.payload,
                        properties: publish.properties.unwrap_or_default(),
                        at,
                    });
                }
                Packet::Disconnect(why) => panic!("the broker hung up: {why:?}"),
                _ => {}
            }
        }
    }

    /// The next message that `wanted` takes; others are dropped.
    pub fn hear_until(
        &mut self,
        limit: Duration,
        wanted: impl Fn(&Heard) -> bool,
    ) -> Option<Heard> {
        let end = Instant::now() + limit;
        loop {
            let heard = self.hear(end.saturating_duration_since(Instant::now()))?;
            if wanted(&heard) {
                return Some(heard);
            }
        }
    }

    /// Asks, and waits for the terminal message: the time between the two, and the message.
    pub fn ask(
        &mut self,
        topic: &str,
        reply: &str,
        correlation: &str,
        body: &[u8],
    ) -> (f64, Heard) {
        let body = Bytes::copy_from_slice(body);
        let began = Instant::now();
        self.publish(topic, body, request(reply, correlation));
        let heard = self.hear_until(Duration::from_secs(60), |h| h.is_about(correlation));
        let heard = heard.unwrap_or_else(|| panic!("no answer on {reply} to {correlation}"));
        ((heard.at - began).as_secs_f64() * 1e3, heard)
    }

    /// Linux would put it off for 40 ms, for which a broker without TCP_NODELAY holds back what
    /// comes next.
    fn acknowledge_at_once(&self) {
        if self.is_prompt {
            self.stream.set_quickack(true).expect("a TCP socket");
        }
    }

    fn fresh_packet(&mut self) -> u16 {
        self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
        self.last_packet
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None).expect("it can be said in MQTT");
        self.stream.write_all(&bytes).expect("the broker reads");
    }

    fn wait_for(&mut self, wanted: impl Fn(&Packet) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !wanted(&self.next_packet(end).expect("the broker answers")) {}
    }

    fn next_packet(&mut self, end: Instant) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.incoming, None) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the broker does not speak MQTT: {error}"),
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("a time");
            let mut bytes = [0; 8192];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => {
                    self.incoming.extend_from_slice(&bytes[..count]);
                    self.acknowledge_at_once();
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The properties of a request.
pub fn request(reply: &str, correlation: &str) -> PublishProperties {
    PublishProperties {
        response_topic: Some(reply.to_owned()),
        correlation_data: Some(Bytes::copy_from_slice(correlation.as_bytes())),
        ..PublishProperties::default()
    }
}
