//! When does a member that cannot go on join its group again, and how does it spend the time until then?
//!
//! An error of the client, a panic of the thread and a client that cannot be made are failures of one restart budget. In all
//! cases what the member held comes to an end without a last commit, and another client joins after a pause. An operator's
//! order to join again, or to stay out, comes here when the member has left in order.

use std::time::{Duration, Instant};

use crate::member::effect::{End, OrderId};
use crate::member::leaving::Then;
use crate::restart_budget::{RestartBudget, RestartPolicy, Verdict};
use crate::sabotage::{Sabotage, is};

/// Between attempts while the group still knows a dead member with this one's instance id.
const UNRELEASED_PAUSE: Duration = Duration::from_millis(500);

/// Why a member cannot go on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its client met an error, or could not be made.
    Client(String),
    /// The group still knows a member with the same instance id. It frees that by itself in the end, so waiting for it is
    /// no failure of its own.
    Unreleased(String),
    /// A younger member has taken over its instance id: joining again would push that one out in its turn.
    Fenced(String),
    /// Its thread panicked: what it was at may be half done.
    Panic(String),
}

impl Failure {
    /// What it says.
    #[must_use]
    pub fn cause(&self) -> &str {
        match self {
            Self::Client(cause) | Self::Unreleased(cause) | Self::Fenced(cause) | Self::Panic(cause) => cause,
        }
    }
}

/// Where the member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has a client.
    WithClient,
    /// It has none, and makes one then; or when an operator starts it.
    WithoutClient { back: Option<Instant> },
    /// It is making one.
    Opening,
    /// It is no more.
    Over,
}

/// The failures of a member, and where it is.
#[derive(Debug)]
pub(crate) struct Rejoin {
    budget: RestartBudget,
    window: Duration,
    /// When it failed last; where that is not forgiven.
    failed: Option<Instant>,
    /// Failures in a row.
    attempts: u32,
    phase: Phase,
    /// An order to join again that is told when it has, or cannot.
    order: Option<OrderId>,
}

/// What comes of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// What the budget says; `None` where the failure does not count.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) attempt: u32,
    /// The order that has failed by it, and what is told.
    pub(crate) report: Option<(OrderId, String)>,
    /// Where the member is no more.
    pub(crate) end: Option<End>,
}

