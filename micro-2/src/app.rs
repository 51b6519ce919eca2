//! micro-2 on one screen: what it handles, what it publishes, what it serves.

use contracts::topic;
use kafka_actors::kafka::Broker;
use kafka_actors::launch::App;
use kafka_actors::service::{Route, ServiceBuilder};
use kafka_actors::settings::{Declared, Defaults, Settings};

use crate::http;
use crate::other_events::OtherEventsActor;
use crate::settings::Own;
use crate::user_event::UserEventActor;

/// micro-2 as a program starts it.
pub const APP: App = App {
    defaults: Defaults { service: "micro-2", port: 3334, management_port: 4334 },
    own: Declared::of::<Own>(),
    build: |settings, broker| Box::pin(async { Ok(build(settings, broker)) }),
};

fn build(settings: Settings, broker: Broker) -> ServiceBuilder {
    let chaos = settings.own::<Own>().chaos;
    ServiceBuilder::new(settings, broker)
        .route(Route::each(topic::USER_EVENTS, move |producer| UserEventActor::new(producer.clone(), chaos)))
        .route(Route::each(topic::MICRO_1_EVENTS, |_| OtherEventsActor))
        .publishes(&[topic::NOTIFICATION_EVENTS, topic::MICRO_2_EVENTS])
        .http(http::routes)
}
