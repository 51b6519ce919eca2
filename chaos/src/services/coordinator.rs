//! What the group coordinator wrote into `__consumer_offsets`: every commit of a run with its time, and every generation
//! of the groups. The format is Kafka's own (`OffsetCommitKey`, `OffsetCommitValue`, `GroupMetadataValue`).

use std::collections::BTreeSet;
use std::ops::Range;

use delivery::member::progress::{codec, name};

use crate::kcat::Record;

/// Topic that the coordinator writes to.
pub(crate) const TOPIC: &str = "__consumer_offsets";

/// A commit of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// What is settled above the offset, as its metadata says.
    pub(crate) settled_above: Vec<Range<i64>>,
    /// When the coordinator took it, by its clock.
    pub(crate) at_ms: i64,
}

/// What the groups did.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// In the order of the coordinator.
    pub(crate) commits: Vec<Commit>,
    /// Group and number of each generation that had members: one for each rebalance.
    pub(crate) generations: BTreeSet<(String, i32)>,
}

impl Groups {
    /// Reads the coordinator's records.
    ///
    /// # Errors
    /// The record that is not understood.
    pub(crate) fn read(records: &[Record]) -> Result<Self, String> {
        let mut groups = Self::default();
        for record in records {
            // A tombstone takes back what no one needs any more.
            let (Some(key), Some(value)) = (&record.key, &record.value) else { continue };
            groups.take(key, value).ok_or_else(|| {
                format!("{TOPIC}/{} at {}: this format is not known", record.partition, record.offset)
            })??;
        }
        Ok(groups)
    }

    /// `None` where the bytes are not understood.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<Result<(), String>> {
        let (mut key, mut value) = (Bytes(key), Bytes(value));
        match key.short()? {
            0 | 1 => {
                let (group, topic, partition) = (key.text()?, key.text()?, key.int()?);
                let version = value.short()?;
                let offset = value.long()?;
                if version >= 3 {
                    value.int()?; // epoch of the leader
                }
                let metadata = if version >= 4 { value.compact_text()? } else { value.text()? };
                let at_ms = value.long()?;
                let progress = name::progress_of(&metadata).unwrap_or(&metadata);
                let settled_above = match codec::decode(offset, progress) {
                    Ok(runs) => runs,
                    Err(error) => return Some(Err(format!("{group}: metadata at {topic}/{partition}: {error}"))),
                };
                self.commits.push(Commit { group, topic, partition, offset, settled_above, at_ms });
            }
            2 => {
                let group = key.text()?;
                let version = value.short()?;
                if version >= 4 {
                    return None;
                }
                let (_, generation) = (value.text()?, value.int()?);
                // Without a protocol it is a group that everybody has left.
                if value.nullable_text()?.is_some() {
                    self.generations.insert((group, generation));
                }
            }
            _ => return None,
        }
        Some(Ok(()))
    }
}

/// Kafka's serialisation, read from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn short(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        self.nullable_text()?
    }

    /// The outer `None`: not understood; the inner one: null.
    #[allow(clippy::option_option)]
    fn nullable_text(&mut self) -> Option<Option<String>> {
        match self.short()? {
            -1 => Some(None),
            length => self.letters(usize::try_from(length).ok()?).map(Some),
        }
    }

    /// The length, plus one, as a varint is before it.
    fn compact_text(&mut self) -> Option<String> {
        let mut length = 0;
        for shift in (0..28).step_by(7) {
            let [byte] = self.take()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.letters(length.checked_sub(1)?);
            }
        }
        None
    }

    fn letters(&mut self, length: usize) -> Option<String> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(taken.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &[u8], value: &[u8]) -> Record {
        Record { key: Some(key.to_vec()), value: Some(value.to_vec()), ..Record::default() }
    }

    const COMMIT_KEY: &[u8] = b"\0\x01\0\x02g1\0\x02t1\0\0\0\x05";

    #[test]
    fn commits_of_every_format_are_read() {
        let metadata = codec::encode(7, [9..11, 12..13].into_iter(), 100);
        let length = u8::try_from(metadata.len()).unwrap();
        let begin = |version: u8| [&[0, version][..], &7_i64.to_be_bytes()].concat();
        let one = [&begin(1)[..], &[0, length], metadata.as_bytes(), &99_i64.to_be_bytes(), &[0; 8]].concat();
        let three = [&begin(3)[..], &[0; 4], &[0, length], metadata.as_bytes(), &99_i64.to_be_bytes()].concat();
        let four = [&begin(4)[..], &[0; 4], &[length + 1], metadata.as_bytes(), &99_i64.to_be_bytes(), &[0]].concat();
        for value in [one, three, four] {
            let groups = Groups::read(&[record(COMMIT_KEY, &value)]).unwrap();
            let expected = Commit {
                group: "g1".into(),
                topic: "t1".into(),
                partition: 5,
                offset: 7,
                settled_above: [9..11, 12..13].into(),
                at_ms: 99,
            };
            assert_eq!(groups.commits, [expected]);
        }
    }

    #[test]
    fn a_generation_counts_once_and_only_with_members() {
        let key = b"\0\x02\0\x02g1";
        let value = |generation: u8, protocol: &[u8]| {
            record(key, &[b"\0\x03\0\x08consumer\0\0\0", &[generation][..], protocol, b"more"].concat())
        };
        let sticky = b"\0\x06sticky";
        let records = [value(1, sticky), value(1, sticky), value(2, b"\xff\xff"), value(3, sticky)];
        let groups = Groups::read(&records).unwrap();
        assert_eq!(groups.generations, [("g1".to_owned(), 1), ("g1".to_owned(), 3)].into());
    }

    #[test]
    fn what_is_not_understood_is_said_and_a_tombstone_passes() {
        assert!(Groups::read(&[record(b"\0\x09", b"\0\0")]).is_err());
        assert!(Groups::read(&[record(COMMIT_KEY, b"\0\x03\0")]).is_err());
        assert!(Groups::read(&[Record { value: None, ..record(COMMIT_KEY, b"") }]).unwrap().commits.is_empty());
        let foreign = [&b"\0\x01"[..], &7_i64.to_be_bytes(), b"\0\x03xyz", &[0; 16]].concat();
        assert!(Groups::read(&[record(COMMIT_KEY, &foreign)]).unwrap_err().contains("not ours"));
    }
}
