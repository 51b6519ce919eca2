//! How is progress above the frontier written into a commit's metadata, and read from it?
//!
//! The idea is that of Confluent's Parallel Consumer: the offsets' own commit carries the completion that an offset
//! alone cannot say, so that a restart repeats only what was unsettled. The form is ours: the letter `a` for the
//! version, then base64url (RFC 4648, without padding) of a checksum and of varints (LEB128), which are by turns the
//! number of offsets unsettled and settled, beginning at the committed offset. ASCII, as Kafka wants it.

use std::ops::Range;

/// Longest metadata that is written. Brokers refuse more than `offset.metadata.max.bytes`, 4096 by default.
pub const MAX_METADATA_BYTES: usize = 4000;

const VERSION: char = 'a';
/// Begins what a commit carries behind its progress: see [`name`](super::name).
pub(crate) const TAG: char = '~';
const CHECKSUM_BYTES: usize = 4;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Why metadata was not read. The records are repeated, nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It was written by somebody else or by a later version.
    #[error("it is not ours")]
    Foreign,
    /// It is damaged.
    #[error("it is damaged")]
    Damaged,
}

/// Writes the settled runs above `base`. Runs are in ascending order, do not touch, and none begins at `base`.
///
/// Nothing settled above the base is the empty string. What would make it longer than `max_bytes` is left out from the
/// end, and would be repeated after a restart. Backpressure holds a partition before that can happen.
#[must_use]
pub fn encode(base: i64, settled: impl Iterator<Item = Range<i64>>, max_bytes: usize) -> String {
    // The checksum's place; it is known last.
    let mut bytes = vec![0; CHECKSUM_BYTES];
    let mut at = base;
    for run in settled {
        let (gap, length) = (run.start.abs_diff(at), run.start.abs_diff(run.end));
        if gap == 0 || run.start < at || run.end <= run.start {
            debug_assert!(false, "runs ascend and do not touch");
            break;
        }
        let before = bytes.len();
        write_varint(&mut bytes, gap);
        write_varint(&mut bytes, length);
        if 1 + base64_len(bytes.len()) > max_bytes {
            bytes.truncate(before);
            break;
        }
        at = run.end;
    }
    if bytes.len() == CHECKSUM_BYTES {
        return String::new();
    }
    let checksum = checksum(base, &bytes[CHECKSUM_BYTES..]);
    bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum);
    let mut text = String::with_capacity(1 + base64_len(bytes.len()));
    text.push(VERSION);
    write_base64(&mut text, &bytes);
    text
}

/// Reads what [`encode`] wrote for the same base: the settled runs.
///
/// # Errors
/// When it is not ours, damaged, or was written for another base.
pub fn decode(base: i64, metadata: &str) -> Result<Vec<Range<i64>>, DecodeError> {
    let metadata = metadata.split_once(TAG).map_or(metadata, |(progress, _)| progress);
    if metadata.is_empty() {
        return Ok(Vec::new());
    }
    let text = metadata.strip_prefix(VERSION).ok_or(DecodeError::Foreign)?;
    let bytes = read_base64(text).ok_or(DecodeError::Foreign)?;
    let (sum, mut rest) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or(DecodeError::Damaged)?;
    if *sum != checksum(base, rest) {
        return Err(DecodeError::Damaged);
    }
    let mut runs = Vec::new();
    let mut at = base;
    while !rest.is_empty() {
        let mut next = || {
            let length = i64::try_from(read_varint(&mut rest)?).ok().filter(|length| *length > 0)?;
            at = at.checked_add(length)?;
            Some(at)
        };
        let (start, end) = next().zip(next()).ok_or(DecodeError::Damaged)?;
        runs.push(start..end);
    }
    Ok(runs)
}

/// FNV-1a over the base and the bytes: runs read at another offset than they were written for mean other records.
fn checksum(base: i64, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let base = base.to_le_bytes();
    let hash = base
        .iter()
        .chain(bytes)
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_le_bytes()
}

fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

/// Bytes that a varint takes; zero is never written and takes none.
pub(crate) fn varint_len(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()).div_ceil(7) as usize
}

