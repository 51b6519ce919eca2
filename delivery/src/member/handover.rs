//! How do partitions come and go? What comes goes on from its commit; what leaves is closed, drained, committed and then
//! released, as `leaving.rs` decides when; what is lost is released at once.

use std::time::Instant;

use super::Member;
use super::assigned::Assigned;
use super::effect::{Effect, Told};
use super::frontier::Frontier;
use super::hold::PauseCause;
use super::leaving::{Facts, Next};
use super::membership::{COMMITTED_WAIT, NOTES_WAIT};
use super::partitions::Partitions;
use super::progress::codec::{DecodeError, decode};
use super::progress::commits;
use super::progress::name::{CommitName, Names};
use super::progress::notes;
use crate::partition::{PartitionOffset, TopicPartition};
use crate::sabotage::{Sabotage, is};

impl Member {
    /// Partitions come.
    pub fn assigned(&mut self, partitions: Vec<TopicPartition>, now: Instant) {
        for TopicPartition { topic, partition } in &partitions {
            if let (_, Some(before)) = self.partitions.assign(topic, *partition) {
                before.assignment.end();
                self.backpressure.give_back(before.in_flight());
                self.membership.assignments_changed();
            }
            if is(Sabotage::PauseForgotten) {
                self.backpressure.pause_topic(topic, PauseCause::Operator, false);
            }
        }
        self.joined = true;
        self.waits_for_the_group = false;
        self.commits.group_changed(now);
        let (committed_within, noted_within) = (COMMITTED_WAIT, NOTES_WAIT);
        self.effects.push_back(Effect::Accept { partitions: partitions.clone(), committed_within, noted_within });
        self.tell(Told::Assigned(partitions));
        self.effects.push_back(Effect::Status);
    }

    /// What the group has committed of a partition that comes, and what was noted in addition; to be called before the
    /// first record of the assignment. Without a commit there is nothing to go on from.
    pub fn go_on_from(&mut self, committed: Vec<PartitionOffset>, noted: Vec<PartitionOffset>) {
        for committed in committed {
            let at = TopicPartition { topic: committed.topic.clone(), partition: committed.partition };
            let Some(assigned) = self.partitions.of_mut(&at) else { continue };
            if let Err(error) = resume(assigned, &committed) {
                self.tell(Told::ProgressUnread(at, error));
            }
        }
        let mut counted = 0;
        for note in noted {
            let at = TopicPartition { topic: note.topic.clone(), partition: note.partition };
            let Some(assigned) = self.partitions.of_mut(&at) else { continue };
            match notes::recall(assigned, &note) {
                Ok(counts) => counted += usize::from(counts),
                Err(error) => self.tell(Told::ProgressUnread(at, error)),
            }
        }
        if counted > 0 {
            self.tell(Told::NotesRead(counted));
        }
    }

    /// Partitions must be given away.
    pub fn revoked(&mut self, partitions: &[TopicPartition], now: Instant) {
        let slots = self.partitions.slots_of(partitions);
        for assigned in slots.iter().filter_map(|slot| self.partitions.get(*slot)) {
            assigned.assignment.close();
        }
        self.membership.assignments_changed();
        self.commits.group_changed(now);
        self.leaving.revoked(slots, now);
    }

    /// Others have these partitions already, or will have them: nothing is committed, and whatever is still answered is
    /// stale.
    pub fn lost(&mut self, partitions: Vec<TopicPartition>, now: Instant) {
        if is(Sabotage::CommitOnLost) {
            return self.revoked(&partitions, now);
        }
        let slots = self.partitions.slots_of(&partitions);
        self.commits.group_changed(now);
        self.leaving.lost(&slots);
        self.end(&slots);
        self.effects.push_back(Effect::Release { partitions: partitions.clone(), in_order: false });
        self.tell(Told::Lost(partitions));
        self.effects.push_back(Effect::Status);
    }

    pub(super) fn advance_leaving(&mut self, now: Instant) {
        let troubled = self.commits.are_troubled(now);
        let (in_flight, said) = facts(&self.partitions, troubled);
        let next = self.leaving.advance(&Facts { in_flight: &in_flight, said: &said }, now);
        for next in next {
            match next {
                Next::TimedOut(unsettled) => self.tell(Told::DrainTimedOut(unsettled)),
                Next::Commit(slots) => {
                    let commit = self.commits.begin(&mut self.partitions, |slot| slots.contains(&slot), now);
                    self.effects.extend(commit.map(|(number, offsets)| Effect::Commit { number, offsets }));
                }
                Next::Release(slots, in_order) => {
                    let released: Vec<_> = self.named(&slots);
                    // What still runs of them is cancelled: the next owner begins it again.
                    self.end(&slots);
                    self.effects.push_back(Effect::Release { partitions: released.clone(), in_order });
                    self.tell(Told::Revoked(released));
                    self.effects.push_back(Effect::Status);
                }
            }
        }
        let (in_flight, said) = facts(&self.partitions, troubled);
        let slots = self.partitions.assigned().map(Assigned::slot);
        if self.leaving.leaves(slots, &Facts { in_flight: &in_flight, said: &said }, self.waits_for_the_group, now) {
            self.effects.push_back(Effect::LeaveGroup);
        }
        self.leave_when_done(now);
    }

    /// Assignments are over.
    fn end(&mut self, slots: &[u32]) {
        for slot in slots {
            if let Some(ended) = self.partitions.end(*slot) {
                self.backpressure.give_back(ended.in_flight());
            }
        }
        self.membership.assignments_changed();
    }
}

/// Goes on from what the group has of a partition.
fn resume(assigned: &mut Assigned, from: &PartitionOffset) -> Result<(), DecodeError> {
    let mut settled = decode(from.offset, &from.metadata);
    if let Ok(runs) = &mut settled {
        if is(Sabotage::MetadataIgnored) {
            runs.clear();
        } else if is(Sabotage::MetadataAtTheWrongBase) {
            for run in runs {
                *run = run.start + 1..run.end + 1;
            }
        } else if is(Sabotage::MetadataOfAnotherPartition) {
            *runs = std::iter::once(from.offset + 2..from.offset + 5).collect();
        }
    }
    assigned.names = Names::resumed(CommitName::of(from.offset, &from.metadata));
    assigned.frontier = Frontier::resume(from.offset, settled.as_ref().cloned().unwrap_or_default());
    settled.map(drop)
}

/// Records in flight of a slot, and whether all that was settled of it is said.
fn facts(partitions: &Partitions, troubled: bool) -> (impl Fn(u32) -> usize + Copy, impl Fn(u32) -> bool + Copy) {
    (
        move |slot| partitions.get(slot).map_or(0, Assigned::in_flight),
        move |slot| partitions.get(slot).is_none_or(|assigned| is_said(assigned, troubled)),
    )
}

/// Whether the group, or a note while the group takes no commits, has all that was settled of a partition.
fn is_said(assigned: &Assigned, troubled: bool) -> bool {
    commits::uncommitted(assigned).is_none() || (troubled && notes::unsaid(assigned).is_none())
}
