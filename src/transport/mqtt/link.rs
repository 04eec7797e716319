//! Stub until the link lands.
#![allow(missing_docs)]
use bytes::Bytes;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties,
}
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    pub response_topic: Option<String>,
    pub correlation: Option<Bytes>,
    pub content_type: Option<String>,
    pub utf8: Option<bool>,
    pub expiry_s: Option<u32>,
    pub user: Vec<(String, String)>,
}
