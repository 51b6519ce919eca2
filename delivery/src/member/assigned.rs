//! One assignment of one partition, with what each part of the member keeps of it.

use std::sync::Arc;

use crate::assignment::Assignment;
use crate::member::frontier::Frontier;
use crate::member::hold::Hold;
use crate::member::progress::Progress;
use crate::member::progress::name::Names;
use crate::partition::{PartitionOffset, TopicPartition};

#[derive(Debug)]
pub(crate) struct Assigned {
    /// Shared with the workers. Open: it takes records. Closed: it leaves.
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) frontier: Frontier,
    /// What the group has of it.
    pub(crate) commits: Progress,
    /// What was noted in addition to the group's commits.
    pub(crate) notes: Progress,
    pub(crate) names: Names,
    pub(crate) hold: Hold,
}

impl Assigned {
    /// With nothing polled and nothing known.
    pub(crate) fn new(assignment: Arc<Assignment>) -> Self {
        Self {
            assignment,
            frontier: Frontier::default(),
            commits: Progress::default(),
            notes: Progress::default(),
            names: Names::default(),
            hold: Hold::default(),
        }
    }

    pub(crate) fn slot(&self) -> u32 {
        self.assignment.slot
    }

    /// Records whose answer is awaited.
    pub(crate) fn in_flight(&self) -> usize {
        self.frontier.owned().0
    }

    /// Its partition.
    pub(crate) fn at(&self) -> TopicPartition {
        TopicPartition { topic: self.assignment.topic.as_ref().to_owned(), partition: self.assignment.partition }
    }

    /// An offset of its partition.
    pub(crate) fn offset(&self, offset: i64, metadata: String) -> PartitionOffset {
        let TopicPartition { topic, partition } = self.at();
        PartitionOffset { topic, partition, offset, metadata }
    }
}
