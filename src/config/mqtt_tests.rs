use super::super::settings::Defaults;
use super::super::{Config, Credentials, Settings};
use super::*;
use crate::core::request::Priority;
use std::os::unix::fs::PermissionsExt;

struct Case {
    dir: tempfile::TempDir,
    environment: Environment,
}

impl Case {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("config.toml"), text).expect("writable");
        let environment = Environment {
            is_root: true,
            host_name: Some("edge 7.local/x".into()),
            ..Environment::default()
        };
        Self { dir, environment }
    }

    fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.variables.insert(variable.into(), value.into());
        self
    }

    fn file(&self, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("ours");
        path
    }

    fn load(&self) -> Result<Settings, String> {
        let defaults = Defaults {
            providers: Vec::new(),
            board: "test".into(),
            threads: 1,
            memory_bytes: Some(1 << 30),
            context_tokens: None,
            sessions: None,
            ..Defaults::default()
        };
        Config::load(Some(&self.dir.path().join("config.toml")), &self.environment, &[])
            .and_then(|config| config.settings(&self.environment, &defaults))
            .map_err(|e| e.to_string().replace(&format!("{}/", self.dir.path().display()), ""))
    }

    fn settings(&self) -> Settings {
        self.load().expect("sound")
    }
}

fn refusal(text: &str) -> String {
    Case::new(text).load().expect_err("refused")
}

#[test]
fn nothing_written_is_no_mqtt() {
    let settings = Case::new("").settings();
    let mqtt = settings.mqtt;
    assert_eq!(mqtt.broker.value, None);
    assert_eq!(mqtt.node.value, "edge-7.local-x");
    assert_eq!(mqtt.client_id.value, "slmd-edge-7.local-x");
    assert_eq!((mqtt.keep_alive_s.value, mqtt.session_expiry_s.value), (30, 3600));
    assert_eq!(settings.journal.durability.value, Durability::Sync);
    assert_eq!(settings.journal.max_entries.value, 4096);
    assert_eq!(settings.journal.max_bytes.value, 4 << 20);
    assert_eq!(settings.journal.max_age_s.value, 86_400);
    assert_eq!(max_packet_bytes(settings.prompt_bytes.value), 96 << 10);
    assert_eq!(node_name(""), "slmd");
}

#[test]
fn all_of_it_is_read_and_shown() {
    let case = Case::new(
        "[mqtt]\nurl = 'mqtts://b.local'\nnode = 'n1'\nusername = 'u'\npassword-file = 'pw'\n\
         ca-file = 'ca.pem'\ncert-file = 'c.pem'\nkey-file = '/k.pem'\nkeep-alive-s = 5\n\
         session-expiry-s = 0\nreply-topics = ['a/+/b', '#']\ngroups = ['g1']\n\
         status-interval-s = 10\nhome-assistant = 'homeassistant'\n\
         [[mqtt.quota]]\ntopic = 'x/#'\nrequests-per-minute = 6\nmax-priority = 'normal'\n\
         [[mqtt.quota]]\ntopic = 'y'\ntokens-per-minute = 100\n\
         [journal]\ndurability = 'volatile'\nmax-entries = 16\nmax-bytes = '1MiB'\nmax-age-s = 60\n",
    );
    let settings = case.settings();
    let mqtt = &settings.mqtt;
    let broker = BrokerUrl { host: "b.local".into(), port: 8883, tls: true };
    assert_eq!(mqtt.broker.value, Some(broker));
    assert_eq!(mqtt.client_id.value, "slmd-n1");
    assert_eq!(mqtt.password_file.value, Some(case.dir.path().join("pw")));
    assert_eq!(mqtt.key_file.value, Some("/k.pem".into()));
    assert_eq!(mqtt.quotas.value[0].max_priority, Some(Priority::Normal));
    assert_eq!(mqtt.quotas.value[1].tokens_per_minute, Some(100));
    let entries = settings.entries();
    let shown = |key: &str| -> Vec<&str> {
        entries.iter().filter(|e| e.key == key).map(|e| e.value.as_str()).collect()
    };
    assert_eq!(shown("mqtt.url"), ["\"mqtts://b.local:8883\""]);
    assert_eq!(shown("mqtt.reply-topics"), ["[\"a/+/b\", \"#\"]"]);
    assert_eq!(
        shown("mqtt.quota"),
        [
            "topic \"x/#\" requests 6/min, tokens -/min, priority normal",
            "topic \"y\" requests -/min, tokens 100/min, priority -"
        ]
    );
    assert_eq!(shown("journal.max-bytes"), ["\"1MiB\""]);
}

