//! How a partition is named, and an offset of it with its metadata.

use std::fmt;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

/// `orders/3`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// An offset of a partition, as it is committed or noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// Topic.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Offset: every record below it is settled.
    pub offset: i64,
    /// What goes with it; ASCII.
    pub metadata: String,
}
