//! Requests by chance, the same ones for the same seed: short to long, tight to loose.

use crate::bundle::WORDS;
use crate::model::Model;
use crate::random::Random;
use serde_json::{Value, json};

/// The shortest prompt and the shortest answer, in tokens.
const SHORTEST: f64 = 4.0;
/// Beside every stretched service time: requests have whole milliseconds.
const GRACE_MS: f64 = 5.0;
/// Of answers that end early, one token in so many that were allowed.
const EARLY: u32 = 4;

/// A deadline that does not matter.
pub const UNHURRIED_MS: f64 = 3_600_000.0;

/// A class, its share of the requests, and how many times its service time it may take.
struct Class {
    name: &'static str,
    percent: u64,
    slack: (f64, f64),
}

const CLASSES: [Class; 3] = [
    Class { name: "urgent", percent: 10, slack: (2.0, 8.0) },
    Class { name: "normal", percent: 70, slack: (2.0, 16.0) },
    Class { name: "background", percent: 20, slack: (6.0, 40.0) },
];

/// The names of the classes, by [`Request::class`].
pub fn classes() -> [&'static str; 3] {
    [0, 1, 2].map(|i: usize| CLASSES[i].name)
}

/// What one request costs on an idle daemon, as a client sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Yardstick {
    /// Of any request.
    pub base_ms: f64,
    /// Of a token of the prompt.
    pub prefill_ms: f64,
    /// Of a token of the answer.
    pub decode_ms: f64,
}

impl Yardstick {
    /// Of a prompt and an answer of so many tokens, alone on the machine.
    pub fn service_ms(&self, prompt: usize, answer: u32) -> f64 {
        let answer = f64::from(answer) * self.decode_ms;
        self.base_ms + prompt as f64 * self.prefill_ms + answer
    }

    /// For the JSON report.
    pub fn json(&self) -> Value {
        json!({
            "base_ms": self.base_ms, "prefill_token_ms": self.prefill_ms,
            "decode_token_ms": self.decode_ms,
        })
    }
}

/// What the text of an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Anything, to `max_tokens`.
    Free,
    /// Digits, to `max_tokens`: every token shows as text at once.
    Digits,
    /// So many digits: it ends before `max_tokens`.
    Early(u32),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub prompt: String,
    pub prompt_tokens: usize,
    pub max_tokens: u32,
    /// An index of [`classes`].
    pub class: usize,
    pub deadline_ms: f64,
    pub ttft_ms: Option<f64>,
    pub best_effort: bool,
    pub stream: bool,
    pub shape: Shape,
}

impl Request {
    /// Without a bound that matters.
    pub fn unhurried(prompt: String, prompt_tokens: usize, max_tokens: u32) -> Self {
        Self {
            prompt,
            prompt_tokens,
            max_tokens,
            class: 1,
            deadline_ms: UNHURRIED_MS,
            ttft_ms: None,
            best_effort: false,
            stream: false,
            shape: Shape::Free,
        }
    }

    pub fn priority(&self) -> &'static str {
        CLASSES[self.class].name
    }
}

/// What requests a [`Mix`] has.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The longest prompt and the longest answer, in tokens.
    pub longest: (usize, u32),
    /// Answers end early.
    pub early: bool,
    /// No shapes: for servers that are slow at them.
    pub plain: bool,
}

/// An endless row of requests.
pub struct Mix<'a> {
    model: &'a Model,
    yardstick: Yardstick,
    kind: Kind,
    random: Random,
}

impl<'a> Mix<'a> {
    pub fn new(model: &'a Model, yardstick: Yardstick, kind: Kind, seed: u64) -> Self {
        Self { model, yardstick, kind, random: Random(seed) }
    }

    /// The next one.
    pub fn next(&mut self) -> Request {
        let class = self.class();
        let words = self.log_uniform(SHORTEST, self.kind.longest.0 as f64) as usize;
        let max_tokens = self.log_uniform(SHORTEST, f64::from(self.kind.longest.1)) as u32;
        let (prompt, prompt_tokens) = self.prompt(words);
        let (low, high) = CLASSES[class].slack;
        let slack = self.log_uniform(low, high);
        let due =
            |tokens| (self.yardstick.service_ms(prompt_tokens, tokens) * slack + GRACE_MS).ceil();
        let (deadline_ms, first_ms) = (due(max_tokens), due(1));
        let has_bound = self.random.below(10) < 3;
        let shape = match (self.kind.plain, self.kind.early, has_bound) {
            (true, ..) | (_, false, false) => Shape::Free,
            (_, false, true) => Shape::Digits,
            (_, true, _) => Shape::Early((max_tokens / EARLY).max(1)),
        };
        let ttft_ms = has_bound.then_some(first_ms);
        let (best_effort, stream) = (false, has_bound);
        Request {
            prompt,
            prompt_tokens,
            max_tokens,
            class,
            deadline_ms,
            ttft_ms,
            best_effort,
            stream,
            shape,
        }
    }

    /// The same requests, which may take as long as they like.
    pub fn next_unhurried(&mut self) -> Request {
        let request = self.next();
        Request { deadline_ms: UNHURRIED_MS, ttft_ms: None, ..request }
    }

    /// Seconds to the next arrival, of `rate` a second on average.
    pub fn gap_s(&mut self, rate: f64) -> f64 {
        -(1.0 - self.share()).ln() / rate
    }

    /// Random words, of about so many tokens and never more; and how many there are.
    pub fn prompt(&mut self, tokens: usize) -> (String, usize) {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let mut chosen: Vec<&str> =
            (0..tokens).map(|_| words[self.random.below(words.len() as u64) as usize]).collect();
        loop {
            let text = chosen.join(" ");
            let count = self.model.tokens(&text).len();
            if count <= tokens || chosen.len() == 1 {
                return (text, count);
            }
            chosen.truncate((chosen.len() * tokens / count).max(1));
        }
    }

    fn class(&mut self) -> usize {
        let mut at = self.random.below(100);
        for (index, class) in CLASSES.iter().enumerate() {
            if at < class.percent {
                return index;
            }
            at -= class.percent;
        }
        unreachable!("the shares are 100 together")
    }

    /// From 0 to 1, never 1.
    fn share(&mut self) -> f64 {
        (self.random.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.share())
    }
}
