//! An archive of any bytes is refused, or has only names that stay inside, each once, within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slmd::bundle::files::is_inside;
use slmd::store::archive::{Archive, Kind, Limits};
use std::collections::BTreeSet;

const LIMITS: Limits = Limits { entries: 64, bytes: 1 << 20, expansion: 100 };

fuzz_target!(|input: &[u8]| {
    let Ok(mut archive) = Archive::open(input, LIMITS) else { return };
    let (mut files, mut count, mut total) = (BTreeSet::new(), 0, 0);
    let mut piece = [0; 512];
    while let Ok(Some(entry)) = archive.next_entry() {
        count += 1;
        assert!(is_inside(entry.name.as_str()));
        if entry.kind == Kind::File {
            assert!(files.insert(entry.name.as_str().to_ascii_lowercase()), "twice");
        }
        loop {
            match archive.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => total += n,
                Err(_) => return,
            }
        }
    }
    assert!(count <= LIMITS.entries && total as u64 <= LIMITS.bytes);
});
