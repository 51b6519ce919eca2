//! Frontiers that stand still: the handler is asked where the record is, and who holds everything up is named.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::poll::PollLoop;
use crate::handler::{Found, Look, Place, Whereabouts};
use crate::journal::{StallOver, Stalled};
use crate::status::{ActorState, StallStatus};
use delivery::member::stall::{Reading, StallWatch};

/// A handler's actor that turns answers within milliseconds. It is asked so often, and one that has not answered by
/// the next time does not turn.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of frontiers that stand still.
pub(super) struct Stalls {
    watch: StallWatch,
    /// By slot: what was asked last, and when.
    asked: BTreeMap<u32, (Place, Instant)>,
    /// By slot.
    known: BTreeMap<u32, StallStatus>,
    answers: Receiver<Found>,
    answer: Sender<Found>,
}

impl Default for Stalls {
    fn default() -> Self {
        let (answer, answers) = mpsc::channel();
        let watch = StallWatch::default();
        Self { watch, asked: BTreeMap::new(), known: BTreeMap::new(), answers, answer }
    }
}

impl Stalls {
    pub(super) fn of(&self, slot: u32) -> Option<&StallStatus> {
        self.known.get(&slot)
    }
}

impl PollLoop {
    pub(super) fn watch_stalls(&mut self, now: Instant) {
        let readings = self.readings();
        let suspects: BTreeMap<u32, Duration> = self.stalls.watch.look(now, &readings).into_iter().collect();
        self.stalls.asked.retain(|slot, _| suspects.contains_key(slot));
        for slot in self.stalls.known.keys().copied().collect::<Vec<_>>() {
            if !suspects.contains_key(&slot) {
                self.end_stall(slot);
            }
        }
        while let Ok(found) = self.stalls.answers.try_recv() {
            self.found(found, now, &suspects);
        }
        for reading in &readings {
            if let Some(still) = suspects.get(&reading.slot) {
                self.suspect(*reading, *still, now);
            }
        }
    }

    fn readings(&self) -> Vec<Reading> {
        let reachable = self.reachable.is_some_and(|(_, reachable)| reachable);
        let waits = self.parts.needed.iter().any(|actor| actor.state() == ActorState::StoppedByOperator);
        let readings = self.intake.standings().map(|at| {
            let high = self.high_watermark(at.topic, at.partition);
            let unread = high.zip(at.position).is_some_and(|(high, position)| high > position);
            let leaving = self.is_leaving(at.slot);
            // Without a broker, and while it is paused, nothing can come: that is told already.
            let excused = leaving || waits || (at.in_flight == 0 && (!reachable || at.paused.is_some()));
            Reading {
                slot: at.slot,
                epoch: at.epoch,
                position: at.position,
                behind: at.in_flight > 0 || unread,
                excused,
            }
        });
        readings.collect()
    }

    /// It stands still for too long: asks who has its record, or tells that nothing comes.
    fn suspect(&mut self, Reading { slot, epoch, position, .. }: Reading, still: Duration, now: Instant) {
        let Some(offset) = position else { return };
        if self.intake.in_flight(slot) == 0 {
            return self.begin_stall(slot, offset, still, None, "nothing comes from the broker");
        }
        let place = (slot, epoch, offset);
        if let Some((asked, at)) = self.stalls.asked.get(&slot) {
            if now < *at + ASK_INTERVAL {
                return;
            }
            if *asked == place {
                self.begin_stall(slot, offset, still, None, "its handler's thread does not turn");
            }
        }
        let topic = self.intake.partition(slot).0.into();
        // A router whose mailbox is full for so long does not turn either: no answer says so.
        let _ = self.parts.look.try_send(Look { topic, place, found: self.stalls.answer.clone() });
        self.stalls.asked.insert(slot, (place, now));
    }

    fn found(&mut self, found: Found, now: Instant, suspects: &BTreeMap<u32, Duration>) {
        let (slot, _, offset) = found.place;
        let asked = self.stalls.asked.remove(&slot).is_some_and(|(asked, _)| asked == found.place);
        let Some(still) = suspects.get(&slot).filter(|_| asked) else { return };
        let why = match found.whereabouts {
            Whereabouts::Waiting => {
                self.stalls.watch.excuse(slot, now);
                return self.end_stall(slot);
            }
            Whereabouts::InHand => "its handler has not answered",
            Whereabouts::Queued => "all that may run at once runs and does not end",
        };
        self.begin_stall(slot, offset, *still, found.key, why);
    }

    fn begin_stall(&mut self, slot: u32, offset: i64, still: Duration, key: Option<String>, why: &'static str) {
        let (topic, partition) = self.intake.partition(slot);
        let of_topic = self.parts.routes.iter().find(|(known, ..)| known == topic);
        let handler = of_topic.map_or("", |(_, handler, _)| handler);
        let told = self.stalls.known.get(&slot).is_some_and(|stall| stall.offset == offset && stall.why == why);
        if !told {
            let known = self.stalls.known.len() + usize::from(!self.stalls.known.contains_key(&slot));
            let key = key.as_deref();
            self.parts.journal.write(Stalled { topic, partition, offset, key, handler, why, still, known });
        }
        let stall = StallStatus { offset, key, handler, why, seconds: still.as_secs() };
        self.stalls.known.insert(slot, stall);
    }

    fn end_stall(&mut self, slot: u32) {
        if let Some(StallStatus { offset, .. }) = self.stalls.known.remove(&slot) {
            let (topic, partition) = self.intake.partition(slot);
            let known = self.stalls.known.len();
            self.parts.journal.write(StallOver { topic, partition, offset, known });
        }
    }
}
