//! A recorded series: rows with times out of a CSV file.

use super::args::WatchTestArgs;
use super::replay::Replayed;
use crate::cli::exit::{DATA, Failure, USAGE};
use crate::watch::{format_duration, parse_duration_ms};
use csv::StringRecord;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Numbers from here on are milliseconds: as seconds they would be after the year 5000.
const FIRST_MS: f64 = 1e11;

/// How virtual time is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Milliseconds since 1970 of the first row.
    Wall(i64),
    /// From the first row.
    Steps,
}

impl Clock {
    /// A moment, counted from the first row.
    pub fn show(self, now_ms: u64) -> String {
        let Self::Wall(start_ms) = self else { return format!("+{}", format_duration(now_ms)) };
        let unix_s = start_ms.saturating_add_unsigned(now_ms).div_euclid(1_000);
        match OffsetDateTime::from_unix_timestamp(unix_s) {
            Ok(t) => format!("{} {:02}:{:02}:{:02}", t.date(), t.hour(), t.minute(), t.second()),
            Err(_) => unix_s.to_string(),
        }
    }
}

/// One row, in virtual time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Milliseconds from the first row.
    pub now_ms: u64,
    /// As a sensor would send it.
    pub payload: String,
    /// In the file, from 1.
    pub line: u64,
}

/// Rows that were left out: how many, and the first one's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    count: u64,
    line: u64,
}

impl LeftOut {
    pub const fn add(&mut self, line: u64) {
        if self.count == 0 {
            self.line = line;
        }
        self.count += 1;
    }

    fn joined(self, other: Self) -> Value {
        let lines = [self, other].into_iter().filter(|l| l.count > 0).map(|l| l.line);
        json!({ "count": self.count + other.count, "line": lines.min().unwrap_or(0) })
    }
}

enum Times {
    Column(usize),
    Every(u64),
}

/// An open file.
pub struct Recording {
    reader: csv::Reader<Box<dyn Read>>,
    /// The first row, until it is read.
    first: Option<StringRecord>,
    value: usize,
    times: Times,
    clock: Clock,
    holds_json: bool,
    rows: u64,
    last_ms: u64,
    bad: LeftOut,
    backwards: LeftOut,
}

impl Recording {
    /// Opens the file and finds its columns.
    ///
    /// # Errors
    /// No such file, column, or row.
    pub fn open(args: &WatchTestArgs) -> Result<Self, Failure> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(input(&args.csv)?);
        let mut first = StringRecord::new();
        if !read(&mut reader, &mut first)? {
            return Err(Failure::new(DATA, format!("{} is empty", shown(&args.csv))));
        }
        let header = is_header(&first).then(|| first.clone());
        let value = column(args.value_column.as_deref(), header.as_ref(), &first, &["value"])?
            .unwrap_or(first.len() - 1);
        let times = match &args.step {
            Some(step) => match parse_duration_ms(step) {
                Ok(ms) if ms > 0 => Times::Every(ms),
                Ok(_) => return Err(Failure::new(USAGE, "--step: at least 1ms")),
                Err(problem) => return Err(Failure::new(USAGE, format!("--step: {problem}"))),
            },
            None => Times::Column(time_column(args, header.as_ref(), &first, value)?),
        };
        if header.is_some() && !read(&mut reader, &mut first)? {
            let problem = format!("{} has a header and no rows", shown(&args.csv));
            return Err(Failure::new(DATA, problem));
        }
        let holds_json = first.get(value).is_some_and(|cell| cell.starts_with('{'));
        let mut recording = Self {
            reader,
            first: Some(first),
            value,
            times,
            clock: Clock::Steps,
            holds_json,
            rows: 0,
            last_ms: 0,
            bad: LeftOut::default(),
            backwards: LeftOut::default(),
        };
        recording.start()?;
        Ok(recording)
    }

    /// The first row with a time is where virtual time begins.
    fn start(&mut self) -> Result<(), Failure> {
        let Times::Column(column) = self.times else { return Ok(()) };
        let mut row = self.first.take().unwrap_or_default();
        loop {
            if let Some(start_ms) = row.get(column).and_then(parse_time) {
                self.clock = Clock::Wall(start_ms);
                self.first = Some(row);
                return Ok(());
            }
            self.rows += 1;
            self.bad.add(line_of(&row));
            if !read(&mut self.reader, &mut row)? {
                return Err(Failure::new(
                    DATA,
                    format!("column {} holds no time in any row", column + 1),
                )
                .hint("--time-column names another; --step says that there are no times"));
            }
        }
    }

    /// Whether the values are whole payloads.
    pub const fn holds_json(&self) -> bool {
        self.holds_json
    }

    /// How to show virtual time.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The next row that can be replayed.
    ///
    /// # Errors
    /// If reading fails.
    pub fn next(&mut self) -> Result<Option<Row>, Failure> {
        let mut record = StringRecord::new();
        loop {
            match self.first.take() {
                Some(first) => record = first,
                None if !read(&mut self.reader, &mut record)? => return Ok(None),
                None => {}
            }
            let line = line_of(&record);
            self.rows += 1;
            let Some(now_ms) = self.time_of(&record) else {
                self.bad.add(line);
                continue;
            };
            if now_ms < self.last_ms as i64 {
                self.backwards.add(line);
                continue;
            }
            self.last_ms = now_ms.unsigned_abs();
            match record.get(self.value) {
                Some(cell) => {
                    let (now_ms, payload) = (self.last_ms, cell.to_owned());
                    return Ok(Some(Row { now_ms, payload, line }));
                }
                None => self.bad.add(line),
            }
        }
    }

    /// Milliseconds from the first row.
    fn time_of(&self, record: &StringRecord) -> Option<i64> {
        match (&self.times, self.clock) {
            (Times::Every(ms), _) => i64::try_from((self.rows - 1).checked_mul(*ms)?).ok(),
            (Times::Column(column), Clock::Wall(start_ms)) => {
                parse_time(record.get(*column)?)?.checked_sub(start_ms)
            }
            (Times::Column(_), Clock::Steps) => None,
        }
    }

    /// What came of it.
    pub fn summary(&self, replayed: &Replayed) -> Value {
        let counts = &replayed.counts;
        json!({
            "rows": self.rows,
            "samples": counts.samples,
            "bad_rows": self.bad.joined(replayed.bad),
            "times_backwards": self.backwards.joined(LeftOut::default()),
            "trips": counts.trips,
            "alerts": counts.alerts,
            "cleared": counts.cleared,
            "withdrawn": counts.withdrawn,
            "model_runs": counts.runs,
            "unanswered": counts.unanswered,
            "tokens": counts.tokens,
            "active_at_the_end": replayed.active,
        })
    }
}

