//! How often and how soon a failed event is tried again.

use std::time::Duration;

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
    /// Backoff after the failed attempt number `attempt` (from 1), or `None` when the attempts are used up.
    ///
    /// `random` is a number in 0..1. The backoff lies between half and all of the exponential value ("equal
    /// jitter"): lanes that failed together do not come back together, and none comes back at once.
    #[must_use]
    pub fn backoff(&self, attempt: u32, random: f64) -> Option<Duration> {
        (attempt < self.max_attempts).then(|| self.pause(attempt, random))
    }

    /// The same without a limit of attempts, for what must not be given up (a dead letter to be written).
    #[must_use]
    pub fn pause(&self, attempt: u32, random: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self.first_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        full.div_f64(2.0) + full.mul_f64(random.clamp(0.0, 1.0) / 2.0)
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
        assert_eq!(POLICY.backoff(1, 0.0), Some(Duration::from_millis(50)));
        assert_eq!(POLICY.backoff(1, 1.0), Some(Duration::from_millis(100)));
        assert_eq!(POLICY.backoff(2, 1.0), Some(Duration::from_millis(150)));
        assert_eq!(POLICY.backoff(3, 0.5), None);
        assert_eq!(POLICY.pause(u32::MAX, 1.0), Duration::from_millis(150));
    }
}
