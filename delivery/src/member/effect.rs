//! What does a member have its driver do, and what does it tell?

use std::time::Duration;

use crate::member::hold::PauseCause;
use crate::member::progress::codec::DecodeError;
use crate::member::stall::Stall;
use crate::partition::{PartitionOffset, TopicPartition};
use crate::restart_budget::Verdict;

/// Something to carry out, in the order in which it comes out of [`Member::poll_effect`](crate::member::Member::poll_effect).
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Partitions come: ask within these times what the group has committed of them and what was noted, hand that to
    /// [`Member::go_on_from`](crate::member::Member::go_on_from), and have the client fetch.
    Accept {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// How long to wait for what was committed.
        committed_within: Duration,
        /// How long to wait for what was noted.
        noted_within: Duration,
    },
    /// Partitions belong to others from now on.
    Release {
        /// Which.
        partitions: Vec<TopicPartition>,
        /// Whether all that was started of them is settled, and the broker has said that it knows.
        in_order: bool,
    },
    /// Commit these offsets; the answer comes back under this number.
    Commit {
        /// The commit's number.
        number: u64,
        /// What it says.
        offsets: Vec<PartitionOffset>,
    },
    /// Note these offsets; the answer comes back under this number.
    Note {
        /// The note's number.
        number: u64,
        /// What it says.
        offsets: Vec<PartitionOffset>,
    },
    /// Fetch nothing more of these, and forget what is in the stash of them: where there was something, it is read again
    /// from the given offset on.
    Pause {
        /// Why.
        cause: PauseCause,
        /// Which, and where their reader is.
        partitions: Vec<(TopicPartition, Option<i64>)>,
    },
    /// Fetch again, from where it was paused.
    Resume {
        /// Why it was paused.
        cause: PauseCause,
        /// Which.
        partitions: Vec<TopicPartition>,
    },
    /// Read a partition from this offset on.
    Seek(TopicPartition, i64),
    /// Ask the group to be let go: what is assigned comes back as revoked.
    LeaveGroup,
    /// Close the client, and forget what was read with it.
    CloseClient,
    /// Make another client, and say what became of that: [`Member::opened`](crate::member::Member::opened) or
    /// [`Member::failed`](crate::member::Member::failed).
    OpenClient,
    /// An operator's order has ended: with this result, or with this reason for its failure.
    Report(OrderId, Result<&'static str, String>),
    /// Write this to the journal.
    Tell(Told),
    /// Something changed that the status shows.
    Status,
    /// The member is no more.
    End(End),
}

/// Names an order of an operator.
pub type OrderId = u64;

/// What an operator can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Leave the group in order and join it again.
    JoinAgain,
    /// Leave the group in order and stay out of it.
    Stop,
    /// Join the group again after a stop.
    Start,
}

/// How a member ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped {
        /// Whether it owns nothing, and every commit and note was answered: then closing the client does not wait.
        in_order: bool,
    },
    /// It does not come back; its restart budget is used up.
    GivenUp,
    /// Another member has its place.
    Fenced(String),
}

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Partitions came.
    Assigned(Vec<TopicPartition>),
    /// Partitions were drained, committed and released.
    Revoked(Vec<TopicPartition>),
    /// Partitions were taken without asking: nothing was committed.
    Lost(Vec<TopicPartition>),
    /// So many records that leave were not settled in time.
    DrainTimedOut(usize),
    /// So many records were left out: an earlier owner had settled them.
    Skipped(u64),
    /// Logs went back so often.
    LogsWentBack(u64),
    /// So many answers were stale.
    StaleAnswers(u64),
    /// So many records were given up unstarted.
    GivenUp(u64),
    /// The thread was frozen for so long that what it holds may be another's.
    Doubted(Duration),
    /// The broker confirmed that this is a member.
    Confirmed,
    /// The progress of a partition could not be read: it is handled again.
    ProgressUnread(TopicPartition, DecodeError),
    /// The notes of so many partitions count.
    NotesRead(usize),
    /// The broker took a commit of so many partitions.
    Committed(usize),
    /// The broker took a note of so many partitions.
    Noted(usize),
    /// The member cannot go on as it is.
    Failed {
        /// Why.
        cause: String,
        /// Failures in a row.
        attempt: u32,
        /// What comes now; `None` where the failure does not count.
        verdict: Option<Verdict>,
    },
    /// It has worked for so long that its failures are forgiven, after it was over its budget.
    Recovered,
    /// An operator stopped it.
    StoppedByOperator,
    /// An operator started it.
    StartedByOperator,
    /// A frontier does not move although there is something to do.
    Stalled {
        /// Which.
        partition: TopicPartition,
        /// Where, since when, and why.
        stall: Stall,
        /// Partitions that do not move now.
        known: usize,
    },
    /// A frontier moves again.
    StallOver {
        /// Which.
        partition: TopicPartition,
        /// Where it was.
        offset: i64,
        /// Partitions that do not move now.
        known: usize,
    },
}