fn shown(path: &Path) -> String {
    match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

fn input(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    match std::fs::File::open(path) {
        Ok(file) => Ok(Box::new(std::io::BufReader::new(file))),
        Err(e) => Err(Failure::unreadable(path, &e)),
    }
}

fn read(
    reader: &mut csv::Reader<Box<dyn Read>>,
    record: &mut StringRecord,
) -> Result<bool, Failure> {
    reader.read_record(record).map_err(|e| Failure::new(DATA, format!("cannot be read: {e}")))
}

fn line_of(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

fn is_header(record: &StringRecord) -> bool {
    let is_data = |cell: &str| {
        cell.parse::<f64>().is_ok() || parse_time(cell).is_some() || cell.starts_with('{')
    };
    !record.iter().any(is_data)
}

/// The column that was asked for, or the first of the usual names that the header has.
fn column(
    asked: Option<&str>,
    header: Option<&StringRecord>,
    first: &StringRecord,
    usual: &[&str],
) -> Result<Option<usize>, Failure> {
    let named = |name: &str| header?.iter().position(|cell| cell.eq_ignore_ascii_case(name));
    let Some(asked) = asked else { return Ok(usual.iter().find_map(|name| named(name))) };
    let numbered = asked.parse::<usize>().ok().filter(|n| (1..=first.len()).contains(n));
    match named(asked).or(numbered.map(|n| n - 1)) {
        Some(index) => Ok(Some(index)),
        None => {
            let there = match header {
                Some(header) => header.iter().collect::<Vec<_>>().join(", "),
                None => format!("1 to {}; the file has no header", first.len()),
            };
            Err(Failure::new(DATA, format!("no column {asked:?}; there is {there}")))
        }
    }
}

fn time_column(
    args: &WatchTestArgs,
    header: Option<&StringRecord>,
    first: &StringRecord,
    value: usize,
) -> Result<usize, Failure> {
    let usual = ["timestamp", "time", "datetime", "date", "ts"];
    match column(args.time_column.as_deref(), header, first, &usual)? {
        Some(column) => Ok(column),
        None if value != 0 => Ok(0),
        None => Err(Failure::new(USAGE, "there is no column of times")
            .hint("--time-column names it; --step 5s says that there is a row every 5 seconds")),
    }
}

/// Milliseconds since 1970 of Unix seconds or milliseconds, RFC 3339, or `2026-01-31 12:00:00`.
fn parse_time(cell: &str) -> Option<i64> {
    if let Ok(number) = cell.parse::<f64>() {
        let ms = if number.abs() < FIRST_MS { number * 1_000.0 } else { number };
        return (ms.abs() < 1e15).then(|| ms.round() as i64);
    }
    let (date, time) = cell.get(..10).zip(cell.get(11..))?;
    if !matches!(cell.as_bytes()[10], b' ' | b'T' | b't') {
        return None;
    }
    let has_zone = time.ends_with(['Z', 'z']) || time.contains(['+', '-']);
    let seconds = if time.len() == 5 { ":00" } else { "" };
    let zone = if has_zone { "" } else { "Z" };
    let moment = OffsetDateTime::parse(&format!("{date}T{time}{seconds}{zone}"), &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_many_forms() {
        let expected = 1_386_018_900_000;
        for text in [
            "2013-12-02 21:15:00",
            "2013-12-02 21:15",
            "2013-12-02T21:15:00Z",
            "2013-12-02T22:15:00+01:00",
            "2013-12-02T21:15:00.000",
            "1386018900",
            "1386018900.0",
            "1386018900000",
        ] {
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        for wrong in ["", "21:15", "2013-13-02 21:15:00", "yesterday", "NaN", "inf", "2013-12-02"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
        assert_eq!(Clock::Wall(expected).show(61_500), "2013-12-02 21:16:01");
        assert_eq!(Clock::Steps.show(90_000), "+90s");
    }
}
