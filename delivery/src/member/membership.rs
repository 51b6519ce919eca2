//! Whether this member may act on what it holds. A process that stood still (stopped, a paused container, a machine that
//! slept) may have lost its partitions without having heard of it.

use std::time::{Duration, Instant};

/// So long the handlers act on what they hold without the consumer's thread having turned. A member is given up by its
/// group a session timeout (6 s by default) after its last heartbeat, which may be a heartbeat's interval (2 s) old when
/// it freezes; this is less than what is left.
pub const LEASE: Duration = Duration::from_secs(3);
/// After a gap of so much the handlers may have seen the lease end before it was renewed: they are to be woken.
const WAKE_AFTER: Duration = Duration::from_secs(1);
/// Where nothing can be committed to ask the broker, the client notices by itself within a heartbeat. This is longer.
const NOTICED_AFTER: Duration = Duration::from_secs(5);

/// Watches the gaps on the monotonic clock between the turns of the consumer's thread.
#[derive(Debug)]
pub struct Membership {
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
pub enum Turn {
    /// The lease is to be renewed.
    Certain,
    /// The lease is to be renewed, and the handlers are to be woken: they may have seen it end.
    CertainAgain,
    /// It stood still for so long that what it holds may be another's. The broker is to be asked, by a commit.
    Doubted {
        /// How long.
        gap: Duration,
    },
    /// Still in doubt.
    Doubtful,
}

impl Membership {
    /// Certain.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { last_turn: now, doubt: None }
    }

    /// The thread turns. `holds`: whether any partition is assigned.
    pub fn turn(&mut self, now: Instant, holds: bool) -> Turn {
        let gap = now.saturating_duration_since(self.last_turn);
        self.last_turn = now;
        if gap >= LEASE {
            self.doubt = Some(Doubt { since: now, last_commit: u64::MAX, can_ask: true, held: holds });
            return Turn::Doubted { gap };
        }
        match self.doubt {
            None if gap >= WAKE_AFTER => Turn::CertainAgain,
            None => Turn::Certain,
            // What it held was lost or given up: there is nothing left to be wrong about.
            Some(doubt) if doubt.held && !holds => self.certain_again(),
            Some(doubt) if !doubt.can_ask && now >= doubt.since + NOTICED_AFTER => self.certain_again(),
            Some(_) => Turn::Doubtful,
        }
    }

    /// The broker is being asked. `last_commit` is the number of the last commit before the gap; `can_ask` says whether
    /// there is any offset to commit.
    pub fn ask(&mut self, last_commit: u64, can_ask: bool) {
        if let Some(doubt) = &mut self.doubt {
            (doubt.last_commit, doubt.can_ask) = (last_commit, can_ask);
        }
    }

    /// There is nothing any more to ask the broker with: what could be committed has gone.
    pub fn cannot_ask(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.can_ask = false;
        }
    }

    /// The broker accepted a commit of this member. One that was sent after the gap says that it still is one.
    pub fn commit_accepted(&mut self, number: u64) -> Option<Turn> {
        let doubt = self.doubt?;
        (number > doubt.last_commit).then(|| self.certain_again())
    }

    /// Until when the lease is to be renewed: from the last turn on, also where a commit is accepted later. Between the
    /// turn and that answer the process may have stood still once more.
    #[must_use]
    pub fn lease_until(&self) -> Instant {
        self.last_turn + LEASE
    }

    /// Whether it is in doubt: nothing is to be read, started or finished.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.doubt.is_some()
    }

    fn certain_again(&mut self) -> Turn {
        self.doubt = None;
        Turn::CertainAgain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_member_that_stood_still_is_in_doubt_until_a_later_commit_is_accepted() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert_eq!(member.turn(begin + Duration::from_millis(20), true), Turn::Certain);
        let thawed = begin + seconds(9);
        assert_eq!(member.turn(thawed, true), Turn::Doubted { gap: Duration::from_millis(8_980) });
        member.ask(7, true);
        assert_eq!(member.commit_accepted(7), None, "its answer lay in the socket since before the gap");
        assert_eq!(member.turn(thawed + seconds(1), true), Turn::Doubtful);
        assert_eq!(member.turn(thawed + seconds(2), true), Turn::Doubtful);
        assert_eq!(member.commit_accepted(8), Some(Turn::CertainAgain));
        assert!(!member.is_doubtful());
    }

    #[test]
    fn a_member_that_lost_everything_is_certain_again() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        assert_eq!(member.turn(begin + seconds(9), false), Turn::CertainAgain);
    }

    #[test]
    fn a_member_with_nothing_to_commit_waits_until_its_client_would_have_noticed() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        member.ask(0, false);
        let turns = (10..=14).map(|second| member.turn(begin + seconds(second), true)).collect::<Vec<_>>();
        let doubtful = Turn::Doubtful;
        assert_eq!(turns, [doubtful, doubtful, doubtful, doubtful, Turn::CertainAgain]);
    }

    #[test]
    fn an_answer_that_is_found_after_another_gap_renews_the_lease_from_before_that_gap() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        member.ask(7, true);
        // It stands still again in the middle of the turn, and finds the answer in the socket at second 20.
        assert_eq!(member.commit_accepted(8), Some(Turn::CertainAgain));
        assert_eq!(member.lease_until(), begin + seconds(9) + LEASE);
        assert!(matches!(member.turn(begin + seconds(20), true), Turn::Doubted { .. }));
    }

    #[test]
    fn where_what_could_be_asked_with_has_gone_the_doubt_ends_like_one_that_had_nothing() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert!(matches!(member.turn(begin + seconds(9), true), Turn::Doubted { .. }));
        member.ask(7, true);
        assert_eq!([11, 13, 15].map(|second| member.turn(begin + seconds(second), true)), [Turn::Doubtful; 3]);
        member.cannot_ask();
        assert_eq!(member.turn(begin + seconds(15), true), Turn::CertainAgain);
    }

    #[test]
    fn what_is_assigned_after_a_gap_may_be_of_before_it_and_is_doubted_too() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert!(matches!(member.turn(begin + seconds(9), false), Turn::Doubted { .. }));
        member.ask(0, false);
        assert_eq!(member.turn(begin + seconds(10), true), Turn::Doubtful, "it comes out of the client's queue");
        assert_eq!([11, 13].map(|second| member.turn(begin + seconds(second), true)), [Turn::Doubtful; 2]);
        assert_eq!(member.turn(begin + seconds(14), true), Turn::CertainAgain);
    }

    #[test]
    fn after_a_short_gap_the_handlers_are_woken_and_nothing_is_asked() {
        let begin = Instant::now();
        let mut member = Membership::new(begin);
        assert_eq!(member.turn(begin + seconds(2), true), Turn::CertainAgain);
        assert_eq!(member.turn(begin + seconds(2), true), Turn::Certain);
    }
}
