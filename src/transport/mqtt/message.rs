//! What travels: publications with their properties, and who acknowledges what.

use bytes::Bytes;
use rumqttc::QoS;
use rumqttc::mqttbytes::v5::{LastWill, LastWillProperties, Publish, PublishProperties};

/// How surely a message arrives. slmd never asks for "exactly once".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// 0: as good as the connection is.
    AtMostOnce,
    /// 1: again and again until it is acknowledged.
    AtLeastOnce,
}

impl Qos {
    pub(super) const fn on_the_wire(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce => QoS::AtLeastOnce,
        }
    }
}

/// One publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes, without wildcards.
    pub topic: String,
    /// What it says.
    pub payload: Bytes,
    /// How surely.
    pub qos: Qos,
    /// Sent: the broker is to keep it. Received: the broker had kept it.
    pub retain: bool,
    /// The rest.
    pub properties: Properties,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>, qos: Qos) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos,
            retain: false,
            properties: Properties::default(),
        }
    }
}

/// The properties of MQTT 5 that slmd uses; others are left out and ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// Where the answer goes.
    pub response_topic: Option<String>,
    /// Comes back with the answer as it is.
    pub correlation: Option<Bytes>,
    /// A media type.
    pub content_type: Option<String>,
    /// The payload format indicator: whether the payload is said to be UTF-8.
    pub utf8: Option<bool>,
    /// Seconds that are left of the message's life.
    pub expiry_s: Option<u32>,
    /// User properties, in their order; a key may be there twice.
    pub user: Vec<(String, String)>,
}

impl Properties {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A message from the broker.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// The broker has sent it before, and does not know whether it arrived.
    pub dup: bool,
    /// Must be given to `Link::ack` once the message is safe; none for QoS 0.
    pub ack: Option<Ack>,
}

/// The right to acknowledge one message, on the connection it came by.
#[derive(Debug, PartialEq, Eq)]
pub struct Ack {
    pub(super) generation: u64,
    pub(super) packet: u16,
    pub(super) exactly_once: bool,
}

impl Received {
    /// `publish` is checked to have a topic.
    pub(super) fn new(publish: Publish, generation: u64) -> Self {
        let ack = (publish.qos != QoS::AtMostOnce).then_some(Ack {
            generation,
            packet: publish.pkid,
            exactly_once: publish.qos == QoS::ExactlyOnce,
        });
        let qos = if ack.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let properties = publish.properties.map_or_else(Properties::default, |p| Properties {
            response_topic: p.response_topic,
            correlation: p.correlation_data.as_deref().map(Bytes::copy_from_slice),
            content_type: p.content_type,
            utf8: p.payload_format_indicator.map(|n| n == 1),
            expiry_s: p.message_expiry_interval,
            user: p.user_properties,
        });
        let message = Message {
            // The library has checked that it is UTF-8.
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            // Copied: a slice would keep the whole read buffer.
            payload: Bytes::copy_from_slice(&publish.payload),
            qos,
            retain: publish.retain,
            properties,
        };
        Self { message, dup: publish.dup, ack }
    }
}

/// As the library has it; `packet` is 0 for QoS 0.
pub(super) fn publish(message: Message, packet: u16) -> Publish {
    let p = message.properties;
    let properties = (!p.is_empty()).then(|| PublishProperties {
        payload_format_indicator: p.utf8.map(u8::from),
        message_expiry_interval: p.expiry_s,
        topic_alias: None,
        response_topic: p.response_topic,
        correlation_data: p.correlation,
        user_properties: p.user,
        subscription_identifiers: Vec::new(),
        content_type: p.content_type,
    });
    Publish {
        dup: false,
        qos: message.qos.on_the_wire(),
        retain: message.retain,
        topic: message.topic.into(),
        pkid: packet,
        payload: message.payload,
        properties,
    }
}

/// The message that the broker sends when the connection breaks.
pub(super) fn last_will(message: Message) -> LastWill {
    let p = message.properties;
    let properties = (!p.is_empty()).then(|| LastWillProperties {
        delay_interval: None,
        payload_format_indicator: p.utf8.map(u8::from),
        message_expiry_interval: p.expiry_s,
        content_type: p.content_type,
        response_topic: p.response_topic,
        correlation_data: p.correlation,
        user_properties: p.user,
    });
    LastWill {
        topic: message.topic.into(),
        message: message.payload,
        qos: message.qos.on_the_wire(),
        retain: message.retain,
        properties,
    }
}
