//! How a model wants to be sampled: end tokens and defaults, from whatever files say so.

use super::error::BundleError;
use serde::Deserialize;

/// End tokens and sampling defaults of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Generation {
    /// Tokens that end an answer; the union of what the bundle's files name.
    pub eos: Vec<u32>,
    /// The token that starts a text.
    pub bos: Option<u32>,
    /// The token that fills rows.
    pub pad: Option<u32>,
    /// The longest text, prompt and answer, that the model's makers suggest.
    pub max_length: Option<u32>,
    /// Sampling, where the files say something.
    pub sampling: SamplingDefaults,
}

/// What a model's files say about sampling; absent means: the daemon's default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SamplingDefaults {
    /// 0: greedy (also for `"do_sample": false`).
    pub temperature: Option<f32>,
    /// Keep the k likeliest.
    pub top_k: Option<u32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// Keep what is at least this share as likely as the likeliest.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen.
    pub repetition_penalty: Option<f32>,
}

/// One id, several, or none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a token id or a list of token ids")]
pub enum Ids {
    /// One.
    One(i64),
    /// Several.
    Many(Vec<i64>),
}

impl Ids {
    fn as_slice(&self) -> &[i64] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// `generation_config.json`, and `search` of `genai_config.json`: the same names.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct GenerationFile {
    eos_token_id: Option<Ids>,
    bos_token_id: Option<Ids>,
    pad_token_id: Option<Ids>,
    max_length: Option<i64>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<i64>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

/// Token ids named by another file than those that [`GenerationFile`] describes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenIds {
    /// Ends an answer.
    pub eos: Option<Ids>,
    /// Starts a text.
    pub bos: Option<Ids>,
    /// Fills rows.
    pub pad: Option<Ids>,
}

/// Gathers what the files say, the more telling file first; ids are held against the vocabulary.
#[derive(Debug)]
pub struct Gatherer {
    vocab_size: usize,
    made: Generation,
}

impl Gatherer {
    /// Nothing known yet.
    pub fn new(vocab_size: usize) -> Self {
        Self { vocab_size, made: Generation::default() }
    }

    /// What has been gathered.
    pub fn finish(self) -> Generation {
        self.made
    }

    /// Adds token ids; the first bos and pad win, end tokens are united.
    ///
    /// # Errors
    /// An id outside the vocabulary (-1 stands for none).
    pub fn ids(&mut self, file: &str, prefix: &str, ids: &TokenIds) -> Result<(), BundleError> {
        let eos = self.valid(file, &format!("{prefix}eos_token_id"), ids.eos.as_ref())?;
        for id in eos {
            if !self.made.eos.contains(&id) {
                self.made.eos.push(id);
            }
        }
        let bos = self.valid(file, &format!("{prefix}bos_token_id"), ids.bos.as_ref())?;
        self.made.bos = self.made.bos.or(bos.first().copied());
        let pad = self.valid(file, &format!("{prefix}pad_token_id"), ids.pad.as_ref())?;
        self.made.pad = self.made.pad.or(pad.first().copied());
        Ok(())
    }

    /// Adds a whole file; what earlier ones said stays.
    ///
    /// # Errors
    /// A figure outside the range that sampling knows.
    pub fn file(
        &mut self,
        file: &str,
        prefix: &str,
        says: &GenerationFile,
    ) -> Result<(), BundleError> {
        let ids = TokenIds {
            eos: says.eos_token_id.clone(),
            bos: says.bos_token_id.clone(),
            pad: says.pad_token_id.clone(),
        };
        self.ids(file, prefix, &ids)?;
        let place = |field| (file, format!("{prefix}{field}"));
        let temperature = match says.do_sample {
            Some(false) => Some(0.0),
            _ => ranged(place("temperature"), says.temperature, 0.0, 10.0, true)?,
        };
        let top_k =
            match says.top_k {
                None => None,
                // -1 is the other common way to say "all".
                Some(-1) => Some(0),
                Some(k) => Some(u32::try_from(k).map_err(|_| {
                    BundleError::field(file, format!("{prefix}top_k"), "0 or more", k)
                })?),
            };
        let here = SamplingDefaults {
            temperature,
            top_k,
            top_p: ranged(place("top_p"), says.top_p, 0.0, 1.0, false)?,
            min_p: ranged(place("min_p"), says.min_p, 0.0, 1.0, true)?,
            repetition_penalty: ranged(
                place("repetition_penalty"),
                says.repetition_penalty,
                0.0,
                10.0,
                false,
            )?,
        };
        let made = &mut self.made;
        let max_length = says.max_length.and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
        made.max_length = made.max_length.or(max_length);
        made.sampling = made.sampling.or(here);
        Ok(())
    }

