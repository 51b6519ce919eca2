//! What an operator orders a handler: to be made anew, to stop, to start again. Lanes, attempts and waiting dead letters
//! belong to the actor and stay.

use std::task::{self, Poll};

use super::actor::HandlerActor;
use super::invoke::Invoke;
use super::life::Comes;
use crate::status::ActorState;
use crate::supervisor::{Order, Verb};

impl<I: Invoke> HandlerActor<I> {
    /// Does what was ordered. Calls in hand keep the handler that they were made to, and end as they would have.
    pub(super) fn obey(&mut self, cx: &mut task::Context<'_>) {
        while let Poll::Ready(Some(Order { verb, report })) = self.orders.poll_recv(cx) {
            let vitals = self.around.counters.vitals();
            if let Some(why) = verb.refused_in(vitals.state()) {
                report.failed(why);
                continue;
            }
            self.life.end(if verb == Verb::Stop { Comes::OnCommand } else { Comes::Back });
            if verb == Verb::Stop {
                // The consumer's thread pauses its topic by that.
                vitals.set_state(ActorState::StoppedByOperator);
                self.stopping = Some(report);
                continue;
            }
            match self.make() {
                Ok(()) => report.done("made anew"),
                Err(panicked) => report.failed(&format!("the factory failed, and will be asked again: {panicked}")),
            }
        }
    }

    /// A stop is done when nothing is in hand any more.
    pub(super) fn tell_when_stopped(&mut self) {
        if self.runs.waiting() == 0
            && let Some(report) = self.stopping.take()
        {
            report.done("stopped, with nothing in hand; its topic is paused");
        }
    }
}
