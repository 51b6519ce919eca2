//! A member as its driver sees it: what comes in, and which effects come out.

mod backpressure;
mod commits;
mod frontier;
mod intake;
mod leaving;
mod notes;
mod rejoin;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::effect::{Effect, Told};
use super::ingest::Ingest;
use super::progress::codec::MAX_METADATA_BYTES;
use super::status::MemberState;
use super::*;
use crate::assignment::Assignment;
use crate::partition::PartitionOffset;

pub(super) const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracked {
    New,
    SettledBefore,
    NoRoom,
    Refused,
}

/// A member with a clock of its own.
pub(super) struct Kit {
    pub(super) member: Member,
    pub(super) lease: Arc<Lease>,
    pub(super) now: Instant,
}

impl Kit {
    pub(super) fn new(records: usize, free_bytes: usize, max_metadata_bytes: usize) -> Self {
        let now = Instant::now();
        let config = MemberConfig {
            max_in_flight_records: records,
            max_metadata_bytes,
            commit_interval: COMMIT_INTERVAL,
            drain_deadline: DRAIN,
            stop_deadline: DRAIN,
            restart: RestartPolicy::default(),
            keeps_notes: true,
            nonce: 0,
        };
        let lease = Arc::new(Lease::new(now));
        let mut member = Member::new(config, Arc::clone(&lease), now);
        member.backpressure.set_free_bytes(free_bytes);
        member.turn(now);
        Self { member, lease, now }
    }

    /// With room for whatever a test reads.
    pub(super) fn roomy() -> Self {
        Self::new(100, 100_000, MAX_METADATA_BYTES)
    }

    pub(super) fn later(&mut self, by: Duration) {
        self.now += by;
    }

    /// What the member has its driver do now.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.member.poll_effect()).collect()
    }

    /// The same without what it tells.
    pub(super) fn acts(&mut self) -> Vec<Effect> {
        let acts = |effect: &Effect| !matches!(effect, Effect::Tell(_) | Effect::Status);
        self.effects().into_iter().filter(acts).collect()
    }

    /// What it tells now.
    pub(super) fn told(&mut self) -> Vec<Told> {
        let told = |effect| if let Effect::Tell(told) = effect { Some(told) } else { None };
        self.effects().into_iter().filter_map(told).collect()
    }

    pub(super) fn assign(&mut self, topic: &str, partition: i32) -> (u32, u32) {
        self.member.assigned(vec![at(topic, partition)], self.now);
        let slot = self.member.slot_of(topic, partition).unwrap();
        (slot, self.assignment(slot).epoch)
    }

    pub(super) fn assignment(&self, slot: u32) -> Arc<Assignment> {
        Arc::clone(&self.member.partitions.get(slot).unwrap().assignment)
    }

    pub(super) fn track(&mut self, slot: u32, offset: i64, bytes: usize) -> Tracked {
        self.member.intake.begin();
        match self.member.ingest(slot, offset, bytes) {
            Ingest::Take(_) => Tracked::New,
            Ingest::NoRoom => Tracked::NoRoom,
            Ingest::SettledBefore => Tracked::SettledBefore,
            Ingest::Refused => Tracked::Refused,
        }
    }

    pub(super) fn take(&mut self, slot: u32, offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            assert_eq!(self.track(slot, offset, 10), Tracked::New);
        }
    }

    pub(super) fn settle(&mut self, (slot, epoch): (u32, u32), offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            self.member.answered(&[settled(slot, epoch, offset)]);
        }
    }

    /// Begins a commit of all.
    pub(super) fn commit(&mut self) -> Option<(u64, Vec<PartitionOffset>)> {
        self.member.commits.begin(&mut self.member.partitions, |_| true, self.now)
    }

    pub(super) fn commit_answered(&mut self, slot: u32, number: u64, taken: Taken) {
        let at = self.member.partitions.name(slot).unwrap();
        self.member.commit_answered(number, &[(at, taken)], self.now);
    }

    /// Begins a note of all.
    pub(super) fn note(&mut self) -> Option<(u64, Vec<PartitionOffset>)> {
        self.later(Duration::from_secs(1));
        self.member.notes.next(&mut self.member.partitions, self.now)
    }

    pub(super) fn note_answered(&mut self, slot: u32, number: u64, taken: Taken) {
        let at = self.member.partitions.name(slot).unwrap();
        self.member.note_answered(number, &[(at, taken)], self.now);
    }

    /// Whether neither a commit nor a note says all of a slot.
    pub(super) fn is_unsaid(&self, slot: u32) -> bool {
        super::progress::notes::unsaid(self.member.partitions.get(slot).unwrap()).is_some()
    }

    pub(super) fn is_uncommitted(&self, slot: u32) -> bool {
        super::progress::commits::uncommitted(self.member.partitions.get(slot).unwrap()).is_some()
    }
}

pub(super) fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition }
}

/// An offset of partition 0 of `t`.
pub(super) fn offset(offset: i64, metadata: &str) -> PartitionOffset {
    PartitionOffset { topic: "t".to_owned(), partition: 0, offset, metadata: metadata.to_owned() }
}

pub(super) fn settled(slot: u32, epoch: u32, offset: i64) -> Answer {
    Answer { slot, epoch, offset, settled: true }
}

/// The offsets of a commit.
pub(super) fn offsets(commit: Option<&(u64, Vec<PartitionOffset>)>) -> Vec<i64> {
    commit.iter().flat_map(|(_, offsets)| offsets).map(|at| at.offset).collect()
}

/// The release of partition 0 of `t`.
pub(super) fn released(in_order: bool) -> Effect {
    Effect::Release { partitions: vec![at("t", 0)], in_order }
}
