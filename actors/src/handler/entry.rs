//! Where are the bytes of a record while its worker has it, and how is their memory kept small?
//!
//! A batch keeps all of its memory as long as one record of it is wanted. Where memory is scarce, records that wait leave the
//! batches whose other records are settled.

use std::sync::Arc;

use delivery::assignment::Assignment;
use delivery::worker::Routed;

use crate::record::{BatchPool, Record, RecordBatch};

/// A record in its batch.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) index: u32,
}

impl Entry {
    #[inline]
    pub(super) fn record(&self) -> Record<'_> {
        self.batch.record(self.index as usize)
    }
}

impl Routed for Entry {
    #[inline]
    fn assignment(&self) -> &Assignment {
        self.record().assignment()
    }

    #[inline]
    fn offset(&self) -> i64 {
        self.record().offset()
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.record().key()
    }
}

/// A batch of which less than this part is still wanted is worth leaving.
const WORTH_LEAVING: usize = 4;
/// Bytes and records of a batch that they move to: small, for it is kept as long as one of them is wanted.
const MAX_MOVED_BYTES: usize = 64 << 10;
const MAX_MOVED_RECORDS: usize = 64;

/// Moves records into batches that hold little else.
pub(super) fn compact<'a>(entries: impl Iterator<Item = &'a mut Entry>, pool: &BatchPool) {
    let mut batch = pool.batch();
    let mut moved: Vec<&mut Entry> = Vec::new();
    // A record in a call keeps its batch; that is bounded by the calls in flight.
    for entry in entries.filter(|entry| Arc::strong_count(&entry.batch) < entry.batch.len() / WORTH_LEAVING) {
        batch.push_copy(&entry.record());
        moved.push(entry);
        if batch.len() >= MAX_MOVED_RECORDS || batch.bytes() >= MAX_MOVED_BYTES {
            settle_down(std::mem::replace(&mut batch, pool.batch()), moved.drain(..));
        }
    }
    settle_down(batch, moved.drain(..));
}

/// The entries are in this batch now, in the order of its records.
fn settle_down<'a>(mut batch: RecordBatch, entries: impl Iterator<Item = &'a mut Entry>) {
    batch.seal();
    let batch = Arc::new(batch);
    for (index, entry) in (0..).zip(entries) {
        *entry = Entry { batch: Arc::clone(&batch), index };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RawRecord;
    use delivery::assignment::Assignment;

    const RECORDS: u32 = 100;

    /// An entry for each record of a batch; a record's value is its offset.
    fn entries(pool: &BatchPool, first: i64) -> Vec<Entry> {
        let assignment = Arc::new(Assignment::new("t".into(), 3, 0, 1));
        let mut batch = pool.batch();
        for offset in first..first + i64::from(RECORDS) {
            let value = offset.to_be_bytes().repeat(100);
            let raw = RawRecord { offset, timestamp_ms: 5, key: Some(b"k"), value: Some(&value) };
            batch.push(&assignment, raw, [(&b"name"[..], Some(&b"header"[..]))].into_iter());
        }
        batch.seal();
        let batch = Arc::new(batch);
        (0..RECORDS).map(|index| Entry { batch: Arc::clone(&batch), index }).collect()
    }

    fn same(entry: &Entry, offset: i64) -> bool {
        let record = entry.record();
        let value = offset.to_be_bytes().repeat(100);
        (record.offset(), record.partition(), record.timestamp_ms()) == (offset, 3, 5)
            && (record.key(), record.value(), record.header("name")) == (Some(b"k"), Some(&value), Some(b"header"))
    }

    #[test]
    fn one_waiting_record_of_each_batch_takes_the_memory_of_a_record_and_is_the_same() {
        let pool = BatchPool::new(100 << 20);
        let batches = (0..100).map(|number| number * 1_000);
        let mut waiting: Vec<Entry> = batches.clone().map(|first| entries(&pool, first).swap_remove(50)).collect();
        let before = (100 << 20) - pool.free_bytes();
        compact(waiting.iter_mut(), &pool);
        let after = (100 << 20) - pool.free_bytes();
        assert!(after * 20 < before, "{before} bytes became {after}");
        assert!(waiting.iter().zip(batches).all(|(entry, first)| same(entry, first + 50)));
        let compacted = Arc::clone(&waiting[0].batch);
        compact(waiting.iter_mut(), &pool);
        assert!(Arc::ptr_eq(&compacted, &waiting[0].batch), "what is compact stays");
    }

    #[test]
    fn a_batch_that_is_wanted_stays() {
        let pool = BatchPool::new(100 << 20);
        let mut waiting = entries(&pool, 0);
        waiting.truncate(30);
        let batch = Arc::clone(&waiting[0].batch);
        compact(waiting.iter_mut(), &pool);
        assert!(waiting.iter().all(|entry| Arc::ptr_eq(&entry.batch, &batch)));
    }
}
