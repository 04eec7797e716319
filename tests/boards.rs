//! Boards by their files: each selects its own profile and nothing else, and the profile's figures are
//! those of the board. `tests/boards/README.md` says where the files are from.

#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

use slmd::board::{Board, BoardProfile, Machine};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boards")
}

fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|e| e.unwrap());
    let folders = entries.filter(|e| e.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The profile that a folder's name begins with; the longest, since `rock-5b` may begin others.
fn expected(name: &str) -> String {
    let profiles = BoardProfile::shipped().unwrap().into_iter().map(|p| p.name);
    profiles.filter(|p| name.starts_with(p.as_str())).max_by_key(String::len).unwrap()
}

fn lines(name: &str, file: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(name).join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A root file system with the board's files in their places.
fn root(name: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for file in ["model", "compatible"] {
        let entries = lines(name, file);
        if !entries.is_empty() {
            write(&format!("proc/device-tree/{file}"), (entries.join("\0") + "\0").as_bytes());
        }
    }
    for file in ["cpuinfo", "meminfo"] {
        write(&format!("proc/{file}"), &fs::read(folder().join(name).join(file)).unwrap());
    }
    let cores = lines(name, "cpuinfo").iter().filter(|l| l.starts_with("processor")).count();
    write("sys/devices/system/cpu/online", format!("0-{}\n", cores - 1).as_bytes());
    for (cpu, capacity) in lines(name, "cpu_capacity").iter().enumerate() {
        write(
            &format!("sys/devices/system/cpu/cpu{cpu}/cpu_capacity"),
            format!("{capacity}\n").as_bytes(),
        );
    }
    root
}

fn found(name: &str) -> Board {
    Board::find_under(root(name).path(), "auto").unwrap()
}

#[test]
fn every_board_selects_its_own_profile_and_nothing_else() {
    let names = names();
    for name in &names {
        let board = found(name);
        assert_eq!(board.profile.name, expected(name), "{name}: {}", board.why);
        assert!(!board.why.is_empty(), "{name}");
        let all = BoardProfile::shipped().unwrap();
        let of_its_own: Vec<&str> = all
            .iter()
            .filter(|p| {
                !p.name.starts_with("generic-") && p.r#match.reason(&board.machine).is_some()
            })
            .map(|p| p.name.as_str())
            .collect();
        let is_generic = board.profile.name.starts_with("generic-");
        let wanted = if is_generic { vec![] } else { vec![board.profile.name.as_str()] };
        assert_eq!(of_its_own, wanted, "{name}");
    }
    for profile in BoardProfile::shipped().unwrap() {
        assert!(names.contains(&profile.name), "{} has no recorded board", profile.name);
    }
}

#[test]
fn a_profile_has_the_cores_the_memory_and_the_zones_of_its_board() {
    for name in names() {
        let (board, profile) = (found(&name), BoardProfile::named(&expected(&name)).unwrap());
        let machine = &board.machine;
        if let Some(count) = profile.cores.count {
            assert_eq!(machine.cores, count, "{name}");
        }
        if let Some(big) = &profile.cores.big {
            assert_eq!(*big, machine.fast_cores, "{name}: the kernel would say the same");
            assert_eq!(board.threads(), big.len(), "{name}");
        }
        assert!(board.threads() <= machine.cores, "{name}");
        let memory = machine.memory_bytes.unwrap();
        let sizes = &profile.memory.sizes;
        // What the firmware keeps is a tenth at most.
        let is_sold = sizes.iter().any(|size| memory <= *size && memory >= size / 10 * 9);
        assert!(is_sold || sizes.is_empty(), "{name}: {memory} bytes");
        let zones = lines(&name, "zones");
        let known = profile.thermal.zones.iter().any(|zone| zones.contains(zone));
        assert!(known || profile.thermal.zones.is_empty(), "{name}: none of {zones:?}");
    }
}

#[test]
fn cores_and_features_are_read() {
    let of = |name: &str| {
        let machine = found(name).machine;
        let kinds: Vec<String> =
            machine.parts.iter().map(|part| format!("{} {}", part.cpus, part.name)).collect();
        (kinds.join(", "), machine.features.join(" "), machine.fast_cores.to_string())
    };
    let expect = |kinds: &str, features: &str, fast: &str| {
        (kinds.to_owned(), features.to_owned(), fast.to_owned())
    };
    let dot = "asimd asimdhp asimddp";
    assert_eq!(of("raspberry-pi-4"), expect("0-3 Cortex-A72", "asimd", ""));
    assert_eq!(of("raspberry-pi-5"), expect("0-3 Cortex-A76", dot, ""));
    assert_eq!(of("jetson-orin-nano"), expect("0-5 Cortex-A78AE", dot, ""));
    assert_eq!(of("rock-5b"), expect("0-3 Cortex-A55, 4-7 Cortex-A76", dot, "4-7"));
    assert_eq!(of("rubik-pi-3"), expect("0-3 Cortex-A55, 4-7 Cortex-A78", dot, "4-7"));
    assert_eq!(of("imx8mp"), expect("0-3 Cortex-A53", "asimd", ""));
    assert_eq!(of("generic-x86_64"), expect("0-3 Intel(R) N100", "avx2 fma f16c avx_vnni", ""));
    assert_eq!(found("generic-x86_64").machine.architecture, "x86_64");
}

#[test]
fn an_unknown_board_still_uses_its_fast_cores() {
    let board = found("generic-aarch64");
    assert_eq!((board.affinity().to_string().as_str(), board.threads()), ("4-7", 4));
    let alike = found("generic-aarch64-orin-nx");
    assert!(alike.affinity().is_empty(), "nothing changes where all cores are alike");
    assert_eq!(alike.threads(), 8);
}

#[test]
fn chains_are_complete_and_what_a_provider_requires_is_a_device_of_the_board() {
    for profile in BoardProfile::shipped().unwrap() {
        assert!(!profile.provider.is_empty(), "{}: a chain", profile.name);
        assert!(profile.provider.iter().all(|p| p.name != "cpu"), "it is implied");
        if profile.name.starts_with("generic-") {
            continue;
        }
        for required in profile.provider.iter().flat_map(|p| &p.requires) {
            let is_listed = profile.device.iter().any(|device| device.path == *required);
            assert!(is_listed || !required.starts_with("/dev"), "{}: {required:?}", profile.name);
        }
        for device in &profile.device {
            let used = profile.provider.iter().any(|p| device.reason.contains(p.name.as_str()));
            assert!(used, "{}: {:?} is for no provider", profile.name, device.path);
        }
    }
}

#[test]
fn what_is_not_there_is_not_made_up() {
    let empty = tempfile::tempdir().unwrap();
    let machine = Machine::detect(empty.path());
    assert_eq!((machine.model, machine.parts, machine.features), (None, vec![], vec![]));
    assert!(machine.fast_cores.is_empty() && machine.memory_bytes.is_none());
}

/// A device tree may be longer, broken or hostile: it only ever selects the generic profile.
#[test]
fn odd_device_trees_select_the_generic_profile() {
    let odd: [&[u8]; 4] =
        [b"", b"\0\0\0", b"\xff\xfe\0radxa,rock-5b ", b"raspberrypi,5-model-bb\0"];
    for compatible in odd {
        let root = root("generic-aarch64");
        fs::write(root.path().join("proc/device-tree/compatible"), compatible).unwrap();
        let board = Board::find_under(root.path(), "auto").unwrap();
        assert_eq!(board.profile.name, "generic-aarch64", "{compatible:?}");
    }
}
