//! The intake: partitions assigned to this member, what of them is on its way, and what may be committed.

use std::collections::BTreeSet;

use crate::answer::Answer;
use crate::member::assigned::Assigned;
pub use crate::member::commits::Commit;
use crate::member::credits::Credits;
pub use crate::member::frontier::Tracking;
use crate::member::frontier::{Answered, Frontier};
use crate::member::hold::PauseCause;
use crate::member::note::CommitName;
use crate::member::progress_codec::{DecodeError, decode, max_runs_bytes};

/// Partitions of this member by slot. A slot stays with its partition while the process lives; each assignment of it
/// has a higher epoch than all before.
#[derive(Debug)]
pub struct Intake {
    pub(crate) slots: Vec<Slot>,
    pub(crate) credits: Credits,
    pub(crate) max_metadata_bytes: usize,
    /// What the progress of a partition may take of that.
    pub(crate) max_progress_bytes: usize,
    /// Topics that somebody paused; they stay so whatever is assigned.
    pub(crate) paused_topics: [BTreeSet<String>; PauseCause::ALL.len()],
    last_epoch: u32,
    pub(crate) last_commit: u64,
    pub(crate) last_note: u64,
    /// Tells this member's commits from all others.
    pub(crate) nonce: u64,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) topic: String,
    partition: i32,
    pub(crate) assigned: Option<Assigned>,
}

/// What the broker has of a partition from earlier assignments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The committed offset.
    pub offset: i64,
    /// The commit's metadata.
    pub metadata: String,
}

/// What an answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A record of a current assignment is settled.
    Settled,
    /// A record of a current assignment was given up.
    GivenUp,
    /// The answer was for an earlier assignment, for a record answered before or for one that was never polled.
    Stale,
}

/// How one partition stands, for status and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Slot.
    pub slot: u32,
    /// Topic.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
    /// Epoch of the assignment.
    pub epoch: u32,
    /// The frontier; `None` before the first record.
    pub position: Option<i64>,
    /// The last offset the broker said it has, in this assignment.
    pub committed: Option<i64>,
    /// The last offset that was noted beside the group's commits, in this assignment.
    pub noted: Option<i64>,
    /// Records on their way.
    pub in_flight: usize,
    /// Why it is paused at the source, where it is.
    pub paused: Option<PauseCause>,
}