#[test]
fn variables_are_read_too() {
    let case = Case::new("")
        .with("SLMD_MQTT_URL", "mqtt://10.0.0.1")
        .with("SLMD_MQTT_ALLOW_PLAINTEXT_PASSWORD", "true")
        .with("SLMD_MQTT_REPLY_TOPICS", "a/#, b");
    let mqtt = case.settings().mqtt;
    assert!(mqtt.allow_plaintext_password.value);
    assert_eq!(mqtt.reply_topics.value, ["a/#", "b"]);
    let wrong = Case::new("").with("SLMD_MQTT_ALLOW_PLAINTEXT_PASSWORD", "yes");
    let error = wrong.load().expect_err("no boolean");
    assert!(error.starts_with("SLMD_MQTT_ALLOW_PLAINTEXT_PASSWORD: invalid type"), "{error}");
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let url = refusal("[mqtt]\nurl = 'mqtt://me:secret@h'\n");
    assert!(url.contains("config.toml:2:7: a user name or password does not belong here"), "{url}");
    for (text, said) in [
        ("node = 'a/b'", "must be 1 to 64 of"),
        ("node = ''", "must be 1 to 64 of"),
        ("groups = ['ok', 'no way']", "must be 1 to 64 of"),
        ("client-id = ''", "must be 1 to 256 bytes"),
        ("username = \"a\\u0000\"", "without control characters"),
        ("keep-alive-s = 4", "out of range: 5 to 3600"),
        ("session-expiry-s = -1", "out of range: 0 to 4294967295"),
        ("reply-topics = ['a/b+']", "stand for whole levels"),
        ("reply-topics = ['a/#/b']", "`#` for the last ones"),
        ("node = 'group'", "those of groups"),
        ("reply-topics = ['']", "is no topic filter"),
        ("home-assistant = 'a/#'", "must be a topic such as"),
        ("home-assistant = 'ha/'", "must be a topic such as"),
        ("cert-file = 'c'", "a certificate needs its key"),
        ("key-file = 'k'", "a key needs its certificate"),
        ("url = 'mqtt://h'\nca-file = 'c'", "no use without TLS"),
        ("password = 'x'", "unknown key `password`"),
        ("[[mqtt.quota]]\ntopic = 'a'", "a quota that limits nothing"),
        ("[[mqtt.quota]]\ntopic = 'a'\nrequests-per-minute = 0", "requests-per-minute is out of"),
        ("[[mqtt.quota]]\ntopic = 'a'\nmax-priority = 'high'", "no priority \"high\""),
        ("[[mqtt.quota]]\nrequests-per-minute = 1", "missing field `topic`"),
        ("[journal]\ndurability = 'none'", "no durability \"none\": sync or volatile"),
        ("[journal]\nmax-bytes = '1KiB'", "1KiB is too small: at least 64KiB"),
        ("[journal]\nmax-entries = 0", "out of range"),
    ] {
        let error = refusal(&format!("[mqtt]\n{text}\n"));
        assert!(error.contains(said) && error.starts_with("config.toml:"), "{text}: {error}");
    }
}

