//! How attempts end at a member: settled, tried again after a pause, dead-lettered, cancelled.

use std::time::{Duration, Instant};

use delivery::worker::lanes::LaneKey;
use delivery::worker::retry::RetryPolicy;

use super::handler::{Handler, Item};
use super::step::Step;
use crate::Sabotage;
use crate::history::Violation;

pub(super) const MAX_ATTEMPTS: u32 = 3;
/// A call that takes longer is cancelled.
pub(super) const DEADLINE: Duration = Duration::from_millis(1_500);
/// Of a hundred attempts to write a dead letter, so many fail while there are faults.
const UNWRITTEN_PERCENT: u64 = 25;
const POLICY: RetryPolicy = RetryPolicy {
    max_attempts: MAX_ATTEMPTS,
    first_backoff: Duration::from_millis(50),
    max_backoff: Duration::from_millis(400),
};

/// How a call ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Done,
    Fails { transient: bool },
    Panics,
}

/// A call to the handler.
#[derive(Clone, Debug)]
pub(super) struct InHand {
    /// Of the handler that was called.
    pub(super) generation: u32,
    pub(super) began: Instant,
    pub(super) lane: LaneKey,
    pub(super) item: Item,
    pub(super) end: End,
    /// When; never, where it hangs.
    pub(super) ends: Option<Instant>,
}

/// Something that a lane waits for, with the record that it is about.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) item: Item,
    lane: LaneKey,
    until: Instant,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Its backoff is over.
    Backoff,
    /// The fate of its dead letter is known.
    DeadLetter,
    /// By sabotage alone: a cancelled call answers.
    LateAnswer,
}

impl Wait {
    pub(super) fn is_letter(&self) -> bool {
        self.what == What::DeadLetter
    }
}

impl Handler {
    /// Takes some of what has ended, in any order.
    pub(super) fn end_some(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = step.now;
        while step.rng.percent(80) {
            let ready: Vec<usize> = (0..self.waits.len()).filter(|at| self.waits[*at].until <= now).collect();
            let Some(at) = step.rng.pick(&ready) else { break };
            let wait = self.waits.swap_remove(at);
            self.waited(wait, step)?;
        }
        while step.rng.percent(80) {
            let is_ready = |in_hand: &InHand| in_hand.ends.is_some_and(|ends| ends <= now);
            let ready: Vec<usize> = (0..self.in_hand.len()).filter(|at| is_ready(&self.in_hand[*at])).collect();
            let Some(at) = step.rng.pick(&ready) else { break };
            let in_hand = self.in_hand.swap_remove(at);
            let end = in_hand.end;
            self.finish(in_hand, end, step)?;
        }
        Ok(())
    }

    /// Deals with what a call to the handler answered.
    fn finish(&mut self, in_hand: InHand, end: End, step: &mut Step<'_>) -> Result<(), Violation> {
        let InHand { generation, lane, item, .. } = in_hand;
        step.history.acts(item.tenure, item.record.offset)?;
        match end {
            End::Panics => {
                self.panicked(generation, &item, step)?;
                self.fail(lane, item, true, step);
            }
            End::Fails { transient } => self.fail(lane, item, transient, step),
            End::Done => {
                self.worked(generation, step)?;
                self.settle(&item, step)?;
                if !self.is(Sabotage::LaneReleasedAtTheStart) {
                    self.lanes.release(lane);
                }
            }
        }
        Ok(())
    }

