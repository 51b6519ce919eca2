//! How much may be read now, and is a record that was read taken?

use std::sync::Arc;
use std::time::Duration;

use crate::assignment::Assignment;
use crate::member::backpressure::Backpressure;
use crate::member::frontier::{Frontier, Tracking};
use crate::member::partitions::{Partitions, to_u32};
use crate::sabotage::{Sabotage, is};

/// A batch is sent on at the latest when it has so many records: more gains nothing.
const MAX_BATCH_RECORDS: usize = 512;
/// A batch is sent on when it has about so many bytes: it keeps all of its memory as long as one record of it is used.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Wait for the first record when there is nothing else to do.
const IDLE_WAIT: Duration = Duration::from_millis(20);
/// Wait while a batch is being filled and the router has not taken the one before.
const FILLING_WAIT: Duration = Duration::from_millis(1);
/// The mean size is that of some more records than this; older ones count less and less.
const REMEMBERED_RECORDS: usize = 1_024;
/// The size that a record is expected to have before the first was seen.
const FIRST_GUESS_BYTES: usize = 16 << 10;

/// What became of a record that was read.
#[derive(Clone, Copy, Debug)]
pub enum Ingest<'a> {
    /// It goes into the batch, under this assignment.
    Take(&'a Arc<Assignment>),
    /// Its partition has no room for it now: it must be offered again, before those behind it.
    NoRoom,
    /// It is left out: an earlier owner settled it.
    SettledBefore,
    /// It is left out: its partition leaves or is gone, and the next owner gets it.
    Refused,
}

/// What may be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// So many records at most.
    pub max: usize,
    /// Waiting for the first so long.
    pub wait: Duration,
}

/// A batch that is being filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSize {
    /// Its records.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// How a member reads.
#[derive(Debug)]
pub(crate) struct Intake {
    /// The partition whose records come in a row, as they do, and how many it may still take without being asked again.
    row: (u32, usize),
    /// Records read lately, and their bytes.
    sample: BatchSize,
    skipped: u64,
    /// Slots whose log went back.
    went_back: Vec<u32>,
}

impl Intake {
    pub(crate) fn new() -> Self {
        let sample = BatchSize { records: 1, bytes: FIRST_GUESS_BYTES };
        Self { row: (0, 0), sample, skipped: 0, went_back: Vec::new() }
    }

    /// What may be read into this batch; `None` where nothing is. `idle`: nothing else waits to be done.
    pub(crate) fn reading(&self, batch: BatchSize, backpressure: &Backpressure, idle: bool) -> Option<Reading> {
        let room_bytes = MAX_BATCH_BYTES.saturating_sub(batch.bytes).min(backpressure.free_bytes());
        let room = MAX_BATCH_RECORDS.saturating_sub(batch.records).min(backpressure.free());
        let max = room.min(self.fitting(room_bytes));
        let wait = if idle && batch.records == 0 { IDLE_WAIT } else { FILLING_WAIT };
        (max > 0).then_some(Reading { max, wait })
    }

    /// Whether a batch is sent on, where the router has so many that it has not taken yet: when it took the one before, or
    /// when the batch is full and the router's mailbox is not.
    pub(crate) fn is_sent(batch: BatchSize, waiting: usize, most_waiting: usize) -> bool {
        let full = batch.records >= MAX_BATCH_RECORDS || batch.bytes >= MAX_BATCH_BYTES;
        batch.records > 0 && waiting < most_waiting && (waiting == 0 || full)
    }

    /// A reading begins: what partitions may take has changed.
    pub(crate) fn begin(&mut self) {
        self.row = (0, 0);
    }

