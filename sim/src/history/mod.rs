//! The history of a run, and the promises that are checked on it.

mod breaker;
mod commits;
mod editions;
mod rejoins;
mod violation;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

pub use violation::Violation;

use crate::Report;
use breaker::Watched;
pub(crate) use breaker::{Ended, Told};
use commits::Sender;
use rejoins::Rejoins;

/// What a record does to the handler that gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Nothing of its own.
    Harmless,
    /// Each call with it panics.
    Poison,
    /// Each call with it hangs.
    Hangs,
}

/// A record in the log of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) edition: Edition,
    pub(crate) offset: i64,
    pub(crate) key: u8,
    pub(crate) nature: Nature,
}

/// Of a partition's records: another one where its log begins again, or where an operator set its offset.
pub(crate) type Edition = u64;

/// A partition as it was given to a member once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tenure {
    pub(crate) partition: usize,
    pub(crate) generation: u64,
}

/// What is committed for a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) offset: i64,
    pub(crate) runs: Vec<Range<i64>>,
}

impl Known {
    pub(crate) fn says_settled(&self, offset: i64) -> bool {
        offset < self.offset || self.runs.iter().any(|run| run.contains(&offset))
    }
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) logs: Vec<Vec<Record>>,
    /// By partition and offset: how often it was settled.
    settled: HashMap<(usize, i64), u64>,
    settled_in: HashSet<(Tenure, i64)>,
    attempts: HashMap<(Tenure, i64), u32>,
    committed: HashMap<Tenure, i64>,
    /// By partition: the generation of its present owner.
    present: Vec<u64>,
    /// What was taken from a member while it was frozen.
    taken_from_frozen: HashSet<Tenure>,
    /// What a member knows to have ended.
    ended: HashSet<Tenure>,
    /// What a member knows to be lost.
    lost: HashSet<Tenure>,
    senders: HashMap<usize, Sender>,
    watched: HashMap<usize, Watched>,
    rejoins: HashMap<usize, Rejoins>,
    editions: Vec<Edition>,
    pub(crate) report: Report,
}

impl History {
    pub(crate) fn new(partitions: usize) -> Self {
        Self {
            logs: vec![Vec::new(); partitions],
            present: vec![0; partitions],
            editions: vec![0; partitions],
            ..Self::default()
        }
    }

    /// Adds a step to the trace.
    pub(crate) fn trace(&mut self, step: &[u64]) {
        for word in step {
            self.report.hash = (self.report.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
    }

    pub(crate) fn is_settled(&self, partition: usize, offset: i64) -> bool {
        self.settled.contains_key(&(partition, offset))
    }

    /// A partition has a new owner.
    pub(crate) fn given(&mut self, tenure: Tenure) {
        self.present[tenure.partition] = tenure.generation;
    }

    /// A member thawed from which a partition was taken while it was frozen for so long that it can know.
    pub(crate) fn thawed_without(&mut self, tenure: Tenure) {
        self.taken_from_frozen.insert(tenure);
        self.report.zombies += 1;
    }

    /// A member knows that a partition is not its own any more.
    pub(crate) fn ended(&mut self, tenure: Tenure) {
        self.ended.insert(tenure);
    }

    /// A member heard that it lost a partition.
    pub(crate) fn lost(&mut self, tenure: Tenure) {
        self.lost.insert(tenure);
    }

    /// A handler is called with a record, in the attempt of that number.
    pub(crate) fn start(&mut self, tenure: Tenure, record: Record, number: u32, max: u32) -> Result<(), Violation> {
        let offset = record.offset;
        self.trace(&[2, tenure.partition as u64, offset.unsigned_abs()]);
        self.acts(tenure, offset)?;
        if record.edition != self.edition(tenure.partition) {
            return Ok(());
        }
        let before = self.attempts.insert((tenure, offset), number).unwrap_or(1);
        if number > max {
            return Err(Violation::TooManyAttempts(tenure.partition, offset));
        }
        if number < before { Err(Violation::AttemptsLost(tenure.partition, offset)) } else { Ok(()) }
    }

    /// A member does something with a record.
    pub(crate) fn acts(&self, tenure: Tenure, offset: i64) -> Result<(), Violation> {
        let partition = tenure.partition;
        if self.taken_from_frozen.contains(&tenure) && self.present[partition] > tenure.generation {
            return Err(Violation::ZombieActed(partition, offset));
        }
        if self.ended.contains(&tenure) {
            return Err(Violation::WorkedOnAfterTheEnd(partition, offset));
        }
        Ok(())
    }

    /// A record was handled, or its dead letter acknowledged.
    pub(crate) fn settle(&mut self, tenure: Tenure, record: Record) -> Result<(), Violation> {
        let (partition, offset) = (tenure.partition, record.offset);
        self.trace(&[3, partition as u64, offset.unsigned_abs()]);
        self.acts(tenure, offset)?;
        if record.edition != self.edition(partition) {
            // Of another log: nothing is promised of it any more.
            return Ok(());
        }
        if !self.settled_in.insert((tenure, offset)) {
            return Err(Violation::SettledTwice(partition, offset));
        }
        let earlier = self.logs[partition].iter().take_while(|other| other.offset < offset);
        let early =
            earlier.filter(|other| other.key == record.key).any(|other| !self.is_settled(partition, other.offset));
        if early {
            return Err(Violation::OutOfOrder(partition, offset));
        }
        let times = self.settled.entry((partition, offset)).or_default();
        *times += 1;
        self.report.repeated += u64::from(*times == 2);
        Ok(())
    }

    /// A member has read a record, after which its partition has so many in flight and so many credits are free. One that
    /// had nothing in flight may take the last, and so may the odd one.
    pub(crate) fn shares(&mut self, of: (usize, i64), in_flight: usize, free: usize) -> Result<(), Violation> {
        let (partition, offset) = of;
        self.trace(&[7, partition as u64, in_flight as u64]);
        if in_flight > free.max(1) + 1 { Err(Violation::NothingLeft(partition, offset)) } else { Ok(()) }
    }

    /// A record that an owner left out because of what was committed.
    pub(crate) fn skip(&mut self, partition: usize, offset: i64) -> Result<(), Violation> {
        self.report.skipped += 1;
        if self.is_settled(partition, offset) { Ok(()) } else { Err(Violation::SkippedUnsettled(partition, offset)) }
    }

    /// The first record that was never settled.
    pub(crate) fn unsettled(&self) -> Option<(usize, i64)> {
        let records =
            self.logs.iter().enumerate().flat_map(|(at, log)| log.iter().map(move |record| (at, record.offset)));
        records.into_iter().find(|(partition, offset)| !self.is_settled(*partition, *offset))
    }
}