impl Intake {
    /// No partition yet; at most so many records and bytes on their way, and so long a metadata of a commit.
    #[must_use]
    pub fn new(limit_records: usize, limit_bytes: usize, max_metadata_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            credits: Credits::new(limit_records, limit_bytes),
            max_metadata_bytes,
            max_progress_bytes: max_runs_bytes(max_metadata_bytes),
            paused_topics: Default::default(),
            last_epoch: 0,
            last_commit: 0,
            last_note: 0,
            nonce: 0,
        }
    }

    /// Nothing is assigned and nothing on its way, as in a new one. Slots stay with their partitions, what is paused stays
    /// so, and epochs and commits are numbered on, so that what was begun before is known to be stale.
    #[must_use]
    pub fn anew(self, limit_records: usize, limit_bytes: usize) -> Self {
        let Self { slots, max_metadata_bytes, paused_topics, last_epoch, last_commit, last_note, nonce, .. } = self;
        let slots = slots.into_iter().map(|slot| Slot { assigned: None, ..slot }).collect();
        let new = Self::new(limit_records, limit_bytes, max_metadata_bytes);
        Self { slots, paused_topics, last_epoch, last_commit, last_note, nonce, ..new }
    }

    /// The same with a random number that tells this member's commits from those of all others, before and after it.
    #[must_use]
    pub fn with_nonce(self, nonce: u64) -> Self {
        Self { nonce, ..self }
    }

    /// A partition comes. Returns its slot and the new epoch. Whatever it still held from before is forgotten.
    pub fn assign(&mut self, topic: &str, partition: i32) -> (u32, u32) {
        let slot = self.slot_of(topic, partition).unwrap_or_else(|| {
            self.slots.push(Slot { topic: topic.to_owned(), partition, assigned: None });
            to_u32(self.slots.len() - 1)
        });
        self.end(slot);
        self.last_epoch += 1;
        let epoch = self.last_epoch;
        self.slots[slot as usize].assigned = Some(Assigned { epoch, ..Assigned::default() });
        (slot, epoch)
    }

    /// Goes on from what the broker has; to be called before the first record of the assignment.
    ///
    /// # Errors
    /// When the metadata cannot be read: then everything from the committed offset on is handled again.
    pub fn resume(&mut self, slot: u32, from: &Resume) -> Result<(), DecodeError> {
        let settled = decode(from.offset, &from.metadata);
        if let Some(assigned) = self.assigned(slot) {
            assigned.latest = CommitName::of(from.offset, &from.metadata);
            assigned.frontier = Frontier::resume(from.offset, settled.as_ref().cloned().unwrap_or_default());
        }
        settled.map(drop)
    }

    /// The slot of a partition that is or was assigned.
    #[must_use]
    pub fn slot_of(&self, topic: &str, partition: i32) -> Option<u32> {
        self.slots.iter().position(|slot| slot.partition == partition && slot.topic == topic).map(to_u32)
    }

    /// Tracks a polled record and takes its credits. A record of a partition that takes none (it is unassigned or
    /// leaving) is refused: its next owner gets it. Where the log went back, assign the partition anew and track again.
    #[must_use]
    pub fn track(&mut self, slot: u32, offset: i64, bytes: usize) -> Tracking {
        let Some(assigned) = self.assigned(slot).filter(|assigned| !assigned.leaving) else {
            return Tracking::Refused;
        };
        let tracking = assigned.frontier.track(offset, to_u32(bytes));
        if matches!(tracking, Tracking::New | Tracking::SettledBefore) {
            assigned.first.get_or_insert(offset);
        }
        if tracking == Tracking::New {
            self.credits.take(bytes);
        }
        tracking
    }

    /// Records for which there are credits, of whatever partition; how many may be read is [`room`](Self::room).
    #[must_use]
    pub fn free(&self) -> usize {
        self.credits.free()
    }

    /// Takes the answer for a record.
    pub fn answer(&mut self, answer: &Answer) -> Effect {
        let Some(assigned) = self.assigned(answer.slot).filter(|assigned| assigned.epoch == answer.epoch) else {
            return Effect::Stale;
        };
        let frontier = &mut assigned.frontier;
        let (answered, effect) = if answer.settled {
            (frontier.settle(answer.offset), Effect::Settled)
        } else {
            (frontier.give_up(answer.offset), Effect::GivenUp)
        };
        let Answered::Now { bytes } = answered else { return Effect::Stale };
        self.credits.give_back(1, bytes as usize);
        effect
    }

    /// The partition takes no more records; what is on its way may still be answered and committed.
    pub fn leave(&mut self, slot: u32) {
        if let Some(assigned) = self.assigned(slot) {
            assigned.leaving = true;
        }
    }

    /// The assignment is over: its credits come back and answers for it are stale from now on.
    pub fn end(&mut self, slot: u32) {
        if let Some(assigned) = self.slots.get_mut(slot as usize).and_then(|slot| slot.assigned.take()) {
            let (records, bytes) = assigned.frontier.owned();
            self.credits.give_back(records, bytes);
        }
    }

    /// Records of a slot that are on their way.
    #[must_use]
    pub fn in_flight(&self, slot: u32) -> usize {
        self.at(slot).map_or(0, |assigned| assigned.frontier.owned().0)
    }

    /// Records of all partitions that are on their way.
    #[must_use]
    pub fn in_flight_in_all(&self) -> usize {
        self.credits.used_records()
    }

    /// Slots that are assigned.
    #[must_use]
    pub fn slots(&self) -> Vec<u32> {
        self.current().map(|(slot, ..)| slot).collect()
    }

    /// Topic and partition of a slot.
    ///
    /// # Panics
    /// When there is no such slot.
    #[must_use]
    pub fn partition(&self, slot: u32) -> (&str, i32) {
        let slot = &self.slots[slot as usize];
        (&slot.topic, slot.partition)
    }

    /// How the assigned partitions stand.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.current().map(|(number, slot, assigned)| Standing {
            slot: number,
            topic: &slot.topic,
            partition: slot.partition,
            epoch: assigned.epoch,
            position: assigned.frontier.position(),
            committed: assigned.committed,
            noted: assigned.noted,
            in_flight: assigned.frontier.owned().0,
            paused: assigned.paused,
        })
    }

    /// One past the last offset polled of a slot, in this assignment.
    #[must_use]
    pub fn polled_to(&self, slot: u32) -> Option<i64> {
        self.at(slot)?.frontier.end()
    }

    /// The slots that are assigned.
    pub(crate) fn current(&self) -> impl Iterator<Item = (u32, &Slot, &Assigned)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(number, slot)| Some((to_u32(number), slot, slot.assigned.as_ref()?)))
    }

    pub(crate) fn assigned(&mut self, slot: u32) -> Option<&mut Assigned> {
        self.slots.get_mut(slot as usize)?.assigned.as_mut()
    }

    pub(crate) fn at(&self, slot: u32) -> Option<&Assigned> {
        self.slots.get(slot as usize)?.assigned.as_ref()
    }
}

