//! The sampler against a plain one that sorts everything in double precision.

use super::*;
use proptest::prelude::*;

const INF: f32 = f32::INFINITY;

fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(Sampling { seed: Some(7), ..sampling })
}

fn greedy(logits: &[f32]) -> Result<u32, SampleError> {
    let mut logits = logits.to_vec();
    sampler(Sampling::default()).sample(&mut logits, Seen::default()).map(|s| s.token)
}

/// Kept ids in order of likelihood, with probabilities; order of steps as documented.
fn reference(logits: &[f32], s: &Sampling) -> Vec<(usize, f64)> {
    let mut list: Vec<(usize, f64)> = logits
        .iter()
        .enumerate()
        .filter(|(_, l)| l.is_finite())
        .map(|(i, &l)| (i, f64::from(l) / f64::from(s.temperature)))
        .collect();
    list.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
    if s.top_k > 0 {
        list.truncate(s.top_k as usize);
    }
    let highest = list[0].1;
    list.iter_mut().for_each(|t| t.1 = (t.1 - highest).exp());
    let total: f64 = list.iter().map(|t| t.1).sum();
    // What the sampler leaves out as negligible, and says so.
    list.retain(|t| t.1 >= f64::from(-NEGLIGIBLE).exp() * 1.000_01);
    let mut before = 0.0;
    list.retain(|t| {
        let keep = s.top_p == 1.0 || before < f64::from(s.top_p) * total;
        before += t.1;
        keep
    });
    list.retain(|t| t.1 >= f64::from(s.min_p));
    let total: f64 = list.iter().map(|t| t.1).sum();
    list.iter_mut().for_each(|t| t.1 /= total);
    list
}

fn kept(logits: &[f32], sampling: Sampling) -> Vec<usize> {
    let highest = argmax(logits).unwrap().0;
    let kept = sampler(sampling).kept(logits, highest, 1.0 / sampling.temperature);
    (0..logits.len()).filter(|&i| kept.keeps(logits[i], i)).collect()
}

#[test]
fn greedy_takes_the_lowest_of_equals_and_survives_nonsense() {
    assert_eq!(greedy(&[1.0, 3.0, 3.0]), Ok(1));
    assert_eq!(greedy(&[f32::NAN, -INF, -5.0, f32::NAN]), Ok(2));
    assert_eq!(greedy(&[0.0, INF, INF]), Ok(1));
    for none in [&[][..], &[f32::NAN], &[-INF; 3]] {
        assert_eq!(greedy(none), Err(SampleError::NoToken));
        let warm = Sampling { temperature: 1.0, ..Sampling::default() };
        let drawn = sampler(warm).sample(&mut none.to_vec(), Seen::default());
        assert_eq!(drawn, Err(SampleError::NoToken));
    }
}

#[test]
fn infinite_logits_can_be_drawn() {
    let warm = Sampling { temperature: 1.0, top_p: 0.9, min_p: 0.1, ..Sampling::default() };
    let mut s = sampler(warm);
    for _ in 0..50 {
        let drawn = s.sample(&mut [0.0, INF, f32::NAN, INF, -INF], Seen::default()).unwrap();
        assert!([1, 3].contains(&drawn.token));
    }
}

#[test]
fn penalties_are_those_of_hugging_face_and_openai() {
    let all = Sampling {
        repetition_penalty: 2.0,
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        ..Sampling::default()
    };
    let mut logits = [4.0, -4.0, 1.0, 8.0, 1.0];
    let seen = Seen { prompt: &[0, 1, 1, 99], answer: &[0, 2, 2] };
    let drawn = sampler(all).with_logprobs(Some(0)).sample(&mut logits, seen).unwrap();
    assert_eq!(logits, [2.0 - 0.25 - 0.5, -8.0, 0.5 - 0.25 - 1.0, 8.0, 1.0]);
    assert_eq!(drawn.token, 3);
}

#[test]
fn logprobs_are_those_of_the_model() {
    let penalty = Sampling { frequency_penalty: 1.0, ..Sampling::default() };
    let mut logits = [2.0, 1.0, 0.0];
    let seen = Seen { prompt: &[], answer: &[0] };
    let drawn = sampler(penalty).with_logprobs(Some(0)).sample(&mut logits, seen).unwrap();
    assert_eq!(drawn.token, 0);
    let want = (2f64.exp() / (2f64.exp() + 1f64.exp() + 1.0)).ln() as f32;
    assert!((drawn.logprob.unwrap() - want).abs() < 1e-6);
}

#[test]
fn a_seed_fixes_the_tokens() {
    let warm = Sampling { temperature: 0.8, top_p: 0.95, top_k: 40, ..Sampling::default() };
    let logits: Vec<f32> = (0..1000u32).map(|i| (i * 7919 % 1000) as f32 / 100.0).collect();
    let mut s = sampler(warm);
    let mut draw = || s.sample(&mut logits.clone(), Seen::default()).unwrap().token;
    let tokens: Vec<u32> = (0..8).map(|_| draw()).collect();
    // Fixed on x86-64; any other value on another platform is a fault.
    assert_eq!(tokens, FIXED);
}

const FIXED: [u32; 8] = [704, 284, 889, 988, 988, 914, 99, 173];

