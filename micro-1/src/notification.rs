//! `NotificationActor`: keeps notifications, a batch per transaction, each once.

use contracts::{Chaos, Notification};
use kafka_actors::{BatchHandler, Done, Event, HandlerError, HandlerResult};

use crate::store::{NewNotification, Store};

/// Keeps notifications.
pub(crate) struct NotificationActor {
    store: Store,
    chaos: Chaos,
}

impl NotificationActor {
    pub(crate) fn new(store: Store, chaos: Chaos) -> Self {
        Self { store, chaos }
    }
}

impl BatchHandler for NotificationActor {
    type Event = Notification;

    async fn handle_batch(&self, events: &[Event<Notification>]) -> Vec<HandlerResult> {
        for event in events {
            match self.chaos.obey(event).await {
                Ok(()) => {}
                Err(error) if events.len() == 1 => return vec![Err(error)],
                // Each of them alone the next time: no other one should share its fate.
                Err(error) => return vec![Err(HandlerError::transient(error)); events.len()],
            }
        }
        let notifications = events.iter().map(|event| NewNotification {
            // Without a source the id is made of coordinates, which a topic that is created again gives again; the time tells
            // the two apart.
            source: event.source().map_or_else(|| event.record().timestamp_ms().to_string(), str::to_owned),
            id: event.id().into_owned(),
            correlation_id: event.correlation_id().into_owned(),
            notification: event.value(),
        });
        match self.store.keep(notifications).await {
            Ok(kept) => kept.into_iter().map(|new| Ok(if new { Done::Handled } else { Done::Duplicate })).collect(),
            // The transaction took nothing: all of it is worth another attempt, one by one.
            Err(error) => vec![Err(HandlerError::transient(error)); events.len()],
        }
    }
}
