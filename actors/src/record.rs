//! Records as they came off a partition: one arena per batch, and views into it.

mod pool;

use std::fmt;
use std::sync::Arc;

pub use pool::BatchPool;
use pool::Buffers;

use delivery::assignment::Assignment;

/// A range of the arena; `len == ABSENT` is a null key or value.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

const ABSENT: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    timestamp_ms: i64,
    assignment: u32,
    key: Span,
    value: Span,
    headers: Span,
}

/// Records that cross a mailbox in one actor message. Their bytes lie in one arena.
pub struct RecordBatch {
    buffers: Buffers,
    assignments: Vec<Arc<Assignment>>,
    pool: BatchPool,
    /// What the pool counts for it.
    held_bytes: usize,
}

impl Drop for RecordBatch {
    fn drop(&mut self) {
        self.pool.hold(self.held_bytes, 0);
        self.pool.recycle(std::mem::take(&mut self.buffers));
    }
}

/// What a source hands over for one record; the bytes are copied into the batch.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch, or -1 where the broker gave none.
    pub timestamp_ms: i64,
    /// Key, or `None` for a null key.
    pub key: Option<&'a [u8]>,
    /// Value, or `None` for a null value (a tombstone).
    pub value: Option<&'a [u8]>,
}

impl RecordBatch {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffers.entries.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffers.entries.is_empty()
    }

    /// Bytes of all keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffers.arena.len()
    }

    /// Appends a record with its headers; returns the bytes it takes in the arena.
    ///
    /// # Panics
    /// When the batch would pass 4 GiB, which no source lets happen: it closes a batch at about a mebibyte, and
    /// a single record is at most 1 GB (`message.max.bytes`).
    pub fn push<'h>(
        &mut self,
        assignment: &Arc<Assignment>,
        record: RawRecord<'_>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> usize {
        let before = self.buffers.arena.len();
        let index = self.assignment_index(assignment);
        let key = self.copy(record.key);
        let value = self.copy(record.value);
        let headers = self.copy_headers(headers);
        self.buffers.entries.push(Entry {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            assignment: index,
            key,
            value,
            headers,
        });
        self.buffers.arena.len() - before
    }

    /// Appends a copy of a record of another batch.
    pub fn push_copy(&mut self, record: &Record<'_>) {
        let raw = RawRecord {
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            key: record.key(),
            value: record.value(),
        };
        self.push(record.assignment(), raw, record.headers());
    }

    /// The batch is complete: it gives back memory that it does not need, and counts in its pool as long as it lives.
    pub fn seal(&mut self) {
        self.buffers.shrink();
        let now = self.buffers.size();
        self.pool.hold(std::mem::replace(&mut self.held_bytes, now), now);
    }

    /// The record at `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[must_use]
    #[inline]
    pub fn record(&self, index: usize) -> Record<'_> {
        Record { entry: &self.buffers.entries[index], batch: self }
    }

    /// The assignments of the batch's records; [`assignment_of`](Self::assignment_of) indexes into them.
    #[must_use]
    pub fn assignments(&self) -> &[Arc<Assignment>] {
        &self.assignments
    }

    /// Index of the record's assignment in [`assignments`](Self::assignments).
    #[must_use]
    pub fn assignment_of(&self, index: usize) -> usize {
        self.buffers.entries[index].assignment as usize
    }

    fn assignment_index(&mut self, assignment: &Arc<Assignment>) -> u32 {
        // Records come in runs of one partition, so the last one used is nearly always the right one.
        let found = self.assignments.iter().rposition(|known| Arc::ptr_eq(known, assignment));
        let index = found.unwrap_or_else(|| {
            self.assignments.push(Arc::clone(assignment));
            self.assignments.len() - 1
        });
        u32::try_from(index).expect("a batch holds some hundred records, so no more assignments")
    }

    fn copy(&mut self, bytes: Option<&[u8]>) -> Span {
        let start = arena_u32(self.buffers.arena.len());
        match bytes {
            None => Span { start, len: ABSENT },
            Some(bytes) => {
                self.buffers.arena.extend_from_slice(bytes);
                Span { start, len: arena_u32(bytes.len()) }
            }
        }
    }

    /// Headers lie in the arena as `name_len name value_len value`, lengths as little-endian u32, `ABSENT` for null.
    fn copy_headers<'h>(&mut self, headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) -> Span {
        let arena = &mut self.buffers.arena;
        let start = arena.len();
        for (name, value) in headers {
            arena.extend_from_slice(&arena_u32(name.len()).to_le_bytes());
            arena.extend_from_slice(name);
            arena.extend_from_slice(&value.map_or(ABSENT, |value| arena_u32(value.len())).to_le_bytes());
            arena.extend_from_slice(value.unwrap_or_default());
        }
        Span { start: arena_u32(start), len: arena_u32(arena.len() - start) }
    }

    #[inline]
    fn slice(&self, span: Span) -> Option<&[u8]> {
        (span.len != ABSENT).then(|| {
            let start = span.start as usize;
            &self.buffers.arena[start..start + span.len as usize]
        })
    }
}

fn arena_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a batch stays far below 4 GiB")
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch").field("len", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// A view of one record of a batch.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    entry: &'a Entry,
    batch: &'a RecordBatch,
}

