//! The question where a record is, asked by the consumer's thread when a frontier stands still.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::actor::HandlerActor;
use super::invoke::Invoke;
use super::item::{Item, Place};
use delivery::member::stall::{MAX_SLOW_CALLS, SlowCall, SlowCalls};
use delivery::worker::lanes::LaneState;

/// Where is this record? Its handler's actor answers where it has it.
#[derive(Clone, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Look {
    /// Topic of its partition.
    pub topic: Arc<str>,
    /// Slot and epoch of its assignment, and its offset.
    pub place: Place,
    /// Takes the answer.
    pub found: Sender<Found>,
}

/// Where it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record that was asked for.
    pub place: Place,
    /// Its handler.
    pub handler: &'static str,
    /// Its key as text.
    pub key: Option<String>,
    /// Where.
    pub whereabouts: Whereabouts,
}

/// Where a record is in its handler's actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// The handler works on it.
    InHand,
    /// It waits for its next attempt, for its dead letter to be written, or for a handler.
    Waiting,
    /// It waits until its turn comes: as many lanes run as may run.
    Queued,
}

impl<I: Invoke> HandlerActor<I> {
    /// The calls that wait, the oldest first.
    pub(super) fn slow_calls(&self) -> SlowCalls {
        let mut calls: Vec<SlowCall> = Vec::new();
        for in_hand in self.runs.kept() {
            for (_, item) in &in_hand.items {
                let (slot, epoch, offset) = item.place();
                let key = item.record().key().map(|key| String::from_utf8_lossy(key).into_owned());
                calls.push(SlowCall { slot, epoch, offset, key, since: self.clock.instant(in_hand.began_ns) });
            }
        }
        calls.sort_by_key(|call| call.since);
        calls.truncate(MAX_SLOW_CALLS);
        SlowCalls { calls, is_full: self.lanes.is_full() }
    }

    /// Where a record is, if it is here.
    pub(super) fn find(&self, place: Place) -> Option<Found> {
        let found = |item: &Item, whereabouts| Found {
            place,
            handler: self.name,
            key: item.record().key().map(|key| String::from_utf8_lossy(key).into_owned()),
            whereabouts,
        };
        let in_hand = self.runs.kept().flat_map(|in_hand| &in_hand.items).find(|(_, item)| item.place() == place);
        let in_hand = in_hand.map(|(_, item)| found(item, Whereabouts::InHand));
        in_hand
            .or_else(|| {
                let (item, state) = self.lanes.find(|item| item.place() == place)?;
                // Without a handler nothing can begin: that is told by its actor's state.
                let waits = state == LaneState::Waiting || self.life.handler().is_none();
                Some(found(item, if waits { Whereabouts::Waiting } else { Whereabouts::Queued }))
            })
            .or_else(|| {
                let dying = self.dying.contains(&place);
                dying.then_some(Found { place, handler: self.name, key: None, whereabouts: Whereabouts::Waiting })
            })
    }
}
