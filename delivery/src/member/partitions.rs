//! Which partitions does this member have, and under which epochs?

use std::sync::Arc;

use crate::assignment::Assignment;
use crate::member::assigned::Assigned;
use crate::partition::TopicPartition;
use crate::sabotage::{Sabotage, is};

/// Partitions of this member by slot. A slot stays with its partition while the process lives; each assignment of it
/// has a higher epoch than all before.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    slots: Vec<Slot>,
    last_epoch: u32,
}

#[derive(Debug)]
struct Slot {
    topic: Arc<str>,
    partition: i32,
    measured: Measured,
    assigned: Option<Assigned>,
}

/// What the client measures of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Offset of the next record to be written.
    pub high_watermark: Option<i64>,
    /// The client's own lag.
    pub lag: Option<i64>,
}

impl Partitions {
    /// A partition comes, or its log is another one: it has a new, open assignment. Gives its slot, and what it had until
    /// now.
    pub(crate) fn assign(&mut self, topic: &str, partition: i32) -> (u32, Option<Assigned>) {
        let slot = self.slot_of(topic, partition).unwrap_or_else(|| {
            let measured = Measured::default();
            self.slots.push(Slot { topic: topic.into(), partition, measured, assigned: None });
            to_u32(self.slots.len() - 1)
        });
        (slot, self.assign_again(slot))
    }

    /// The same for a slot.
    pub(crate) fn assign_again(&mut self, slot: u32) -> Option<Assigned> {
        self.last_epoch += 1;
        let epoch = self.last_epoch;
        let at = &mut self.slots[slot as usize];
        let assignment = Assignment::new(Arc::clone(&at.topic), at.partition, slot, epoch);
        at.assigned.replace(Assigned::new(Arc::new(assignment)))
    }

    /// The assignment is over. Answers for it are stale from now on.
    pub(crate) fn end(&mut self, slot: u32) -> Option<Assigned> {
        let ended = self.slots.get_mut(slot as usize)?.assigned.take()?;
        ended.assignment.end();
        Some(ended)
    }

    /// All assignments are over. Slots stay with their partitions, and epochs are numbered on, so that what was begun
    /// before is known to be stale.
    pub(crate) fn end_all(&mut self) {
        for slot in &mut self.slots {
            slot.measured = Measured::default();
            if let Some(ended) = slot.assigned.take() {
                ended.assignment.end();
            }
        }
        if is(Sabotage::RejoinNumbersAgain) {
            self.last_epoch = 0;
        }
    }

    /// The slot of a partition that is or was assigned.
    pub(crate) fn slot_of(&self, topic: &str, partition: i32) -> Option<u32> {
        self.slots.iter().position(|slot| slot.partition == partition && *slot.topic == *topic).map(to_u32)
    }

    /// The slots of partitions that are or were assigned.
    pub(crate) fn slots_of(&self, partitions: &[TopicPartition]) -> Vec<u32> {
        partitions.iter().filter_map(|at| self.slot_of(&at.topic, at.partition)).collect()
    }

    /// The partition of a slot.
    pub(crate) fn name(&self, slot: u32) -> Option<TopicPartition> {
        let Slot { topic, partition, .. } = self.slots.get(slot as usize)?;
        Some(TopicPartition { topic: topic.as_ref().to_owned(), partition: *partition })
    }

    /// What is assigned at a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&Assigned> {
        self.slots.get(slot as usize)?.assigned.as_ref()
    }

    /// What is assigned at a slot.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Assigned> {
        self.slots.get_mut(slot as usize)?.assigned.as_mut()
    }

    /// What is assigned of a partition.
    pub(crate) fn of_mut(&mut self, at: &TopicPartition) -> Option<&mut Assigned> {
        self.get_mut(self.slot_of(&at.topic, at.partition)?)
    }

    /// All that is assigned.
    pub(crate) fn assigned(&self) -> impl Iterator<Item = &Assigned> + Clone {
        self.slots.iter().filter_map(|slot| slot.assigned.as_ref())
    }

    /// All that is assigned.
    pub(crate) fn assigned_mut(&mut self) -> impl Iterator<Item = &mut Assigned> {
        self.slots.iter_mut().filter_map(|slot| slot.assigned.as_mut())
    }

    /// All that is assigned, with what is measured of it.
    pub(crate) fn with_measured(&self) -> impl Iterator<Item = (&Assigned, Measured)> {
        self.slots.iter().filter_map(|slot| Some((slot.assigned.as_ref()?, slot.measured)))
    }

    /// The client has measured its partitions. Those that it does not name are unknown.
    pub(crate) fn measured(&mut self, measured: impl IntoIterator<Item = (TopicPartition, Measured)>) {
        self.slots.iter_mut().for_each(|slot| slot.measured = Measured::default());
        for (at, measured) in measured {
            if let Some(slot) = self.slot_of(&at.topic, at.partition) {
                self.slots[slot as usize].measured = measured;
            }
        }
    }

    /// Whether nothing is assigned.
    pub(crate) fn is_empty(&self) -> bool {
        self.assigned().next().is_none()
    }
}

pub(crate) fn to_u32(number: usize) -> u32 {
    u32::try_from(number).expect("partitions of a member and bytes of a record stay far below 2^32")
}
