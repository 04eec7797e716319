//! Rules: minijinja expressions over a window's statistics, with a third value for "not known".

use super::stats::Stats;
use minijinja::value::{Object, ObjectRepr, Serde};
use minijinja::{Environment, Error, ErrorKind, Expression, UndefinedBehavior, Value};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

/// Instructions of one evaluation; a rule has no business with loops.
const FUEL: u64 = 10_000;
/// The longest rule, in bytes.
const MAX_BYTES: usize = 4096;

/// What rules may name, apart from a watch's own variables, which may have no such name.
pub const RESERVED: [&str; 11] = [
    "min", "max", "mean", "last", "slope", "stddev", "count", "span_s", "age_s", "topic", "levels",
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
});

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It asked for a statistic that the window does not have (yet, or any more).
    Unknown,
}

/// A rule that compiled.
#[derive(Clone)]
pub struct Rule {
    source: String,
    expression: Arc<Expression<'static, 'static>>,
    vars: Value,
    watches_age: bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.vars == other.vars
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.source).finish()
    }
}

impl Rule {
    /// Compiles an expression over [`RESERVED`] and the constant `vars`, and tries it.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn compile(
        source: &str,
        vars: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, String> {
        if source.len() > MAX_BYTES {
            return Err(format!("a rule has at most {MAX_BYTES} bytes"));
        }
        let expression =
            ENVIRONMENT.compile_expression_owned(source.to_owned()).map_err(|e| describe(&e))?;
        let names = expression.undeclared_variables(false);
        let known = |name: &str| RESERVED.contains(&name) || vars.contains_key(name);
        let mut unknown: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !known(name)).collect();
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            return Err(format!("unknown name `{name}`: {}", known_names(vars)));
        }
        let rule = Self {
            source: source.to_owned(),
            expression: Arc::new(expression),
            vars: Value::from(Serde(vars.clone())),
            watches_age: names.contains("age_s"),
        };
        rule.trial().map(|()| rule)
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it may change without a sample coming or going.
    pub(super) const fn watches_age(&self) -> bool {
        self.watches_age
    }

    /// What it says of these figures; below `min_samples` the statistics are not known.
    pub(super) fn verdict(
        &self,
        stats: &Stats,
        min_samples: u32,
        topic: &Arc<str>,
    ) -> Result<Verdict, String> {
        let known = stats.count >= u64::from(min_samples);
        let context = Arc::new(Context {
            stats: *stats,
            known,
            topic: Arc::clone(topic),
            vars: self.vars.clone(),
            missed: AtomicBool::new(false),
        });
        let outcome = self.expression.eval(Value::from_dyn_object(Arc::clone(&context)));
        if context.missed.load(Ordering::Relaxed) {
            return Ok(Verdict::Unknown);
        }
        match outcome {
            Ok(value) => match bool::try_from(value.clone()) {
                Ok(true) => Ok(Verdict::Holds),
                Ok(false) => Ok(Verdict::Fails),
                Err(_) => Err(format!("gives {value}, which is neither true nor false")),
            },
            Err(e) => Err(describe(&e)),
        }
    }

    /// Unknown filters and results that are no truth values show only when it runs.
    fn trial(&self) -> Result<(), String> {
        // Figures unlike each other, so that no difference of two is zero.
        let stats = Stats {
            count: 11,
            min: Some(1.0),
            max: Some(17.0),
            mean: Some(7.0),
            last: Some(5.0),
            slope: Some(0.3),
            stddev: Some(3.7),
            span_s: 29.0,
            age_s: 0.9,
        };
        self.verdict(&stats, 1, &Arc::from("a/b/c/d/e/f/g/h")).map(|_| ())
    }
}

fn known_names(vars: &serde_json::Map<String, serde_json::Value>) -> String {
    let names: Vec<&str> = RESERVED.into_iter().chain(vars.keys().map(String::as_str)).collect();
    format!("known are {}", names.join(", "))
}

