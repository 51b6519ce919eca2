//! Calls that are cancelled: those that hang, and those whose partition is another's now.

use std::future::Future as _;
use std::task;

use smallvec::smallvec;
use tokio::time::sleep_until;

use super::actor::HandlerActor;
use super::invoke::Invoke;
use super::item::{InHand, Item};
use delivery::outcome::{ErrorKind, HandlerError};

impl<I: Invoke> HandlerActor<I> {
    /// Sets the alarm for the next deadline of a call where none is set; true when it did, so that it wants its first poll.
    pub(super) fn sets_alarm(&mut self) -> bool {
        if self.alarm.is_some() || self.runs.waiting() == 0 {
            return false;
        }
        let oldest = self.runs.kept().map(|in_hand| in_hand.began_ns).min();
        let deadline = self.config.deadline;
        self.alarm = oldest.map(|began| Box::pin(sleep_until((self.clock.instant(began) + deadline).into())));
        true
    }

    /// Cancels calls that have reached their deadline. What they worked on has failed in this attempt.
    pub(super) fn cancel_hung(&mut self, cx: &mut task::Context<'_>) {
        if self.alarm.as_mut().is_none_or(|alarm| alarm.as_mut().poll(cx).is_pending()) {
            return;
        }
        self.alarm = None;
        let (clock, deadline) = (self.clock, self.config.deadline);
        for in_hand in self.runs.cancel(&mut |in_hand| clock.now >= clock.instant(in_hand.began_ns) + deadline) {
            let error = HandlerError::new(ErrorKind::Hung, format!("no answer within {deadline:?}"));
            let results = smallvec![Err(error); in_hand.items.len()];
            self.finish(in_hand, Ok(results));
        }
    }

    /// Cancels what has moved since it looked last, where the sweep has not come yet: nothing of it goes on.
    pub(super) fn cancel_moved(&mut self) {
        let ends = self.around.lease.changes();
        if std::mem::replace(&mut self.ends, ends) != ends {
            let given_up = self.lanes.sweep(|item| !item.may_start());
            self.answers.extend(given_up.iter().map(|item| item.answer(false)));
            self.cancel_ended();
        }
    }

    /// Cancels calls that work on records which are somebody else's now; what else they worked on goes back to its lane.
    pub(super) fn cancel_ended(&mut self) {
        let cancelled = self.runs.cancel(&mut |in_hand| in_hand.items.iter().any(|(_, item)| item.has_ended()));
        for InHand { items, .. } in cancelled {
            let mut rest = items.into_iter().peekable();
            while let Some((lane, item)) = rest.next() {
                let of_lane =
                    std::iter::successors(Some(item), |_| rest.next_if(|(next, _)| *next == lane).map(|of| of.1));
                let (ended, kept): (Vec<Item>, Vec<Item>) = of_lane.partition(Item::has_ended);
                self.answers.extend(ended.iter().map(|item| item.answer(false)));
                self.lanes.put_back(lane, kept.into_iter());
                self.lanes.resume(lane);
            }
        }
    }
}
