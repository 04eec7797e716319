//! Weights with 4-bit or 8-bit codes, repacked for the tile kernels.

use super::{Activations, BLOCK, Scales, Tile};
use crate::kernels::{AlignedBytes, GROUP, half};

/// Weights as `com.microsoft::MatMulNBits` stores them.
#[derive(Debug, Clone, Copy)]
pub struct QuantSource<'a> {
    /// Rows: output features.
    pub n: usize,
    /// Columns: input features.
    pub k: usize,
    /// 4 or 8.
    pub bits: usize,
    /// Columns that share a scale.
    pub block: usize,
    /// `[n][blocks][block * bits / 8]`, the low nibble first; the last block is filled up.
    pub codes: &'a [u8],
    /// `[n][blocks]`.
    pub scales: &'a [f32],
    /// `[n][blocks * bits / 8 rounded up]`; left out: 8 or 128.
    pub zeros: Option<&'a [u8]>,
}

/// Weights that these kernels cannot hold as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Only 4 and 8 bits exist.
    #[error("{0}-bit weights are not supported, only 4 and 8 bits")]
    Bits(usize),
    /// The block is not a multiple of 32.
    #[error("blocks of {0} weights cannot be packed, only multiples of 32")]
    Block(usize),
    /// A tensor is too short for the shape.
    #[error("{what} has {have} elements, the shape needs {need}")]
    Length {
        /// Which tensor.
        what: &'static str,
        /// Elements it has.
        have: usize,
        /// Elements the shape needs.
        need: usize,
    },
}

impl QuantSource<'_> {
    /// Scales of a row.
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block.max(1))
    }

    /// Bytes of a row's zero points.
    pub fn zero_bytes(&self) -> usize {
        (self.blocks() * self.bits).div_ceil(8)
    }

    /// Whether the tensors fit the shape.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn check(&self) -> Result<(), PackError> {
        if self.bits != 4 && self.bits != 8 {
            return Err(PackError::Bits(self.bits));
        }
        let long_enough = |what, have, need| {
            if have < need { Err(PackError::Length { what, have, need }) } else { Ok(()) }
        };
        let code_bytes = self.n * self.blocks() * (self.block * self.bits).div_ceil(8);
        long_enough("weights", self.codes.len(), code_bytes)?;
        long_enough("scales", self.scales.len(), self.n * self.blocks())?;
        if let Some(zeros) = self.zeros {
            long_enough("zero points", zeros.len(), self.n * self.zero_bytes())?;
        }
        Ok(())
    }

    /// The zero point of a row's block.
    fn zero(&self, row: usize, block: usize) -> u8 {
        match self.zeros {
            None => 1 << (self.bits - 1),
            Some(zeros) if self.bits == 8 => zeros[row * self.zero_bytes() + block],
            Some(zeros) => {
                let pair = zeros[row * self.zero_bytes() + block / 2];
                if block.is_multiple_of(2) { pair & 15 } else { pair >> 4 }
            }
        }
    }

    fn code(&self, row: usize, column: usize) -> u8 {
        let row_codes = self.blocks() * self.block;
        if self.bits == 8 {
            return self.codes[row * row_codes + column];
        }
        let pair = self.codes[row * row_codes.div_ceil(2) + column / 2];
        if column.is_multiple_of(2) { pair & 15 } else { pair >> 4 }
    }

    /// One weight as a float.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        let block = column / self.block;
        let code = i32::from(self.code(row, column)) - i32::from(self.zero(row, block));
        code as f32 * self.scales[row * self.blocks() + block]
    }
}

/// A packed weight matrix, `[n, k]`.
#[derive(Debug)]
pub struct QuantMatrix {
    n: usize,
    k: usize,
    bits: usize,
    /// Blocks of 32 in a row.
    blocks: usize,
    codes: AlignedBytes,
    scales: Stored,
    zeros: Vec<u8>,
    /// What scales are to be multiplied with: a power of two.
    factor: f32,
    /// Columns that share a scale in the file, and so in the activations.
    act_group: usize,
}

/// Scales, `[groups][blocks][16]`.
#[derive(Debug)]
enum Stored {
    Half(Vec<u16>),
    Single(Vec<f32>),
}

impl Stored {
    fn get(&self, index: usize) -> f32 {
        match self {
            Self::Half(scales) => half::to_f32(scales[index]),
            Self::Single(scales) => scales[index],
        }
    }

    fn set(&mut self, index: usize, scale: f32) {
        match self {
            Self::Half(scales) => scales[index] = half::from_f32(scale),
            Self::Single(scales) => scales[index] = scale,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Half(scales) => 2 * scales.capacity(),
            Self::Single(scales) => 4 * scales.capacity(),
        }
    }
}

