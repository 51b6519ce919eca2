//! What is checked of handlers that panic: how soon and how often they are made anew, and how a trial goes.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use delivery::worker::restart_budget::RestartPolicy;

use super::{History, Tenure, Violation};

/// The handler of a member, as its calls show it.
#[derive(Debug, Default)]
pub(super) struct Supervised {
    /// Since the last success.
    falls: VecDeque<Instant>,
    /// When those fell for whom another was made outside of a trial, since the last success.
    replaced: VecDeque<Instant>,
    fallen: Option<Instant>,
    on_trial: bool,
    /// Panics since the last success.
    panics: usize,
    /// Events that failed for the first time since then.
    failed: HashSet<(Tenure, i64)>,
    /// Those of them that panicked after that.
    again: HashSet<(Tenure, i64)>,
    /// Whether the last panic says something of the handler that was called, and of any.
    tells: (bool, bool),
}

impl History {
    /// An event failed for the first time.
    pub(crate) fn failed(&mut self, member: usize, event: (Tenure, i64)) {
        self.supervised.entry(member).or_default().failed.insert(event);
    }

    /// A call panicked. It says nothing of a handler while most calls may still go well, nor where the event had failed
    /// before, unless more different ones did so since the last success than there may be restarts.
    pub(crate) fn panicked(
        &mut self,
        member: usize,
        event: (Tenure, i64),
        failed_before: bool,
        in_hand: usize,
        policy: &RestartPolicy,
    ) {
        let supervised = self.supervised.entry(member).or_default();
        supervised.panics += 1;
        let since = supervised.failed.contains(&event);
        if failed_before && since {
            supervised.again.insert(event);
        }
        let known = in_hand < supervised.panics;
        let many = since && supervised.again.len() > usize::try_from(policy.max_restarts).unwrap_or(usize::MAX);
        supervised.tells = (known && (!failed_before || many), known && failed_before && many);
    }

    /// A handler fell by a panic that is held against its event alone.
    pub(crate) fn forgiven(&mut self, member: usize) -> Result<(), Violation> {
        self.report.forgiven += 1;
        let supervised = self.supervised.entry(member).or_default();
        supervised.fallen = None;
        if supervised.tells.0 { Err(Violation::ForgivenTooLong(member)) } else { Ok(()) }
    }

    /// A handler fell: by a panic of a call to the handler of a generation, or because it could not be made.
    pub(crate) fn fell(
        &mut self,
        member: usize,
        (called, present): (Option<u32>, u32),
        on_trial: bool,
        now: Instant,
    ) -> Result<(), Violation> {
        self.report.falls += 1;
        let supervised = self.supervised.entry(member).or_default();
        supervised.falls.push_back(now);
        supervised.fallen = Some(now);
        let was_on_trial = std::mem::replace(&mut supervised.on_trial, on_trial);
        let (tells_of_it, tells_of_all) = supervised.tells;
        self.report.escalations += u64::from(on_trial && !was_on_trial);
        match called {
            None => Ok(()),
            Some(called) if called != present && (was_on_trial || !tells_of_all) => {
                Err(Violation::FelledByAnOldOne(member))
            }
            Some(_) if was_on_trial || tells_of_it => Ok(()),
            Some(_) => Err(Violation::BlamedTooSoon(member)),
        }
    }

    /// Nobody makes a handler any more.
    pub(crate) fn gave_up(&mut self, member: usize, policy: &RestartPolicy) -> Result<(), Violation> {
        self.report.given_up += 1;
        let falls = self.supervised.entry(member).or_default().falls.len();
        let probes = usize::try_from(policy.max_probes).unwrap_or(usize::MAX);
        if falls > probes { Ok(()) } else { Err(Violation::GivenUpTooEarly(member)) }
    }

    /// A handler was made.
    pub(crate) fn made(&mut self, member: usize, policy: &RestartPolicy, now: Instant) -> Result<(), Violation> {
        let supervised = self.supervised.entry(member).or_default();
        let Some(fallen) = supervised.fallen.take() else { return Ok(()) };
        let counts = |fall: &Instant| fallen.saturating_duration_since(*fall) < policy.window;
        let falls = supervised.falls.iter().filter(|fall| counts(fall)).count();
        // The first two come at once.
        if let Some(doublings) = falls.checked_sub(3) {
            let doubled = policy.first_backoff * (1 << doublings.min(10));
            // At least half of the backoff: the rest is jitter.
            if now.saturating_duration_since(fallen) < doubled.min(policy.max_backoff) / 2 {
                return Err(Violation::RestartedTooSoon(member));
            }
        }
        if !supervised.on_trial {
            supervised.replaced.push_back(fallen);
            while supervised.replaced.pop_front_if(|fall| !counts(fall)).is_some() {}
            if supervised.replaced.len() > usize::try_from(policy.max_restarts).unwrap_or(usize::MAX) {
                return Err(Violation::RestartStorm(member));
            }
        }
        Ok(())
    }

    /// A call to the handler of a generation went well; afterwards the present one is, or is not, on trial.
    pub(crate) fn worked(
        &mut self,
        member: usize,
        (called, present): (u32, u32),
        on_trial: bool,
    ) -> Result<(), Violation> {
        let supervised = self.supervised.entry(member).or_default();
        let recovered = supervised.on_trial && !on_trial;
        if called != present && (on_trial || recovered) {
            return if recovered { Err(Violation::ForgivenByAnOldOne(member)) } else { Ok(()) };
        }
        *supervised = Supervised::default();
        self.report.recoveries += u64::from(recovered);
        if on_trial { Err(Violation::NotForgiven(member)) } else { Ok(()) }
    }
}
