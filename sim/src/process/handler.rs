//! The driver of a member's worker: calls that take their time and end as the seed says.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::answer::Answer;
use delivery::lease::Lease;
use delivery::now::Now;
use delivery::outcome::{ErrorKind, Outcome};
use delivery::worker::breaker::BreakerPolicy;
use delivery::worker::{Appetite, CallEnd, CallId, Effect, Id, Wait, Worker, WorkerPolicy};

use super::item::Item;
use super::step::Step;
use crate::history::{Edition, Ended, Tenure, Told, Violation};
use crate::policy::POLICY;

const LANES_AT_ONCE: usize = 8;
/// In every other world the handler gets events by the batch.
const BATCH: usize = 4;
/// Of a hundred handlers that are made while all calls panic, so many panic already then.
const UNMADE_PERCENT: u64 = 30;
/// Of a hundred attempts to write a dead letter, so many fail while there are faults.
const UNWRITTEN_PERCENT: u64 = 25;
/// Of a thousand turns, so many have the driver panic.
const DRIVER_PANICS_PERMILLE: usize = 2;

/// A call that was begun.
#[derive(Debug)]
struct Running {
    id: CallId,
    generation: u32,
    items: Vec<Item>,
    end: CallEnd,
    /// When; never, where it hangs.
    ends: Option<Instant>,
}

/// A dead letter that is being written.
#[derive(Debug)]
struct Writing {
    id: Id,
    wait: Wait,
    item: Item,
    until: Instant,
}

/// The worker of a member, and what it had begun.
#[derive(Debug)]
pub(crate) struct Handler {
    member: usize,
    worker: Worker<Item>,
    lease: Arc<Lease>,
    calls: Vec<Running>,
    letters: Vec<Writing>,
    in_batches: bool,
    /// Keys that wait for something, until then at most.
    waiting: HashMap<(usize, u8), Instant>,
    /// Handlers that were made, and whether the last is there.
    generation: u32,
    is_there: bool,
    has_given_up: bool,
    /// It panics at everything until then.
    pub(crate) broken_until: Instant,
    /// What it needs is away until then.
    pub(crate) away_until: Instant,
}

impl Handler {
    pub(crate) fn new(member: usize, lease: &Arc<Lease>, seed: u64, now: Instant) -> Self {
        let events = if seed.is_multiple_of(2) { 1 } else { BATCH };
        let exit_after = seed.is_multiple_of(3).then_some(Duration::from_secs(4));
        let breaker = BreakerPolicy { exit_after, ..POLICY.breaker };
        let policy = WorkerPolicy { max_events_per_call: events, breaker, ..POLICY };
        let policy = if events > 1 { WorkerPolicy { max_calls: 1, ..policy } } else { policy };
        Self {
            member,
            worker: Worker::new(policy, Arc::clone(lease), LANES_AT_ONCE, seed),
            lease: Arc::clone(lease),
            calls: Vec::new(),
            letters: Vec::new(),
            in_batches: events > 1,
            waiting: HashMap::new(),
            generation: 0,
            is_there: false,
            has_given_up: false,
            broken_until: now,
            away_until: now,
        }
    }

    pub(crate) fn arrive(&mut self, item: Item) {
        self.worker.arrive(item);
    }