pub(crate) fn to_u32(number: usize) -> u32 {
    u32::try_from(number).expect("partitions of a member and bytes of a record stay far below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn an_answer_from_an_earlier_assignment_moves_nothing() {
        let mut intake = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, old) = intake.assign("t", 0);
        take(&mut intake, slot, [5, 6]);
        let (same, new) = intake.assign("t", 0);
        assert!(same == slot && new > old && intake.free() == 10);
        take(&mut intake, slot, [5]);
        assert_eq!(intake.answer(&settled(slot, old, 5)), Effect::Stale);
        assert!(intake.begin_commit(all).1.is_empty());
        assert_eq!(intake.answer(&settled(slot, new, 5)), Effect::Settled);
        assert_eq!(intake.free(), 10);
    }

    #[test]
    fn one_that_begins_anew_numbers_on_and_owns_nothing() {
        let mut intake = Intake::new(10, 1_000, 100);
        intake.assign("other", 0);
        let (slot, epoch) = intake.assign("t", 0);
        intake.pause_topic("t", PauseCause::Operator, true);
        take(&mut intake, slot, 5..8);
        let (number, _) = intake.begin_commit(all);
        let mut intake = intake.anew(10, 1_000);
        assert_eq!((intake.slots(), intake.in_flight_in_all(), intake.free()), (vec![], 0, 10));
        assert_eq!(intake.answer(&settled(slot, epoch, 5)), Effect::Stale);
        let (again, later) = intake.assign("t", 0);
        assert!(again == slot && later > epoch);
        take(&mut intake, slot, 5..8);
        assert_eq!(intake.answer(&settled(slot, epoch, 5)), Effect::Stale);
        assert_eq!(intake.answer(&settled(slot, later, 5)), Effect::Settled);
        assert!(intake.begin_commit(all).0 > number);
        assert!(intake.paused_topics[PauseCause::Operator as usize].contains("t"));
    }

    #[test]
    fn what_is_settled_above_the_frontier_is_committed_too_and_skipped_by_the_next_owner() {
        let mut intake = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        take(&mut intake, slot, 0..5);
        intake.answer(&settled(slot, epoch, 2));
        intake.answer(&settled(slot, epoch, 4));
        let (_, commits) = intake.begin_commit(all);
        let from = Resume { offset: commits[0].offset, metadata: commits[0].metadata.clone() };
        assert_eq!(from.offset, 0);

        let mut next = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, _) = next.assign("t", 0);
        next.resume(slot, &from).unwrap();
        let tracked: Vec<_> = (0..5).map(|offset| next.track(slot, offset, 10)).collect();
        let (new, before) = (Tracking::New, Tracking::SettledBefore);
        assert_eq!(tracked, [new, new, before, new, before]);
        assert_eq!(next.free(), 7);
        assert!(next.resume(slot, &Resume { offset: 0, metadata: "foreign".into() }).is_err());
    }

    #[test]
    fn a_log_that_goes_back_is_handled_from_there_on() {
        let mut intake = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, old) = intake.assign("t", 0);
        take(&mut intake, slot, [500, 501]);
        intake.answer(&settled(slot, old, 500));
        assert_eq!(intake.track(slot, 0, 10), Tracking::WentBack);
        let (slot, new) = intake.assign("t", 0);
        take(&mut intake, slot, [0, 1]);
        assert_eq!(intake.answer(&settled(slot, old, 501)), Effect::Stale);
        intake.answer(&settled(slot, new, 0));
        assert_eq!(offsets(&intake.begin_commit(all)), [1], "lower than before, for it is another log");
    }

    #[test]
    fn a_leaving_partition_takes_nothing_and_ends_when_all_is_answered() {
        let mut intake = Intake::new(10, 1000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        take(&mut intake, slot, [0, 1]);
        intake.leave(slot);
        assert_eq!(intake.track(slot, 2, 1), Tracking::Refused);
        assert_eq!(intake.in_flight(slot), 2);
        assert_eq!(intake.answer(&Answer { settled: false, ..settled(slot, epoch, 1) }), Effect::GivenUp);
        assert_eq!(intake.answer(&settled(slot, epoch, 0)), Effect::Settled);
        assert_eq!(intake.in_flight(slot), 0);
        assert_eq!(offsets(&intake.begin_commit(all)), [1]);
        intake.end(slot);
        assert_eq!((intake.free(), intake.slots().len()), (10, 0));
    }
}
