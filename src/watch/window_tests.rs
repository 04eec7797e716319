//! A window against a plain recomputation over the same samples.

use super::*;
use proptest::prelude::*;

/// The same figures from all samples at once, in two passes.
fn plain(samples: &[(u64, f64)]) -> [Option<f64>; 6] {
    let n = samples.len() as f64;
    let Some(&(first, _)) = samples.first() else { return [None; 6] };
    let t = |at: u64| (at - first) as f64 / 1000.0;
    let mean = samples.iter().map(|s| s.1 / n).sum::<f64>();
    let mean_t = samples.iter().map(|s| t(s.0)).sum::<f64>() / n;
    let stt: f64 = samples.iter().map(|s| (t(s.0) - mean_t).powi(2)).sum();
    let stx: f64 = samples.iter().map(|s| (t(s.0) - mean_t) * (s.1 - mean)).sum();
    let sxx: f64 = samples.iter().map(|s| (s.1 - mean).powi(2)).sum();
    [
        samples.iter().map(|s| s.1).reduce(f64::min),
        samples.iter().map(|s| s.1).reduce(f64::max),
        Some(mean),
        samples.last().map(|s| s.1),
        (stt > 0.0).then(|| stx / stt),
        (samples.len() > 1).then(|| (sxx / (n - 1.0)).sqrt()),
    ]
}

/// To 1e-9 of the largest value in the window, which is what the figures can be known to.
fn assert_same(stats: &Stats, samples: &[(u64, f64)]) {
    assert_eq!(stats.count, samples.len() as u64);
    let scale = samples.iter().map(|s| s.1.abs()).fold(0.0, f64::max);
    let spread = samples.last().map_or(1.0, |l| (l.0 - samples[0].0).max(1) as f64 / 1000.0);
    for ((name, got), expected) in stats.named().into_iter().zip(plain(samples)) {
        // A slope is a value by a time.
        let unit = if name == "slope" { scale / spread } else { scale };
        match (got, expected) {
            (Some(a), Some(b)) => {
                assert!((a - b).abs() <= 1e-9 * unit.max(b.abs()), "{name}: {a} is not {b}");
            }
            (a, b) => assert_eq!(a, b, "{name}"),
        }
    }
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -100.0..100.0f64,
        1 => Just(7.25),
        1 => (-1.0..1.0f64, -150..150i32).prop_map(|(m, e)| m * 10f64.powi(e)),
        1 => (0..1000u32).prop_map(|n| 1e12 + f64::from(n)),
        1 => Just(1e150),
        1 => Just(-0.0),
    ]
}

/// Gaps in milliseconds: bursts, a steady rate, pauses.
fn gaps() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 4 => 900u64..1100, 1 => 20_000u64..90_000]
}

proptest! {
    #[test]
    fn a_window_by_time_is_a_plain_recomputation(
        start in prop_oneof![Just(0u64), Just(1 << 45)],
        samples in proptest::collection::vec((gaps(), values()), 1..300),
    ) {
        // A second a block: bursts stay below 32 samples almost always, or are skipped.
        let window_ms = 64_000;
        let mut window = Window::new(WindowSpec::Time(window_ms));
        let (mut now, mut all) = (start, Vec::new());
        for (gap, x) in samples {
            now += gap;
            all.push((now, x));
            window.push(now, x);
            if window.blocks.iter().any(|b| b.raw.is_none()) {
                break;
            }
            let young: Vec<_> = all.iter().copied().filter(|s| now - s.0 < window_ms).collect();
            assert_same(&window.stats(now), &young);
            prop_assert!(window.blocks.len() as u64 <= BLOCKS + 2);
        }
    }

    #[test]
    fn a_window_by_count_is_a_plain_recomputation(
        most in 1u32..200,
        samples in proptest::collection::vec((gaps(), values()), 1..300),
    ) {
        let mut window = Window::new(WindowSpec::Count(most));
        let (mut now, mut all) = (0, Vec::new());
        for (gap, x) in samples {
            now += gap;
            all.push((now, x));
            window.push(now, x);
            let from = all.len().saturating_sub(most as usize);
            assert_same(&window.stats(now), &all[from..]);
        }
    }

    #[test]
    fn at_any_rate_memory_is_bounded_and_the_edge_is_a_64th(
        window_ms in 1u64..5_000,
        gaps in proptest::collection::vec(0u64..3, 2_000..6_000),
    ) {
        let mut window = Window::new(WindowSpec::Time(window_ms));
        let (mut now, mut all) = (0, Vec::new());
        for (i, gap) in gaps.into_iter().enumerate() {
            now += gap;
            all.push(now);
            window.push(now, i as f64);
        }
        prop_assert!(window.blocks.len() as u64 <= BLOCKS + 2);
        let raw: usize = window.blocks.iter().filter_map(|b| b.raw.as_ref()).map(|r| r.len()).sum();
        prop_assert!(raw <= (BLOCKS as usize + 2) * RAW_PER_BLOCK);
        let younger = |ms: u64| all.iter().filter(|&&at| now - at < ms).count() as u64;
        let count = window.stats(now).count;
        prop_assert!(count >= younger(window_ms));
        prop_assert!(count <= younger(window_ms + window_ms.div_ceil(BLOCKS)));
    }
}

#[test]
fn a_spike_that_has_left_leaves_no_trace() {
    let mut window = Window::new(WindowSpec::Time(10_000));
    for i in 0..100_000u64 {
        let x = if i % 1000 == 0 { 1e150 } else { 1.0 + (i % 7) as f64 };
        window.push(i * 1000, x);
    }
    let stats = window.stats(99_999_000);
    let expected: Vec<_> = (99_990..100_000u64).map(|i| (i * 1000, 1.0 + (i % 7) as f64)).collect();
    assert_same(&stats, &expected);
}

#[test]
fn samples_leave_as_time_passes() {
    let mut window = Window::new(WindowSpec::Time(1_000));
    window.push(0, 5.0);
    window.push(400, 1.0);
    assert_eq!(window.next_change_ms(), Some(1_000));
    assert_eq!(window.stats(999).max, Some(5.0));
    let later = window.stats(1_000);
    assert_eq!((later.count, later.max, later.age_s), (1, Some(1.0), 0.6));
    assert_eq!((later.slope, later.stddev), (None, None));
    let empty = window.stats(1_400);
    assert_eq!((empty.count, empty.last, empty.age_s, empty.span_s), (0, None, 1.0, 0.0));
    assert_eq!(window.next_change_ms(), None);
}
