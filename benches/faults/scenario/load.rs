//! Requesters that keep prompts under way and remember every reply: short ones, long ones, sampled
//! ones, and keys that are asked again. Prompts are sampled without a seed, so that a key that were
//! computed twice would get two answers.

use super::chance::Chance;
use crate::common::requester::{Heard, Requester, request};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Keys that may be asked again are among the last so many.
const RECENT: usize = 48;
/// What the control looks at: many keys with this one prompt.
const CONTROL: &str = "One day";

/// How much is asked.
#[derive(Debug, Clone)]
pub struct Style {
    /// Prompts without an answer, at most.
    pub under_way: usize,
    /// Between two prompts, at least.
    pub pause: Duration,
    /// Tokens of a long answer.
    pub long: u32,
    /// Whether known keys are asked again.
    pub repeats: bool,
}

/// One prompt: a key and all that was heard of it.
#[derive(Debug)]
pub struct Prompt {
    requester: usize,
    body: String,
    is_control: bool,
    pub first_asked: Instant,
    pub last_asked: Instant,
    pub tries: u32,
    pub answer: Option<Bytes>,
    pub answered: Option<Instant>,
}

/// The requesters and what they know.
pub struct Load {
    requesters: Vec<Requester>,
    topic: String,
    style: Style,
    chance: Chance,
    prefix: String,
    prompts: BTreeMap<String, Prompt>,
    open: BTreeSet<String>,
    recent: VecDeque<String>,
    last: Instant,
    pub repeats: u32,
    pub replies: u32,
    /// Of keys that had a different answer before.
    pub differing: Vec<String>,
    /// Of no key of ours, or on a topic of another one.
    pub unknown: u32,
}

impl Load {
    /// `count` requesters by this port, who ask on `topic`; their keys begin with `prefix`.
    pub fn start(
        port: u16,
        count: usize,
        topic: &str,
        prefix: &str,
        style: Style,
        chance: Chance,
    ) -> Self {
        let requesters = (0..count)
            .map(|i| Requester::connect(port, &format!("faults-{prefix}{i}"), &[&reply_topic(i)]))
            .collect();
        Self {
            requesters,
            topic: topic.to_owned(),
            style,
            chance,
            prefix: prefix.to_owned(),
            prompts: BTreeMap::new(),
            open: BTreeSet::new(),
            recent: VecDeque::new(),
            last: Instant::now(),
            repeats: 0,
            replies: 0,
            differing: Vec::new(),
            unknown: 0,
        }
    }

    /// Listens and asks for so long.
    pub fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.listen();
            self.ask_more();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Listens until nothing is open, or for `limit`; says whether all were answered.
    pub fn settle(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.open.is_empty() && Instant::now() < end {
            self.listen();
            std::thread::sleep(Duration::from_millis(5));
        }
        self.open.is_empty()
    }

    /// Hears what there is to hear.
    pub fn listen(&mut self) {
        for at in 0..self.requesters.len() {
            while let Some(heard) = self.requesters[at].hear(Duration::ZERO) {
                self.hear(at, &heard);
            }
        }
    }

    fn hear(&mut self, at: usize, heard: &Heard) {
        let key = heard.correlation.as_deref().map(|c| String::from_utf8_lossy(c).into_owned());
        let key = key.unwrap_or_default();
        let prompt = self
            .prompts
            .get_mut(&key)
            .filter(|p| p.requester == at && heard.topic == reply_topic(at) && !heard.retain);
        let Some(prompt) = prompt else {
            self.unknown += 1;
            return;
        };
        self.replies += 1;
        if let Some(before) = &prompt.answer {
            if *before != heard.payload {
                self.differing.push(format!("{key}: {before:?}, then {:?}", heard.payload));
            }
            return;
        }
        prompt.answer = Some(heard.payload.clone());
        prompt.answered = Some(heard.at);
        self.open.remove(&key);
    }

    fn ask_more(&mut self) {
        if self.open.len() >= self.style.under_way || self.last.elapsed() < self.style.pause {
            return;
        }
        self.last = Instant::now();
        if self.style.repeats && !self.recent.is_empty() && self.chance.one_in(6) {
            let at = self.chance.below(self.recent.len() as u64) as usize;
            let key = self.recent[at].clone();
            self.repeats += 1;
            self.publish(&key);
        } else {
            self.ask_one();
        }
    }

    /// One new prompt.
    pub fn ask_one(&mut self) -> String {
        let number = self.prompts.len();
        let kind = self.chance.below(4);
        let mut body = match kind {
            0 => json!({ "prompt": format!("Once {number}"), "max_tokens": 4 }),
            1 => tale(&format!("Long {number}"), self.style.long),
            2 => json!({ "prompt": CONTROL, "max_tokens": 24, "temperature": 1.5 }),
            _ => json!({ "prompt": format!("The {number}"), "max_tokens": 40, "temperature": 1.2 }),
        };
        body["best_effort"] = true.into();
        body["deadline_ms"] = if self.chance.one_in(2) { 600_000 } else { 900_000 }.into();
        self.ask(body, kind == 2)
    }

