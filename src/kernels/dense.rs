//! Products of float weights with float activations.

use crate::kernels::isa::{madd, multiversion};
use crate::kernels::pool::{Pool, Shards};
use crate::kernels::{GROUP, Isa};

/// A packed float matrix, `[n, k]`: 16 rows together, column after column.
#[derive(Debug)]
pub struct DenseMatrix {
    n: usize,
    k: usize,
    /// `[groups][k][16]`; rows beyond `n` are zero.
    panels: Vec<f32>,
}

impl DenseMatrix {
    /// Packs `n * k` weights that `value(row, column)` gives.
    pub fn pack(n: usize, k: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = vec![0f32; n.div_ceil(GROUP) * k * GROUP];
        for (group, panel) in panels.chunks_exact_mut((k * GROUP).max(1)).enumerate() {
            for (column, lanes) in panel.chunks_exact_mut(GROUP).enumerate() {
                for (lane, to) in lanes.iter_mut().enumerate().take(n - group * GROUP) {
                    *to = value(group * GROUP + lane, column);
                }
            }
        }
        Self { n, k, panels }
    }

    /// Rows: output features.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns: input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * self.panels.capacity()
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If the row does not exist or `out` has not `k` elements.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n && out.len() == self.k);
        let panel = self.panel(row / GROUP);
        for (out, lanes) in out.iter_mut().zip(panel.chunks_exact(GROUP)) {
            *out = lanes[row % GROUP];
        }
    }

    fn panel(&self, group: usize) -> &[f32] {
        &self.panels[group * self.k * GROUP..][..self.k * GROUP]
    }
}

/// `out = x * weights^T + bias`.
///
/// - `x`: `[rows, k]`
/// - `bias`: `n` values, or empty
/// - `out`: `[rows, n]`
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(
    isa: Isa,
    pool: &Pool,
    weights: &DenseMatrix,
    x: &[f32],
    bias: &[f32],
    out: &mut [f32],
) {
    let (n, k) = (weights.n, weights.k);
    let rows = out.len() / n.max(1);
    assert_eq!(out.len(), rows * n, "output shape");
    assert_eq!(x.len(), rows * k, "input shape");
    assert!(bias.is_empty() || bias.len() == n, "bias shape");
    let groups = n.div_ceil(GROUP);
    let even = groups.div_ceil(pool.threads()).max(1);
    let part_groups = (64 * 1024 / (k * GROUP).max(1)).clamp(1, even);
    let out = Shards::new(out);
    pool.run(groups.div_ceil(part_groups), &|part| {
        let first = part * part_groups;
        for group in first..(first + part_groups).min(groups) {
            let (start, width) = (group * GROUP, GROUP.min(n - group * GROUP));
            let bias = if bias.is_empty() { bias } else { &bias[start..start + width] };
            let mut row = 0;
            while row < rows {
                let count = tile_rows(isa, rows - row);
                let mut sums = [[0f32; GROUP]; 12];
                tile(isa, weights.panel(group), &x[row * k..(row + count) * k], &mut sums);
                for (i, sums) in sums[..count].iter().enumerate() {
                    // SAFETY: each (row, group) is written by one part only.
                    let out = unsafe { out.range((row + i) * n + start, width) };
                    out.copy_from_slice(&sums[..width]);
                    for (out, bias) in out.iter_mut().zip(bias) {
                        *out += bias;
                    }
                }
                row += count;
            }
        }
    });
}

fn tile_rows(isa: Isa, left: usize) -> usize {
    let sizes: &[usize] = if isa == Isa::Avx512Vnni { &[12, 4, 2, 1] } else { &[4, 2, 1] };
    sizes.iter().copied().find(|&size| size <= left).unwrap_or(1)
}

multiversion! {
    fn tile(panel: &[f32], x: &[f32], sums: &mut [[f32; GROUP]; 12]) = tile_generic
}

#[inline(always)]
fn tile_generic<const FMA: bool>(panel: &[f32], x: &[f32], sums: &mut [[f32; GROUP]; 12]) {
    let k = panel.len() / GROUP;
    match x.len() / k.max(1) {
        12 => tile_of::<FMA, 12>(panel, x, k, sums),
        4 => tile_of::<FMA, 4>(panel, x, k, sums),
        2 => tile_of::<FMA, 2>(panel, x, k, sums),
        _ => tile_of::<FMA, 1>(panel, x, k, sums),
    }
}

#[inline(always)]
fn tile_of<const FMA: bool, const ROWS: usize>(
    panel: &[f32],
    x: &[f32],
    k: usize,
    sums: &mut [[f32; GROUP]; 12],
) {
    let mut total = [[0f32; GROUP]; ROWS];
    let x: [&[f32]; ROWS] = std::array::from_fn(|row| &x[row * k..(row + 1) * k]);
    let (lanes, _) = panel.as_chunks::<GROUP>();
    for (column, lanes) in lanes.iter().enumerate().take(k) {
        for (total, x) in total.iter_mut().zip(x) {
            for (total, weight) in total.iter_mut().zip(lanes) {
                *total = madd::<FMA>(x[column], *weight, *total);
            }
        }
    }
    sums[..ROWS].copy_from_slice(&total);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_path_agrees_with_the_definition(
            n in 1usize..50, k in 1usize..90, rows in 0usize..30, threads in 1usize..4,
            biased in any::<bool>(),
        ) {
            let weight = |row: usize, column: usize| ((row * 31 + column * 17) % 13) as f32 - 6.0;
            let weights = DenseMatrix::pack(n, k, weight);
            let x: Vec<f32> = (0..rows * k).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
            let bias: Vec<f32> = (0..if biased { n } else { 0 }).map(|i| i as f32).collect();
            let pool = Pool::new(threads).expect("threads");
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; rows * n];
                matmul(isa, &pool, &weights, &x, &bias, &mut out);
                for row in 0..rows {
                    for col in 0..n {
                        // Small integers: every order of summation is exact.
                        let dot: f32 = (0..k).map(|i| x[row * k + i] * weight(col, i)).sum();
                        let bias = if biased { col as f32 } else { 0.0 };
                        prop_assert_eq!(out[row * n + col], dot + bias);
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let weights = DenseMatrix::pack(40, 70, |row, column| ((row * column) as f32).sin());
        let x: Vec<f32> = (0..17 * 70).map(|i| (i as f32).cos()).collect();
        let pool = Pool::new(1).expect("threads");
        for isa in Isa::available() {
            let mut all = vec![0f32; 17 * 40];
            matmul(isa, &pool, &weights, &x, &[], &mut all);
            for row in 0..17 {
                let mut one = vec![0f32; 40];
                matmul(isa, &pool, &weights, &x[row * 70..(row + 1) * 70], &[], &mut one);
                assert_eq!(one, all[row * 40..(row + 1) * 40], "{isa:?}");
            }
        }
    }

    #[test]
    fn rows_come_back() {
        let weights = DenseMatrix::pack(19, 5, |row, column| (row * 100 + column) as f32);
        let mut row = [0f32; 5];
        weights.row(17, &mut row);
        assert_eq!(row, [1700.0, 1701.0, 1702.0, 1703.0, 1704.0]);
    }
}