#[test]
fn frequencies_are_the_probabilities() {
    let warm = Sampling { temperature: 1.3, min_p: 0.02, top_k: 6, ..Sampling::default() };
    let logits = [0.5, 2.0, -1.0, 1.0, 2.0, 0.0, -8.0, 1.5];
    let want = reference(&logits, &warm);
    let mut counts = [0u32; 8];
    let mut s = sampler(warm);
    const N: u32 = 40_000;
    for _ in 0..N {
        counts[s.sample(&mut logits.clone(), Seen::default()).unwrap().token as usize] += 1;
    }
    let chi: f64 = want
        .iter()
        .map(|&(i, p)| (f64::from(counts[i]) - p * f64::from(N)).powi(2) / (p * f64::from(N)))
        .sum();
    assert!(chi < 25.0, "{chi} {counts:?}");
    assert_eq!(want.iter().map(|w| counts[w.0]).sum::<u32>(), N);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn the_kept_tokens_are_those_of_the_reference(
        // Quarters: many ties, and sums that rounding does not touch much.
        quarters in proptest::collection::vec(-40i32..40, 1..400),
        temperature in 0.3f32..3.0, top_k in 0u32..80, top_p in 0.05f32..=1.0, min_p in 0.0f32..0.5,
        use_k in any::<bool>(), use_p in any::<bool>(), use_min in any::<bool>(),
    ) {
        let logits: Vec<f32> = quarters.iter().map(|&q| q as f32 / 4.0).collect();
        let sampling = Sampling {
            temperature,
            top_k: if use_k { top_k } else { 0 },
            top_p: if use_p { top_p } else { 1.0 },
            min_p: if use_min { min_p } else { 0.0 },
            ..Sampling::default()
        };
        let mut want: Vec<usize> = reference(&logits, &sampling).iter().map(|t| t.0).collect();
        want.sort_unstable();
        let got = kept(&logits, sampling);
        // A rounding of the mass may move the border by one token.
        let differ = want.iter().filter(|i| !got.contains(i)).count()
            + got.iter().filter(|i| !want.contains(i)).count();
        prop_assert!(differ <= usize::from(use_p), "{:?} {:?}", want, got);
    }

    #[test]
    fn any_bits_are_safe(
        bits in proptest::collection::vec(any::<u32>(), 0..200), temperature in 0.0f32..3.0,
        top_k in 0u32..50, top_p in 0.01f32..=1.0, min_p in 0.0f32..1.0,
        answer in proptest::collection::vec(0u32..300, 0..20),
    ) {
        let mut logits: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        let possible: Vec<bool> = logits.iter().map(|l| *l > f32::NEG_INFINITY).collect();
        let sampling = Sampling {
            temperature, top_k, top_p, min_p, repetition_penalty: 1.1, frequency_penalty: 0.3,
            presence_penalty: 0.2, seed: None,
        };
        let seen = Seen { prompt: &answer, answer: &answer };
        match sampler(sampling).sample(&mut logits, seen) {
            Ok(drawn) => prop_assert!(possible[drawn.token as usize]),
            Err(SampleError::NoToken) => {
                // Penalties may push the lowest finite logits over the edge.
                prop_assert!(logits.iter().all(|l| l.is_nan() || *l == f32::NEG_INFINITY));
            }
        }
    }
}

#[test]
fn the_likeliest_are_those_of_the_model_whatever_is_drawn() {
    let warm =
        Sampling { temperature: 5.0, repetition_penalty: 3.0, top_p: 0.5, ..Sampling::default() };
    let logits = [1.0, -INF, 2.0, 0.5, 2.0];
    let mut s = sampler(warm).with_logprobs(Some(3));
    let total: f64 = logits.iter().map(|l: &f32| f64::from(*l).exp()).sum();
    for _ in 0..20 {
        let seen = Seen { prompt: &[2], answer: &[0] };
        let drawn = s.sample(&mut logits.clone(), seen).unwrap();
        assert_eq!(s.top().iter().map(|(_, id)| *id).collect::<Vec<_>>(), [2, 4, 0]);
        for (logprob, id) in s.top().iter().copied().chain([(drawn.logprob.unwrap(), drawn.token)])
        {
            let want = f64::from(logits[id as usize]) - total.ln();
            assert!((f64::from(logprob) - want).abs() < 1e-6, "{id}: {logprob} for {want}");
        }
    }
    // One token is left: it is sure, and there is nothing beside it.
    let only = s.sample(&mut [-INF, 3.0, -INF], Seen::default()).unwrap();
    assert_eq!((only.token, only.logprob), (1, Some(0.0)));
    assert_eq!(s.top(), [(0.0, 1)]);
}

#[test]
fn the_largest_logits_have_finite_log_probabilities() {
    for highest in [f32::INFINITY, f32::MAX, 1e30, 1e9, -1e30] {
        let mut row = vec![f32::NEG_INFINITY; 200];
        (row[3], row[150]) = (highest, highest);
        let mut sampler = Sampler::new(Sampling::default()).with_logprobs(Some(0));
        let sampled = sampler.sample(&mut row, Seen::default()).expect("a token");
        let logprob = sampled.logprob.expect("asked for");
        assert!(!logprob.is_nan() && logprob > f32::NEG_INFINITY, "{highest}: {logprob}");
    }
}
