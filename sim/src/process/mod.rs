//! A process of the service: its consumer's thread, its handler's actor, and what the world does to it.

mod carry_out;
mod consumer;
mod fate;
mod handler;
mod item;
mod messages;
mod reading;
mod step;

use std::sync::Arc;
use std::time::Instant;

use delivery::lease::Lease;

use crate::history::Violation;
pub(crate) use consumer::{CREDIT_RECORDS, Consumer};
pub(crate) use handler::Handler;
pub(crate) use messages::{Change, CommitAnswer, CommitRequest, GroupEvent, Left, Outbox, Released, together};
pub(crate) use step::Step;

pub(crate) struct Process {
    pub(crate) consumer: Consumer,
    pub(crate) handler: Handler,
    /// Nothing of it runs, since when and until when.
    pub(crate) frozen: Option<(Instant, Instant)>,
    /// Its consumer's thread waits for something until then; all else goes on.
    pub(crate) stalled_until: Instant,
    /// Its handler's actor does not turn until then; all else goes on.
    pub(crate) blocked_until: Instant,
}

impl Process {
    pub(crate) fn new(number: usize, seed: u64, max_metadata_bytes: usize, now: Instant) -> Self {
        let lease = Arc::new(Lease::new(now));
        Self {
            consumer: Consumer::new(number, Arc::clone(&lease), max_metadata_bytes, now),
            handler: Handler::new(number, &lease, seed, now),
            frozen: None,
            stalled_until: now,
            blocked_until: now,
        }
    }

    /// The consumer's thread does a part of its turn.
    pub(crate) fn turn(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        if step.now < self.stalled_until { Ok(()) } else { self.consumer.turn(&mut self.handler, step) }
    }

    /// The handler's actor does some of what it can do now.
    pub(crate) fn advance(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        if step.now < self.blocked_until {
            return Ok(());
        }
        self.handler.advance(step)?;
        self.consumer.answer(self.handler.answers());
        Ok(())
    }

    /// Whether it is frozen.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// What a process at rest owes: its credits are all there.
    pub(crate) fn check_rest(&self) -> Result<(), Violation> {
        let lacks = self.consumer.free() != CREDIT_RECORDS;
        if lacks && !self.is_busy() { Err(Violation::CreditsLost) } else { Ok(()) }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.consumer.has_answers() || self.handler.is_busy()
    }
}
