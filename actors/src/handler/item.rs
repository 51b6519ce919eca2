//! A record on its way through a handler's actor, and what one call to the handler works on.

use std::sync::Arc;

use super::invoke::Run;
use crate::answer::Answer;
use crate::delivery::lanes::LaneKey;
use crate::record::{Record, RecordBatch};

/// One record on its way.
pub(super) struct Item {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) index: u32,
    pub(super) attempts: u32,
    /// Microseconds since the epoch; zero before the first failure.
    pub(super) first_failure_us: i64,
}

/// Names a record: slot and epoch of its assignment, and its offset.
pub type Place = (u32, u32, i64);

impl Item {
    #[inline]
    pub(super) fn record(&self) -> Record<'_> {
        self.batch.record(self.index as usize)
    }

    #[inline]
    pub(super) fn may_start(&self) -> bool {
        self.record().assignment().is_open()
    }

    /// Whether it is somebody else's now: what was started of it is cancelled.
    pub(super) fn has_ended(&self) -> bool {
        self.record().assignment().has_ended()
    }

    #[inline]
    pub(super) fn place(&self) -> Place {
        let record = self.record();
        let assignment = record.assignment();
        (assignment.slot, assignment.epoch, record.offset())
    }

    #[inline]
    pub(super) fn answer(&self, settled: bool) -> Answer {
        let (slot, epoch, offset) = self.place();
        Answer { slot, epoch, offset, settled }
    }
}

/// Items that went to the handler in one call; those of one lane stand together, in order.
pub(super) struct InHand {
    /// Of the handler that was called.
    pub(super) generation: u32,
    /// Nanoseconds after the clock's origin.
    pub(super) began_ns: u64,
    pub(super) items: Run<(LaneKey, Item)>,
}
