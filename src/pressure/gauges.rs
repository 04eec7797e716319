//! What was read, set against its bounds.

use super::ladder::{Bounds, Gauge};
use super::reader::{Reading, Trips, Zone};

/// Which thermal zones count, and from where on they mean which level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thermal {
    /// Types of zones; none: all that have bounds.
    pub zones: Vec<String>,
    /// Of warm, hot, severe, critical, in thousandths of a degree Celsius; what is missing follows
    /// from the zone's own trip points.
    pub enter_milli_c: [Option<i32>; 4],
    /// How far below its bound a level is left, in thousandths of a degree.
    pub hysteresis_milli_c: i32,
}

/// Warm is so far below the kernel's first passive trip point, in thousandths of a degree.
const BEFORE_PASSIVE: i32 = 5_000;
/// Between two levels of a zone that has a passive trip point only, or a critical one only.
const STEP: i32 = 5_000;

/// Per cent of the time in which some task waited for memory (thousandths, over ten seconds): above
/// the first figure steps are late, at the last the machine thrashes.
const MEMORY_STALL: Bounds =
    Bounds { enter: [Some(10_000), Some(30_000), Some(60_000), None], hysteresis: 5_000 };
/// Readings in a row (thousandths) with a clock that is held back: one alone is a governor at work.
const THROTTLED: Bounds = Bounds { enter: [Some(3_000), None, None, None], hysteresis: 0 };
/// Per cent drained (thousandths) of a battery that is not being charged.
const DRAINED: Bounds =
    Bounds { enter: [None, Some(85_000), None, Some(95_000)], hysteresis: 3_000 };
/// A switch that asks for `severe`: less work is less current.
const UNDERVOLTAGE: Bounds = Bounds { enter: [None, None, Some(1), None], hysteresis: 0 };

/// Everything that may ask for a level. `throttled_reads`: how often in a row the clock was held
/// back.
pub fn gauges(reading: &Reading, throttled_reads: u32, thermal: &Thermal) -> Vec<Gauge> {
    let mut all: Vec<Gauge> = reading.zones.iter().filter_map(|z| zone(z, thermal)).collect();
    if let Some(percent) = reading.memory_stall_percent {
        let shown = format!("{percent:.1} % of the time some task waits for memory");
        all.push(gauge("memory stall", thousandths(percent), MEMORY_STALL, shown));
    }
    let reads = i32::try_from(throttled_reads).unwrap_or(i32::MAX).saturating_mul(1000);
    let shown = "the processor's clock is held back".to_owned();
    all.push(gauge("clock", reads, THROTTLED, shown));
    if let Some(battery) = reading.battery.filter(|b| b.is_discharging) {
        let drained = if battery.is_critical { 100 } else { 100 - i32::from(battery.percent) };
        let shown = format!("battery at {} %", battery.percent);
        all.push(gauge("battery", drained * 1000, DRAINED, shown));
    }
    let shown = "the supply voltage is too low".to_owned();
    all.push(gauge("voltage", i32::from(reading.is_undervolted), UNDERVOLTAGE, shown));
    all
}

fn gauge(name: &str, value: i32, bounds: Bounds, shown: String) -> Gauge {
    Gauge { name: name.to_owned(), value, bounds, shown }
}

fn thousandths(value: f32) -> i32 {
    (value * 1000.0) as i32
}

fn zone(zone: &Zone, thermal: &Thermal) -> Option<Gauge> {
    if !thermal.zones.is_empty() && !thermal.zones.iter().any(|name| *name == *zone.kind) {
        return None;
    }
    let own = by_trips(zone.trips);
    let enter: [Option<i32>; 4] = std::array::from_fn(|i| thermal.enter_milli_c[i].or(own[i]));
    let hysteresis = thermal.hysteresis_milli_c;
    enter.iter().any(Option::is_some).then(|| Gauge {
        name: zone.name.to_string(),
        value: zone.milli_c,
        bounds: Bounds { enter, hysteresis },
        shown: format!("{} at {:.1} C", zone.kind, f64::from(zone.milli_c) / 1000.0),
    })
}

