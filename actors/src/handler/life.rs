//! How a handler lives: it is made anew after a panic, at once or after a pause. Where that does not help, its topic is
//! paused and one event at a time is tried; where that does not help either, the service ends.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::actor::HandlerActor;
use super::attempts::random;
use super::invoke::Invoke;
use super::item::{Item, Place};
use crate::guard::{Panicked, dropped, guarded};
use crate::journal::{ActorEscalated, ActorFailed, ActorRecovered};
use crate::status::ActorState;
use delivery::worker::blame::{Blame, Blamed, Era};
use delivery::worker::lanes::LaneKey;
use delivery::worker::restart_budget::{RestartBudget, RestartPolicy, Verdict};

/// The present handler and the failures of those before it.
pub(super) struct Life<I> {
    /// None before the first and between two.
    handler: Option<Rc<I>>,
    /// How many were made. A panic of a call to an earlier one says nothing of the present one.
    generation: u32,
    budget: RestartBudget,
    blame: Blame<Place>,
    /// No other one is made before it is over.
    pause: Option<Pin<Box<Sleep>>>,
    pub(super) comes: Comes,
    /// It fell, and nobody has begun to make another one yet.
    fallen: bool,
    /// Something failed since the last success.
    troubled: bool,
}

/// Whether another handler is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comes {
    /// As soon as the budget lets it.
    Back,
    /// When the operator who stopped it says so.
    OnCommand,
    /// There is no hope.
    Never,
}

impl<I> Life<I> {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            handler: None,
            generation: 0,
            budget: RestartBudget::new(policy),
            blame: Blame::new(&policy),
            pause: None,
            comes: Comes::Back,
            fallen: false,
            troubled: false,
        }
    }

    /// The present handler, and its generation.
    pub(super) fn handler(&self) -> Option<(Rc<I>, u32)> {
        self.handler.as_ref().map(|handler| (Rc::clone(handler), self.generation))
    }

    pub(super) fn has_fallen(&self) -> bool {
        self.fallen
    }

    /// Ends it as it is, with all that was held against it: an operator's word is a new beginning. Calls that wait keep the
    /// handler that they were made to.
    pub(super) fn end(&mut self, comes: Comes) {
        // Its end changes nothing for the next one.
        let _ = dropped(self.handler.take());
        self.blame.handled();
        self.budget.succeeded();
        (self.pause, self.troubled, self.comes) = (None, false, comes);
    }

    /// Something failed. The present era, for an event that does for the first time.
    pub(super) fn failed(&mut self) -> Era {
        self.troubled = true;
        self.blame.era()
    }

    /// Whether the handler is on trial: it gets one event at a time.
    pub(super) fn on_trial(&self) -> bool {
        self.budget.is_escalated()
    }
}

impl<I: Invoke> HandlerActor<I> {
    /// Whether a call may begin.
    pub(super) fn may_begin(&self) -> bool {
        let life = &self.life;
        life.handler.is_some()
            && self.runs.waiting() < I::MAX_RUNS
            && !(life.on_trial() && self.runs.kept().any(|in_hand| in_hand.generation == life.generation))
    }

    /// Makes a handler where there is none and none is waited for.
    pub(super) fn revive(&mut self, cx: &mut task::Context<'_>) {
        self.life.fallen = false;
        if self.life.comes == Comes::OnCommand {
            // A panic of this actor itself may have had it shown as running.
            return self.around.counters.vitals().set_state(ActorState::StoppedByOperator);
        }
        if self.life.handler.is_some() || self.life.comes == Comes::Never {
            return;
        }
        loop {
            if self.life.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
                return;
            }
            self.life.pause = None;
            if self.make().is_ok() || self.life.comes == Comes::Never {
                return;
            }
        }
    }

    /// Asks the factory for a handler. Where it panics, that is a failure like any other.
    pub(super) fn make(&mut self) -> Result<(), Panicked> {
        let handler = guarded(|| (self.factory)()).inspect_err(|panicked| self.fell(panicked, false))?;
        self.life.handler = Some(Rc::new(handler));
        self.life.generation += 1;
        let state = if self.life.on_trial() { ActorState::Probing } else { ActorState::Running };
        self.around.counters.vitals().made(state, self.life.generation > 1);
        Ok(())
    }

    /// A call to the handler of that generation panicked.
    pub(super) fn panicked(&mut self, generation: u32, panicked: &Panicked, items: &[(LaneKey, Item)]) {
        // What failed before comes alone, so its panic is its own; of those that come together the first stands for all.
        let Some((_, item)) = items.first() else { return };
        let blamed = self.life.blame.panicked(item.place(), item.failed_in, self.runs.waiting());
        self.life.troubled = true;
        let present = generation == self.life.generation && self.life.handler.is_some();
        if self.life.on_trial() {
            // One event at a time, which the present handler is to handle.
            if present {
                self.fell(panicked, false);
            }
        } else if present || blamed == Blamed::EveryHandler {
            self.fell(panicked, blamed == Blamed::Event);
        }
    }

    /// A call to the handler of that generation went well.
    pub(super) fn worked(&mut self, generation: u32) {
        // A call that was in hand when its handler fell shows as well that events are handled, so that calls which take long
        // are not behind those that panic at once. On trial is the present handler alone.
        let present = generation == self.life.generation && self.life.handler.is_some();
        if !self.life.troubled || self.life.on_trial() && !present {
            return;
        }
        self.life.troubled = false;
        self.life.blame.handled();
        if self.life.budget.succeeded() {
            self.around.counters.vitals().set_state(ActorState::Running);
            self.around.journal.write(ActorRecovered { actor: self.around.counters.vitals().path() });
        }
    }

    /// The handler is of no use any more, or could not be made. Forgiven, it is made anew at once, whatever came before.
    fn fell(&mut self, panicked: &Panicked, forgiven: bool) {
        // Its end changes nothing for the next one. Calls that wait keep theirs.
        let _ = dropped(self.life.handler.take());
        (self.life.troubled, self.life.fallen) = (true, true);
        let cause = panicked.to_string();
        let vitals = self.around.counters.vitals();
        vitals.panicked(panicked);
        let at_once = Verdict::Restart { after: Duration::ZERO };
        let budget = &mut self.life.budget;
        match if forgiven { at_once } else { budget.failed(self.clock.now, random()) } {
            Verdict::Restart { after } => {
                self.around.journal.write(ActorFailed { actor: vitals.path(), cause: &cause, pause: after });
                vitals.set_state(ActorState::BackingOff);
                self.life.pause = (!after.is_zero()).then(|| Box::pin(sleep(after)));
            }
            Verdict::Probe { after } => {
                self.around.journal.write(ActorEscalated { actor: vitals.path(), cause: &cause, pause: after });
                vitals.set_state(ActorState::Escalated);
                self.life.pause = Some(Box::pin(sleep(after)));
            }
            Verdict::GiveUp => {
                self.life.comes = Comes::Never;
                vitals.set_state(ActorState::Failed);
                self.around.escalation.raise(&format!("{} does not come back: {cause}", self.name));
            }
        }
    }
}
