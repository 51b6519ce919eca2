//! The turn of the consumer's thread. It is done in phases, so that the handler's actor, or a freeze, can come between them.

use delivery::member::intake::Effect;
use delivery::member::membership::{LEASE, Turn};

use super::{GroupEvent, Member, Step};
use crate::Sabotage;
use crate::history::Violation;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Lease,
    Answers,
    Read,
    Events,
    CommitAnswers,
    Commit,
    Note,
    Hold,
    Leave,
}

impl Member {
    /// Brings the turn one phase further.
    pub(crate) fn turn(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = step.now;
        if now < self.stalled_until {
            return Ok(());
        }
        self.phase = match self.phase {
            Phase::Lease => {
                let turn = self.membership.turn(now, !self.owned.is_empty());
                self.act(turn, step);
                Phase::Answers
            }
            Phase::Answers => {
                self.take_answers(step);
                Phase::Read
            }
            Phase::Read => {
                self.regulate(step);
                if self.draining.is_none() && !self.membership.is_doubtful() && !self.held && self.cut_until.is_none() {
                    self.poll(step)?;
                }
                Phase::Events
            }
            Phase::Events => {
                self.now_of_turn = now;
                if let Some((_, event)) = self.inbox.pop_front_if(|(at, _)| *at <= now) {
                    self.event(event, step);
                }
                Phase::CommitAnswers
            }
            Phase::CommitAnswers => {
                self.take_commit_answers(step);
                Phase::Commit
            }
            Phase::Commit => {
                if self.pace.is_due(self.now_of_turn) || self.is(Sabotage::PaceIgnored) {
                    self.commit(None, step)?;
                }
                Phase::Note
            }
            Phase::Note => {
                self.note(step)?;
                Phase::Hold
            }
            Phase::Hold => {
                self.hold_or_go_on(step)?;
                Phase::Leave
            }
            Phase::Leave => {
                self.advance_leaving(step)?;
                Phase::Lease
            }
        };
        Ok(())
    }

    pub(super) fn act(&mut self, turn: Turn, step: &mut Step<'_>) {
        let now = step.now;
        match turn {
            Turn::Certain => self.lease.renew(now, self.membership.lease_until()),
            Turn::CertainAgain => {
                self.lease.renew(now, self.membership.lease_until());
            }
            Turn::Doubted { .. } => {
                step.history.report.doubts += 1;
                if self.is(Sabotage::LeaseRenewedInDoubt) {
                    self.lease.renew(now, now + LEASE);
                }
                let (last_commit, can_ask) = self.intake.say_again();
                let last_commit = if self.is(Sabotage::DoubtEndedByAnOldAnswer) { 0 } else { last_commit };
                self.membership.ask(last_commit, can_ask);
                self.pace.hurry(now);
            }
            Turn::Doubtful => {
                if !self.intake.can_say() && !self.is(Sabotage::WaitsForAnAnswerToNothing) {
                    self.membership.cannot_ask();
                }
            }
        }
    }

    /// Takes answers of the handler's actor; some may still be on their way.
    fn take_answers(&mut self, step: &mut Step<'_>) {
        let come = if step.rng.percent(70) { self.answers.len() } else { self.answers.len() / 2 };
        for mut answer in self.answers.drain(..come).collect::<Vec<_>>() {
            if self.is(Sabotage::EpochIgnored) {
                let current = self.owned.values().find(|owned| owned.slot == answer.slot);
                answer.epoch = current.map_or(answer.epoch, |owned| owned.epoch);
            }
            if self.is(Sabotage::AnswerByOffsetAlone) {
                let first = self.owned.values().next();
                (answer.slot, answer.epoch) =
                    first.map_or((answer.slot, answer.epoch), |owned| (owned.slot, owned.epoch));
            }
            let effect = self.intake.answer(&answer);
            if effect == Effect::Settled
                && let Some(owned) = self.owned.values_mut().find(|owned| owned.slot == answer.slot)
            {
                owned.answered.push(answer.offset);
            }
            step.history.report.stale_answers += u64::from(effect == Effect::Stale);
        }
    }

    fn event(&mut self, event: GroupEvent, step: &mut Step<'_>) {
        step.history.changed(self.number, step.now);
        match event {
            GroupEvent::Assigned { partitions } => {
                for (tenure, left) in partitions {
                    self.assigned(tenure, left, step);
                }
            }
            GroupEvent::Revoked { partitions } => self.begin_leaving(partitions, step),
            GroupEvent::Lost => self.lost(step),
        }
    }

    /// Stops and resumes what is started, with what the broker says of our progress.
    fn hold_or_go_on(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = self.now_of_turn;
        let mut held = self.pace.holds(now) && self.is_unheard();
        held |= self.held && self.is(Sabotage::HeldForEver);
        step.history.held(self.number, held, now)?;
        if held != self.held {
            self.held = held;
            self.lease.hold(held);
            if !held {}
        }
        Ok(())
    }
}