impl QuantMatrix {
    /// Repacks weights. Scales that a half holds exactly, up to a power of two for the whole
    /// matrix, take 2 bytes, others 4.
    ///
    /// # Errors
    /// [`PackError`] when tensors do not fit the shape or the block is no multiple of 32.
    pub fn pack(source: &QuantSource<'_>) -> Result<Self, PackError> {
        source.check()?;
        if source.block == 0 || !source.block.is_multiple_of(BLOCK) {
            return Err(PackError::Block(source.block));
        }
        let (n, k, bits) = (source.n, source.k, source.bits);
        let blocks = k.div_ceil(BLOCK);
        let groups = n.div_ceil(GROUP);
        let lanes = groups * blocks * GROUP;
        let factor = scale_unit(source.scales);
        let exact = source.scales[..n * source.blocks()].iter().all(|scale| {
            let half = half::to_f32(half::from_f32(scale / factor));
            half * factor == *scale
        });
        let mut packed = Self {
            n,
            k,
            bits,
            blocks,
            codes: AlignedBytes::zeroed(groups * blocks * GROUP * BLOCK * bits / 8),
            scales: if exact {
                Stored::Half(vec![0; lanes])
            } else {
                Stored::Single(vec![0.0; lanes])
            },
            zeros: Vec::new(),
            factor,
            act_group: source.block,
        };
        let default_zero = 1u8 << (bits - 1);
        if source.zeros.is_some() {
            packed.zeros = vec![default_zero; lanes];
        }
        for row in 0..n {
            packed.pack_row(source, row);
        }
        Ok(packed)
    }

    fn pack_row(&mut self, source: &QuantSource<'_>, row: usize) {
        let (group, lane) = (row / GROUP, row % GROUP);
        let block_bytes = BLOCK * self.bits / 8;
        let row_bytes = source.blocks() * source.block * self.bits / 8;
        for block in 0..self.blocks {
            let at = group * self.blocks + block;
            let source_block = block * BLOCK / source.block;
            let scale = source.scales[row * source.blocks() + source_block];
            self.scales.set(at * GROUP + lane, scale / self.factor);
            if !self.zeros.is_empty() {
                self.zeros[at * GROUP + lane] = source.zero(row, source_block);
            }
            let from = &source.codes[row * row_bytes + block * block_bytes..][..block_bytes];
            let to = &mut self.codes[at * GROUP * block_bytes..][..GROUP * block_bytes];
            for (quad, from) in from.chunks_exact(4).enumerate() {
                // 8 bits: 4 codes as they are. 4 bits: 8 codes; the first four go to the low
                // nibbles of 4 bytes, the next four to the high ones.
                let bytes = if self.bits == 8 {
                    [from[0], from[1], from[2], from[3]]
                } else {
                    [
                        from[0] & 15 | from[2] << 4,
                        from[0] >> 4 | from[2] & 0xf0,
                        from[1] & 15 | from[3] << 4,
                        from[1] >> 4 | from[3] & 0xf0,
                    ]
                };
                to[quad * 4 * GROUP + lane * 4..][..4].copy_from_slice(&bytes);
            }
        }
    }

    /// Rows: output features.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Columns: input features.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bits of a weight, 4 or 8.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// Columns of an activation that share a scale.
    pub fn act_group(&self) -> usize {
        self.act_group
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.bytes() + self.zeros.capacity()
    }

    /// Row `row` as floats.
    ///
    /// # Panics
    /// If the row does not exist or `out` has not `k` elements.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.n && out.len() == self.k);
        let (group, lane) = (row / GROUP, row % GROUP);
        let block_bytes = BLOCK * self.bits / 8;
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let at = group * self.blocks + block;
            let scale = self.scales.get(at * GROUP + lane) * self.factor;
            let zero = self.zeros.get(at * GROUP + lane).map_or(1 << (self.bits - 1), |&z| z);
            let codes = &self.codes[at * GROUP * block_bytes..][..GROUP * block_bytes];
            for (column, out) in out.iter_mut().enumerate() {
                let (quad, byte) = (column / 4, column % 4);
                let code = if self.bits == 8 {
                    codes[quad * 4 * GROUP + lane * 4 + byte]
                } else {
                    let pair = codes[quad / 2 * 4 * GROUP + lane * 4 + byte];
                    if quad % 2 == 0 { pair & 15 } else { pair >> 4 }
                };
                *out = (i32::from(code) - i32::from(zero)) as f32 * scale;
            }
        }
    }

    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }

    pub(super) fn groups(&self) -> usize {
        self.n.div_ceil(GROUP)
    }

    pub(super) fn factor(&self) -> f32 {
        self.factor
    }

    /// Bytes of the codes of one group.
    pub(super) fn group_bytes(&self) -> usize {
        self.blocks * GROUP * BLOCK * self.bits / 8
    }

    /// Group `group` against the activations from `row` on.
    pub(super) fn tile<'a>(&'a self, group: usize, acts: &'a Activations, row: usize) -> Tile<'a> {
        let (bytes, lanes) = (self.group_bytes(), self.blocks * GROUP);
        Tile {
            codes: &self.codes[group * bytes..][..bytes],
            scales: match &self.scales {
                Stored::Half(scales) => Scales::Half(&scales[group * lanes..][..lanes]),
                Stored::Single(scales) => Scales::Single(&scales[group * lanes..][..lanes]),
            },
            zeros: if self.zeros.is_empty() { &[] } else { &self.zeros[group * lanes..][..lanes] },
            default_zero: 1 << (self.bits - 1),
            acts: acts.codes(row),
            act_scales: acts.scales(row),
            act_sums: acts.sums(row),
            blocks: self.blocks,
        }
    }
}

/// The power of two that brings the largest scale near the top of half precision's range, so that
/// small scales keep all their bits.
fn scale_unit(scales: &[f32]) -> f32 {
    let largest = scales.iter().fold(0f32, |largest, scale| largest.max(scale.abs()));
    if largest > 0.0 && largest.is_finite() {
        // Half precision ends at 65,504 = 2^16 - 32.
        2f32.powi((largest.log2().floor() as i32 - 14).clamp(-120, 120))
    } else {
        1.0
    }
}
