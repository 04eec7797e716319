//! `[endpoint.NAME]`: who else may be asked for an answer, and which tasks ask whom.

use super::error::ConfigError;
use super::mqtt::MqttSettings;
use super::reference::table;
use super::settings::relative_to;
use super::source::{Config, Source, Sourced};
use crate::bundle::{Escalate, Task};
use crate::core::topic;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Spanned;

/// Keys of `[endpoint.NAME]`, their types and meanings.
pub(super) const ENDPOINT_KEYS: &[(&str, &str, &str)] = &[
    (
        "url",
        "text",
        "Required. The base of an OpenAI-compatible interface, `http://HOST[:PORT]/v1`; it is asked at \
         `/chat/completions` below that. On the local network: there is no TLS.",
    ),
    ("model", "text", "The model that is named to it; left out: none."),
    (
        "api-key-file",
        "path",
        "The file that holds the key that it wants; left out: systemd's credential `endpoint-NAME`, if \
         there is one.",
    ),
];

/// Keys of a task's `escalate`.
pub(super) const ESCALATE_KEYS: &[(&str, &str, &str)] = &[
    (
        "reply",
        "boolean",
        "Nobody is told; the reply says `escalated`, and whoever asked sees to it.",
    ),
    ("mqtt", "text", "The topic that the request and what came of it are published to."),
    ("endpoint", "text", "The endpoint that is asked for an answer."),
    ("second-model", "boolean", "Whether the second model is asked for an answer."),
];

/// The sections of the reference.
pub(super) fn reference() -> String {
    let mut page =
        "\n## `escalate` of a task\n\nWhat becomes of a request that is refused for want of \
                    time, memory or tokens, whose answer was completed, or is less sure than \
                    `min-confidence`: [escalation](answers.md#escalation). At least one key.\n\n"
            .to_owned();
    table(&mut page, &[ESCALATE_KEYS]);
    page.push_str(
        "\n## `[endpoint.NAME]`\n\nWho else may be asked for an answer: nobody, unless there is such a \
         table and a task's `escalate` names it.\n\n",
    );
    table(&mut page, &[ENDPOINT_KEYS]);
    page
}

/// As written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EndpointSection {
    url: String,
    model: Option<String>,
    api_key_file: Option<String>,
}

/// An endpoint, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// What tasks call it.
    pub name: String,
    /// Host and port.
    pub authority: String,
    /// The path of the base.
    pub path: String,
    /// The model that is named to it.
    pub model: Option<String>,
    /// Where its key is, unless it comes from systemd.
    pub api_key_file: Option<PathBuf>,
}

impl Config {
    /// Endpoints of all files; a later file replaces a whole one.
    pub(super) fn endpoints(&self) -> Result<Vec<Sourced<EndpointSettings>>, ConfigError> {
        let mut last: BTreeMap<&str, (&Source, &Spanned<EndpointSection>)> = BTreeMap::new();
        for source in &self.sources {
            last.extend(source.file.endpoint.iter().map(|(name, at)| (&**name, (source, at))));
        }
        let checked = |(name, (source, at)): (&str, (&Source, &Spanned<EndpointSection>))| {
            let endpoint = check(name, source, at.get_ref());
            let endpoint =
                endpoint.map_err(|p| source.refuse(at, format!("endpoint.{name}.{p}")))?;
            Ok(Sourced::new(endpoint, source.origin(at)))
        };
        last.into_iter().map(checked).collect()
    }

    /// Every task escalates to somebody who is there.
    pub(super) fn check_escalations(
        &self,
        tasks: &[Sourced<Task>],
        endpoints: &[Sourced<EndpointSettings>],
        mqtt: &MqttSettings,
        has_second: bool,
    ) -> Result<(), ConfigError> {
        for task in tasks {
            let Some(escalate) = &task.value.escalate else { continue };
            let Err(problem) = check_escalation(escalate, endpoints, mqtt, has_second) else {
                continue;
            };
            let name = &*task.value.name;
            let source = self.sources.iter().rev().find(|s| s.file.task.contains_key(name));
            let source = source.expect("it was read from one");
            let problem = format!("task.{name}.escalate: {problem}");
            return Err(source.refuse(&source.file.task[name], problem));
        }
        Ok(())
    }
}

