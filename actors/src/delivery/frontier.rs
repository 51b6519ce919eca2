//! The frontier of one partition: every offset below it is settled. It is what is committed.

use std::collections::VecDeque;
use std::ops::Range;

/// Tracks the records of one assignment of one partition from the poll to their settlement.
///
/// Only offsets that were polled are tracked, so gaps from compaction or transaction markers need no special case.
#[derive(Debug, Default)]
pub struct Frontier {
    /// Polled and not below the frontier, in the order of their offsets.
    tracked: VecDeque<Tracked>,
    /// One past the last polled offset; `None` before the first.
    end: Option<i64>,
    owned: usize,
    owned_bytes: usize,
    /// Runs of offsets that were settled in an earlier assignment, ascending, and the offset they were committed with.
    before: VecDeque<Range<i64>>,
    resumed_at: i64,
    /// Counts what was settled: a commit that knows it knows whether there is more to say.
    changes: u64,
}

/// What tracking a record found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// It is to be handled, and its answer is awaited.
    New,
    /// It was settled in an earlier assignment: nothing is to be done for it.
    SettledBefore,
    /// The source repeated itself: the first one is still owned, or settled.
    Repeated,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    offset: i64,
    bytes: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Polled, and its answer is awaited.
    Owned,
    /// Never started and never to be: its next owner gets it, so the frontier stays below it.
    GivenUp,
    Settled,
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
    /// It was never tracked here: nothing changes, and it is worth a report.
    Unknown,
}

impl Frontier {
    /// A frontier that goes on from a commit: `settled` are the runs above `base` that its metadata named.
    #[must_use]
    pub fn resume(base: i64, settled: Vec<Range<i64>>) -> Self {
        Self { before: settled.into(), resumed_at: base, ..Self::default() }
    }

    /// Tracks a polled record.
    #[must_use]
    pub fn track(&mut self, offset: i64, bytes: u32) -> Tracking {
        match self.end {
            Some(end) if offset < end => return Tracking::Repeated,
            // The log does not begin where it was committed: it is another log, whose offsets mean other records.
            None if offset < self.resumed_at => self.before.clear(),
            _ => {}
        }
        while self.before.pop_front_if(|run| run.end <= offset).is_some() {}
        if self.before.front().is_some_and(|run| run.contains(&offset)) {
            self.end = Some(offset + 1);
            if !self.tracked.is_empty() {
                self.tracked.push_back(Tracked { offset, bytes: 0, state: State::Settled });
            }
            self.changes += 1;
            return Tracking::SettledBefore;
        }
        self.end = Some(offset + 1);
        self.owned += 1;
        self.owned_bytes += bytes as usize;
        self.tracked.push_back(Tracked { offset, bytes, state: State::Owned });
        Tracking::New
    }

    /// Marks an offset settled and moves the frontier over everything settled at its foot.
    pub fn settle(&mut self, offset: i64) -> Answered {
        self.answer(offset, State::Settled)
    }

    /// The record is not going to be started in this assignment; the frontier does not pass it.
    pub fn give_up(&mut self, offset: i64) -> Answered {
        self.answer(offset, State::GivenUp)
    }

    fn answer(&mut self, offset: i64, state: State) -> Answered {
        let Some(index) = self.find(offset) else {
            let passed = self.end.is_some_and(|end| offset < end)
                && self.tracked.front().is_none_or(|first| offset < first.offset);
            return if passed { Answered::Before } else { Answered::Unknown };
        };
        let entry = &mut self.tracked[index];
        if entry.state != State::Owned {
            return Answered::Before;
        }
        entry.state = state;
        self.changes += u64::from(state == State::Settled);
        let bytes = entry.bytes;
        self.owned -= 1;
        self.owned_bytes -= bytes as usize;
        while self.tracked.pop_front_if(|first| first.state == State::Settled).is_some() {}
        Answered::Now { bytes }
    }

    /// Offset to commit: the lowest unsettled one, or one past the last polled one; `None` before the first poll.
    #[must_use]
    pub fn position(&self) -> Option<i64> {
        self.tracked.front().map(|first| first.offset).or(self.end)
    }

    /// Changes whenever there is more to commit than before.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Runs of settled offsets above the frontier, ascending and apart. Offsets that were never polled between two
    /// settled ones do not exist in the log, so they belong to the run.
    #[must_use]
    pub fn settled_above(&self) -> Vec<Range<i64>> {
        let Some(last) = self.tracked.back() else { return Vec::new() };
        let mut runs: Vec<Range<i64>> = Vec::new();
        let mut open = false;
        for entry in &self.tracked {
            let settled = entry.state == State::Settled;
            match runs.last_mut() {
                Some(run) if open && settled => run.end = entry.offset + 1,
                _ if settled => runs.push(entry.offset..entry.offset + 1),
                _ => {}
            }
            open = settled;
        }
        // What was settled before and is not polled yet still holds.
        for run in self.before.iter().filter(|run| run.end > last.offset + 1) {
            match runs.last_mut().filter(|known| known.end >= run.start) {
                Some(known) => known.end = run.end,
                None => runs.push(run.start.max(last.offset + 1)..run.end),
            }
        }
        runs
    }

    /// Records whose answer is awaited, and their bytes.
    #[must_use]
    pub fn owned(&self) -> (usize, usize) {
        (self.owned, self.owned_bytes)
    }

    fn find(&self, offset: i64) -> Option<usize> {
        let first = self.tracked.front()?.offset;
        // Offsets are nearly always contiguous, so the distance from the first is the index; gaps need the search.
        let guess = usize::try_from(offset.checked_sub(first)?).ok()?;
        if self.tracked.get(guess).is_some_and(|entry| entry.offset == offset) {
            return Some(guess);
        }
        self.tracked.binary_search_by_key(&offset, |entry| entry.offset).ok()
    }
}

#[cfg(test)]
// A vector of one run is one run.
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
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
        assert_eq!(frontier.track(4, 9), Tracking::Repeated, "the source went back");
        assert_eq!(frontier.settle(4), Answered::Unknown);
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
        assert_eq!(frontier.settled_above(), [22..25], "23 and 24 hold before they are polled");
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
        assert_eq!((frontier.track(11, 1), frontier.track(12, 1)), (Tracking::SettledBefore, Tracking::SettledBefore));
        assert_eq!((frontier.position(), frontier.settled_above().len()), (Some(13), 0));
    }

    proptest! {
        #[test]
        fn a_restart_repeats_what_was_unsettled_and_nothing_else(
            gaps in prop::collection::vec(1i64..4, 1..80),
            settled in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
            polled_again in 0usize..80,
        ) {
            use crate::delivery::progress_codec::{decode, encode};
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
            let mut text = encode(base, frontier.settled_above().into_iter());
            // A member that takes over polls a part, settles nothing, and hands on; the next one polls all.
            for take in [polled_again, usize::MAX] {
                let mut next = Frontier::resume(base, decode(base, &text).unwrap());
                for offset in offsets.iter().copied().filter(|offset| *offset >= base).take(take) {
                    let expected = if open.contains(&offset) { Tracking::New } else { Tracking::SettledBefore };
                    prop_assert_eq!(next.track(offset, 1), expected);
                }
                if let Some(position) = next.position() {
                    base = position;
                    text = encode(base, next.settled_above().into_iter());
                }
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
