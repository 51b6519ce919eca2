//! What has the worker decided? The driver carries it out, and decides nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use tokio::time::sleep_until;

use super::actor::{HandlerActor, HandlerContext, Work};
use super::clock::Clock;
use super::entry::{Entry, compact};
use super::invoke::{Called, Invoke, Run};
use super::letters::Written;
use crate::catch_panic::{catch_panic, dropped};
use crate::event::Event;
use crate::journal::{ActorFailed, BreakerClosed, BreakerOpened, DeadLetterDelayed, Message, Routed};
use crate::status::ActorState;
use crate::supervisor::{PendingCommand, Verb};
use delivery::member::stall::SlowCalls;
use delivery::outcome::{ErrorKind, HandlerError, Outcome};
use delivery::worker::{CallEnd, CallId, Effect, WorkerState};

impl<I: Invoke> HandlerActor<I> {
    /// Does all that can be done now.
    pub(super) fn advance(&mut self, cx: &mut task::Context<'_>) {
        // Before anything is looked at: what changes from here on, or a lease that holds again, has this called once more.
        self.context.lease.wake_at_change(cx.waker());
        self.clock = Clock::start(self.context.lease.origin());
        self.worker.set_limit(self.share.limit());
        self.obey(cx);
        loop {
            self.worker.turn(&self.clock.now);
            self.perform();
            self.make_handler();
            // A call that is polled acts, and so does who settles a record: that is for the time of the lease alone.
            while self.worker.may_act(&self.clock.now)
                && let Some(written) = self.letters.next(cx)
            {
                self.letter_ended(written);
            }
            while self.worker.may_act(&self.clock.now)
                && let Some((id, called)) = self.calls.next(cx)
            {
                self.call_ended(id, called);
            }
            self.begin_calls(cx);
            self.perform();
            // What was done may have begun something that must be polled.
            if !std::mem::take(&mut self.did_something) && !self.alarm_rings(cx) {
                break;
            }
            self.clock.tick();
        }
        self.tell_when_stopped();
        self.share.tell(self.worker.running(), self.worker.is_full().then_some(cx.waker()));
        self.flush();
        if self.since_compacted >= self.worker.queued() && self.context.pool.is_crowded() {
            self.since_compacted = 0;
            compact(self.worker.waiting_records_mut(), &self.context.pool);
        }
    }

    /// Begins the calls that may begin.
    fn begin_calls(&mut self, cx: &mut task::Context<'_>) {
        while let Some(handler) = &self.handler {
            let mut events = Run::new();
            let vitals = self.context.counters.vitals();
            let decode = |entry: &Entry, attempt| {
                vitals.passes("begin");
                events.push(decode::<I>(entry, attempt)?);
                Ok(())
            };
            let Some(id) = self.worker.begin(&self.clock.now, decode) else { break };
            if let Some(called) = self.calls.begin(id, (Rc::clone(handler), events), cx) {
                self.call_ended(id, called);
            }
        }
    }

    #[inline]
    fn call_ended(&mut self, id: CallId, called: Called) {
        self.clock.tick();
        self.context.counters.vitals().passes("finish");
        let end = match called {
            Ok(results) => CallEnd::Answered(results),
            Err(panicked) => {
                let cause = panicked.to_string();
                self.last_panic = Some(panicked);
                CallEnd::Panicked(cause)
            }
        };
        self.worker.call_ended(&self.clock.now, id, end);
        self.tell_attempts();
        if self.last_panic.is_some() {
            self.perform();
            self.make_handler();
        }
    }

    fn letter_ended(&mut self, Written { id, wait, result, topic }: Written) {
        let Err(error) = result else { return self.worker.letter_written(id, wait) };
        if let Some((attempt, pause)) = self.worker.letter_refused(&self.clock.now, id, wait) {
            let handler = self.name;
            self.context.journal.write(DeadLetterDelayed { handler, topic: &topic, error: &error, attempt, pause });
        }
    }

    /// Carries out what the worker decided.
    fn perform(&mut self) {
        self.tell_attempts();
        while let Some(effect) = self.worker.next_effect() {
            self.did_something = true;
            let HandlerContext { journal, counters, group, .. } = &self.context;
            match effect {
                Effect::Cancel(id) => self.calls.cancel(&id),
                Effect::WriteDeadLetter(id, wait) => {
                    if let Some(letter) = self.worker.letter(id) {
                        self.letters.write((id, wait), &letter, (group, self.name), self.producer.clone());
                    }
                }
                Effect::DropHandler { panicked } => {
                    // Its end changes nothing for the next one. Calls in flight keep theirs.
                    let _ = dropped(self.handler.take());
                    if let Some(cause) = panicked {
                        let place = self.last_panic.take().and_then(|panicked| panicked.place);
                        counters.vitals().failed(cause.clone(), place);
                        let pause = Duration::ZERO;
                        journal.write(ActorFailed { actor: counters.vitals().path(), cause: &cause, pause });
                    }
                }
                Effect::BreakerOpened { cause, probe_in } => {
                    counters.vitals().failed(cause.clone(), None);
                    journal.write(BreakerOpened { handler: self.name, cause: &cause, probe_in });
                }
                Effect::BreakerClosed => journal.write(BreakerClosed { handler: self.name }),
                Effect::GaveUp { cause } => {
                    self.context.fatal.raise(&format!("{} does not come back: {cause}", self.name));
                }
            }
        }
    }

