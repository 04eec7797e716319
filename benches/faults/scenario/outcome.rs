//! What a scenario found, as a table and as JSON.

use super::load::Load;
use serde_json::{Value, json};

/// One line of the table.
#[derive(Debug)]
pub struct Figure {
    name: String,
    value: String,
    /// What it must be, and whether it is.
    wanted: Option<(String, bool)>,
}

/// All figures of one scenario.
#[derive(Debug)]
pub struct Outcome {
    pub scenario: &'static str,
    pub seed: u64,
    pub seconds: f64,
    figures: Vec<Figure>,
    /// Cases of what must not be, a few.
    examples: Vec<String>,
}

impl Outcome {
    pub const fn new(scenario: &'static str, seed: u64) -> Self {
        Self { scenario, seed, seconds: 0.0, figures: Vec::new(), examples: Vec::new() }
    }

    /// A figure that is only told.
    pub fn tell(&mut self, name: &str, value: impl ToString) {
        let figure = Figure { name: name.into(), value: value.to_string(), wanted: None };
        self.figures.push(figure);
    }

    /// A figure with a condition.
    pub fn must(&mut self, name: &str, value: impl ToString, wanted: &str, is_met: bool) {
        let wanted = Some((wanted.to_owned(), is_met));
        self.figures.push(Figure { name: name.into(), value: value.to_string(), wanted });
    }

    pub fn must_be_zero(&mut self, name: &str, value: usize) {
        self.must(name, value, "0", value == 0);
    }

    /// Shown when something failed.
    pub fn example(&mut self, text: String) {
        if self.examples.len() < 10 {
            self.examples.push(text);
        }
    }

    /// What is told of every load. `lost` is what had no answer in the end.
    pub fn load(&mut self, load: &Load, lost: &[String]) {
        self.tell("prompts", load.prompts().len());
        self.tell("known keys asked again", load.repeats);
        self.tell("replies heard", load.replies);
        self.must_be_zero("lost: no terminal reply", lost.len());
        self.must_be_zero("differing replies for a key", load.differing.len());
        self.must_be_zero("replies of no key of ours", load.unknown as usize);
        let (keys, texts) = load.control();
        let is_met = keys < 3 || texts * 2 > keys;
        let value = format!("{texts} texts of {keys} keys");
        self.must("control: one sampled prompt", value, "most differ", is_met);
        let (median, longest) = load.waits_s();
        let value = format!("{median:.3}, {longest:.1}");
        self.tell("seconds to the reply: median, longest", value);
        lost.iter().for_each(|key| self.example(format!("lost: {key}")));
        load.differing.iter().for_each(|text| self.example(format!("differing: {text}")));
    }

    /// Whether everything is as it must be.
    pub fn is_good(&self) -> bool {
        self.figures.iter().all(|f| f.wanted.as_ref().is_none_or(|(_, is_met)| *is_met))
    }

    /// The table, in Markdown.
    pub fn table(&self) -> String {
        let title = format!("{} (seed {}, {:.0} s)", self.scenario, self.seed, self.seconds);
        let mut text = format!("\n| {title} | | must be | |\n|---|---|---|---|\n");
        for Figure { name, value, wanted } in &self.figures {
            let (limit, verdict) = match wanted {
                None => ("", ""),
                Some((limit, true)) => (limit.as_str(), "ok"),
                Some((limit, false)) => (limit.as_str(), "FAIL"),
            };
            text.push_str(&format!("| {name} | {value} | {limit} | {verdict} |\n"));
        }
        if !self.is_good() {
            self.examples.iter().for_each(|e| text.push_str(&format!("{e}\n")));
        }
        text
    }

    /// Everything, for machines.
    pub fn json(&self) -> Value {
        let figure = |f: &Figure| {
            let (limit, is_met) = f.wanted.clone().unzip();
            json!({ "name": f.name, "value": f.value, "must_be": limit, "is_met": is_met })
        };
        json!({
            "scenario": self.scenario, "seed": self.seed, "seconds": self.seconds,
            "is_good": self.is_good(), "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
            "examples": self.examples,
        })
    }
}
