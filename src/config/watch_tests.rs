use super::super::environment::Environment;
use super::super::{Defaults, Settings, ThermalDefaults};
use super::*;

fn load(files: &[(&str, &str)]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("conf.d")).expect("a directory");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("writable");
    }
    let environment = Environment { is_root: true, ..Environment::default() };
    let defaults = Defaults {
        providers: Vec::new(),
        board: "b".into(),
        threads: 1,
        memory_bytes: Some(1 << 30),
        context_tokens: None,
        sessions: None,
        thermal: ThermalDefaults::default(),
    };
    Config::load(Some(&dir.path().join("config.toml")), &environment, &[])
        .and_then(|config| config.settings(&environment, &defaults))
        .map_err(|e| e.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

const GOOD: &str = "[[watch]]\ntopic = 'f/+/v'\nwhen = 'max > 7.1'\npublish = 'f/{1}/alert'\n";

fn refusal(more: &str) -> String {
    load(&[("config.toml", &format!("{GOOD}{more}\n"))]).expect_err(more)
}

#[test]
fn a_whole_watch_is_read_with_its_place() {
    let text = "threads = 1\n\n[[watch]]\nname = 'vibration'\ntopic = 'factory/+/vibration'\n\
        value = '/rms'\nwindow = '30s'\nmin-samples = 3\nwhen = 'max > limit and slope > 0'\n\
        clear = 'max < 6.5'\nhold = '10s'\ncooldown = '60s'\ntokens-per-hour = 2000\n\
        task = 'alert'\nvars = { machine = 'press', limit = 7.1, list = [1, { a = true }] }\n\
        publish = 'factory/{1}/alert'\nretain = true\nrepeat = '10m'\noffline = 'keep'\n\
        offline-limit = 9\npriority = 'urgent'\n[task.alert]\ndeadline-ms = 3000\n";
    let settings = load(&[("config.toml", text)]).expect("sound");
    let [watch] = &settings.watches[..] else { panic!("one watch") };
    assert!(watch.origin.to_string().ends_with("config.toml:3"), "{}", watch.origin);
    assert_eq!(watch.value.patience_ms, 3000, "the task's deadline");
    assert_eq!(watch.value.vars["list"], serde_json::json!([1, {"a": true}]));
    assert_eq!(watch.value.offline, crate::watch::Offline::Keep { limit: 9 });
    assert!(settings.entries().iter().any(|e| e.key == "watch.vibration"));
}

#[test]
fn mistakes_are_shown_with_a_caret() {
    assert_eq!(
        refusal("clear = 'maxx < 3'"),
        "config.toml:5:9: unknown name `maxx`: known are min, max, mean, last, slope, stddev, \
         count, span_s, age_s, topic, levels\n 5 | clear = 'maxx < 3'\n   |         ^^^^^^^^^^"
    );
    for (more, place, says) in [
        ("clear = 'max <'", "config.toml:5:9: ", "unexpected end"),
        ("window = '0s'", "config.toml:5:10: ", "too short"),
        ("window = '3s'\nwindow-samples = 3", "config.toml:6:18: ", "twice"),
        ("min-samples = 0", "config.toml:5:15: ", "out of range: 1 to 4096"),
        ("vars = { at = 2024-01-01 }", "config.toml:5:8: ", "as a text"),
        ("vars = { x = nan }", "config.toml:5:8: ", "not a finite"),
        ("vars = { max = 3 }", "config.toml:5:8: ", "slmd's own"),
        ("offline = 'drop'", "config.toml:5:11: ", "keep, coalesce or expire"),
        ("cool-down = '3s'", "config.toml:5:1: ", "did you mean `cooldown`?"),
        ("priority = 'high'", "config.toml:5:12: ", "unknown key `high`"),
        ("[[watch]]\nwhen = 'max > 3'", "config.toml:5:1: ", "`topic` is missing"),
        (
            "[[watch]]\ntopic = 'x'\nwhen = 'max > 3'\npublish = 'f/3/v'",
            "config.toml:8:11: ",
            "\"f/+/v\" takes \"f/3/v\"",
        ),
        (
            "[[watch]]\ntopic = 'f/+/v'\nwhen = 'max > 3'\npublish = 'x'",
            "config.toml:6:9: ",
            "already; give each a `name`",
        ),
    ] {
        let shown = refusal(more);
        assert!(shown.starts_with(place) && shown.contains(says), "{shown}");
        assert!(shown.contains('^'), "{shown}");
    }
    let own = load(&[("config.toml", &GOOD.replace("{1}/alert", "{1}/v"))]).expect_err("a loop");
    assert!(own.contains("config.toml:4:11: alerts would be samples: its own topic"), "{own}");
    let none = load(&[("config.toml", &GOOD.replace("{1}", "{2}"))]).expect_err("no such");
    assert!(
        none.contains("config.toml:4:11: `{2}`: the topic \"f/+/v\" has one wildcard"),
        "{none}"
    );
}

#[test]
fn files_add_watches_and_replace_those_of_the_same_name() {
    let named = |name: &str, when: &str| {
        GOOD.replace("topic", &format!("name = '{name}'\ntopic")).replace("max > 7.1", when)
    };
    let first = named("a", "max > 1") + &named("b", "max > 2");
    let settings = load(&[("config.toml", &first), ("conf.d/1.toml", &named("a", "max > 3"))]);
    let watches = settings.expect("sound").watches;
    let seen: Vec<_> =
        watches.iter().map(|w| (w.value.name.as_str(), w.value.when.source())).collect();
    assert_eq!(seen, [("b", "max > 2"), ("a", "max > 3")]);
    let twice = named("a", "max > 1") + &named("a", "max > 2");
    let error = load(&[("config.toml", &twice)]).expect_err("twice");
    assert!(error.starts_with("config.toml:7:8: there is a watch \"a\" already"), "{error}");
}
