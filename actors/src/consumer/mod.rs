//! Who owns the thread that polls Kafka? `KafkaConsumerActor`, which feeds the router by it.

mod carry_out;
mod events;
mod ingest;
mod parts;
mod status;
mod thread;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use actix::{Actor, Addr, Context, Supervised};

use crate::catch_panic::catch_panic;
use crate::fatal::{EXIT_CONFIG, EXIT_SOFTWARE};
use crate::journal::Failed;
use crate::kafka::SourceError;
use crate::status::{ActorState, ConsumerState, Vitals};
use crate::supervisor::{Restarts, supervise};
use delivery::member::effect::End;
pub use parts::{ConsumerConfig, ConsumerControl, ConsumerParts, ConsumerRequest};
use thread::ConsumerThread;

/// Owns the thread that polls Kafka. The thread outlives a panic of the actor.
pub struct KafkaConsumerActor {
    parts: ActorParts,
}

type ThreadParts = (ConsumerParts, Receiver<ConsumerRequest>);

/// What goes from an actor that panicked to the next one.
#[derive(Clone)]
struct ActorParts {
    /// Taken by the one that starts the thread.
    thread: Rc<Cell<Option<ThreadParts>>>,
    vitals: Arc<Vitals>,
}

impl KafkaConsumerActor {
    /// Starts it on the current arbiter: its thread polls from then on, and does what comes by the control.
    pub(crate) fn start(parts: ConsumerParts, requests: Receiver<ConsumerRequest>, restarts: Restarts) -> Addr<Self> {
        let thread = Rc::new(Cell::new(Some((parts, requests))));
        let parts = ActorParts { thread, vitals: Arc::clone(restarts.vitals()) };
        supervise(Self { parts }, restarts)
    }
}

impl Supervised for KafkaConsumerActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self { parts: self.parts.clone() };
    }
}

impl Actor for KafkaConsumerActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.parts.vitals.passes("started");
        let Some((parts, requests)) = self.parts.thread.take() else { return };
        let (fatal, journal, board) = (parts.fatal.clone(), parts.journal.clone(), Arc::clone(&parts.board));
        parts.reporter.made(false, false);
        let vitals = Arc::clone(parts.reporter.vitals());
        let thread = std::thread::Builder::new().name("kafka-consumer".to_owned());
        let spawned = thread.spawn({
            let fatal = fatal.clone();
            move || {
                let ended = catch_panic(|| ConsumerThread::run(parts, &requests));
                let (error, exit_code) = match ended {
                    // Who is given up has raised that.
                    Ok(Ok(End::Stopped { .. } | End::GivenUp)) => return,
                    // Started again it would push the other out in its turn.
                    Ok(Ok(End::Fenced(error))) => (error, EXIT_CONFIG),
                    Ok(Err(error @ SourceError::Fenced)) => (error.to_string(), EXIT_CONFIG),
                    Ok(Err(error)) => (error.to_string(), EXIT_SOFTWARE),
                    Err(panicked) => (panicked.to_string(), EXIT_SOFTWARE),
                };
                board.set_state(ConsumerState::Failed);
                vitals.failed(error.clone(), None);
                vitals.set_state(ActorState::Failed);
                journal.write(Failed { error: &error });
                fatal.raise_with(&format!("the consumer failed: {error}"), exit_code);
            }
        });
        if let Err(error) = spawned {
            fatal.raise(&format!("no thread for the consumer: {error}"));
        }
        self.parts.vitals.add(1, 0);
    }
}
