//! The question where a record is, asked by the consumer's thread when a frontier stands still.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::item::Place;

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
    /// It waits for its next attempt, or for its dead letter to be written.
    Waiting,
    /// It waits until its turn comes: as many lanes run as may run.
    Queued,
}
