//! A service: settings, routes and HTTP become running actors; stopping drains them in order.

mod cares;
mod listen;
mod measure;
mod route;

use std::collections::HashSet;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use actix::{Addr, Arbiter};
use actix_web::web;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::consumer::{Command, ConsumerConfig, ConsumerControl, ConsumerParts, KafkaConsumerActor};
use crate::dead_letter;
use crate::escalation::{Cause, EXIT_CONFIG, Escalation};
use crate::handler::{HandlerContext, InFlight};
use crate::http::Health;
use crate::inspect::Inspector;
use crate::journal::{Failed, Journal, Started, Stopping, TopicsCreated, TopicsDelayed};
use crate::kafka::{Broker, KafkaConfig, TopicSpec, ensure_topics};
use crate::producer::{OpenError, Outlet, Producer, ProducerActor};
use crate::record::BatchPool;
use crate::router::{RouteTable, RouterActor, RouterParts};
use crate::settings::Settings;
use crate::status::{ActorTree, HandlerCounters};
use crate::supervisor::Pulses;
use crate::telemetry;
use cares::{Cares, Supervise, counters_of};
use delivery::lease::Lease;
use delivery::worker::WorkerPolicy;
use listen::{HttpRoutes, Listener, listen_api, listen_management};
use measure::measure;
pub use route::Route;
use route::{SHARD, StartHandler};

