//! Holding back: which partitions take no more records for now, and which of them are paused at the source.
//!
//! A partition may have as much on its way as is left for all the others (Choudhury and Hahne, "Dynamic queue length
//! thresholds", 1998): that binds nothing while little is on its way, and one that is stuck always leaves room. And it
//! may have so much that what gets settled out of order fits into its commit's metadata, whatever the order.
//!
//! All records come out of one queue. What comes of a partition that is held is set aside, so that the others are read on,
//! but only so much of it. When a partition has been held for [`PATIENCE`] it is paused at the source, which costs what the
//! source has prefetched of it and what was set aside.

use std::time::{Duration, Instant};

use crate::member::assigned::Assigned;
use crate::member::credits::Credits;
use crate::member::frontier::MAX_RECORD_PROGRESS_BYTES;
use crate::member::intake::{Intake, to_u32};

/// How long a partition is held before it is paused: a queue that moves at all makes room much sooner.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// A paused partition is resumed when it is down to this part of what it may have.
const RESUMED_AT_ONE_OF: usize = 2;

/// Why a partition is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseCause {
    /// Somebody said so, for its topic.
    Operator,
    /// The handler of its topic has used up its restarts.
    Supervisor,
    /// It has too much on its way.
    Backpressure,
}

impl PauseCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Supervisor, Self::Backpressure];

    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Supervisor => "supervisor",
            Self::Backpressure => "backpressure",
        }
    }
}

/// What is to be told to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Slot of the partition.
    pub slot: u32,
    /// True: fetch nothing more, and drop what was prefetched. False: fetch again from where it was paused.
    pub paused: bool,
    /// Why it is, or was, paused.
    pub cause: PauseCause,
}

/// How far holding a partition back has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    #[default]
    Open,
    Held {
        since: Instant,
    },
    Paused,
}

/// What a partition has on its way, against what it may have.
#[derive(Clone, Copy, Debug)]
struct Load {
    records: usize,
    bytes: usize,
    progress_bytes: usize,
    free_records: usize,
    free_bytes: usize,
    max_progress_bytes: usize,
}

impl Load {
    fn of(assigned: &Assigned, credits: &Credits, max_progress_bytes: usize) -> Self {
        let (records, bytes) = assigned.frontier.owned();
        let progress_bytes = assigned.frontier.worst_progress_bytes();
        let (free_records, free_bytes) = (credits.free(), credits.free_bytes());
        Self { records, bytes, progress_bytes, free_records, free_bytes, max_progress_bytes }
    }

    /// Records that may be read before it has too much, should all of them be of this partition. With nothing on its
    /// way it may always have one: nothing but its own records makes its load less.
    fn room(&self) -> usize {
        // Each record that is read is one more here and one less of what is left.
        let share = self.free_records.saturating_sub(self.records).div_ceil(2);
        let share = if self.bytes > self.free_bytes { 0 } else { share };
        let progress = self.max_progress_bytes.saturating_sub(self.progress_bytes) / MAX_RECORD_PROGRESS_BYTES;
        share.min(progress).max(usize::from(self.records == 0))
    }

    fn is_relieved(&self) -> bool {
        let within = |is: usize, of: usize| is <= of / RESUMED_AT_ONE_OF;
        let share = within(self.records, self.free_records) && within(self.bytes, self.free_bytes);
        self.records == 0 || (share && within(self.progress_bytes, self.max_progress_bytes))
    }
}

impl Hold {
    fn next(self, load: &Load, now: Instant) -> Self {
        match self {
            Self::Paused if !load.is_relieved() => Self::Paused,
            // Where all credits are used up nobody can be read, and pausing one would help nobody.
            _ if load.room() > 0 || load.free_records == 0 => Self::Open,
            Self::Held { since } if now.saturating_duration_since(since) >= PATIENCE => Self::Paused,
            Self::Held { since } => Self::Held { since },
            Self::Open | Self::Paused => Self::Held { since: now },
        }
    }
}

impl Intake {
    /// Records that may be taken of a partition now.
    #[must_use]
    pub fn room_of(&self, slot: u32) -> usize {
        let read = self.at(slot).filter(|assigned| !assigned.leaving && assigned.paused.is_none());
        read.map_or(0, |assigned| Load::of(assigned, &self.credits, self.max_progress_bytes).room())
    }

