//! The frontier of one partition: every offset below it is settled. It is what is committed.

use std::collections::VecDeque;
use std::ops::Range;

use crate::member::before::Before;
use crate::member::progress_codec::varint_len;

/// The most that one more record adds to [`Frontier::worst_progress_bytes`]: itself, a hole before it, a long stretch.
pub const MAX_RECORD_PROGRESS_BYTES: usize = 1 + 9 + 1;
/// A stretch of so many unsettled records takes a second byte, and one of its square a third.
const LONG_STRETCH: usize = 128;

/// Tracks the records of one assignment of one partition from the poll to their settlement.
///
/// Only what is unsettled is kept, so its size is bounded by the credits, however far the records behind one that
/// waits get ahead. Everything polled and not kept is settled. Offsets that were never polled do not exist in the log
/// (compaction, transaction markers), so they need no special case.
#[derive(Debug, Default)]
pub struct Frontier {
    /// Polled and unsettled, in the order of their offsets.
    unsettled: VecDeque<Unsettled>,
    /// One past the last polled offset; `None` before the first.
    end: Option<i64>,
    owned: usize,
    owned_bytes: usize,
    /// What was settled in an earlier assignment.
    before: Before,
    /// The sum of [`charge`] over the unsettled; see [`worst_progress_bytes`](Self::worst_progress_bytes).
    charged_bytes: usize,
    /// Counts what was settled: a commit that knows it knows whether there is more to say.
    changes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unsettled {
    offset: i64,
    bytes: u32,
    /// Never started and never to be: its next owner gets it, so the frontier stays below it.
    given_up: bool,
}

/// What an unsettled offset followed by `next` can take in the progress: the stretch that ends with it, and the settled
/// run in between. Where there is no run, one may begin when the follower is settled, whose byte then pays for it.
fn charge(offset: i64, next: i64) -> usize {
    1 + varint_len(next.abs_diff(offset + 1))
}

/// What tracking a record found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// It is to be handled, and its answer is awaited.
    New,
    /// It was settled in an earlier assignment: nothing is to be done for it.
    SettledBefore,
    /// It lies before one that was polled already: the log is another one, or was cut. Its records are new.
    WentBack,
    /// Its partition takes no records.
    Refused,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Its answer was awaited until now; its credits (one record and so many bytes) come back.
    Now {
        /// Bytes to give back.
        bytes: u32,
    },
    /// It was answered before: nothing changes.
    Before,
    /// It was never tracked here: nothing changes.
    Unknown,
}

impl Frontier {
    /// A frontier that goes on from a commit: `settled` are the runs above `base` that its metadata named.
    #[must_use]
    pub fn resume(base: i64, settled: Vec<Range<i64>>) -> Self {
        Self { before: Before::new(base, settled), ..Self::default() }
    }

    /// Adds runs that are settled too, whoever said it; to be called before the first record.
    pub fn recall(&mut self, settled: impl IntoIterator<Item = Range<i64>>) {
        self.before = std::mem::take(&mut self.before).with(settled);
    }

    /// Where it went on from: the offset that was committed.
    #[must_use]
    pub fn resumed_at(&self) -> i64 {
        self.before.base()
    }

    /// Tracks a polled record. One that went back is not tracked: its partition begins anew.
    #[must_use]
    pub fn track(&mut self, offset: i64, bytes: u32) -> Tracking {
        match self.end {
            Some(end) if offset < end => return Tracking::WentBack,
            // The log does not begin where it was committed: it is another log, whose offsets mean other records.
            None if offset < self.before.base() => self.before.forget(),
            _ => {}
        }
        self.end = Some(offset + 1);
        if self.before.poll(offset) {
            self.changes += 1;
            return Tracking::SettledBefore;
        }
        self.owned += 1;
        self.owned_bytes += bytes as usize;
        // The last one is charged for itself alone until it has a follower.
        self.charged_bytes += self.unsettled.back().map_or(1, |last| charge(last.offset, offset));
        self.unsettled.push_back(Unsettled { offset, bytes, given_up: false });
        Tracking::New
    }

