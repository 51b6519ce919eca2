//! The clock of a handler's actor.

use std::time::Instant;

use jiff::Timestamp;

/// The time, read once per call: reading it for everything that wants it would cost more than a small handler.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    started: Timestamp,
    start: Instant,
    pub(super) now: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { started: Timestamp::now(), start: now, now }
    }

    pub(super) fn tick(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// The wall clock at the last tick.
    pub(super) fn timestamp(&self) -> Timestamp {
        self.started.checked_add(self.now - self.start).unwrap_or(self.started)
    }
}
