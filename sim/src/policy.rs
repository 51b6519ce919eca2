//! How are the simulated handlers run?

use std::time::Duration;

use delivery::worker::WorkerPolicy;
use delivery::worker::breaker::BreakerPolicy;
use delivery::worker::lanes::Unkeyed;
use delivery::worker::retry::RetryPolicy;

/// Small, so that a short world sees all of it.
pub(crate) const POLICY: WorkerPolicy = WorkerPolicy {
    retry: RetryPolicy {
        max_attempts: 3,
        first_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(400),
    },
    breaker: BreakerPolicy { keys: 3, max_interval: Duration::from_millis(800), exit_after: None },
    unkeyed: Unkeyed::Unordered,
    deadline: Duration::from_millis(1_500),
    max_starts: u32::MAX,
    max_calls: usize::MAX,
    max_events_per_call: 1,
};
