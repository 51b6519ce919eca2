//! What happens on revoke, and when the whole member leaves?
//!
//! Of leaving partitions nothing more is read or started; what was started may finish up to a deadline. Then what is
//! settled is committed, also up to a deadline, and only then are they released, and what still runs of them is cancelled.
//! The others go on meanwhile. A member that leaves finishes all that it has in the same way, asks the group to be let go,
//! and gives back what the group then revokes. Lost partitions are not here: nothing is waited for and nothing committed.

use std::time::{Duration, Instant};

use crate::member::effect::OrderId;
use crate::sabotage::{Sabotage, is};

/// A final commit that is not answered by then is given up: its records are repeated.
const FINAL_COMMIT_DEADLINE: Duration = Duration::from_secs(2);
/// Between attempts at a final commit that was refused.
const FINAL_COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// How long partitions wait for what was started once the whole member has drained.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);
/// A whole member that leaves waits so long after the deadline of its drain for what it has settled to be committed or
/// noted, and for a rebalance that waits for another member: leaving in its middle would undo it. The coordinator hears of
/// it when the rebalance is over, before anyone got what it brought, and it begins again.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);
/// Leaving the group, last commits included, is given up so long after it began, and so long after the deadline of the drain
/// whatever it waits for; the broker then notices by the session timeout.
pub const LEAVE_DEADLINE: Duration = Duration::from_secs(3);

/// What is on its way out.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// What was started of revoked partitions may finish for so long.
    patience: Duration,
    revoked: Vec<Revoked>,
    drain: Option<Drain>,
}

/// Partitions that were revoked together.
#[derive(Debug)]
struct Revoked {
    slots: Vec<u32>,
    deadline: Instant,
    /// Set when all was answered or the deadline passed: from then on only the final commit is awaited.
    committing_until: Option<Instant>,
    /// Whether all was answered by then.
    drained: bool,
    next_commit: Instant,
}

/// The whole member on its way out.
#[derive(Debug)]
struct Drain {
    deadline: Instant,
    left_at: Option<Instant>,
    then: Then,
}

/// What comes when the member has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is no more.
    End,
    /// It joins again, as an operator ordered.
    JoinAgain(OrderId),
    /// It stays out until an operator starts it.
    StayOut(OrderId),
}

/// What is done now for partitions that leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// They are committed.
    Commit(Vec<u32>),
    /// They are released; in order, where all that was started of them was settled in time, and said.
    Release(Vec<u32>, bool),
    /// So many records were not settled in time.
    TimedOut(usize),
}

/// How the member is, as it counts for what leaves.
pub(crate) struct Facts<'a> {
    /// Records in flight of a slot.
    pub(crate) in_flight: &'a dyn Fn(u32) -> usize,
    /// Whether a commit, or a note while the group takes no commits, says all that was settled of a slot.
    pub(crate) said: &'a dyn Fn(u32) -> bool,
}

