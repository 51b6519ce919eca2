//! What of the intake is committed, when, and what the broker is known to have.

use crate::member::assigned::Committing;
use crate::member::intake::{Intake, to_u32};
use crate::member::note::{CommitName, tagged};
use crate::member::progress_codec::encode;

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Slot of the partition.
    pub slot: u32,
    /// Every offset below it is settled.
    pub offset: i64,
    /// What is settled above it; see [`progress_codec`](crate::member::progress_codec).
    pub metadata: String,
}

impl Intake {
    /// What is to be committed now, and the commit's number: partitions of which the broker does not know all, one
    /// commit at a time each. They are remembered as being committed until [`commit_answered`](Self::commit_answered).
    pub fn begin_commit(&mut self, wanted: impl Fn(u32) -> bool) -> (u64, Vec<Commit>) {
        self.last_commit += 1;
        let number = self.last_commit;
        let mut commits = Vec::new();
        for (slot, assigned) in self.slots.iter_mut().enumerate() {
            let slot = to_u32(slot);
            let Some(assigned) = assigned.assigned.as_mut().filter(|_| wanted(slot)) else { continue };
            let Some(offset) = assigned.uncommitted().filter(|_| assigned.committing.is_none()) else { continue };
            let progress = encode(offset, assigned.frontier.settled_above().into_iter(), self.max_metadata_bytes);
            let metadata = tagged(progress, self.nonce, number);
            let Some(name) = CommitName::of(offset, &metadata) else { continue };
            let changes = assigned.frontier.changes();
            assigned.say_again = false;
            assigned.sent(name);
            assigned.committing = Some(Committing { number, offset, changes, name });
            commits.push(Commit { slot, offset, metadata });
        }
        (number, commits)
    }

    /// The broker answered for a partition of a commit. An answer to another commit than the one on its way (it is of
    /// an earlier assignment) changes nothing.
    pub fn commit_answered(&mut self, slot: u32, number: u64, accepted: bool) {
        let Some(assigned) = self.assigned(slot) else { return };
        let Some(committing) = assigned.committing.take_if(|committing| committing.number == number) else { return };
        if accepted {
            assigned.committed = Some(committing.offset);
            assigned.accepted(committing.name);
            assigned.known_changes = committing.changes;
        } else {
            // Where it only said again what the broker has, nothing else would bring another one.
            assigned.say_again = true;
        }
    }

    /// The broker said of a partition of a commit that it did not take it, and that it knows so.
    pub fn commit_refused(&mut self, slot: u32, number: u64) {
        if let Some(assigned) = self.assigned(slot)
            && let Some(committing) = assigned.committing.filter(|committing| committing.number == number)
        {
            assigned.not_taken(committing.name);
        }
        self.commit_answered(slot, number, false);
    }

    /// The next commit says everything again, also what the broker has. Returns the number of the last commit before it,
    /// and whether there is anything to say.
    pub fn say_again(&mut self) -> (u64, bool) {
        for assigned in self.slots.iter_mut().filter_map(|slot| slot.assigned.as_mut()) {
            assigned.say_again = true;
        }
        (self.last_commit, self.can_say())
    }

    /// Whether there is anything that could be said again.
    #[must_use]
    pub fn can_say(&self) -> bool {
        self.current().any(|(_, _, assigned)| assigned.frontier.position().is_some())
    }

    /// Whether a slot has something that the broker does not have.
    #[must_use]
    pub fn is_uncommitted(&self, slot: u32) -> bool {
        self.at(slot).is_some_and(|assigned| assigned.uncommitted().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;
    use crate::member::intake::Tracking;
    use crate::member::progress_codec::MAX_METADATA_BYTES;

    fn settled(slot: u32, epoch: u32, offset: i64) -> Answer {
        Answer { slot, epoch, offset, settled: true }
    }

    fn all(_: u32) -> bool {
        true
    }

    fn take(intake: &mut Intake, slot: u32, offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            assert_eq!(intake.track(slot, offset, 10), Tracking::New);
        }
    }

    fn offsets(commit: &(u64, Vec<Commit>)) -> Vec<i64> {
        commit.1.iter().map(|commit| commit.offset).collect()
    }

    #[test]
    fn a_commit_counts_when_it_was_answered_and_is_repeated_when_it_was_refused() {
        let mut intake = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        assert!(intake.begin_commit(all).1.is_empty(), "nothing polled, nothing to commit");
        take(&mut intake, slot, [0, 1]);
        assert!(intake.begin_commit(all).1.is_empty(), "nothing settled, nothing to commit");
        intake.answer(&settled(slot, epoch, 0));
        let first = intake.begin_commit(all);
        assert_eq!(offsets(&first), [1]);
        intake.answer(&settled(slot, epoch, 1));
        assert!(intake.begin_commit(all).1.is_empty(), "one at a time");
        intake.commit_answered(slot, first.0, false);
        let second = intake.begin_commit(all);
        assert_eq!(offsets(&second), [2]);
        intake.commit_answered(slot, first.0, true);
        assert!(intake.is_uncommitted(slot), "an answer to an earlier commit says nothing of this one");
        intake.commit_answered(slot, second.0, true);
        assert!(!intake.is_uncommitted(slot) && intake.begin_commit(all).1.is_empty());
    }

    #[test]
    fn what_the_broker_has_is_said_again_where_that_is_asked_for() {
        let mut intake = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        assert_eq!(intake.say_again(), (0, false), "nothing polled, nothing to say");
        take(&mut intake, slot, [0, 1]);
        intake.answer(&settled(slot, epoch, 0));
        let first = intake.begin_commit(all);
        intake.commit_answered(slot, first.0, true);
        assert!(intake.begin_commit(all).1.is_empty());
        let (last, any) = intake.say_again();
        let again = intake.begin_commit(all);
        assert!(any && again.0 > last && offsets(&again) == [1]);
        intake.commit_answered(slot, again.0, false);
        let once_more = intake.begin_commit(all);
        assert_eq!(offsets(&once_more), [1], "a refusal answers nothing");
        intake.commit_answered(slot, once_more.0, true);
        assert!(intake.begin_commit(all).1.is_empty());
    }
}
