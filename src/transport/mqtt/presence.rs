//! What slmd says about itself: a retained status, a last will, and Home Assistant's discovery.

use super::Now;
use super::message::{Message, Qos};
use super::topics::Topics;
use serde_json::{Value, json};

/// A change is told no sooner than so many milliseconds after the last status.
const CHANGE_MS: u64 = 1_000;
/// Changes that came by other ways than MQTT are looked for so often: a look at the process's
/// memory is not free.
const LOOK_MS: u64 = 5_000;

/// When the status is told, and what it says.
#[derive(Debug)]
pub struct Presence {
    topics: Topics,
    boot: String,
    every_ms: u64,
    told: Option<Told>,
    looked_ms: u64,
    is_touched: bool,
    is_due: bool,
}

#[derive(Debug)]
struct Told {
    at_ms: u64,
    /// What a change of is told at once.
    essence: Value,
    tokens: u64,
}

impl Presence {
    /// A status every `every_ms` milliseconds, and when something changes.
    pub const fn new(topics: Topics, boot: String, every_ms: u64) -> Self {
        Self { topics, boot, every_ms, told: None, looked_ms: 0, is_touched: false, is_due: true }
    }

    /// Sent by the broker when slmd vanishes.
    pub fn will(&self) -> Message {
        self.retained(&json!({ "state": "offline", "reason": "lost", "boot_id": self.boot }))
    }

    /// Sent when slmd goes down in order.
    pub fn offline(&self) -> Message {
        self.retained(&json!({ "state": "offline", "reason": "stopped", "boot_id": self.boot }))
    }

    /// The next status is due at once: the broker may have sent the will.
    pub fn forget(&mut self) {
        self.told = None;
        self.is_due = true;
    }

    /// Something happened that may be worth telling.
    pub const fn touch(&mut self) {
        self.is_touched = true;
    }

    /// When to ask for the status again, in milliseconds of the boot's clock.
    pub fn next_ms(&self, now: Now) -> u64 {
        let rest = if self.is_touched { CHANGE_MS } else { LOOK_MS };
        let next_ms = self.looked_ms + rest.min(self.every_ms);
        if self.is_due { now.boot_ms } else { next_ms }
    }

    /// Nobody is there to be told.
    pub const fn looked(&mut self, now: Now) {
        self.looked_ms = now.boot_ms;
        self.is_touched = false;
        self.is_due = false;
    }

    /// The status, if it is due; `runtime` is what `slmd status` shows.
    pub fn online(&mut self, now: Now, runtime: &Value) -> Option<Message> {
        self.looked(now);
        let state = match runtime["state"].as_str() {
            Some("serving") | None => "online",
            Some(other) => other,
        };
        let queue = json!({
            "running": runtime["requests"]["running"],
            "waiting": runtime["requests"]["waiting"],
            "limit": runtime["requests"]["limit"],
        });
        let model = json!({
            "name": runtime["model"]["name"], "sha256": runtime["model"]["sha256"],
        });
        let engine = json!({
            "name": runtime["engine"]["name"], "version": runtime["engine"]["version"],
        });
        let level = &runtime["pressure"]["level"];
        let essence = json!([state, queue, model, engine, runtime["journal"]["stalled"], level]);
        let tokens = runtime["tokens"]["completion"].as_u64().unwrap_or(0);
        let tokens_per_s = match &self.told {
            None => 0.0,
            Some(told) => {
                let passed = now.boot_ms.saturating_sub(told.at_ms);
                let rest = if told.essence == essence { self.every_ms } else { CHANGE_MS };
                if passed < rest {
                    return None;
                }
                let rate =
                    tokens.saturating_sub(told.tokens) as f64 * 1000.0 / passed.max(1) as f64;
                (rate * 10.0).round() / 10.0
            }
        };
        self.told = Some(Told { at_ms: now.boot_ms, essence, tokens });
        let status = json!({
            "state": state,
            "boot_id": self.boot,
            "version": runtime["version"],
            "model": model,
            "engine": engine,
            "uptime_s": runtime["uptime_s"],
            "queue": queue,
            "tokens_per_s": tokens_per_s,
            "rss_bytes": runtime["memory"]["rss_bytes"],
            "temperature_c": runtime["pressure"]["temperature_c"],
            "pressure": { "level": level, "why": runtime["pressure"]["why"] },
            "answered": runtime["requests"]["answered"],
            "errors": runtime["requests"]["errors"],
            "mqtt": runtime["mqtt"],
            "journal": runtime["journal"],
            "watches": runtime["watches"],
        });
        Some(self.retained(&status))
    }

