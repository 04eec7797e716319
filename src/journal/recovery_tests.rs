//! Files as versions, crashes and bad media leave them: what is found, and what becomes of them.

use super::crash_tests::{LIMITS, open, open_with, tuning, wait_until};
use super::fault::{FaultDisk, Faults};
use super::queue::Item;
use super::*;

const SALT: u64 = 0x0123_4567_89ab_cdef;
const SEGMENT: &str = "journal-0000000000000007.seg";

/// Made by a program of its own, from `docs/journal.md`: floor 5; note 2 `a/#`; prompt 5 with head,
/// body, a start, an answer and its delivery (0x10); prompt 6, started twice, parked once;
/// prompt 7, forgotten.
const GOLDEN: &str = "
    736c6d642d6a6e6c0100010040000000efcdab89674523010000000059286cb0736c6d642d6a6e6c010001004000
    0000efcdab89674523010000000059286cb00000000008005bb405000000000000005bb4b14f080000000700c526
    0000000000000000b64ec88c0203000000612f231800000001004965050000000000000098dbf67200f153650000
    0000040000000400000068656164626f6479040000000200c03605000000000000004de771c60100000014000000
    01008f0206000000000000002751aefe01f1536500000000020000000200000068366236040000000200e4120600
    00000000000070fd806702000000000000000300024206000000000000000242fa0b0a0000000400170805000000
    000000004b667e3906000000616e7377657201000000050087b60500000000000000dc53e1bc10120000000100b6
    93070000000000000044f005c402f15365000000000100000001000000787900000000060008f607000000000000
    0008f63013
";

fn golden() -> Vec<u8> {
    let digits: Vec<u8> = GOLDEN.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn accepted(at: u64, head: &[u8], body: &[u8], more: &[u8]) -> Vec<u8> {
    let lengths = [(head.len() as u32).to_le_bytes(), (body.len() as u32).to_le_bytes()].concat();
    [&at.to_le_bytes()[..], &lengths, head, body, more].concat()
}

fn counted(bytes: &[u8], more: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes, more].concat()
}

/// A segment of any version.
fn segment(
    version: u16,
    oldest_reader: u16,
    frames_at: u32,
    records: &[(u8, u64, Vec<u8>)],
) -> Vec<u8> {
    let header = frame::Header { version, oldest_reader, frames_at, salt: SALT };
    let mut bytes = header.encode().to_vec();
    bytes.resize(frames_at as usize, 0xee);
    for (kind, id, payload) in records {
        let at = bytes.len() as u64;
        frame::push(&mut bytes, SALT, at, *kind, *id, payload);
    }
    bytes
}

/// Offsets behind each frame of a segment of ours.
fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![frame::HEADER_BYTES];
    while let Some(head) = bytes
        .get(*ends.last().unwrap()..)
        .and_then(|rest| frame::FrameHead::decode(rest, SALT, *ends.last().unwrap() as u64))
    {
        ends.push(ends.last().unwrap() + frame::frame_bytes(head.len) as usize);
    }
    ends
}

fn ids(found: &Recovered) -> Vec<u64> {
    found.entries.iter().map(|entry| entry.id.0).collect()
}

/// Appends one prompt and sees it again after the next start.
fn goes_on(journal: Journal, found: &Recovered, disk: &FaultDisk) {
    let id = found.next_id;
    journal.append(Record::Accepted { id, head: b"more", body: b"of it" });
    journal.close().unwrap();
    let (_journal, again) = open(disk).unwrap();
    assert_eq!(again.bytes_lost, 0, "what is lost is lost once");
    let (last, before) = again.entries.split_last().expect("the new entry");
    assert_eq!((last.id, &last.head[..]), (id, &b"more"[..]));
    assert_eq!(before, found.entries, "what was found before is found again");
    assert_eq!(again.notes, found.notes);
}

#[test]
fn a_golden_file_of_version_1_is_read() {
    let disk = FaultDisk::with(&[(SEGMENT, &golden())]);
    let (journal, found) = open(&disk).unwrap();
    let entry = |id, head: &[u8], body: Option<&[u8]>, answered, delivered, written_at| Entry {
        id: EntryId(id),
        head: head.to_vec(),
        body: body.map(<[u8]>::to_vec),
        starts: 1,
        answered,
        delivered,
        written_at,
    };
    // Delivered entries of 2023 are over the age limit of these tests.
    assert_eq!(found.entries, [entry(6, b"h6", Some(b"b6"), false, None, 1_700_000_001)]);
    assert_eq!(found.notes, BTreeMap::from([(2, b"a/#".to_vec())]));
    assert_eq!((found.next_id, found.bytes_lost, found.from_version), (EntryId(8), 0, 1));
    goes_on(journal, &found, &disk);

    let limits = Limits { age: Duration::MAX, ..LIMITS };
    let disk = Arc::new(FaultDisk::with(&[(SEGMENT, &golden())]));
    let (journal, found) =
        Journal::open_on(disk, Path::new("x"), limits, Durability::Sync, unix_s(), tuning())
            .unwrap();
    assert_eq!(found.entries[0], entry(5, b"head", None, true, Some(0x10), 1_700_000_000));
    assert_eq!(journal.read_answer(EntryId(5)).unwrap().unwrap(), b"answer");
    assert_eq!(journal.read_answer(EntryId(6)).unwrap(), None);
}

