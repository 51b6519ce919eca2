//! What goes between a process and the world.

use delivery::member::Taken;
use delivery::member::effect::OrderId;
use delivery::member::progress::codec::decode;
use delivery::member::progress::name;
use delivery::partition::{PartitionOffset, TopicPartition};

use crate::history::{Edition, Known, Tenure};

/// What earlier owners of a partition left at the broker.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// What the group has.
    pub(crate) committed: Option<(i64, String)>,
    /// What was noted in addition.
    pub(crate) note: Option<(i64, String)>,
    /// What both say, where they go together.
    pub(crate) known: Known,
}

/// What the group tells a member.
#[derive(Clone, Debug)]
pub(crate) enum GroupEvent {
    /// Partitions come, each with what the broker has of it.
    Assigned { partitions: Vec<(Tenure, Left)> },
    /// Partitions must be given away.
    Revoked { partitions: Vec<usize> },
    /// All is another's, or will be.
    Lost,
}

/// A partition that a member gave away.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) tenure: Tenure,
    /// What this assignment settled.
    pub(crate) settled: Vec<i64>,
    /// All was answered and committed, as far as the member knows.
    pub(crate) in_order: bool,
    /// Whether any of it was still worked on.
    pub(crate) working: bool,
}

/// A commit or a note on its way to the broker.
#[derive(Clone, Debug)]
pub(crate) struct CommitRequest {
    pub(crate) number: u64,
    pub(crate) parts: Vec<(Tenure, Edition, PartitionOffset)>,
}

/// The broker's answer.
#[derive(Clone, Debug)]
pub(crate) struct CommitAnswer {
    pub(crate) number: u64,
    pub(crate) taken: Vec<(TopicPartition, Taken)>,
}

/// What becomes of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It heard that it lost all, or has another client: it joins.
    Joins,
    /// It asks the group to let it go.
    Leaves,
    /// Its client is closed: it is no member any more.
    Closed,
    /// Its process is no more.
    Gone,
}

/// What a process does to the world.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) commits: Vec<CommitRequest>,
    pub(crate) notes: Vec<CommitRequest>,
    pub(crate) released: Vec<Released>,
    /// What became of its membership, in order.
    pub(crate) changes: Vec<Change>,
    /// Orders that have ended.
    pub(crate) reports: Vec<(OrderId, bool)>,
}

/// What a commit and the note in addition to it say together: the note counts where it goes on from that commit.
pub(crate) fn together(committed: Option<&(i64, String)>, note: Option<&(i64, String)>) -> Known {
    let (offset, metadata) = committed.cloned().unwrap_or_default();
    let mut runs = decode(offset, &metadata).unwrap_or_default();
    let counts = name::CommitName::of(offset, &metadata);
    if let Some((noted, text)) = note
        && let Some(progress) = counts.and_then(|commit| name::read(text, commit))
    {
        runs.push(offset..*noted);
        runs.extend(decode(*noted, progress).unwrap_or_default());
    }
    Known { offset, runs }
}