fn describe(e: &Error) -> String {
    match (e.kind(), e.detail()) {
        (ErrorKind::OutOfFuel, _) => format!("takes more than {FUEL} instructions"),
        (kind, None) => kind.to_string(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
    }
}

/// The variables of one evaluation; remembers whether one was missing.
#[derive(Debug)]
struct Context {
    stats: Stats,
    known: bool,
    topic: Arc<str>,
    vars: Value,
    missed: AtomicBool,
}

impl Object for Context {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let stats = &self.stats;
        let figure = match key.as_str()? {
            "count" => return Some(stats.count.into()),
            "age_s" => return Some(stats.age_s.into()),
            "span_s" => return Some(stats.span_s.into()),
            "topic" => return Some(Arc::clone(&self.topic).into()),
            "levels" => return Some(self.topic.split('/').map(Value::from).collect()),
            name => stats.named().into_iter().find(|(n, _)| *n == name),
        };
        match figure {
            Some((_, Some(value))) if self.known => Some(value.into()),
            Some(_) => {
                self.missed.store(true, Ordering::Relaxed);
                None
            }
            None => self.vars.get_item(key).ok().filter(|value| !value.is_undefined()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compile(source: &str) -> Result<Rule, String> {
        let vars = json!({"limit": 7.1, "machine": "press"});
        Rule::compile(source, vars.as_object().unwrap())
    }

    fn verdict(source: &str, stats: &Stats) -> Verdict {
        compile(source).unwrap().verdict(stats, 2, &Arc::from("a/press/v")).unwrap()
    }

    const SOME: Stats = Stats {
        count: 3,
        min: Some(-2.0),
        max: Some(8.0),
        mean: Some(3.0),
        last: Some(1.0),
        slope: None,
        stddev: Some(0.5),
        span_s: 20.0,
        age_s: 4.0,
    };

    #[test]
    fn rules_see_the_figures_the_topic_and_the_variables() {
        for holds in [
            "max > 7.1",
            "max > limit and min < -1.5",
            "(last - mean) | abs >= 2",
            "levels[1] == 'press' and topic == 'a/press/v' and machine == levels[1]",
            "count == 3 and span_s >= 20 and age_s < 5",
            "stddev / mean < 0.2",
            "not (max > 9)",
            "mean + 1.5e1 > 17",
            "max - min > 9 if machine == 'press' else false",
        ] {
            assert_eq!(verdict(holds, &SOME), Verdict::Holds, "{holds}");
        }
        assert_eq!(verdict("max > 9", &SOME), Verdict::Fails);
    }

    #[test]
    fn what_is_missing_is_unknown_unless_it_is_not_asked_for() {
        assert_eq!(verdict("slope > 0", &SOME), Verdict::Unknown);
        assert_eq!(verdict("max > 9 and slope > 0", &SOME), Verdict::Fails);
        assert_eq!(verdict("not (slope > 0)", &SOME), Verdict::Unknown);
        let few = Stats { count: 1, ..SOME };
        assert_eq!(verdict("max > 7", &few), Verdict::Unknown, "below min-samples");
        assert_eq!(verdict("count < 2 or max > 7", &few), Verdict::Holds);
        let silent = Stats { age_s: 90.0, ..Stats::default() };
        assert_eq!(verdict("age_s > 60", &silent), Verdict::Holds);
    }

    #[test]
    fn mistakes_are_found_before_the_first_sample() {
        for (source, says) in [
            ("max >", "unexpected end"),
            ("", "unexpected end"),
            ("maxx > 3", "unknown name `maxx`: known are min, max"),
            ("range(3)", "unknown name `range`"),
            ("max | nosuch > 3", "nosuch"),
            ("max", "neither true nor false"),
            ("topic", "neither true nor false"),
            ("max > 3 }} {{", "syntax error"),
        ] {
            let e = compile(source).unwrap_err();
            assert!(e.contains(says), "{source}: {e}");
        }
        assert!(compile("limit > 3 and machine == 'x'").is_ok());
        assert!(compile("age_s > 3").unwrap().watches_age());
        assert!(!compile("max > 3").unwrap().watches_age());
    }

    #[test]
    fn errors_while_running_are_told() {
        let rule = compile("1 // (count - 3) > 0").unwrap();
        assert!(rule.verdict(&SOME, 1, &Arc::from("a")).is_err());
    }
}
