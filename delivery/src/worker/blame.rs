//! Whose fault a panic is: the event's, which its attempts count, or the handler's, which the restart budget counts.
//!
//! Between two events that are handled nobody knows for certain. A few events that fail again and again are bad events; a
//! handler that nothing else comes out of is a bad handler, whatever it is given.

use std::num::NonZeroU32;

use crate::worker::restart_budget::RestartPolicy;

/// What a panic of a call is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blamed {
    /// The event that it was called with, in one of its attempts.
    Event,
    /// The handler that was called.
    Handler,
    /// Whichever handler there is: it goes like this with every one that is made.
    EveryHandler,
}

/// The time between two events that were handled, where something failed in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era(NonZeroU32);

/// The panics since an event was handled last.
#[derive(Debug)]
pub struct Blame<E> {
    /// So many different events may be bad ones.
    most: usize,
    era: Era,
    panics: usize,
    /// Different events that failed first in this era, and panicked in it after that; one more than `most` is as good as
    /// more of them.
    again: Vec<E>,
}

impl<E: PartialEq> Blame<E> {
    /// Nothing has panicked. As many events may be bad as the budget allows restarts.
    #[must_use]
    pub fn new(policy: &RestartPolicy) -> Self {
        Self {
            most: usize::try_from(policy.max_restarts).unwrap_or(usize::MAX),
            era: Era(NonZeroU32::MIN),
            panics: 0,
            again: Vec::new(),
        }
    }

    /// The present era, which is to be kept with each event that fails for the first time.
    #[must_use]
    pub fn era(&self) -> Era {
        self.era
    }

    /// A call with `event` panicked, which had `failed` for the first time in that era, if it had. `in_hand` other calls have
    /// not ended yet.
    pub fn panicked(&mut self, event: E, failed: Option<Era>, in_hand: usize) -> Blamed {
        self.panics = self.panics.saturating_add(1);
        // One that failed while others were handled is a bad event: it says nothing of the handler.
        if failed == Some(self.era) && self.again.len() <= self.most && !self.again.contains(&event) {
            self.again.push(event);
        }
        // As long as most calls may still go well, those that panic may be the few that do: bad events fail at once
        // where good ones take their time. A call ends in the end, at its deadline.
        let in_doubt = in_hand >= self.panics;
        match failed {
            _ if in_doubt => Blamed::Event,
            None => Blamed::Handler,
            Some(era) if era == self.era && self.again.len() > self.most => Blamed::EveryHandler,
            Some(_) => Blamed::Event,
        }
    }

    /// An event was handled, after something had failed.
    pub fn handled(&mut self) {
        // After four billions of them it may take an event for one that failed in this era: nobody waits so long.
        self.era = Era(self.era.0.checked_add(1).unwrap_or(NonZeroU32::MIN));
        self.panics = 0;
        self.again.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blame() -> Blame<u32> {
        Blame::new(&RestartPolicy { max_restarts: 2, ..RestartPolicy::default() })
    }

    #[test]
    fn a_few_events_that_fail_again_and_again_are_bad_events() {
        let mut blame = blame();
        for event in [1, 2] {
            assert_eq!(blame.panicked(event, None, 0), Blamed::Handler, "nobody knows yet");
        }
        let era = Some(blame.era());
        for _ in 0..100 {
            assert_eq!([1, 2].map(|event| blame.panicked(event, era, 0)), [Blamed::Event; 2]);
        }
    }

    #[test]
    fn when_more_events_fail_again_than_there_may_be_bad_ones_it_is_every_handler_until_one_is_handled() {
        let mut blame = blame();
        let era = Some(blame.era());
        let again = [1, 2, 3, 4, 1].map(|event| blame.panicked(event, era, 0));
        assert_eq!(again[..2], [Blamed::Event; 2]);
        assert_eq!(again[2..], [Blamed::EveryHandler; 3]);
        blame.handled();
        assert_eq!(blame.panicked(5, Some(blame.era()), 0), Blamed::Event);
    }

    #[test]
    fn events_that_failed_before_another_one_was_handled_are_bad_events_however_many_they_are() {
        let mut blame = blame();
        let era = Some(blame.era());
        blame.handled();
        assert!((0..100).all(|event| blame.panicked(event, era, 0) == Blamed::Event));
    }

    #[test]
    fn nobody_is_blamed_but_the_events_while_most_calls_may_still_go_well() {
        let mut blame = blame();
        let all: Vec<_> = (0..9).rev().zip(0..).map(|(in_hand, event)| blame.panicked(event, None, in_hand)).collect();
        assert_eq!(all[..4], [Blamed::Event; 4], "8 others, then 7, 6, 5");
        assert_eq!(all[4..], [Blamed::Handler; 5], "4 others beside the fifth");
    }
}
