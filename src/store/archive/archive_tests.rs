use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

/// A header of POSIX, with a right sum.
pub fn header(name: &[u8], size: u64, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let short = &name[..name.len().min(100)];
    block[..short.len()].copy_from_slice(short);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    summed(block)
}

/// The same with its sum written anew.
fn summed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// An entry with its bytes.
pub fn append(archive: &mut Vec<u8>, name: &str, kind: u8, data: &[u8]) {
    archive.extend(header(name.as_bytes(), data.len() as u64, kind));
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

/// What ends an archive.
pub fn end(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + 1024, 0);
    archive.resize(archive.len().next_multiple_of(10_240), 0);
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sealed(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut archive = Vec::new();
    fill(&mut archive);
    end(&mut archive);
    archive
}

const LIMITS: Limits = Limits { entries: 16, bytes: 1 << 20, expansion: 100 };

/// Names and contents; folders have none.
type Contents = Vec<(String, Option<Vec<u8>>)>;

fn read(bytes: &[u8]) -> Result<Contents, ArchiveError> {
    read_within(bytes, LIMITS)
}

fn read_within(bytes: &[u8], limits: Limits) -> Result<Contents, ArchiveError> {
    let mut archive = Archive::open(bytes, limits)?;
    let mut found = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        let mut data = Vec::new();
        let mut piece = [0; 700];
        loop {
            match archive.read(&mut piece)? {
                0 => break,
                n => data.extend_from_slice(&piece[..n]),
            }
        }
        assert_eq!(data.len() as u64, entry.size);
        let data = (entry.kind == Kind::File).then_some(data);
        found.push((entry.name.as_str().to_owned(), data));
    }
    Ok(found)
}

fn code(bytes: &[u8]) -> &'static str {
    match read(bytes) {
        Ok(found) => panic!("taken: {found:?}"),
        Err(error) => error.code(),
    }
}

fn one(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    sealed(|archive| append(archive, name, kind, data))
}

/// A record of pax.
fn pax(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while format!("{length}{rest}").len() != length {
        length += 1;
    }
    format!("{length}{rest}")
}

fn with_pax(kind: u8, record: &str, name: &str, data: &[u8]) -> Vec<u8> {
    sealed(|archive| {
        append(archive, "PaxHeaders/x", kind, record.as_bytes());
        append(archive, name, b'0', data);
    })
}

#[test]
fn files_and_folders_are_read() {
    let archive = sealed(|archive| {
        append(archive, "./", b'5', b"");
        append(archive, "./onnx/", b'5', b"");
        append(archive, "./onnx/model.onnx", b'0', &[7; 1300]);
        append(archive, "./empty", 0, b"");
    });
    let expected: Contents = vec![
        ("onnx".into(), None),
        ("onnx/model.onnx".into(), Some(vec![7; 1300])),
        ("empty".into(), Some(Vec::new())),
    ];
    assert_eq!(read(&archive), Ok(expected.clone()));
    assert_eq!(read(&gzip(&archive)), Ok(expected.clone()));
    // In pieces, as several programs write it.
    let (a, b) = archive.split_at(700);
    assert_eq!(read(&[gzip(a), gzip(b)].concat()), Ok(expected));
}

#[test]
fn long_names_come_in_three_forms() {
    let long = format!("{}/model.onnx", "folder-with-a-long-name/".repeat(5).trim_end_matches('/'));
    let expected = Ok(vec![(long.clone(), Some(b"x".to_vec()))]);
    let by_pax = with_pax(b'x', &(pax("mtime", "1.5") + &pax("path", &long)), "cut", b"x");
    assert_eq!(read(&by_pax), expected);
    let by_gnu = sealed(|archive| {
        append(archive, "././@LongLink", b'L', format!("{long}\0").as_bytes());
        append(archive, "cut", b'0', b"x");
    });
    assert_eq!(read(&by_gnu), expected);
    let mut posix = header(b"model.onnx", 1, b'0');
    posix[345..345 + long.len() - 11].copy_from_slice(&long.as_bytes()[..long.len() - 11]);
    let mut by_prefix = summed(posix).to_vec();
    by_prefix.push(b'x');
    by_prefix.resize(1024, 0);
    end(&mut by_prefix);
    assert_eq!(read(&by_prefix), expected);
}

