//! How does a shard begin? Its topics first, then its actors, from the way out to the way in.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix::Addr;

use super::route::{Route, SHARD, StartHandler};
use super::supervision::ShardSupervision;
use crate::consumer::{ConsumerConfig, ConsumerParts, ConsumerRequest, KafkaConsumerActor};
use crate::dead_letter;
use crate::fatal::{EXIT_CONFIG, Fatal};
use crate::handler::{HandlerContext, InFlight};
use crate::http::Health;
use crate::journal::{Journal, TopicsCreated, TopicsDelayed};
use crate::kafka::{KafkaConfig, TopicSpec, ensure_topics};
use crate::producer::{Outlet, Producer, ProducerActor};
use crate::record::BatchPool;
use crate::router::{RouteTable, RouterActor, RouterParts};
use crate::settings::Settings;
use crate::status::HandlerCounters;
use delivery::lease::Lease;

/// Largest record of a topic that is created, in bytes: Kafka's own default.
const MAX_RECORD_BYTES: u32 = 1_048_588;
/// Largest dead letter: the largest record and the headers that say why it died.
const MAX_DEAD_LETTER_BYTES: u32 = 2 * MAX_RECORD_BYTES;
/// Between attempts to reach the broker for its topics.
const TOPICS_PAUSE: Duration = Duration::from_secs(1);

/// What the shard needs to begin.
pub(super) struct ConsumerStart {
    pub(super) kafka: KafkaConfig,
    pub(super) settings: Settings,
    pub(super) topics: Vec<TopicSpec>,
    /// Topics, their handlers, and the counters of these.
    pub(super) subscribed: Vec<(String, &'static str, Arc<HandlerCounters>)>,
    pub(super) handlers: Vec<(String, StartHandler, HandlerContext)>,
    pub(super) answered: mpsc::Receiver<Vec<delivery::answer::Answer>>,
    pub(super) lease: Arc<Lease>,
    pub(super) requests: mpsc::Receiver<ConsumerRequest>,
    pub(super) pool: BatchPool,
    pub(super) outlet: Outlet,
    pub(super) supervision: ShardSupervision,
    pub(super) health: Health,
    pub(super) journal: Journal,
}

impl ConsumerStart {
    /// Starts the actors of the shard, from the way out to the way in, as soon as the topics are there.
    pub(super) async fn start(self) -> Option<Addr<KafkaConsumerActor>> {
        let Self { kafka, settings, topics, subscribed, handlers, answered, lease, requests, .. } = self;
        let Self { pool, outlet, supervision, health, journal, .. } = self;
        let fatal = health.fatal.clone();
        wait_for_topics(&kafka, &topics, settings.create_topics, &journal, &fatal).await?;
        let needed = [&supervision.router, &supervision.producer].map(|restarts| Arc::clone(restarts.vitals()));
        let producer = ProducerActor::start_on_this_arbiter(outlet, supervision.producer);
        let producer = Producer::new(producer, journal.clone());
        let shares = InFlight::shares(settings.max_in_flight, handlers.len());
        let routes: RouteTable = handlers
            .into_iter()
            .zip(shares)
            .map(|((topic, start, context), share)| (topic.as_str().into(), start(&producer, context, share)))
            .collect();
        let waiting = Arc::new(AtomicUsize::new(0));
        let vitals = Arc::clone(supervision.router.vitals());
        let parts = RouterParts::new(routes, Arc::clone(&waiting), vitals, fatal.clone());
        let router = RouterActor::start(parts, supervision.router);
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
            fatal: fatal.clone(),
            reporter: supervision.thread,
            heartbeats: health.heartbeats.clone(),
            arbiter: SHARD,
            actor: Arc::clone(supervision.consumer.vitals()),
            needed,
            journal: journal.clone(),
        };
        Some(KafkaConsumerActor::start(parts, requests, supervision.consumer))
    }
}

/// Waits until the topics are there; gives up, which is fatal, only where waiting cannot help.
async fn wait_for_topics(
    kafka: &KafkaConfig,
    topics: &[TopicSpec],
    create: bool,
    journal: &Journal,
    fatal: &Fatal,
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
                fatal.raise_for(error, EXIT_CONFIG);
                return None;
            }
            Err(error) => {
                fatal.raise(&format!("asking for the topics failed: {error}"));
                return None;
            }
        }
        tokio::time::sleep(TOPICS_PAUSE).await;
    }
}

/// The topics of the routes and their dead-letter topics, and those it publishes to.
pub(super) fn topics_of(settings: &Settings, routes: &[Route], publishes: &[String]) -> Vec<TopicSpec> {
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