/// Largest record of a topic that is created, in bytes: Kafka's own default.
const MAX_RECORD_BYTES: u32 = 1_048_588;
/// Largest dead letter: the largest record and the headers that say why it died.
const MAX_DEAD_LETTER_BYTES: u32 = 2 * MAX_RECORD_BYTES;
/// Between attempts to reach the broker for its topics.
const TOPICS_PAUSE: Duration = Duration::from_secs(1);
/// How long a shutdown waits for records on their way to the broker.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

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
        let escalation = Escalation::default();
        let inspector = Arc::new(Inspector::default());
        let tree = ActorTree::default();
        let supervise = Supervise::new(&tree, settings.restart, &journal, &escalation);
        let outlet = Outlet::open(kafka.clone(), journal.clone(), supervise.care("producer"))?;
        let counters = counters_of(&routes, &supervise);
        let pulses = Pulses::watched(journal.clone()).map_err(StartError::Watch)?;
        let health = Health {
            service: settings.service,
            brokers: kafka.broker.bootstrap(),
            outlet: outlet.clone(),
            consumer: Arc::default(),
            handlers: counters.clone(),
            tree,
            pulses: pulses.clone(),
            commands: supervise.commands.clone(),
            escalation: escalation.clone(),
            stopping: Arc::new(AtomicBool::new(false)),
        };

        let api = listen_api(&settings, &health, &outlet, &supervise, http)?;
        let (control, commands) = ConsumerControl::new();
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
                let restart = route.restart.unwrap_or(settings.restart);
                let policy = WorkerPolicy {
                    retry: route.retry.unwrap_or(settings.retry),
                    breaker: settings.breaker,
                    unkeyed: route.unkeyed,
                    deadline: route.deadline.unwrap_or(settings.handler_deadline),
                    max_starts: restart.max_restarts,
                    ..WorkerPolicy::default()
                };
                let context = HandlerContext {
                    pool: pool.clone(),
                    group: settings.group.clone(),
                    answers: answers.clone(),
                    lease: Arc::clone(&lease),
                    escalation: escalation.clone(),
                    journal: journal.clone(),
                    inspector: Arc::clone(&inspector),
                    counters,
                    commands: health.commands.clone(),
                };
                (route.topic, (route.start)(policy, restart), context)
            })
            .collect();

        let shard = Arbiter::new();
        shard.spawn_fn(move || pulses.beat(SHARD.to_owned()));
        let parts = ConsumerStart {
            kafka,
            settings: settings.clone(),
            topics,
            subscribed,
            handlers,
            answered,
            lease,
            commands,
            pool,
            outlet: outlet.clone(),
            cares: Cares::of(&supervise),
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
        let told = tell_the_end(&escalation, &journal);
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
fn tell_the_end(escalation: &Escalation, journal: &Journal) -> AbortOnDropHandle<()> {
    let (escalation, journal) = (escalation.clone(), journal.clone());
    AbortOnDropHandle::new(actix::spawn(async move {
        let cause = escalation.wait().await;
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

/// What the shard needs to begin.
struct ConsumerStart {
    kafka: KafkaConfig,
    settings: Settings,
    topics: Vec<TopicSpec>,
    /// Topics, their handlers, and how these stand.
    subscribed: Vec<(String, &'static str, Arc<HandlerCounters>)>,
    handlers: Vec<(String, StartHandler, HandlerContext)>,
    answered: mpsc::Receiver<Vec<delivery::answer::Answer>>,
    lease: Arc<Lease>,
    commands: mpsc::Receiver<Command>,
    pool: BatchPool,
    outlet: Outlet,
    cares: Cares,
    health: Health,
    journal: Journal,
}

impl ConsumerStart {
    /// Starts the actors of the shard, from the way out to the way in, as soon as the topics are there.
    async fn start(self) -> Option<Addr<KafkaConsumerActor>> {
        let Self { kafka, settings, topics, subscribed, handlers, answered, lease, commands, .. } = self;
        let Self { pool, outlet, cares, health, journal, .. } = self;
        let escalation = health.escalation.clone();
        wait_for_topics(&kafka, &topics, settings.create_topics, &journal, &escalation).await?;
        let needed = [&cares.router, &cares.producer].map(|care| Arc::clone(care.vitals()));
        let producer = ProducerActor::start_on_this_arbiter(outlet, cares.producer);
        let producer = Producer::new(producer, journal.clone());
        let shares = InFlight::shares(settings.max_in_flight, handlers.len());
        let routes: RouteTable = handlers
            .into_iter()
            .zip(shares)
            .map(|((topic, start, context), share)| (topic.as_str().into(), start(&producer, context, share)))
            .collect();
        let waiting = Arc::new(AtomicUsize::new(0));
        let vitals = Arc::clone(cares.router.vitals());
        let parts = RouterParts::new(routes, Arc::clone(&waiting), vitals, escalation.clone());
        let router = RouterActor::start(parts, cares.router);
        let config = ConsumerConfig {
            max_in_flight_records: settings.max_in_flight_records,
            max_in_flight_bytes: settings.max_in_flight_bytes,
            commit_interval: settings.commit_interval,
            drain_deadline: settings.rebalance_drain_deadline,
            stop_deadline: settings.drain_deadline,
            restart: settings.restart,
        };
        let parts = ConsumerParts {
            kafka,
            config,
            routes: subscribed,
            router: router.recipient(),
            lease,
            waiting,
            pool,
            answers: answered,
            board: Arc::clone(&health.consumer),
            escalation: escalation.clone(),
            ward: cares.thread,
            pulses: health.pulses.clone(),
            arbiter: SHARD,
            actor: Arc::clone(cares.consumer.vitals()),
            needed,
            journal: journal.clone(),
        };
        Some(KafkaConsumerActor::start(parts, commands, cares.consumer))
    }
}

/// Waits until the topics are there; gives up, and escalates, only where waiting cannot help.
async fn wait_for_topics(
    kafka: &KafkaConfig,
    topics: &[TopicSpec],
    create: bool,
    journal: &Journal,
    escalation: &Escalation,
) -> Option<()> {
    loop {
        let (kafka, topics) = (kafka.clone(), topics.to_vec());
        let ensured = tokio::task::spawn_blocking(move || ensure_topics(&kafka, &topics, create)).await;
        match ensured {
            Ok(Ok(created)) => {
                if !created.is_empty() {
                    journal.write(TopicsCreated { topics: &created.join(" ") });
                }
                return Some(());
            }
            Ok(Err(error)) if error.is_transient() => {
                journal.write(TopicsDelayed { error: &error, pause: TOPICS_PAUSE });
            }
            Ok(Err(error)) => {
                escalation.raise_for(error, EXIT_CONFIG);
                return None;
            }
            Err(error) => {
                escalation.raise(&format!("asking for the topics failed: {error}"));
                return None;
            }
        }
        tokio::time::sleep(TOPICS_PAUSE).await;
    }
}

/// The topics of the routes and their dead-letter topics, and those it publishes to.
fn topics_of(settings: &Settings, routes: &[Route], publishes: &[String]) -> Vec<TopicSpec> {
    let spec = |name: String, max_message_bytes| TopicSpec {
        name,
        partitions: settings.partitions,
        replication: settings.replication,
        max_message_bytes,
    };
    let mut topics: Vec<TopicSpec> = Vec::new();
    for route in routes {
        topics.push(spec(route.topic.clone(), None));
        topics.push(spec(format!("{}{}", route.topic, dead_letter::SUFFIX), Some(MAX_DEAD_LETTER_BYTES)));
    }
    topics.extend(publishes.iter().map(|topic| spec(topic.clone(), None)));
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    topics.dedup_by(|one, other| one.name == other.name);
    topics
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
    pub fn stopped(&self) -> impl Future<Output = Cause> + use<> {
        let escalation = self.health.escalation.clone();
        async move { escalation.wait().await }
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
