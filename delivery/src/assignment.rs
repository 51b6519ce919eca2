//! The assignment: a partition as it was given to this member once, and whether its records may be started and finished.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustc_hash::FxHasher;

/// A partition's part in the names of its lanes; made once per assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartitionSeed(u64);

impl PartitionSeed {
    /// The seed of a partition.
    #[must_use]
    pub fn of(topic: &str, partition: i32) -> Self {
        let mut hasher = FxHasher::default();
        (topic, partition).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// One assignment of one partition to this member of the group.
///
/// Every record and every answer names its assignment, so that an answer from an earlier one is recognised and
/// dropped instead of moving the frontier of a later one.
#[derive(Debug)]
pub struct Assignment {
    /// Topic of the partition.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Where the consumer's thread keeps this partition; stable while the process lives.
    pub slot: u32,
    /// Number of this assignment; a later assignment of the same partition has a higher one.
    pub epoch: u32,
    /// The partition's part in the names of its lanes.
    pub lane_seed: PartitionSeed,
    state: AtomicU8,
}

/// Records may be started.
const OPEN: u8 = 0;
/// Nothing more is started; what was started may finish.
const CLOSED: u8 = 1;
/// Somebody else has the partition, or will have it now: what was started is cancelled.
const ENDED: u8 = 2;

impl Assignment {
    /// An open assignment.
    #[must_use]
    pub fn new(topic: Arc<str>, partition: i32, slot: u32, epoch: u32) -> Self {
        let lane_seed = PartitionSeed::of(&topic, partition);
        Self { topic, partition, slot, epoch, lane_seed, state: AtomicU8::new(OPEN) }
    }

    /// Whether records of this assignment may still be started.
    #[must_use]
    #[inline]
    pub fn is_open(&self) -> bool {
        // Relaxed: `Lease::changed`, which follows, orders everything that matters; this is the early hint.
        self.state.load(Ordering::Relaxed) == OPEN
    }

    /// Nothing more of this assignment is started from now on.
    pub fn close(&self) {
        self.state.fetch_max(CLOSED, Ordering::Relaxed);
    }

    /// Whether what was started of it should be cancelled.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ENDED
    }

    /// Nothing of it is started or finished from now on.
    pub fn end(&self) {
        self.state.store(ENDED, Ordering::Relaxed);
    }
}