impl Leaving {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, revoked: Vec::new(), drain: None }
    }

    /// Partitions are revoked, whose assignments were closed.
    pub(crate) fn revoked(&mut self, slots: Vec<u32>, now: Instant) {
        // In a drain, what was started has had its time.
        let waited = self.drain.as_ref().is_some_and(|drain| drain.left_at.is_some());
        let deadline = now + if waited { LEAVE_PATIENCE } else { self.patience };
        self.revoked.push(Revoked { slots, deadline, committing_until: None, drained: false, next_commit: now });
    }

    /// Partitions were lost: whatever was revoked together with them is not waited for.
    pub(crate) fn lost(&mut self, slots: &[u32]) {
        self.revoked.retain(|revoked| !revoked.slots.iter().any(|slot| slots.contains(slot)));
    }

    /// The whole member leaves, and what was started may finish for so long. Gives the order that this overtakes.
    pub(crate) fn drain(&mut self, patience: Duration, then: Then, now: Instant) -> Option<OrderId> {
        let mut drain = Drain { deadline: now + patience, left_at: None, then };
        let begun = self.drain.take();
        if let Some(begun) = &begun {
            (drain.deadline, drain.left_at) = (begun.deadline.min(drain.deadline), begun.left_at);
        }
        // What was revoked before has no more time than the whole.
        for revoked in &mut self.revoked {
            revoked.deadline = revoked.deadline.min(drain.deadline);
        }
        self.drain = Some(drain);
        begun.and_then(|begun| begun.then.order())
    }

    /// Brings what leaves further: drained, then committed, then released.
    pub(crate) fn advance(&mut self, facts: &Facts<'_>, now: Instant) -> Vec<Next> {
        let mut next = Vec::new();
        let gone_by = self.drain.as_ref().map(Drain::gone_by);
        self.revoked.retain_mut(|revoked| !revoked.advance(facts, gone_by, now, &mut next));
        next
    }

    /// Whether the member asks the group to be let go now: what it has is settled and said, and no rebalance waits; or
    /// that took too long. True once.
    pub(crate) fn leaves(
        &mut self,
        mut slots: impl Iterator<Item = u32> + Clone,
        facts: &Facts<'_>,
        waits_for_the_group: bool,
        now: Instant,
    ) -> bool {
        let Some(drain) = self.drain.as_mut().filter(|drain| drain.left_at.is_none()) else { return false };
        let drained = now >= drain.deadline || slots.clone().all(|slot| (facts.in_flight)(slot) == 0);
        let said = slots.all(|slot| (facts.said)(slot));
        // Once it has asked to leave, the group takes nothing of it any more.
        let committed = (said && !waits_for_the_group) || now >= drain.deadline + GROUP_PATIENCE;
        let leaves = self.revoked.is_empty() && drained && committed;
        if leaves {
            drain.left_at = Some(now);
        }
        leaves
    }

    /// What comes now that the member has left, or has waited for that too long. `is_free`: nothing is assigned.
    pub(crate) fn has_left(&mut self, is_free: bool, now: Instant) -> Option<Then> {
        let drain = self.drain.as_ref().filter(|drain| drain.left_at.is_some())?;
        let left = (is_free && self.revoked.is_empty()) || now >= drain.gone_by();
        if left { self.drain.take().map(|drain| drain.then) } else { None }
    }

    /// The client has gone: nothing leaves any more. Gives what was to come then.
    pub(crate) fn forget(&mut self) -> Option<Then> {
        self.revoked.clear();
        self.drain.take().map(|drain| drain.then)
    }

    /// Whether the whole member leaves.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether no partition is on its way out.
    pub(crate) fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }
}

impl Drain {
    /// The member is out by then, in order or not.
    fn gone_by(&self) -> Instant {
        self.left_at.map_or(self.deadline, |left| left.min(self.deadline)) + LEAVE_DEADLINE
    }
}

impl Revoked {
    /// True when they are released, at the latest at `gone_by`.
    fn advance(&mut self, facts: &Facts<'_>, gone_by: Option<Instant>, now: Instant, next: &mut Vec<Next>) -> bool {
        let unsettled: usize = self.slots.iter().map(|slot| (facts.in_flight)(*slot)).sum();
        let drained = unsettled == 0 || is(Sabotage::ReleasedWithoutDrain);
        if self.committing_until.is_none() && (drained || now >= self.deadline) {
            if unsettled > 0 {
                next.push(Next::TimedOut(unsettled));
            }
            self.committing_until = Some(now + FINAL_COMMIT_DEADLINE);
            self.drained = drained;
            self.next_commit = now;
        }
        let Some(until) = self.committing_until else { return false };
        let until = gone_by.map_or(until, |gone_by| gone_by.min(until));
        let said = self.slots.iter().all(|slot| (facts.said)(*slot)) || is(Sabotage::ReleasedWithoutCommit);
        if said || now >= until {
            next.push(Next::Release(self.slots.clone(), self.drained && said));
            return true;
        }
        if now >= self.next_commit {
            self.next_commit = now + FINAL_COMMIT_PAUSE;
            next.push(Next::Commit(self.slots.clone()));
        }
        false
    }
}

