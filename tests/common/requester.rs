//! A foreign MQTT client that asks slmd and keeps what it hears, on the library's own event loop,
//! which slmd itself does not use.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::{Client, Event, MqttOptions, PublishOptions};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// One message that was heard.
#[derive(Debug, Clone)]
pub struct Heard {
    pub topic: String,
    pub payload: Bytes,
    pub correlation: Option<Bytes>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub retain: bool,
    pub at: Instant,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// A client with an open connection; it connects again by itself.
pub struct Requester {
    client: Client,
    heard: Receiver<Heard>,
    connected: Arc<(Mutex<u32>, Condvar)>,
    stop: Arc<AtomicBool>,
}

impl Requester {
    /// Connects under a name of its own that begins with `id`, with a session that outlives its
    /// connections, and subscribes.
    pub fn connect(port: u16, id: &str, filters: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut options = MqttOptions::new(format!("{id}-{count}"), ("127.0.0.1", port));
        options.set_keep_alive(5).set_clean_start(false).set_session_expiry_interval(Some(3600));
        options
            .set_broker_session_resume_policy(rumqttc::BrokerSessionResumePolicy::AllowBrokerOnly);
        let (client, mut connection) = Client::builder(options).capacity(1024).build();
        let (sender, heard) = channel();
        let connected = Arc::new((Mutex::new(0), Condvar::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let filters: Vec<String> = filters.iter().map(|&f| f.to_owned()).collect();
        let (subscriber, told, ended) = (client.clone(), Arc::clone(&connected), Arc::clone(&stop));
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        for filter in &filters {
                            let _ = subscriber.try_subscribe(filter.clone(), QoS::AtLeastOnce);
                        }
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        *told.0.lock().expect("no panic") += 1;
                        told.1.notify_all();
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let _ = sender.send(heard_of(&publish));
                    }
                    Ok(_) => {}
                    Err(_) if ended.load(Ordering::Relaxed) => return,
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        });
        let requester = Self { client, heard, connected, stop };
        requester.wait_for_subscriptions(1);
        requester
    }

    fn wait_for_subscriptions(&self, count: u32) {
        let (lock, condition) = &*self.connected;
        let guard = lock.lock().expect("no panic");
        let limit = Duration::from_secs(20);
        let waited = condition.wait_timeout_while(guard, limit, |seen| *seen < count);
        assert!(!waited.expect("no panic").1.timed_out(), "the broker does not answer");
    }

    /// Publishes with QoS 1.
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, properties: PublishProperties) {
        let options = PublishOptions::new(QoS::AtLeastOnce).properties(properties);
        self.client.publish(topic, payload.into(), options).expect("queued");
    }

    /// Publishes with QoS 1 and the retain flag.
    pub fn retain(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retained();
        self.client.publish(topic, payload.into(), options).expect("queued");
    }

    /// The next message.
    pub fn hear(&self, limit: Duration) -> Option<Heard> {
        match self.heard.recv_timeout(limit) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the client's thread has ended"),
        }
    }

    /// The next message on `topic`; others are dropped.
    pub fn hear_on(&self, topic: &str, limit: Duration) -> Option<Heard> {
        let end = Instant::now() + limit;
        loop {
            let heard = self.hear(end.saturating_duration_since(Instant::now()))?;
            if heard.topic == topic {
                return Some(heard);
            }
        }
    }

    /// Everything that comes within `limit`.
    pub fn hear_all(&self, limit: Duration) -> Vec<Heard> {
        let end = Instant::now() + limit;
        let next = || self.hear(end.saturating_duration_since(Instant::now()));
        std::iter::from_fn(next).collect()
    }

    /// Asks with a JSON body and waits for the terminal message with this correlation.
    pub fn ask(&self, topic: &str, reply: &str, correlation: &str, body: Value) -> Option<Value> {
        self.publish(topic, body.to_string(), request(reply, correlation));
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let heard = self.hear(end.saturating_duration_since(Instant::now()))?;
            if heard.correlation.as_deref() == Some(correlation.as_bytes()) {
                return Some(heard.json());
            }
        }
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.client.try_disconnect_now();
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

fn heard_of(publish: &Publish) -> Heard {
    let properties = publish.properties.clone().unwrap_or_default();
    Heard {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.clone(),
        correlation: properties.correlation_data,
        content_type: properties.content_type,
        response_topic: properties.response_topic,
        retain: publish.retain,
        at: Instant::now(),
    }
}
