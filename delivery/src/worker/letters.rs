//! When is a dead letter written, and what if it cannot be? Until the broker has it, its record stays owned.

use std::time::Duration;

use super::calls::Run;
use super::item::{Routed, Stage, Writing};
use super::lanes::{LaneId, Wait};
use super::timers::Due;
use super::{Effect, Id, Worker};
use crate::now::{Now, nanos};
use crate::outcome::{HandlerError, Outcome};
use crate::sabotage::{self, Sabotage};

/// A record whose last attempt failed, while calls are in flight that may still show whose fault that is.
#[derive(Debug)]
pub(crate) struct Held {
    id: Id,
    lane: LaneId,
    wait: Wait,
    error: HandlerError,
    duration: Duration,
    failed_us: i64,
}

/// What is in a dead letter.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a, R> {
    /// The record that died.
    pub record: &'a R,
    /// Why.
    pub error: &'a HandlerError,
    /// Attempts at it.
    pub attempts: u32,
    /// Its first failure, in microseconds since the Unix epoch.
    pub first_failure_us: i64,
    /// Its last.
    pub last_failure_us: i64,
}

impl<R: Routed> Worker<R> {
    /// A dead letter that has to be written.
    #[must_use]
    pub fn letter(&self, id: Id) -> Option<Letter<'_, R>> {
        let item = self.lanes.get(id)?;
        let Stage::Letter(writing) = &item.stage else { return None };
        Some(Letter {
            record: &item.record,
            error: &writing.error,
            attempts: item.attempts,
            first_failure_us: item.first_failure_us,
            last_failure_us: writing.last_failure_us,
        })
    }

    /// The broker has the dead letter. Its record is settled, unless its partition went to another owner meanwhile, who
    /// handles it again.
    pub fn letter_written(&mut self, id: Id, wait: Wait) {
        let Some(lane) = self.lane_of_letter(id, wait) else { return };
        let Some(item) = self.lanes.get_mut(id) else { return };
        if item.record.assignment().has_ended() {
            return self.give_up_letter(lane, id, wait);
        }
        let Stage::Letter(writing) = std::mem::replace(&mut item.stage, Stage::Ended) else { return };
        self.delayed_letters -= usize::from(writing.refused > 0);
        self.settle(id, Outcome::DeadLettered, writing.duration, Some(writing.error.message));
        self.letter_is_over(lane, wait);
    }

    /// The broker does not have it. Returns how often that was so, and the pause until it is written again; `None` where that
    /// is given up, because its partition leaves.
    pub fn letter_refused(&mut self, now: &Now, id: Id, wait: Wait) -> Option<(u32, Duration)> {
        let lane = self.lane_of_letter(id, wait)?;
        let item = self.lanes.get_mut(id)?;
        if !item.record.assignment().is_open() {
            self.give_up_letter(lane, id, wait);
            return None;
        }
        let Stage::Letter(writing) = &mut item.stage else { return None };
        self.delayed_letters += usize::from(writing.refused == 0);
        writing.refused += 1;
        let pause = self.policy.retry.pause(writing.refused, self.rng.unit());
        self.timers.set(now.ns + nanos(pause), Due::Letter(id, wait));
        Some((writing.refused, pause))
    }

    pub(crate) fn write_letter_again(&mut self, id: Id, wait: Wait) {
        let Some(lane) = self.lane_of_letter(id, wait) else { return };
        if self.lanes.get(id).is_some_and(|item| item.record.assignment().has_ended()) {
            return self.give_up_letter(lane, id, wait);
        }
        self.effects.push_back(Effect::WriteDeadLetter(id, wait));
    }

    /// Its last attempt failed: a dead letter. Its lane waits for that, the followers behind it.
    pub(crate) fn bury(
        &mut self,
        now: &Now,
        lane: LaneId,
        id: Id,
        error: HandlerError,
        duration: Duration,
        followers: Run<Id>,
    ) {
        let wait = self.lanes.put_back(lane, followers.into_iter());
        self.begin_letter(Held { id, lane, wait, error, duration, failed_us: now.wall_us });
    }

    /// Its last attempt failed, and it is not known yet whose fault that is.
    pub(crate) fn hold(&mut self, lane: LaneId, id: Id, error: HandlerError, duration: Duration, followers: Run<Id>) {
        let wait = self.lanes.put_back(lane, followers.into_iter());
        let failed_us = self.lanes.get(id).map_or(0, |item| item.first_failure_us);
        self.held.push(Held { id, lane, wait, error, duration, failed_us });
    }

    /// It was their own fault.
    pub(crate) fn release_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.begin_letter(held);
        }
    }

    /// It was not their fault: they are tried again, and that attempt does not count.
    pub(crate) fn take_back_held(&mut self) {
        for Held { id, lane, wait, .. } in std::mem::take(&mut self.held) {
            if let Some(item) = self.lanes.get_mut(id) {
                item.stage = Stage::Queued;
                self.lanes.unwait(lane, wait, id);
            }
        }
    }

    /// Gives up what is held of partitions that leave.
    pub(crate) fn give_up_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            if self.lanes.get(held.id).is_some_and(|item| item.record.assignment().is_open()) {
                self.held.push(held);
            } else {
                self.give_up_letter(held.lane, held.id, held.wait);
            }
        }
    }

    fn begin_letter(&mut self, Held { id, lane, wait, error, duration, failed_us }: Held) {
        let Some(item) = self.lanes.get_mut(id) else { return };
        item.attempts += 1;
        if item.first_failure_us == 0 {
            item.first_failure_us = failed_us;
        }
        item.stage = Stage::Letter(Box::new(Writing { error, last_failure_us: failed_us, duration, refused: 0, wait }));
        self.effects.push_back(Effect::WriteDeadLetter(id, wait));
        if sabotage::is(Sabotage::DeadLetterNotAwaited) {
            self.lanes.resume(lane, wait);
        }
    }

    fn lane_of_letter(&self, id: Id, wait: Wait) -> Option<LaneId> {
        let item = self.lanes.get(id)?;
        let is_it = matches!(&item.stage, Stage::Letter(writing) if writing.wait == wait);
        self.lanes.lane_of(id).filter(|_| is_it)
    }

    fn give_up_letter(&mut self, lane: LaneId, id: Id, wait: Wait) {
        let Some(item) = self.lanes.remove(id) else { return };
        if let Stage::Letter(writing) = &item.stage {
            self.delayed_letters -= usize::from(writing.refused > 0);
        }
        self.give_up(&item);
        self.letter_is_over(lane, wait);
    }

    fn letter_is_over(&mut self, lane: LaneId, wait: Wait) {
        if !sabotage::is(Sabotage::NotResumedAfterADeadLetter) {
            self.lanes.resume(lane, wait);
        }
    }
}
