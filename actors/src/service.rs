//! A service: settings, routes and HTTP become running actors; stopping drains them in order.

mod listen;
mod measure;
mod route;
mod shard;
mod supervision;

use std::collections::HashSet;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use actix::{Addr, Arbiter};
use actix_web::web;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::consumer::{ConsumerControl, KafkaConsumerActor};
use crate::fatal::{Fatal, FatalError};
use crate::handler::HandlerContext;
use crate::http::Health;
use crate::inspect::Inspector;
use crate::journal::{Failed, Journal, Started, Stopping};
use crate::kafka::{Broker, KafkaConfig};
use crate::producer::{OpenError, Outlet};
use crate::record::BatchPool;
use crate::settings::Settings;
use crate::status::ActorTree;
use crate::supervisor::Heartbeats;
use crate::telemetry;
use delivery::lease::Lease;
use listen::{HttpRoutes, Listener, listen_api, listen_management};
use measure::measure;
pub use route::Route;
use route::{SHARD, StartHandler};
use shard::{ConsumerStart, topics_of};
use supervision::{ShardSupervision, Supervise, counters_of};

/// How long a shutdown waits for records on their way to the broker.
pub(crate) const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// A service before its start.
pub struct ServiceBuilder {
    settings: Settings,
    broker: Broker,
    routes: Vec<Route>,
    publishes: Vec<String>,
    http: HttpRoutes,
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("{name} cannot listen on {address}: {error}; set {variable} to another one")]
    Bind {
        /// Which listener.
        name: &'static str,
        /// Where.
        address: SocketAddr,
        /// The variable that says where.
        variable: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is no producer.
    #[error(transparent)]
    Producer(#[from] OpenError),
    /// The system has no thread to watch the arbiters.
    #[error("no thread to watch the arbiters: {0}")]
    Watch(#[source] io::Error),
    /// Two routes claim the same topic.
    #[error("topic {0} has two routes: a topic has one handler")]
    TwoRoutes(String),
    /// What the service itself needs could not be made ready.
    #[error("{0}")]
    Service(#[source] Box<dyn Error + Send + Sync>),
}

impl StartError {
    /// What the service itself needs could not be made ready, for that reason.
    pub fn service(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Service(error.into())
    }
}

impl ServiceBuilder {
    /// A service without routes.
    #[must_use]
    pub fn new(settings: Settings, broker: Broker) -> Self {
        Self { settings, broker, routes: Vec::new(), publishes: Vec::new(), http: Arc::new(|_| {}) }
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Topics it publishes to: they are checked or created like those of its routes.
    #[must_use]
    pub fn publishes(mut self, topics: &[&str]) -> Self {
        self.publishes.extend(topics.iter().map(|topic| (*topic).to_owned()));
        self
    }

    /// Its HTTP routes. They find a [`Publisher`](crate::http::Publisher) and [`Health`] in their app data.
    #[must_use]
    pub fn http(mut self, routes: impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static) -> Self {
        self.http = Arc::new(routes);
        self
    }

    /// Starts it: listens at once, and consumes as soon as the broker has the topics. Call it inside an actix system.
    ///
    /// # Errors
    /// When a listener cannot be bound or librdkafka refuses the configuration.
    pub fn start(self) -> Result<Service, StartError> {
        let Self { settings, broker, routes, publishes, http } = self;
        each_topic_has_one(&routes)?;
        telemetry::init_metrics();
        let journal = Journal::new(settings.service);
        let kafka = kafka_of(&settings, broker);
        let fatal = Fatal::default();
        let inspector = Arc::new(Inspector::default());
        let tree = ActorTree::default();
        let supervise = Supervise::new(&tree, settings.restart, &journal, &fatal);
        let outlet = Outlet::open(kafka.clone(), journal.clone(), supervise.restarts("producer"))?;
        let counters = counters_of(&routes, &supervise);
        let heartbeats = Heartbeats::watched(journal.clone()).map_err(StartError::Watch)?;
        let health = Health {
            service: settings.service,
            brokers: kafka.broker.bootstrap(),
            outlet: outlet.clone(),
            consumer: Arc::default(),
            handlers: counters.clone(),
            tree,
            heartbeats: heartbeats.clone(),
            commands: supervise.commands.clone(),
            fatal: fatal.clone(),
            stopping: Arc::new(AtomicBool::new(false)),
        };

        let api = listen_api(&settings, &health, &outlet, &supervise, http)?;
        let (control, requests) = ConsumerControl::new();
        let management = listen_management(&settings, &health, &inspector, &control)?;
        journal.write(Started { api: api.address, management: management.address, brokers: &health.brokers });

        let topics = topics_of(&settings, &routes, &publishes);
        let subscribed =
            counters.iter().map(|(name, topic, counters)| (topic.clone(), *name, Arc::clone(counters))).collect();
        let (answers, answered) = mpsc::channel();
        let lease = Arc::new(Lease::new(Instant::now()));
        let pool = BatchPool::new(settings.max_in_flight_bytes);
        let handlers: Vec<(String, StartHandler, HandlerContext)> = routes
            .into_iter()
            .zip(counters)
            .map(|(route, (_, _, counters))| {
                let (policy, restart) = route.policies(&settings);
                let context = HandlerContext {
                    pool: pool.clone(),
                    group: settings.group.clone(),
                    answers: answers.clone(),
                    lease: Arc::clone(&lease),
                    fatal: fatal.clone(),
                    journal: journal.clone(),
                    inspector: Arc::clone(&inspector),
                    counters,
                    commands: health.commands.clone(),
                };
                (route.topic, (route.start)(policy, restart), context)
            })
            .collect();

        let shard = Arbiter::new();
        shard.spawn_fn(move || heartbeats.beat(SHARD.to_owned()));
        let parts = ConsumerStart {
            kafka,
            settings: settings.clone(),
            topics,
            subscribed,
            handlers,
            answered,
            lease,
            requests,
            pool,
            outlet: outlet.clone(),
            supervision: ShardSupervision::of(&supervise),
            health: health.clone(),
            journal: journal.clone(),
        };
        let (stop_connecting, stopped) = oneshot::channel();
        let (started, consumer) = oneshot::channel();
        shard.spawn(async move {
            tokio::select! {
                actor = parts.start() => drop(started.send(actor)),
                _ = stopped => {}
            }
        });
        let measured = measure(health.tree.clone(), journal.clone());
        let told = tell_the_end(&fatal, &journal);
        Ok(Service {
            api,
            management,
            health,
            journal,
            outlet,
            shard,
            consumer,
            control,
            stop_connecting,
            settings,
            measured,
            told,
        })
    }
}

/// Has the log say why the service cannot go on, also where no one asks the service.
fn tell_the_end(fatal: &Fatal, journal: &Journal) -> AbortOnDropHandle<()> {
    let (fatal, journal) = (fatal.clone(), journal.clone());
    AbortOnDropHandle::new(actix::spawn(async move {
        let cause = fatal.wait().await;
        journal.write(Failed { error: &cause });
    }))
}

fn each_topic_has_one(routes: &[Route]) -> Result<(), StartError> {
    let mut known = HashSet::new();
    let twice = routes.iter().find(|route| !known.insert(&route.topic));
    twice.map_or(Ok(()), |route| Err(StartError::TwoRoutes(route.topic.clone())))
}

/// How a service speaks to Kafka.
fn kafka_of(settings: &Settings, broker: Broker) -> KafkaConfig {
    KafkaConfig {
        broker,
        group: settings.group.clone(),
        instance_id: settings.group_instance_id.clone(),
        client_id: settings.service.to_owned(),
        // Below the deadline of a request, so that most of them learn what became of their event.
        delivery_timeout: settings.publish_deadline.mul_f64(0.8),
        properties: settings.kafka_properties.clone(),
    }
}

/// A running service.
pub struct Service {
    api: Listener,
    management: Listener,
    health: Health,
    journal: Journal,
    outlet: Outlet,
    shard: Arbiter,
    consumer: oneshot::Receiver<Option<Addr<KafkaConsumerActor>>>,
    control: ConsumerControl,
    stop_connecting: oneshot::Sender<()>,
    settings: Settings,
    measured: AbortOnDropHandle<()>,
    told: AbortOnDropHandle<()>,
}

impl Service {
    /// Address of the API.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        self.api.address
    }

    /// Address of the management listener.
    #[must_use]
    pub fn management(&self) -> SocketAddr {
        self.management.address
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is measured of it.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Waits until the service cannot go on by itself, and says why, with an exit code for the process: topics are missing
    /// and not to be created, a part has used up its restart budget, another member has its identity. The log has it too.
    /// What is left to do then is [`stop`](Self::stop). While all is well it waits; cancel-safe.
    pub fn stopped(&self) -> impl Future<Output = FatalError> + use<> {
        let fatal = self.health.fatal.clone();
        async move { fatal.wait().await }
    }

    /// Stops it: no more requests, no more records; what was started is finished, committed and flushed; then it
    /// leaves the group. Takes some seconds at most, also with the brokers down.
    pub async fn stop(self) {
        let Self {
            api,
            management,
            health,
            journal,
            outlet,
            shard,
            consumer,
            control,
            stop_connecting,
            settings,
            measured,
            told,
        } = self;
        health.stopping.store(true, Ordering::Relaxed);
        journal.write(Stopping { step: "finishing requests and records" });
        let drain = async {
            // Dropping the sender ends a start that still waits for the broker.
            drop(stop_connecting);
            if let Ok(Some(_)) = consumer.await {
                // Past the actor and its arbiter, which may be blocked or given up: the thread turns all the same.
                control.drain(settings.drain_deadline).await;
            }
        };
        futures_util::join!(api.handle.stop(true), drain);
        journal.write(Stopping { step: "flushing the producer" });
        let flushed = tokio::task::spawn_blocking(move || outlet.flush(FLUSH_DEADLINE)).await;
        if !matches!(flushed, Ok(true)) {
            journal.write(Stopping { step: "records were still on their way to the broker" });
        }
        management.handle.stop(false).await;
        drop((measured, told));
        shard.stop();
        journal.write(Stopping { step: "done" });
    }
}
