//! Which instructions this CPU has, as far as our loops care.

/// A code path of the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AVX-512 F, BW, VL and VNNI.
    Avx512Vnni,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// aarch64 with the dot product extension (Cortex-A55, A76 and later).
    NeonDot,
    /// aarch64 without it (Cortex-A53, A72).
    Neon,
    /// Plain Rust: the reference, and the path of every other CPU.
    Scalar,
}

impl Isa {
    /// The fastest path that this CPU can run.
    pub fn detect() -> Self {
        Self::available()[0]
    }

    /// Every path that this CPU can run, the fastest first; [`Isa::Scalar`] is always the last.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512vnni") {
                found.push(Self::Avx512Vnni);
            }
            if has!("avx2") && has!("fma") && has!("f16c") {
                found.push(Self::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(Self::NeonDot);
            }
            found.push(Self::Neon);
        }
        found.push(Self::Scalar);
        found
    }

    /// The name for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx2 => "avx2",
            Self::NeonDot => "neon-dotprod",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
    }
}

/// Compiles one generic function for each instruction set and dispatches on an [`Isa`].
///
/// The generic function takes a `const FMA: bool` first and must be `#[inline(always)]`.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $generic:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::kernels::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) {
                    $generic::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) {
                    $generic::<true>($($arg),*)
                }
                match isa {
                    // SAFETY: this `Isa` exists only where the CPU has these features.
                    $crate::kernels::Isa::Avx512Vnni => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::kernels::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            $generic::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

/// `a * b + c`, fused where the code path has the instruction.
#[inline(always)]
pub(crate) fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}
