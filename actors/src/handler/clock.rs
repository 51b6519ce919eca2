//! The clock of a handler's actor.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The time, read once per call: reading it for everything that wants it would cost more than a small handler. It is kept
/// as a number, for arithmetic with `Instant`s costs as much again.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    origin: Instant,
    /// The wall clock at the origin.
    origin_us: i64,
    pub(super) now: Instant,
    /// Nanoseconds after the origin.
    pub(super) now_ns: u64,
}

impl Clock {
    /// Reads both clocks.
    pub(super) fn start(origin: Instant) -> Self {
        let mut clock = Self { origin, origin_us: 0, now: origin, now_ns: 0 };
        clock.tick();
        clock.origin_us = Timestamp::now().as_microsecond() - clock.at_us();
        clock
    }

    #[inline]
    pub(super) fn tick(&mut self) {
        self.now = Instant::now();
        let passed = self.now.saturating_duration_since(self.origin);
        // Not `as_nanos`, which has 128 bits.
        self.now_ns = passed.as_secs() * 1_000_000_000 + u64::from(passed.subsec_nanos());
    }

    /// So many nanoseconds after the origin.
    pub(super) fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    /// The wall clock at the last tick, in microseconds since the epoch.
    #[inline]
    pub(super) fn at_us(&self) -> i64 {
        self.origin_us + (self.now_ns / 1_000).cast_signed()
    }

    /// The wall clock at the last tick.
    pub(super) fn timestamp(&self) -> Timestamp {
        Timestamp::from_microsecond(self.at_us()).unwrap_or_default()
    }
}
