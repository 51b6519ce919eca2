//! An embedded broker in the test's own process, for which other tests start programs.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_actors::kafka::EmbeddedBroker;

use super::{PARTITIONS, TOPICS};

/// The broker, so that the test can kill services and bring the broker down.
pub(crate) struct Broker(EmbeddedBroker);

/// Held while a program is started, and while a broker gives up its port and takes it again. Until a program has begun it
/// holds whatever this process does, and with that port the broker would end this whole process.
pub(super) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker {
    /// Drops all connections and refuses new ones, until it is `up`.
    #[track_caller]
    pub(crate) fn down(&self) {
        let _turn = turn();
        self.0.down().unwrap();
    }
}

impl Deref for Broker {
    type Target = EmbeddedBroker;

    fn deref(&self) -> &EmbeddedBroker {
        &self.0
    }
}

/// One with the topics of the two services.
pub(crate) fn embedded_broker() -> Arc<Broker> {
    let broker = EmbeddedBroker::start().unwrap();
    for topic in TOPICS {
        broker.create_topic(topic, PARTITIONS).unwrap();
        broker.create_topic(&format!("{topic}.dlq"), PARTITIONS).unwrap();
    }
    Arc::new(Broker(broker))
}
