//! micro-1 on one screen: what it handles, what it publishes, what it serves.

use std::path::Path;

use contracts::topic;
use kafka_actors::kafka::Broker;
use kafka_actors::launch::App;
use kafka_actors::service::{Route, ServiceBuilder, StartError};
use kafka_actors::settings::{Declared, Defaults, Settings};

use crate::http;
use crate::notification::NotificationActor;
use crate::other_events::OtherEventsActor;
use crate::settings::Own;
use crate::store::Store;

/// micro-1 as a program starts it.
pub const APP: App = App {
    defaults: Defaults { service: "micro-1", port: 3333, management_port: 4333 },
    own: Declared::of::<Own>(),
    build: |settings, broker| Box::pin(build(settings, broker)),
};

async fn build(settings: Settings, broker: Broker) -> Result<ServiceBuilder, StartError> {
    let own = settings.own::<Own>();
    let folder = own.data_dir.as_deref().unwrap_or(Path::new("data"));
    let store = Store::open(&folder.join("micro-1.db")).await.map_err(StartError::service)?;
    let (kept, chaos) = (store.clone(), own.chaos);
    Ok(ServiceBuilder::new(settings, broker)
        .route(Route::batched(topic::NOTIFICATION_EVENTS, move |_| NotificationActor::new(kept.clone(), chaos)))
        .route(Route::each(topic::MICRO_2_EVENTS, |_| OtherEventsActor))
        .publishes(&[topic::USER_EVENTS, topic::MICRO_1_EVENTS])
        .http(move |config| http::routes(config, &store)))
}
