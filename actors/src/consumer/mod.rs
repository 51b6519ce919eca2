//! `KafkaConsumerActor`: feeds the router. It owns the thread that polls Kafka, the frontier and the commits.

mod membership;
mod poll;
mod rebalance;
mod report;
mod stall;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Recipient};
use tokio::sync::oneshot;

use crate::answer::Answer;
use crate::escalation::{EXIT_CONFIG, EXIT_SOFTWARE, Escalation, panic_message};
use crate::handler::{Look, Sweep};
use crate::journal::{Failed, Journal};
use crate::kafka::{KafkaConfig, SourceError};
use crate::lease::Lease;
use crate::router::Deliver;
use crate::status::{ConsumerBoard, ConsumerState};
use poll::PollLoop;

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
}

/// Everything the consumer needs.
pub struct ConsumerParts {
    /// How to speak to Kafka.
    pub kafka: KafkaConfig,
    /// Limits and intervals.
    pub config: ConsumerConfig,
    /// The topics of the route table, and their handlers' names.
    pub routes: Vec<(String, &'static str)>,
    /// Takes the batches.
    pub router: Recipient<Deliver>,
    /// Takes the order to give up what was not started.
    pub sweep: Recipient<Sweep>,
    /// Takes the question where a record is.
    pub look: Recipient<Look>,
    /// Says to the handlers whether they may act.
    pub lease: Arc<Lease>,
    /// Batches that were sent to the router and not taken by it yet.
    pub waiting: Arc<AtomicUsize>,
    /// The answers of the handlers.
    pub answers: Receiver<Vec<Answer>>,
    /// Where the status goes.
    pub board: Arc<ConsumerBoard>,
    /// Raised when the consumer cannot go on.
    pub escalation: Escalation,
    /// Journal of the service.
    pub journal: Journal,
}

/// Finish what was started, commit, leave the group. Answers when that is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// How long to wait for what was started.
    pub deadline: Duration,
}

enum Command {
    Drain { deadline: Duration, done: oneshot::Sender<()> },
}

/// Owns the thread that polls Kafka.
pub struct KafkaConsumerActor {
    parts: Option<ConsumerParts>,
    commands: Option<Sender<Command>>,
}

impl KafkaConsumerActor {
    /// Polls from its start on.
    #[must_use]
    pub fn new(parts: ConsumerParts) -> Self {
        Self { parts: Some(parts), commands: None }
    }
}

impl Actor for KafkaConsumerActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let Some(parts) = self.parts.take() else { return };
        let (sender, commands) = mpsc::channel();
        self.commands = Some(sender);
        let (escalation, journal, board) = (parts.escalation.clone(), parts.journal.clone(), Arc::clone(&parts.board));
        let thread = thread::Builder::new().name("kafka-consumer".to_owned());
        let spawned = thread.spawn({
            let escalation = escalation.clone();
            move || {
                let ended = catch_unwind(AssertUnwindSafe(|| PollLoop::run(parts, &commands)));
                let (error, exit_code) = match ended {
                    Ok(Ok(())) => return,
                    // Started again it would push the other out in its turn.
                    Ok(Err(error @ SourceError::Fenced)) => (error.to_string(), EXIT_CONFIG),
                    Ok(Err(error)) => (error.to_string(), EXIT_SOFTWARE),
                    Err(panic) => (panic_message(&*panic), EXIT_SOFTWARE),
                };
                board.set_state(ConsumerState::Failed);
                journal.write(Failed { error: &error });
                escalation.raise_with(&format!("the consumer failed: {error}"), exit_code);
            }
        });
        if let Err(error) = spawned {
            escalation.raise(&format!("no thread for the consumer: {error}"));
        }
    }
}

impl Handler<Drain> for KafkaConsumerActor {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, Drain { deadline }: Drain, _: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        if let Some(commands) = &self.commands {
            // A thread that ended has nothing to drain; then `done` is dropped and the wait below is over.
            let _ = commands.send(Command::Drain { deadline, done });
        }
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}