/// Passive: the kernel begins to hold the processor back. Critical: it shuts down.
fn by_trips(trips: Trips) -> [Option<i32>; 4] {
    match (trips.passive_milli_c, trips.critical_milli_c) {
        (Some(passive), Some(critical)) if critical > passive => {
            let third = (critical - passive) / 3;
            [passive - BEFORE_PASSIVE, passive, passive + third, passive + 2 * third].map(Some)
        }
        (Some(passive), _) => {
            [passive - BEFORE_PASSIVE, passive, passive + STEP, passive + 2 * STEP].map(Some)
        }
        (None, Some(critical)) => [5, 4, 3, 2].map(|steps| Some(critical - steps * STEP)),
        (None, None) => [None; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Battery, Ladder, Level};
    use super::*;

    fn level(reading: &Reading, throttled_reads: u32, thermal: &Thermal) -> Level {
        Ladder::new(0).step(0, &gauges(reading, throttled_reads, thermal))
    }

    fn at(kind: &str, milli_c: i32, passive: Option<i32>, critical: Option<i32>) -> Reading {
        let trips = Trips { passive_milli_c: passive, critical_milli_c: critical };
        let zone = Zone { name: kind.into(), kind: kind.into(), milli_c, trips };
        Reading { zones: vec![zone], ..Reading::default() }
    }

    #[test]
    fn trip_points_make_bounds_where_nobody_gives_any() {
        let own = Thermal { hysteresis_milli_c: 3_000, ..Thermal::default() };
        let (passive, critical) = (Some(85_000), Some(115_000));
        for (milli_c, expected) in [
            (79_999, Level::Normal),
            (80_000, Level::Warm),
            (85_000, Level::Hot),
            (95_000, Level::Severe),
            (105_000, Level::Critical),
        ] {
            assert_eq!(level(&at("soc", milli_c, passive, critical), 0, &own), expected);
        }
        assert_eq!(level(&at("soc", 95_000, passive, None), 0, &own), Level::Critical);
        assert_eq!(level(&at("soc", 85_000, None, Some(110_000)), 0, &own), Level::Warm);
        assert_eq!(level(&at("soc", 140_000, None, None), 0, &own), Level::Normal);
    }

    #[test]
    fn bounds_that_are_given_win_over_trip_points_each_by_itself() {
        let mut thermal = Thermal { hysteresis_milli_c: 3_000, ..Thermal::default() };
        thermal.enter_milli_c[2] = Some(60_000);
        let reading = at("soc", 60_000, Some(85_000), Some(115_000));
        assert_eq!(level(&reading, 0, &thermal), Level::Severe);
        thermal.zones = vec!["cpu".into()];
        assert_eq!(level(&reading, 0, &thermal), Level::Normal, "another zone");
        thermal.zones.push("soc".into());
        assert_eq!(level(&reading, 0, &thermal), Level::Severe);
    }

    #[test]
    fn what_is_no_heat_asks_for_levels_too() {
        let thermal = Thermal::default();
        let stalled =
            |percent| Reading { memory_stall_percent: Some(percent), ..Reading::default() };
        assert_eq!(level(&stalled(9.9), 0, &thermal), Level::Normal);
        assert_eq!(level(&stalled(30.0), 0, &thermal), Level::Hot);
        assert_eq!(level(&Reading::default(), 2, &thermal), Level::Normal);
        assert_eq!(level(&Reading::default(), 3, &thermal), Level::Warm);
        let undervolted = Reading { is_undervolted: true, ..Reading::default() };
        assert_eq!(level(&undervolted, 0, &thermal), Level::Severe);
        let battery = |percent, is_discharging, is_critical| Reading {
            battery: Some(Battery { percent, is_discharging, is_critical }),
            ..Reading::default()
        };
        assert_eq!(level(&battery(4, true, false), 0, &thermal), Level::Critical);
        assert_eq!(level(&battery(4, false, true), 0, &thermal), Level::Normal, "it is charged");
        assert_eq!(level(&battery(15, true, false), 0, &thermal), Level::Hot);
        assert_eq!(level(&battery(50, true, true), 0, &thermal), Level::Critical);
    }
}
