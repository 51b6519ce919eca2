//! The world: a clock, logs that grow, processes that take their turns, and at the end the proof that all came to rest.

mod broker;
mod coordinator;
mod faults;

use std::time::{Duration, Instant};

use crate::Report;
use crate::history::{History, Nature, Record, Violation};
use crate::process::{Change, Outbox, Process, Step};
use crate::rng::Rng;
use broker::Broker;
use coordinator::{Owner, Session};
use delivery::member::progress::codec::MAX_METADATA_BYTES;

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
const HANGING_PERMILLE: usize = 10;
/// One of so many worlds has keys and poison without end, so that a breaker has to find what is healthy behind it.
const POISONED_ONE_OF: u64 = 7;
const MANY: (usize, usize) = (200, 200);
/// When nothing fails any more there still comes something healthy now and then, of a key of its own.
const STEPS_BETWEEN_HEALTHY: usize = 40;
/// An operator restarts handlers whose breaker is open: where a partition is held back, nothing healthy can be read.
const STEPS_BETWEEN_ORDERS: usize = 400;
const HEALTHY_KEY: u8 = 255;
/// So many phases of its turn a consumer's thread does in a step at most.
const MOST_PHASES: usize = 12;

pub(crate) struct World {
    seed: u64,
    rng: Rng,
    history: History,
    processes: Vec<Option<Process>>,
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
    pub(crate) fn new(seed: u64) -> Self {
        let poisoned = seed % POISONED_ONE_OF == 3;
        // A partition that is held back because of its metadata cannot be read on for what is healthy behind the poison.
        let max_metadata_bytes =
            if seed.is_multiple_of(2) && !poisoned { SHORT_METADATA_BYTES } else { MAX_METADATA_BYTES };
        let now = Instant::now();
        let mut world = Self {
            seed,
            rng: Rng::new(seed),
            history: History::new(PARTITIONS),
            processes: Vec::new(),
            sessions: Vec::new(),
            owners: [Owner::None; PARTITIONS],
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
        for process in self.processes.iter().flatten() {
            process.check_rest()?;
        }
        self.history.report.records = self.history.logs.iter().map(|log| log.len() as u64).sum();
        Ok(self.history.report)
    }

    /// What is not as it should be in the end.
    fn unrest(&self) -> Option<Violation> {
        if let Some((partition, offset)) = self.history.unsettled() {
            return Some(Violation::Stuck(partition, offset));
        }
        let uncommitted = |at: usize| self.history.uncommitted(at, &self.broker.known(at));
        if let Some((partition, offset)) = (0..PARTITIONS).find_map(uncommitted) {
            return Some(Violation::NeverCommitted(partition, offset));
        }
        let busy = |at: &usize| self.processes[*at].as_ref().is_some_and(Process::is_busy);
        self.processes().into_iter().find(busy).map(Violation::NeverAtRest)
    }

    fn step(&mut self, faults: bool) -> Result<(), Violation> {
        self.steps += 1;
        self.now += Duration::from_millis(1 + self.rng.below(LONGEST_STEP_MS) as u64);
        self.history.trace(&[self.steps as u64, self.processes.len() as u64]);
        self.let_thaw();
        self.watch_sessions();
        self.replace();
        self.assign(faults);
        if faults {
            self.produce();
            self.fail_somewhere()?;
        } else {
            self.start_stopped();
        }
        for at in 0..self.processes.len() {
            self.run_process(at, faults)?;
        }
        self.answer_commits(faults)?;
        self.answer_notes(faults)
    }

    /// Both threads of a process do something, the one or the other first.
    fn run_process(&mut self, at: usize, faults: bool) -> Result<(), Violation> {
        let Some(process) = self.processes[at].as_mut().filter(|process| !process.is_frozen()) else { return Ok(()) };
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults };
        let (before, after) = (step.rng.below(MOST_PHASES), step.rng.below(MOST_PHASES));
        for _ in 0..before {
            process.turn(&mut step)?;
        }
        if step.rng.percent(70) {
            process.advance(&mut step)?;
        }
        for _ in 0..after {
            process.turn(&mut step)?;
        }
        if process.handler.has_given_up() {
            process.consumer.stop(self.now, faults::STOP_PATIENCE);
        }
        let Outbox { commits, notes, released, changes, reports } = std::mem::take(&mut process.consumer.outbox);
        for (_, done) in reports {
            self.history.report.orders_done += u64::from(done);
            self.history.report.orders_overtaken += u64::from(!done);
        }
        self.broker.sent(at, self.sessions[at].membership, commits);
        self.broker.noted(at, notes);
        for released in released {
            self.release(at, &released)?;
        }
        for change in changes {
            match change {
                Change::Joins => self.rejoin(at),
                Change::Leaves => self.leave(at),
                Change::Closed | Change::Gone => {
                    self.broker.forget(at);
                    self.take_from(at);
                    self.sessions[at].end();
                    if change == Change::Gone {
                        self.processes[at] = None;
                    }
                }
            }
        }
        Ok(())
    }

    fn produce(&mut self) {
        let partition = self.rng.below(PARTITIONS);
        if self.rng.percent(14) && self.history.logs[partition].len() < RECORDS_PER_PARTITION {
            self.append_some(partition);
        }
    }

    /// Puts a record of some key and nature at the end of a log.
    fn append_some(&mut self, partition: usize) {
        let (keys, poison) = if self.poisoned { MANY } else { (KEYS, POISON_PERMILLE) };
        let key = u8::try_from(self.rng.below(keys)).unwrap_or(0);
        let nature = match self.rng.below(1_000) {
            luck if luck < poison => Nature::Poison,
            luck if luck < poison + HANGING_PERMILLE => Nature::Hangs,
            _ => Nature::Harmless,
        };
        self.append(partition, key, nature);
    }

    /// Whether a breaker is open with something behind it.
    fn has_open_breaker(&self) -> bool {
        self.processes.iter().flatten().any(|process| process.handler.is_open() && process.is_busy())
    }

    /// Puts a record at the end of a log. The first of a log has offset zero; compaction and transaction markers leave gaps
    /// after it.
    fn append(&mut self, partition: usize, key: u8, nature: Nature) {
        let edition = self.history.edition(partition);
        let gap = if self.rng.percent(20) { 1 + self.rng.below(3) } else { 0 };
        let log = &mut self.history.logs[partition];
        let offset = log.last().map_or(0, |last| last.offset + 1 + i64::try_from(gap).unwrap_or(0));
        log.push(Record { edition, offset, key, nature });
    }

    fn processes(&self) -> Vec<usize> {
        self.processes.iter().enumerate().filter(|(_, process)| process.is_some()).map(|(at, _)| at).collect()
    }
}
