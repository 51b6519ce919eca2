//! What does one handler do next, and what becomes of its events? [`Worker`] decides; a driver calls the handler.
//!
//! In come records, the ends of calls, the fate of dead letters, orders and time. Out go calls to begin, calls to cancel,
//! dead letters to write, answers for the consumer, and what is told. Each part has its own question: [`lanes`] whether
//! a record may start, [`breaker`] whose fault a failure is, `attempts` what becomes of a failed attempt, `calls` which are in
//! flight, `timers` what is due.

mod arena;
mod attempts;
mod begin;
pub mod breaker;
mod calls;
mod effect;
mod item;
pub mod lanes;
mod letters;
mod moves;
mod present;
pub mod retry;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::arena::Id;
pub use self::calls::{CallId, Run};
pub use self::effect::{Appetite, Attempt, CallEnd, Effect, WorkerPolicy, WorkerState};
pub use self::item::Routed;
pub use self::lanes::Wait;
pub use self::letters::Letter;

use self::breaker::Breaker;
use self::calls::Calls;
use self::item::{Item, Stage};
use self::lanes::Lanes;
use self::letters::Held;
use self::present::{Present, Wanted};
use self::timers::{Due, Timers};
use crate::answer::Answer;
use crate::assignment::Assignment;
use crate::lease::Lease;
use crate::member::stall::{MAX_SLOW_CALLS, SLOW_AFTER, SlowCall};
use crate::now::{Now, nanos};
use crate::outcome::Outcome;
use crate::rng::Rng;
use crate::sabotage::{self, Sabotage};

/// An attempt that ended, kept until it is told; its record is in its place until then.
#[derive(Debug)]
struct EndedAttempt {
    id: Id,
    outcome: Outcome,
    number: u32,
    duration: Duration,
    error: Option<String>,
}

/// One handler's lanes, attempts and breaker.
#[derive(Debug)]
pub struct Worker<R> {
    policy: WorkerPolicy,
    rng: Rng,
    lease: Arc<Lease>,
    /// What had changed when it looked last.
    changes: u64,
    lanes: Lanes<Item<R>>,
    calls: Calls,
    /// Ends that came without a lease. They wait until this member is known to have its partitions still.
    late: Vec<(CallId, CallEnd)>,
    timers: Timers,
    breaker: Breaker,
    present: Present,
    /// Records whose last attempt failed, and of which the breaker is about to know whose fault that is.
    held: Vec<Held>,
    delayed_letters: usize,
    /// Requests for one more record, and whether none has come since the last.
    asked: u64,
    is_asking: bool,
    /// What a panic of the driver would be held against.
    working_on: Option<Id>,
    /// The last panic of the driver.
    driver_panicked: String,
    answers: Vec<Answer>,
    told: Vec<EndedAttempt>,
    effects: VecDeque<Effect>,
}

