//! How the handler of a member lives: made anew after a panic, at once or after a pause; on trial; given up.

use std::time::{Duration, Instant};

use delivery::worker::blame::{Blame, Blamed, Era};
use delivery::worker::restart_budget::{RestartBudget, RestartPolicy, Verdict};

use super::handler::{Handler, Item};
use super::step::Step;
use crate::Sabotage;
use crate::history::{Tenure, Violation};

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
    blame: Blame<(Tenure, i64)>,
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
            blame: Blame::new(&POLICY),
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

    /// Something failed. The present era, for an event that does for the first time.
    pub(super) fn failed(&mut self) -> Era {
        self.troubled = true;
        self.blame.era()
    }

    pub(super) fn on_trial(&self) -> bool {
        self.budget.is_escalated()
    }

    /// Whether what feeds the handler is to stop.
    pub(super) fn pauses_its_topic(&self) -> bool {
        self.state != State::Lives
    }
}

impl Handler {
    /// Makes a handler where there is none and none is waited for.
    pub(super) fn revive(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        while !self.life.is_there && !self.life.given_up {
            let waits = self.life.pause.is_some_and(|until| step.now < until);
            if waits && !self.is(Sabotage::BackoffIgnored) {
                return Ok(());
            }
            self.life.pause = None;
            if step.now < self.broken_until && step.rng.percent(UNMADE_PERCENT) {
                self.fell(None, step)?;
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

    /// A call to the handler of that generation panicked.
    pub(super) fn panicked(&mut self, generation: u32, item: &Item, step: &mut Step<'_>) -> Result<(), Violation> {
        let (event, failed_before) = ((item.tenure, item.record.offset), item.attempts > 0);
        step.history.panicked(self.number, event, failed_before, self.in_hand.len(), &POLICY);
        let failed_in =
            if self.is(Sabotage::ErasIgnored) { item.failed_in.map(|_| self.life.blame.era()) } else { item.failed_in };
        let in_hand = if self.is(Sabotage::DoubtIgnored) { 0 } else { self.in_hand.len() };
        let blamed = match self.life.blame.panicked(event, failed_in, in_hand) {
            Blamed::Event if failed_before && self.is(Sabotage::BadEventHeldAgainstTheHandler) => Blamed::Handler,
            _ if failed_before && self.is(Sabotage::FailedBeforeForgiven) => Blamed::Event,
            blamed => blamed,
        };
        self.life.troubled = true;
        let present = generation == self.life.generation || self.is(Sabotage::OldPanicCounts);
        let present = present && self.life.is_there;
        if self.life.on_trial() {
            return if present { self.fell(Some(generation), step) } else { Ok(()) };
        }
        match blamed {
            Blamed::Event if present => {
                (self.life.is_there, self.life.pause) = (false, None);
                step.history.forgiven(self.number)
            }
            Blamed::Handler if present => self.fell(Some(generation), step),
            Blamed::Event | Blamed::Handler => Ok(()),
            Blamed::EveryHandler => self.fell(Some(generation), step),
        }
    }

    /// A call to the handler of that generation went well.
    pub(super) fn worked(&mut self, generation: u32, step: &mut Step<'_>) -> Result<(), Violation> {
        let present = self.life.is_there && generation == self.life.generation;
        let forgives = present || !self.life.on_trial() || self.is(Sabotage::OldSuccessForgives);
        if self.life.troubled && forgives {
            self.life.troubled = false;
            self.life.blame.handled();
            if !self.is(Sabotage::SuccessNotCounted) {
                self.life.budget.succeeded();
            }
        }
        let present = if present { generation } else { 0 };
        step.history.worked(self.number, (generation, present), self.life.on_trial())
    }

    /// By a panic of a call to the handler of that generation, or because it could not be made.
    fn fell(&mut self, generation: Option<u32>, step: &mut Step<'_>) -> Result<(), Violation> {
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
