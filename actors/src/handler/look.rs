//! The question where a record is, asked by the consumer's thread when a frontier stands still.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::actor::HandlerActor;
use super::entry::Entry;
use super::invoke::Invoke;

/// Names a record: slot and epoch of its assignment, and its offset.
pub type Place = (u32, u32, i64);

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
    /// Where a record is, if it may be here.
    pub(super) fn find(&self, place: Place) -> Found {
        let at = |entry: &&Entry| {
            let (record, (slot, epoch, offset)) = (entry.record(), place);
            (record.assignment().slot, record.assignment().epoch, record.offset()) == (slot, epoch, offset)
        };
        let in_call = self.worker.calls_oldest_first().flat_map(|(records, _)| records).find(at);
        let whereabouts = match in_call {
            Some(_) => Whereabouts::InHand,
            None if self.worker.is_full() => Whereabouts::Queued,
            None => Whereabouts::Waiting,
        };
        let key = in_call.and_then(|entry| entry.record().key().map(|key| String::from_utf8_lossy(key).into_owned()));
        Found { place, handler: self.name, key, whereabouts }
    }
}