impl<R: Routed> Worker<R> {
    /// No record and no handler. At most `limit` lanes run at once; `seed` decides the jitter of its pauses.
    #[must_use]
    pub fn new(policy: WorkerPolicy, lease: Arc<Lease>, limit: usize, seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            changes: lease.changes(),
            lease,
            lanes: Lanes::new(limit),
            calls: Calls::new(),
            late: Vec::new(),
            timers: Timers::default(),
            breaker: Breaker::new(policy.breaker),
            present: Present::new(),
            held: Vec::new(),
            delayed_letters: 0,
            asked: 0,
            is_asking: false,
            working_on: None,
            driver_panicked: String::new(),
            answers: Vec::new(),
            told: Vec::new(),
            effects: VecDeque::new(),
            policy,
        }
    }

    /// At most `limit` lanes run at once from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.lanes.set_limit(limit);
    }

    /// A record arrives. It gets into the lane of its key, unless its partition leaves.
    pub fn arrive(&mut self, record: R) {
        self.is_asking = false;
        let item = Item::new(record);
        if sabotage::is(Sabotage::SettledAtArrival) {
            self.answers.push(item.answer(true));
        }
        self.queue(item);
    }

    fn queue(&mut self, item: Item<R>) {
        if item.record.assignment().is_open() {
            self.lanes.push(item.lane(self.policy.unkeyed), item);
        } else {
            self.give_up(&item);
        }
    }

    /// Whether this member may still start and finish things. Without a lease (the process was frozen, so that others may
    /// have its partitions) everything stays as it is.
    #[must_use]
    #[inline]
    pub fn may_act(&self, now: &Now) -> bool {
        self.lease.holds_at(now.ns) || sabotage::is(Sabotage::LeaseIgnored)
    }

    /// Does what is due. To be called whenever the driver turns, before anything begins.
    pub fn turn(&mut self, now: &Now) {
        if self.breaker.is_hopeless(now) {
            self.give_up_handler();
        }
        if !self.may_act(now) {
            return;
        }
        self.look_for_moves(now);
        for (id, end) in std::mem::take(&mut self.late) {
            self.call_ended(now, id, end);
        }
        self.cancel_overdue(now);
        while let Some(due) = self.timers.due(now.ns) {
            match due {
                Due::Backoff(lane, wait) => self.lanes.resume(lane, wait),
                Due::Letter(id, wait) => self.write_letter_again(id, wait),
            }
        }
    }

    /// When [`turn`](Self::turn) has something to do next, if nothing else happens.
    #[must_use]
    pub fn next_timeout(&self, now: &Now) -> Option<Instant> {
        let oldest = self.calls.oldest().map(|(_, call)| call.began_ns + nanos(self.policy.deadline));
        let mut longest = self.calls.oldest_first().take(MAX_SLOW_CALLS).map(|(_, call)| call.began_ns);
        let slow =
            longest.find(|began_ns| now.since(*began_ns) < SLOW_AFTER).map(|began_ns| began_ns + nanos(SLOW_AFTER));
        let acting = [oldest, slow, self.timers.next_ns()].into_iter().flatten().filter(|_| self.may_act(now));
        let breaker = self.breaker.timeout_ns().filter(|at| *at > now.ns && self.present.wanted() == Wanted::Now);
        let next = acting.chain(breaker).min()?;
        Some(now.instant + Duration::from_nanos(next.saturating_sub(now.ns)))
    }

    /// Whether the driver should make a handler now, and say [`handler_made`](Self::handler_made) or
    /// [`handler_not_made`](Self::handler_not_made).
    #[must_use]
    pub fn wants_handler(&self, now: &Now) -> bool {
        self.present.is_missing() && (!self.breaker.is_open() || self.breaker.may_probe(now))
    }

    /// A handler was made. Returns whether it takes the place of another.
    pub fn handler_made(&mut self) -> bool {
        if sabotage::is(Sabotage::AttemptsResetByARestart) {
            self.lanes.all_mut().for_each(|item| item.attempts = 0);
        }
        if self.breaker.factory_works() {
            self.effects.push_back(Effect::BreakerClosed);
        }
        self.present.made()
    }

    /// The factory failed. The first handler is given up in the end; for another one the factory is asked for ever.
    pub fn handler_not_made(&mut self, now: &Now, cause: &str) {
        let failures = self.present.not_made();
        if self.present.was_never_there() && failures > self.policy.max_starts {
            self.breaker.open_by_factory(now, cause.to_owned());
            return self.give_up_handler();
        }
        if self.breaker.is_open() {
            self.breaker.probe_failed(now, self.rng.unit());
        } else if let Some(probe_in) = self.breaker.open_by_factory(now, cause.to_owned()) {
            self.opened(cause.to_owned(), probe_in);
        }
    }

    fn give_up_handler(&mut self) {
        if self.present.wanted() != Wanted::Never {
            let cause = self.breaker.cause().unwrap_or_default().to_owned();
            self.present.end(Wanted::Never);
            self.effects.push_back(Effect::DropHandler { panicked: None });
            self.effects.push_back(Effect::GaveUp { cause });
        }
    }

    /// An operator's order: the handler ends, with all that was held against it, and another one is made, now or, where it
    /// is `stop`ped, when it is told again. Calls in flight end as they would have.
    pub fn restart_handler(&mut self, stop: bool) {
        self.present.end(if stop { Wanted::OnCommand } else { Wanted::Now });
        self.effects.push_back(Effect::DropHandler { panicked: None });
        if self.breaker.reset() {
            self.effects.push_back(Effect::BreakerClosed);
        }
        self.release_held();
    }

    /// The driver panicked: whatever it was at may be half done, so the records are kept and nothing else. What was in flight
    /// is over, dead letters are begun once more, and all records get into new lanes, in order.
    pub fn recover(&mut self, cause: String) {
        let lanes = Lanes::new(self.lanes.limit());
        let failed = self.working_on.take();
        if let Some(item) = failed.and_then(|id| self.lanes.get_mut(id)) {
            item.attempts += 1;
        }
        let mut items: Vec<Item<R>> = std::mem::replace(&mut self.lanes, lanes).into_all().collect();
        items.retain(|item| !matches!(item.stage, Stage::Ended));
        items.sort_by_key(Item::coordinates);
        self.calls.clear();
        self.late.clear();
        self.told.clear();
        self.held.clear();
        self.timers = Timers::default();
        self.delayed_letters = 0;
        self.effects.retain(|effect| matches!(effect, Effect::GaveUp { .. }));
        self.breaker.unprobed();
        self.present.dropped();
        self.driver_panicked = cause;
        for mut item in items {
            item.stage = Stage::Queued;
            self.queue(item);
        }
    }

    /// The next thing that the driver should do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Tells each attempt that has ended since it was asked last.
    #[inline]
    pub fn attempts_ended(&mut self, mut tell: impl FnMut(Attempt<'_, R>)) {
        for EndedAttempt { id, outcome, number, duration, error } in self.told.drain(..) {
            let Some(item) = self.lanes.get(id) else { continue };
            tell(Attempt { record: &item.record, outcome, number, duration, error: error.as_deref() });
            if matches!(item.stage, Stage::Ended) {
                self.lanes.remove(id);
            }
        }
    }

    /// Takes the answers for the consumer's thread.
    pub fn answers(&mut self) -> &mut Vec<Answer> {
        &mut self.answers
    }

    /// How the handler is.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        match self.present.wanted() {
            Wanted::Never => WorkerState::Failed,
            Wanted::OnCommand => WorkerState::Stopped,
            Wanted::Now if self.breaker.is_probing() => WorkerState::HalfOpen,
            Wanted::Now if self.breaker.is_open() => WorkerState::Open,
            Wanted::Now if self.present.was_never_there() => WorkerState::Starting,
            Wanted::Now => WorkerState::Running,
        }
    }

    /// How much it should be fed.
    #[must_use]
    pub fn appetite(&self) -> Appetite {
        match self.state() {
            WorkerState::Starting | WorkerState::Running => Appetite::Everything,
            WorkerState::Open | WorkerState::HalfOpen if self.is_asking => Appetite::OneMore(self.asked),
            _ => Appetite::Nothing,
        }
    }

    /// Why the breaker is open, if it is.
    #[must_use]
    pub fn breaker_cause(&self) -> Option<&str> {
        self.breaker.cause()
    }

    /// Records that wait in their lanes.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.lanes.queued()
    }

    /// Lanes that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.lanes.running()
    }

    /// Whether it has no record, wherever that may be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.all().next().is_none()
    }

    /// Calls in flight.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether records wait because as many lanes run as may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lanes.is_full()
    }

    /// Dead letters that could not be written yet.
    #[must_use]
    pub fn delayed_letters(&self) -> usize {
        self.delayed_letters
    }

    /// A record by its name.
    #[must_use]
    pub fn record(&self, id: Id) -> Option<&R> {
        self.lanes.get(id).map(|item| &item.record)
    }

    /// The records of calls that have run for long, the oldest first: what may hold a frontier up.
    #[must_use]
    pub fn slow_calls(&self, now: &Now) -> Vec<SlowCall> {
        let slow = self.calls.oldest_first().take_while(|(_, call)| now.since(call.began_ns) >= SLOW_AFTER);
        let records = slow.flat_map(|(_, call)| call.records.iter().map(|id| (*id, call.began_ns)));
        let named = records.take(MAX_SLOW_CALLS).filter_map(|(id, began_ns)| {
            let record = self.record(id)?;
            let Assignment { slot, epoch, .. } = *record.assignment();
            let key = record.key().map(|key| String::from_utf8_lossy(key).into_owned());
            let since = now.instant.checked_sub(now.since(began_ns)).unwrap_or(now.instant);
            Some(SlowCall { slot, epoch, offset: record.offset(), key, since })
        });
        named.collect()
    }

    /// Records that were not started, for a driver that moves them to other memory.
    pub fn waiting_records_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.lanes.all_mut().filter(|item| matches!(item.stage, Stage::Queued)).map(|item| &mut item.record)
    }
}

#[cfg(test)]
mod tests;
