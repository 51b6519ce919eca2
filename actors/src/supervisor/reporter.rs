//! What is told of an actor, thread or client that is restarted when it fails, and which commands do operators give it?

use std::sync::Arc;
use std::task::{self, Poll, Waker};

use super::{Commands, PendingCommand, PendingCommands};
use crate::fatal::Fatal;
use crate::journal::{ActorFailed, ActorOverBudget, ActorRecovered, Journal};
use crate::status::{ActorState, Vitals};
use delivery::restart_budget::Verdict;

/// Tells what was decided about one actor, thread or client. What is decided comes from its budget, which is not here.
pub(crate) struct Reporter {
    vitals: Arc<Vitals>,
    journal: Journal,
    fatal: Fatal,
    /// Commands of operators, where it obeys any.
    commands: Option<PendingCommands>,
}

impl Reporter {
    pub(crate) fn new(vitals: Arc<Vitals>, journal: Journal, fatal: Fatal) -> Self {
        Self { vitals, journal, fatal, commands: None }
    }

    /// It obeys operators.
    pub(crate) fn obeying(mut self, commands: &Commands) -> Self {
        self.commands = Some(commands.obeyed_by(&self.vitals));
        self
    }

    /// The next command, if there is one that can be done in its present state.
    pub(super) fn next_command(&mut self, cx: &mut task::Context<'_>) -> Option<PendingCommand> {
        while let Poll::Ready(Some(PendingCommand { verb, report })) = self.commands.as_mut()?.poll_recv(cx) {
            match verb.refused_in(self.vitals.state()) {
                Some(why) => report.failed(why),
                None => return Some(PendingCommand { verb, report }),
            }
        }
        None
    }

    /// The same for a thread, which looks now and then and is not woken.
    pub(crate) fn try_next_command(&mut self) -> Option<PendingCommand> {
        self.next_command(&mut task::Context::from_waker(Waker::noop()))
    }

    /// An operator stopped it.
    pub(crate) fn stopped(&self) {
        self.vitals.set_state(ActorState::StoppedByOperator);
    }

    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// It cannot go on as it is, and that was decided about it. Where there is no hope that is raised.
    pub(crate) fn failed(&self, verdict: Verdict, cause: &str, place: Option<String>) {
        self.vitals.failed(cause.to_owned(), place);
        let actor = self.vitals.path();
        match verdict {
            Verdict::Restart { after: pause } => {
                self.journal.write(ActorFailed { actor, cause, pause });
                self.vitals.set_state(ActorState::BackingOff);
            }
            Verdict::Probe { after: pause } => {
                self.journal.write(ActorOverBudget { actor, cause, pause });
                self.vitals.set_state(ActorState::OverBudget);
            }
            Verdict::GiveUp => {
                self.vitals.set_state(ActorState::Failed);
                self.fatal.raise(&format!("{actor} does not come back: {cause}"));
            }
        }
    }

    /// It was made, for the first time or again.
    pub(crate) fn made(&self, over_budget: bool, again: bool) {
        self.vitals.made(if over_budget { ActorState::Probing } else { ActorState::Running }, again);
    }

    /// Its failures are forgiven, after it was over its budget.
    pub(crate) fn recovered(&self) {
        self.vitals.set_state(ActorState::Running);
        self.journal.write(ActorRecovered { actor: self.vitals.path() });
    }
}