impl<'a> Record<'a> {
    /// Topic it came from.
    #[must_use]
    pub fn topic(&self) -> &'a Arc<str> {
        &self.assignment().topic
    }

    /// Partition it came from.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.assignment().partition
    }

    /// Offset in the partition.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.entry.offset
    }

    /// Milliseconds since the epoch, or -1 where the broker gave none.
    #[must_use]
    pub fn timestamp_ms(&self) -> i64 {
        self.entry.timestamp_ms
    }

    /// Key, or `None` for a null key.
    #[must_use]
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.batch.slice(self.entry.key)
    }

    /// Value, or `None` for a null value.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.batch.slice(self.entry.value)
    }

    /// The headers in their order; a name can come more than once.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers { rest: self.batch.slice(self.entry.headers).unwrap_or_default() }
    }

    /// Whether it has headers.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        self.entry.headers.len > 0
    }

    /// The last header of that name, as Kafka's clients read it; `None` also where its value is null.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|(known, _)| *known == name.as_bytes()).last().and_then(|(_, value)| value)
    }

    /// The assignment it came with.
    #[must_use]
    #[inline]
    pub fn assignment(&self) -> &'a Arc<Assignment> {
        &self.batch.assignments[self.entry.assignment as usize]
    }
}

/// Iterates over the headers of a record.
#[derive(Clone)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn length(&mut self) -> Option<u32> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*length))
    }

    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.length()?;
        let name = self.take(length)?;
        let value = match self.length()? {
            ABSENT => None,
            length => Some(self.take(length)?),
        };
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw<'a>(offset: i64, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> RawRecord<'a> {
        RawRecord { offset, timestamp_ms: 7, key, value }
    }

    #[test]
    fn a_batch_gives_back_what_was_put_in() {
        let assignment = Arc::new(Assignment::new("t".into(), 3, 0, 1));
        let other = Arc::new(Assignment::new("u".into(), 4, 1, 2));
        let mut batch = BatchPool::default().batch();
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            vec![(b"a", Some(b"1")), (b"null", None), (b"", Some(b"")), (b"a", Some(b"2"))];
        batch.push(&assignment, raw(5, Some(b"k"), Some(b"value")), headers.iter().copied());
        batch.push(&other, raw(6, None, None), std::iter::empty());
        batch.push(&assignment, raw(9, Some(b""), Some(b"")), std::iter::empty());

        let first = batch.record(0);
        assert_eq!((&**first.topic(), first.partition(), first.offset(), first.timestamp_ms()), ("t", 3, 5, 7));
        assert_eq!((first.key(), first.value()), (Some(&b"k"[..]), Some(&b"value"[..])));
        assert_eq!(first.headers().collect::<Vec<_>>(), headers);
        assert_eq!((first.header("a"), first.header("null"), first.header("b")), (Some(&b"2"[..]), None, None));
        assert_eq!((batch.record(1).key(), batch.record(1).value()), (None, None));
        assert_eq!((batch.record(2).key(), batch.record(2).value()), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!(batch.assignments().len(), 2);
    }

    #[test]
    fn memory_goes_back_to_the_pool_and_comes_out_empty() {
        let pool = BatchPool::default();
        let assignment = Arc::new(Assignment::new("t".into(), 0, 0, 1));
        let mut batch = pool.batch();
        batch.push(&assignment, raw(0, None, Some(&[1; 100])), std::iter::empty());
        drop(batch);
        let again = pool.batch();
        assert!(again.is_empty() && again.buffers.arena.capacity() >= 100);
    }

    #[test]
    fn a_sealed_batch_counts_with_all_its_memory_until_no_record_of_it_is_wanted() {
        let pool = BatchPool::new(2_000_000);
        let assignment = Arc::new(Assignment::new("t".into(), 0, 0, 1));
        let mut batch = pool.batch();
        for offset in 0..600 {
            batch.push(&assignment, raw(offset, None, Some(&[1; 1_000])), std::iter::empty());
        }
        batch.seal();
        batch.seal();
        let (one, other) = (Arc::new(batch), pool.batch());
        assert!(pool.is_crowded() && (1..1_400_000).contains(&pool.free_bytes()), "{}", pool.free_bytes());
        let last = Arc::clone(&one);
        drop((one, other));
        assert!(pool.is_crowded(), "somebody holds a record of it");
        drop(last);
        assert_eq!(pool.free_bytes(), 2_000_000);
    }

    #[test]
    fn a_small_batch_on_memory_of_a_large_one_keeps_little_of_it() {
        let pool = BatchPool::new(1_000_000);
        let assignment = Arc::new(Assignment::new("t".into(), 0, 0, 1));
        let mut large = pool.batch();
        large.push(&assignment, raw(0, None, Some(&vec![1; 100_000])), std::iter::empty());
        drop(large);
        let mut small = pool.batch();
        small.push_copy(
            &{
                let mut from = BatchPool::default().batch();
                from.push(&assignment, raw(7, Some(b"k"), Some(b"v")), std::iter::empty());
                from
            }
            .record(0),
        );
        small.seal();
        assert!(pool.free_bytes() > 999_000, "{}", pool.free_bytes());
        assert_eq!(
            (small.record(0).offset(), small.record(0).key(), small.record(0).value()),
            (7, Some(&b"k"[..]), Some(&b"v"[..]))
        );
    }
}