    /// An attempt failed: another one after a pause, or a dead letter. The lane waits in both cases.
    fn fail(&mut self, lane: LaneKey, mut item: Item, transient: bool, step: &mut Step<'_>) {
        if self.is(Sabotage::LaneReleasedAtTheStart) {
            // There is no lane to put it back into.
            return;
        }
        let era = self.life.failed();
        if item.failed_in.is_none() {
            item.failed_in = Some(era);
            step.history.failed(self.number, (item.tenure, item.record.offset));
        }
        item.attempts += 1;
        let another = if transient { POLICY.backoff(item.attempts, step.rng.unit()) } else { None };
        match another {
            Some(_) if self.is(Sabotage::RetryOutOfOrder) => {
                self.lanes.push(lane, item);
                self.lanes.release(lane);
            }
            Some(pause) => {
                self.lanes.put_back(lane, std::iter::once(item.clone()));
                self.waits.push(Wait { item, lane, until: step.now + pause, what: What::Backoff });
            }
            None => {
                if self.is(Sabotage::DeadLetterNotAwaited) {
                    self.lanes.release(lane);
                } else {
                    self.lanes.put_back(lane, std::iter::empty());
                }
                let until = step.now + Duration::from_millis(step.rng.below(60) as u64);
                self.waits.push(Wait { item, lane, until, what: What::DeadLetter });
            }
        }
    }

    fn waited(&mut self, wait: Wait, step: &mut Step<'_>) -> Result<(), Violation> {
        let Wait { item, lane, what, .. } = wait;
        match what {
            What::Backoff => self.lanes.resume(lane),
            What::LateAnswer => self.settle(&item, step)?,
            What::DeadLetter => {
                let failed = step.faults && step.rng.percent(UNWRITTEN_PERCENT);
                if item.assignment.has_ended() || (failed && !item.assignment.is_open()) {
                    // Its next owner handles it again.
                    self.answers.push(item.answer(false));
                } else if failed {
                    let until = step.now + POLICY.pause(1, 0.5);
                    self.waits.push(Wait { item, lane, until, what: What::DeadLetter });
                    return Ok(());
                } else {
                    step.history.report.dead_letters += 1;
                    self.settle(&item, step)?;
                }
                if !self.is(Sabotage::DeadLetterNotAwaited) && !self.is(Sabotage::NotResumedAfterADeadLetter) {
                    self.lanes.resume(lane);
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, item: &Item, step: &mut Step<'_>) -> Result<(), Violation> {
        step.history.settle(item.tenure, item.record)?;
        if !self.is(Sabotage::CreditsLeaked) || item.attempts == 0 {
            self.answers.push(item.answer(true));
        }
        Ok(())
    }

    /// Cancels calls that have reached their deadline. What they worked on has failed in this attempt.
    pub(super) fn cancel_hung(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        if self.is(Sabotage::HungNotCancelled) {
            return Ok(());
        }
        let now = step.now;
        let hung: Vec<InHand> = self.in_hand.extract_if(.., |in_hand| now >= in_hand.began + DEADLINE).collect();
        for in_hand in hung {
            step.history.report.hung += 1;
            if self.is(Sabotage::LateAnswerSettles) {
                let InHand { item, lane, began, .. } = in_hand.clone();
                self.waits.push(Wait { item, lane, until: began + DEADLINE * 2, what: What::LateAnswer });
            }
            self.finish(in_hand, End::Fails { transient: true }, step)?;
        }
        Ok(())
    }

    /// Gives up what was not started of assignments that are closed, and cancels what was of those that have ended.
    pub(super) fn assignments_changed(&mut self, step: &mut Step<'_>) {
        let given_up = self.lanes.sweep(|item| !item.assignment.is_open());
        let settled = self.is(Sabotage::GivenUpAsSettled);
        self.answers.extend(given_up.iter().map(|item| item.answer(settled)));
        self.cancel_ended(step);
    }

    /// Cancels calls that work on records which are somebody else's now.
    fn cancel_ended(&mut self, step: &mut Step<'_>) {
        if self.is(Sabotage::MovedNotCancelled) {
            return;
        }
        let at = (0..self.in_hand.len())
            .rev()
            .filter(|at| self.in_hand[*at].item.assignment.has_ended())
            .collect::<Vec<_>>();
        for at in at {
            let InHand { lane, item, .. } = self.in_hand.swap_remove(at);
            step.history.report.moved_calls += 1;
            self.answers.push(item.answer(false));
            if !self.is(Sabotage::LaneReleasedAtTheStart) {
                self.lanes.put_back(lane, std::iter::empty());
                self.lanes.resume(lane);
            }
        }
    }
}