    /// Marks an offset settled; the frontier moves when it was the lowest unsettled one.
    pub fn settle(&mut self, offset: i64) -> Answered {
        // It is nearly always the lowest one, and that is less to do than what is below.
        if let Some(first) = self.unsettled.pop_front_if(|first| first.offset == offset && !first.given_up) {
            self.changes += 1;
            self.charged_bytes -= self.unsettled.front().map_or(1, |after| charge(offset, after.offset));
            return self.answered(first.bytes);
        }
        let index = match self.find(offset) {
            Ok(index) => index,
            Err(answered) => return answered,
        };
        self.changes += 1;
        let neighbour = |index: Option<usize>| Some(self.unsettled.get(index?)?.offset);
        let (before, after) = (neighbour(index.checked_sub(1)), neighbour(index.checked_add(1)));
        self.charged_bytes -= before.map_or(0, |before| charge(before, offset));
        self.charged_bytes -= after.map_or(1, |after| charge(offset, after));
        self.charged_bytes += before.map_or(0, |before| after.map_or(1, |after| charge(before, after)));
        // Shifts the shorter side.
        let bytes = self.unsettled.remove(index).map_or(0, |entry| entry.bytes);
        self.answered(bytes)
    }

    /// The record is not going to be started in this assignment; the frontier does not pass it.
    pub fn give_up(&mut self, offset: i64) -> Answered {
        match self.find(offset) {
            Ok(index) => {
                self.unsettled[index].given_up = true;
                let bytes = self.unsettled[index].bytes;
                self.answered(bytes)
            }
            Err(answered) => answered,
        }
    }

    fn answered(&mut self, bytes: u32) -> Answered {
        self.owned -= 1;
        self.owned_bytes -= bytes as usize;
        Answered::Now { bytes }
    }

    /// Where an offset whose answer is awaited lies, or what an answer for it means.
    fn find(&self, offset: i64) -> Result<usize, Answered> {
        let first = self.unsettled.front().is_some_and(|first| first.offset == offset);
        let found = if first { Ok(0) } else { self.unsettled.binary_search_by_key(&offset, |entry| entry.offset) };
        match found {
            Ok(index) if !self.unsettled[index].given_up => Ok(index),
            Ok(_) => Err(Answered::Before),
            Err(_) if self.end.is_some_and(|end| offset < end) => Err(Answered::Before),
            Err(_) => Err(Answered::Unknown),
        }
    }

    /// Offset to commit: the lowest unsettled one, or where there is none the lowest that is not known to be settled;
    /// `None` before the first poll.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        let end = self.end?;
        let first = self.unsettled.front().map(|first| first.offset);
        // What was settled before and comes next is passed before it is polled.
        first.or_else(|| self.before.next().filter(|run| run.start <= end).map(|run| run.end)).or(Some(end))
    }

    /// Changes whenever there is more to commit than before.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Runs of settled offsets above the frontier, ascending and apart: what lies between the unsettled ones, and what
    /// was settled before and is not polled yet.
    #[must_use]
    pub fn settled_above(&self) -> Vec<Range<i64>> {
        let Some(end) = self.end else { return Vec::new() };
        let after = self.unsettled.iter().map(|entry| entry.offset + 1);
        let until = self.unsettled.iter().skip(1).map(|entry| entry.offset).chain([end]);
        let mut runs: Vec<Range<i64>> = after.zip(until).map(|(start, end)| start..end).collect();
        runs.retain(|run| !run.is_empty());
        for run in self.before.runs().filter(|run| run.end > end) {
            match runs.last_mut().filter(|known| known.end >= run.start) {
                Some(known) => known.end = run.end,
                None => runs.push(run.start.max(end)..run.end),
            }
        }
        // The position has passed the run that comes next.
        let position = self.position();
        runs.retain(|run| position.is_none_or(|position| run.start > position));
        runs
    }

    /// An upper bound of what [`settled_above`](Self::settled_above) takes when it is written, now and in whatever order
    /// the unsettled come to be settled: two runs that become one take no more than they did, and a run that begins anew,
    /// of two bytes, needs two unsettled records that stood side by side, each of which was charged one.
    #[must_use]
    pub fn worst_progress_bytes(&self) -> usize {
        let tail = self.unsettled.back().zip(self.end).map_or(0, |(last, end)| {
            let until = self.before.next().map_or(end, |run| run.start.min(end));
            varint_len(until.abs_diff(last.offset + 1))
        });
        self.charged_bytes + tail + self.unsettled.len() / LONG_STRETCH + self.before.bytes()
    }

    /// One past the last polled offset; `None` before the first.
    #[must_use]
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    /// Records whose answer is awaited, and their bytes.
    #[must_use]
    pub fn owned(&self) -> (usize, usize) {
        (self.owned, self.owned_bytes)
    }
}

