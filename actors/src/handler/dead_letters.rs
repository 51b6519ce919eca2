//! Writing a dead letter, however long it takes: until the broker has it, its record stays owned.

use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;

use super::actor::Surroundings;
use super::attempts::random;
use super::item::Item;
use crate::dead_letter::{Cause, dead_letter};
use crate::journal::DeadLetterDelayed;
use crate::producer::Producer;
use crate::status::HandlerCounters;
use delivery::outcome::HandlerError;
use delivery::worker::retry::RetryPolicy;

/// A record that is to be moved to its dead-letter topic, and why.
pub(super) struct Letter {
    pub(super) item: Item,
    pub(super) handler: &'static str,
    pub(super) error: HandlerError,
    pub(super) last_failure: Timestamp,
}

/// Writes it. False where its partition went to another owner meanwhile, who handles the record again.
pub(super) async fn write(
    around: Rc<Surroundings>,
    producer: Producer,
    pauses: RetryPolicy,
    letter: Letter,
) -> (Letter, bool) {
    let Letter { item, handler, error, last_failure } = &letter;
    let handler = *handler;
    let cause = Cause {
        group: &around.group,
        handler,
        error,
        attempts: item.attempts,
        first_failure: Timestamp::from_microsecond(item.first_failure_us).unwrap_or(*last_failure),
        last_failure: *last_failure,
    };
    let outgoing = dead_letter(&item.record(), &cause);
    let mut attempt = 0;
    let mut delayed = None;
    let written = loop {
        if item.has_ended() {
            break false;
        }
        let Err(problem) = producer.send(outgoing.clone()).await else { break true };
        if !item.may_start() {
            break false;
        }
        attempt += 1;
        let pause = pauses.pause(attempt, random());
        delayed.get_or_insert_with(|| Delayed::new(&around.counters));
        around.journal.write(DeadLetterDelayed { handler, topic: &outgoing.topic, error: &problem, attempt, pause });
        tokio::time::sleep(pause).await;
    };
    drop(delayed);
    (letter, written)
}

/// Counts a dead letter that cannot be written yet, as long as somebody tries: also where that is given up in its middle.
struct Delayed(Arc<HandlerCounters>);

impl Delayed {
    fn new(counters: &Arc<HandlerCounters>) -> Self {
        counters.dead_letter_delayed(1);
        Self(Arc::clone(counters))
    }
}

impl Drop for Delayed {
    fn drop(&mut self) {
        self.0.dead_letter_delayed(-1);
    }
}
