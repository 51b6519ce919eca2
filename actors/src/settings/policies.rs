//! How are failures answered where no setting says otherwise, and which settings say it?

use std::time::Duration;

use delivery::restart_budget::RestartPolicy;
use delivery::worker::breaker::BreakerPolicy;
use delivery::worker::retry::RetryPolicy;

use super::{Declare, Reader};

impl Declare for RetryPolicy {
    fn declare(reader: &mut Reader) -> Self {
        Self {
            max_attempts: reader.about("attempts at an event before it is dead-lettered").within(
                "RETRY_ATTEMPTS",
                5,
                1..=100,
            ),
            first_backoff: reader.about("backoff before the second attempt; it doubles").millis(
                "RETRY_BACKOFF_MS",
                100,
                1..=60_000,
            ),
            max_backoff: reader.about("longest backoff").millis("RETRY_MAX_BACKOFF_MS", 10_000, 1..=600_000),
        }
    }
}

impl Declare for BreakerPolicy {
    fn declare(reader: &mut Reader) -> Self {
        let keys = "different keys that fail with none handled in between, at which a route's breaker opens";
        let interval = "longest interval between events that are tried while a breaker is open";
        let exit = "the service ends with code 70 when a breaker has been open for so long; without it, it never does";
        let millis = |text: &str| text.parse().ok().filter(|millis| (1..=86_400_000).contains(millis));
        Self {
            keys: reader.about(keys).within("BREAKER_KEYS", 5, 1..=1_000),
            max_interval: reader.about(interval).millis("BREAKER_MAX_INTERVAL_MS", 60_000, 1..=3_600_000),
            exit_after: reader
                .about(exit)
                .optional("BREAKER_EXIT_AFTER_MS", "a number, 1 to 86400000", millis)
                .map(Duration::from_millis),
        }
    }
}

impl Declare for RestartPolicy {
    fn declare(reader: &mut Reader) -> Self {
        Self {
            max_restarts: reader.about("restarts of an actor without a success in between, within the window").within(
                "RESTART_BUDGET",
                5,
                1..=1_000,
            ),
            window: reader.about("the window of the restart budget").millis("RESTART_WINDOW_MS", 30_000, 1..=3_600_000),
            first_backoff: reader.about("before the third restart; it doubles; the first two are at once").millis(
                "RESTART_BACKOFF_MS",
                100,
                1..=60_000,
            ),
            max_backoff: reader.about("longest backoff of restarts and of probes").millis(
                "RESTART_MAX_BACKOFF_MS",
                5_000,
                1..=600_000,
            ),
            max_probes: reader.about("failed probes beyond the budget before the service ends with code 70").within(
                "RESTART_PROBES",
                10,
                1..=1_000,
            ),
        }
    }
}