#[cfg(test)]
// A vector of one run is one run.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use crate::member::progress_codec::{MAX_METADATA_BYTES, decode, encode};
    use proptest::prelude::*;

    #[test]
    fn it_stays_below_an_unsettled_record_however_much_above_is_settled() {
        let mut frontier = Frontier::default();
        assert_eq!(frontier.position(), None);
        for offset in [10, 11, 14, 15] {
            assert_eq!(frontier.track(offset, 1), Tracking::New);
        }
        assert_eq!(frontier.position(), Some(10));
        for offset in [15, 11, 14] {
            assert_eq!(frontier.settle(offset), Answered::Now { bytes: 1 });
            assert_eq!(frontier.position(), Some(10));
        }
        assert_eq!(frontier.settle(10), Answered::Now { bytes: 1 });
        assert_eq!(frontier.position(), Some(16));
    }

    #[test]
    fn a_second_answer_changes_nothing_and_a_foreign_one_is_told() {
        let mut frontier = Frontier::default();
        assert_eq!(frontier.settle(3), Answered::Unknown);
        assert_eq!((frontier.track(3, 9), frontier.track(5, 9)), (Tracking::New, Tracking::New));
        assert_eq!(frontier.track(4, 9), Tracking::WentBack);
        assert_eq!(frontier.settle(4), Answered::Before, "whatever lies below the end was polled, or does not exist");
        assert_eq!(frontier.settle(3), Answered::Now { bytes: 9 });
        assert_eq!(frontier.settle(3), Answered::Before);
        assert_eq!(frontier.settle(6), Answered::Unknown);
    }

    #[test]
    fn it_never_passes_a_record_that_was_given_up() {
        let mut frontier = Frontier::default();
        assert_eq!((frontier.track(0, 5), frontier.track(1, 5)), (Tracking::New, Tracking::New));
        assert_eq!(frontier.give_up(0), Answered::Now { bytes: 5 });
        assert_eq!(frontier.settle(1), Answered::Now { bytes: 5 });
        assert_eq!(frontier.settle(0), Answered::Before);
        assert_eq!((frontier.position(), frontier.owned()), (Some(0), (0, 0)));
    }

    #[test]
    fn a_resumed_one_skips_what_was_settled_and_says_so_again() {
        let mut frontier = Frontier::resume(10, vec![12..14, 20..25]);
        assert_eq!((frontier.track(10, 1), frontier.track(11, 1)), (Tracking::New, Tracking::New));
        assert_eq!((frontier.track(12, 1), frontier.track(13, 1)), (Tracking::SettledBefore, Tracking::SettledBefore));
        assert_eq!(frontier.settled_above(), [12..14, 20..25], "also what is not polled yet");
        assert_eq!(frontier.track(14, 1), Tracking::New);
        assert_eq!(frontier.settled_above(), [12..14, 20..25]);
        assert_eq!(frontier.settle(10), Answered::Now { bytes: 1 });
        assert_eq!(frontier.settle(11), Answered::Now { bytes: 1 });
        assert_eq!(frontier.position(), Some(14));
        assert_eq!(frontier.track(22, 1), Tracking::SettledBefore, "the log may have lost 15 to 21");
        assert_eq!(frontier.settled_above(), [15..25], "23 and 24 hold before they are polled");
    }

    #[test]
    fn runs_of_another_log_are_forgotten() {
        let mut frontier = Frontier::resume(10, vec![12..14]);
        for offset in 0..14 {
            assert_eq!(frontier.track(offset, 1), Tracking::New);
        }
    }

    #[test]
    fn all_that_was_settled_at_the_foot_is_passed_at_once() {
        let mut frontier = Frontier::resume(10, vec![11..13]);
        // 10 is gone from the log.
        assert_eq!((frontier.track(11, 1), frontier.position()), (Tracking::SettledBefore, Some(13)));
        assert_eq!(frontier.track(12, 1), Tracking::SettledBefore);
        assert_eq!((frontier.position(), frontier.settled_above().len()), (Some(13), 0));
    }

    proptest! {
        #[test]
        fn a_restart_repeats_what_was_unsettled_and_nothing_else(
            gaps in prop::collection::vec(1i64..4, 1..80),
            settled in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
            polled_again in 0usize..80,
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(100, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut frontier = Frontier::default();
            let mut open: std::collections::BTreeSet<i64> = offsets.iter().copied().collect();
            for &offset in &offsets {
                prop_assert_eq!(frontier.track(offset, 1), Tracking::New);
            }
            for index in settled {
                open.remove(index.get(&offsets));
                frontier.settle(*index.get(&offsets));
            }
            let mut base = frontier.position().unwrap();
            let mut text = encode(base, frontier.settled_above().into_iter(), MAX_METADATA_BYTES);
            // A member that takes over polls a part, settles nothing, and hands on; the next one polls all.
            for take in [polled_again, usize::MAX] {
                let mut next = Frontier::resume(base, decode(base, &text).unwrap());
                for offset in offsets.iter().copied().filter(|offset| *offset >= base).take(take) {
                    let expected = if open.contains(&offset) { Tracking::New } else { Tracking::SettledBefore };
                    prop_assert_eq!(next.track(offset, 1), expected);
                }
                if let Some(position) = next.position() {
                    base = position;
                    text = encode(base, next.settled_above().into_iter(), MAX_METADATA_BYTES);
                }
            }
        }

        #[test]
        fn the_size_of_the_progress_is_bounded_at_every_step_and_settling_never_raises_the_bound(
            before in prop::collection::vec((1i64..40, prop_oneof![1i64..6, 100i64..300]), 0..12),
            steps in prop::collection::vec((0u8..10, any::<prop::sample::Index>()), 1..250),
        ) {
            // The end of each run is the start of the next gap.
            let runs = before.iter().scan(50, |at, (gap, length)| { *at += gap + length; Some(*at - length..*at) });
            let mut frontier = Frontier::resume(50, runs.collect());
            let mut open: Vec<i64> = Vec::new();
            for (kind, index) in steps {
                let bound = frontier.worst_progress_bytes();
                let next = frontier.end().unwrap_or(50);
                let raised = match kind {
                    // A record, now and then a hole before it, now and then a long stretch of records.
                    0..7 => {
                        let hole = if kind == 5 { i64::try_from(index.index(20_000)).unwrap() } else { 0 };
                        let count = if kind == 6 { 200u16 } else { 1 };
                        let offsets = (0..count).map(|at| next + hole + i64::from(at));
                        open.extend(offsets.filter(|offset| frontier.track(*offset, 1) == Tracking::New));
                        usize::from(count) * MAX_RECORD_PROGRESS_BYTES
                    }
                    _ if open.is_empty() => 0,
                    _ => {
                        let offset = open.swap_remove(index.index(open.len()));
                        if kind == 7 { frontier.give_up(offset) } else { frontier.settle(offset) };
                        0
                    }
                };
                prop_assert!(frontier.worst_progress_bytes() <= bound + raised);
                let text = encode(frontier.position().unwrap_or(50), frontier.settled_above().into_iter(), usize::MAX);
                // Without the letter of the version and the checksum.
                let runs_bytes = (text.len().saturating_sub(1) * 3 / 4).saturating_sub(4);
                prop_assert!(runs_bytes <= frontier.worst_progress_bytes());
            }
        }

        #[test]
        fn it_is_the_lowest_unsettled_offset_after_any_interleaving(
            gaps in prop::collection::vec(1i64..4, 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(100, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut frontier = Frontier::default();
            let mut open = std::collections::BTreeSet::new();
            for &offset in &offsets {
                prop_assert_eq!(frontier.track(offset, 2), Tracking::New);
                open.insert(offset);
            }
            for index in order {
                let offset = *index.get(&offsets);
                let expected = if open.remove(&offset) { Answered::Now { bytes: 2 } } else { Answered::Before };
                prop_assert_eq!(frontier.settle(offset), expected);
                let lowest = open.first().copied().unwrap_or(offsets[offsets.len() - 1] + 1);
                prop_assert_eq!(frontier.position(), Some(lowest));
                prop_assert_eq!(frontier.owned(), (open.len(), 2 * open.len()));
            }
        }
    }
}
