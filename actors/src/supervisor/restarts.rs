//! What does a supervisor decide for the actor or client that it supervises?

use std::sync::Arc;
use std::task;
use std::time::{Duration, Instant};

use super::{Commands, PendingCommand, Reporter};
use crate::catch_panic::Panicked;
use crate::fatal::Fatal;
use crate::journal::Journal;
use crate::status::Vitals;
use delivery::restart_budget::{RestartBudget, RestartPolicy};
use delivery::rng::Rng;

/// Decides about one actor or client, and tells what it decides. Failures are forgiven when something has been handled since.
pub(crate) struct Restarts {
    reporter: Reporter,
    budget: RestartBudget,
    /// What it had handled when it failed last; where that is not forgiven.
    troubled: Option<u64>,
}

impl Restarts {
    pub(crate) fn new(vitals: Arc<Vitals>, policy: RestartPolicy, journal: Journal, fatal: Fatal) -> Self {
        Self { reporter: Reporter::new(vitals, journal, fatal), budget: RestartBudget::new(policy), troubled: None }
    }

    /// It obeys operators.
    pub(crate) fn obeying(self, commands: &Commands) -> Self {
        Self { reporter: self.reporter.obeying(commands), ..self }
    }

    /// The next command, if there is one that can be done in its present state. Failures before it are forgiven.
    pub(super) fn next_command(&mut self, cx: &mut task::Context<'_>) -> Option<PendingCommand> {
        let command = self.reporter.next_command(cx)?;
        self.troubled = None;
        self.budget.succeeded();
        Some(command)
    }

    /// The same for a thread, which looks now and then and is not woken.
    pub(crate) fn try_next_command(&mut self) -> Option<PendingCommand> {
        self.next_command(&mut task::Context::from_waker(task::Waker::noop()))
    }

    /// An operator stopped it.
    pub(crate) fn stopped(&self) {
        self.reporter.stopped();
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        self.reporter.vitals()
    }

    /// It panicked: the pause before it is restarted, or `None` where there is no hope; that is raised then.
    pub(crate) fn panicked(&mut self, panicked: &Panicked) -> Option<Duration> {
        self.failed(&panicked.to_string(), panicked.place.clone())
    }

    /// It cannot go on as it is: the same.
    pub(crate) fn failed(&mut self, cause: &str, place: Option<String>) -> Option<Duration> {
        self.forgive_when_due();
        self.troubled = Some(self.vitals().handled());
        let verdict = self.budget.failed(Instant::now(), random());
        self.reporter.failed(verdict, cause, place);
        verdict.pause()
    }

    /// It was made.
    pub(crate) fn made(&self, again: bool) {
        self.reporter.made(self.budget.is_over_budget(), again);
    }

    /// To be called now and then while it works: forgives its failures when it is time.
    pub(crate) fn forgive_when_due(&mut self) {
        if self.troubled.is_some_and(|handled| self.vitals().handled() > handled) {
            self.troubled = None;
            if self.budget.succeeded() {
                self.reporter.recovered();
            }
        }
    }
}

/// A random number; taken from the random half of a fresh id, so that no generator has to be kept.
pub(crate) fn random_u64() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1
}

/// A number in 0..1 for jitter.
pub(crate) fn random() -> f64 {
    Rng::new(random_u64()).unit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ActorState;

    #[test]
    fn failures_are_forgiven_when_something_was_handled_since_and_raised_when_no_probe_helped() {
        let policy = RestartPolicy { max_restarts: 1, max_probes: 1, ..RestartPolicy::default() };
        let vitals = Arc::new(Vitals::new("one".to_owned(), policy.window));
        let fatal = Fatal::default();
        let mut restarts = Restarts::new(Arc::clone(&vitals), policy, Journal::new("test"), fatal.clone());
        for _ in 0..10 {
            assert_eq!(restarts.failed("no", None), Some(Duration::ZERO));
            assert_eq!(vitals.state(), ActorState::BackingOff);
            restarts.made(true);
            vitals.add(1, 0);
        }
        for _ in 0..2 {
            restarts.failed("no", None);
        }
        assert_eq!(vitals.state(), ActorState::OverBudget);
        restarts.made(true);
        assert_eq!(vitals.state(), ActorState::Probing);
        restarts.forgive_when_due();
        assert_eq!(vitals.state(), ActorState::Probing, "nothing was handled");
        vitals.add(1, 0);
        restarts.forgive_when_due();
        assert_eq!((vitals.state(), fatal.error().is_none()), (ActorState::Running, true));
        for _ in 0..2 {
            assert!(restarts.failed("no", None).is_some());
        }
        assert_eq!((restarts.failed("at last", None), vitals.state()), (None, ActorState::Failed));
        assert_eq!(fatal.error().expect("it was raised").message, "one does not come back: at last");
    }
}
