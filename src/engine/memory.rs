//! What the process holds, as the kernel counts it, and half floats.

/// Memory of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Everything resident, file pages included.
    pub rss_bytes: u64,
    /// What no file backs.
    pub anonymous_bytes: u64,
}

/// `Rss:` and `Anonymous:` of `/proc/self/smaps_rollup` (proc(5)); zeros where there is none.
pub fn process_memory() -> ProcessMemory {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let bytes = |field: &str| {
        let line = rollup.lines().find_map(|l| l.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    ProcessMemory {
        rss_bytes: bytes("Rss:").unwrap_or(0),
        anonymous_bytes: bytes("Anonymous:").unwrap_or(0),
    }
}

/// IEEE 754 binary16 to binary32, exact.
pub const fn f16_to_f32(half: u16) -> f32 {
    let sign = ((half & 0x8000) as u32) << 16;
    let exponent = ((half >> 10) & 0x1f) as u32;
    let mantissa = (half & 0x3ff) as u32;
    let bits = match (exponent, mantissa) {
        (0, 0) => sign,
        (0, _) => {
            // A subnormal: shift the highest bit of the mantissa into the implicit place.
            let shift = mantissa.leading_zeros() - 21;
            sign | ((113 - shift) << 23) | ((mantissa << (shift + 13)) & 0x7f_ffff)
        }
        (31, _) => sign | 0x7f80_0000 | (mantissa << 13),
        _ => sign | ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for (half, float) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(f16_to_f32(half).to_bits(), f32::to_bits(float), "{half:#x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
    }
}
