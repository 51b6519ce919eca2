//! What does a member do that is told to stop, to leave or to join again, or that failed?

use std::time::{Duration, Instant};

use super::Member;
use super::effect::{Effect, End, Order, OrderId, Told};
use super::hold::PauseCause;
use super::leaving::Then;
use super::rejoin::Failure;
use crate::worker::Appetite;

impl Member {
    /// The service ends: the member finishes what was started for up to `patience`, commits, and leaves the group.
    pub fn drain(&mut self, patience: Duration, now: Instant) {
        if self.rejoin.has_client() {
            return self.begin_drain(patience, Then::End, now);
        }
        if let Some(overtaken) = self.rejoin.end() {
            self.report(overtaken, Err("the service ends".to_owned()));
        }
        self.effects.push_back(Effect::End(End::Stopped { in_order: true }));
    }

    /// Whether an order of an operator can be obeyed now; until then it waits.
    #[must_use]
    pub fn obeys(&self) -> bool {
        !self.leaving.is_draining() && !self.rejoin.is_over()
    }

    /// An operator orders something.
    pub fn order(&mut self, id: OrderId, order: Order, now: Instant) {
        match (order, self.rejoin.has_client()) {
            (Order::Stop, true) => {
                self.tell(Told::StoppedByOperator);
                self.rejoin.forgive();
                self.begin_drain(self.config.stop_deadline, Then::StayOut(id), now);
            }
            (Order::JoinAgain | Order::Start, true) => {
                self.rejoin.forgive();
                self.begin_drain(self.config.stop_deadline, Then::JoinAgain(id), now);
            }
            (Order::Stop, false) => {
                self.tell(Told::StoppedByOperator);
                if let Some(overtaken) = self.rejoin.stay_out() {
                    self.report(overtaken, Err("it was stopped before it joined again".to_owned()));
                }
                self.stay_out(now);
                self.report(id, Ok("it was out of the group, and stays so until it is started"));
            }
            (Order::JoinAgain | Order::Start, false) => {
                self.tell(Told::StartedByOperator);
                if let Some(overtaken) = self.rejoin.join_now(id, now) {
                    self.report(overtaken, Err("another order came".to_owned()));
                }
            }
        }
        self.effects.push_back(Effect::Status);
    }

    /// Pauses a topic for that cause, or ends its pause: for all of its partitions that this member has or gets, also over
    /// times when it is out of the group.
    pub fn pause_topic(&mut self, topic: &str, cause: PauseCause, paused: bool) {
        self.backpressure.pause_topic(topic, cause, paused);
    }

    /// How much the handler of a topic should be fed. While it takes nothing its topic is paused.
    pub fn feed(&mut self, topic: &str, appetite: Appetite) {
        self.backpressure.feed(topic, appetite);
    }

    /// Whether a topic is paused for that cause.
    #[must_use]
    pub fn is_paused(&self, topic: &str, cause: PauseCause) -> bool {
        self.backpressure.is_paused(topic, cause)
    }

    /// The member cannot go on as it is, or could not be given another client. What it held is given up: it comes again,
    /// here or elsewhere. `random` is a number in 0..1, for the backoff's jitter.
    pub fn failed(&mut self, failure: &Failure, now: Instant, random: f64) {
        let had_client = self.rejoin.has_client();
        let then = self.leaving.forget();
        let failed = self.rejoin.failed(failure, then, now, random);
        if had_client {
            // What was to be carried out with the client goes with it.
            self.effects.retain(|effect| matches!(effect, Effect::Tell(_) | Effect::Report(..) | Effect::Status));
            self.let_go();
        }
        let cause = failure.cause().to_owned();
        self.tell(Told::Failed { cause, attempt: failed.attempt, verdict: failed.verdict });
        if let Some((order, why)) = failed.report {
            self.report(order, Err(why));
        }
        match failed.end {
            Some(end) => self.effects.push_back(Effect::End(end)),
            None if self.rejoin.stays_out() => {
                self.tell(Told::StoppedByOperator);
                self.stay_out(now);
            }
            None => {}
        }
        self.effects.push_back(Effect::Status);
    }

    /// There is another client, which joins the group.
    pub fn opened(&mut self, now: Instant) {
        self.membership.begin_again(now);
        if let Some(order) = self.rejoin.opened() {
            self.report(order, Ok("joins the group with another client"));
        }
        self.effects.push_back(Effect::Status);
    }

    /// Whether it failed beyond its budget and has not been forgiven.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.rejoin.is_over_budget()
    }

    pub(super) fn turn_without_client(&mut self, now: Instant) {
        if self.rejoin.stays_out() {
            self.membership.holds_nothing(now);
        }
        if self.rejoin.opens(now) {
            self.effects.push_back(Effect::OpenClient);
        }
    }

    /// What comes when the member has left.
    pub(super) fn leave_when_done(&mut self, now: Instant) {
        let is_free = self.partitions.is_empty();
        let Some(then) = self.leaving.has_left(is_free, now) else { return };
        if then == Then::End {
            let in_order = is_free && self.commits.unanswered() + self.notes.unanswered() == 0;
            self.rejoin.end();
            self.effects.push_back(Effect::End(End::Stopped { in_order }));
            return;
        }
        self.rejoin.left(then, now);
        self.let_go();
        if let Then::StayOut(order) = then {
            self.report(order, Ok("left the group, and stays out of it until it is started"));
            self.stay_out(now);
        }
        self.effects.push_back(Effect::Status);
    }

    fn begin_drain(&mut self, patience: Duration, then: Then, now: Instant) {
        if let Some(overtaken) = self.leaving.drain(patience, then, now) {
            self.report(overtaken, Err("the service ends".to_owned()));
        }
        self.effects.push_back(Effect::Status);
    }

    fn stay_out(&mut self, now: Instant) {
        // What waits in the workers for something that is over finds that out.
        self.membership.holds_nothing(now);
        self.membership.assignments_changed();
    }

    /// Holds nothing any more. Nothing is started or finished before the next client has partitions.
    fn let_go(&mut self) {
        self.partitions.end_all();
        self.membership.end();
        self.intake = super::Intake::new();
        self.backpressure.forget();
        self.commits.forget();
        self.notes.forget();
        (self.joined, self.waits_for_the_group) = (false, false);
        let over = self.stalls.forget();
        self.tell_stalls(over);
        self.effects.push_back(Effect::CloseClient);
    }

    fn report(&mut self, order: OrderId, ended: Result<&'static str, String>) {
        self.effects.push_back(Effect::Report(order, ended));
    }
}
