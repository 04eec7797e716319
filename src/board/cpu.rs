//! What `/proc/cpuinfo` and `cpu_capacity` say: cores by name, what they can do, which are the fast
//! ones.

use crate::core::cpus::CpuList;
use std::collections::BTreeSet;
use std::path::Path;

/// Features that decide how fast inference is, as `/proc/cpuinfo` has them: Arm's `Features`, then
/// x86's `flags`.
const RELEVANT: [&str; 16] = [
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
    "sme",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
];

/// A core belongs to the fast ones if it has this share of the fastest one's capacity. Our choice: a
/// step that is shared among equal parts waits for its slowest core, and at two thirds a slower core
/// still helps more than it holds up.
const FAST: (u64, u64) = (2, 3);

/// Cores of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `Cortex-A76`; its maker's numbers where they are not known.
    pub name: String,
    /// Which they are.
    pub cpus: CpuList,
}

/// One processor of `/proc/cpuinfo`: its fields.
type Block<'a> = Vec<(&'a str, &'a str)>;

fn blocks(cpuinfo: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (name, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')) {
        let (name, value) = (name.trim(), value.trim());
        if name == "processor" {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push((name, value));
        }
    }
    blocks
}

fn field<'a>(block: &Block<'a>, name: &str) -> Option<&'a str> {
    block.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
}

/// `aarch64` or `x86_64`, by the fields that only one of them has.
pub fn architecture(cpuinfo: &str) -> Option<&'static str> {
    let first = blocks(cpuinfo).into_iter().next()?;
    match (field(&first, "CPU implementer"), field(&first, "vendor_id")) {
        (Some(_), _) => Some("aarch64"),
        (None, Some(_)) => Some("x86_64"),
        (None, None) => None,
    }
}

/// What all cores can do, of what matters here, in a fixed order.
pub fn features(cpuinfo: &str) -> Vec<String> {
    let sets = blocks(cpuinfo).into_iter().filter_map(|block| {
        let list = field(&block, "Features").or_else(|| field(&block, "flags"))?;
        Some(list.split_whitespace().collect::<BTreeSet<_>>())
    });
    let common = sets.reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default();
    RELEVANT.iter().filter(|name| common.contains(*name)).map(|&name| name.to_owned()).collect()
}

/// The cores by kind, in the order of their first.
pub fn parts(cpuinfo: &str) -> Vec<Part> {
    let mut parts: Vec<(String, Vec<usize>)> = Vec::new();
    for block in blocks(cpuinfo) {
        let number = field(&block, "processor").and_then(|n| n.parse().ok());
        let (Some(cpu), Some(name)) = (number, part_name(&block)) else { continue };
        match parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, cpus)) => cpus.push(cpu),
            None => parts.push((name, vec![cpu])),
        }
    }
    let part = |(name, cpus): (String, Vec<usize>)| Part { name, cpus: cpus.into_iter().collect() };
    parts.into_iter().map(part).collect()
}

fn part_name(block: &Block<'_>) -> Option<String> {
    match (field(block, "CPU implementer"), field(block, "CPU part")) {
        (Some(maker), Some(part)) => Some(match arm_part(maker, part) {
            Some(name) => name.to_owned(),
            None => format!("{maker}/{part}"),
        }),
        _ => field(block, "model name").map(str::to_owned),
    }
}

/// The core's name. Numbers of makers and parts are those of the register `MIDR_EL1`, as Linux has
/// them in `arch/arm64/include/asm/cputype.h`.
fn arm_part(maker: &str, part: &str) -> Option<&'static str> {
    Some(match (maker, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd04") => "Cortex-A35",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd09") => "Cortex-A73",
        ("0x41", "0xd0a") => "Cortex-A75",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd0d") => "Cortex-A77",
        ("0x41", "0xd0e") => "Cortex-A76AE",
        ("0x41", "0xd40") => "Neoverse-V1",
        ("0x41", "0xd41") => "Cortex-A78",
        ("0x41", "0xd42") => "Cortex-A78AE",
        ("0x41", "0xd44") => "Cortex-X1",
        ("0x41", "0xd46") => "Cortex-A510",
        ("0x41", "0xd47") => "Cortex-A710",
        ("0x41", "0xd48") => "Cortex-X2",
        ("0x41", "0xd49") => "Neoverse-N2",
        ("0x41", "0xd4b") => "Cortex-A78C",
        ("0x41", "0xd4d") => "Cortex-A715",
        ("0x41", "0xd4e") => "Cortex-X3",
        ("0x41", "0xd4f") => "Neoverse-V2",
        ("0x41", "0xd80") => "Cortex-A520",
        ("0x41", "0xd81") => "Cortex-A720",
        ("0x41", "0xd82") => "Cortex-X4",
        ("0x41", "0xd85") => "Cortex-X925",
        ("0x41", "0xd87") => "Cortex-A725",
        ("0x4e", "0x003") => "Denver 2",
        ("0x4e", "0x004") => "Carmel",
        ("0x51", "0x804") => "Kryo 4xx Gold",
        ("0x51", "0x805") => "Kryo 4xx Silver",
        _ => return None,
    })
}