impl Rejoin {
    /// With a client, and nothing failed.
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        let (budget, window) = (RestartBudget::new(policy), policy.window);
        Self { budget, window, failed: None, attempts: 0, phase: Phase::WithClient, order: None }
    }

    /// The member failed. `then`: what was to come after a drain that it had begun. `random` is a number in 0..1.
    pub(crate) fn failed(&mut self, failure: &Failure, then: Option<Then>, now: Instant, random: f64) -> Failed {
        if is(Sabotage::RejoinBudgetForgets) {
            self.budget.succeeded();
        }
        let (verdict, pause) = match failure {
            Failure::Unreleased(_) => (None, Some(UNRELEASED_PAUSE)),
            Failure::Fenced(_) => (None, None),
            Failure::Client(_) | Failure::Panic(_) => {
                self.failed = Some(now);
                self.attempts += 1;
                let verdict = self.budget.failed(now, random);
                (Some(verdict), verdict.pause())
            }
        };
        let cause = failure.cause();
        let report = match then {
            Some(Then::JoinAgain(order)) => {
                Some((order, format!("it did not leave the group in order, and joins it again: {cause}")))
            }
            Some(Then::StayOut(order)) => {
                Some((order, format!("it did not leave the group in order, and stays out of it: {cause}")))
            }
            Some(Then::End) | None => {
                let opening = self.order.take();
                opening.map(|order| (order, format!("another client could not be made: {cause}")))
            }
        };
        let end = match (then, failure) {
            (_, Failure::Fenced(cause)) => Some(End::Fenced(cause.clone())),
            // A drain is over by this, without a last commit.
            (Some(Then::End), _) => Some(End::Stopped { in_order: false }),
            (_, _) if pause.is_none() => Some(End::GivenUp),
            _ => None,
        };
        // Whom an operator has stopped stays out also where the thread panics meanwhile.
        let stays_out = matches!(then, Some(Then::StayOut(_))) || self.stays_out();
        let back = pause.filter(|_| !stays_out).map(|pause| now + pause);
        self.phase = if end.is_some() { Phase::Over } else { Phase::WithoutClient { back } };
        Failed { verdict, attempt: self.attempts, report, end }
    }

    /// The member has left the group on an operator's order.
    pub(crate) fn left(&mut self, then: Then, now: Instant) {
        self.phase = match then {
            Then::End => Phase::Over,
            Then::JoinAgain(order) => {
                self.order = Some(order);
                Phase::WithoutClient { back: Some(now) }
            }
            Then::StayOut(_) => Phase::WithoutClient { back: is(Sabotage::StopForgotten).then_some(now) },
        };
    }

    /// An operator has it stay out while it is out of the group. Gives the order to join again that this overtakes.
    pub(crate) fn stay_out(&mut self) -> Option<OrderId> {
        self.phase = Phase::WithoutClient { back: None };
        self.order.take()
    }

    /// An operator has it join again while it is out of the group: at once, and what failed before is forgiven.
    pub(crate) fn join_now(&mut self, order: OrderId, now: Instant) -> Option<OrderId> {
        self.forgive();
        self.phase = Phase::WithoutClient { back: Some(now) };
        self.order.replace(order)
    }

    /// The service ends while it is out of the group. Gives the order to join again that this overtakes.
    pub(crate) fn end(&mut self) -> Option<OrderId> {
        self.phase = Phase::Over;
        self.order.take()
    }

    /// Whether another client is made now. True once.
    pub(crate) fn opens(&mut self, now: Instant) -> bool {
        let opens = matches!(self.phase, Phase::WithoutClient { back: Some(back) } if now >= back);
        if opens {
            self.phase = Phase::Opening;
        }
        opens
    }

    /// There is another client. Gives the order that is done by it.
    pub(crate) fn opened(&mut self) -> Option<OrderId> {
        self.phase = Phase::WithClient;
        self.order.take()
    }

    /// Failures before this are forgiven, by an operator's order or by time. Gives whether it was over its budget.
    pub(crate) fn forgive(&mut self) -> bool {
        self.failed = None;
        self.attempts = 0;
        self.budget.succeeded()
    }

    /// Forgives failures when there was none for as long as the budget's window: a restart is a rebalance, and costs too
    /// much to become a habit. Gives whether it was over its budget.
    pub(crate) fn forgive_when_due(&mut self, now: Instant) -> bool {
        let quiet = self.failed.is_some_and(|at| now.saturating_duration_since(at) >= self.window);
        quiet && self.forgive()
    }

    /// Whether it has a client.
    pub(crate) fn has_client(&self) -> bool {
        self.phase == Phase::WithClient
    }

    /// Whether it stays out until an operator starts it.
    pub(crate) fn stays_out(&self) -> bool {
        self.phase == Phase::WithoutClient { back: None }
    }

    /// Whether it is no more.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether it failed beyond its budget and has not been forgiven.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.budget.is_over_budget()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart_budget::tests::POLICY;

    fn client() -> Failure {
        Failure::Client("broken".to_owned())
    }

    #[test]
    fn errors_panics_and_clients_that_cannot_be_made_are_failures_of_one_budget() {
        let begin = Instant::now();
        let mut rejoin = Rejoin::new(POLICY);
        let failures = [client(), Failure::Panic("no".to_owned()), client(), client(), client()];
        let ends: Vec<bool> =
            failures.iter().map(|failure| rejoin.failed(failure, None, begin, 1.0).end.is_some()).collect();
        assert!(ends.iter().all(|end| !end) && rejoin.is_over_budget());
        let last = rejoin.failed(&client(), None, begin, 1.0);
        assert_eq!((last.end, last.attempt, last.verdict), (Some(End::GivenUp), 6, Some(Verdict::GiveUp)));
        assert!(rejoin.is_over());
    }

    #[test]
    fn failures_are_forgiven_by_time_alone() {
        let begin = Instant::now();
        let mut rejoin = Rejoin::new(POLICY);
        for _ in 0..4 {
            rejoin.failed(&client(), None, begin, 1.0);
        }
        assert!(rejoin.is_over_budget() && rejoin.opens(begin + POLICY.window / 2));
        rejoin.opened();
        assert!(!rejoin.forgive_when_due(begin + POLICY.window / 2) && rejoin.is_over_budget());
        assert!(rejoin.forgive_when_due(begin + POLICY.window) && !rejoin.is_over_budget());
    }

    #[test]
    fn an_instance_id_that_is_not_free_yet_is_waited_for_and_one_that_was_taken_over_ends_the_member() {
        let begin = Instant::now();
        let mut rejoin = Rejoin::new(POLICY);
        for _ in 0..100 {
            let failed = rejoin.failed(&Failure::Unreleased("not yet".to_owned()), None, begin, 0.5);
            assert_eq!((failed.verdict, failed.end), (None, None));
        }
        assert!(!rejoin.opens(begin) && rejoin.opens(begin + UNRELEASED_PAUSE));
        let fenced = Failure::Fenced("taken over".to_owned());
        assert_eq!(rejoin.failed(&fenced, None, begin, 0.5).end, Some(End::Fenced("taken over".to_owned())));
    }

    #[test]
    fn a_member_that_should_stay_out_does_so_however_it_got_there_until_it_is_started() {
        let begin = Instant::now();
        let mut rejoin = Rejoin::new(POLICY);
        let failed = rejoin.failed(&client(), Some(Then::StayOut(3)), begin, 0.5);
        assert_eq!(failed.report.map(|(order, _)| order), Some(3));
        assert!(rejoin.stays_out() && !rejoin.opens(begin + Duration::from_hours(1)));
        assert_eq!(rejoin.join_now(4, begin), None);
        assert!(rejoin.opens(begin) && !rejoin.opens(begin), "once");
        let failed = rejoin.failed(&client(), None, begin, 0.5);
        assert_eq!(failed.report.map(|(order, _)| order), Some(4));
        rejoin.left(Then::StayOut(5), begin);
        assert!(rejoin.stays_out());
        rejoin.failed(&Failure::Panic("meanwhile".to_owned()), None, begin, 0.5);
        assert!(rejoin.stays_out());
    }
}