    /// A record was read. It takes a credit where it is taken.
    #[inline]
    pub(crate) fn record<'a>(
        &mut self,
        partitions: &'a mut Partitions,
        backpressure: &mut Backpressure,
        (slot, offset, bytes): (u32, i64, usize),
    ) -> Ingest<'a> {
        let Some(assigned) = partitions.get_mut(slot).filter(|assigned| assigned.assignment.is_open()) else {
            return Ingest::Refused;
        };
        if self.row.0 != slot || self.row.1 == 0 {
            self.row = (slot, backpressure.room_of(assigned));
        }
        let Some(left) = self.row.1.checked_sub(1) else { return Ingest::NoRoom };
        self.row.1 = left;
        let mut tracking = assigned.frontier.track(offset, to_u32(bytes));
        if is(Sabotage::SettledAtThePoll) && tracking == Tracking::New {
            assigned.frontier.settle(offset);
        }
        if tracking == Tracking::WentBack {
            tracking = self.went_back(partitions, backpressure, (slot, offset, bytes));
        }
        match (tracking, partitions.get(slot)) {
            (Tracking::New, Some(assigned)) => {
                backpressure.take(&assigned.assignment.topic);
                Ingest::Take(&assigned.assignment)
            }
            (Tracking::SettledBefore, _) => {
                self.skipped += 1;
                Ingest::SettledBefore
            }
            _ => Ingest::Refused,
        }
    }

    /// The topic was made again, or its end was cut: these are other records, under an assignment of their own. What is in
    /// flight of the old log is given up, also what was started: its records are no more.
    #[cold]
    fn went_back(
        &mut self,
        partitions: &mut Partitions,
        backpressure: &mut Backpressure,
        (slot, offset, bytes): (u32, i64, usize),
    ) -> Tracking {
        if is(Sabotage::LogWentBackIgnored) {
            return Tracking::WentBack;
        }
        self.went_back.push(slot);
        if let Some(same) = partitions.get_mut(slot).filter(|_| is(Sabotage::LogWentBackUnderTheSameEpoch)) {
            backpressure.give_back(same.in_flight());
            same.frontier = Frontier::default();
        } else if let Some(before) = partitions.assign_again(slot) {
            before.assignment.end();
            backpressure.give_back(before.in_flight());
        }
        partitions.get_mut(slot).map_or(Tracking::WentBack, |now| now.frontier.track(offset, to_u32(bytes)))
    }

    /// A reading is over: so much was taken. Gives what was left out since the last one: how many records an earlier owner
    /// had settled, and the slots whose log went back.
    pub(crate) fn end(&mut self, taken: BatchSize) -> (u64, Vec<u32>) {
        if self.sample.records > REMEMBERED_RECORDS {
            self.sample = BatchSize { records: self.sample.records / 2, bytes: self.sample.bytes / 2 };
        }
        self.sample.records += taken.records;
        self.sample.bytes += taken.bytes;
        (std::mem::take(&mut self.skipped), std::mem::take(&mut self.went_back))
    }

    /// Records that fit into so many bytes, by the mean size of those read lately: a record's size is known only when it is
    /// there. At least one where there is a byte.
    fn fitting(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.sample.bytes.div_ceil(self.sample.records).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_read_as_fit_by_the_size_of_those_before() {
        let mut intake = Intake::new();
        assert_eq!((intake.fitting(0), intake.fitting(1), intake.fitting(256 << 10)), (0, 1, 16));
        for _ in 0..20 {
            intake.end(BatchSize { records: 512, bytes: 512 * 100 });
        }
        assert!((500..=512).contains(&intake.fitting(51_200)), "{}", intake.fitting(51_200));
        for _ in 0..200 {
            intake.end(BatchSize { records: 10, bytes: 10 << 20 });
        }
        assert!(intake.fitting(1 << 20) <= 2, "{}", intake.fitting(1 << 20));
    }

    #[test]
    fn a_batch_is_sent_when_the_one_before_was_taken_or_when_it_is_full() {
        let some = BatchSize { records: 1, bytes: 1 };
        let full = BatchSize { records: MAX_BATCH_RECORDS, bytes: 1 };
        assert!(!Intake::is_sent(BatchSize::default(), 0, 8) && Intake::is_sent(some, 0, 8));
        assert!(!Intake::is_sent(some, 1, 8) && Intake::is_sent(full, 7, 8) && !Intake::is_sent(full, 8, 8));
        assert!(Intake::is_sent(BatchSize { bytes: MAX_BATCH_BYTES, ..some }, 1, 8));
    }
}
