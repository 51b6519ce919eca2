//! When is a commit sent, what does it say, and what became of it?
//!
//! Each `COMMIT_INTERVAL_MS`, and faster for a time after a change in the group (see [`pace`](super::pace)), of every
//! partition of which the group does not know all; one commit at a time for each partition. One that was refused or not
//! answered is repeated from a newer state.

use std::time::{Duration, Instant};

use super::codec::encode;
use super::name::{CommitName, tagged};
use super::pace::Pace;
use crate::member::assigned::Assigned;
use crate::member::partitions::Partitions;
use crate::partition::PartitionOffset;
use crate::sabotage::{Sabotage, is};

/// What became of a partition's part of a commit or a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The broker has it.
    Yes,
    /// The broker said that it does not take it.
    No,
    /// It is not known: the answer was lost, or says nothing.
    Unknown,
}

/// The commits of a member to its group.
#[derive(Debug)]
pub(crate) struct Commits {
    pace: Pace,
    last: u64,
    /// Tells this member's commits from all others.
    nonce: u64,
    max_metadata_bytes: usize,
}

impl Commits {
    pub(crate) fn new(now: Instant, interval: Duration, max_metadata_bytes: usize, nonce: u64) -> Self {
        Self { pace: Pace::new(now, interval), last: 0, nonce, max_metadata_bytes }
    }

    /// The group changed: commits come faster for a time.
    pub(crate) fn group_changed(&mut self, now: Instant) {
        self.pace.restless(now);
    }

    /// Has everything said again at once, also what the group has: its answer says whether this is a member. Gives the
    /// number of the last commit before that, and whether there is anything to say.
    pub(crate) fn ask(&mut self, partitions: &mut Partitions, now: Instant) -> (u64, bool) {
        partitions.assigned_mut().for_each(|assigned| assigned.commits.ask_again());
        self.pace.hurry(now);
        (self.last, can_say(partitions))
    }

    /// The next commit, where one is due and there is anything to commit.
    pub(crate) fn next(&mut self, partitions: &mut Partitions, now: Instant) -> Option<(u64, Vec<PartitionOffset>)> {
        let due = self.pace.is_due(now) || is(Sabotage::PaceIgnored);
        due.then(|| self.begin(partitions, |_| true, now)).flatten()
    }

    /// A commit of these partitions, where there is anything to commit: what leaves does not wait for the interval.
    pub(crate) fn begin(
        &mut self,
        partitions: &mut Partitions,
        of: impl Fn(u32) -> bool,
        now: Instant,
    ) -> Option<(u64, Vec<PartitionOffset>)> {
        self.last += 1;
        let number = self.last;
        let mut offsets = Vec::new();
        for assigned in partitions.assigned_mut().filter(|assigned| of(assigned.slot())) {
            let Some(offset) = uncommitted(assigned).filter(|_| !assigned.commits.awaits(None)) else { continue };
            let (offset, settled) = match assigned.frontier.end().filter(|_| is(Sabotage::FrontierPastAGap)) {
                Some(end) => (end, Vec::new()),
                None => (offset, assigned.frontier.settled_above()),
            };
            let progress = encode(offset, settled.into_iter(), self.max_metadata_bytes);
            let metadata = tagged(progress, self.nonce, number);
            let Some(name) = CommitName::of(offset, &metadata) else { continue };
            assigned.names.sent(name);
            assigned.commits.sent(number, offset, assigned.frontier.changes());
            if is(Sabotage::CommitCountedWhenSent) {
                answered(assigned, number, Taken::Yes);
            }
            offsets.push(assigned.offset(offset, metadata));
        }
        if offsets.is_empty() {
            return None;
        }
        self.pace.sent(number, now);
        Some((number, offsets))
    }

    /// The client could not send it.
    pub(crate) fn not_sent(&mut self, number: u64, partitions: &mut Partitions) {
        self.pace.not_sent(number);
        partitions.assigned_mut().for_each(|assigned| answered(assigned, number, Taken::No));
    }

    /// The broker answered: for any of its partitions it took the commit, or for none.
    pub(crate) fn answered(&mut self, number: u64, any: bool, now: Instant) {
        self.pace.answered(number, any, now);
    }

    /// Whether the group takes no commits: it refused the last one, or does not answer one.
    pub(crate) fn are_troubled(&self, now: Instant) -> bool {
        self.pace.is_troubled(now)
    }

    /// Those whose answer has not come.
    pub(crate) fn unanswered(&self) -> usize {
        self.pace.unanswered()
    }

    /// The client is another one.
    pub(crate) fn forget(&mut self) {
        self.pace.forget();
    }
}

/// The broker answered for a partition of a commit. An answer to another commit than the one on its way (it is of an
/// earlier assignment) changes nothing.
pub(crate) fn answered(assigned: &mut Assigned, number: u64, taken: Taken) {
    let accepted = taken == Taken::Yes || is(Sabotage::RefusalCountedAsAccepted);
    if !assigned.commits.awaits(Some(number)) || (!accepted && is(Sabotage::RefusalNotRepeated)) {
        return;
    }
    assigned.commits.answered(number, accepted);
    if accepted {
        assigned.names.accepted();
        return;
    }
    if taken == Taken::No {
        assigned.names.refused();
    }
    // Where it only said again what the broker has, nothing else would bring another one.
    assigned.commits.ask_again();
}

/// The offset to commit of a partition, where there is more to say than the broker knows.
pub(crate) fn uncommitted(assigned: &Assigned) -> Option<i64> {
    let position = assigned.frontier.position()?;
    // Of what lies below the first record that was polled the broker has the offset, or nothing, which comes to the same.
    let known = assigned.commits.taken().or(assigned.frontier.begin())?;
    let news = assigned.frontier.changes() > assigned.commits.known_changes() || assigned.commits.is_asked_again();
    // An assignment never takes back what it committed.
    (position >= known && news).then_some(position)
}

/// Whether there is anything that could be said again.
pub(crate) fn can_say(partitions: &Partitions) -> bool {
    partitions.assigned().any(|assigned| assigned.frontier.position().is_some())
}