#[test]
fn a_password_does_not_go_out_in_plain_text() {
    let with = |url: &str, more: &str| {
        Case::new(&format!("[mqtt]\nurl = '{url}'\npassword-file = 'pw'\n{more}")).load()
    };
    let error = with("mqtt://broker.local", "").expect_err("refused");
    assert!(
        error.starts_with("mqtt.allow-plaintext-password: the password would go to broker.local"),
        "{error}"
    );
    assert!(error.contains("mqtts://"), "{error}");
    for (url, more) in [
        ("mqtts://broker.local", ""),
        ("mqtt://localhost", ""),
        ("mqtt://[::1]", ""),
        ("mqtt://broker.local", "allow-plaintext-password = true"),
    ] {
        assert!(with(url, more).is_ok(), "{url} {more}");
    }
    // systemd's credential is a password too.
    let case = Case::new("[mqtt]\nurl = 'mqtt://broker.local'\n");
    case.file("mqtt-password", b"x", 0o600);
    let dir = case.dir.path().display().to_string();
    let case = case.with("CREDENTIALS_DIRECTORY", &dir);
    assert!(case.load().is_err());
}

#[test]
fn the_certificate_comes_from_the_keys_or_from_systemd_with_its_key() {
    let identity = |case: &Case| case.settings().mqtt.identity(&case.environment);
    let case = Case::new("[mqtt]\nurl = 'mqtts://b'\n");
    let dir = case.dir.path().display().to_string();
    let case = case.with("CREDENTIALS_DIRECTORY", &dir);
    assert_eq!(identity(&case).expect("none"), None);
    case.file("mqtt-key", b"key", 0o600);
    let error = identity(&case).expect_err("half of it").to_string();
    assert!(error.contains("mqtt-cert"), "{error}");
    case.file("mqtt-cert", b"cert", 0o600);
    let (cert, key) = identity(&case).expect("both").expect("there");
    assert!(cert.ends_with("mqtt-cert") && key.ends_with("mqtt-key"));
    let own = Case::new("[mqtt]\nurl = 'mqtts://b'\ncert-file = '/c'\nkey-file = '/k'\n");
    let own = own.with("CREDENTIALS_DIRECTORY", &dir);
    assert_eq!(identity(&own).expect("written"), Some(("/c".into(), "/k".into())));
}

#[test]
fn credentials_come_from_the_keys_or_from_systemd() {
    let case = Case::new("[mqtt]\nusername = 'own'\npassword-file = 'pw'\n");
    case.file("pw", b"geheim\r\n", 0o600);
    case.file("mqtt-username", b"theirs\n", 0o600);
    case.file("mqtt-password", &[0xff, b'\n', b'\n'], 0o600);
    let dir = case.dir.path().display().to_string();
    let case = case.with("CREDENTIALS_DIRECTORY", &dir);
    let own = case.settings().mqtt.credentials(&case.environment).expect("readable");
    assert_eq!(own.username.as_deref(), Some("own"));
    assert_eq!(own.password.as_deref(), Some(&b"geheim"[..]));
    assert_eq!(own.warnings, [""; 0]);
    assert_eq!(format!("{own:?}"), "Credentials");

    std::fs::write(case.dir.path().join("config.toml"), "").expect("writable");
    let theirs = case.settings().mqtt.credentials(&case.environment).expect("readable");
    assert_eq!(theirs.username.as_deref(), Some("theirs"));
    assert_eq!(theirs.password.as_deref(), Some(&[0xff, b'\n'][..]), "one newline");

    let none = Case::new("");
    let none = none.settings().mqtt.credentials(&none.environment).expect("nothing to read");
    assert_eq!(none, Credentials::default());
}

#[test]
fn password_files_are_looked_at() {
    let case = Case::new("[mqtt]\npassword-file = 'pw'\n");
    let mqtt = case.settings().mqtt;
    let error = || mqtt.credentials(&case.environment).expect_err("refused").to_string();
    assert!(error().ends_with("pw: No such file or directory (os error 2)"), "{}", error());
    case.file("pw", b"\n", 0o600);
    assert!(error().ends_with("pw: empty"), "{}", error());
    case.file("pw", &[b'x'; 5000], 0o600);
    assert!(error().ends_with("pw: more than 4096 bytes"), "{}", error());
    case.file("pw", b"x", 0o644);
    let warnings = mqtt.credentials(&case.environment).expect("readable").warnings;
    assert!(warnings[0].contains("can be read by every user"), "{warnings:?}");
}
