//! May this member act on what it holds? A process that was frozen (stopped, a paused container, a machine that slept)
//! may have lost its partitions without having heard of it.
//!
//! The lease is renewed at each turn. After a gap on the monotonic clock it is not: the broker is asked by a commit, and the
//! lease is renewed when it has accepted that, or when it has said what was lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lease::Lease;
use crate::sabotage::{Sabotage, is};

/// So long the workers act on what they hold without the consumer's thread having turned. A member is given up by its
/// group a session timeout (6 s by default) after its last heartbeat, which may be a heartbeat's interval (2 s) old when
/// it freezes; this is less than what is left.
pub const LEASE: Duration = Duration::from_secs(3);
/// After a gap of so much the workers may have seen the lease end just before it was renewed: they are woken.
const WAKE_AFTER: Duration = Duration::from_secs(1);
/// Where nothing can be committed to ask the broker, the client notices by itself within a heartbeat. This is longer.
const NOTICED_AFTER: Duration = Duration::from_secs(5);
/// The broker is asked so long for what was committed. Without an answer, what was settled above the committed offsets
/// is handled again; meanwhile nothing else goes on here, so it is short.
pub(crate) const COMMITTED_WAIT: Duration = Duration::from_secs(2);
/// The broker is asked so long for notes. Together with the wait for what was committed it is less than the lease.
pub(crate) const NOTES_WAIT: Duration = Duration::from_millis(800);

/// Watches the gaps on the monotonic clock between the turns of the consumer's thread.
#[derive(Debug)]
pub(crate) struct Membership {
    lease: Arc<Lease>,
    last_turn: Instant,
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    /// Only a commit with a higher number was sent after the gap.
    last_commit: u64,
    /// Whether there is anything to commit.
    can_ask: bool,
    /// Whether anything was assigned at the gap. Where nothing was, what comes may be of before the gap all the same: the
    /// client's thread may have heard of it, and this one not yet.
    held: bool,
}

/// What a turn found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The lease is renewed.
    Certain,
    /// It was frozen for so long that what it holds may be another's. The broker has to be asked, by a commit.
    Doubted {
        /// How long.
        gap: Duration,
    },
    /// Still in doubt.
    Doubtful,
}

impl Membership {
    /// Certain, of a lease that is renewed at the first turn.
    pub(crate) fn new(now: Instant, lease: Arc<Lease>) -> Self {
        Self { lease, last_turn: now, doubt: None }
    }

    /// The thread turns. `holds`: whether any partition is assigned.
    pub(crate) fn turn(&mut self, now: Instant, holds: bool) -> Turn {
        let gap = now.saturating_duration_since(self.last_turn);
        self.last_turn = now;
        if gap >= LEASE {
            if is(Sabotage::LeaseRenewedInDoubt) {
                self.renew(now);
            }
            self.doubt = Some(Doubt { since: now, last_commit: u64::MAX, can_ask: true, held: holds });
            return Turn::Doubted { gap };
        }
        let again = match self.doubt {
            None => gap >= WAKE_AFTER,
            // What it held was lost or given up: there is nothing left to be wrong about.
            Some(doubt) if doubt.held && !holds => true,
            Some(doubt) if !doubt.can_ask && now >= doubt.since + NOTICED_AFTER => true,
            Some(_) => return Turn::Doubtful,
        };
        if again {
            self.certain_again(now);
        } else {
            self.renew(now);
        }
        Turn::Certain
    }

    /// The broker is being asked. `last_commit` is the number of the last commit before the gap; `can_ask` says whether
    /// there is any offset to commit.
    pub(crate) fn ask(&mut self, last_commit: u64, can_ask: bool) {
        let last_commit = if is(Sabotage::DoubtEndedByAnOldAnswer) { 0 } else { last_commit };
        if let Some(doubt) = &mut self.doubt {
            (doubt.last_commit, doubt.can_ask) = (last_commit, can_ask);
        }
    }

    /// There is nothing any more to ask the broker with: what could be committed has gone.
    pub(crate) fn cannot_ask(&mut self) {
        if let Some(doubt) = self.doubt.as_mut().filter(|_| !is(Sabotage::WaitsForAnAnswerToNothing)) {
            doubt.can_ask = false;
        }
    }

    /// The broker accepted a commit of this member. One that was sent after the gap says that it still is one: true where
    /// that ended a doubt.
    pub(crate) fn commit_accepted(&mut self, number: u64, now: Instant) -> bool {
        let confirmed = self.doubt.is_some_and(|doubt| number > doubt.last_commit);
        if confirmed {
            self.certain_again(now);
        }
        confirmed
    }

