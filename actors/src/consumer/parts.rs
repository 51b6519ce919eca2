//! What does the consumer's thread work with, and how is it reached?

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use actix::Recipient;
use tokio::sync::oneshot;

use crate::fatal::Fatal;
use crate::journal::Journal;
use crate::kafka::{KafkaConfig, Source, SourceError};
use crate::record::BatchPool;
use crate::router::Deliver;
use crate::status::{ConsumerBoard, HandlerCounters, Vitals};
use crate::supervisor::{Heartbeats, Reporter};
use delivery::answer::Answer;
use delivery::lease::Lease;
use delivery::restart_budget::RestartPolicy;

/// Limits and intervals of the consumer.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerConfig {
    /// Records on their way at once.
    pub max_in_flight_records: usize,
    /// Bytes on their way at once.
    pub max_in_flight_bytes: usize,
    /// Between commits while there is something to commit. A commit costs the broker some milliseconds.
    pub commit_interval: Duration,
    /// How long leaving partitions wait for what was started.
    pub drain_deadline: Duration,
    /// The same where an operator stops the consumer or has it join again.
    pub stop_deadline: Duration,
    /// How often and how soon it joins again after it failed.
    pub restart: RestartPolicy,
}

/// Everything the consumer needs.
pub struct ConsumerParts {
    /// How to speak to Kafka.
    pub kafka: KafkaConfig,
    /// Limits and intervals.
    pub config: ConsumerConfig,
    /// The topics of the route table, their handlers' names, and their counters.
    pub routes: Vec<(String, &'static str, Arc<HandlerCounters>)>,
    /// Takes the batches.
    pub router: Recipient<Deliver>,
    /// Says to the handlers whether they may act.
    pub lease: Arc<Lease>,
    /// Batches that were sent to the router and not taken by it yet.
    pub waiting: Arc<AtomicUsize>,
    /// Memory of the batches.
    pub pool: BatchPool,
    /// The answers of the handlers.
    pub answers: Receiver<Vec<Answer>>,
    /// Where the status goes.
    pub board: Arc<ConsumerBoard>,
    /// Raised when the consumer cannot go on.
    pub fatal: Fatal,
    /// Journal of the service.
    pub journal: Journal,
    /// Tells what becomes of the thread.
    pub(crate) reporter: Reporter,
    /// Says which arbiters do not turn.
    pub(crate) heartbeats: Heartbeats,
    /// The arbiter of the handlers.
    pub(crate) arbiter: &'static str,
    /// The actor's own, which is stopped where its thread is.
    pub(crate) actor: Arc<Vitals>,
    /// What records go through in addition to their handlers: where an operator has stopped it, frontiers do not move by his
    /// will.
    pub(crate) needed: [Arc<Vitals>; 2],
}

impl ConsumerParts {
    /// Makes a client, which joins the group.
    pub(super) fn open_source(&self) -> Result<Source, SourceError> {
        let topics: Vec<&str> = self.routes.iter().map(|(topic, ..)| topic.as_str()).collect();
        Source::open(&self.kafka, &topics, &self.journal)
    }
}

/// What is asked of the consumer's thread.
#[derive(Debug)]
pub enum ConsumerRequest {
    /// Finish what was started, commit, leave the group.
    Drain {
        /// How long to wait for what was started.
        deadline: Duration,
        /// Told when that is done.
        done: oneshot::Sender<()>,
    },
    /// Pause a topic, or end its pause.
    PauseTopic {
        /// The topic.
        topic: String,
        /// Which of the two.
        paused: bool,
        /// Told how many partitions of it this member has.
        done: oneshot::Sender<usize>,
    },
}

/// Reaches the consumer's thread, also before it has started: it then obeys when it does. A clone reaches the same.
#[derive(Clone, Debug)]
pub struct ConsumerControl {
    requests: Sender<ConsumerRequest>,
}

impl ConsumerControl {
    /// A control, and what the thread takes from it.
    #[must_use]
    pub fn new() -> (Self, Receiver<ConsumerRequest>) {
        let (requests, taken) = mpsc::channel();
        (Self { requests }, taken)
    }

    /// Has the thread finish what was started for up to `deadline`, commit, and leave the group; waits until it has, or until
    /// it has ended otherwise. The request is obeyed also when that is not awaited.
    pub(crate) fn drain(&self, deadline: Duration) -> impl Future<Output = ()> + use<> {
        let (done, drained) = oneshot::channel();
        // A thread that ended has nothing to drain; then `done` is dropped and the wait below is over.
        let _ = self.requests.send(ConsumerRequest::Drain { deadline, done });
        async move {
            let _ = drained.await;
        }
    }

    /// Pauses a topic, or ends its pause: for all of its partitions that this member has or gets, until it is told
    /// otherwise or the process ends. What was read before is handled. The request is obeyed also when the answer, the
    /// number of partitions that the member has of it, is not awaited; there is none from a thread that has ended.
    pub fn pause_topic(&self, topic: &str, paused: bool) -> impl Future<Output = Option<usize>> + use<> {
        let (done, told) = oneshot::channel();
        // A thread that ended reads nothing; then `done` is dropped and the wait is over.
        let _ = self.requests.send(ConsumerRequest::PauseTopic { topic: topic.to_owned(), paused, done });
        async move { told.await.ok() }
    }
}
