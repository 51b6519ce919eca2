//! The frontier of one partition: every offset below it is settled. It is what is committed.

use std::collections::VecDeque;

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
    /// Tracks a polled record.
    ///
    /// Returns false, and tracks nothing, for an offset at or below one already polled: the source repeated
    /// itself, and the first one is still owned or settled.
    #[must_use]
    pub fn track(&mut self, offset: i64, bytes: u32) -> bool {
        if self.end.is_some_and(|end| offset < end) {
            return false;
        }
        self.end = Some(offset + 1);
        self.owned += 1;
        self.owned_bytes += bytes as usize;
        self.tracked.push_back(Tracked { offset, bytes, state: State::Owned });
        true
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_stays_below_an_unsettled_record_however_much_above_is_settled() {
        let mut frontier = Frontier::default();
        assert_eq!(frontier.position(), None);
        for offset in [10, 11, 14, 15] {
            assert!(frontier.track(offset, 1));
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
        assert!(frontier.track(3, 9) && frontier.track(5, 9));
        assert!(!frontier.track(4, 9), "the source went back");
        assert_eq!(frontier.settle(4), Answered::Unknown);
        assert_eq!(frontier.settle(3), Answered::Now { bytes: 9 });
        assert_eq!(frontier.settle(3), Answered::Before);
        assert_eq!(frontier.settle(6), Answered::Unknown);
    }

    #[test]
    fn it_never_passes_a_record_that_was_given_up() {
        let mut frontier = Frontier::default();
        assert!(frontier.track(0, 5) && frontier.track(1, 5));
        assert_eq!(frontier.give_up(0), Answered::Now { bytes: 5 });
        assert_eq!(frontier.settle(1), Answered::Now { bytes: 5 });
        assert_eq!(frontier.settle(0), Answered::Before);
        assert_eq!((frontier.position(), frontier.owned()), (Some(0), (0, 0)));
    }

    proptest! {
        #[test]
        fn it_is_the_lowest_unsettled_offset_after_any_interleaving(
            gaps in prop::collection::vec(1i64..4, 1..60),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
        ) {
            let offsets: Vec<i64> = gaps.iter().scan(100, |at, gap| { *at += gap; Some(*at) }).collect();
            let mut frontier = Frontier::default();
            let mut open = std::collections::BTreeSet::new();
            for &offset in &offsets {
                prop_assert!(frontier.track(offset, 2));
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
