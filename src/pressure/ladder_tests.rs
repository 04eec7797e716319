use super::*;
use proptest::prelude::*;

const DWELL_MS: u64 = 20_000;
const BOUNDS: Bounds =
    Bounds { enter: [Some(70_000), Some(75_000), Some(80_000), Some(85_000)], hysteresis: 3_000 };

fn zone(value: i32) -> Gauge {
    gauge("zone", value)
}

fn gauge(name: &str, value: i32) -> Gauge {
    Gauge { name: name.into(), value, bounds: BOUNDS, shown: format!("{name} at {value}") }
}

/// The levels of a signal that is read every two seconds.
fn levels(values: &[i32]) -> Vec<Level> {
    let mut ladder = Ladder::new(DWELL_MS);
    let step = |(i, value): (usize, &i32)| ladder.step(i as u64 * 2_000, &[zone(*value)]);
    values.iter().enumerate().map(step).collect()
}

#[test]
fn each_level_is_entered_at_its_bound() {
    let climbed = levels(&[40_000, 69_999, 70_000, 75_000, 80_000, 85_000, 120_000]);
    let [warm, hot, severe, critical] = LEVELS;
    let normal = Level::Normal;
    assert_eq!(climbed, [normal, normal, warm, hot, severe, critical, critical]);
}

#[test]
fn a_level_is_left_below_its_hysteresis_and_after_its_dwell() {
    let mut ladder = Ladder::new(DWELL_MS);
    assert_eq!(ladder.step(0, &[zone(75_000)]), Level::Hot);
    assert_eq!(ladder.step(60_000, &[zone(72_000)]), Level::Hot, "still within the hysteresis");
    assert_eq!(ladder.step(61_000, &[zone(71_999)]), Level::Hot, "not soon");
    assert_eq!(ladder.step(79_999, &[zone(71_999)]), Level::Hot);
    assert_eq!(ladder.step(80_000, &[zone(71_999)]), Level::Warm, "the next one holds");
    assert_eq!((ladder.since_ms(), ladder.why()), (80_000, Some("zone at 71999")));
    assert_eq!(ladder.step(99_999, &[zone(20_000)]), Level::Warm);
    assert_eq!(ladder.step(100_000, &[zone(20_000)]), Level::Normal);
    assert_eq!(ladder.why(), None);
}

#[test]
fn the_worst_gauge_decides_and_one_that_vanishes_asks_for_nothing() {
    let mut ladder = Ladder::new(DWELL_MS);
    assert_eq!(ladder.step(0, &[zone(71_000), gauge("gpu", 81_000)]), Level::Severe);
    assert_eq!(ladder.why(), Some("gpu at 81000"));
    assert_eq!(ladder.step(2_000, &[zone(71_000)]), Level::Severe);
    assert_eq!(ladder.step(DWELL_MS, &[zone(71_000)]), Level::Warm);
}

#[test]
fn a_bound_that_is_missing_is_never_reached() {
    let bounds = Bounds { enter: [None, Some(10), None, None], hysteresis: 1 };
    let gauge = Gauge { bounds, ..zone(i32::MAX) };
    assert_eq!(Ladder::new(0).step(0, &[gauge]), Level::Hot);
}

#[test]
fn every_level_presses_at_least_as_hard_as_the_one_below() {
    let all = [Level::Normal, Level::Warm, Level::Hot, Level::Severe, Level::Critical];
    for (low, high) in all.iter().zip(&all[1..]) {
        let (low, high) = (low.pressure(), high.pressure());
        assert!(low.stretch_percent < high.stretch_percent && high.rest_percent < 100);
        assert!(low.background_percent >= high.background_percent);
        assert!(low.rest_percent <= high.rest_percent);
    }
    assert_eq!(Level::Critical.pressure().background_percent, 0);
}

proptest! {
    #[test]
    fn a_wobble_within_the_hysteresis_changes_the_level_once_at_most(
        values in proptest::collection::vec(72_000..80_000i32, 1..300),
        gaps in proptest::collection::vec(1..100_000u64, 300),
    ) {
        let (mut ladder, mut now, mut changes) = (Ladder::new(DWELL_MS), 0, 0);
        // Warm already; what wobbles around the bound of `hot` is within [bound - 3, next bound).
        let mut level = ladder.step(now, &[zone(72_000)]);
        for (value, gap) in values.iter().zip(gaps) {
            now += gap;
            let next = ladder.step(now, &[zone(*value)]);
            changes += u32::from(next != level);
            level = next;
        }
        prop_assert!(changes <= 1, "{changes} changes");
    }

    #[test]
    fn more_heat_is_never_a_lower_level(
        pairs in proptest::collection::vec((20_000..100_000i32, 0..20_000i32), 1..300),
    ) {
        let cool: Vec<i32> = pairs.iter().map(|(value, _)| *value).collect();
        let hot: Vec<i32> = pairs.iter().map(|(value, more)| value + more).collect();
        for (cool, hot) in levels(&cool).into_iter().zip(levels(&hot)) {
            prop_assert!(cool <= hot);
        }
    }
}
