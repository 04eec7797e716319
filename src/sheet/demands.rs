//! What the configuration lets clients take.

/// Bounds of everything that clients make the process hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands {
    /// Requests that may wait for a session.
    pub queue: usize,
    /// Bytes of one prompt.
    pub prompt_bytes: usize,
    /// Connections at the same time.
    pub clients: usize,
    /// Bytes of one message of a connection.
    pub message_bytes: usize,
    /// The broker, if there is one.
    pub mqtt: Option<MqttDemands>,
    /// What a second model takes beside this one.
    pub second_model_bytes: u64,
}

/// Bounds of what a broker makes the process hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttDemands {
    /// Bytes of one packet.
    pub packet_bytes: usize,
    /// Prompts and answers that the journal remembers.
    pub entries: usize,
}
