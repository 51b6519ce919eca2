//! How does a record that was read come into the batch?

use crate::kafka::Message;
use crate::record::RecordBatch;
use delivery::member::Member;
use delivery::member::ingest::{BatchSize, Ingest};

/// A partition whose records come in a row, as they do.
pub(super) struct Row {
    topic_handle: usize,
    partition: i32,
    slot: u32,
}

/// Copies a record into the batch where its member takes it; false where it has no room for it now.
pub(super) fn ingest(
    message: &Message<'_>,
    member: &mut Member,
    row: &mut Option<Row>,
    batch: &mut RecordBatch,
) -> bool {
    let (topic_handle, partition) = (message.topic_handle(), message.partition());
    let slot = match row {
        Some(row) if (row.topic_handle, row.partition) == (topic_handle, partition) => row.slot,
        _ => {
            let Some(slot) = member.slot_of(&message.topic(), partition) else { return true };
            *row = Some(Row { topic_handle, partition, slot });
            slot
        }
    };
    let raw = message.raw();
    let bytes = raw.key.map_or(0, <[u8]>::len) + raw.value.map_or(0, <[u8]>::len);
    match member.ingest(slot, raw.offset, bytes) {
        Ingest::Take(assignment) => {
            batch.push(assignment, raw, message.headers());
            true
        }
        Ingest::NoRoom => false,
        Ingest::SettledBefore | Ingest::Refused => true,
    }
}

/// The size of a batch.
pub(super) fn size(batch: &RecordBatch) -> BatchSize {
    BatchSize { records: batch.len(), bytes: batch.bytes() }
}