/// The fast cores by `cpu_capacity`, where the kernel knows of slow ones beside them; none: all are
/// alike, or nobody knows. `folder` is `/sys/devices/system/cpu`.
pub fn fast_cores(folder: &Path) -> CpuList {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let capacities: Vec<(usize, u64)> = entries
        .filter_map(|entry| {
            let cpu = entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok()?;
            let text = std::fs::read_to_string(entry.path().join("cpu_capacity")).ok()?;
            Some((cpu, text.trim().parse().ok()?))
        })
        .collect();
    fastest(&capacities)
}

fn fastest(capacities: &[(usize, u64)]) -> CpuList {
    let highest = capacities.iter().map(|(_, capacity)| *capacity).max().unwrap_or(0);
    let is_fast = |capacity: u64| capacity.saturating_mul(FAST.1) >= highest.saturating_mul(FAST.0);
    let (fast, slow): (Vec<_>, Vec<_>) = capacities.iter().partition(|(_, c)| is_fast(*c));
    match slow.is_empty() {
        true => CpuList::default(),
        false => fast.into_iter().map(|(cpu, _)| cpu).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "\
processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n\
processor\t: 1\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x41\nCPU part\t: 0xd41\n\n\
processor\t: 2\nFeatures\t: fp asimd asimddp i8mm\nCPU implementer\t: 0x99\nCPU part\t: 0x001\n";

    #[test]
    fn cores_have_names_and_only_what_all_can_do_counts() {
        let named: Vec<_> =
            parts(MIXED).into_iter().map(|p| (p.name, p.cpus.to_string())).collect();
        let expected = [("Cortex-A55", "0"), ("Cortex-A78", "1"), ("0x99/0x001", "2")];
        assert_eq!(named, expected.map(|(name, cpus)| (name.to_owned(), cpus.to_owned())));
        assert_eq!(features(MIXED), ["asimd", "asimddp"], "i8mm is not on all cores");
        assert_eq!(architecture(MIXED), Some("aarch64"));
    }

    #[test]
    fn x86_is_read_too_and_nonsense_is_survived() {
        let x86 =
            "processor : 0\nvendor_id : GenuineIntel\nmodel name : N100\nflags : fpu avx2 fma\n";
        assert_eq!(architecture(x86), Some("x86_64"));
        assert_eq!(features(x86), ["avx2", "fma"]);
        assert_eq!(parts(x86)[0].name, "N100");
        for odd in ["", ":", "processor", "processor : x\nCPU part : 1\n", "a : b\n"] {
            assert_eq!((parts(odd), features(odd), architecture(odd)), (vec![], vec![], None));
        }
    }

    #[test]
    fn fast_cores_are_those_near_the_fastest_one() {
        let of = |capacities: &[u64]| {
            let numbered: Vec<_> = capacities.iter().copied().enumerate().collect();
            fastest(&numbered).to_string()
        };
        assert_eq!(of(&[414, 414, 414, 414, 1024, 1024, 1024, 1024]), "4-7", "RK3588");
        assert_eq!(
            of(&[381, 381, 381, 381, 890, 890, 890, 1024]),
            "4-7",
            "one of them a bit faster"
        );
        assert_eq!(of(&[1024, 1024, 600, 600]), "0-1");
        assert_eq!(of(&[1024; 4]), "", "all alike");
        assert_eq!(of(&[1024, 683]), "", "two thirds are enough");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[0, 0]), "");
    }
}
