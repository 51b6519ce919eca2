//! The broker: it keeps what is committed, answers commits late or in the wrong order, and takes those of members alone.

use std::time::{Duration, Instant};

use actors::delivery::progress_codec;

use super::World;
use crate::history::{Known, Violation};
use crate::member::{CommitAnswer, CommitRequest};

/// Of a hundred commits on their way, so many are answered in a step.
const ANSWERED_PERCENT: u64 = 60;
const REFUSED_PERCENT: u64 = 6;
const ANSWER_LOST_PERCENT: u64 = 4;
/// Of a hundred commits that waited for a rebalance, so many are refused after it.
const REFUSED_AFTER_REBALANCE_PERCENT: u64 = 70;

pub(super) struct Broker {
    committed: Vec<Option<(i64, String)>>,
    /// With the member that sent them, and the membership that it had.
    commits: Vec<(usize, u64, CommitRequest)>,
    /// The group rebalances, and no commit is answered until then.
    pub(super) rebalances_until: Instant,
}

impl Broker {
    pub(super) fn new(partitions: usize, now: Instant) -> Self {
        Self { committed: vec![None; partitions], commits: Vec::new(), rebalances_until: now }
    }

    /// Commits were sent.
    pub(super) fn sent(&mut self, from: usize, membership: u64, commits: Vec<CommitRequest>) {
        self.commits.extend(commits.into_iter().map(|commit| (from, membership, commit)));
    }

    /// Whoever sent them does not hear of them.
    pub(super) fn forget(&mut self, from: usize) {
        self.commits.retain(|(sender, ..)| *sender != from);
    }

    /// What is committed of a partition.
    pub(super) fn committed(&self, partition: usize) -> Option<(i64, String)> {
        self.committed[partition].clone()
    }

    /// The same, read.
    pub(super) fn known(&self, partition: usize) -> Known {
        self.committed[partition].as_ref().map_or_else(Known::default, |(offset, metadata)| Known {
            offset: *offset,
            runs: progress_codec::decode(*offset, metadata).unwrap_or_default(),
        })
    }
}

impl World {
    /// The broker answers some of the commits on their way.
    pub(super) fn answer_commits(&mut self, faults: bool) -> Result<(), Violation> {
        let rebalances = self.now < self.broker.rebalances_until;
        for (from, membership, commit) in std::mem::take(&mut self.broker.commits) {
            let cut = self.members[from].as_ref().is_some_and(|member| member.cut_until.is_some());
            if rebalances || cut || !self.rng.percent(ANSWERED_PERCENT) {
                self.broker.commits.push((from, membership, commit));
            } else {
                self.answer_commit(from, membership, &commit, faults)?;
            }
        }
        Ok(())
    }

    fn answer_commit(
        &mut self,
        from: usize,
        membership: u64,
        commit: &CommitRequest,
        faults: bool,
    ) -> Result<(), Violation> {
        let waited = self.broker.rebalances_until + Duration::from_millis(100) > self.now;
        let refusing = if waited { REFUSED_AFTER_REBALANCE_PERCENT } else { REFUSED_PERCENT };
        let refused = (faults && self.rng.percent(refusing)) || !self.sessions[from].is_member(membership);
        let answer_lost = faults && self.rng.percent(ANSWER_LOST_PERCENT);
        let mut accepted = Vec::new();
        for at in &commit.parts {
            // The coordinator takes commits of the current owner alone.
            let taken = !refused && self.is_owner(from, at.tenure);
            if taken {
                let runs = progress_codec::decode(at.offset, &at.metadata).unwrap_or_default();
                self.history.commit(at.tenure, &Known { offset: at.offset, runs })?;
                self.broker.committed[at.tenure.partition] = Some((at.offset, at.metadata.clone()));
            }
            self.history.report.failed_commits += u64::from(!taken || answer_lost);
            // A lost answer is a timeout in the end: refused, as far as the member knows.
            accepted.push((at.slot, taken && !answer_lost));
        }
        if let Some(member) = self.members[from].as_mut() {
            member.answer_commit(CommitAnswer { number: commit.number, accepted });
        }
        Ok(())
    }
}