    /// Whether it is in doubt: nothing is read, started or finished.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubt.is_some()
    }

    /// Assignments were closed or ended: the workers look.
    pub(crate) fn assignments_changed(&self) {
        if !is(Sabotage::EndNotTold) {
            self.lease.changed();
        }
    }

    /// The client has gone: nothing is started or finished before another one has partitions.
    pub(crate) fn end(&mut self) {
        self.lease.end();
        self.assignments_changed();
    }

    /// There is another client. Nothing of it is of before; and the workers, who may have seen the lease end, are woken.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.last_turn = now;
        self.certain_again(now);
    }

    /// Nothing is held. What waits in the workers for something that is over finds that out.
    pub(crate) fn holds_nothing(&mut self, now: Instant) {
        self.last_turn = now;
        self.doubt = None;
        self.renew(now);
    }

    /// From the last turn on, also where a commit is accepted later. Between the turn and that answer the process may have
    /// was frozen once more.
    fn renew(&self, now: Instant) {
        self.lease.renew(now, self.last_turn + LEASE);
    }

    /// The workers are woken: they may have seen the lease end.
    fn certain_again(&mut self, now: Instant) {
        self.doubt = None;
        self.renew(now);
        self.lease.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(now: Instant) -> (Membership, Arc<Lease>) {
        let lease = Arc::new(Lease::new(now));
        (Membership::new(now, Arc::clone(&lease)), lease)
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_member_that_was_frozen_is_in_doubt_until_a_later_commit_is_accepted() {
        let begin = Instant::now();
        let (mut member, lease) = member(begin);
        assert_eq!(member.turn(begin + Duration::from_millis(20), true), Turn::Certain);
        let thawed = begin + seconds(9);
        assert_eq!(member.turn(thawed, true), Turn::Doubted { gap: Duration::from_millis(8_980) });
        member.ask(7, true);
        assert!(!member.commit_accepted(7, thawed), "its answer lay in the socket since before the gap");
        assert_eq!(member.turn(thawed + seconds(1), true), Turn::Doubtful);
        assert_eq!(member.turn(thawed + seconds(2), true), Turn::Doubtful);
        assert!(!lease.holds(thawed + seconds(2)), "nothing is started or finished in doubt");
        assert!(member.commit_accepted(8, thawed + seconds(2)) && !member.is_doubtful());
        assert!(lease.holds(thawed + seconds(2)));
    }

    #[test]
    fn a_member_that_lost_everything_is_certain_again() {
        let begin = Instant::now();
        let (mut member, _) = member(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        assert_eq!(member.turn(begin + seconds(9), false), Turn::Certain);
    }

    #[test]
    fn a_member_with_nothing_to_commit_waits_until_its_client_would_have_noticed() {
        let begin = Instant::now();
        let (mut member, _) = member(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        member.ask(0, false);
        let turns = (10..=14).map(|second| member.turn(begin + seconds(second), true)).collect::<Vec<_>>();
        let doubtful = Turn::Doubtful;
        assert_eq!(turns, [doubtful, doubtful, doubtful, doubtful, Turn::Certain]);
    }

    #[test]
    fn an_answer_that_is_found_after_another_gap_renews_the_lease_from_before_that_gap() {
        let begin = Instant::now();
        let (mut member, lease) = member(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        member.ask(7, true);
        // It freezes again in the middle of the turn, and finds the answer in the socket at second 20.
        assert!(member.commit_accepted(8, begin + seconds(20)) && !lease.holds(begin + seconds(20)));
        assert!(lease.holds(begin + seconds(9) + LEASE / 2));
        assert!(matches!(member.turn(begin + seconds(20), true), Turn::Doubted { .. }));
    }

    #[test]
    fn where_what_could_be_asked_with_has_gone_the_doubt_ends_like_one_that_had_nothing() {
        let begin = Instant::now();
        let (mut member, _) = member(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        member.ask(7, true);
        assert_eq!([11, 13, 15].map(|second| member.turn(begin + seconds(second), true)), [Turn::Doubtful; 3]);
        member.cannot_ask();
        assert_eq!(member.turn(begin + seconds(15), true), Turn::Certain);
    }

    #[test]
    fn what_is_assigned_after_a_gap_may_be_of_before_it_and_is_doubted_too() {
        let begin = Instant::now();
        let (mut member, _) = member(begin);
        assert!(matches!(member.turn(begin + seconds(9), false), Turn::Doubted { .. }));
        member.ask(0, false);
        assert_eq!(member.turn(begin + seconds(10), true), Turn::Doubtful, "it comes out of the client's queue");
        assert_eq!([11, 13].map(|second| member.turn(begin + seconds(second), true)), [Turn::Doubtful; 2]);
        assert_eq!(member.turn(begin + seconds(14), true), Turn::Certain);
    }

    #[test]
    fn after_a_short_gap_the_handlers_are_woken_and_nothing_is_asked() {
        let begin = Instant::now();
        let (mut member, lease) = member(begin);
        let before = lease.changes();
        assert_eq!(member.turn(begin + seconds(2), true), Turn::Certain);
        assert!(lease.holds(begin + seconds(2)) && lease.changes() > before);
        let before = lease.changes();
        assert_eq!(member.turn(begin + seconds(2), true), Turn::Certain);
        assert_eq!(lease.changes(), before);
    }
}
