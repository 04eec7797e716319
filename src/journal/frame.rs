//! How a segment file and its records look in bytes; see `docs/journal.md`. Pure: no files.
//!
//! Checksums begin with the segment's salt and the place of the frame: a frame inside a prompt
//! (which a requester chose) or in the wrong place is no frame.

use crc32fast::Hasher;

/// The format that this code writes.
pub const VERSION: u16 = 1;
/// The oldest version that can read what this code writes.
pub const OLDEST_READER: u16 = 1;
/// Where the frames of a segment of our own begin: after two copies of the header.
pub const HEADER_BYTES: usize = 64;
/// A frame without its payload.
pub const FRAME_BYTES: usize = 20;

const COPY_BYTES: usize = HEADER_BYTES / 2;
const MAGIC: [u8; 8] = *b"slmd-jnl";

/// The kinds of records; a kind, once given, is never given anew.
pub mod kind {
    /// A prompt: head and body.
    pub const ACCEPTED: u8 = 1;
    /// Its inference began, so many times.
    pub const STARTED: u8 = 2;
    /// One start taken back.
    pub const PARKED: u8 = 3;
    /// The answer.
    pub const ANSWERED: u8 = 4;
    /// The answer has left, with this reason code.
    pub const DELIVERED: u8 = 5;
    /// The entry is gone.
    pub const FORGOTTEN: u8 = 6;
    /// Small keyed state.
    pub const NOTE: u8 = 7;
    /// The id of the frame is the next free one; no payload.
    pub const FLOOR: u8 = 8;
}

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format of who began the segment.
    pub version: u16,
    /// The oldest version that can still read it.
    pub oldest_reader: u16,
    /// Offset of the first frame.
    pub frames_at: u32,
    /// What the checksums begin with; random, so that nobody can put a valid frame into a prompt.
    pub salt: u64,
}

impl Header {
    /// The header of a segment of our own.
    pub fn new(salt: u64) -> Self {
        let frames_at = HEADER_BYTES as u32;
        Self { version: VERSION, oldest_reader: OLDEST_READER, frames_at, salt }
    }

    /// Both copies.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut copy = [0u8; COPY_BYTES];
        copy[..8].copy_from_slice(&MAGIC);
        copy[8..10].copy_from_slice(&self.version.to_le_bytes());
        copy[10..12].copy_from_slice(&self.oldest_reader.to_le_bytes());
        copy[12..16].copy_from_slice(&self.frames_at.to_le_bytes());
        copy[16..24].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&copy[..COPY_BYTES - 4]);
        copy[COPY_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let mut both = [0u8; HEADER_BYTES];
        both[..COPY_BYTES].copy_from_slice(&copy);
        both[COPY_BYTES..].copy_from_slice(&copy);
        both
    }

    /// The first copy that is whole.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.chunks_exact(COPY_BYTES).take(2).find_map(|copy| {
            let crc = crc32fast::hash(&copy[..COPY_BYTES - 4]);
            if copy[..8] != MAGIC || u32_at(copy, COPY_BYTES - 4)? != crc {
                return None;
            }
            Some(Self {
                version: u16_at(copy, 8)?,
                oldest_reader: u16_at(copy, 10)?,
                frames_at: u32_at(copy, 12)?.max(HEADER_BYTES as u32),
                salt: u64_at(copy, 16)?,
            })
        })
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload.
    pub len: u32,
    /// One of [`kind`], or one of a later version.
    pub kind: u8,
    /// The entry's number; 0 for what belongs to none.
    pub id: u64,
    crc: u32,
}

impl FrameHead {
    /// Reads the head of a frame that stands at `at`; None for what is none.
    pub fn decode(bytes: &[u8], salt: u64, at: u64) -> Option<Self> {
        let bytes = bytes.get(..FRAME_BYTES)?;
        // A kind of zero is the zeroes that a segment is filled with ahead of its end.
        if bytes[4] == 0 {
            return None;
        }
        let check = hash_head(bytes, salt, at).finalize() as u16;
        if u16_at(bytes, 6)? != check {
            return None;
        }
        let (len, id, crc) = (u32_at(bytes, 0)?, u64_at(bytes, 8)?, u32_at(bytes, 16)?);
        Some(Self { len, kind: bytes[4], id, crc })
    }

    /// Whether `payload` is what was written behind the head `bytes`.
    pub fn is_of(&self, bytes: &[u8], payload: &[u8], salt: u64, at: u64) -> bool {
        let mut hasher = hash_head(bytes, salt, at);
        hasher.update(payload);
        payload.len() == self.len as usize && hasher.finalize() == self.crc
    }
}

/// Appends a frame to `out`; `at` is where it will stand in its segment.
pub fn push(out: &mut Vec<u8>, salt: u64, at: u64, kind: u8, id: u64, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("a record of 4 GiB does not fit the memory");
    let mut head = [0u8; FRAME_BYTES];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4] = kind;
    head[8..16].copy_from_slice(&id.to_le_bytes());
    let mut hasher = hash_head(&head, salt, at);
    head[6..8].copy_from_slice(&(hasher.clone().finalize() as u16).to_le_bytes());
    hasher.update(payload);
    head[16..].copy_from_slice(&hasher.finalize().to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
}

/// Bytes of a frame with such a payload.
pub fn frame_bytes(payload: u32) -> u64 {
    FRAME_BYTES as u64 + u64::from(payload)
}

fn hash_head(head: &[u8], salt: u64, at: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.update(&head[..6]);
    hasher.update(&head[8..16]);
    hasher
}

/// A little-endian number in `bytes`, if it reaches that far.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// As [`u16_at`].
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// As [`u16_at`].
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_any_flipped_bit() {
        let header = Header::new(0x1234_5678_9abc_def0);
        let bytes = header.encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Some(header), "bit {bit}");
        }
        assert_eq!(Header::decode(&bytes[..31]), None);
        assert_eq!(Header::decode(&[0; 64]), None);
    }

    #[test]
    fn a_frame_is_one_in_its_own_place_and_segment_only() {
        let mut bytes = Vec::new();
        push(&mut bytes, 7, 64, kind::NOTE, 3, b"payload");
        let head = FrameHead::decode(&bytes, 7, 64).expect("a frame");
        assert_eq!((head.len, head.kind, head.id), (7, kind::NOTE, 3));
        assert!(head.is_of(&bytes, b"payload", 7, 64));
        assert!(!head.is_of(&bytes, b"payloae", 7, 64));
        assert!(!head.is_of(&bytes, b"payloa", 7, 64));
        assert_eq!(FrameHead::decode(&bytes, 8, 64), None, "another segment's salt");
        assert_eq!(FrameHead::decode(&bytes, 7, 65), None, "another place");
        for bit in 0..FRAME_BYTES * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let valid = FrameHead::decode(&bytes, 7, 64)
                .is_some_and(|h| h.is_of(&bytes, bytes.get(FRAME_BYTES..).unwrap(), 7, 64));
            assert!(!valid, "bit {bit}");
        }
    }
}
