//! One assignment of one partition, as the intake keeps it: its frontier, what the broker knows of it, how it is held.

use crate::member::frontier::Frontier;
use crate::member::hold::{Hold, PauseCause};
use crate::member::note::CommitName;

#[derive(Debug, Default)]
pub(crate) struct Assigned {
    pub(crate) epoch: u32,
    pub(crate) leaving: bool,
    pub(crate) frontier: Frontier,
    /// The first offset polled: the broker has it, or has nothing, which comes to the same.
    pub(crate) first: Option<i64>,
    /// The last offset the broker said it has, and how many changes it knows.
    pub(crate) committed: Option<i64>,
    pub(crate) known_changes: u64,
    /// The next commit says it again, to hear whether this member still is one.
    pub(crate) say_again: bool,
    /// A commit that is not answered yet.
    pub(crate) committing: Option<Committing>,
    /// The last commit that the group is known to have: what a note goes on from.
    pub(crate) latest: Option<CommitName>,
    /// Those sent since then. One may be the group's latest without our knowing: it is on its way, or its answer was lost.
    pub(crate) maybe_latest: Vec<CommitName>,
    /// A note that is not answered yet, and how many changes the last one said that was taken.
    pub(crate) noting: Option<Noting>,
    pub(crate) noted_changes: u64,
    /// The offset that it said.
    pub(crate) noted: Option<i64>,
    pub(crate) hold: Hold,
    /// Why the source was told to pause it.
    pub(crate) paused: Option<PauseCause>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Committing {
    pub(crate) number: u64,
    pub(crate) offset: i64,
    pub(crate) changes: u64,
    pub(crate) name: CommitName,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Noting {
    pub(crate) number: u64,
    pub(crate) offset: i64,
    pub(crate) changes: u64,
}

/// Names that are kept of commits whose fate is not known. Where more answers are lost in a row, notes say less.
const MAX_MAYBE_LATEST: usize = 3;

impl Assigned {
    /// A commit of that name is sent.
    pub(crate) fn sent(&mut self, name: CommitName) {
        if self.maybe_latest.len() == MAX_MAYBE_LATEST {
            self.maybe_latest.remove(0);
        }
        self.maybe_latest.push(name);
    }

    /// A commit of that name was refused for sure.
    pub(crate) fn not_taken(&mut self, name: CommitName) {
        self.maybe_latest.retain(|sent| *sent != name);
    }

    /// A commit of that name was accepted.
    pub(crate) fn accepted(&mut self, name: CommitName) {
        self.latest = Some(name);
        self.maybe_latest.clear();
    }

    /// The offset to commit, where there is more to say than the broker knows.
    pub(crate) fn uncommitted(&self) -> Option<i64> {
        let position = self.frontier.position()?;
        let known = self.committed.or(self.first)?;
        // An assignment never takes back what it committed.
        let news = self.frontier.changes() > self.known_changes || self.say_again;
        (position >= known && news).then_some(position)
    }

    /// The offset to note, where something is settled that neither a commit nor a note says.
    pub(crate) fn unsaid(&self) -> Option<i64> {
        let news = self.frontier.changes() > self.known_changes.max(self.noted_changes);
        self.uncommitted().filter(|_| news)
    }
}
