//! `UserEventActor`: answers what happened to a user with a notification.

use contracts::{Chaos, Notification, UserAction, UserEvent, topic};
use kafka_actors::event::NewEvent;
use kafka_actors::producer::Producer;
use kafka_actors::{Done, Event, Handler, HandlerError, HandlerResult};

/// Answers user events with notifications.
pub(crate) struct UserEventActor {
    producer: Producer,
    chaos: Chaos,
}

impl UserEventActor {
    pub(crate) fn new(producer: Producer, chaos: Chaos) -> Self {
        Self { producer, chaos }
    }
}

impl Handler for UserEventActor {
    type Event = UserEvent;

    async fn handle(&self, event: &Event<UserEvent>) -> HandlerResult {
        self.chaos.obey(event).await?;
        let notification = notification_for(event.value());
        // Its id follows from the event's: when the event comes again, the receiver knows the notification.
        let answer = NewEvent::caused_by(event, self.producer.service(), topic::NOTIFICATION_EVENTS, &notification)
            .map_err(HandlerError::permanent)?;
        match self.producer.publish(answer).await {
            Ok(_) => Ok(Done::Handled),
            Err(error) if error.is_transient() => Err(HandlerError::transient(error)),
            Err(error) => Err(HandlerError::permanent(error)),
        }
    }
}

fn notification_for(event: &UserEvent) -> Notification {
    let name = event.data.full_name.as_deref();
    let (kind, content) = match (event.action, name) {
        (UserAction::UserCreated, name) => ("welcome", format!("Welcome, {}!", name.unwrap_or("new user"))),
        (UserAction::UserUpdated, Some(name)) => ("info", format!("Your profile was updated, {name}.")),
        (UserAction::UserUpdated, None) => ("info", "Your profile was updated.".to_owned()),
    };
    Notification { user_id: event.user_id, kind: kind.to_owned(), content }
}
