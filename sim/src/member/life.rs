//! How the handler of a member lives: made anew after a panic, at once or after a pause; on trial; given up.

use std::time::{Duration, Instant};

use actors::delivery::restart_budget::{RestartBudget, RestartPolicy, Verdict};

use super::{Member, Step};
use crate::Sabotage;
use crate::history::Violation;

/// Small, so that a short world sees all of it.
pub(super) const POLICY: RestartPolicy = RestartPolicy {
    max_restarts: 3,
    window: Duration::from_secs(5),
    first_backoff: Duration::from_millis(60),
    max_backoff: Duration::from_millis(500),
    max_probes: 4,
};
/// Of a hundred handlers that are made while all calls panic, so many panic already then.
const UNMADE_PERCENT: u64 = 30;

/// As it is seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Lives,
    Escalated,
    Stopped,
}

/// The present handler and the failures of those before it.
pub(super) struct Life {
    is_there: bool,
    generation: u32,
    budget: RestartBudget,
    pause: Option<Instant>,
    pub(super) given_up: bool,
    troubled: bool,
    state: State,
}

impl Life {
    pub(super) fn new() -> Self {
        Self {
            is_there: false,
            generation: 0,
            budget: RestartBudget::new(POLICY),
            pause: None,
            given_up: false,
            troubled: false,
            state: State::Lives,
        }
    }

    /// The generation of the present handler.
    pub(super) fn handler(&self) -> Option<u32> {
        self.is_there.then_some(self.generation)
    }

    pub(super) fn on_trial(&self) -> bool {
        self.budget.is_escalated()
    }

    /// Whether what feeds the handler is to stop.
    pub(super) fn pauses_its_topic(&self) -> bool {
        self.state != State::Lives
    }
}

impl Member {
    /// Makes a handler where there is none and none is waited for.
    pub(super) fn revive(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        while !self.life.is_there && !self.life.given_up {
            let waits = self.life.pause.is_some_and(|until| step.now < until);
            if waits && !self.is(Sabotage::BackoffIgnored) {
                return Ok(());
            }
            self.life.pause = None;
            if step.now < self.broken_until && step.rng.percent(UNMADE_PERCENT) {
                self.fell(self.life.generation, step)?;
                continue;
            }
            step.history.made(self.number, &POLICY, step.now)?;
            self.life.is_there = true;
            self.life.generation += 1;
            self.life.state = State::Lives;
            if self.is(Sabotage::AttemptsResetByARestart) {
                self.lanes.items_mut().for_each(|item| item.attempts = 0);
            }
        }
        Ok(())
    }

    /// A call to the handler of that generation panicked. `own`: it was for an event that had failed before.
    pub(super) fn panicked(&mut self, generation: u32, own: bool, step: &mut Step<'_>) -> Result<(), Violation> {
        let present = generation == self.life.generation || self.is(Sabotage::OldPanicCounts);
        if !present || !self.life.is_there {
            return Ok(());
        }
        if own && !self.life.on_trial() {
            (self.life.is_there, self.life.troubled, self.life.pause) = (false, true, None);
            step.history.fell_over_an_old_failure(self.number);
            return Ok(());
        }
        self.fell(generation, step)
    }

    /// A call to the handler of that generation went well.
    pub(super) fn worked(&mut self, generation: u32, step: &mut Step<'_>) -> Result<(), Violation> {
        let present = self.life.is_there && generation == self.life.generation;
        if self.life.troubled && (present || self.is(Sabotage::OldSuccessForgives)) {
            self.life.troubled = false;
            if !self.is(Sabotage::SuccessNotCounted) {
                self.life.budget.succeeded();
            }
        }
        let present = if present { generation } else { 0 };
        step.history.worked(self.number, (generation, present), self.life.on_trial())
    }

    fn fell(&mut self, generation: u32, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = step.now;
        self.life.is_there = false;
        self.life.troubled = true;
        if self.is(Sabotage::BudgetForgets) {
            self.life.budget.succeeded();
        }
        let verdict = self.life.budget.failed(now, step.rng.unit());
        step.history.fell(self.number, (generation, self.life.generation), self.life.on_trial(), now)?;
        let hopeless = self.is(Sabotage::GivenUpAtTheFirstProbe) && matches!(verdict, Verdict::Probe { .. });
        match if hopeless { Verdict::GiveUp } else { verdict } {
            Verdict::Restart { after } => self.life.pause = (!after.is_zero()).then(|| now + after),
            Verdict::Probe { after } => {
                self.life.state = State::Escalated;
                self.life.pause = Some(now + after);
            }
            Verdict::GiveUp => {
                step.history.gave_up(self.number, &POLICY)?;
                self.life.given_up = true;
                self.life.state = State::Stopped;
                if self.is(Sabotage::SettledByGivingUp) {
                    let held = self.lanes.sweep(|_| true);
                    self.answers.extend(held.iter().map(|item| item.answer(true)));
                }
            }
        }
        Ok(())
    }
}
