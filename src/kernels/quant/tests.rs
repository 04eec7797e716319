use proptest::prelude::*;

use super::*;

/// Deterministic noise in -1..1.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

struct Case {
    n: usize,
    k: usize,
    bits: usize,
    block: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Option<Vec<u8>>,
}

impl Case {
    fn new(n: usize, k: usize, bits: usize, block: usize, zeros: bool, seed: u64) -> Self {
        let mut next = noise(seed);
        let blocks = k.div_ceil(block);
        let mut bytes =
            |len: usize| (0..len).map(|_| ((next() + 1.0) * 127.9) as u8).collect::<Vec<_>>();
        let codes = bytes(n * blocks * block * bits / 8);
        let zeros = zeros.then(|| bytes(n * (blocks * bits).div_ceil(8)));
        let mut next = noise(seed ^ 77);
        // Every other case has scales that fit a half.
        let coarse = |scale: f32| {
            if seed.is_multiple_of(2) { (scale * 512.0).round() / 512.0 } else { scale }
        };
        let scales = (0..n * blocks).map(|_| coarse(next() * 0.1)).collect();
        Self { n, k, bits, block, codes, scales, zeros }
    }

    fn source(&self) -> QuantSource<'_> {
        QuantSource {
            n: self.n,
            k: self.k,
            bits: self.bits,
            block: self.block,
            codes: &self.codes,
            scales: &self.scales,
            zeros: self.zeros.as_deref(),
        }
    }
}

fn product(isa: Isa, pool: &Pool, weights: &QuantMatrix, x: &[f32], bias: &[f32]) -> Vec<f32> {
    let rows = x.len() / weights.k();
    let mut acts = Activations::default();
    acts.quantise(isa, x, rows, weights.k(), weights.act_group());
    let mut out = vec![f32::NAN; rows * weights.n()];
    matmul(isa, pool, weights, &acts, bias, &mut out);
    out
}

/// The product from the source's own floats and the activations' own codes.
fn expected(source: &QuantSource<'_>, x: &[f32], bias: &[f32]) -> Vec<f32> {
    let rows = x.len() / source.k;
    let mut acts = Activations::default();
    acts.quantise(Isa::Scalar, x, rows, source.k, source.block);
    let mut out = Vec::new();
    for row in 0..rows {
        for n in 0..source.n {
            let mut sum = 0f64;
            for k in 0..source.k {
                let act = f32::from(acts.codes(row)[k]) * acts.scales(row)[k / BLOCK];
                sum += f64::from(act) * f64::from(source.value(n, k));
            }
            out.push(sum as f32 + bias.get(n).copied().unwrap_or(0.0));
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_path_agrees_with_the_definition(
        n in 1usize..70, k in 1usize..200, rows in 1usize..30, eight in any::<bool>(),
        block in prop::sample::select(vec![32usize, 64, 128]), zeros in any::<bool>(),
        biased in any::<bool>(), threads in 1usize..4, seed in any::<u64>(),
    ) {
        let case = Case::new(n, k, if eight { 8 } else { 4 }, block, zeros, seed);
        let weights = QuantMatrix::pack(&case.source()).expect("a good source");
        let mut next = noise(seed ^ 3);
        let x: Vec<f32> = (0..rows * k).map(|_| next() * 3.0).collect();
        let bias: Vec<f32> = if biased { (0..n).map(|_| next()).collect() } else { vec![] };
        let want = expected(&case.source(), &x, &bias);
        let pool = Pool::new(threads).expect("threads");
        for isa in Isa::available() {
            let got = product(isa, &pool, &weights, &x, &bias);
            for (got, want) in got.iter().zip(&want) {
                let bound = 1e-5 * (k as f32).sqrt() * if eight { 16.0 } else { 1.0 };
                prop_assert!((got - want).abs() <= bound, "{isa:?}: {got} against {want}");
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(
        n in 1usize..40, k in 1usize..100, rows in 2usize..20, eight in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let case = Case::new(n, k, if eight { 8 } else { 4 }, 32, false, seed);
        let weights = QuantMatrix::pack(&case.source()).expect("a good source");
        let mut next = noise(seed ^ 5);
        let x: Vec<f32> = (0..rows * k).map(|_| next()).collect();
        let pool = Pool::new(1).expect("threads");
        for isa in Isa::available() {
            let all = product(isa, &pool, &weights, &x, &[]);
            for row in 0..rows {
                let one = product(isa, &pool, &weights, &x[row * k..(row + 1) * k], &[]);
                prop_assert_eq!(&all[row * n..(row + 1) * n], &one[..]);
            }
        }
    }
}

#[test]
fn fast_paths_equal_the_scalar_one_at_extreme_codes() {
    for (bits, fill) in [(4, 0xffu8), (4, 0), (8, 0xff), (8, 0)] {
        let (n, k) = (33, 96);
        let case = Case {
            codes: vec![fill; n * k * bits / 8],
            scales: vec![-0.5; n * 3],
            ..Case::new(n, k, bits, 32, false, 1)
        };
        let weights = QuantMatrix::pack(&case.source()).expect("a good source");
        let pool = Pool::new(1).expect("threads");
        for sign in [1.0, -1.0] {
            let x = vec![sign; 5 * k];
            let want = product(Isa::Scalar, &pool, &weights, &x, &[]);
            for isa in Isa::available() {
                assert_eq!(product(isa, &pool, &weights, &x, &[]), want, "{isa:?} {bits} bits");
            }
        }
    }
}

#[test]
fn rows_come_back_as_they_went_in() {
    for (bits, block, zeros) in [(4, 32, false), (4, 64, true), (8, 32, true), (8, 128, false)] {
        let case = Case::new(19, 77, bits, block, zeros, 9);
        let weights = QuantMatrix::pack(&case.source()).expect("a good source");
        let mut row = vec![0f32; 77];
        for n in 0..19 {
            weights.row(n, &mut row);
            for (k, value) in row.iter().enumerate() {
                let want = case.source().value(n, k);
                assert!((value - want).abs() <= want.abs() * 1e-6, "{value} against {want}");
            }
        }
    }
}

#[test]
fn scales_take_two_bytes_where_that_loses_nothing() {
    let bytes = |scale: f32| {
        let case = Case { scales: vec![scale; 16 * 2], ..Case::new(16, 64, 4, 32, false, 2) };
        QuantMatrix::pack(&case.source()).expect("a good source").bytes()
    };
    let tiny_but_short = 2f32.powi(-30) * 1.25;
    assert_eq!(bytes(tiny_but_short), 16 * 64 / 2 + 16 * 2 * 2);
    assert_eq!(bytes(0.1), 16 * 64 / 2 + 16 * 2 * 4);
}

#[test]
fn misfits_are_refused_by_name() {
    let case = Case::new(16, 64, 4, 16, false, 2);
    assert_eq!(QuantMatrix::pack(&case.source()).expect_err("a misfit"), PackError::Block(16));
    let case = Case { scales: vec![1.0], ..Case::new(16, 64, 4, 32, false, 2) };
    let error = QuantMatrix::pack(&case.source()).expect_err("a misfit");
    assert_eq!(error.to_string(), "scales has 1 elements, the shape needs 32");
}
