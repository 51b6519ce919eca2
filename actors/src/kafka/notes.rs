//! Notes of progress that the group takes no commit of: offsets of a second group that never has a member, so that they
//! are taken while the group rebalances.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::config::{Broker, KafkaConfig};
use super::ffi::QueuedConsumer;
use super::offsets::{CommitAnswer, commit, commit_answers, committed};
use super::source::SourceError;
use delivery::partition::{PartitionOffset, TopicPartition};

/// A client of the group `<group>.progress`.
pub struct Notes {
    consumer: QueuedConsumer<Silent>,
}

/// Says nothing of its own: the service's consumer speaks to the same brokers and tells of them, and whether notes are
/// taken is told by their answers.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

impl Notes {
    /// Makes the client; it connects on its own. None for the embedded broker: it ends with the process, and whatever
    /// was noted with it.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn open(config: &KafkaConfig) -> Result<Option<Self>, SourceError> {
        if matches!(config.broker, Broker::Embedded(_)) {
            return Ok(None);
        }
        let consumer: BaseConsumer<Silent> = config.notes().create_with_context(Silent).map_err(SourceError::Open)?;
        Ok(Some(Self { consumer: QueuedConsumer::new(consumer) }))
    }

    /// The latest notes of the partitions; those without one are left out. Blocks up to `wait` while the broker is asked.
    ///
    /// # Errors
    /// When the broker did not answer in time or refused.
    pub fn read(&self, partitions: &[TopicPartition], wait: Duration) -> Result<Vec<PartitionOffset>, KafkaError> {
        committed(&self.consumer, partitions, wait)
    }

    /// Begins to write notes; the answers come out of [`answers`](Self::answers) under the same number.
    ///
    /// # Errors
    /// When it could not even be begun.
    pub fn write(&mut self, number: u64, notes: &[PartitionOffset]) -> Result<(), RDKafkaErrorCode> {
        commit(&self.consumer, number, notes)
    }

    /// The answers of the next answered notes; `None` when there are none yet.
    pub fn answers(&mut self) -> Option<Vec<CommitAnswer>> {
        // What else is on its queue (errors of connections) is of no interest, and would pile up.
        while self.consumer.consumer().poll(Duration::ZERO).is_some() {}
        commit_answers(&self.consumer)
    }
}