    /// What it answered since it was asked last.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(self.worker.answers())
    }

    pub(crate) fn appetite(&self) -> Appetite {
        self.worker.appetite()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.worker.breaker_cause().is_some()
    }

    /// Whether its handler was given up, so that its process must be told to stop.
    pub(crate) fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.worker.is_empty()
    }

    /// Whether something of a tenure is still worked on. What is of a log that is no more is cancelled at the next turn.
    pub(crate) fn works_on(&self, tenure: Tenure, edition: Edition) -> bool {
        let is_of = |item: &Item| item.tenure == tenure && item.record.edition == edition;
        let mut in_calls = self.calls.iter().flat_map(|call| &call.items);
        in_calls.any(is_of) || self.letters.iter().any(|letter| is_of(&letter.item))
    }

    /// Operators restart it, stop it and start it again.
    pub(crate) fn order(&mut self, stop: bool, step: &mut Step<'_>) -> Result<(), Violation> {
        self.worker.restart_handler(stop);
        step.history.pardoned(self.member);
        self.perform(step)
    }

    fn now(&self, step: &Step<'_>) -> Now {
        let passed = step.now.saturating_duration_since(self.lease.origin());
        let ns = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        Now { instant: step.now, ns, wall_us: 1 + i64::try_from(ns / 1_000).unwrap_or(i64::MAX) }
    }

    /// Does some of what can be done now.
    pub(crate) fn advance(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = self.now(step);
        if step.faults && step.rng.below(1_000) < DRIVER_PANICS_PERMILLE {
            step.history.report.driver_panics += 1;
            self.calls.clear();
            self.letters.clear();
            self.is_there = false;
            step.history.calls_gone(self.member);
            self.worker.recover("panicked".to_owned());
        }
        self.worker.turn(&now);
        self.perform(step)?;
        self.make(&now, step)?;
        if self.worker.may_act(&now) {
            self.end_some(&now, step)?;
        }
        for _ in 0..step.rng.below(5) {
            self.make(&now, step)?;
            if !self.is_there {
                break;
            }
            if !self.begin(&now, step)? {
                self.check_idle(&now, step)?;
                break;
            }
        }
        self.perform(step)
    }

    /// Makes a handler where the worker asks for one.
    fn make(&mut self, now: &Now, step: &mut Step<'_>) -> Result<(), Violation> {
        while self.worker.wants_handler(now) {
            if step.now < self.broken_until && step.rng.percent(UNMADE_PERCENT) {
                step.history.report.unmade += 1;
                step.history.not_made(self.member, step.now);
                self.worker.handler_not_made(now, "no handler");
                self.perform(step)?;
                continue;
            }
            self.generation += 1;
            self.is_there = true;
            self.worker.handler_made();
            self.perform(step)?;
        }
        Ok(())
    }

    /// Begins the next call; false where none may begin.
    fn begin(&mut self, now: &Now, step: &mut Step<'_>) -> Result<bool, Violation> {
        let mut items = Vec::new();
        let mut numbers = Vec::new();
        let decode = |item: &Item, number| {
            items.push(item.clone());
            numbers.push(number);
            Ok(())
        };
        let begun = self.worker.begin(now, decode);
        self.perform(step)?;
        let Some(id) = begun else { return Ok(false) };
        let events: Vec<_> = items.iter().map(Item::place).zip(numbers.iter().copied()).collect();
        for (item, number) in items.iter().zip(numbers) {
            let (partition, offset) = (item.tenure.partition, item.record.offset);
            let busy = self.calls.iter().flat_map(|call| &call.items).chain(self.letters.iter().map(|it| &it.item));
            if busy.into_iter().any(|other| other.key_of() == item.key_of()) {
                return Err(Violation::TwoOfAKey(partition, offset));
            }
            step.history.start(item.tenure, item.record, number, POLICY.retry.max_attempts)?;
        }
        step.history.called(self.member, id, &events, step.now)?;
        let (end, takes) = self.fate(&items, step);
        let ends = takes.map(|takes| step.now + takes);
        self.calls.push(Running { id, generation: self.generation, items, end, ends });
        Ok(true)
    }

    /// Nothing can be started: whatever is here waits behind something of its own key, or as many run as may.
    fn check_idle(&mut self, now: &Now, step: &Step<'_>) -> Result<(), Violation> {
        let is_idle = self.worker.running() < LANES_AT_ONCE && (self.calls.is_empty() || !self.in_batches);
        if self.is_open() || !self.worker.may_act(now) || !is_idle {
            return Ok(());
        }
        let busy: HashSet<(Tenure, u8)> = self.calls.iter().flat_map(|call| &call.items).map(Item::key_of).collect();
        // Also of an earlier assignment: they share a lane.
        let writing: HashSet<(usize, u8)> = self.letters.iter().map(|letter| letter.item.suspect()).collect();
        let waiting = &mut self.waiting;
        waiting.retain(|_, until| step.now < *until);
        let is_free = |item: &&mut Item| {
            let key = item.key_of();
            !busy.contains(&key) && !writing.contains(&item.suspect()) && !waiting.contains_key(&item.suspect())
        };
        let free = self.worker.waiting_records_mut().find(is_free);
        free.map_or(Ok(()), |item| Err(Violation::Blocked(item.tenure.partition, item.record.offset)))
    }

    /// Takes some of what has ended, in any order.
    fn end_some(&mut self, now: &Now, step: &mut Step<'_>) -> Result<(), Violation> {
        while step.rng.percent(80) {
            let ready: Vec<usize> = (0..self.letters.len()).filter(|at| self.letters[*at].until <= step.now).collect();
            let Some(at) = step.rng.pick(&ready) else { break };
            let Writing { id, wait, item, .. } = self.letters.swap_remove(at);
            if step.faults && step.rng.percent(UNWRITTEN_PERCENT) {
                self.waiting.insert(item.suspect(), step.now + POLICY.deadline);
                self.worker.letter_refused(now, id, wait);
            } else {
                self.worker.letter_written(id, wait);
            }
            self.perform(step)?;
        }
        while step.rng.percent(80) {
            let is_ready = |call: &Running| call.ends.is_some_and(|ends| ends <= step.now);
            let ready: Vec<usize> = (0..self.calls.len()).filter(|at| is_ready(&self.calls[*at])).collect();
            let Some(at) = step.rng.pick(&ready) else { break };
            let Running { id, generation, items, end, .. } = self.calls.swap_remove(at);
            for item in &items {
                step.history.acts(item.tenure, item.record.offset)?;
            }
            self.tell_end(id, generation, &items, &end, step);
            let handled = matches!(&end, CallEnd::Answered(results) if results.iter().any(Result::is_ok));
            self.worker.call_ended(now, id, end);
            self.perform(step)?;
            if handled && self.is_open() {
                return Err(Violation::NotClosed(self.member));
            }
        }
        Ok(())
    }

    /// Has the history know how a call ended.
    fn tell_end(&mut self, id: CallId, generation: u32, items: &[Item], end: &CallEnd, step: &mut Step<'_>) {
        let alone = items.len() == 1;
        let mut told: Vec<Told> = Vec::new();
        match end {
            CallEnd::Answered(results) => {
                let mut failed = HashSet::new();
                for (item, result) in items.iter().zip(results) {
                    // What comes after a failed event of its key waits with it.
                    if result.is_err() && !failed.insert(item.suspect()) {
                        continue;
                    }
                    let ended = match result {
                        Ok(_) => Ended::Well,
                        Err(error) if error.kind == ErrorKind::Unavailable => Ended::Away,
                        Err(error) if error.kind == ErrorKind::Transient => Ended::Transient,
                        Err(_) => Ended::Permanent,
                    };
                    told.push((item.place(), item.suspect(), ended));
                }
            }
            CallEnd::Panicked(_) => {
                step.history.panicked(self.member, generation == self.generation && self.is_there);
                let ended = if alone { Ended::AsIfBroken } else { Ended::InCompany };
                told.extend(items.iter().map(|item| (item.place(), item.suspect(), ended)));
            }
        }
        self.history_of_end(id, &told, step);
    }

    fn history_of_end(&mut self, id: CallId, told: &[Told], step: &mut Step<'_>) {
        for (_, key, ended) in told {
            if *ended != Ended::Well {
                // Its backoff, or until it is known whose fault it was.
                self.waiting.insert(*key, step.now + POLICY.deadline + POLICY.retry.max_backoff);
            }
        }
        step.history.call_ended(self.member, id, told, step.now);
    }

    /// Carries out what the worker decided.
    fn perform(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        self.tell_attempts(step)?;
        while let Some(effect) = self.worker.next_effect() {
            match effect {
                Effect::Cancel(id) => {
                    let Some(at) = self.calls.iter().position(|call| call.id == id) else { continue };
                    let call = self.calls.swap_remove(at);
                    let moved = call.items.iter().any(|item| item.assignment.has_ended());
                    step.history.report.moved_calls += u64::from(moved);
                    step.history.report.hung += u64::from(!moved);
                    let ended = match (moved, call.items.len()) {
                        (true, _) => Ended::Moved,
                        (false, 1) => Ended::AsIfBroken,
                        (false, _) => Ended::InCompany,
                    };
                    let told: Vec<_> = call.items.iter().map(|item| (item.place(), item.suspect(), ended)).collect();
                    self.history_of_end(id, &told, step);
                }
                Effect::WriteDeadLetter(id, wait) => {
                    let Some(item) = self.worker.record(id).cloned() else { continue };
                    step.history.buried(self.member, item.place(), item.suspect())?;
                    let until = step.now + Duration::from_millis(step.rng.below(60) as u64);
                    self.letters.push(Writing { id, wait, item, until });
                }
                Effect::DropHandler { panicked } => {
                    self.is_there = false;
                    if panicked.is_some() {
                        step.history.ended_by_panic(self.member)?;
                    }
                }
                Effect::BreakerOpened { .. } => step.history.opened(self.member, step.now)?,
                Effect::BreakerClosed => step.history.closed(self.member),
                Effect::GaveUp { .. } => {
                    step.history.report.given_up += 1;
                    self.has_given_up = true;
                }
            }
        }
        Ok(())
    }

    fn tell_attempts(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let mut ended = Vec::new();
        self.worker.attempts_ended(|attempt| {
            ended.push((attempt.record.clone(), attempt.outcome));
        });
        for (item, outcome) in ended {
            match outcome {
                Outcome::Retry => {}
                Outcome::Handled | Outcome::Duplicate => step.history.settle(item.tenure, item.record)?,
                Outcome::DeadLettered => {
                    step.history.report.dead_letters += 1;
                    step.history.settle(item.tenure, item.record)?;
                }
            }
        }
        Ok(())
    }
}
