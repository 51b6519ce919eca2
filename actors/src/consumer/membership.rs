//! The member's lease: renewed while its thread turns; after a standstill only when the broker has confirmed it. And the
//! hold on what is started while the broker does not confirm our progress.

use std::time::Instant;

use super::poll::PollLoop;
use crate::journal::{MembershipConfirmed, MembershipDoubted};
use delivery::member::membership::Turn;

impl PollLoop {
    /// To be called at every turn, before anything else.
    pub(super) fn renew_lease(&mut self, now: Instant) {
        let turn = self.membership.turn(now, !self.assignments.is_empty());
        self.act(turn, now);
        if self.sweep_wanted {
            self.sweep();
        }
    }

    pub(super) fn commit_accepted(&mut self, number: u64) {
        if let Some(turn) = self.membership.commit_accepted(number) {
            self.parts.journal.write(MembershipConfirmed);
            self.act(turn, Instant::now());
        }
    }

    /// Stops and resumes what is started, with what the broker says of our progress.
    pub(super) fn hold_or_go_on(&mut self, now: Instant) {
        let held = self.pace.holds(now) && self.is_unheard(now);
        if held == self.held {
            return;
        }
        self.held = held;
        self.parts.lease.hold(held);
        if !held {
            self.sweep();
        }
    }

    fn act(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Certain => self.parts.lease.renew(now, self.membership.lease_until()),
            Turn::CertainAgain => {
                self.parts.lease.renew(now, self.membership.lease_until());
                self.sweep();
            }
            Turn::Doubted { gap } => {
                self.parts.journal.write(MembershipDoubted { gap });
                let (last_commit, can_ask) = self.intake.say_again();
                self.membership.ask(last_commit, can_ask);
                self.pace.hurry(now);
            }
            Turn::Doubtful => {
                if !self.intake.can_say() {
                    self.membership.cannot_ask();
                }
            }
        }
    }
}
