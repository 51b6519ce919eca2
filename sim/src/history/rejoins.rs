//! What is checked of consumers that fail: how soon another client is made.

use std::collections::VecDeque;
use std::time::Instant;

use delivery::restart_budget::RestartPolicy;

use super::{History, Violation};

/// Restarts that come at once.
const AT_ONCE: usize = 2;

/// The failures of a consumer that are not forgiven.
#[derive(Debug, Default)]
pub(super) struct Rejoins {
    failures: VecDeque<Instant>,
}

impl History {
    /// A client, or the thread itself, failed.
    pub(crate) fn client_failed(&mut self, member: usize, now: Instant) {
        self.report.consumer_failures += 1;
        self.rejoins.entry(member).or_default().failures.push_back(now);
    }

    /// The failures of a consumer are forgiven.
    pub(crate) fn client_forgiven(&mut self, member: usize) {
        self.rejoins.remove(&member);
    }

    /// Another client is being made.
    pub(crate) fn client_made(&mut self, member: usize, policy: &RestartPolicy, now: Instant) -> Result<(), Violation> {
        let Some(Rejoins { failures }) = self.rejoins.get_mut(&member) else { return Ok(()) };
        while failures.pop_front_if(|at| now.saturating_duration_since(*at) >= policy.window).is_some() {}
        let Some(last) = failures.back().filter(|_| failures.len() > AT_ONCE) else { return Ok(()) };
        // At least half of the backoff: the rest is jitter.
        let soon = now.saturating_duration_since(*last) < policy.first_backoff / 2;
        if soon { Err(Violation::RejoinedTooSoon(member)) } else { Ok(()) }
    }
}