#[test]
fn what_is_written_is_version_1() {
    let (id, six, seven) = (EntryId(5), EntryId(6), EntryId(7));
    let mut bytes = frame::Header::new(SALT).encode().to_vec();
    let mut push = |kind, id, payload: &[u8]| {
        let at = bytes.len() as u64;
        frame::push(&mut bytes, SALT, at, kind, id, payload);
    };
    push(frame::kind::FLOOR, 5, &[]);
    for (at, record) in [
        (0, Record::Note { key: 2, bytes: b"a/#" }),
        (1_700_000_000, Record::Accepted { id, head: b"head", body: b"body" }),
        (0, Record::Started { id }),
        (1_700_000_001, Record::Accepted { id: six, head: b"h6", body: b"b6" }),
    ] {
        let item = Item::new(0, &record, at);
        push(item.kind, item.id, &item.payload);
    }
    // As compaction writes two starts.
    push(frame::kind::STARTED, 6, &2u32.to_le_bytes());
    for (at, record) in [
        (0, Record::Parked { id: six }),
        (0, Record::Answered { id, answer: b"answer" }),
        (0, Record::Delivered { id, reason: 0x10 }),
        (1_700_000_002, Record::Accepted { id: seven, head: b"x", body: b"y" }),
        (0, Record::Forgotten { id: seven }),
    ] {
        let item = Item::new(0, &record, at);
        push(item.kind, item.id, &item.payload);
    }
    assert_eq!(bytes, golden());
}

#[test]
fn a_file_of_the_next_version_is_read_and_keeps_what_is_unknown() {
    use frame::kind;
    let records = [
        (kind::ACCEPTED, 3, accepted(9, b"head3", b"body3", b"trace id")),
        (kind::STARTED, 3, [&1u32.to_le_bytes()[..], b"when"].concat()),
        (kind::ACCEPTED, 4, accepted(9, b"head4", b"body4", b"")),
        (kind::NOTE, 0, [&[1][..], &counted(b"note", b"more")].concat()),
        (200, 0, b"of no entry".to_vec()),
        (201, 3, b"of entry 3".to_vec()),
        (202, 4, b"of entry 4".to_vec()),
        (kind::ANSWERED, 3, counted(b"answer3", b"checksum")),
        (kind::DELIVERED, 3, vec![7, 1, 2]),
        (kind::FORGOTTEN, 4, b"why".to_vec()),
        // A record that is too short for what we know of its kind is not one we can read.
        (kind::ANSWERED, 3, vec![9, 9]),
    ];
    let disk = FaultDisk::with(&[(SEGMENT, &segment(2, 1, 128, &records))]);
    let check = |found: &Recovered, journal: &Journal| {
        assert_eq!((found.bytes_lost, found.next_id), (0, EntryId(5)));
        let [entry] = &found.entries[..] else { panic!("{found:?}") };
        assert_eq!((&entry.head[..], entry.starts), (&b"head3"[..], 1));
        assert_eq!((entry.answered, entry.delivered), (true, Some(7)));
        assert_eq!(found.notes[&1], b"note");
        assert_eq!(journal.read_answer(EntryId(3)).unwrap().unwrap(), b"answer3");
    };
    let (journal, found) = open(&disk).unwrap();
    assert_eq!(found.from_version, 2);
    check(&found, &journal);
    // Until it is compacted.
    for i in 0..400u32 {
        journal.append(Record::Note { key: 1, bytes: &i.to_le_bytes() });
    }
    journal.append(Record::Note { key: 1, bytes: b"note" });
    assert!(wait_until(&journal, |p| p.committed == 401));
    journal.close().unwrap();
    let (journal, found) = open(&disk).unwrap();
    let wanted = Tuning { compact_from_bytes: 100, ..tuning() };
    journal.close().unwrap();
    let (journal, _) = open_with(&disk, Durability::Sync, wanted).unwrap();
    let start = std::time::Instant::now();
    while journal.figures().compactions == 0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    check(&found, &journal);
    journal.close().unwrap();
    let (journal, found) = open(&disk).unwrap();
    check(&found, &journal);
    assert_eq!(found.from_version, 1, "it was rewritten");
    let [(_, bytes)] = &disk.segments()[..] else { panic!("one segment") };
    let has = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(has(b"of no entry") && has(b"of entry 3"), "unknown records are kept");
    assert!(!has(b"of entry 4"), "and go with their entry");
    assert!(has(b"trace id") && has(b"checksum"), "so is what is unknown in a known one");
    assert!(!has(b"body3"), "the body is not");
    assert!(found.next_id == EntryId(5), "no number is given twice");
}

