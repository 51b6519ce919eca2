//! The history of a run, and the promises that are checked on it.

use std::collections::HashMap;
use std::ops::Range;

use crate::Report;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A commit passed a record that was neither handled nor dead-lettered.
    #[error("partition {0}: offset {1} is committed and was never settled")]
    CommittedUnsettled(usize, i64),
    /// A commit of an assignment is lower than one before.
    #[error("partition {0}: offset {1} was committed, then a lower one")]
    CommitWentBack(usize, i64),
    /// A record was started although its owner knew it to be settled.
    #[error("partition {0}: offset {1} was started again although its settlement was committed before the assignment")]
    StartedAgain(usize, i64),
    /// Two events of a key were worked on at once by one member.
    #[error("partition {0}: offset {1} was started while another event of its key was worked on")]
    TwoOfAKey(usize, i64),
    /// A record was settled before one of its key that stands before it.
    #[error("partition {0}: offset {1} was settled before an earlier event of its key")]
    OutOfOrder(usize, i64),
    /// An owner that left in order leaves a settled record to be repeated.
    #[error("partition {0}: offset {1} was settled, and its owner left in order without committing it")]
    LeftUncommitted(usize, i64),
    /// A record was left out that was never settled.
    #[error("partition {0}: offset {1} was left out and was never settled")]
    SkippedUnsettled(usize, i64),
    /// A commit left out what its member knew to be settled.
    #[error("partition {0}: offset {1} is settled, and a commit left it out")]
    LeftOut(usize, i64),
    /// A partition has more on its way than is left for the others.
    #[error("partition {0}: offset {1} was read although nothing was left for other partitions")]
    NothingLeft(usize, i64),
    /// A record was read of a topic that somebody paused.
    #[error("partition {0}: offset {1} was read although its topic is paused")]
    ReadWhilePaused(usize, i64),
    /// Credits were not given back.
    #[error("a member that has nothing on its way lacks credits")]
    CreditsLost,
    /// Nothing moves although nothing fails any more.
    #[error("partition {0}: offset {1} is never settled although nothing fails any more")]
    Stuck(usize, i64),
}

/// A record in the log of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) key: u8,
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
    /// By partition and generation: the last committed offset.
    committed: HashMap<(usize, u64), i64>,
    pub(crate) report: Report,
}

impl History {
    pub(crate) fn new(partitions: usize) -> Self {
        Self { logs: vec![Vec::new(); partitions], ..Self::default() }
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

    /// A record was handled, or its dead letter acknowledged.
    pub(crate) fn settle(&mut self, partition: usize, record: Record) -> Result<(), Violation> {
        let earlier = self.logs[partition].iter().take_while(|other| other.offset < record.offset);
        let early =
            earlier.filter(|other| other.key == record.key).any(|other| !self.is_settled(partition, other.offset));
        if early {
            return Err(Violation::OutOfOrder(partition, record.offset));
        }
        let times = self.settled.entry((partition, record.offset)).or_default();
        *times += 1;
        self.report.repeated += u64::from(*times == 2);
        Ok(())
    }

    /// The broker accepted a commit.
    pub(crate) fn commit(&mut self, partition: usize, generation: u64, known: &Known) -> Result<(), Violation> {
        let before = self.committed.insert((partition, generation), known.offset);
        if let Some(before) = before.filter(|before| *before > known.offset) {
            return Err(Violation::CommitWentBack(partition, before));
        }
        let log = &self.logs[partition];
        let wrong =
            log.iter().find(|record| known.says_settled(record.offset) && !self.is_settled(partition, record.offset));
        wrong.map_or(Ok(()), |record| Err(Violation::CommittedUnsettled(partition, record.offset)))
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
