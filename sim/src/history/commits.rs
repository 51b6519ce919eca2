//! What is checked of commits: what they say, and how often they come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Edition, History, Known, Tenure, Violation};

const SECOND: Duration = Duration::from_secs(1);
/// So long after a change in the group commits come faster, and some more until what was sent in that time is forgotten.
const RESTLESS_FOR: Duration = Duration::from_secs(6);
/// Commits in a second at most: one each 20 ms, and one each 50 ms of what leaves.
const MOST_IN_A_SECOND: usize = 51 + 21;
/// When nothing happens in the group: one each 200 ms, and once more for a doubt.
const MOST_IN_A_QUIET_SECOND: usize = 5 + 2;

/// A member, as the broker sees it.
#[derive(Debug)]
pub(super) struct Sender {
    sent: VecDeque<Instant>,
    changed: Instant,
}

impl Sender {
    fn new(now: Instant) -> Self {
        Self { sent: VecDeque::new(), changed: now }
    }
}

impl History {
    fn sender(&mut self, member: usize, now: Instant) -> &mut Sender {
        self.senders.entry(member).or_insert_with(|| Sender::new(now))
    }

    /// A reason for a member to commit more often: partitions came or went, or a commit was refused.
    pub(crate) fn changed(&mut self, member: usize, now: Instant) {
        self.sender(member, now).changed = now;
    }

    /// A member sends a commit.
    pub(crate) fn commit_sent(&mut self, member: usize, now: Instant) -> Result<(), Violation> {
        let sender = self.sender(member, now);
        sender.sent.push_back(now);
        while sender.sent.pop_front_if(|sent| now.saturating_duration_since(*sent) >= SECOND).is_some() {}
        let is_quiet = now.saturating_duration_since(sender.changed) > RESTLESS_FOR;
        let (count, most) = (sender.sent.len(), if is_quiet { MOST_IN_A_QUIET_SECOND } else { MOST_IN_A_SECOND });
        if count > most { Err(Violation::CommitStorm(member, count)) } else { Ok(()) }
    }

    /// A partition's part of a commit that is sent.
    pub(crate) fn commit_says(&mut self, tenure: Tenure, offset: i64) -> Result<(), Violation> {
        let lost = self.lost.contains(&tenure);
        if lost { Err(Violation::LostCommitted(tenure.partition, offset)) } else { Ok(()) }
    }

    /// The broker accepted a commit.
    pub(crate) fn commit(&mut self, tenure: Tenure, known: &Known) -> Result<(), Violation> {
        let partition = tenure.partition;
        self.trace(&[4, partition as u64, known.offset.unsigned_abs()]);
        let before = self.committed.insert(tenure, known.offset);
        if let Some(before) = before.filter(|before| *before > known.offset) {
            return Err(Violation::CommitWentBack(partition, before));
        }
        match self.unsettled_of(partition, known) {
            Some(offset) => Err(Violation::CommittedUnsettled(partition, offset)),
            None => Ok(()),
        }
    }

    /// The broker took a note. One of another log, or from before the offsets were set by hand, says nothing of this one.
    pub(crate) fn note(&mut self, tenure: Tenure, edition: Edition, known: &Known) -> Result<(), Violation> {
        let partition = tenure.partition;
        self.trace(&[6, partition as u64, known.offset.unsigned_abs()]);
        self.report.notes += 1;
        if edition != self.edition(partition) {
            return Ok(());
        }
        match self.unsettled_of(partition, known) {
            Some(offset) => Err(Violation::NotedUnsettled(partition, offset)),
            None => Ok(()),
        }
    }

    /// A record that is said to be settled and is not.
    fn unsettled_of(&self, partition: usize, known: &Known) -> Option<i64> {
        let mut log = self.logs[partition].iter();
        let wrong = log.find(|record| known.says_settled(record.offset) && !self.is_settled(partition, record.offset));
        wrong.map(|record| record.offset)
    }

    /// The first record of a partition that is not known to the broker as settled.
    pub(crate) fn uncommitted(&self, partition: usize, known: &Known) -> Option<(usize, i64)> {
        let record = self.logs[partition].iter().find(|record| !known.says_settled(record.offset));
        record.map(|record| (partition, record.offset))
    }
}
