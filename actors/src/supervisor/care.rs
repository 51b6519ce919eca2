//! What a supervisor knows of the one it cares for: its failures, its budget, and whom to tell.

use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

use super::{Commands, Order, Orders};
use crate::escalation::Escalation;
use crate::guard::Panicked;
use crate::journal::{ActorEscalated, ActorFailed, ActorRecovered, Journal};
use crate::status::{ActorState, Vitals};
use delivery::worker::restart_budget::{RestartBudget, RestartPolicy, Verdict};

/// When failures are forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgives {
    /// When something has been handled since.
    OnceHandled,
    /// When there was none for as long as the budget's window: a restart costs too much for it to become a habit.
    AfterWindow,
}

/// Decides about one actor, thread or client, and tells what it decides.
pub(crate) struct Care {
    vitals: Arc<Vitals>,
    budget: RestartBudget,
    journal: Journal,
    escalation: Escalation,
    forgives: Forgives,
    window: Duration,
    /// When it failed last, and what it had handled by then; where that is not forgiven.
    troubled: Option<(Instant, u64)>,
    /// What operators order it, where it obeys any.
    orders: Option<Orders>,
}

impl Care {
    pub(crate) fn new(vitals: Arc<Vitals>, policy: RestartPolicy, journal: Journal, escalation: Escalation) -> Self {
        let (budget, forgives) = (RestartBudget::new(policy), Forgives::OnceHandled);
        Self { vitals, budget, journal, escalation, forgives, window: policy.window, troubled: None, orders: None }
    }

    pub(crate) fn forgives(self, forgives: Forgives) -> Self {
        Self { forgives, ..self }
    }

    /// It obeys what operators order.
    pub(crate) fn obeying(mut self, commands: &Commands) -> Self {
        self.orders = Some(commands.obeyed_by(&self.vitals));
        self
    }

    /// The next order, if there is one that can be done as it stands. Failures before it are forgiven.
    pub(super) fn ordered(&mut self, cx: &mut task::Context<'_>) -> Option<Order> {
        while let Poll::Ready(Some(Order { verb, report })) = self.orders.as_mut()?.poll_recv(cx) {
            if let Some(why) = verb.refused_in(self.vitals.state()) {
                report.failed(why);
                continue;
            }
            self.troubled = None;
            self.budget.succeeded();
            return Some(Order { verb, report });
        }
        None
    }

    /// The same for a thread, which looks now and then and is woken by nobody.
    pub(crate) fn order(&mut self) -> Option<Order> {
        self.ordered(&mut task::Context::from_waker(Waker::noop()))
    }

    /// An operator stopped it.
    pub(crate) fn stopped(&self) {
        self.vitals.set_state(ActorState::StoppedByOperator);
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// It panicked: the pause before it is to be made anew, or `None` where there is no hope; that is raised then.
    pub(crate) fn panicked(&mut self, panicked: &Panicked) -> Option<Duration> {
        self.fell(&panicked.to_string(), panicked.place.clone())
    }

    /// It cannot go on as it is: the same.
    pub(crate) fn fell(&mut self, cause: &str, place: Option<String>) -> Option<Duration> {
        self.look();
        self.vitals.fell(cause.to_owned(), place);
        let now = Instant::now();
        self.troubled = Some((now, self.vitals.handled()));
        let actor = self.vitals.path();
        match self.budget.failed(now, random()) {
            Verdict::Restart { after: pause } => {
                self.journal.write(ActorFailed { actor, cause, pause });
                self.vitals.set_state(ActorState::BackingOff);
                Some(pause)
            }
            Verdict::Probe { after: pause } => {
                self.journal.write(ActorEscalated { actor, cause, pause });
                self.vitals.set_state(ActorState::Escalated);
                Some(pause)
            }
            Verdict::GiveUp => {
                self.vitals.set_state(ActorState::Failed);
                self.escalation.raise(&format!("{actor} does not come back: {cause}"));
                None
            }
        }
    }

    /// It was made.
    pub(crate) fn made(&self, anew: bool) {
        let state = if self.budget.is_escalated() { ActorState::Probing } else { ActorState::Running };
        self.vitals.made(state, anew);
    }

    /// To be called now and then while it works: forgives its failures when it is time.
    pub(crate) fn look(&mut self) {
        let forgiven = self.troubled.is_some_and(|(at, handled)| match self.forgives {
            Forgives::OnceHandled => self.vitals.handled() > handled,
            Forgives::AfterWindow => at.elapsed() >= self.window,
        });
        if forgiven {
            self.worked();
        }
    }

    fn worked(&mut self) {
        self.troubled = None;
        if self.budget.succeeded() {
            self.vitals.set_state(ActorState::Running);
            self.journal.write(ActorRecovered { actor: self.vitals.path() });
        }
    }
}

/// A seed for jitter; taken from the random half of a fresh id, so that no generator has to be kept.
pub(crate) fn seed() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1
}

/// A number in 0..1 for jitter; taken from the random half of a fresh id, so that no generator has to be kept.
pub(crate) fn random() -> f64 {
    let bits = uuid::Uuid::now_v7().as_u128() & u128::from(u32::MAX);
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_forgiven_when_something_was_handled_since_and_raised_when_no_probe_helped() {
        let policy = RestartPolicy { max_restarts: 1, max_probes: 1, ..RestartPolicy::default() };
        let vitals = Arc::new(Vitals::new("one".to_owned(), policy.window));
        let escalation = Escalation::default();
        let mut care = Care::new(Arc::clone(&vitals), policy, Journal::new("test"), escalation.clone());
        for _ in 0..10 {
            assert_eq!(care.fell("no", None), Some(Duration::ZERO));
            assert_eq!(vitals.state(), ActorState::BackingOff);
            care.made(true);
            vitals.add(1, 0);
        }
        for _ in 0..2 {
            care.fell("no", None);
        }
        assert_eq!(vitals.state(), ActorState::Escalated);
        care.made(true);
        assert_eq!(vitals.state(), ActorState::Probing);
        care.look();
        assert_eq!(vitals.state(), ActorState::Probing, "nothing was handled");
        vitals.add(1, 0);
        care.look();
        assert_eq!((vitals.state(), escalation.cause().is_none()), (ActorState::Running, true));
        for _ in 0..2 {
            assert!(care.fell("no", None).is_some());
        }
        assert_eq!((care.fell("at last", None), vitals.state()), (None, ActorState::Failed));
        assert_eq!(escalation.cause().expect("it was raised").message, "one does not come back: at last");
    }
}
