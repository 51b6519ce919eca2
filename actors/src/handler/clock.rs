//! What time is it for a handler's actor?

use std::time::Instant;

use jiff::Timestamp;

use delivery::now::Now;

/// The clocks, read once per call: reading them for everything that needs the time would cost more than a small handler.
pub(super) struct Clock {
    origin: Instant,
    /// The wall clock at the origin, in microseconds since the Unix epoch.
    origin_us: i64,
    pub(super) now: Now,
}

impl Clock {
    /// Reads both clocks.
    pub(super) fn start(origin: Instant) -> Self {
        let mut clock = Self { origin, origin_us: 0, now: Now { instant: origin, ns: 0, wall_us: 0 } };
        clock.tick();
        clock.origin_us = Timestamp::now().as_microsecond() - clock.now.wall_us;
        clock.now.wall_us += clock.origin_us;
        clock
    }

    /// Reads the monotonic one again.
    #[inline]
    pub(super) fn tick(&mut self) {
        let instant = Instant::now();
        let passed = instant.saturating_duration_since(self.origin);
        // Not `as_nanos`, which has 128 bits.
        let ns = passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos());
        self.now = Now { instant, ns, wall_us: self.origin_us + (ns / 1_000).cast_signed() };
    }
}