/// Bytes that the runs may take in metadata of at most so many.
pub(crate) fn max_runs_bytes(max_metadata_bytes: usize) -> usize {
    (max_metadata_bytes.saturating_sub(1) * 3 / 4).saturating_sub(CHECKSUM_BYTES)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(shift).filter(|shifted| shifted >> shift == part)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn base64_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

pub(crate) fn write_base64(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let [first, second, third] = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let group = first << 16 | second << 8 | third;
        for at in 0..=chunk.len() {
            let six = group >> (18 - 6 * at) & 0x3f;
            text.push(char::from(ALPHABET[six as usize]));
        }
    }
}

pub(crate) fn read_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.as_bytes().chunks(4) {
        let mut group = 0u32;
        for at in 0..4 {
            let six = match chunk.get(at) {
                None => 0,
                Some(letter) => u32::try_from(ALPHABET.iter().position(|known| known == letter)?).ok()?,
            };
            group = group << 6 | six;
        }
        if chunk.len() == 1 {
            return None;
        }
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs above `base` from alternating lengths.
    fn runs(base: i64, lengths: &[(i64, i64)]) -> Vec<Range<i64>> {
        let mut at = base;
        lengths
            .iter()
            .map(|(gap, length)| {
                let start = at + gap;
                at = start + length;
                start..at
            })
            .collect()
    }

    #[test]
    fn nothing_above_the_frontier_is_nothing() {
        assert_eq!(encode(7, std::iter::empty(), MAX_METADATA_BYTES), "");
        assert_eq!(decode(7, ""), Ok(vec![]));
    }

    #[test]
    fn what_is_not_ours_or_damaged_or_of_another_base_is_refused() {
        let text = encode(100, [101..105, 200..201].into_iter(), MAX_METADATA_BYTES);
        assert_eq!(decode(100, &text), Ok(vec![101..105, 200..201]));
        assert_eq!(decode(101, &text), Err(DecodeError::Damaged));
        for foreign in ["b", "{\"some\":1}", "a!", "aaaaaa"] {
            assert_eq!(decode(100, foreign), Err(DecodeError::Foreign), "{foreign}");
        }
        assert_eq!(decode(100, "aAA"), Err(DecodeError::Damaged));
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let all = runs(0, &vec![(1, 1); 10_000]);
        let text = encode(0, all.iter().cloned(), MAX_METADATA_BYTES);
        assert!(text.len() <= MAX_METADATA_BYTES && text.is_ascii());
        let read = decode(0, &text).unwrap();
        assert!(read.len() > 1_000 && all.starts_with(&read));
    }

    #[test]
    fn what_the_runs_may_take_fills_the_metadata_and_no_more() {
        for max in [20, 21, 22, 23, 4000] {
            let runs = max_runs_bytes(max);
            let length = |runs: usize| 1 + base64_len(CHECKSUM_BYTES + runs);
            assert!(length(runs) <= max && length(runs + 1) > max);
        }
        for number in [1, 127, 128, 16_383, 16_384, u64::MAX] {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, number);
            assert_eq!(varint_len(number), bytes.len());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(base in 0i64..1 << 40, lengths in prop::collection::vec((1i64..1 << 20, 1i64..1 << 20), 0..300)) {
            let runs = runs(base, &lengths);
            let text = encode(base, runs.iter().cloned(), MAX_METADATA_BYTES);
            prop_assert!(text.is_ascii() && text.len() <= MAX_METADATA_BYTES);
            prop_assert_eq!(decode(base, &text), Ok(runs));
        }

        #[test]
        fn a_changed_letter_is_noticed(lengths in prop::collection::vec((1i64..9, 1i64..9), 1..20), at in any::<prop::sample::Index>(), letter in 0usize..64) {
            let text = encode(5, runs(5, &lengths).into_iter(), MAX_METADATA_BYTES);
            let mut changed = text.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = ALPHABET[letter];
            let changed = String::from_utf8(changed).unwrap();
            // The last letter may hold bits that are not used.
            prop_assume!(changed != text && at + 1 < text.len());
            prop_assert!(decode(5, &changed).is_err());
        }

        #[test]
        fn anything_at_all_is_read_without_a_panic(text in ".{0,80}") {
            let _ = decode(1, &text);
        }
    }
}