    /// What Home Assistant needs to show this daemon as a device, below its discovery `prefix`
    /// (Home Assistant, "MQTT Discovery"). `version` is slmd's, `model` the language model's name.
    pub fn discovery(&self, prefix: &str, version: &str, model: &str) -> Vec<Message> {
        let node = self.topics.node();
        // Home Assistant takes fewer characters than we do.
        let unique: String =
            node.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let device = json!({
            "identifiers": [format!("slmd_{unique}")], "name": format!("slmd {node}"),
            "manufacturer": "slmd", "model": model, "sw_version": version,
        });
        let state_topic = self.topics.status();
        let sensor = |(object, name, template, more): (&str, &str, &str, Value)| {
            let mut config = json!({
                "name": name,
                "unique_id": format!("slmd_{unique}_{object}"),
                "state_topic": state_topic,
                "value_template": template,
                "device": device,
            });
            if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
                config.extend(more);
            }
            let topic = format!("{prefix}/sensor/slmd_{unique}/{object}/config");
            retained(topic, &config)
        };
        let availability = json!([{
            "topic": state_topic,
            "value_template": "{{ 'offline' if value_json.state == 'offline' else 'online' }}",
        }]);
        let measured = |unit: &str| {
            json!({
                "unit_of_measurement": unit, "state_class": "measurement",
                "availability": availability,
            })
        };
        let mut temperature = measured("\u{b0}C");
        temperature["device_class"] = "temperature".into();
        [
            ("status", "Status", "{{ value_json.state }}", json!({ "icon": "mdi:robot" })),
            ("tokens_per_s", "Speed", "{{ value_json.tokens_per_s }}", measured("tokens/s")),
            ("temperature", "Temperature", "{{ value_json.temperature_c }}", temperature),
            (
                "queue",
                "Queue",
                "{{ value_json.queue.running + value_json.queue.waiting }}",
                measured("requests"),
            ),
        ]
        .map(sensor)
        .into()
    }

    fn retained(&self, status: &Value) -> Message {
        retained(self.topics.status(), status)
    }
}

fn retained(topic: String, body: &Value) -> Message {
    Message { retain: true, ..Message::new(topic, body.to_string(), Qos::AtLeastOnce) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence() -> Presence {
        Presence::new(Topics::new("press-7", &[]), "boot".into(), 60_000)
    }

    fn runtime(waiting: u64, tokens: u64) -> Value {
        json!({
            "state": "serving", "version": "1", "uptime_s": 5,
            "model": { "name": "m", "sha256": "abc", "version": "2" },
            "engine": { "name": "tract", "version": "0", "library": null, "reason": "x" },
            "requests": { "running": 1, "waiting": waiting, "limit": 10, "answered": 3, "errors": {} },
            "tokens": { "completion": tokens },
            "memory": { "rss_bytes": 7 },
            "pressure": { "level": "normal", "why": null, "temperature_c": 41.5 },
        })
    }

    fn at(ms: u64) -> Now {
        Now { boot_ms: ms, unix_ms: ms }
    }

    fn body(message: &Message) -> Value {
        assert!(message.retain);
        assert_eq!(message.topic, "slmd/press-7/status");
        serde_json::from_slice(&message.payload).expect("JSON")
    }

    #[test]
    fn it_is_told_at_once_then_on_change_then_slowly() {
        let mut presence = presence();
        let mut told = |ms, waiting, tokens| presence.online(at(ms), &runtime(waiting, tokens));
        let first = body(&told(1_000, 0, 0).expect("the first"));
        assert_eq!(first["state"], "online");
        assert_eq!(first["model"], json!({ "name": "m", "sha256": "abc" }));
        assert_eq!(first["queue"]["limit"], 10);
        assert_eq!(first["temperature_c"], 41.5);
        assert_eq!(told(1_500, 1, 10), None, "a change, but too soon");
        let second = body(&told(2_000, 1, 100).expect("a change"));
        assert_eq!(second["tokens_per_s"], 100.0);
        assert_eq!(told(30_000, 1, 500), None, "tokens are no change");
        assert_eq!(told(61_999, 1, 500), None);
        assert!(told(62_000, 1, 500).is_some());
        assert_eq!(presence.next_ms(at(62_500)), 67_000);
        presence.touch();
        assert_eq!(presence.next_ms(at(62_500)), 63_000);
        presence.forget();
        assert_eq!(presence.next_ms(at(62_600)), 62_600);
    }

    #[test]
    fn a_will_and_a_good_bye_say_which_it_was() {
        assert_eq!(body(&presence().will())["reason"], "lost");
        assert_eq!(body(&presence().offline())["reason"], "stopped");
        assert_eq!(body(&presence().offline())["state"], "offline");
    }

    #[test]
    fn home_assistant_finds_four_sensors_of_one_device() {
        let messages = presence().discovery("homeassistant", "1.2", "tiny");
        let topics: Vec<&str> = messages.iter().map(|m| m.topic.as_str()).collect();
        assert_eq!(topics[0], "homeassistant/sensor/slmd_press_7/status/config");
        assert_eq!(topics.len(), 4);
        let configs: Vec<Value> =
            messages.iter().map(|m| serde_json::from_slice(&m.payload).expect("JSON")).collect();
        for config in &configs {
            assert_eq!(config["state_topic"], "slmd/press-7/status");
            assert_eq!(config["device"], configs[0]["device"]);
        }
        assert_eq!(configs[2]["device_class"], "temperature");
        assert!(configs[1]["availability"][0]["topic"].is_string());
        assert!(configs[0].get("availability").is_none(), "the state says offline itself");
    }
}
