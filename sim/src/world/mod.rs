//! The world: a clock, logs that grow, members that take their turns, and at the end the proof that all came to rest.

mod broker;
mod coordinator;
mod faults;

use std::time::{Duration, Instant};

use crate::history::{History, Nature, Record, Violation};
use crate::member::{Member, Outbox, Step};
use crate::rng::Rng;
use crate::{Report, Sabotage};
use broker::Broker;
use coordinator::{Owner, Session};
use delivery::member::progress_codec;

const PARTITIONS: usize = 3;
const KEYS: usize = 8;
const RECORDS_PER_PARTITION: usize = 40;
const STEPS: usize = 1_200;
/// Nothing fails any more after the steps; after so many more, some 160 s, all must be settled and committed. Calls that hang
/// and breakers that open again and again take their time.
const HEALING_STEPS: usize = 8_000;
/// A step takes up to so long.
const LONGEST_STEP_MS: usize = 40;
/// Metadata of a commit in every other world: some bytes, so that partitions are held back because of it.
const SHORT_METADATA_BYTES: usize = 24;
/// One of so many worlds is calm: little happens to its members.
const CALM_ONE_OF: u64 = 5;
/// Of a thousand records, so many are such.
const POISON_PERMILLE: usize = 15;
/// One of so many worlds has keys and poison without end, so that a breaker has to find what is healthy behind it.
const POISONED_ONE_OF: u64 = 7;
const MANY: (usize, usize) = (200, 200);
/// When nothing fails any more there still comes something healthy now and then, of a key of its own.
const STEPS_BETWEEN_HEALTHY: usize = 40;
/// An operator restarts handlers whose breaker is open: where a partition is held back, nothing healthy can be read.
const STEPS_BETWEEN_ORDERS: usize = 400;
const HEALTHY_KEY: u8 = 255;
const HANGING_PERMILLE: usize = 10;
/// So many phases of its turn a consumer's thread does in a step at most.
const MOST_PHASES: usize = 12;