#[test]
fn a_file_that_needs_a_newer_reader_is_left_alone() {
    let newer = segment(9, 2, 64, &[]);
    let files: &[(&str, &[u8])] = &[
        (SEGMENT, &newer),
        ("journal-0000000000000006.seg", &golden()),
        ("journal-0000000000000008.new", b"x"),
    ];
    let disk = FaultDisk::with(files);
    let before = disk.files();
    let error = open(&disk).err().expect("refused");
    assert!(matches!(error, JournalError::Newer { needs: 2, ours: 1, .. }), "{error}");
    assert!(error.to_string().contains(SEGMENT), "{error}");
    assert_eq!(disk.files(), before);
}

#[test]
fn a_file_cut_anywhere_gives_all_that_is_whole() {
    let whole = golden();
    let ends = frame_ends(&whole);
    assert_eq!(*ends.last().unwrap(), whole.len());
    for cut in 0..=whole.len() {
        let disk = FaultDisk::with(&[(SEGMENT, &whole[..cut])]);
        let (journal, found) = open(&disk).unwrap();
        let frames = ends.iter().filter(|end| **end <= cut).count();
        let expected: &[u64] = match frames {
            0..4 => &[],
            4..6 => &[5],
            6..10 => &[5, 6],
            // The ninth frame delivers entry 5, which is old.
            10 => &[6],
            11 => &[6, 7],
            _ => &[6],
        };
        assert_eq!(ids(&found), expected, "cut at {cut}");
        // Half a header is none, one of two copies is enough. Zeroes are nothing to lose.
        let end = match frames {
            0 if cut < frame::HEADER_BYTES / 2 => 0,
            0 => frame::HEADER_BYTES,
            frames => ends[frames - 1],
        };
        let used = whole[..cut].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        assert_eq!(found.bytes_lost, used.saturating_sub(end) as u64, "cut at {cut}");
        goes_on(journal, &found, &disk);
    }
}

#[test]
fn a_tail_of_zeroes_is_the_end_and_a_tail_of_garbage_is_cut_off() {
    for zeroes in [1, 19, 20, 5000, 70_000] {
        let mut bytes = golden();
        bytes.resize(bytes.len() + zeroes, 0);
        let disk = FaultDisk::with(&[(SEGMENT, &bytes)]);
        let (journal, found) = open(&disk).unwrap();
        assert_eq!((ids(&found), found.bytes_lost), (vec![6], 0));
        goes_on(journal, &found, &disk);
    }
    for garbage in [1usize, 19, 21, 5000, 70_000] {
        let mut bytes = golden();
        let noise =
            (0..garbage).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 1);
        bytes.extend(noise);
        bytes.resize(bytes.len() + 1000, 0);
        let disk = FaultDisk::with(&[(SEGMENT, &bytes)]);
        let (journal, found) = open(&disk).unwrap();
        assert_eq!((ids(&found), found.bytes_lost), (vec![6], garbage as u64));
        goes_on(journal, &found, &disk);
    }
}

#[test]
fn a_flipped_bit_costs_one_record_and_alters_none() {
    let whole = golden();
    let ends = frame_ends(&whole);
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let disk = FaultDisk::with(&[(SEGMENT, &bytes)]);
        let (journal, found) = open(&disk).unwrap();
        for entry in &found.entries {
            let (head, body): (&[u8], &[u8]) = match entry.id.0 {
                5 => (b"head", b"body"),
                6 => (b"h6", b"b6"),
                7 => (b"x", b"y"),
                other => panic!("entry {other} was invented"),
            };
            assert_eq!(entry.head, head, "bit {bit}");
            assert!(entry.body.is_none() || entry.body.as_deref() == Some(body), "bit {bit}");
            let answer = journal.read_answer(entry.id).unwrap();
            assert!(answer.is_none() || answer.as_deref() == Some(b"answer"), "bit {bit}");
        }
        // Every record but the hit one is there.
        let hit = ends.iter().filter(|end| bit / 8 >= **end).count();
        let frame = if hit == 0 { 0 } else { (ends[hit] - ends[hit - 1]) as u64 };
        assert_eq!(found.bytes_lost, frame, "bit {bit}");
        assert_eq!(ids(&found).contains(&6), hit != 5, "bit {bit}");
        // Damage in the middle is put aside, damage at the end cannot be told from a torn write.
        let aside = disk.files().keys().any(|name| name.ends_with(".damaged"));
        assert_eq!(aside, hit > 0 && hit + 1 < ends.len(), "bit {bit}");
        if bit % 50 == 0 {
            goes_on(journal, &found, &disk);
        }
    }
}

