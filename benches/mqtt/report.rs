//! What a scenario came to: a table, what was aimed at, and JSON.

use serde_json::{Value, json};

/// Of many figures.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub count: usize,
    pub low: f64,
    pub median: f64,
    pub p99: f64,
    pub high: f64,
}

impl Spread {
    /// By the nearest rank; not a number where there are none.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        Self { count: sorted.len(), low: at(0.0), median: at(0.5), p99: at(0.99), high: at(1.0) }
    }

    pub fn json(self) -> Value {
        json!({
            "count": self.count, "min": self.low, "median": self.median, "p99": self.p99,
            "max": self.high,
        })
    }

    /// Median, p99 and maximum, for a table.
    pub fn cells(self) -> [String; 3] {
        [self.median, self.p99, self.high].map(|figure| format!("{figure:.2}"))
    }
}

/// One scenario.
pub struct Report {
    name: &'static str,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    aims: Vec<(String, bool)>,
    json: Value,
}

impl Report {
    /// With the heads of the table's columns.
    pub fn new(name: &'static str, head: &[&'static str]) -> Self {
        Self { name, head: head.to_vec(), rows: Vec::new(), aims: Vec::new(), json: json!([]) }
    }

    /// A row of the table, and the same with all its figures.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>, json: Value) {
        self.rows.push(cells.into_iter().collect());
        self.json.as_array_mut().expect("made so").push(json);
    }

    /// What was to be reached, and whether it was.
    pub fn aim(&mut self, what: impl Into<String>, is_met: bool) {
        self.aims.push((what.into(), is_met));
    }

    pub fn is_met(&self) -> bool {
        self.aims.iter().all(|(_, is_met)| *is_met)
    }

    /// The table, in Markdown.
    pub fn print(&self) {
        println!("\n## {}\n", self.name);
        println!("| {} |", self.head.join(" | "));
        println!("|{}", "---|".repeat(self.head.len()));
        for row in &self.rows {
            println!("| {} |", row.join(" | "));
        }
        println!();
        for (what, is_met) in &self.aims {
            println!("{}: {what}", if *is_met { "met" } else { "MISSED" });
        }
    }
}

/// All of them, for machines.
pub fn json(reports: &[Report]) -> String {
    let one = |report: &Report| {
        let aims = report.aims.iter().map(|(what, met)| json!({ "aim": what, "met": met }));
        let body = json!({ "rows": report.json, "aims": aims.collect::<Vec<_>>() });
        (report.name.to_owned(), body)
    };
    format!("{:#}\n", Value::Object(reports.iter().map(one).collect()))
}
