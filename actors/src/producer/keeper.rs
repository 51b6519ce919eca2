//! The keeper of the producer's client, on a thread of its own: after a fatal error it makes another one, and loses nothing;
//! and it obeys operators.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use super::outlet::{HOPELESS, Outlet, STOPPED, Shared};
use crate::catch_panic::catch_panic;
use crate::journal::{Journal, ProducerRebuilt};
use crate::kafka::{KafkaConfig, KafkaError, Sink, SinkEvent};
use crate::supervisor::{PendingCommand, Report, Restarts, Verb};

/// What the client did is written into its vitals so often.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A new client may take so long to reach a broker before records are given to it all the same: it goes on trying.
const PROBE_PATIENCE: Duration = Duration::from_secs(2);

struct Keeper {
    kafka: KafkaConfig,
    journal: Journal,
    restarts: Restarts,
    shared: Weak<Shared>,
    events: Receiver<SinkEvent>,
    tell: Sender<SinkEvent>,
    /// Number of the client.
    number: u32,
    /// What the present client has sent as far as its vitals know.
    counted: u64,
    /// Since when there is none, and why.
    down: Option<(Instant, String)>,
    /// There is none until an operator starts it.
    stopped: bool,
    /// A command that came in a pause.
    command: Option<PendingCommand>,
    /// Is told when the command that is being carried out is done.
    told: Option<Report>,
}

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// librdkafka refused the configuration.
    #[error("the Kafka client cannot be made: {0}")]
    Client(#[source] KafkaError),
    /// The system has no thread to keep the client.
    #[error("no thread for the producer's keeper: {0}")]
    Thread(#[source] io::Error),
}

impl Outlet {
    /// Makes the first client and the thread that keeps it.
    ///
    /// # Errors
    /// What librdkafka or the system says.
    pub(crate) fn open(kafka: KafkaConfig, journal: Journal, restarts: Restarts) -> Result<Self, OpenError> {
        let (tell, events) = mpsc::channel();
        let client = Sink::open_kept(&kafka, &journal, 0, tell.clone()).map_err(OpenError::Client)?;
        let outlet = Self::new(client, kafka.delivery_timeout);
        restarts.made(false);
        let shared = Arc::downgrade(&outlet.0);
        let mut keeper = Keeper {
            kafka,
            journal,
            restarts,
            shared,
            events,
            tell,
            number: 0,
            counted: 0,
            down: None,
            stopped: false,
            command: None,
            told: None,
        };
        let thread = thread::Builder::new().name("producer-keeper".to_owned());
        thread.spawn(move || keeper.run()).map_err(OpenError::Thread)?;
        Ok(outlet)
    }
}

impl Keeper {
    /// Until the outlet is gone, or no client comes any more.
    fn run(&mut self) {
        loop {
            let pause = match catch_panic(|| self.turn()) {
                Ok(Turn::GoOn) => Some(Duration::ZERO),
                Ok(Turn::Ended) => return,
                Ok(Turn::Failed(cause)) => {
                    self.command_failed(&cause);
                    self.restarts.failed(&cause, None)
                }
                Err(panicked) => {
                    self.command_failed(&panicked.to_string());
                    self.restarts.panicked(&panicked)
                }
            };
            let Some(pause) = pause else {
                if let Some(shared) = self.shared.upgrade() {
                    shared.write().close(HOPELESS);
                }
                return;
            };
            self.wait(Instant::now() + pause);
        }
    }

    fn command_failed(&mut self, cause: &str) {
        if let Some(report) = self.told.take() {
            report.failed(cause);
        }
    }

    /// Lets what waits too long go meanwhile. A command ends the pause.
    fn wait(&mut self, until: Instant) {
        while self.command.is_none()
            && let Some(shared) = self.shared.upgrade()
            && Instant::now() < until
        {
            shared.expire();
            drop(shared);
            thread::sleep(until.saturating_duration_since(Instant::now()).min(POLL_INTERVAL));
            self.command = self.restarts.try_next_command();
        }
    }

    fn turn(&mut self) -> Turn {
        let Some(shared) = self.shared.upgrade() else { return Turn::Ended };
        if let Some(command) = self.command.take().or_else(|| self.restarts.try_next_command()) {
            self.obey(&shared, command);
        }
        if self.stopped {
            // A panic since may have had it shown otherwise.
            self.restarts.stopped();
        }
        if self.down.is_some() {
            return self.rebuild(&shared);
        }
        drop(shared);
        let event = self.events.recv_timeout(POLL_INTERVAL);
        let Some(shared) = self.shared.upgrade() else { return Turn::Ended };
        let fatal = self.count(&shared);
        match event {
            Ok(SinkEvent::Fatal { client, reason }) => self.retire(&shared, client, reason),
            Ok(SinkEvent::Unsent { record, reply }) => {
                shared.write().unsent(record, reply);
                Turn::GoOn
            }
            Err(RecvTimeoutError::Timeout) => match fatal {
                Some(reason) => self.retire(&shared, self.number, reason),
                None => Turn::GoOn,
            },
            Err(RecvTimeoutError::Disconnected) => Turn::Ended,
        }
    }

    /// Notes what the client did; gives the fatal error that it met, if it did, for one that sends nothing tells no one.
    fn count(&mut self, shared: &Shared) -> Option<String> {
        let client = shared.write().client().cloned()?;
        self.count_sent(&client);
        self.restarts.forgive_when_due();
        client.fatal_error()
    }

    fn count_sent(&mut self, client: &Sink) {
        let (acknowledged, in_flight) = (client.acknowledged(), client.in_flight());
        let vitals = self.restarts.vitals();
        vitals.add(acknowledged - self.counted, 0);
        vitals.set_depth(0, in_flight);
        self.counted = acknowledged;
    }

    /// Begins what an operator commands; a stop is done at the end of this.
    fn obey(&mut self, shared: &Shared, PendingCommand { verb, report }: PendingCommand) {
        self.told = Some(report);
        {
            let mut line = shared.write();
            // From here on what comes waits for the next client, or is refused.
            line.retire(self.number);
            if verb == Verb::Stop {
                line.close(STOPPED);
            } else {
                line.reopen();
            }
        }
        self.stopped = verb == Verb::Stop;
        if self.stopped {
            self.restarts.stopped();
            self.down = None;
            self.wind_up(shared);
            if let Some(report) = self.told.take() {
                report.done("what was accepted is answered for; what comes is refused until it is started");
            }
        } else if self.down.is_none() {
            self.down = Some((Instant::now(), format!("an operator's command to {}", verb.as_str())));
        }
    }

    /// The client of that number never sends again.
    fn retire(&mut self, shared: &Shared, number: u32, reason: String) -> Turn {
        if number != self.number || self.down.is_some() || self.stopped {
            return Turn::GoOn;
        }
        shared.write().retire(number);
        self.down = Some((Instant::now(), reason.clone()));
        Turn::Failed(reason)
    }

    fn rebuild(&mut self, shared: &Shared) -> Turn {
        self.restarts.vitals().passes("build");
        self.wind_up(shared);
        self.number += 1;
        let client = match Sink::open_kept(&self.kafka, &self.journal, self.number, self.tell.clone()) {
            Ok(client) => client,
            Err(error) => return Turn::Failed(error.to_string()),
        };
        // Brokers that are down are no reason to do without a client.
        client.probe(PROBE_PATIENCE);
        if let Some(reason) = client.fatal_error() {
            return Turn::Failed(reason);
        }
        self.counted = 0;
        let resent = shared.write().open(client);
        let (since, cause) = self.down.take().unwrap_or((Instant::now(), "unknown".to_owned()));
        self.restarts.made(true);
        if let Some(report) = self.told.take() {
            report.done("restarted");
        }
        self.journal.write(ProducerRebuilt { cause: &cause, resent, took: since.elapsed() });
        Turn::GoOn
    }

    /// Has a client that was retired, if there is one, answer for all that it has taken. That blocks.
    fn wind_up(&mut self, shared: &Shared) {
        let ended = shared.write().ended().cloned();
        if let Some(ended) = &ended {
            // One that can still send does so, as long as any of it may be sent at all.
            let until = Instant::now() + self.kafka.delivery_timeout;
            while ended.fatal_error().is_none() && Instant::now() < until && ended.flush(POLL_INTERVAL).is_err() {
                shared.expire();
            }
            // What brokers may have is answered by them or as unknown.
            ended.wind_up();
        }
        while let Ok(event) = self.events.try_recv() {
            if let SinkEvent::Unsent { record, reply } = event {
                shared.write().unsent(record, reply);
            }
        }
        if let Some(ended) = ended {
            self.count_sent(&ended);
            shared.write().forget_ended();
        }
    }
}

enum Turn {
    GoOn,
    /// No one sends any more.
    Ended,
    /// There is no client, for that reason.
    Failed(String),
}