#[test]
fn names_that_leave_the_bundle_are_refused_however_they_are_written() {
    for name in ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "..", "./../x", "a//b"] {
        assert_eq!(code(&one(name, b'0', b"x")), "archive_name", "{name}");
        assert_eq!(
            code(&with_pax(b'x', &pax("path", name), "good", b"x")),
            "archive_name",
            "{name}"
        );
        let by_gnu = sealed(|archive| {
            append(archive, "././@LongLink", b'L', name.as_bytes());
            append(archive, "good", b'0', b"x");
        });
        assert_eq!(code(&by_gnu), "archive_name", "{name}");
        assert_eq!(code(&one(&format!("{name}/"), b'5', b"")), "archive_name", "{name}/");
    }
    let mut by_prefix = header(b"x", 0, b'0');
    by_prefix[345..347].copy_from_slice(b"..");
    let mut by_prefix = summed(by_prefix).to_vec();
    end(&mut by_prefix);
    assert_eq!(code(&by_prefix), "archive_name");
    assert_eq!(code(&one("", b'0', b"x")), "archive_name");
    assert_eq!(code(&one("./", b'0', b"x")), "archive_entry");
    assert_eq!(code(&one(".", b'0', b"x")), "archive_name");
    assert_eq!(code(&one("a/", b'0', b"x")), "archive_entry");
}

#[test]
fn only_files_and_folders_are_taken() {
    for (kind, what) in [
        (b'1', "hard link"),
        (b'2', "symbolic link"),
        (b'3', "device"),
        (b'4', "device"),
        (b'6', "pipe"),
        (b'7', "contiguous"),
        (b'S', "sparse"),
        (b'K', "link"),
        (b'Z', "type"),
    ] {
        let error = read(&one("x", kind, b"")).expect_err("refused");
        assert!(error.code() == "archive_entry" && error.to_string().contains(what), "{error}");
    }
    for record in [
        pax("linkpath", "/etc/passwd"),
        pax("GNU.sparse.major", "1"),
        pax("GNU.sparse.name", "x"),
        pax("SCHILY.realsize", "1"),
    ] {
        assert_eq!(code(&with_pax(b'x', &record, "x", b"x")), "archive_entry", "{record}");
    }
    assert_eq!(code(&with_pax(b'g', &pax("path", "y"), "x", b"x")), "archive_entry");
    assert!(read(&with_pax(b'g', &pax("comment", "of git"), "x", b"x")).is_ok());
    assert_eq!(code(&one("folder", b'5', b"with bytes")), "archive_damaged");
}

#[test]
fn every_name_is_there_once_in_one_spelling() {
    let twice = |a: (&str, u8), b: (&str, u8)| {
        code(&sealed(|archive| {
            append(archive, a.0, a.1, b"");
            append(archive, b.0, b.1, b"");
        }))
    };
    assert_eq!(twice(("x", b'0'), ("x", b'0')), "archive_name");
    assert_eq!(twice(("x", b'0'), ("./x", b'0')), "archive_name");
    assert_eq!(twice(("slmd.toml", b'0'), ("SLMD.toml", b'0')), "archive_name");
    assert_eq!(twice(("a/x", b'0'), ("A/y", b'0')), "archive_name");
    assert_eq!(twice(("a", b'0'), ("a/x", b'0')), "archive_name");
    assert_eq!(twice(("a/x", b'0'), ("a", b'0')), "archive_name");
}

