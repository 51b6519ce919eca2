//! What the runs against a real Kafka share: processes that are started, frozen and killed, and one clock for all of them.

pub mod process;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the machine's monotonic clock, which all processes share.
#[must_use]
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or_default()
}
