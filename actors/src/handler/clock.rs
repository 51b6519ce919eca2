//! The clock of a handler's actor.

use std::time::Instant;

use jiff::Timestamp;

/// The time, read once per call: reading it for everything that wants it would cost more than a small handler.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    started_us: i64,
    start: Instant,
    pub(super) now: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { started_us: Timestamp::now().as_microsecond(), start: now, now }
    }

    pub(super) fn tick(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// The wall clock at the last tick.
    pub(super) fn timestamp(&self) -> Timestamp {
        let passed = i64::try_from((self.now - self.start).as_micros()).unwrap_or(0);
        Timestamp::from_microsecond(self.started_us + passed).unwrap_or_default()
    }
}
