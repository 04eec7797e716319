//! How sure an answer is: the probabilities of the tokens that spell its fields.
//!
//! A token that the shape forces is certain; any other counts with its probability among those that the
//! shape allows. A field is as sure as the product of its tokens; the answer, as the product of all that
//! spell a field that matters. Calibration is one temperature (Guo et al., "On Calibration of Modern
//! Neural Networks", 2017), which here divides the log-probabilities of whole fields and not the
//! logits: the answer's tokens are drawn without it.

use crate::sample::{Span, spans};
use crate::wire::{Confidence, FieldConfidence};
use std::sync::Arc;

/// How a task's answers are judged.
#[derive(Debug, Clone)]
pub struct Judge {
    /// JSON pointers to the fields that matter, in which `*` stands for any name or index; empty: all,
    /// and what decides which fields there are.
    pub fields: Arc<[String]>,
    /// What calibration found; 1: not calibrated.
    pub temperature: f32,
    /// Less sure than this is told as abstaining.
    pub min_confidence: Option<f32>,
}

impl Default for Judge {
    fn default() -> Self {
        Self { fields: Arc::from([]), temperature: 1.0, min_confidence: None }
    }
}

/// A token of an answer: how many bytes it has, and the logarithm of its probability.
#[derive(Debug, Clone, Copy)]
pub struct Weighed {
    /// Bytes.
    pub bytes: usize,
    /// 0 if it was forced, minus infinity if the model did not choose it.
    pub log: f32,
}

impl Judge {
    /// Judges an answer of these tokens, which are `text` together; `is_json` says whether it has fields.
    pub fn confidence(&self, text: &[u8], tokens: &[Weighed], is_json: bool) -> Confidence {
        let whole = || vec![Span { pointer: String::new(), bytes: 0..text.len() }];
        let all = if is_json { spans(text) } else { whole() };
        let mut fields: Vec<&Span> =
            all.iter().filter(|span| self.matters(&span.pointer)).collect();
        let everything = fields.is_empty() || self.fields.is_empty();
        if fields.is_empty() {
            fields = all.iter().collect();
        }
        let mut logs = vec![0.0f32; fields.len()];
        let (mut total, mut beside, mut at) = (0.0, 0.0, 0);
        for token in tokens {
            let range = at..at + token.bytes;
            at = range.end;
            let mut counts = everything;
            let mut spells = false;
            for (field, log) in fields.iter().zip(&mut logs) {
                if field.bytes.start < range.end && range.start < field.bytes.end {
                    *log += token.log;
                    (counts, spells) = (true, true);
                }
            }
            total += if counts { token.log } else { 0.0 };
            beside += if everything && !spells { token.log } else { 0.0 };
        }
        let p = |log: f32| (log / self.temperature).exp();
        let mut sure: Vec<(f32, &str)> =
            logs.iter().zip(&fields).map(|(log, field)| (p(*log), &*field.pointer)).collect();
        if beside < 0.0 || sure.is_empty() {
            // What decides which fields there are is the whole's.
            sure.push((p(beside), ""));
        }
        let lowest = sure.iter().copied().reduce(|a, b| if b.0 < a.0 { b } else { a });
        let (min, lowest) = lowest.unwrap_or((1.0, ""));
        let mean = sure.iter().map(|(p, _)| p).sum::<f32>() / sure.len() as f32;
        let fields = FieldConfidence { min, mean, lowest: lowest.to_owned() };
        Confidence { overall: p(total), fields: Some(fields) }
    }

    /// Whether a confidence is below what was asked for.
    pub fn abstains(&self, overall: f32) -> Option<bool> {
        self.min_confidence.map(|least| overall < least)
    }

    fn matters(&self, pointer: &str) -> bool {
        self.fields.is_empty() || self.fields.iter().any(|pattern| matches(pattern, pointer))
    }
}

/// Whether `pointer` is what `pattern` names, or below it.
fn matches(pattern: &str, pointer: &str) -> bool {
    let mut rest = pointer.split('/');
    pattern.split('/').all(|part| rest.next().is_some_and(|name| part == "*" || part == name))
}

/// JSON pointers to the values of `text` that have bytes from `from` on.
pub fn filled(text: &[u8], from: usize, is_json: bool) -> Vec<String> {
    if !is_json {
        return vec![String::new()];
    }
    let late = |span: &Span| span.bytes.end > from;
    spans(text).into_iter().filter(late).map(|span| span.pointer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br#"{"a":"on","b":[1,2]}"#;

    fn tokens(parts: &[(&str, f32)]) -> Vec<Weighed> {
        let all: String = parts.iter().map(|(text, _)| *text).collect();
        assert_eq!(all.as_bytes(), TEXT);
        parts.iter().map(|(text, p)| Weighed { bytes: text.len(), log: p.ln() }).collect()
    }

    fn about(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn the_fields_are_as_sure_as_their_tokens() {
        let all = tokens(&[
            (r#"{"a":""#, 1.0),
            ("o", 0.5),
            (r#"n""#, 0.8),
            (r#","b":["#, 0.9),
            ("1", 1.0),
            (",2]", 0.6),
            ("}", 1.0),
        ]);
        let told = Judge::default().confidence(TEXT, &all, true);
        assert!(about(told.overall, 0.5 * 0.8 * 0.9 * 0.6), "{told:?}");
        let fields = told.fields.expect("of JSON");
        assert!(about(fields.min, 0.4) && fields.lowest == "/a", "{fields:?}");
        // /a, /b/0, /b/1, and that there is a /b.
        assert!(about(fields.mean, (0.4 + 1.0 + 0.6 + 0.9) / 4.0), "{fields:?}");
    }

    #[test]
    fn only_what_matters_counts() {
        let all = tokens(&[(r#"{"a":"on","#, 0.5), (r#""b":[1"#, 0.7), (",2]}", 0.25)]);
        let judge = |fields: &[&str]| Judge {
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            ..Judge::default()
        };
        assert!(about(judge(&["/b/*"]).confidence(TEXT, &all, true).overall, 0.7 * 0.25));
        assert!(about(judge(&["/b"]).confidence(TEXT, &all, true).overall, 0.7 * 0.25));
        assert!(about(judge(&["/a"]).confidence(TEXT, &all, true).overall, 0.5));
        assert!(about(judge(&["/c"]).confidence(TEXT, &all, true).overall, 0.5 * 0.7 * 0.25));
        let calibrated = Judge { temperature: 2.0, ..judge(&["/a"]) };
        assert!(about(calibrated.confidence(TEXT, &all, true).overall, 0.5f32.sqrt()));
    }

    #[test]
    fn what_was_filled_in_is_not_believed() {
        let all = tokens(&[(r#"{"a":"on","b":["#, 1.0), ("1", 0.9), (",2]}", 0.0)]);
        let told = Judge::default().confidence(TEXT, &all, true);
        let fields = told.fields.expect("of JSON");
        assert_eq!((told.overall, fields.min, &*fields.lowest), (0.0, 0.0, "/b/1"));
        assert_eq!(filled(TEXT, 16, true), ["/b/1"]);
        assert_eq!(filled(TEXT, 15, true), ["/b/0", "/b/1"]);
        assert_eq!(filled(b"abc", 1, false), [""]);
    }

    #[test]
    fn who_asks_for_nothing_hears_no_abstaining() {
        assert_eq!(Judge::default().abstains(0.0), None);
        let judge = Judge { min_confidence: Some(0.7), ..Judge::default() };
        assert_eq!((judge.abstains(0.69), judge.abstains(0.7)), (Some(true), Some(false)));
    }
}