    /// Decides which partitions are paused, and gives what that changes.
    pub fn regulate(&mut self, now: Instant) -> Vec<Tap> {
        let mut taps = Vec::new();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let Some(assigned) = slot.assigned.as_mut().filter(|assigned| !assigned.leaving) else { continue };
            let load = Load::of(assigned, &self.credits, self.max_progress_bytes);
            assigned.hold = assigned.hold.next(&load, now);
            let said = |cause: &PauseCause| self.paused_topics[*cause as usize].contains(&slot.topic);
            let held = || (assigned.hold == Hold::Paused).then_some(PauseCause::Backpressure);
            let paused = PauseCause::ALL.into_iter().find(said).or_else(held);
            let slot = to_u32(number);
            match (assigned.paused, paused) {
                (None, Some(cause)) => taps.push(Tap { slot, paused: true, cause }),
                (Some(cause), None) => taps.push(Tap { slot, paused: false, cause }),
                _ => {}
            }
            assigned.paused = paused;
        }
        taps
    }

    /// Pauses a topic for that cause, or ends its pause: for the partitions that are assigned, and for those that will
    /// be. It is read again when no cause is left. [`regulate`](Self::regulate) says what that changes.
    pub fn pause_topic(&mut self, topic: &str, cause: PauseCause, paused: bool) {
        let topics = &mut self.paused_topics[cause as usize];
        if paused {
            if !topics.contains(topic) {
                topics.insert(topic.to_owned());
            }
        } else {
            topics.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::Answer;
    use crate::member::intake::{Resume, Tracking};
    use crate::member::progress_codec::{MAX_METADATA_BYTES, decode, encode, max_runs_bytes};

    fn read(intake: &mut Intake, slot: u32, from: i64, count: usize) {
        for offset in (from..).take(count) {
            assert_eq!(intake.track(slot, offset, 10), Tracking::New);
        }
    }

    fn settle(intake: &mut Intake, (slot, epoch): (u32, u32), offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            intake.answer(&Answer { slot, epoch, offset, settled: true });
        }
    }

    /// Reads what it may of one partition until it may read no more.
    fn fill(intake: &mut Intake, slot: u32) -> usize {
        let mut read_so_far = 0;
        while intake.room_of(slot) > 0 {
            let room = intake.room_of(slot);
            read(intake, slot, i64::try_from(read_so_far).unwrap(), room);
            read_so_far += room;
        }
        read_so_far
    }

    #[test]
    fn one_that_is_stuck_is_paused_after_a_while_and_leaves_room_for_the_others() {
        let mut intake = Intake::new(100, 1_000_000, MAX_METADATA_BYTES);
        let (stuck, _) = intake.assign("stuck", 0);
        let (other, _) = intake.assign("other", 0);
        assert_eq!(fill(&mut intake, stuck), 50, "as much as is left");
        let begin = Instant::now();
        assert_eq!(intake.regulate(begin), []);
        assert_eq!((intake.regulate(begin + PATIENCE / 2), intake.room_of(stuck)), (vec![], 0));
        let cause = PauseCause::Backpressure;
        assert_eq!(intake.regulate(begin + PATIENCE), [Tap { slot: stuck, paused: true, cause }]);
        assert_eq!(fill(&mut intake, other), 25, "half of what the stuck one left");
        assert_eq!(intake.free(), 25);
    }

    #[test]
    fn one_whose_bytes_are_more_than_what_is_left_is_held_too() {
        let mut intake = Intake::new(100, 1_000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        assert_eq!(intake.track(slot, 0, 501), Tracking::New);
        assert_eq!(intake.room_of(slot), 0);
        settle(&mut intake, (slot, epoch), [0]);
        assert!(intake.room_of(slot) > 0);
    }

    #[test]
    fn a_paused_one_is_resumed_at_half_of_what_it_may_have_and_a_quick_one_is_never_paused() {
        let mut intake = Intake::new(100, 1_000_000, MAX_METADATA_BYTES);
        let (slot, epoch) = intake.assign("t", 0);
        fill(&mut intake, slot);
        let (begin, cause) = (Instant::now(), PauseCause::Backpressure);
        intake.regulate(begin);
        settle(&mut intake, (slot, epoch), [0]);
        assert_eq!(intake.regulate(begin + PATIENCE), [], "it made room in between");
        read(&mut intake, slot, 50, 1);
        intake.regulate(begin + PATIENCE);
        assert_eq!(intake.regulate(begin + 2 * PATIENCE), [Tap { slot, paused: true, cause }]);
        settle(&mut intake, (slot, epoch), 1..17);
        assert_eq!(intake.regulate(begin + 3 * PATIENCE), [], "34 on their way, 66 left");
        settle(&mut intake, (slot, epoch), 17..18);
        assert_eq!(intake.regulate(begin + 3 * PATIENCE), [Tap { slot, paused: false, cause }]);
        assert!(intake.room_of(slot) > 0);
    }

    #[test]
    fn a_topic_that_somebody_paused_stays_so_through_assignments_until_it_is_resumed() {
        let mut intake = Intake::new(100, 1_000, MAX_METADATA_BYTES);
        let (now, cause) = (Instant::now(), PauseCause::Operator);
        let (first, _) = intake.assign("t", 0);
        intake.pause_topic("t", cause, true);
        assert_eq!(intake.regulate(now), [Tap { slot: first, paused: true, cause }]);
        assert_eq!(intake.regulate(now), [], "said once");
        intake.assign("t", 0);
        let (second, _) = intake.assign("t", 1);
        let (other, _) = intake.assign("other", 0);
        let again = [first, second].map(|slot| Tap { slot, paused: true, cause });
        assert_eq!(intake.regulate(now), again, "each assignment begins unpaused at the source");
        assert!(intake.standings().all(|at| at.paused.is_some() == (at.slot != other)));
        intake.pause_topic("t", cause, false);
        assert_eq!(intake.regulate(now), [first, second].map(|slot| Tap { slot, paused: false, cause }));
    }

    #[test]
    fn a_partition_with_nothing_on_its_way_may_have_one_record_however_much_was_settled_of_it_before() {
        let mut intake = Intake::new(1_000, 1_000_000, 100);
        let at = intake.assign("t", 0);
        let runs: Vec<_> =
            (0..i64::try_from(max_runs_bytes(100) / 2).unwrap()).map(|at| 2 * at + 1..2 * at + 2).collect();
        let metadata = encode(0, runs.iter().cloned(), 100);
        intake.resume(at.0, &Resume { offset: 0, metadata }).unwrap();
        assert_eq!(intake.room_of(at.0), 1, "the metadata is full");
        for run in &runs {
            assert_eq!(intake.track(at.0, run.start - 1, 1), Tracking::New);
            assert_eq!(intake.track(at.0, run.start, 1), Tracking::SettledBefore);
            settle(&mut intake, at, [run.start - 1]);
            assert!(intake.room_of(at.0) >= 1);
        }
        read(&mut intake, at.0, runs[runs.len() - 1].end, 1);
        assert!(intake.room_of(at.0) > 1, "all of it was passed");
    }

    proptest! {
        #[test]
        fn a_commit_never_has_to_leave_anything_out(
            max_metadata_bytes in 30usize..200,
            steps in prop::collection::vec((0u8..8, any::<prop::sample::Index>(), 0i64..300), 1..400),
        ) {
            let mut intake = Intake::new(200, 100_000, max_metadata_bytes);
            let (mut at, mut end) = (intake.assign("t", 0), 0);
            let mut open: Vec<i64> = Vec::new();
            for (kind, index, hole) in steps {
                match kind {
                    0 | 1 => {
                        // As many as it may, now and then with holes in between.
                        for _ in 0..intake.room_of(at.0) {
                            end += if kind == 0 { hole } else { 0 };
                            if intake.track(at.0, end, 10) == Tracking::New { open.push(end) }
                            end += 1;
                        }
                    }
                    // The next owner goes on from the commit.
                    2 if index.index(4) == 0 => {
                        let (number, commits) = intake.begin_commit(|_| true);
                        intake.commit_answered(at.0, number, true);
                        let Some(commit) = commits.into_iter().next() else { continue };
                        end = commit.offset;
                        open.clear();
                        at = intake.assign("t", 0);
                        intake.resume(at.0, &Resume { offset: commit.offset, metadata: commit.metadata }).unwrap();
                    }
                    _ if open.is_empty() => {}
                    _ => settle(&mut intake, at, [open.swap_remove(index.index(open.len()))]),
                }
                let Some(assigned) = intake.at(at.0) else { continue };
                let settled = assigned.frontier.settled_above();
                let position = assigned.frontier.position().unwrap_or(0);
                let written = encode(position, settled.iter().cloned(), max_metadata_bytes);
                prop_assert_eq!(decode(position, &written), Ok(settled));
            }
        }
    }
}
