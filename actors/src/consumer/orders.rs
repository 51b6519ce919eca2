//! What an operator orders the consumer's thread: to join the group anew, or to stay out of it. Either way it leaves as it
//! does when the service stops: what was started is finished for a time and committed.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::poll::{PollLoop, Then};
use super::{Command, ConsumerParts};
use crate::kafka::SourceError;
use crate::status::ActorState;
use crate::supervisor::{Order, Verb};

impl ConsumerParts {
    /// Whoever looks at the actor or at its thread sees that an operator stopped them.
    pub(super) fn stand_stopped(&self) {
        self.care.stopped();
        self.actor.set_state(ActorState::StoppedByOperator);
    }
}

impl PollLoop {
    /// Begins what an operator ordered. While the member is on its way out orders wait.
    pub(super) fn obey_operators(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let Some(Order { verb, report }) = self.parts.care.order() else { return };
        let then = if verb == Verb::Stop {
            self.parts.stand_stopped();
            Then::StayOut(report)
        } else {
            Then::JoinAgain(report)
        };
        self.begin_drain(self.parts.config.stop_deadline, then);
    }

    /// What comes next, once it has left.
    pub(super) fn then_when_left(&mut self) -> Option<Then> {
        if !self.has_left() {
            return None;
        }
        self.draining.take().map(|draining| draining.then)
    }

    /// Whether it is on its way out because an operator said so.
    pub(super) fn leaves_on_order(&self) -> bool {
        let then = self.draining.as_ref().map(|draining| &draining.then);
        matches!(then, Some(Then::JoinAgain(_) | Then::StayOut(_)))
    }

    /// Its client cannot go on while it leaves on an operator's order. It is out by that, though not in order.
    pub(super) fn left_badly(
        mut self,
        error: SourceError,
        commands: &Receiver<Command>,
    ) -> Result<Option<Self>, SourceError> {
        let (back, then) = self.fail_order(&error.to_string(), Instant::now());
        if matches!(error, SourceError::Fenced) {
            return Err(error);
        }
        self.parts.care.vitals().fell(error.to_string(), None);
        self.outside(back, then, commands)
    }

    /// It failed on its way out, if it was: tells the operator, where one had ordered that. Gives when it is to join again
    /// (`back`, unless it was to stay out) and what comes then.
    pub(super) fn fail_order(&mut self, why: &str, back: Instant) -> (Option<Instant>, Option<Then>) {
        match self.draining.take().map(|draining| draining.then) {
            Some(Then::JoinAgain(report)) => {
                report.failed(&format!("it did not leave the group in order, and joins it again: {why}"));
                (Some(back), None)
            }
            Some(Then::StayOut(report)) => {
                report.failed(&format!("it did not leave the group in order, and stays out of it: {why}"));
                (None, None)
            }
            then => (Some(back), then),
        }
    }
}
