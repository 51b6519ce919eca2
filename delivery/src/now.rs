//! What time is it? A driver reads its clocks once and hands the values in.

use std::time::{Duration, Instant};

/// One moment, on the clocks that decisions are made by.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// The same in nanoseconds after the origin of the member's lease: arithmetic with `Instant`s costs as much as a small
    /// handler.
    pub ns: u64,
    /// Wall clock, in microseconds since the Unix epoch.
    pub wall_us: i64,
}

impl Now {
    /// How long ago that was, in nanoseconds after the same origin.
    #[must_use]
    pub fn since(&self, ns: u64) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(ns))
    }
}

/// A duration in nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
