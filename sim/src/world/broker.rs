//! The broker: it keeps what is committed, answers commits late or in the wrong order, and takes those of members alone.

use std::time::{Duration, Instant};

use delivery::member::Taken;
use delivery::member::progress::codec::decode;
use delivery::member::progress::name::progress_of;
use delivery::partition::TopicPartition;

use super::World;
use crate::history::{Known, Tenure, Violation};
use crate::process::{CommitAnswer, CommitRequest, Left, together};

/// Of a hundred commits on their way, so many are answered in a step.
const ANSWERED_PERCENT: u64 = 60;
const REFUSED_PERCENT: u64 = 6;
const ANSWER_LOST_PERCENT: u64 = 4;
/// Of a hundred commits that waited for a rebalance, so many are refused after it.
const REFUSED_AFTER_REBALANCE_PERCENT: u64 = 70;

pub(super) struct Broker {
    committed: Vec<Option<(i64, String)>>,
    /// What was noted in addition to the group's commits, and by which owner.
    noted: Vec<Option<(Tenure, (i64, String))>>,
    /// With the member that sent them, and the membership that it had.
    commits: Vec<(usize, u64, CommitRequest)>,
    /// Notes need no membership.
    notes: Vec<(usize, CommitRequest)>,
    /// The group rebalances, and no commit is answered until then.
    pub(super) rebalances_until: Instant,
}

impl Broker {
    pub(super) fn new(partitions: usize, now: Instant) -> Self {
        let (committed, noted) = (vec![None; partitions], vec![None; partitions]);
        Self { committed, noted, commits: Vec::new(), notes: Vec::new(), rebalances_until: now }
    }

    /// Commits were sent.
    pub(super) fn sent(&mut self, from: usize, membership: u64, commits: Vec<CommitRequest>) {
        self.commits.extend(commits.into_iter().map(|commit| (from, membership, commit)));
    }

    /// Notes were sent. They are taken also when their sender is gone.
    pub(super) fn noted(&mut self, from: usize, notes: Vec<CommitRequest>) {
        self.notes.extend(notes.into_iter().map(|note| (from, note)));
    }

    /// The sender does not hear of them.
    pub(super) fn forget(&mut self, from: usize) {
        self.commits.retain(|(sender, ..)| *sender != from);
    }

    /// What there is of a partition.
    pub(super) fn left(&self, partition: usize) -> Left {
        let committed = self.committed[partition].clone();
        let note = self.noted[partition].as_ref().map(|(_, note)| note.clone());
        let known = together(committed.as_ref(), note.as_ref());
        Left { committed, note, known }
    }

    /// Whether the last note of a partition is one of an earlier owner, that came late.
    pub(super) fn has_late_note(&self, of: Tenure) -> bool {
        self.noted[of.partition].as_ref().is_some_and(|(tenure, _)| *tenure != of)
    }

    /// The group has nothing of a partition any more, or what an operator set.
    pub(super) fn set(&mut self, partition: usize, offset: Option<i64>) {
        self.committed[partition] = offset.map(|offset| (offset, String::new()));
        if offset.is_none() {
            self.noted[partition] = None;
        }
    }

    /// What the group has, read.
    pub(super) fn known(&self, partition: usize) -> Known {
        self.committed[partition].as_ref().map_or_else(Known::default, |(offset, metadata)| Known {
            offset: *offset,
            runs: decode(*offset, metadata).unwrap_or_default(),
        })
    }
}

impl World {
    /// The broker answers some of the commits on their way.
    pub(super) fn answer_commits(&mut self, faults: bool) -> Result<(), Violation> {
        let rebalances = self.now < self.broker.rebalances_until;
        for (from, membership, commit) in std::mem::take(&mut self.broker.commits) {
            if rebalances || self.is_cut_off(from) || !self.rng.percent(ANSWERED_PERCENT) {
                self.broker.commits.push((from, membership, commit));
            } else {
                self.answer_commit(from, membership, &commit, faults)?;
            }
        }
        Ok(())
    }

    /// The same with notes, for which no member is needed and no rebalance waited.
    pub(super) fn answer_notes(&mut self, faults: bool) -> Result<(), Violation> {
        for (from, note) in std::mem::take(&mut self.broker.notes) {
            if self.is_cut_off(from) || !self.rng.percent(ANSWERED_PERCENT) {
                self.broker.notes.push((from, note));
                continue;
            }
            let refused = faults && self.rng.percent(REFUSED_PERCENT);
            let answer_lost = faults && self.rng.percent(ANSWER_LOST_PERCENT);
            let mut answers = Vec::new();
            for (tenure, edition, at) in note.parts {
                let name = TopicPartition { topic: at.topic, partition: at.partition };
                answers.push((name, answer(!refused, answer_lost)));
                if !refused {
                    let progress = progress_of(&at.metadata).unwrap_or_default();
                    let runs = decode(at.offset, progress).unwrap_or_default();
                    self.history.note(tenure, edition, &Known { offset: at.offset, runs })?;
                    self.broker.noted[tenure.partition] = Some((tenure, (at.offset, at.metadata)));
                }
            }
            if let Some(process) = self.processes[from].as_mut() {
                process.consumer.answer_note(CommitAnswer { number: note.number, taken: answers });
            }
        }
        Ok(())
    }

    fn is_cut_off(&self, at: usize) -> bool {
        self.processes[at].as_ref().is_some_and(|process| process.consumer.cut_until.is_some())
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
        let mut answers = Vec::new();
        for (tenure, edition, at) in &commit.parts {
            // The coordinator takes commits of the current owner alone. One of the topic before goes with that topic.
            let current = self.history.edition(tenure.partition) == *edition;
            let taken = !refused && self.is_owner(from, *tenure);
            if taken && current {
                let runs = decode(at.offset, &at.metadata).unwrap_or_default();
                self.history.commit(*tenure, &Known { offset: at.offset, runs })?;
                self.broker.committed[tenure.partition] = Some((at.offset, at.metadata.clone()));
            }
            self.history.report.failed_commits += u64::from(!taken || answer_lost);
            let name = TopicPartition { topic: at.topic.clone(), partition: at.partition };
            answers.push((name, answer(taken, answer_lost)));
        }
        if let Some(process) = self.processes[from].as_mut() {
            process.consumer.answer_commit(CommitAnswer { number: commit.number, taken: answers });
        }
        Ok(())
    }
}

/// A lost answer is a timeout in the end: it says nothing.
fn answer(taken: bool, lost: bool) -> Taken {
    match (taken, lost) {
        (_, true) => Taken::Unknown,
        (true, false) => Taken::Yes,
        (false, false) => Taken::No,
    }
}
