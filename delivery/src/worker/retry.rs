//! How often and how soon a failed event is tried again.

use std::time::Duration;

use crate::backoff::Backoff;

/// Attempts and the backoff between them: exponential, capped, with jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: u32,
    /// Backoff before the second attempt.
    pub first_backoff: Duration,
    /// The backoff doubles up to this.
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 5, first_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// Whether another attempt follows so many that failed.
    #[must_use]
    pub fn allows(&self, failed: u32) -> bool {
        failed < self.max_attempts
    }

    /// The pause after the failed attempt number `attempt` (from 1), between half and all of its backoff; `random` is a
    /// number in 0..1. It is not limited by the number of attempts: what must not be given up (a dead letter to be
    /// written) is tried again for ever.
    #[must_use]
    pub fn pause(&self, attempt: u32, random: f64) -> Duration {
        Backoff { first: self.first_backoff, most: self.max_backoff }.pause(attempt, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        max_attempts: 3,
        first_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_millis(150),
    };

    #[test]
    fn it_doubles_up_to_the_cap_within_the_jitter_and_ends() {
        assert_eq!(POLICY.pause(1, 0.0), Duration::from_millis(50));
        assert_eq!(POLICY.pause(1, 1.0), Duration::from_millis(100));
        assert_eq!(POLICY.pause(2, 1.0), Duration::from_millis(150));
        assert!(POLICY.allows(2) && !POLICY.allows(3));
        assert_eq!(POLICY.pause(u32::MAX, 1.0), Duration::from_millis(150));
    }
}
