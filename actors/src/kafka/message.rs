//! What comes from Kafka: a record, or something that happened?

use std::borrow::Cow;

use super::ffi::RawMessage;
use crate::record::RawRecord;
use delivery::partition::TopicPartition;

/// One record as it comes off the queue.
pub struct Message<'a>(pub(super) &'a RawMessage<'a>);

impl<'a> Message<'a> {
    /// A number that is the same for records of one topic while the assignment does not change.
    #[must_use]
    pub fn topic_handle(&self) -> usize {
        self.0.topic_handle()
    }

    /// Topic.
    #[must_use]
    pub fn topic(&self) -> Cow<'a, str> {
        self.0.topic()
    }

    /// Partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Offset, timestamp, key and value.
    #[must_use]
    pub fn raw(&self) -> RawRecord<'a> {
        RawRecord {
            offset: self.0.offset(),
            timestamp_ms: self.0.timestamp_ms(),
            key: self.0.key(),
            value: self.0.value(),
        }
    }

    /// Headers in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.0.headers()
    }
}

/// What happened besides records.
#[derive(Debug)]
pub enum SourceEvent {
    /// Partitions come; answer with [`Source::accept`](super::Source::accept).
    Assigned(Vec<TopicPartition>),
    /// Partitions leave; answer with [`Source::release`](super::Source::release). When they are lost, another member has them already.
    Revoked {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// Whether they were taken without asking.
        lost: bool,
    },
    /// Measured twice a second: whether a broker is reached, and the watermarks that are known.
    Measured {
        /// Whether a broker is connected and answers.
        reachable: bool,
        /// Whether this member waits for others in a rebalance. Whatever it asks of the coordinator waits with it.
        waits: bool,
        /// Per partition: the high watermark, and librdkafka's own lag.
        watermarks: Vec<(TopicPartition, Option<i64>, Option<i64>)>,
    },
}