    /// A new prompt with this body.
    pub fn ask(&mut self, body: Value, is_control: bool) -> String {
        let number = self.prompts.len();
        let key = format!("{}{number}", self.prefix);
        let now = Instant::now();
        let prompt = Prompt {
            requester: number % self.requesters.len(),
            body: body.to_string(),
            is_control,
            first_asked: now,
            last_asked: now,
            tries: 1,
            answer: None,
            answered: None,
        };
        self.prompts.insert(key.clone(), prompt);
        self.open.insert(key.clone());
        self.recent.push_back(key.clone());
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.publish(&key);
        key
    }

    /// Knows these keys as asked by somebody before, by the first requester.
    pub fn expect(&mut self, keys: &BTreeSet<String>) {
        let now = Instant::now();
        let prompt = || Prompt {
            requester: 0,
            body: String::new(),
            is_control: false,
            first_asked: now,
            last_asked: now,
            tries: 0,
            answer: None,
            answered: None,
        };
        self.prompts.extend(keys.iter().map(|key| (key.clone(), prompt())));
    }

    /// Whether a key has its answer.
    pub fn has(&self, key: &str) -> bool {
        self.prompts.get(key).is_some_and(|p| p.answer.is_some())
    }

    /// All answers, by key.
    pub fn answers(&self) -> BTreeMap<String, Bytes> {
        let answer = |(key, p): (&String, &Prompt)| Some((key.clone(), p.answer.clone()?));
        self.prompts.iter().filter_map(answer).collect()
    }

    /// Asks an open key again.
    pub fn retry(&mut self, key: &str) {
        if let Some(prompt) = self.prompts.get_mut(key) {
            prompt.tries += 1;
            prompt.last_asked = Instant::now();
        }
        self.publish(key);
    }

    /// Publishes a key's prompt.
    pub fn publish(&self, key: &str) {
        let prompt = &self.prompts[key];
        let properties = request(&reply_topic(prompt.requester), key);
        self.requesters[prompt.requester].publish(&self.topic, prompt.body.clone(), properties);
    }

    /// Keys without an answer.
    pub fn open(&self) -> Vec<String> {
        self.open.iter().cloned().collect()
    }

    /// All keys.
    pub fn prompts(&self) -> &BTreeMap<String, Prompt> {
        &self.prompts
    }

    /// How many replies there were of each kind: `ok`, or the error's code. What was given up
    /// because it went down with slmd twice is `twice`.
    pub fn outcomes(&self) -> BTreeMap<String, u32> {
        let mut outcomes = BTreeMap::new();
        for answer in self.prompts.values().filter_map(|p| p.answer.as_ref()) {
            *outcomes.entry(outcome(answer)).or_default() += 1;
        }
        outcomes
    }

    /// The keys with this outcome.
    pub fn of_outcome(&self, wanted: &str) -> Vec<String> {
        let is_one = |p: &Prompt| p.answer.as_ref().is_some_and(|a| outcome(a) == wanted);
        self.prompts.iter().filter(|(_, p)| is_one(p)).map(|(key, _)| key.clone()).collect()
    }

    /// The control: how many keys had the same sampled prompt, and how many texts they got. That
    /// these are many is what makes the comparison of bytes worth something.
    pub fn control(&self) -> (usize, usize) {
        let controls = self.prompts.values().filter(|p| p.is_control);
        let texts: Vec<String> = controls
            .filter_map(|p| serde_json::from_slice::<Value>(p.answer.as_ref()?).ok())
            .filter_map(|answer| answer["text"].as_str().map(str::to_owned))
            .collect();
        (texts.len(), texts.iter().collect::<HashSet<_>>().len())
    }

    /// The median and the longest wait for an answer, in seconds.
    pub fn waits_s(&self) -> (f64, f64) {
        let wait = |p: &Prompt| Some((p.answered? - p.first_asked).as_secs_f64());
        let mut waits: Vec<f64> = self.prompts.values().filter_map(wait).collect();
        waits.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| waits.get(((waits.len().max(1) - 1) as f64 * share) as usize);
        (at(0.5).copied().unwrap_or(0.0), at(1.0).copied().unwrap_or(0.0))
    }
}

/// So many tokens and no fewer, one a digit.
pub fn tale(prompt: &str, tokens: u32) -> Value {
    json!({
        "prompt": prompt, "max_tokens": tokens, "temperature": 1.0, "best_effort": true,
        "deadline_ms": 900_000,
        "response_format": { "type": "regex", "regex": format!("[0-9]{{{tokens}}}") },
    })
}

fn outcome(answer: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    match answer["status"].as_str() {
        Some("ok") => "ok".into(),
        Some("error") if text(&answer["error"]["message"]).contains("went down twice") => {
            "twice".into()
        }
        Some("error") => text(&answer["error"]["code"]),
        _ => "not a reply".into(),
    }
}

fn reply_topic(requester: usize) -> String {
    format!("clients/faults/{requester}")
}
