//! A contract, a service around a route, and events for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_actors::event::{Correlation, NewEvent};
use kafka_actors::journal::Journal;
use kafka_actors::kafka::{Broker, EmbeddedBroker, KafkaConfig, Sink};
use kafka_actors::service::Service;
use kafka_actors::settings::{Declared, Defaults, Settings, Variables, environment};
use kafka_actors::{Contract, Route, ServiceBuilder};
use serde::{Deserialize, Serialize};

/// Where the steps go.
pub(crate) const TOPIC: &str = "steps";

/// Ends a wait that would never end. Far above what anything takes, also on a busy machine: no test depends on it.
pub(crate) const GIVE_UP: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema, garde::Validate)]
pub(crate) struct Step {
    #[garde(skip)]
    pub(crate) key: String,
    #[garde(skip)]
    pub(crate) number: u32,
    #[garde(skip)]
    pub(crate) poison: bool,
}

impl Contract for Step {
    const TYPE: &'static str = "step.v1";
    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

pub(crate) fn broker() -> Broker {
    Broker::Embedded(Arc::new(EmbeddedBroker::start().unwrap()))
}

/// The real Kafka of a test that wants one.
pub(crate) fn kafka() -> Broker {
    let brokers = environment().remove("KAFKA_BROKERS");
    Broker::Cluster(brokers.expect("KAFKA_BROKERS is not set: dev/kafka -- cargo test -- --include-ignored"))
}

/// A name that no test before has used.
pub(crate) fn unused(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::now_v7().simple())
}

/// A running service with one route.
pub(crate) fn service(broker: &Broker, variables: &[(&str, &str)], route: Route) -> Service {
    service_of(broker, variables, [route])
}

/// A running service.
pub(crate) fn service_of(
    broker: &Broker,
    variables: &[(&str, &str)],
    routes: impl IntoIterator<Item = Route>,
) -> Service {
    service_with(broker, variables, routes, |builder| builder)
}

/// A running service with more than routes.
pub(crate) fn service_with(
    broker: &Broker,
    variables: &[(&str, &str)],
    routes: impl IntoIterator<Item = Route>,
    more: impl FnOnce(ServiceBuilder) -> ServiceBuilder,
) -> Service {
    // A handler that hangs until its test lets it go is not to be cancelled before, however slow the machine is; nor is
    // an event that a handler publishes to be given up.
    let patience = [("HANDLER_DEADLINE_MS", "600000"), ("PUBLISH_DEADLINE_MS", "60000")];
    let basic = [("RETRY_ATTEMPTS", "3"), ("RETRY_BACKOFF_MS", "1"), ("RUST_LOG", "off")];
    let variables = patience.iter().chain(&basic).chain(variables);
    let variables: Variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let defaults = Defaults { service: "probe", port: 0, management_port: 0 };
    let settings = Settings::from_variables(defaults, Declared::NONE, false, variables).unwrap();
    kafka_actors::telemetry::init(settings.log_format, &settings.log_filter);
    let builder = ServiceBuilder::new(settings, broker.clone());
    more(routes.into_iter().fold(builder, ServiceBuilder::route)).start().unwrap()
}

/// Publishes steps.
pub(crate) struct Publisher(Sink);

impl Publisher {
    pub(crate) fn new(broker: &Broker) -> Self {
        let kafka = KafkaConfig {
            broker: broker.clone(),
            group: "none".to_owned(),
            instance_id: None,
            client_id: "test".to_owned(),
            delivery_timeout: GIVE_UP,
            properties: [].into(),
        };
        Self(Sink::open(&kafka, &Journal::new("test")).unwrap())
    }

    /// Publishes a step and waits until the broker has it; gives its partition.
    pub(crate) async fn publish(&self, step: &Step) -> i32 {
        self.publish_to(TOPIC, step).await
    }

    /// The same for another topic.
    pub(crate) async fn publish_to(&self, topic: &str, step: &Step) -> i32 {
        let event = NewEvent::triggered("test", topic, step, &Correlation::default()).unwrap();
        let (reply, fate) = tokio::sync::oneshot::channel();
        self.0.send(&event.record, reply);
        fate.await.unwrap().unwrap().partition
    }
}

impl Publisher {
    /// Publishes many steps and waits until the broker has them all.
    pub(crate) async fn publish_all(&self, steps: impl Iterator<Item = Step>) {
        let fates: Vec<_> = steps
            .map(|step| {
                let event = NewEvent::triggered("test", TOPIC, &step, &Correlation::default()).unwrap();
                let (reply, fate) = tokio::sync::oneshot::channel();
                self.0.send(&event.record, reply);
                fate
            })
            .collect();
        for fate in fates {
            fate.await.unwrap().unwrap();
        }
    }
}

pub(crate) async fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < GIVE_UP, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a count has come to `all`. Only progress may not end: how long the whole takes is the machine's affair.
pub(crate) async fn wait_for_count(what: &str, all: usize, mut count: impl FnMut() -> usize) {
    let mut reached = count();
    while reached < all {
        let before = reached;
        wait_for(&format!("{what}: {before} of {all}"), || {
            reached = count();
            reached > before
        })
        .await;
    }
}

pub(crate) async fn wait_until_ready(service: &Service) {
    wait_for("readiness", || service.health().readiness().ready).await;
}