#[test]
fn sizes_are_held_against_the_limits_before_anything_is_read() {
    let claims = |size: u64| {
        let mut archive = header(b"x", 0, b'0');
        match size {
            0..0o77_777_777_777 => {
                archive[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
            }
            _ => {
                archive[124..136].fill(0);
                archive[124] = 0x80;
                archive[128..136].copy_from_slice(&size.to_be_bytes());
            }
        }
        let mut archive = summed(archive).to_vec();
        end(&mut archive);
        code(&archive)
    };
    for size in [(1 << 20) + 1, 1 << 32, 1 << 40, u64::MAX - 511, u64::MAX] {
        assert_eq!(claims(size), "archive_too_large", "{size}");
    }
    let by_pax = with_pax(b'x', &pax("size", &u64::MAX.to_string()), "x", b"x");
    assert_eq!(code(&by_pax), "archive_too_large");
    let sum = sealed(|archive| {
        (0..3).for_each(|n| append(archive, &format!("f{n}"), b'0', &[0; 400 << 10]));
    });
    assert_eq!(code(&sum), "archive_too_large");
    let many = sealed(|archive| (0..17).for_each(|n| append(archive, &format!("f{n}"), b'0', b"")));
    assert_eq!(code(&many), "archive_too_large");
    let folders = sealed(|archive| (0..17).for_each(|_| append(archive, "d/", b'5', b"")));
    assert_eq!(code(&folders), "archive_too_large", "the same folder again counts too");
    let names = sealed(|archive| {
        (0..5).for_each(|_| append(archive, "x", b'x', pax("comment", "c").as_bytes()));
        append(archive, "x", b'0', b"");
    });
    assert_eq!(code(&names), "archive_damaged");
    let long = sealed(|archive| append(archive, "x", b'L', &[b'a'; 65 << 10]));
    assert_eq!(code(&long), "archive_too_large");
}

#[test]
fn a_size_of_pax_is_what_is_read_and_nothing_is_passed_over() {
    // A reader that goes by the header would find another entry in these bytes.
    let mut hidden = Vec::new();
    append(&mut hidden, "hidden", b'0', b"evil");
    let archive = sealed(|archive| {
        append(archive, "h", b'x', pax("size", &hidden.len().to_string()).as_bytes());
        archive.extend(header(b"x", 0, b'0'));
        archive.extend(&hidden);
    });
    assert_eq!(read(&archive), Ok(vec![("x".into(), Some(hidden))]));
}

#[test]
fn bombs_are_stopped_by_what_they_are_made_of() {
    let big = one("zeroes", b'0', &[0; 12 << 20]);
    let packed = gzip(&big);
    assert!(packed.len() < 16 << 10, "{} bytes", packed.len());
    let limits = Limits { bytes: 1 << 30, ..LIMITS };
    let error = read_within(&packed, limits).expect_err("a bomb");
    assert!(error.to_string().contains("100 times"), "{error}");
    // Gzip in gzip is no tar.
    assert_eq!(code(&gzip(&packed)), "archive_format");
    // And what is behind the end is counted as well.
    let tail = gzip(&[one("x", b'0', b"x"), vec![0; 8 << 20]].concat());
    assert!(matches!(code(&tail), "archive_too_large" | "archive_damaged"));
}

#[test]
fn every_truncation_is_seen() {
    let archive = sealed(|archive| {
        append(archive, "a", b'0', &[3; 600]);
        append(archive, "x", b'x', pax("path", "b").as_bytes());
        append(archive, "cut", b'0', &[4; 10]);
    });
    let last = archive.iter().rposition(|&b| b != 0).unwrap().next_multiple_of(512);
    for length in 1..last + 512 {
        let error = read(&archive[..length]).expect_err("cut");
        assert!(matches!(error.code(), "archive_damaged" | "archive_format"), "{length}: {error}");
    }
    assert!(read(&archive[..last + 512]).is_ok(), "one block of zeroes is an end");
    let packed = gzip(&archive);
    for length in 2..packed.len() {
        assert_eq!(code(&packed[..length]), "archive_damaged", "{length} of {}", packed.len());
    }
}

#[test]
fn what_follows_the_end_is_not_passed_over() {
    let mut archive = one("x", b'0', b"x");
    append(&mut archive, "y", b'0', b"y");
    assert_eq!(code(&archive), "archive_damaged");
    let behind = [gzip(&one("x", b'0', b"x")), b"garbage".to_vec()].concat();
    assert_eq!(code(&behind), "archive_damaged");
    let mut wrong_sum = gzip(&one("x", b'0', b"x"));
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    assert_eq!(code(&wrong_sum), "archive_damaged");
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let with = |change: &dyn Fn(&mut [u8; 512])| {
        let mut block = header(b"x", 0, b'0');
        change(&mut block);
        let mut archive = block.to_vec();
        end(&mut archive);
        code(&archive)
    };
    assert_eq!(with(&|block| block[0] = b'y'), "archive_damaged", "the sum");
    assert_eq!(with(&|block| block[257] = b'U'), "archive_format");
    assert_eq!(
        with(&|block| {
            block[124..136].copy_from_slice(b"00000000009\0");
            *block = summed(*block);
        }),
        "archive_damaged"
    );
    assert_eq!(
        with(&|block| {
            block[124..136].fill(0xff);
            *block = summed(*block);
        }),
        "archive_damaged",
        "a negative size"
    );
    let old = {
        let mut block = header(b"x", 0, b'0');
        block[257..265].fill(0);
        summed(block)
    };
    let mut old = old.to_vec();
    end(&mut old);
    assert_eq!(code(&old), "archive_format", "without the mark of POSIX");
}

#[test]
fn other_formats_are_named() {
    for (bytes, says) in [
        (&b"\x28\xb5\x2f\xfd0000"[..], "zstd"),
        (b"\xfd7zXZ\0..", "xz"),
        (b"BZh9....", "bzip2"),
        (b"PK\x03\x04....", "zip"),
        (b"", "empty"),
    ] {
        let error = read(bytes).expect_err("refused");
        assert!(error.code() == "archive_format" && error.to_string().contains(says), "{error}");
    }
    assert_eq!(code(&[b'a'; 4096]), "archive_format");
    assert_eq!(code(b"short"), "archive_damaged");
}

/// A sound archive to start from.
fn sample() -> Vec<u8> {
    let archive = sealed(|archive| {
        append(archive, "d/", b'5', b"");
        append(archive, "x", b'x', (pax("path", "d/e") + &pax("size", "3")).as_bytes());
        append(archive, "cut", b'0', b"abc");
        append(archive, "././@LongLink", b'L', b"d/long\0");
        append(archive, "cut", b'0', &[9; 700]);
    });
    // With one block of zeroes, so that changes meet what matters.
    let last = archive.iter().rposition(|&b| b != 0).expect("not empty");
    archive[..last.next_multiple_of(512) + 512].to_vec()
}

/// Whatever is in it: no name leaves the bundle, nothing is there twice, and the limits hold.
fn judge(bytes: &[u8]) {
    let Ok(found) = read(bytes) else { return };
    let mut known = std::collections::BTreeSet::new();
    let mut total = 0;
    for (name, data) in &found {
        assert!(crate::bundle::files::is_inside(name), "{name:?}");
        assert!(name.bytes().all(|b| b.is_ascii_graphic() || b == b' '), "{name:?}");
        assert!(data.is_none() || known.insert(name.to_ascii_lowercase()), "{name:?} twice");
        total += data.as_ref().map_or(0, Vec::len);
    }
    assert!(found.len() <= LIMITS.entries && total as u64 <= LIMITS.bytes);
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        judge(&bytes);
        judge(&gzip(&bytes));
    }

    #[test]
    fn no_change_of_a_sound_archive_does_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        has_right_sums in any::<bool>(),
        is_gzip in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sample();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if has_right_sums {
            // So that what is behind the sum is reached.
            for block in bytes.chunks_exact_mut(512) {
                let whole: [u8; 512] = block.try_into().unwrap();
                if &whole[257..262] == b"ustar" {
                    block.copy_from_slice(&summed(whole));
                }
            }
        }
        judge(&bytes);
        judge(&bytes[..cut.index(bytes.len())]);
        if is_gzip {
            let mut packed = gzip(&bytes);
            judge(&packed);
            let at = cut.index(packed.len());
            packed[at] ^= 0x10;
            judge(&packed);
        }
    }
}

#[test]
fn the_sample_is_sound() {
    let found = read(&sample()).expect("sound");
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["d", "d/e", "d/long"]);
}
