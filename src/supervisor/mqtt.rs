//! From the settings to the parts of the MQTT front end.

use super::quotas;
use crate::config::{ConfigError, Durability, Environment, MqttSettings, Settings};
use crate::journal::{self, Journal, JournalError};
use crate::transport::mqtt::boot_id;
use crate::transport::mqtt::desk::Policy;
use crate::transport::mqtt::front::Parts;
use crate::transport::mqtt::link::LinkOptions;
use crate::transport::mqtt::tls::{Tls, TlsError, TlsFiles};
use crate::transport::mqtt::topics::{ReplyTopics, Topics};
use crate::transport::mqtt::watchers::Watchers;
use std::time::Duration;

/// Why MQTT cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// A file with a name or password.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Messages that the broker may have under way to us: what may wait for a seat, and room for
/// cancels, refusals and sensors besides.
const SPARE_RECEIVE: usize = 64;
/// What a request may have beside its prompt.
const REQUEST_HEADROOM_BYTES: usize = 16 << 10;

/// What the front end is made of; none: no broker is configured. Opens the journal.
///
/// # Errors
/// [`MqttError`].
pub fn parts(settings: &Settings, drain_timeout: Duration) -> Result<Option<Parts>, MqttError> {
    let Some((link, warnings)) = link_options(settings)? else { return Ok(None) };
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let mqtt = &settings.mqtt;
    let (journal, recovered) = open_journal(settings)?;
    let topics = Topics::new(&mqtt.node.value, &mqtt.groups.value);
    let watches = Watchers::new(settings.watches.iter().map(|w| w.value.clone()).collect());
    let policy = Policy {
        replies: ReplyTopics::new(&topics, &mqtt.reply_topics.value, &watches.filters()),
        topics,
        quotas: quotas::resolve(&mqtt.quotas.value).0,
        max_request_bytes: settings.prompt_bytes.value + REQUEST_HEADROOM_BYTES,
        max_entries: settings.journal.max_entries.value,
        max_bytes: usize::try_from(settings.journal.max_bytes.value).unwrap_or(usize::MAX),
        max_age_s: settings.journal.max_age_s.value.into(),
        boot: boot_id(),
    };
    Ok(Some(Parts {
        link,
        journal,
        recovered,
        policy,
        watches,
        status_every_ms: u64::from(mqtt.status_interval_s.value) * 1000,
        home_assistant: mqtt.home_assistant.value.clone(),
        tools_answer: settings.tools_answer(),
        seats: seats(settings),
        drain_timeout,
    }))
}

/// Requests that the runtime holds at most.
fn seats(settings: &Settings) -> usize {
    settings.queue.value + usize::from(settings.sessions.value)
}

/// How the broker is reached, with warnings about the files that say so; none: there is no broker.
///
/// # Errors
/// [`MqttError`]: a file that cannot be read, or is not what it should be.
pub fn link_options(settings: &Settings) -> Result<Option<(LinkOptions, Vec<String>)>, MqttError> {
    let mqtt = &settings.mqtt;
    let Some(broker) = &mqtt.broker.value else { return Ok(None) };
    let credentials = mqtt.credentials(&Environment::current())?;
    let receive = seats(settings) + SPARE_RECEIVE;
    let options = LinkOptions {
        host: broker.host.clone(),
        port: broker.port,
        tls: if broker.tls { Some(tls(mqtt)?) } else { None },
        client_id: mqtt.client_id.value.clone(),
        username: credentials.username,
        password: credentials.password.map(Into::into),
        keep_alive: Duration::from_secs(mqtt.keep_alive_s.value.into()),
        session_expiry_s: mqtt.session_expiry_s.value,
        receive_maximum: u16::try_from(receive).unwrap_or(u16::MAX),
        max_packet_bytes: crate::config::max_packet_bytes(settings.prompt_bytes.value),
        will: None,
    };
    Ok(Some((options, credentials.warnings)))
}

fn tls(mqtt: &MqttSettings) -> Result<Tls, MqttError> {
    let identity = mqtt.identity(&Environment::current())?;
    Ok(Tls::load(&TlsFiles { ca: mqtt.ca_file.value.clone(), identity })?)
}

fn open_journal(settings: &Settings) -> Result<(Journal, journal::Recovered), JournalError> {
    let own = &settings.journal;
    let limits = journal::Limits {
        entries: own.max_entries.value,
        bytes: own.max_bytes.value,
        age: Duration::from_secs(own.max_age_s.value.into()),
    };
    let durability = match own.durability.value {
        Durability::Sync => journal::Durability::Sync,
        Durability::Volatile => journal::Durability::Volatile,
    };
    let dir = settings.state_dir.value.join("journal");
    let (journal, recovered) = Journal::open(&dir, limits, durability)?;
    let unanswered = recovered.entries.iter().filter(|e| !e.answered).count();
    tracing::info!(
        entries = recovered.entries.len(),
        unanswered,
        bytes_lost = recovered.bytes_lost,
        "journal opened"
    );
    Ok((journal, recovered))
}
