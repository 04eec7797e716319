//! Where values come from: flags over environment over files, each parsed by the same types.
//!
//! A variable or flag becomes a one-line TOML document, so that there is one set of rules.

use super::diagnostic::{Diagnostic, diagnose_toml};
use super::environment::Environment;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::keys::{KEYS, Key, Kind};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The file that is read when none is named, if it is there.
pub const DEFAULT_CONFIG: &str = "/etc/slmd/config.toml";
/// The most bytes of one file.
const FILE_LIMIT: u64 = 4 << 20;

/// Where a value in force comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// slmd's own default.
    Default,
    /// The board's profile, by name.
    Board(String),
    /// A file, with its line.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Board(name) => write!(f, "board {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value in force, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Its origin.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// A value from `origin`.
    pub const fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// One file, variable or flag.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub place: Place,
    pub text: String,
    pub file: ConfigFile,
}

#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Variable(String),
    Flag(String),
}

impl Source {
    fn parse(place: Place, text: String) -> Result<Self, ConfigError> {
        match toml::from_str(&text) {
            Ok(file) => Ok(Self { place, text, file }),
            Err(e) => {
                let name = match &place {
                    Place::File(path) => path.display().to_string(),
                    Place::Variable(name) | Place::Flag(name) => {
                        let problem = e.message().to_owned();
                        return Err(ConfigError::Value { origin: name.clone(), problem });
                    }
                };
                Err(diagnose_toml(&name, &text, &e).into())
            }
        }
    }

    /// The origin of what was written at `at`.
    pub(super) fn origin<T>(&self, at: &Spanned<T>) -> Origin {
        match &self.place {
            Place::File(path) => {
                let (line, _) = crate::bundle::line_column(&self.text, at.span().start);
                Origin::File(path.clone(), line)
            }
            Place::Variable(name) => Origin::Variable(name.clone()),
            Place::Flag(name) => Origin::Flag(name.clone()),
        }
    }

    /// An error about what was written at `at`.
    pub(super) fn refuse<T>(&self, at: &Spanned<T>, problem: impl Into<String>) -> ConfigError {
        match &self.place {
            Place::File(path) => {
                Diagnostic::at(&path.display().to_string(), &self.text, at.span(), problem).into()
            }
            Place::Variable(name) | Place::Flag(name) => {
                ConfigError::Value { origin: name.clone(), problem: problem.into() }
            }
        }
    }
}

/// Everything that was written, weakest source first; nothing checked yet but its form.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub(super) sources: Vec<Source>,
}

impl Config {
    /// Reads `file` (or [`DEFAULT_CONFIG`], if that exists) with the `conf.d/*.toml` beside it in
    /// the order of their names, then `SLMD_*` of `environment`, then `flags`: pairs of a key's
    /// dotted path and its value as text.
    ///
    /// # Errors
    /// [`ConfigError`]: a named file that is absent, a syntax error, an unknown key.
    pub fn load(
        file: Option<&Path>,
        environment: &Environment,
        flags: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let mut sources = Vec::new();
        let main = match (file, Path::new(DEFAULT_CONFIG)) {
            (Some(path), _) => Some(path),
            (None, default) => Some(default).filter(|p| p.exists()),
        };
        let folder = main.unwrap_or(Path::new(DEFAULT_CONFIG)).parent().unwrap_or(Path::new(""));
        for path in main.map(Path::to_owned).into_iter().chain(drop_ins(folder)?) {
            sources.push(Source::parse(Place::File(path.clone()), read(&path)?)?);
        }
        for key in KEYS {
            let name = key.variable();
            if let Some(value) = environment.get(&name) {
                sources.push(Source::parse(Place::Variable(name), snippet(key, value))?);
            }
        }
        for (path, value) in flags {
            let key = Key::find(path).ok_or_else(|| ConfigError::Value {
                origin: (*path).to_owned(),
                problem: "no such key".into(),
            })?;
            let name = format!("--{}", path.rsplit('.').next().unwrap_or(path));
            sources.push(Source::parse(Place::Flag(name), snippet(key, value))?);
        }
        Ok(Self { sources })
    }

    /// The files that were read.
    pub fn files(&self) -> Vec<&Path> {
        self.sources
            .iter()
            .filter_map(|s| match &s.place {
                Place::File(path) => Some(path.as_path()),
                Place::Variable(_) | Place::Flag(_) => None,
            })
            .collect()
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let shown = path.display().to_string();
    let failed = |problem: String| ConfigError::Read { file: shown.clone(), problem };
    let bytes = crate::bundle::files::read_file(path, FILE_LIMIT).map_err(|e| {
        let text = e.to_string();
        failed(text.strip_prefix(&format!("{shown}: ")).unwrap_or(&text).to_owned())
    })?;
    let bytes = bytes.ok_or_else(|| failed("not found".into()))?;
    String::from_utf8(bytes)
        .map_err(|e| failed(format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to())))
}

/// `conf.d/*.toml` of `folder`, sorted.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = folder.join("conf.d");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            let file = dir.display().to_string();
            return Err(ConfigError::Read { file, problem: e.to_string() });
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// A TOML line that sets `key` to `value`.
fn snippet(key: &Key, value: &str) -> String {
    let quote = |s: &str| toml::Value::String(s.to_owned()).to_string();
    let written = match key.kind {
        // What is no number becomes a string, which the parser then refuses by its type.
        Kind::Integer => {
            value.trim().parse::<i64>().map_or_else(|_| quote(value), |n| n.to_string())
        }
        Kind::List => {
            let items = value.split(',').map(str::trim).filter(|s| !s.is_empty());
            format!("[{}]", items.map(quote).collect::<Vec<_>>().join(", "))
        }
        // As above: what is neither becomes a string.
        Kind::Boolean => match value.trim() {
            word @ ("true" | "false") => word.to_owned(),
            other => quote(other),
        },
        Kind::Text | Kind::Path | Kind::Size => quote(value),
    };
    format!("{} = {written}\n", key.path)
}
