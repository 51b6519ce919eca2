//! What happens to processes: they join, stop, crash, freeze, fail, are cut off, move, are ordered about; and how the world is
//! healed.

use std::time::Duration;

use super::World;
use super::coordinator::Session;
use crate::history::Violation;
use crate::process::{Process, Step};
use delivery::member::effect::Order;

/// Processes at once.
const MOST_PROCESSES: usize = 4;
/// A log begins again when it has more records than this.
const LEAST_RECORDS: usize = 4;
/// A member that is told to stop may finish for so long.
pub(super) const STOP_PATIENCE: Duration = Duration::from_millis(1_500);
/// Something happens in so many of a thousand steps.
const FAULTS_PERMILLE: usize = 50;
const CALM_FAULTS_PERMILLE: usize = 4;
const SHORT_MS: usize = 2_500;
const LONG_MS: usize = 11_000;

impl World {
    /// A new process.
    pub(super) fn join(&mut self) {
        let process = Process::new(self.processes.len(), self.seed, self.max_metadata_bytes, self.now);
        self.processes.push(Some(process));
        self.sessions.push(Session::new(self.now));
    }

    /// Where none is left to do the work another process is started.
    pub(super) fn replace(&mut self) {
        let staying = self.processes.iter().flatten().filter(|it| !it.consumer.is_leaving() && !it.is_frozen());
        if staying.count() == 0 {
            self.join();
        }
    }

    /// Something happens, or nothing.
    pub(super) fn fail_somewhere(&mut self) -> Result<(), Violation> {
        let chance = if self.calm { CALM_FAULTS_PERMILLE } else { FAULTS_PERMILLE };
        if self.rng.below(1_000) >= chance {
            return Ok(());
        }
        let processes = self.processes();
        let Some(at) = self.rng.pick(&processes) else { return Ok(()) };
        let action = self.rng.below(100);
        self.history.trace(&[5, at as u64, action as u64]);
        match action {
            0..22 => self.move_partition(),
            22..31 if processes.len() < MOST_PROCESSES => self.join(),
            31..38 if processes.len() > 1 => self.crash(at),
            38..43 => self.stop(at),
            43..56 => self.freeze(at),
            56..61 => self.cut_off(at),
            61..69 => self.pause_or_resume(at),
            69..74 => self.break_handler(at),
            74 => return self.restart_handler(at),
            75..81 => self.rebalance(),
            81..86 => return self.fail_consumer(at),
            86..91 => self.order(at),
            91..93 => self.reset_log(),
            93..97 => self.block(at),
            _ => self.stall(at),
        }
        Ok(())
    }

    fn for_a_while(&mut self) -> Duration {
        let most = if self.rng.percent(40) { SHORT_MS } else { LONG_MS };
        Duration::from_millis(100 + self.rng.below(most) as u64)
    }

    /// A process is gone. The group notices at once, where its connection breaks and it has a name of its own, or late.
    fn crash(&mut self, at: usize) {
        self.history.report.crashes += 1;
        self.processes[at] = None;
        if self.rng.percent(50) {
            self.sessions[at].end();
            self.take_from(at);
        }
    }

    fn stop(&mut self, at: usize) {
        if let Some(process) = self.processes[at].as_mut().filter(|process| !process.is_frozen()) {
            self.history.report.stops += u64::from(!process.consumer.is_leaving());
            process.consumer.stop(self.now, STOP_PATIENCE);
        }
    }

    /// A process freezes: its threads, its client, all of it, wherever it was.
    fn freeze(&mut self, at: usize) {
        let until = self.now + self.for_a_while();
        if let Some(process) = self.processes[at].as_mut().filter(|process| !process.is_frozen()) {
            process.frozen = Some((self.now, until));
            self.history.report.freezes += 1;
        }
    }

    /// A call into the client takes long, or the thread does not get its turn.
    fn stall(&mut self, at: usize) {
        let until = self.now + self.for_a_while() / 2;
        if let Some(process) = self.processes[at].as_mut() {
            process.stalled_until = until;
            self.history.report.stalls += 1;
        }
    }

    /// A member does not reach the broker for a while.
    fn cut_off(&mut self, at: usize) {
        let until = self.now + self.for_a_while();
        if let Some(process) = self.processes[at].as_mut() {
            process.consumer.cut_until = Some(until);
        }
    }

    /// An operator pauses the topic at a member, or ends that.
    fn pause_or_resume(&mut self, at: usize) {
        if let Some(process) = self.processes[at].as_mut() {
            let paused = !process.consumer.topic_paused;
            process.consumer.pause_topic(paused);
            self.history.report.topic_pauses += u64::from(paused);
        }
    }

