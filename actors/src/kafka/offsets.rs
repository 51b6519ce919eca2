//! Offsets of a group: asking for them, and committing them.

use std::time::Duration;

use rdkafka::consumer::{Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::ffi::QueuedConsumer;
use delivery::member::Taken;
use delivery::partition::{PartitionOffset, TopicPartition};

/// The broker's answer for one partition of a commit.
#[derive(Debug)]
pub struct CommitAnswer {
    /// Number of the commit.
    pub number: u64,
    /// The partition.
    pub partition: TopicPartition,
    /// Why it was refused.
    pub error: Option<RDKafkaErrorCode>,
}

impl CommitAnswer {
    /// What it says of the commit.
    pub(crate) fn taken(&self) -> Taken {
        match self.error {
            None => Taken::Yes,
            Some(error) if is_surely_refused(error) => Taken::No,
            Some(_) => Taken::Unknown,
        }
    }
}

pub(super) fn list_of(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// What the consumer's group has committed for the partitions; those without a commit are left out. Blocks up to `wait`.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &QueuedConsumer<C>,
    partitions: &[TopicPartition],
    wait: Duration,
) -> Result<Vec<PartitionOffset>, KafkaError> {
    let committed = consumer.consumer().committed_offsets(list_of(partitions), wait)?;
    let known = committed.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some(PartitionOffset {
            topic: element.topic().to_owned(),
            partition: element.partition(),
            offset,
            metadata: element.metadata().to_owned(),
        }),
        _ => None,
    });
    Ok(known.collect())
}

/// Whether an error of a commit says that the broker did not take it. All others say nothing.
fn is_surely_refused(error: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error,
        Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::StaleMemberEpoch
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::GroupAuthorizationFailed
            | Code::TopicAuthorizationFailed
            | Code::OffsetMetadataTooLarge
    )
}

/// Begins a commit; the answers come under the same number.
pub(super) fn commit<C: ConsumerContext>(
    consumer: &QueuedConsumer<C>,
    number: u64,
    offsets: &[PartitionOffset],
) -> Result<(), RDKafkaErrorCode> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for at in offsets {
        let mut element = list.add_partition(&at.topic, at.partition);
        // Refused only for offsets below zero that mean something special, which a frontier never is.
        let _ = element.set_offset(Offset::Offset(at.offset));
        element.set_metadata(&at.metadata);
    }
    consumer.commit(number, &list)
}

/// The answers of the next answered commit; `None` when there is none yet.
pub(super) fn commit_answers<C: ConsumerContext>(consumer: &QueuedConsumer<C>) -> Option<Vec<CommitAnswer>> {
    let (number, answers) = consumer.commit_answers()?;
    let answers = answers.into_iter().map(|answer| CommitAnswer {
        number,
        partition: TopicPartition { topic: answer.topic, partition: answer.partition },
        error: answer.error,
    });
    Some(answers.collect())
}