    /// Makes a handler where the worker asks for one.
    fn make_handler(&mut self) {
        if !self.worker.wants_handler(&self.clock.now) {
            return;
        }
        self.did_something = true;
        // Where the factory panics, that is a failure like any other.
        match catch_panic(|| (self.factory)()) {
            Ok(handler) => {
                self.handler = Some(Rc::new(handler));
                let again = self.worker.handler_made();
                self.context.counters.vitals().made(self.state(), again);
            }
            Err(panicked) => {
                self.worker.handler_not_made(&self.clock.now, &panicked.to_string());
                self.context.counters.vitals().panicked(&panicked);
            }
        }
    }

    /// Carries out the commands of operators.
    fn obey(&mut self, cx: &mut task::Context<'_>) {
        while let Poll::Ready(Some(PendingCommand { verb, report })) = self.commands.poll_recv(cx) {
            if let Some(why) = verb.refused_in(self.context.counters.vitals().state()) {
                report.failed(why);
                continue;
            }
            self.worker.restart_handler(verb == Verb::Stop);
            self.perform();
            // The consumer's thread pauses its topic by that.
            self.context.counters.vitals().set_state(self.state());
            if verb == Verb::Stop {
                self.stopping = Some(report);
                continue;
            }
            self.make_handler();
            match &self.handler {
                Some(_) => report.done("restarted"),
                None => report.failed("the factory failed, and will be asked again"),
            }
        }
    }

    /// A stop is done when nothing is in flight any more.
    fn tell_when_stopped(&mut self) {
        if self.worker.calls() == 0
            && let Some(report) = self.stopping.take()
        {
            report.done("stopped, with nothing in flight; its topic is paused");
        }
    }

    /// Sets the alarm for the worker's next time where none is set before it; true when it rings.
    fn alarm_rings(&mut self, cx: &mut task::Context<'_>) -> bool {
        let Some(next) = self.worker.next_timeout(&self.clock.now) else { return false };
        let (at, alarm) = match &mut self.alarm {
            Some((at, alarm)) if *at <= next => (at, alarm),
            set => {
                let (at, alarm) = set.insert((next, Box::pin(sleep_until(next.into()))));
                (at, alarm)
            }
        };
        if alarm.as_mut().poll(cx).is_pending() {
            return false;
        }
        // It may have rung for something that is over.
        let rings = *at >= next;
        self.alarm = None;
        rings || self.alarm_rings(cx)
    }

    /// One journal line and one slot of the ring per attempt that ended.
    #[inline]
    fn tell_attempts(&mut self) {
        let HandlerContext { journal, inspector, .. } = &self.context;
        let (handler, ended, at_us) = (self.name, &mut self.ended, self.clock.now.wall_us);
        self.worker.attempts_ended(|attempt| {
            ended[attempt.outcome as usize] += 1;
            let message = Message {
                record: attempt.record.record(),
                handler,
                outcome: attempt.outcome,
                attempt: attempt.number,
                duration: attempt.duration,
                error: attempt.error,
            };
            if Message::is_read() {
                journal.write(message);
            }
            inspector.keep(at_us, &message);
        });
    }

    fn state(&self) -> ActorState {
        match self.worker.state() {
            WorkerState::Starting => ActorState::Starting,
            WorkerState::Running => ActorState::Running,
            WorkerState::Open => ActorState::BreakerOpen,
            WorkerState::HalfOpen => ActorState::BreakerHalfOpen,
            WorkerState::Stopped => ActorState::StoppedByOperator,
            WorkerState::Failed => ActorState::Failed,
        }
    }

    /// Sends what was collected: answers upstream, counts to the metrics and the status.
    fn flush(&mut self) {
        let HandlerContext { journal, counters, answers, .. } = &self.context;
        for outcome in Outcome::ALL {
            let count = std::mem::take(&mut self.ended[outcome as usize]);
            if count > 0 {
                journal.write(Routed { handler: self.name, outcome, count });
                counters.ended(outcome, count);
            }
        }
        counters.vitals().set_depth(self.worker.queued(), self.worker.running());
        counters.vitals().set_state(self.state());
        counters.set_feeding(self.worker.appetite(), self.worker.delayed_letters());
        let slow = self.worker.slow_calls(&self.clock.now);
        if self.tells_slow_calls || !slow.is_empty() {
            self.tells_slow_calls = !slow.is_empty();
            counters.set_slow_calls(SlowCalls { calls: slow, is_full: self.worker.is_full() });
        }
        let collected = self.worker.answers();
        if !collected.is_empty() {
            self.since_compacted += collected.len();
            // The receiver goes away only with the consumer's thread, when none needs answers any more.
            let next = Vec::with_capacity(collected.len());
            let _ = answers.send(std::mem::replace(collected, next));
        }
    }

    /// Hands each record that arrived to the worker.
    pub(super) fn take_arrived(&mut self) {
        while let Some((Work { batch, records }, taken)) = &mut self.arrived
            && let Some(index) = records.get(*taken)
        {
            let entry = Entry { batch: Arc::clone(batch), index: *index };
            *taken += 1;
            self.worker.arrive(entry);
            self.context.counters.vitals().passes("work");
        }
        self.arrived = None;
    }
}

/// Decodes inside `catch_panic`: a contract's own `Deserialize` or validation may panic.
#[inline]
fn decode<I: Invoke>(entry: &Entry, attempt: u32) -> Result<Event<I::Event>, HandlerError> {
    catch_panic(|| Event::decode(&entry.batch, entry.index, attempt))
        .unwrap_or_else(|panicked| Err(HandlerError::new(ErrorKind::Undecodable, panicked)))
}