pub(crate) struct World {
    seed: u64,
    rng: Rng,
    sabotage: Option<Sabotage>,
    history: History,
    members: Vec<Option<Member>>,
    sessions: Vec<Session>,
    owners: [Owner; PARTITIONS],
    generations: [u64; PARTITIONS],
    broker: Broker,
    max_metadata_bytes: usize,
    calm: bool,
    poisoned: bool,
    /// The clock is not asked again: only what lies between two moments counts.
    now: Instant,
    steps: usize,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let long = progress_codec::MAX_METADATA_BYTES;
        let poisoned = seed % POISONED_ONE_OF == 3;
        // A partition that is held back because of its metadata cannot be read on for what is healthy behind the poison.
        let max_metadata_bytes = if seed.is_multiple_of(2) && !poisoned { SHORT_METADATA_BYTES } else { long };
        let now = Instant::now();
        let mut world = Self {
            seed,
            rng: Rng::new(seed),
            sabotage,
            history: History::new(PARTITIONS),
            members: Vec::new(),
            sessions: Vec::new(),
            owners: [Owner::Nobody; PARTITIONS],
            generations: [0; PARTITIONS],
            broker: Broker::new(PARTITIONS, now),
            max_metadata_bytes,
            calm: seed % CALM_ONE_OF == 1,
            poisoned,
            now,
            steps: 0,
        };
        world.join();
        world.join();
        world
    }

    pub(crate) fn run(mut self) -> Result<Report, Violation> {
        while self.steps < STEPS {
            self.step(true)?;
        }
        self.heal();
        while let Some(unrest) = self.unrest() {
            if self.steps.is_multiple_of(STEPS_BETWEEN_HEALTHY) && self.has_open_breaker() {
                (0..PARTITIONS).for_each(|partition| self.append(partition, HEALTHY_KEY, Nature::Harmless));
            }
            if self.steps.is_multiple_of(STEPS_BETWEEN_ORDERS) {
                self.restart_open_handlers()?;
            }
            self.step(false)?;
            if self.steps > STEPS + HEALING_STEPS {
                return Err(unrest);
            }
        }
        for member in self.members.iter().flatten() {
            member.check_rest()?;
        }
        self.history.report.records = self.history.logs.iter().map(|log| log.len() as u64).sum();
        Ok(self.history.report)
    }

    /// What is not as it is to be in the end.
    fn unrest(&self) -> Option<Violation> {
        if let Some((partition, offset)) = self.history.unsettled() {
            return Some(Violation::Stuck(partition, offset));
        }
        let uncommitted = |at: usize| self.history.uncommitted(at, &self.broker.known(at));
        if let Some((partition, offset)) = (0..PARTITIONS).find_map(uncommitted) {
            return Some(Violation::NeverCommitted(partition, offset));
        }
        let busy = |at: &usize| self.members[*at].as_ref().is_some_and(Member::is_busy);
        self.members().into_iter().find(busy).map(Violation::NeverAtRest)
    }

    fn step(&mut self, faults: bool) -> Result<(), Violation> {
        self.steps += 1;
        self.now += Duration::from_millis(1 + self.rng.below(LONGEST_STEP_MS) as u64);
        self.history.trace(&[self.steps as u64, self.members.len() as u64]);
        self.let_thaw();
        self.watch_sessions();
        self.replace();
        self.assign();
        if faults {
            self.produce();
            self.fail_somewhere()?;
        }
        for at in 0..self.members.len() {
            self.run_member(at, faults)?;
        }
        self.answer_commits(faults)?;
        self.answer_notes(faults)
    }

    /// Both threads of a member do something, the one or the other first.
    fn run_member(&mut self, at: usize, faults: bool) -> Result<(), Violation> {
        let Some(member) = self.members[at].as_mut().filter(|member| !member.is_frozen()) else { return Ok(()) };
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults };
        let (before, after) = (step.rng.below(MOST_PHASES), step.rng.below(MOST_PHASES));
        for _ in 0..before {
            member.turn(&mut step)?;
        }
        if step.rng.percent(70) {
            member.advance(&mut step)?;
        }
        for _ in 0..after {
            member.turn(&mut step)?;
        }
        if member.handler.has_given_up {
            member.stop(self.now, faults::STOP_PATIENCE);
        }
        let Outbox { commits, notes, released, rejoins, leaves, gone } = std::mem::take(&mut member.outbox);
        self.broker.sent(at, self.sessions[at].membership, commits);
        self.broker.noted(at, notes);
        for released in released {
            self.release(at, &released)?;
        }
        if rejoins {
            self.rejoin(at);
        }
        if leaves {
            self.leave(at);
        }
        if gone {
            self.members[at] = None;
            self.sessions[at].end();
            self.take_from(at);
        }
        Ok(())
    }

    fn produce(&mut self) {
        if !self.rng.percent(14) {
            return;
        }
        let partition = self.rng.below(PARTITIONS);
        if self.history.logs[partition].len() < RECORDS_PER_PARTITION {
            let (keys, poison) = if self.poisoned { MANY } else { (KEYS, POISON_PERMILLE) };
            let key = u8::try_from(self.rng.below(keys)).unwrap_or(0);
            let nature = match self.rng.below(1_000) {
                luck if luck < poison => Nature::Poison,
                luck if luck < poison + HANGING_PERMILLE => Nature::Hangs,
                _ => Nature::Harmless,
            };
            self.append(partition, key, nature);
        }
    }

    /// Puts a record at the end of a log. Compaction and transaction markers leave gaps.
    fn append(&mut self, partition: usize, key: u8, nature: Nature) {
        let gap = if self.rng.percent(20) { 1 + self.rng.below(3) } else { 0 };
        let log = &mut self.history.logs[partition];
        let last = log.last().map_or(-1, |record| record.offset);
        let offset = last + 1 + i64::try_from(gap).unwrap_or(0);
        log.push(Record { offset, key, nature });
    }

    /// Whether a breaker is open with something behind it.
    fn has_open_breaker(&self) -> bool {
        self.members.iter().flatten().any(|member| member.handler.is_open() && member.is_busy())
    }

    fn members(&self) -> Vec<usize> {
        self.members.iter().enumerate().filter(|(_, member)| member.is_some()).map(|(at, _)| at).collect()
    }
}
