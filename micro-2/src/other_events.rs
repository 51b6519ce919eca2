//! `OtherEventsActor`: the events of micro-1 that need no effect here. Each is validated, journaled and settled.

use contracts::OtherEvent;
use kafka_actors::{Done, Event, Handler, HandlerResult};

/// Settles other events.
pub(crate) struct OtherEventsActor;

impl Handler for OtherEventsActor {
    type Event = OtherEvent;

    async fn handle(&self, _: &Event<OtherEvent>) -> HandlerResult {
        // The library has validated it, and writes its journal line.
        Ok(Done::Handled)
    }
}
