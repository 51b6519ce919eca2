//! What is known of a record on its way through a worker?

use std::time::Duration;

use super::breaker::Streak;
use super::lanes::{LaneKey, Unkeyed, Wait};
use crate::answer::Answer;
use crate::assignment::Assignment;
use crate::outcome::HandlerError;

/// A record, as a worker sees it.
pub trait Routed {
    /// The assignment it came with.
    fn assignment(&self) -> &Assignment;
    /// Its offset in the partition.
    fn offset(&self) -> i64;
    /// Its key, or `None` for a null key.
    fn key(&self) -> Option<&[u8]>;
}

/// A record with its attempts.
#[derive(Debug)]
pub(crate) struct Item<R> {
    pub(crate) record: R,
    /// Failed attempts that count.
    pub(crate) attempts: u32,
    /// Microseconds since the epoch; zero before the first failure.
    pub(crate) first_failure_us: i64,
    /// When it failed first and last, as the breaker counts.
    pub(crate) failed: Option<(Streak, Streak)>,
    /// It failed, or was in a call that did: it gets a call of its own, so that it takes no others with it again.
    pub(crate) runs_alone: bool,
    pub(crate) stage: Stage,
}

/// Where it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// In its lane.
    Queued,
    /// In a call, or held until the breaker knows more.
    Started,
    /// Its dead letter is being written.
    Letter(Box<Writing>),
    /// It was answered for; it has not been told yet.
    Ended,
}

/// A dead letter on its way.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) error: HandlerError,
    pub(crate) last_failure_us: i64,
    /// Of the attempt that failed.
    pub(crate) duration: Duration,
    /// Attempts to write it that failed.
    pub(crate) refused: u32,
    pub(crate) wait: Wait,
}

/// Names a record: slot and epoch of its assignment, and its offset.
pub(crate) type Coordinates = (u32, u32, i64);

impl<R: Routed> Item<R> {
    pub(crate) fn new(record: R) -> Self {
        Self { record, attempts: 0, first_failure_us: 0, failed: None, runs_alone: false, stage: Stage::Queued }
    }

    pub(crate) fn lane(&self, unkeyed: Unkeyed) -> LaneKey {
        LaneKey::of(self.record.assignment().lane_seed, self.record.offset(), self.record.key(), unkeyed)
    }

    /// Names its key for the breaker. One without a key is its own, whatever its order is.
    pub(crate) fn suspect(&self) -> LaneKey {
        self.lane(Unkeyed::Unordered)
    }

    pub(crate) fn coordinates(&self) -> Coordinates {
        let assignment = self.record.assignment();
        (assignment.slot, assignment.epoch, self.record.offset())
    }

    /// Whether it failed last in that streak.
    pub(crate) fn failed_last_in(&self, streak: Streak) -> bool {
        self.failed.is_some_and(|(_, last)| last == streak)
    }

    #[inline]
    pub(crate) fn answer(&self, settled: bool) -> Answer {
        let (slot, epoch, offset) = self.coordinates();
        Answer { slot, epoch, offset, settled }
    }
}
