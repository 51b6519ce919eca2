//! Where records come in: one consumer, read in batches; rebalances come out as events that the caller answers.

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::config::KafkaConfig;
use super::context::SourceContext;
use super::ffi::QueuedConsumer;
use super::message::{Message, SourceEvent};
use super::offsets::{CommitAnswer, commit, commit_answers, committed, list_of};
use super::stash::Stash;
use crate::journal::{ClientError, Journal};
use delivery::member::Failure;
use delivery::partition::{PartitionOffset, TopicPartition};

/// The source cannot go on; a new one must be made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The client could not be made.
    #[error("the consumer could not be made: {0}")]
    Open(#[source] KafkaError),
    /// The client met a fatal error, or refuses what a member must be able to do.
    #[error("the consumer met a fatal error: {0}")]
    Fatal(#[source] KafkaError),
    /// A younger member has taken over this member's instance id.
    #[error("another member of the group has taken over the same KAFKA_GROUP_INSTANCE_ID")]
    Fenced,
    /// The group still knows a member with this instance id, and lets no other in until it has left or timed out.
    #[error("the group still has a member with the same KAFKA_GROUP_INSTANCE_ID")]
    Unreleased,
    /// A record came outside the forwarded queue: accepting it could break the order of its partition.
    #[error("a record of {topic}/{partition} came outside the queue")]
    Astray {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
}

impl SourceError {
    /// What it means to the member.
    pub(crate) fn failure(&self) -> Failure {
        let cause = self.to_string();
        match self {
            Self::Fenced => Failure::Fenced(cause),
            Self::Unreleased => Failure::Unreleased(cause),
            Self::Open(_) | Self::Fatal(_) | Self::Astray { .. } => Failure::Client(cause),
        }
    }
}

/// A member of a consumer group. Used from one thread, which must call [`poll_events`](Source::poll_events) many
/// times a second: rebalances, statistics and the member's liveness hang on it.
pub struct Source {
    /// Before the consumer: its messages go first.
    stash: Stash,
    consumer: QueuedConsumer<SourceContext>,
    events: Receiver<SourceEvent>,
    /// Paused in librdkafka, where a pause outlives the assignment.
    paused: BTreeSet<TopicPartition>,
    journal: Journal,
}

/// How many things besides records are served by one call; a start-up has some tens.
const MAX_EVENTS_PER_POLL: usize = 64;

impl Source {
    /// Joins the group and subscribes to the topics; assignments come as events.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration or the subscription.
    pub fn open(config: &KafkaConfig, topics: &[&str], journal: &Journal) -> Result<Self, SourceError> {
        let (context, events) = SourceContext::new(journal);
        let consumer: BaseConsumer<SourceContext> =
            config.consumer().create_with_context(context).map_err(SourceError::Open)?;
        let consumer = QueuedConsumer::new(consumer);
        consumer.consumer().subscribe(topics).map_err(SourceError::Open)?;
        Ok(Self { stash: Stash::default(), consumer, events, paused: BTreeSet::new(), journal: journal.clone() })
    }

    /// Takes up to `max` records: waits up to `wait` for the first, and takes what else is there. `each` says whether it
    /// took a record; one that it did not take is offered again at the next call, before those behind it. Returns how many
    /// records were taken or stashed; none and without waiting, where all that can be offered now is refused.
    pub fn read(&mut self, max: usize, wait: Duration, mut each: impl FnMut(&Message<'_>) -> bool) -> usize {
        let Self { stash, consumer, journal, .. } = self;
        let offered = stash.offer(max, &mut each);
        if offered == max || stash.is_full() {
            return offered;
        }
        let wait = if stash.is_empty() && offered == 0 { wait } else { Duration::ZERO };
        let read = consumer.read(max - offered, wait, |message| {
            if let Some(error) = message.raw().error() {
                let from = format!("{}/{}", message.raw().topic(), message.raw().partition());
                return journal.write(ClientError { client: "consumer", error: &error, reason: &from });
            }
            let first = if stash.is_empty() { Some(message) } else { stash.follow(message) };
            if let Some(message) = first.filter(|message| !each(&Message(&message.raw()))) {
                stash.begin(message);
            }
        });
        offered + read
    }

    /// Whether records are stashed.
    #[must_use]
    pub fn has_stashed(&self) -> bool {
        !self.stash.is_empty()
    }

    /// Forgets what was read of a partition and not taken; true where there was something, so that it has to be read again
    /// from where the taking ended.
    pub fn forget(&mut self, partition: &TopicPartition) -> bool {
        self.stash.forget(partition)
    }

    /// Serves rebalances, statistics and errors; never waits.
    ///
    /// # Errors
    /// When this source cannot go on.
    pub fn poll_events(&mut self) -> Result<Vec<SourceEvent>, SourceError> {
        let mut events = Vec::new();
        for _ in 0..MAX_EVENTS_PER_POLL {
            let polled = self.consumer.consumer().poll(Duration::ZERO);
            let before = events.len();
            events.extend(self.events.try_iter());
            match polled {
                None if events.len() == before => break,
                Some(Ok(record)) => {
                    use rdkafka::message::Message as _;
                    return Err(SourceError::Astray {
                        topic: record.topic().to_owned(),
                        partition: record.partition(),
                    });
                }
                Some(Err(error)) => self.check(error)?,
                None => {}
            }
        }
        Ok(events)
    }

    /// An error has been written to the journal by the context's `error`; a fatal one ends this source besides.
    fn check(&self, error: KafkaError) -> Result<(), SourceError> {
        match self.consumer.consumer().client().fatal_error() {
            None => Ok(()),
            Some((RDKafkaErrorCode::FencedInstanceId, _)) => Err(SourceError::Fenced),
            Some((RDKafkaErrorCode::UnreleasedInstanceId, _)) => Err(SourceError::Unreleased),
            Some(_) => Err(SourceError::Fatal(error)),
        }
    }

    /// Answers [`SourceEvent::Assigned`]: fetching begins at the committed offsets, and nothing is paused.
    ///
    /// # Errors
    /// When librdkafka refuses; then the member has to leave and to join again.
    pub fn accept(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        let left: Vec<TopicPartition> = partitions.iter().filter(|at| self.paused.contains(at)).cloned().collect();
        self.resume(&left)?;
        for partition in partitions {
            self.consumer.forward(&partition.topic, partition.partition);
        }
        let list = list_of(partitions);
        let consumer = self.consumer.consumer();
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
            _ => consumer.assign(&list),
        }
        .map_err(SourceError::Fatal)
    }

    /// Answers [`SourceEvent::Revoked`]: the partitions belong to others from now on.
    ///
    /// # Errors
    /// When librdkafka refuses; then the member has to leave and to join again.
    pub fn release(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for partition in partitions {
            self.stash.forget(partition);
        }
        let consumer = self.consumer.consumer();
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&list_of(partitions)),
            _ => consumer.unassign(),
        }
        .map_err(SourceError::Fatal)?;
        for partition in partitions {
            self.consumer.unforward(&partition.topic, partition.partition);
        }
        Ok(())
    }

    /// Fetches nothing more of partitions that are assigned, and drops what was prefetched of them. Nothing of them comes
    /// out of [`read`](Self::read) from now on.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        self.paused.extend(partitions.iter().cloned());
        self.consumer.consumer().pause(&list_of(partitions)).map_err(SourceError::Fatal)
    }

    /// Fetches again, from the record after the last that was read.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.paused.retain(|at| !partitions.contains(at));
        self.consumer.consumer().resume(&list_of(partitions)).map_err(SourceError::Fatal)
    }

    /// Fetches a partition from this offset on.
    ///
    /// # Errors
    /// When librdkafka refuses.
    pub fn seek(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), SourceError> {
        self.stash.forget(&TopicPartition { topic: topic.to_owned(), partition });
        let mut list = TopicPartitionList::with_capacity(1);
        // Refused only for offsets below zero that mean something special.
        let _ = list.add_partition_offset(topic, partition, Offset::Offset(offset));
        self.consumer.consumer().seek_partitions(list, Duration::ZERO).map(drop).map_err(SourceError::Fatal)
    }

    /// What the group has committed for the partitions; those without a commit are left out.
    ///
    /// Blocks up to `wait` while the broker is asked.
    ///
    /// # Errors
    /// When the broker did not answer in time or refused.
    pub fn committed(&self, partitions: &[TopicPartition], wait: Duration) -> Result<Vec<PartitionOffset>, KafkaError> {
        committed(&self.consumer, partitions, wait)
    }

    /// Begins a commit; the answers come out of [`commit_answers`](Self::commit_answers) under the same number.
    ///
    /// # Errors
    /// When it could not even be begun.
    pub fn commit(&mut self, number: u64, offsets: &[PartitionOffset]) -> Result<(), RDKafkaErrorCode> {
        commit(&self.consumer, number, offsets)
    }

    /// The answers of the next answered commit; `None` when there is none yet.
    pub fn commit_answers(&mut self) -> Option<Vec<CommitAnswer>> {
        commit_answers(&self.consumer)
    }

    /// Begins to leave the group: what is assigned comes back as [`SourceEvent::Revoked`].
    pub fn leave(&mut self) {
        self.consumer.consumer().unsubscribe();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.consumer.consumer().context().close();
    }
}