impl Then {
    /// The operator's order that it is about.
    pub(crate) fn order(self) -> Option<OrderId> {
        match self {
            Self::End => None,
            Self::JoinAgain(order) | Self::StayOut(order) => Some(order),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn leaving() -> (Leaving, Instant) {
        (Leaving::new(PATIENCE), Instant::now())
    }

    fn advance(leaving: &mut Leaving, in_flight: usize, said: bool, at: Instant) -> Vec<Next> {
        leaving.advance(&Facts { in_flight: &|_| in_flight, said: &|_| said }, at)
    }

    #[test]
    fn revoked_partitions_are_drained_then_committed_then_released() {
        let (mut leaving, begin) = leaving();
        leaving.revoked(vec![1, 2], begin);
        assert_eq!(advance(&mut leaving, 1, false, begin), []);
        assert_eq!(advance(&mut leaving, 0, false, begin), [Next::Commit(vec![1, 2])]);
        assert_eq!(advance(&mut leaving, 0, false, begin + FINAL_COMMIT_PAUSE / 2), [], "one was sent");
        assert_eq!(advance(&mut leaving, 0, false, begin + FINAL_COMMIT_PAUSE), [Next::Commit(vec![1, 2])]);
        assert_eq!(advance(&mut leaving, 0, true, begin + FINAL_COMMIT_PAUSE), [Next::Release(vec![1, 2], true)]);
        assert!(leaving.is_empty());
    }

    #[test]
    fn at_the_deadlines_they_go_as_they_are() {
        let (mut leaving, begin) = leaving();
        leaving.revoked(vec![1], begin);
        assert_eq!(advance(&mut leaving, 3, false, begin + PATIENCE / 2), []);
        let late = begin + PATIENCE;
        assert_eq!(advance(&mut leaving, 3, false, late), [Next::TimedOut(3), Next::Commit(vec![1])]);
        assert_eq!(advance(&mut leaving, 3, false, late + FINAL_COMMIT_DEADLINE), [Next::Release(vec![1], false)]);
    }

    #[test]
    fn what_was_revoked_before_has_no_more_time_than_a_drain_of_the_whole_member() {
        let (mut leaving, begin) = leaving();
        leaving.revoked(vec![1], begin);
        leaving.drain(PATIENCE / 5, Then::End, begin);
        assert_eq!(advance(&mut leaving, 1, true, begin + PATIENCE / 6), []);
        let [Next::TimedOut(1), ..] = advance(&mut leaving, 1, true, begin + PATIENCE / 5)[..] else {
            panic!("it goes as it is")
        };
    }

    #[test]
    fn what_is_lost_is_not_waited_for() {
        let (mut leaving, begin) = leaving();
        leaving.revoked(vec![1, 2], begin);
        leaving.revoked(vec![3], begin);
        leaving.lost(&[2]);
        assert_eq!(advance(&mut leaving, 0, true, begin), [Next::Release(vec![3], true)]);
    }

    #[test]
    fn a_member_leaves_when_all_is_settled_and_said_and_no_rebalance_waits() {
        let (mut leaving, begin) = leaving();
        let facts = |in_flight: bool, said: bool| (in_flight, said);
        let leaves = |leaving: &mut Leaving, (in_flight, said): (bool, bool), waits, at| {
            let facts = Facts { in_flight: &|_| usize::from(in_flight), said: &|_| said };
            leaving.leaves([1].into_iter(), &facts, waits, at)
        };
        assert!(!leaves(&mut leaving, facts(false, true), false, begin), "it was not told to");
        assert_eq!(leaving.drain(PATIENCE, Then::JoinAgain(7), begin), None);
        assert!(!leaves(&mut leaving, facts(true, true), false, begin));
        assert!(!leaves(&mut leaving, facts(false, false), false, begin));
        assert!(!leaves(&mut leaving, facts(false, true), true, begin + PATIENCE));
        assert_eq!(leaving.drain(PATIENCE, Then::End, begin), Some(7), "it overtakes the order");
        assert!(leaves(&mut leaving, facts(false, true), false, begin));
        assert!(!leaves(&mut leaving, facts(false, true), false, begin), "once");
        assert_eq!(leaving.has_left(false, begin), None);
        assert_eq!(leaving.has_left(true, begin), Some(Then::End));
    }

    #[test]
    fn a_member_that_has_asked_to_leave_and_is_not_let_go_leaves_all_the_same() {
        let (mut leaving, begin) = leaving();
        leaving.drain(PATIENCE, Then::End, begin);
        assert!(leaving.leaves([1].into_iter(), &Facts { in_flight: &|_| 0, said: &|_| true }, false, begin));
        let late = begin + LEAVE_DEADLINE;
        assert_eq!(leaving.has_left(false, late.checked_sub(Duration::from_millis(1)).unwrap()), None);
        assert_eq!(leaving.has_left(false, late), Some(Then::End));
    }

    #[test]
    fn a_drain_in_which_each_step_takes_all_of_its_time_is_over_in_time() {
        let (mut leaving, begin) = leaving();
        leaving.drain(PATIENCE, Then::End, begin);
        let facts = Facts { in_flight: &|_| 1, said: &|_| false };
        let asked = begin + PATIENCE + GROUP_PATIENCE;
        assert!(!leaving.leaves([1].into_iter(), &facts, true, asked.checked_sub(Duration::from_millis(1)).unwrap()));
        assert!(leaving.leaves([1].into_iter(), &facts, true, asked));
        leaving.revoked(vec![1], asked);
        let late = asked + LEAVE_PATIENCE;
        assert_eq!(leaving.advance(&facts, late), [Next::TimedOut(1), Next::Commit(vec![1])]);
        let gone = begin + PATIENCE + LEAVE_DEADLINE;
        assert_eq!(leaving.has_left(false, gone.checked_sub(Duration::from_millis(1)).unwrap()), None);
        assert_eq!(leaving.advance(&facts, gone), [Next::Release(vec![1], false)]);
        assert_eq!(leaving.has_left(false, gone), Some(Then::End));
    }
}
