//! How attempts end: settled, tried again after a pause, or dead-lettered.

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use smallvec::smallvec;

use super::actor::{Called, HandlerActor};
use super::dead_letters::{Letter, write};
use super::invoke::{Invoke, Run};
use super::item::{InHand, Item};
use crate::journal::Message;
pub(super) use crate::supervisor::random;
use delivery::outcome::{ErrorKind, HandlerError, HandlerResult, Outcome};
use delivery::worker::lanes::LaneKey;

/// Things a lane waits for.
pub(super) enum Waited {
    /// Its backoff is over.
    Backoff(LaneKey),
    /// The fate of its dead letter is known.
    DeadLettered { lane: LaneKey, letter: Letter, duration: Duration, written: bool },
}

impl<I: Invoke> HandlerActor<I> {
    /// Deals with what a call to the handler answered.
    ///
    /// An answer that comes when there is no lease any more (the process was frozen in the very call) waits until this
    /// member is known to have its partitions still, or is forgotten.
    pub(super) fn finish(&mut self, in_hand: InHand, called: Called) {
        self.clock.tick();
        if !self.may_act() {
            return self.runs.give_back(in_hand, called);
        }
        let InHand { generation, began_ns, items } = in_hand;
        let duration = Duration::from_nanos(self.clock.now_ns.saturating_sub(began_ns));
        self.around.counters.vitals().passes("finish");
        let results = called.unwrap_or_else(|panicked| {
            self.panicked(generation, &panicked, &items);
            let error = HandlerError::new(ErrorKind::Panic, panicked);
            smallvec![Err(error); items.len()]
        });
        if results.iter().any(Result::is_ok) {
            self.worked(generation);
        }
        // Nearly always it is one, and then most of what is below need not be done.
        let (items, results) = match (items.into_inner(), results.into_inner()) {
            (Ok([(lane, item)]), Ok([result])) => {
                return match self.settle_if_done(&item, result, duration) {
                    None => self.lanes.release(lane),
                    Some(error) => self.fail(lane, item, error, duration, Vec::new()),
                };
            }
            (items, results) => {
                (items.map_or_else(|many| many, Run::from_buf), results.map_or_else(|many| many, Run::from_buf))
            }
        };
        let mut rest = items.into_iter().zip(results).peekable();
        while let Some(((lane, item), result)) = rest.next() {
            let Some(error) = self.settle_if_done(&item, result, duration) else {
                if rest.peek().is_none_or(|((next, _), _)| *next != lane) {
                    self.lanes.release(lane);
                }
                continue;
            };
            // The first failure of a lane. Whatever of the lane is done behind it is done; the rest waits with it.
            let mut followers = Vec::new();
            while let Some(((_, item), result)) = rest.next_if(|((next, _), _)| *next == lane) {
                match result {
                    Ok(done) => self.settle(&item, done.into(), duration, None),
                    Err(_) => followers.push(item),
                }
            }
            self.fail(lane, item, error, duration, followers);
        }
    }

    pub(super) fn settle_if_done(
        &mut self,
        item: &Item,
        result: HandlerResult,
        duration: Duration,
    ) -> Option<HandlerError> {
        match result {
            Ok(done) => {
                self.settle(item, done.into(), duration, None);
                None
            }
            Err(error) => Some(error),
        }
    }

    /// An attempt failed: another one after a pause, or a dead letter. The lane waits in both cases, followers behind.
    pub(super) fn fail(
        &mut self,
        lane: LaneKey,
        mut item: Item,
        error: HandlerError,
        duration: Duration,
        followers: Vec<Item>,
    ) {
        let era = self.life.failed();
        // Also where its actor fell over it, or since.
        item.failed_in.get_or_insert(era);
        item.attempts += 1;
        let now = self.clock.timestamp();
        if item.first_failure_us == 0 {
            item.first_failure_us = now.as_microsecond();
        }
        let another = if error.kind.is_transient() { self.config.retry.backoff(item.attempts, random()) } else { None };
        let Some(pause) = another else {
            self.lanes.put_back(lane, followers.into_iter());
            self.dying.insert(item.place());
            let letter = Letter { item, handler: self.name, error, last_failure: now };
            let write = write(Rc::clone(&self.around), self.producer.clone(), self.config.retry, letter);
            let waited = write.map(move |(letter, written)| Waited::DeadLettered { lane, letter, duration, written });
            return self.waits.push(waited.boxed_local());
        };
        self.tell(&item, Outcome::Retry, duration, Some(&error.message));
        self.lanes.put_back(lane, std::iter::once(item).chain(followers).collect::<Vec<_>>().into_iter());
        self.waits.push(tokio::time::sleep(pause).map(move |()| Waited::Backoff(lane)).boxed_local());
    }

    pub(super) fn waited(&mut self, waited: Waited) {
        match waited {
            Waited::Backoff(lane) => self.lanes.resume(lane),
            Waited::DeadLettered { lane, letter: Letter { item, error, .. }, duration, written } => {
                self.dying.remove(&item.place());
                if written {
                    self.settle(&item, Outcome::DeadLettered, duration, Some(&error.message));
                } else {
                    self.answers.push(item.answer(false));
                }
                self.lanes.resume(lane);
            }
        }
    }

    /// The record needs nothing more.
    pub(super) fn settle(&mut self, item: &Item, outcome: Outcome, duration: Duration, error: Option<&str>) {
        self.tell(item, outcome, duration, error);
        self.answers.push(item.answer(true));
    }

    /// One journal line and one slot of the ring per attempt that ended.
    pub(super) fn tell(&mut self, item: &Item, outcome: Outcome, duration: Duration, error: Option<&str>) {
        self.counted[outcome as usize] += 1;
        let message = Message {
            record: item.record(),
            handler: self.name,
            outcome,
            // A failed attempt is counted already; one that went well is the next.
            attempt: if error.is_some() { item.attempts } else { item.attempts + 1 },
            duration,
            error,
        };
        if Message::is_read() {
            self.around.journal.write(message);
        }
        self.around.inspector.keep(self.clock.at_us(), &message);
    }
}
