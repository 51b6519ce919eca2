//! The restart budget: how soon an actor is started again after a failure, and when its supervisor gives up.
//!
//! Restart intensity within a window is Erlang/OTP's (`supervisor`, `MaxR` in `MaxT`); what happens beyond it is a circuit
//! breaker's half-open state (Nygard, "Release It!"): a probe is let through, and its fate decides.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// Restarts without a pause. Where one event in a hundred has its handler panic, in one case of a hundred the next one does too:
/// that says nothing of the handler. In one of ten thousand a third one does.
const AT_ONCE: u32 = 2;

/// How often and how soon an actor is started again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RestartPolicy {
    /// Failures without a success in between that are answered by a restart, within the window.
    pub max_restarts: u32,
    /// The sliding window.
    pub window: Duration,
    /// Before the third restart; it doubles. The first two come at once.
    pub first_backoff: Duration,
    /// Longest backoff, also between probes.
    pub max_backoff: Duration,
    /// Failed probes in a row after which there is no hope.
    pub max_probes: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_secs(30),
            first_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            max_probes: 10,
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after that pause, which may be none.
    Restart {
        /// The pause.
        after: Duration,
    },
    /// The budget is used up: what feeds it should stop, and after that pause one thing is tried.
    Probe {
        /// The pause.
        after: Duration,
    },
    /// No probe succeeded.
    GiveUp,
}

impl Verdict {
    /// The pause before the next start; `None` where there is none.
    #[must_use]
    pub fn pause(self) -> Option<Duration> {
        match self {
            Self::Restart { after } | Self::Probe { after } => Some(after),
            Self::GiveUp => None,
        }
    }
}

/// Counts an actor's failures. A success (an event handled) forgives all of them.
#[derive(Debug)]
pub struct RestartBudget {
    policy: RestartPolicy,
    failures: VecDeque<Instant>,
    failed_probes: Option<u32>,
}

impl RestartBudget {
    /// Nothing has failed.
    #[must_use]
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, failures: VecDeque::new(), failed_probes: None }
    }

    /// It failed. `random` is a number in 0..1, for the backoff's jitter.
    pub fn failed(&mut self, now: Instant, random: f64) -> Verdict {
        let RestartPolicy { max_restarts, max_probes, .. } = self.policy;
        if let Some(failed) = &mut self.failed_probes {
            *failed += 1;
            let failed = *failed;
            return if failed >= max_probes {
                Verdict::GiveUp
            } else {
                Verdict::Probe { after: self.backoff(max_restarts.saturating_add(failed), random) }
            };
        }
        self.forget(now);
        let before = u32::try_from(self.failures.len()).unwrap_or(u32::MAX);
        if before >= max_restarts {
            self.failed_probes = Some(0);
            return Verdict::Probe { after: self.backoff(max_restarts, random) };
        }
        self.failures.push_back(now);
        let after = if before < AT_ONCE { Duration::ZERO } else { self.backoff(before - AT_ONCE + 1, random) };
        Verdict::Restart { after }
    }

    /// It did what it is for. Returns whether it was over its budget.
    pub fn succeeded(&mut self) -> bool {
        self.failures.clear();
        self.failed_probes.take().is_some()
    }

    /// Whether the budget is used up and no probe has succeeded yet.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.failed_probes.is_some()
    }

    fn forget(&mut self, now: Instant) {
        let window = self.policy.window;
        while self.failures.pop_front_if(|at| now.saturating_duration_since(*at) >= window).is_some() {}
    }

    fn backoff(&self, failures: u32, random: f64) -> Duration {
        let RestartPolicy { first_backoff: first, max_backoff: most, .. } = self.policy;
        Backoff { first, most }.pause(failures, random)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const POLICY: RestartPolicy = RestartPolicy {
        max_restarts: 3,
        window: Duration::from_secs(30),
        first_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_millis(800),
        max_probes: 2,
    };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_restarts_are_at_once_the_next_back_off_and_beyond_the_budget_it_is_probed_and_given_up() {
        let now = Instant::now();
        let mut budget = RestartBudget::new(POLICY);
        let verdicts: Vec<Verdict> = (0..6).map(|_| budget.failed(now, 1.0)).collect();
        let restart = |after| Verdict::Restart { after: millis(after) };
        let probe = |after| Verdict::Probe { after: millis(after) };
        assert_eq!(verdicts, [restart(0), restart(0), restart(100), probe(400), probe(800), Verdict::GiveUp]);
    }

    #[test]
    fn a_success_forgives_everything_also_beyond_the_budget() {
        let now = Instant::now();
        let mut budget = RestartBudget::new(POLICY);
        for _ in 0..3 {
            budget.failed(now, 0.5);
            assert!(!budget.succeeded() && budget.failures.is_empty());
        }
        for _ in 0..4 {
            budget.failed(now, 0.5);
        }
        assert!(budget.is_over_budget() && budget.succeeded() && !budget.is_over_budget());
        assert_eq!(budget.failed(now, 0.5), Verdict::Restart { after: Duration::ZERO });
    }

    #[test]
    fn failures_outside_the_window_do_not_count() {
        let begin = Instant::now();
        let mut budget = RestartBudget::new(POLICY);
        for failure in 0..20 {
            let verdict = budget.failed(begin + failure * POLICY.window / 3, 0.5);
            assert!(matches!(verdict, Verdict::Restart { .. }), "{failure}: {verdict:?}");
        }
    }
}
