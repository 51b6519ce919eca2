//! Where memory is scarce, records that wait leave the batches whose other records are settled: a batch keeps all of its
//! memory as long as one of them is wanted.

use std::sync::Arc;

use super::actor::HandlerActor;
use super::invoke::Invoke;
use super::item::Item;
use crate::record::{BatchPool, RecordBatch};

/// A batch of which less than this part is still wanted is worth leaving.
const WORTH_LEAVING: usize = 4;
/// Bytes and records of a batch that they move to: small, for it is kept as long as one of them is wanted.
const MAX_MOVED_BYTES: usize = 64 << 10;
const MAX_MOVED_RECORDS: usize = 64;

impl<I: Invoke> HandlerActor<I> {
    /// Compacts where memory is scarce, and not before as many records have come and gone as there are to look at.
    pub(super) fn compact_when_crowded(&mut self) {
        if self.since_compacted >= self.lanes.queued() && self.around.pool.is_crowded() {
            self.since_compacted = 0;
            compact(self.lanes.items_mut(), &self.around.pool);
        }
    }
}

fn compact<'a>(items: impl Iterator<Item = &'a mut Item>, pool: &BatchPool) {
    let mut batch = pool.batch();
    let mut moved: Vec<&mut Item> = Vec::new();
    // Whoever works on a record now keeps its batch; that is bounded by what is worked on.
    for item in items.filter(|item| Arc::strong_count(&item.batch) < item.batch.len() / WORTH_LEAVING) {
        batch.push_copy(&item.record());
        moved.push(item);
        if batch.len() >= MAX_MOVED_RECORDS || batch.bytes() >= MAX_MOVED_BYTES {
            settle_down(std::mem::replace(&mut batch, pool.batch()), moved.drain(..));
        }
    }
    settle_down(batch, moved.drain(..));
}

/// The items are in this batch now, in the order of its records.
fn settle_down<'a>(mut batch: RecordBatch, items: impl Iterator<Item = &'a mut Item>) {
    batch.seal();
    let batch = Arc::new(batch);
    for (index, item) in (0..).zip(items) {
        item.batch = Arc::clone(&batch);
        item.index = index;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::record::RawRecord;
    use delivery::assignment::Assignment;

    const RECORDS: u32 = 100;

    /// An item for each record of a batch; a record's value is its offset.
    fn items(pool: &BatchPool, first: i64) -> Vec<Item> {
        let assignment = Arc::new(Assignment::new("t".into(), 3, 0, 1));
        let mut batch = pool.batch();
        for offset in first..first + i64::from(RECORDS) {
            let value = offset.to_be_bytes().repeat(100);
            let raw = RawRecord { offset, timestamp_ms: 5, key: Some(b"k"), value: Some(&value) };
            batch.push(&assignment, raw, [(&b"name"[..], Some(&b"header"[..]))].into_iter());
        }
        batch.seal();
        let batch = Arc::new(batch);
        (0..RECORDS).map(|index| Item::new(Arc::clone(&batch), index, &Rc::default())).collect()
    }

    fn same(item: &Item, offset: i64) -> bool {
        let record = item.record();
        let value = offset.to_be_bytes().repeat(100);
        (record.offset(), record.partition(), record.timestamp_ms()) == (offset, 3, 5)
            && (record.key(), record.value(), record.header("name")) == (Some(b"k"), Some(&value), Some(b"header"))
    }

    #[test]
    fn one_waiting_record_of_each_batch_takes_the_memory_of_a_record_and_is_the_same() {
        let pool = BatchPool::new(100 << 20);
        let batches = (0..100).map(|number| number * 1_000);
        let mut waiting: Vec<Item> = batches.clone().map(|first| items(&pool, first).swap_remove(50)).collect();
        let before = (100 << 20) - pool.free_bytes();
        compact(waiting.iter_mut(), &pool);
        let after = (100 << 20) - pool.free_bytes();
        assert!(after * 20 < before, "{before} bytes became {after}");
        assert!(waiting.iter().zip(batches).all(|(item, first)| same(item, first + 50)));
        let compacted = Arc::clone(&waiting[0].batch);
        compact(waiting.iter_mut(), &pool);
        assert!(Arc::ptr_eq(&compacted, &waiting[0].batch), "what is compact stays");
    }

    #[test]
    fn a_batch_that_is_wanted_stays() {
        let pool = BatchPool::new(100 << 20);
        let mut waiting = items(&pool, 0);
        waiting.truncate(30);
        let batch = Arc::clone(&waiting[0].batch);
        compact(waiting.iter_mut(), &pool);
        assert!(waiting.iter().all(|item| Arc::ptr_eq(&item.batch, &batch)));
    }
}