#[test]
fn a_frame_inside_a_prompt_is_none_even_where_the_prompt_is_damaged() {
    let forged_at = 64 + 20 + 16 + 4;
    let mut forged = Vec::new();
    let payload = accepted(1_700_000_000, b"forged", b"", b"");
    frame::push(&mut forged, !SALT, forged_at, frame::kind::ACCEPTED, 66, &payload);
    // With the right salt, but copied from elsewhere.
    frame::push(&mut forged, SALT, forged_at, frame::kind::ACCEPTED, 67, &payload);
    let mut bytes = segment(
        1,
        1,
        64,
        &[
            (frame::kind::ACCEPTED, 1, accepted(9, b"head", &forged, b"")),
            (frame::kind::ACCEPTED, 2, accepted(9, b"head", b"body", b"")),
        ],
    );
    bytes[64] ^= 1;
    let (_journal, found) = open(&FaultDisk::with(&[(SEGMENT, &bytes)])).unwrap();
    assert_eq!(ids(&found), [2]);
}

#[test]
fn only_the_newest_damaged_files_are_kept() {
    let damaged = ["journal-0000000000000001.damaged", "journal-0000000000000002.damaged"];
    let mut bytes = golden();
    bytes[70] ^= 1;
    let disk = FaultDisk::with(&[(SEGMENT, &bytes), (damaged[0], b"1"), (damaged[1], b"2")]);
    drop(open(&disk).unwrap());
    let names: Vec<String> = disk.files().into_keys().collect();
    assert_eq!(
        names,
        [damaged[1], "journal-0000000000000007.damaged", "journal-0000000000000008.seg"]
    );
}

#[test]
fn a_crash_in_any_step_of_a_compaction_leaves_one_journal() {
    let (old, new) = ("journal-0000000000000007.seg", "journal-0000000000000008.seg");
    let stale = segment(1, 1, 64, &[(frame::kind::ACCEPTED, 1, accepted(9, b"stale", b"", b""))]);
    let golden = golden();
    let states: &[&[(&str, &[u8])]] = &[
        &[(old, &golden), ("journal-0000000000000008.new", b"")],
        &[(old, &golden), ("journal-0000000000000008.new", &stale[..70])],
        &[(old, &golden), ("journal-0000000000000008.new", &stale)],
        &[(old, &stale), (new, &golden)],
        &[(new, &golden)],
        // Not by a crash, but a bad medium: an older segment is better than none.
        &[(old, &golden), (new, b"")],
        &[(old, &golden), (new, &[0; 100])],
    ];
    for (i, state) in states.iter().enumerate() {
        let disk = FaultDisk::with(state);
        let (journal, found) = open(&disk).unwrap();
        assert_eq!((ids(&found), found.bytes_lost), (vec![6], 0), "state {i}");
        assert_eq!(disk.files().len(), 1, "state {i}: {:?}", disk.files().keys());
        goes_on(journal, &found, &disk);
    }
    let disk = FaultDisk::with(&[(old, &golden), (new, &[7; 100])]);
    let (_journal, found) = open(&disk).unwrap();
    assert_eq!((ids(&found), found.bytes_lost), (vec![6], 100));
    assert!(disk.files().contains_key("journal-0000000000000008.damaged"));
}

#[test]
fn an_unreadable_sector_costs_what_is_in_it() {
    let big = vec![1u8; 6000];
    let records: Vec<_> =
        (1..=4).map(|id| (frame::kind::ACCEPTED, id, accepted(9, b"head", &big, b""))).collect();
    let disk = FaultDisk::with(&[(SEGMENT, &segment(1, 1, 64, &records))]);
    disk.set_faults(Faults { unreadable: Some((8192, 8704)), ..Faults::default() });
    let (_journal, found) = open(&disk).unwrap();
    assert_eq!(ids(&found), [1, 3, 4]);
    assert_eq!(found.bytes_lost, frame::frame_bytes(6000 + 20));
    assert!(disk.files().keys().any(|name| name.ends_with(".damaged")));
}
