//! `[thermal]`, checked: which temperatures mean how much pressure.

use super::error::ConfigError;
use super::file::{ConfigFile, Value};
use super::settings::narrow;
use super::show::{Entry, entry};
use super::source::{Config, Origin, Sourced};
use serde::Deserialize;
use toml::Spanned;

/// How far below its bound a level is left, in degrees Celsius, where nobody says.
const HYSTERESIS_C: i64 = 3;

/// `[thermal]`; see [`super::KEYS`] for each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ThermalSection {
    pub zones: Value<Vec<String>>,
    pub warm_c: Value<i64>,
    pub hot_c: Value<i64>,
    pub severe_c: Value<i64>,
    pub critical_c: Value<i64>,
    pub hysteresis_c: Value<i64>,
}

/// `[thermal]` of a board's profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ThermalDefaults {
    /// Types of the zones that count; none: all.
    #[serde(default)]
    pub zones: Vec<String>,
    /// From here on promises are made more carefully, in degrees Celsius.
    pub warm_c: Option<u8>,
    /// From here on background work makes room.
    pub hot_c: Option<u8>,
    /// From here on slmd rests between steps.
    pub severe_c: Option<u8>,
    /// From here on background work pauses.
    pub critical_c: Option<u8>,
    /// How far below its bound a level is left, in degrees.
    pub hysteresis_c: Option<u8>,
}

impl ThermalDefaults {
    /// The bounds of warm, hot, severe and critical.
    pub const fn enter_c(&self) -> [Option<u8>; 4] {
        [self.warm_c, self.hot_c, self.severe_c, self.critical_c]
    }
}

/// `[thermal]` in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThermalSettings {
    /// Types of the zones that count; none: all.
    pub zones: Sourced<Vec<String>>,
    /// The bounds of warm, hot, severe and critical, in degrees Celsius; none: as the zone's own
    /// trip points have it.
    pub enter_c: [Sourced<Option<u8>>; 4],
    /// How far below its bound a level is left, in degrees.
    pub hysteresis_c: Sourced<u8>,
}

type Get = fn(&ConfigFile) -> Option<&Spanned<i64>>;

/// The bounds, in rising order.
const BOUNDS: [(&str, Get); 4] = [
    ("thermal.warm-c", |f| f.thermal.warm_c.as_ref()),
    ("thermal.hot-c", |f| f.thermal.hot_c.as_ref()),
    ("thermal.severe-c", |f| f.thermal.severe_c.as_ref()),
    ("thermal.critical-c", |f| f.thermal.critical_c.as_ref()),
];

impl Config {
    pub(super) fn thermal(
        &self,
        board: &str,
        own: &ThermalDefaults,
    ) -> Result<ThermalSettings, ConfigError> {
        let by_board = || Origin::Board(board.to_owned());
        let zones = match own.zones.is_empty() {
            true => self.list(|f| f.thermal.zones.as_ref(), &[])?,
            false => match self.pick(|f| f.thermal.zones.as_ref()) {
                None => Sourced::new(own.zones.clone(), by_board()),
                Some(_) => self.list(|f| f.thermal.zones.as_ref(), &[])?,
            },
        };
        let mut enter_c = [const { Sourced::new(None, Origin::Default) }; 4];
        for (i, (_, get)) in BOUNDS.iter().enumerate() {
            enter_c[i] = match (self.integer(*get, 1..=150)?, own.enter_c()[i]) {
                (Some(written), _) => {
                    let written: Sourced<u8> = narrow(written);
                    Sourced::new(Some(written.value), written.origin)
                }
                (None, Some(own)) => Sourced::new(Some(own), by_board()),
                (None, None) => continue,
            };
        }
        self.check_rising(&enter_c)?;
        let hysteresis = self.integer(|f| f.thermal.hysteresis_c.as_ref(), 1..=30)?;
        let hysteresis_c = narrow(hysteresis.unwrap_or_else(|| match own.hysteresis_c {
            Some(own) => Sourced::new(own.into(), by_board()),
            None => Sourced::new(HYSTERESIS_C, Origin::Default),
        }));
        Ok(ThermalSettings { zones, enter_c, hysteresis_c })
    }

    /// A higher level begins at a higher temperature.
    fn check_rising(&self, enter_c: &[Sourced<Option<u8>>; 4]) -> Result<(), ConfigError> {
        let known: Vec<(usize, u8)> = (0..4).filter_map(|i| Some((i, enter_c[i].value?))).collect();
        for pair in known.windows(2) {
            let [(low, low_c), (high, high_c)] = [pair[0], pair[1]];
            if low_c < high_c {
                continue;
            }
            let [(low_key, low_get), (high_key, high_get)] = [BOUNDS[low], BOUNDS[high]];
            let (low_from, high_from) = (&enter_c[low].origin, &enter_c[high].origin);
            let problem = format!(
                "{low_key} is {low_c} ({low_from}), and {high_key} must be more: it is {high_c} \
                 ({high_from})"
            );
            // A board's own bounds rise, so that one of the two was written.
            return match self.pick(high_get).or_else(|| self.pick(low_get)) {
                Some((source, at)) => Err(source.refuse(at, problem)),
                None => Err(ConfigError::Unset { key: "thermal", problem }),
            };
        }
        Ok(())
    }
}

impl ThermalSettings {
    pub(super) fn entries(&self) -> Vec<Entry> {
        let degrees = |c: &Option<u8>| c.map_or("-".into(), |c| c.to_string());
        let bounds = BOUNDS.iter().zip(&self.enter_c);
        let mut all = vec![entry("thermal.zones", &self.zones, |v| format!("{v:?}"))];
        all.extend(bounds.map(|((key, _), bound)| entry(key, bound, degrees)));
        all.push(entry("thermal.hysteresis-c", &self.hysteresis_c, u8::to_string));
        all
    }
}
