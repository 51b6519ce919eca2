//! A record comes into a batch, where its partition takes it.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::kafka::Message;
use crate::record::RecordBatch;
use delivery::assignment::Assignment;
use delivery::member::intake::{Intake, Tracking};

/// What was left out of a batch, and why.
#[derive(Default)]
pub(super) struct LeftOut {
    /// Records that an earlier owner had settled.
    pub(super) skipped: u64,
    /// Slots whose log went back; they began anew.
    pub(super) went_back: Vec<u32>,
}

/// A partition whose records come in a row, as they do.
pub(super) struct InARow {
    topic_handle: usize,
    partition: i32,
    slot: u32,
    /// Records that it may still take without being asked again.
    room: usize,
}

/// Copies a record into the batch; false where its partition has no room for it now. A record of a partition that takes
/// none any more (it is leaving or gone) is left out: it was never tracked, so its next owner gets it. One that was settled
/// in an earlier assignment is left out too.
pub(super) fn take_in(
    message: &Message<'_>,
    intake: &mut Intake,
    assignments: &mut FxHashMap<u32, Arc<Assignment>>,
    last: &mut Option<InARow>,
    batch: &mut RecordBatch,
    left_out: &mut LeftOut,
) -> bool {
    let (topic_handle, partition) = (message.topic_handle(), message.partition());
    let in_a_row = match last.take() {
        Some(last) if (last.topic_handle, last.partition) == (topic_handle, partition) => last,
        _ => {
            let Some(slot) = intake.slot_of(&message.topic(), partition) else { return true };
            InARow { topic_handle, partition, slot, room: 0 }
        }
    };
    let InARow { slot, room, .. } = last.insert(in_a_row);
    let slot = *slot;
    let Some(assignment) = assignments.get_mut(&slot).filter(|assignment| assignment.is_open()) else { return true };
    if *room == 0 {
        *room = intake.room_of(slot);
    }
    let Some(left) = room.checked_sub(1) else { return false };
    *room = left;
    let raw = message.raw();
    let bytes = raw.key.map_or(0, <[u8]>::len) + raw.value.map_or(0, <[u8]>::len);
    let mut tracking = intake.track(slot, raw.offset, bytes);
    if tracking == Tracking::WentBack {
        // The topic was made anew, or its end was cut: these are other records. What is in flight of the old log is
        // stale from here on.
        left_out.went_back.push(slot);
        assignment.close();
        let (slot, epoch) = intake.assign(&assignment.topic, partition);
        *assignment = Arc::new(Assignment::new(Arc::clone(&assignment.topic), partition, slot, epoch));
        tracking = intake.track(slot, raw.offset, bytes);
    }
    match tracking {
        Tracking::New => drop(batch.push(assignment, raw, message.headers())),
        Tracking::SettledBefore => left_out.skipped += 1,
        Tracking::WentBack | Tracking::Refused => {}
    }
    true
}
