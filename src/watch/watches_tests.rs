//! Every transition, in virtual time.

use super::super::spec::WatchSpec;
use super::*;
use proptest::prelude::*;

const TOPIC: &str = "m/7/v";

fn spec() -> WatchSpec {
    let text = |s: &str| Some(s.to_owned());
    WatchSpec {
        name: text("w"),
        topic: text("m/+/v"),
        window: text("10s"),
        when: text("last > 7"),
        clear: text("last < 6"),
        cooldown: text("60s"),
        task: text("alert"),
        publish: text("m/{1}/alert"),
        deadline_ms: Some(5_000),
        ..WatchSpec::default()
    }
}

fn text(s: &str) -> Option<String> {
    Some(s.to_owned())
}

/// A watch, a clock in milliseconds, and what came out.
struct Bench {
    watches: Watches,
    now: u64,
}

/// What came out, short.
#[derive(Debug, Clone, PartialEq)]
enum Out {
    Run(RunId, Option<u32>),
    On(Value),
    Off(Value),
}

impl Bench {
    fn new(spec: &WatchSpec) -> Self {
        Self { watches: Watches::new(vec![spec.resolve().unwrap()]), now: 0 }
    }

    fn drain(&mut self) -> Vec<Out> {
        let read = |effect| match effect {
            Effect::Run { run, deadline_ms, .. } => Out::Run(run, deadline_ms),
            Effect::Publish { payload, topic, .. } => {
                assert!(topic.ends_with("/alert"), "{topic}");
                let body: Value = serde_json::from_slice(&payload).unwrap();
                if body["state"] == "alert" { Out::On(body) } else { Out::Off(body) }
            }
        };
        self.watches.effects().map(read).collect()
    }

    /// Lets time pass, with every wake-up that is asked for.
    fn pass(&mut self, ms: u64) -> Vec<Out> {
        let end = self.now + ms;
        while let Some(at) = self.watches.next_wakeup().filter(|at| *at <= end) {
            assert!(at > self.now, "a wake-up in the past: {at} at {}", self.now);
            self.now = at;
            self.watches.tick(at);
        }
        self.now = end;
        self.drain()
    }

    fn hear(&mut self, x: f64) -> Vec<Out> {
        self.hear_of(TOPIC, &x.to_string())
    }

    fn hear_of(&mut self, topic: &str, payload: &str) -> Vec<Out> {
        self.watches.sample(self.now, topic, payload.as_bytes());
        self.drain()
    }

    fn answer(&mut self, run: RunId, text: &str) -> Vec<Out> {
        let outcome = Outcome { text: Some(text.into()), error: None, tokens: 100 };
        self.watches.answered(self.now, run, outcome);
        self.drain()
    }

    fn fail(&mut self, run: RunId, code: &str) -> Vec<Out> {
        let error = Some((code.to_owned(), "no".to_owned()));
        self.watches.answered(self.now, run, Outcome { text: None, error, tokens: 0 });
        self.drain()
    }

    fn counts(&self) -> Counts {
        *self.watches.counts().next().unwrap().1
    }

    /// Trips and has the run's id.
    fn trip(&mut self) -> RunId {
        let out = self.hear(8.0);
        let [Out::Run(run, _)] = out[..] else { panic!("{out:?}") };
        run
    }
}