    /// Whatever a handler needs is not there for a while.
    fn break_handler(&mut self, at: usize) {
        let until = self.now + self.for_a_while();
        let away = self.rng.percent(30);
        if let Some(process) = self.processes[at].as_mut() {
            let handler = &mut process.handler;
            *(if away { &mut handler.away_until } else { &mut handler.broken_until }) = until;
        }
    }

    /// An operator restarts a handler.
    fn restart_handler(&mut self, at: usize) -> Result<(), Violation> {
        let Some(process) = self.processes[at].as_mut().filter(|process| !process.is_frozen()) else { return Ok(()) };
        self.history.report.orders += 1;
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults: true };
        process.handler.order(false, &mut step)
    }

    /// An operator sees to breakers that stay open.
    pub(super) fn restart_open_handlers(&mut self) -> Result<(), Violation> {
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults: false };
        let open = self.processes.iter_mut().flatten().filter(|it| it.handler.is_open() && it.is_busy());
        open.into_iter().try_for_each(|process| process.handler.order(false, &mut step))
    }

    /// The group rebalances, and waits for a member that is dead.
    fn rebalance(&mut self) {
        self.broker.rebalances_until = self.now + self.for_a_while() / 2;
    }

    /// A client is of no use any more, or the consumer's thread panics. It may take a while until another client is made.
    fn fail_consumer(&mut self, at: usize) -> Result<(), Violation> {
        let until = self.now + self.for_a_while();
        let (unmade, panics) = (self.rng.percent(40), self.rng.percent(50));
        let Some(process) = self.processes[at].as_mut().filter(|process| !process.is_frozen()) else { return Ok(()) };
        if unmade {
            process.consumer.unmade_until = until;
        }
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults: true };
        process.consumer.fail(panics, &mut step)
    }

    /// An operator has a consumer join again, or stay out until it is started.
    fn order(&mut self, at: usize) {
        let restart = self.rng.percent(50);
        let Some(process) = self.processes[at].as_mut().filter(|process| !process.is_frozen()) else { return };
        let order = match process.consumer.is_stopped() {
            true => Order::Start,
            false if restart => Order::JoinAgain,
            false => Order::Stop,
        };
        if process.consumer.order(order, self.now) {
            self.history.client_forgiven(at);
        }
    }

    /// Something blocks the thread of a handler's actor for a while. The consumer's thread goes on.
    fn block(&mut self, at: usize) {
        let until = self.now + self.for_a_while() / 2;
        if let Some(process) = self.processes[at].as_mut() {
            process.blocked_until = until;
            self.history.report.blocked += 1;
        }
    }

    /// A topic's log begins again: it was deleted and created, which takes the group's offsets with it.
    fn reset_log(&mut self) {
        let partition = self.rng.below(super::PARTITIONS);
        let edition = self.history.edition(partition);
        // A client that has read nothing yet of the log before cannot tell the two apart.
        let mut processes = self.processes.iter().flatten();
        if self.history.logs[partition].len() > LEAST_RECORDS
            && processes.all(|process| process.consumer.has_read(partition, edition))
        {
            self.history.log_reset(partition);
            self.broker.set(partition, None);
            self.append_some(partition);
        }
    }

    /// Those wake up whose time has come, and those are connected again.
    pub(super) fn let_thaw(&mut self) {
        for at in self.processes() {
            let Some(process) = self.processes[at].as_mut() else { continue };
            if process.consumer.cut_until.is_some_and(|until| self.now >= until) {
                process.consumer.cut_until = None;
            }
            if let Some((since, _)) = process.frozen.take_if(|(_, until)| self.now >= *until) {
                self.thawed(at, self.now.saturating_duration_since(since));
            }
        }
    }

    /// From here on nothing fails: the frozen come back, the broker answers, and nothing is paused or stopped any more.
    pub(super) fn heal(&mut self) {
        self.broker.rebalances_until = self.now;
        for process in self.processes.iter_mut().flatten() {
            process.consumer.pause_topic(false);
            process.consumer.cut_until = None;
            process.consumer.unmade_until = self.now;
            process.stalled_until = self.now;
            process.blocked_until = self.now;
            process.handler.broken_until = self.now;
            process.handler.away_until = self.now;
            process.frozen = process.frozen.map(|(since, _)| (since, self.now));
        }
    }

    /// Operators start what they stopped.
    pub(super) fn start_stopped(&mut self) {
        for at in self.processes() {
            let stopped = |process: &&mut Process| !process.is_frozen() && process.consumer.is_stopped();
            let Some(process) = self.processes[at].as_mut().filter(stopped) else { continue };
            if process.consumer.order(Order::Start, self.now) {
                self.history.client_forgiven(at);
            }
        }
    }
}