    fn valid(&self, file: &str, field: &str, ids: Option<&Ids>) -> Result<Vec<u32>, BundleError> {
        let limit = i64::try_from(self.vocab_size).unwrap_or(i64::MAX);
        ids.map_or(&[][..], Ids::as_slice)
            .iter()
            .filter(|&&id| id != -1)
            .map(|&id| match u32::try_from(id) {
                Ok(ok) if id < limit => Ok(ok),
                _ => {
                    let expected = format!("a token id below {limit}, the vocabulary's size");
                    Err(BundleError::field(file, field, expected, id))
                }
            })
            .collect()
    }
}

impl SamplingDefaults {
    fn or(self, other: Self) -> Self {
        Self {
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
        }
    }
}

fn ranged(
    (file, field): (&str, String),
    value: Option<f64>,
    low: f64,
    high: f64,
    low_included: bool,
) -> Result<Option<f32>, BundleError> {
    match value {
        None => Ok(None),
        Some(v) if v <= high && (v > low || (low_included && v == low)) => Ok(Some(v as f32)),
        Some(v) => {
            let above = if low_included { "at least" } else { "above" };
            Err(BundleError::field(file, field, format!("{above} {low}, at most {high}"), v))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(texts: &[&str]) -> Result<Generation, BundleError> {
        let mut gatherer = Gatherer::new(100);
        for text in texts {
            let file = super::super::files::parse_json("g.json", text.as_bytes())?;
            gatherer.file("g.json", "", &file)?;
        }
        Ok(gatherer.finish())
    }

    #[test]
    fn end_tokens_are_united_and_the_first_file_wins() {
        let made = gather(&[
            r#"{"eos_token_id": [7, 8], "bos_token_id": 1, "temperature": 0.5, "pad_token_id": -1}"#,
            r#"{"eos_token_id": 8, "bos_token_id": 2, "temperature": 1.0, "top_k": 50, "extra": {}}"#,
        ])
        .expect("sound");
        assert_eq!((made.eos, made.bos, made.pad), (vec![7, 8], Some(1), None));
        assert_eq!((made.sampling.temperature, made.sampling.top_k), (Some(0.5), Some(50)));
    }

    #[test]
    fn no_sampling_means_greedy() {
        let made = gather(&[r#"{"do_sample": false, "temperature": 1.0}"#]).expect("sound");
        assert_eq!(made.sampling.temperature, Some(0.0));
        assert_eq!(gather(&["{}"]).expect("sound").sampling.temperature, None);
    }

    #[test]
    fn figures_out_of_range_name_file_and_field() {
        let refusal = |text: &str| gather(&[text]).expect_err("refused").to_string();
        assert_eq!(
            refusal(r#"{"eos_token_id": [1, 100]}"#),
            "g.json: eos_token_id: expected a token id below 100, the vocabulary's size, found 100"
        );
        assert!(refusal(r#"{"top_p": 0.0}"#).contains("top_p: expected above 0"));
        assert!(refusal(r#"{"temperature": -1}"#).contains("temperature"));
        assert!(refusal(r#"{"top_k": -2}"#).contains("top_k"));
        assert!(refusal(r#"{"eos_token_id": "x"}"#).contains("a token id or a list"));
    }
}