#[test]
fn the_whole_life_of_an_alert() {
    let mut bench = Bench::new(&spec());
    assert_eq!(bench.hear(5.0), []);
    bench.pass(1_000);
    bench.watches.sample(bench.now, TOPIC, b"8.25");
    let effects: Vec<Effect> = bench.watches.effects().collect();
    let [Effect::Run { run, watch, task, vars, deadline_ms, .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((watch.as_str(), task.as_str(), *deadline_ms), ("w", "alert", Some(5_000)));
    assert_eq!(vars["stats"]["max"], 8.25);
    assert_eq!(
        (&vars["slope"], &vars["count"], &vars["levels"][1]),
        (&3.25.into(), &2.into(), &"7".into())
    );
    bench.pass(2_000);
    let out = bench.answer(*run, r#"{"cause": "bearing"}"#);
    let [Out::On(body)] = &out[..] else { panic!("{out:?}") };
    let expected = serde_json::json!({
        "watch": "w", "topic": TOPIC, "state": "alert", "since_s": 2,
        "stats": {"count": 2, "min": 5, "max": 8.25, "mean": 6.625, "last": 8.25, "slope": 3.25,
                  "stddev": 2.29809704, "span_s": 1, "age_s": 0},
        "answer": {"cause": "bearing"},
    });
    assert_eq!(*body, expected);
    assert_eq!(bench.hear(7.5), [], "once per trip");
    assert_eq!(bench.hear(6.5), [], "not below the lower bound");
    bench.pass(1_000);
    let out = bench.hear(5.5);
    let [Out::Off(body)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((&body["state"], &body["lasted_s"]), (&"cleared".into(), &3.into()));
    assert_eq!(body["stats"]["last"], 5.5);
    assert_eq!(bench.hear(9.0), [], "the cooldown");
    bench.hear(5.0);
    bench.pass(60_000);
    bench.trip();
    let counts = bench.counts();
    assert_eq!((counts.trips, counts.runs, counts.alerts, counts.cleared), (2, 2, 1, 1));
}

#[test]
fn a_condition_must_hold_for_the_hold_time() {
    let mut bench = Bench::new(&WatchSpec { hold: text("3s"), ..spec() });
    assert_eq!(bench.hear(8.0), []);
    bench.pass(2_000);
    assert_eq!(bench.hear(5.0), [], "it began anew");
    assert_eq!(bench.hear(8.0), []);
    assert_eq!(bench.pass(2_999), []);
    assert_eq!(bench.pass(1).len(), 1, "the hold ends without a sample");
}

#[test]
fn a_trip_in_the_cooldown_waits_for_its_end() {
    let mut bench = Bench::new(&spec());
    let run = bench.trip();
    bench.answer(run, "x");
    bench.hear(5.0);
    bench.pass(55_000);
    assert_eq!(bench.hear(9.0), []);
    assert_eq!(bench.pass(4_999), []);
    assert!(matches!(bench.pass(1)[..], [Out::Run(..)]));
}

#[test]
fn without_clear_it_ends_when_the_rule_does_and_by_time_alone() {
    let mut bench = Bench::new(&WatchSpec {
        clear: None,
        when: text("max > 7 and count > 0"),
        min_samples: Some(1),
        ..spec()
    });
    let run = bench.trip();
    bench.pass(1_000);
    bench.hear(5.0);
    bench.answer(run, "x");
    assert_eq!(bench.pass(8_999 - 160), []);
    let out = bench.pass(1_000);
    assert!(matches!(&out[..], [Out::Off(_)]), "the peak has left the window: {out:?}");
    // An empty window says nothing: neither tripped nor cleared.
    let mut bench = Bench::new(&WatchSpec { clear: None, ..spec() });
    let run = bench.trip();
    bench.answer(run, "x");
    assert_eq!(bench.pass(3_600_000), []);
    assert_eq!(bench.watches.status()[0]["active_alerts"], 1);
    assert_eq!(bench.watches.next_wakeup(), None, "and nothing keeps the processor awake");
}

#[test]
fn a_silent_sensor_can_trip_and_clear() {
    let mut bench = Bench::new(&WatchSpec {
        when: text("age_s > 30"),
        clear: text("age_s < 1"),
        task: None,
        ..spec()
    });
    bench.hear(1.0);
    assert_eq!(bench.pass(30_000), []);
    assert!(matches!(&bench.pass(1_000)[..], [Out::On(_)]));
    bench.pass(600_000);
    assert!(matches!(&bench.hear(1.0)[..], [Out::Off(_)]));
}

#[test]
fn what_is_over_before_its_answer_is_not_published() {
    let mut bench = Bench::new(&spec());
    let run = bench.trip();
    assert_eq!(bench.hear(5.0), []);
    assert_eq!(bench.answer(run, "late"), []);
    let counts = bench.counts();
    assert_eq!((counts.withdrawn, counts.superseded, counts.alerts), (1, 1, 0));
    assert_eq!(counts.tokens, 100, "it has cost something all the same");
}

#[test]
fn one_run_at_a_time_even_if_nobody_waits_for_it() {
    let mut bench = Bench::new(&WatchSpec { cooldown: text("0s"), ..spec() });
    let first = bench.trip();
    bench.hear(5.0);
    assert_eq!(bench.hear(9.0), [], "the first run is still under way");
    bench.pass(1_000);
    let out = bench.answer(first, "old");
    let [Out::Run(second, Some(left))] = out[..] else { panic!("{out:?}") };
    assert_eq!(left, 4_000, "what is left of the deadline");
    let out = bench.answer(second, "new");
    assert!(
        matches!(&out[..], [Out::On(body)] if body["answer"] == "new" && body["stats"]["max"] == 9)
    );
}

#[test]
fn an_alert_does_not_depend_on_the_model() {
    let mut bench = Bench::new(&spec());
    let run = bench.trip();
    let out = bench.fail(run, "memory_infeasible");
    let [Out::On(body)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(body["answer"], Value::Null);
    assert_eq!(body["error"]["code"], "memory_infeasible");
    assert_eq!(bench.counts().unanswered, 1);
    // Nobody ever answers.
    let mut bench = Bench::new(&spec());
    let run = bench.trip();
    assert_eq!(bench.pass(6_999), []);
    let out = bench.pass(1);
    assert!(
        matches!(&out[..], [Out::On(b)] if b["error"]["code"] == "deadline_exceeded"),
        "{out:?}"
    );
    assert_eq!(bench.answer(run, "too late"), []);
    assert_eq!(bench.counts().superseded, 1);
}

#[test]
fn what_may_pass_is_tried_again_with_the_newest_figures() {
    let mut bench = Bench::new(&WatchSpec { deadline_ms: Some(60_000), ..spec() });
    let mut run = bench.trip();
    for wait in [1_000, 2_000, 4_000] {
        assert_eq!(bench.fail(run, "busy"), []);
        assert_eq!(bench.pass(wait - 1), []);
        bench.hear(8.0 + wait as f64);
        let out = bench.pass(1);
        let [Out::Run(next, _)] = out[..] else { panic!("{out:?}") };
        assert_ne!(next, run);
        run = next;
    }
    let out = bench.answer(run, "x");
    assert!(matches!(&out[..], [Out::On(body)] if body["stats"]["last"] == 4_008), "{out:?}");
    assert_eq!((bench.counts().runs, bench.counts().retries), (4, 3));
    // The fourth failure is the last.
    let mut bench = Bench::new(&WatchSpec { deadline_ms: Some(60_000), ..spec() });
    let mut run = bench.trip();
    let mut out = bench.fail(run, "busy");
    while out.is_empty() {
        out = bench.pass(10_000);
        if let [Out::Run(next, _)] = out[..] {
            run = next;
            out = bench.fail(run, "busy");
        }
    }
    assert!(matches!(&out[..], [Out::On(body)] if body["error"]["code"] == "busy"), "{out:?}");
    assert_eq!(bench.counts().runs, 4);
}

#[test]
fn the_budget_bounds_runs_not_alerts() {
    let mut bench = Bench::new(&WatchSpec { tokens_per_hour: Some(150), ..spec() });
    let mut answered = 0;
    for _ in 0..4 {
        let mut out = bench.hear(8.0);
        if let [Out::Run(run, _)] = out[..] {
            out = bench.answer(run, "x");
        }
        let [Out::On(body)] = &out[..] else { panic!("{out:?}") };
        match body["answer"].is_null() {
            false => answered += 1,
            true => assert_eq!(body["error"]["code"], "over_quota"),
        }
        bench.hear(5.0);
        bench.pass(60_000);
    }
    assert_eq!((answered, bench.counts().refused_by_budget), (2, 2));
    bench.pass(3_600_000);
    bench.trip();
}

#[test]
fn an_alert_is_repeated_while_it_lasts() {
    let mut bench = Bench::new(&WatchSpec { repeat: text("5m"), task: None, ..spec() });
    assert!(matches!(bench.hear(8.0)[..], [Out::On(_)]));
    let out = bench.pass(1_500_000);
    assert_eq!(out.len(), 5);
    let Out::On(last) = &out[4] else { panic!("{out:?}") };
    assert_eq!(last["since_s"], 1_500);
    assert!(matches!(bench.hear(5.0)[..], [Out::Off(_)]));
    assert_eq!(bench.pass(1_500_000), []);
}

#[test]
fn each_topic_is_a_series_of_its_own() {
    let mut bench = Bench::new(&WatchSpec { task: None, ..spec() });
    assert_eq!(bench.hear_of("m/1/v", "8").len(), 1);
    assert_eq!(bench.hear_of("m/2/v", "5"), []);
    assert_eq!(bench.hear_of("m/2/v", "8").len(), 1);
    assert_eq!(bench.hear_of("other", "8"), []);
    assert_eq!(bench.watches.filters(), ["m/+/v"]);
    assert!(bench.watches.matches("m/x/v") && !bench.watches.matches("m/x"));
}

#[test]
fn bad_payloads_are_counted_and_named() {
    let mut bench = Bench::new(&WatchSpec { value: text("/rms"), ..spec() });
    for payload in ["{}", "{}", "x", r#"{"rms": "8"}"#, r#"{"rms": 1}"#] {
        assert_eq!(bench.hear_of(TOPIC, payload), []);
    }
    let status = &bench.watches.status()[0];
    assert_eq!((&status["samples"], &status["bad_samples"]), (&1.into(), &4.into()));
    let expected = serde_json::json!([{"topic": TOPIC, "kinds": [
        {"kind": "not_json", "problem": "not JSON", "count": 1},
        {"kind": "missing", "problem": "nothing at the pointer", "count": 2},
        {"kind": "not_a_number", "problem": "not a number", "count": 1},
    ]}]);
    assert_eq!(status["bad"], expected);
}

#[test]
fn series_are_bounded_and_alerts_keep_their_place() {
    let mut bench = Bench::new(&WatchSpec { task: None, ..spec() });
    let most = super::super::MAX_SERIES;
    for i in 0..10 * most {
        bench.now += 1;
        bench.hear_of(&format!("m/{i}/v"), if i % 3 == 0 && i < most { "8" } else { "1" });
    }
    let status = &bench.watches.status()[0];
    assert_eq!((&status["series"], &status["active_alerts"]), (&most.into(), &86.into()));
    assert_eq!(bench.counts().replaced_series, 9 * most as u64);
    assert!(bench.watches.agenda.len() <= most, "{}", bench.watches.agenda.len());
    for i in 0..most {
        bench.hear_of(&format!("n/{i}/v"), "1");
        bench.hear_of(&format!("m/x{i}/v"), "8");
    }
    assert_eq!(bench.hear_of("m/new/v", "8"), [], "all places have an alert");
    assert_eq!(bench.hear_of("m/new/v", "x"), []);
    let counts = bench.counts();
    assert!(counts.refused_samples > 0 && counts.bad_samples == 1, "{counts:?}");
    let off = bench.hear_of("m/0/v", "1");
    assert!(matches!(off[..], [Out::Off(_)]), "{off:?}");
}

#[test]
fn time_that_goes_back_stands_still() {
    let mut bench = Bench::new(&WatchSpec { task: None, ..spec() });
    bench.now = 1_000_000;
    bench.hear(5.0);
    bench.now = 10;
    assert!(matches!(bench.hear(8.0)[..], [Out::On(_)]));
}

/// What a front end does in the order of its whims.
#[derive(Debug, Clone)]
enum Step {
    Hear(u8, f64),
    Pass(u64),
    Answer,
    Fail(&'static str),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..3, 4.0..9.0f64).prop_map(|(topic, x)| Step::Hear(topic, x)),
        3 => (1u64..20_000).prop_map(Step::Pass),
        2 => Just(Step::Answer),
        1 => prop_oneof![Just("busy"), Just("internal"), Just("over_quota")].prop_map(Step::Fail),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn the_rules_are_never_exceeded(
        steps in steps(),
        cooldown_s in 0u64..90,
        repeat in proptest::option::of(1u64..100),
        clear in any::<bool>(),
        window_samples in proptest::option::of(1i64..5),
    ) {
        let spec = WatchSpec {
            cooldown: Some(format!("{cooldown_s}s")),
            repeat: repeat.map(|s| format!("{s}s")),
            clear: clear.then(|| "max < 6".into()),
            window: if window_samples.is_some() { None } else { text("10s") },
            window_samples,
            ..spec()
        };
        let mut bench = Bench::new(&spec);
        let mut under_way: Vec<(RunId, String)> = Vec::new();
        // By topic: whether the alert is on, and when something was last published.
        let mut on: HashMap<String, (bool, u64)> = HashMap::new();
        for step in steps {
            let end = match step {
                Step::Hear(topic, x) => {
                    bench.watches.sample(bench.now, &format!("m/{topic}/v"), x.to_string().as_bytes());
                    bench.now
                }
                Step::Pass(ms) => bench.now + ms,
                Step::Answer | Step::Fail(_) if under_way.is_empty() => continue,
                Step::Answer => {
                    let outcome = Outcome { text: text("x"), error: None, tokens: 10 };
                    bench.watches.answered(bench.now, under_way.remove(0).0, outcome);
                    bench.now
                }
                Step::Fail(code) => {
                    let error = Some((code.into(), "no".into()));
                    let outcome = Outcome { text: None, error, tokens: 0 };
                    bench.watches.answered(bench.now, under_way.remove(0).0, outcome);
                    bench.now
                }
            };
            loop {
                let now = bench.now;
                for effect in bench.watches.effects() {
                    match effect {
                        Effect::Run { run, vars, .. } => {
                            let topic = vars["topic"].as_str().unwrap().to_owned();
                            prop_assert!(under_way.iter().all(|(_, t)| *t != topic), "two runs");
                            under_way.push((run, topic));
                        }
                        Effect::Publish { payload, .. } => {
                            let body: Value = serde_json::from_slice(&payload).unwrap();
                            let topic = body["topic"].as_str().unwrap().to_owned();
                            let before = on.get(&topic).copied();
                            if body["state"] == "alert" {
                                let (was_on, at) = before.unwrap_or((false, 0));
                                prop_assert!(!was_on || repeat.is_some(), "published twice");
                                prop_assert!(
                                    before.is_none() || now - at >= cooldown_s * 1000,
                                    "an alert in the cooldown"
                                );
                                on.insert(topic, (true, now));
                            } else {
                                prop_assert!(before.is_some_and(|(was_on, _)| was_on));
                                on.insert(topic, (false, now));
                            }
                        }
                    }
                }
                match bench.watches.next_wakeup().filter(|at| *at <= end) {
                    None => break,
                    Some(at) => {
                        bench.now = at;
                        bench.watches.tick(at);
                    }
                }
            }
            bench.now = end;
        }
        prop_assert!(bench.watches.runs.len() <= 3);
    }
}
