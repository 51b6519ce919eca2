//! What happens to members: they join, stop, crash, freeze, are cut off, move, are paused; and how the world is healed.

use std::time::Duration;

use super::World;
use super::coordinator::Session;
use crate::history::Violation;
use crate::member::{Member, Step};

/// Members at once.
const MOST_MEMBERS: usize = 4;
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
        let member = Member::new(self.members.len(), self.sabotage, self.max_metadata_bytes, self.seed, self.now);
        self.members.push(Some(member));
        self.sessions.push(Session::new(self.now));
    }

    /// Where nobody is left to do the work somebody starts another process.
    pub(super) fn replace(&mut self) {
        let staying = self.members.iter().flatten().filter(|member| !member.is_draining() && !member.is_frozen());
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
        let members = self.members();
        let Some(at) = self.rng.pick(&members) else { return Ok(()) };
        let action = self.rng.below(100);
        self.history.trace(&[5, at as u64, action as u64]);
        match action {
            0..26 => self.move_partition(),
            26..36 if members.len() < MOST_MEMBERS => self.join(),
            36..44 if members.len() > 1 => self.crash(at),
            44..50 => self.stop(at),
            50..64 => self.freeze(at),
            64..69 => self.cut_off(at),
            69..79 => self.pause_or_resume(at),
            79..85 => self.break_handler(at),
            85 => self.order(at)?,
            86..92 => self.rebalance(),
            92..95 => self.restart_consumer(at),
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
        self.members[at] = None;
        if self.rng.percent(50) {
            self.sessions[at].end();
            self.take_from(at);
        }
    }

    fn stop(&mut self, at: usize) {
        if let Some(member) = self.members[at].as_mut().filter(|member| !member.is_frozen()) {
            self.history.report.stops += u64::from(!member.is_draining());
            member.stop(self.now, STOP_PATIENCE);
        }
    }

    /// A process stands still: its threads, its client, all of it, wherever it was.
    fn freeze(&mut self, at: usize) {
        let until = self.now + self.for_a_while();
        if let Some(member) = self.members[at].as_mut().filter(|member| !member.is_frozen()) {
            member.frozen = Some((self.now, until));
            self.history.report.freezes += 1;
        }
    }

    /// A call into the client takes long, or the thread does not get its turn.
    fn stall(&mut self, at: usize) {
        let until = self.now + self.for_a_while() / 2;
        if let Some(member) = self.members[at].as_mut() {
            member.stalled_until = until;
            self.history.report.stalls += 1;
        }
    }

    /// A member does not reach the broker for a while.
    fn cut_off(&mut self, at: usize) {
        let until = self.now + self.for_a_while();
        if let Some(member) = self.members[at].as_mut() {
            member.cut_until = Some(until);
        }
    }

    /// An operator pauses the topic at a member, or ends that.
    fn pause_or_resume(&mut self, at: usize) {
        if let Some(member) = self.members[at].as_mut() {
            let paused = !member.topic_is_paused();
            member.pause_topic(paused);
            self.history.report.topic_pauses += u64::from(paused);
        }
    }

    /// Whatever a handler needs is not there for a while.
    fn break_handler(&mut self, at: usize) {
        let until = self.now + self.for_a_while();
        let away = self.rng.percent(30);
        if let Some(member) = self.members[at].as_mut() {
            if away {
                member.handler.away_until = until;
            } else {
                member.handler.broken_until = until;
            }
        }
    }

    /// An operator restarts a handler.
    fn order(&mut self, at: usize) -> Result<(), Violation> {
        let Some(member) = self.members[at].as_mut().filter(|member| !member.is_frozen()) else { return Ok(()) };
        self.history.report.orders += 1;
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults: true };
        member.handler.order(false, &mut step)
    }

    /// An operator sees to breakers that stay open.
    pub(super) fn restart_open_handlers(&mut self) -> Result<(), Violation> {
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults: false };
        let open = self.members.iter_mut().flatten().filter(|member| member.handler.is_open() && member.is_busy());
        open.into_iter().try_for_each(|member| member.handler.order(false, &mut step))
    }

    /// The group rebalances, and waits for somebody who is dead.
    fn rebalance(&mut self) {
        self.broker.rebalances_until = self.now + self.for_a_while() / 2;
    }

    /// A client is of no use any more: its member gives all up and joins with another one.
    fn restart_consumer(&mut self, at: usize) {
        let Some(member) = self.members[at].as_mut().filter(|member| !member.is_frozen() && !member.is_draining())
        else {
            return;
        };
        let mut step = Step { now: self.now, rng: &mut self.rng, history: &mut self.history, faults: true };
        member.restart(&mut step);
        self.history.report.restarts += 1;
        self.broker.forget(at);
        self.take_from(at);
        self.rejoin(at);
    }

    /// Those wake up whose time has come, and those are connected again.
    pub(super) fn let_thaw(&mut self) {
        for at in self.members() {
            let Some(member) = self.members[at].as_mut() else { continue };
            if member.cut_until.is_some_and(|until| self.now >= until) {
                member.cut_until = None;
            }
            if let Some((since, _)) = member.frozen.take_if(|(_, until)| self.now >= *until) {
                self.thawed(at, self.now.saturating_duration_since(since));
            }
        }
    }

    /// From here on nothing fails: the frozen come back, the broker answers, and nothing is paused any more.
    pub(super) fn heal(&mut self) {
        self.broker.rebalances_until = self.now;
        for member in self.members.iter_mut().flatten() {
            member.pause_topic(false);
            member.cut_until = None;
            member.stalled_until = self.now;
            member.handler.broken_until = self.now;
            member.handler.away_until = self.now;
            member.frozen = member.frozen.map(|(since, _)| (since, self.now));
        }
    }
}