fn check_escalation(
    escalate: &Escalate,
    endpoints: &[Sourced<EndpointSettings>],
    mqtt: &MqttSettings,
    has_second: bool,
) -> Result<(), String> {
    if escalate.second_model && !has_second {
        return Err("there is no second model; write second-model.path".to_owned());
    }
    if let Some(to) = &escalate.mqtt {
        if !topic::is_name(to) || to.starts_with('$') {
            return Err(format!("{to:?} is no name of a topic"));
        }
        if mqtt.broker.value.is_none() {
            return Err("there is no broker; write mqtt.url".to_owned());
        }
    }
    match &escalate.endpoint {
        Some(name) if endpoints.iter().all(|e| e.value.name != *name) => {
            Err(format!("no endpoint {name:?}: write a table [endpoint.{name}]"))
        }
        _ => Ok(()),
    }
}

fn check(
    name: &str,
    source: &Source,
    section: &EndpointSection,
) -> Result<EndpointSettings, String> {
    let rest = section.url.strip_prefix("http://").ok_or_else(|| {
        format!(
            "url: {:?} does not begin with http://: endpoints are on the local network",
            section.url
        )
    })?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, Some(80)),
    };
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"@?#\\\"".contains(&b));
    let (true, true, Some(port)) = (plain(authority) && !host.is_empty(), plain(path), port) else {
        return Err(format!("url: {:?} is not of the form http://HOST[:PORT]/PATH", section.url));
    };
    let path = path.trim_end_matches('/').to_owned();
    let authority = format!("{host}:{port}");
    Ok(EndpointSettings {
        name: name.to_owned(),
        authority,
        path,
        model: section.model.clone(),
        api_key_file: section.api_key_file.as_ref().map(|file| relative_to(source, file)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reference::tests::known;
    use super::super::settings::tests::{refusal, settings};
    use super::*;

    #[test]
    fn every_key_that_is_documented_can_be_written() {
        let endpoint = ENDPOINT_KEYS.iter().map(|(key, ..)| *key).collect::<Vec<_>>();
        assert_eq!(known::<EndpointSection>("url = 'x'\nzzz = 1"), endpoint);
        let escalate = ESCALATE_KEYS.iter().map(|(key, ..)| *key).collect::<Vec<_>>();
        assert_eq!(known::<Escalate>("zzz = 1"), escalate);
    }

    #[test]
    fn an_url_has_a_host_a_port_and_a_path() {
        let of = |url: &str| {
            let settings = settings(&format!("[endpoint.e]\nurl = '{url}'"));
            let endpoint = settings.endpoints[0].value.clone();
            (endpoint.authority, endpoint.path)
        };
        assert_eq!(of("http://box.lan/v1/"), ("box.lan:80".into(), "/v1".into()));
        assert_eq!(of("http://10.0.0.7:8080"), ("10.0.0.7:8080".into(), String::new()));
        assert_eq!(of("http://[::1]:8080/v1"), ("[::1]:8080".into(), "/v1".into()));
        for wrong in
            ["https://box/v1", "box", "http://", "http://a:b/v1", "http://u@h/v1", "http://h/?q"]
        {
            let problem = refusal(&format!("[endpoint.e]\nurl = '{wrong}'"));
            assert!(problem.contains("endpoint.e.url"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn a_task_escalates_to_somebody_who_is_there() {
        for (escalate, says) in [
            ("{ endpoint = 'e' }", "[endpoint.e]"),
            ("{ second-model = true }", "second-model.path"),
            ("{ mqtt = 'a/b' }", "there is no broker"),
            ("{ mqtt = 'a/+' }", "no name of a topic"),
            ("{}", "names nobody"),
        ] {
            let problem = refusal(&format!("[task.t]\nescalate = {escalate}"));
            assert!(problem.contains("escalate") && problem.contains(says), "{problem}");
        }
        let whole = "[endpoint.e]\nurl = 'http://h'\n[mqtt]\nurl = 'mqtt://h'\n\
                     [task.t]\nescalate = { endpoint = 'e', mqtt = 'a', reply = true }";
        assert!(settings(whole).tasks[0].value.escalate.is_some());
    }
}
