//! What is the state of a member and of its partitions? For status and metrics.

use super::Member;
use super::assigned::Assigned;
use super::hold::PauseCause;
use super::partitions::Measured;
use super::stall::Stall;

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Nothing was assigned yet since it has joined.
    Joining,
    /// It has an assignment, which may be empty where the group has more members than partitions.
    Assigned,
    /// It finishes what was started, before it leaves.
    Draining,
    /// It is out of the group, and does not come back by itself.
    Stopped,
}

/// The state of one partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionView<'a> {
    /// Slot.
    pub slot: u32,
    /// Topic.
    pub topic: &'a str,
    /// Partition number.
    pub partition: i32,
    /// Epoch of the assignment.
    pub epoch: u32,
    /// The frontier; `None` before the first record.
    pub frontier: Option<i64>,
    /// The last offset the broker said it has, in this assignment.
    pub committed: Option<i64>,
    /// The last offset that was noted in addition to the group's commits, in this assignment.
    pub noted: Option<i64>,
    /// What the client measured.
    pub measured: Measured,
    /// Records in flight.
    pub in_flight: usize,
    /// Whether it leaves.
    pub leaving: bool,
    /// Why it is paused at the source, where it is.
    pub paused: Option<PauseCause>,
    /// Why its frontier does not move, where it does not although there is something to do.
    pub stall: Option<&'a Stall>,
}

impl PartitionView<'_> {
    /// Records that are not settled: by the frontier where both are known, and else as the client has it.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        match (self.measured.high_watermark, self.frontier) {
            (Some(high), Some(frontier)) => Some((high - frontier).max(0)),
            _ => self.measured.lag,
        }
    }
}

impl Member {
    /// Where it is.
    #[must_use]
    pub fn state(&self) -> MemberState {
        if self.rejoin.stays_out() || self.rejoin.is_over() {
            MemberState::Stopped
        } else if self.leaving.is_draining() {
            MemberState::Draining
        } else if self.joined {
            MemberState::Assigned
        } else {
            MemberState::Joining
        }
    }

    /// The state of each assigned partition.
    pub fn partition_views(&self) -> impl Iterator<Item = PartitionView<'_>> {
        self.partitions.with_measured().map(|(assigned, measured)| PartitionView {
            slot: assigned.slot(),
            topic: &assigned.assignment.topic,
            partition: assigned.assignment.partition,
            epoch: assigned.assignment.epoch,
            frontier: assigned.frontier.position(),
            committed: assigned.commits.taken(),
            noted: assigned.notes.taken(),
            measured,
            in_flight: assigned.in_flight(),
            leaving: !assigned.assignment.is_open(),
            paused: assigned.hold.paused(),
            stall: self.stalls.of(assigned.slot()),
        })
    }

    /// Partitions that are assigned.
    #[must_use]
    pub fn owned(&self) -> usize {
        self.partitions.assigned().count()
    }

    /// Records of all partitions that are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.backpressure.in_flight()
    }

    /// Records that may be read of a slot now.
    #[must_use]
    pub fn room_of(&self, slot: u32) -> usize {
        self.partitions.get(slot).map_or(0, |assigned: &Assigned| self.backpressure.room_of(assigned))
    }

    /// Records for which there are credits, of whatever partition.
    #[must_use]
    pub fn free(&self) -> usize {
        self.backpressure.free()
    }
}
