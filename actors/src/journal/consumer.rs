//! The consumer: its partitions, its commits, and that it was frozen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{debug, error, info, warn};

use super::Entry;

/// Partitions were assigned, revoked or lost.
pub struct Rebalanced<'a> {
    /// What happened to them.
    pub change: Change,
    /// Which, as `topic/first-last,other`, separated by spaces.
    pub partitions: &'a str,
    /// How many this member owns now.
    pub owned: usize,
}

/// What happened to partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They came to this member.
    Assigned,
    /// They leave this member, after their records were drained and committed.
    Revoked,
    /// They were taken without asking: nothing could be committed.
    Lost,
}

impl Entry for Rebalanced<'_> {
    #[allow(clippy::cast_precision_loss)] // a gauge is an f64; partitions are few
    fn write(&self, service: &Arc<str>) {
        let Self { partitions, owned, .. } = self;
        let change = match self.change {
            Change::Assigned => "assigned",
            Change::Revoked => "revoked",
            Change::Lost => "lost",
        };
        if self.change == Change::Lost {
            warn!(%service, partitions, owned, "partitions lost");
        } else {
            info!(%service, change, partitions, owned, "rebalanced");
        }
        counter!("rebalances_total", "service" => service.clone(), "change" => change).increment(1);
        gauge!("partitions_owned", "service" => service.clone()).set(*owned as f64);
    }
}

/// Somebody paused a topic, or ended its pause.
pub struct TopicPaused<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Which of the two.
    pub paused: bool,
    /// Partitions of it that this member has.
    pub partitions: usize,
}

impl Entry for TopicPaused<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { topic, paused, partitions } = self;
        info!(%service, topic, paused, partitions, "topic paused or resumed");
    }
}

/// Partitions are not read any more, or again.
pub struct PartitionsPaused<'a> {
    /// Which of the two.
    pub paused: bool,
    /// `operator`, `supervisor`, or `backpressure`: too much of them is on its way.
    pub cause: &'static str,
    /// Which, as `topic/first-last,other`, separated by spaces.
    pub partitions: &'a str,
}

impl Entry for PartitionsPaused<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { paused, cause, partitions } = self;
        if *paused {
            info!(%service, cause, partitions, "partitions paused");
            counter!("partition_pauses_total", "service" => service.clone(), "cause" => *cause).increment(1);
        } else {
            info!(%service, cause, partitions, "partitions resumed");
        }
    }
}

/// So many partitions are paused now.
pub struct PausedPartitions {
    /// `operator`, `supervisor`, or `backpressure`.
    pub cause: &'static str,
    /// How many.
    pub count: usize,
}

impl Entry for PausedPartitions {
    #[allow(clippy::cast_precision_loss)] // a gauge is an f64; partitions are few
    fn write(&self, service: &Arc<str>) {
        gauge!("partitions_paused", "service" => service.clone(), "cause" => self.cause).set(self.count as f64);
    }
}

/// The consumer's thread was frozen for so long that its partitions may be another's. It holds everything until the
/// broker has confirmed that it still is a member.
pub struct MembershipDoubted {
    /// How long it was frozen.
    pub gap: Duration,
}

impl Entry for MembershipDoubted {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, gap = ?self.gap, "was frozen: holds everything until the broker confirms its membership");
        counter!("membership_doubts_total", "service" => service.clone()).increment(1);
    }
}

/// The broker took a commit after that: the member goes on where it was.
pub struct MembershipConfirmed;

impl Entry for MembershipConfirmed {
    fn write(&self, service: &Arc<str>) {
        info!(%service, "membership confirmed");
    }
}

/// A frontier does not move although there is something to do.
pub struct Stalled<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// The lowest unsettled offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a str>,
    /// Its handler.
    pub handler: &'a str,
    /// What it waits for.
    pub why: &'a str,
    /// For how long it has not moved.
    pub still: Duration,
    /// Partitions that are stalled now.
    pub known: usize,
}

impl Entry for Stalled<'_> {
    #[allow(clippy::cast_precision_loss)] // a gauge is an f64; partitions are few
    fn write(&self, service: &Arc<str>) {
        let Self { topic, partition, offset, key, handler, why, still, known } = self;
        error!(%service, topic, partition, offset, key, handler, why, ?still, "stalled");
        gauge!("partitions_stalled", "service" => service.clone()).set(*known as f64);
    }
}

/// A frontier that was stalled moves again.
pub struct StallOver<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// The offset it was at.
    pub offset: i64,
    /// Partitions that are stalled now.
    pub known: usize,
}

impl Entry for StallOver<'_> {
    #[allow(clippy::cast_precision_loss)] // a gauge is an f64; partitions are few
    fn write(&self, service: &Arc<str>) {
        let Self { topic, partition, offset, known } = self;
        info!(%service, topic, partition, offset, "stall over");
        gauge!("partitions_stalled", "service" => service.clone()).set(*known as f64);
    }
}

/// Offsets were committed.
pub struct Committed {
    /// Partitions in the commit.
    pub partitions: usize,
}

impl Entry for Committed {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, partitions = self.partitions, "committed");
        counter!("commits_total", "service" => service.clone()).increment(1);
    }
}

/// A commit was refused or not answered; it is repeated from a newer snapshot.
pub struct CommitFailed<'a> {
    /// The partition, or all.
    pub partition: &'a str,
    /// Why.
    pub error: &'a dyn fmt::Display,
}

impl Entry for CommitFailed<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, partition = self.partition, error = %self.error, "commit failed");
        counter!("commits_failed_total", "service" => service.clone()).increment(1);
    }
}

/// Progress that the group takes no commit of was noted in a second group.
pub struct NotesTaken {
    /// Partitions that were noted.
    pub partitions: usize,
}

impl Entry for NotesTaken {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, partitions = self.partitions, "progress noted in a second group");
        counter!("notes_total", "service" => service.clone()).increment(1);
    }
}

/// A note was refused or not answered; it is repeated from a newer snapshot.
pub struct NotesRefused<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
    /// Whether the one before was, too.
    pub again: bool,
}

impl Entry for NotesRefused<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { error, again } = self;
        if *again {
            debug!(%service, %error, "progress not noted");
        } else {
            warn!(%service, %error, "progress not noted, while the group takes no commits");
        }
        counter!("notes_failed_total", "service" => service.clone()).increment(1);
    }
}

/// Notes of earlier owners told of progress that the group's commits do not have.
pub struct NotesRead {
    /// Partitions that they were of.
    pub partitions: usize,
}

impl Entry for NotesRead {
    fn write(&self, service: &Arc<str>) {
        info!(%service, partitions = self.partitions, "goes on from notes newer than the group's commits");
        counter!("notes_read_total", "service" => service.clone()).increment(1);
    }
}

/// The consumer met an error it could not go on from; it leaves the group and joins again.
pub struct ConsumerRestarted<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
    /// Restarts without an assignment in between.
    pub attempt: u32,
}

impl Entry for ConsumerRestarted<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, error = %self.error, attempt = self.attempt, "consumer restarts");
        counter!("consumer_restarts_total", "service" => service.clone()).increment(1);
    }
}

/// What was settled above a committed offset could not be read; it is handled again.
pub struct ProgressUnread<'a> {
    /// The partition, or all.
    pub partition: &'a str,
    /// Why.
    pub error: &'a dyn fmt::Display,
}

impl Entry for ProgressUnread<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, partition = self.partition, error = %self.error, "progress above the commit not read");
        counter!("progress_unread_total", "service" => service.clone()).increment(1);
    }
}

/// A partition's log went back behind what was polled: its topic was created again, or its end was cut. It begins again.
pub struct LogWentBack {
    /// How many times.
    pub count: u64,
}

impl Entry for LogWentBack {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, count = self.count, "a log went back: its records are handled from there on");
        counter!("logs_went_back_total", "service" => service.clone()).increment(self.count);
    }
}

/// Records came again that were settled in an earlier assignment; they were left out.
pub struct RecordsSkipped {
    /// How many.
    pub count: u64,
}

impl Entry for RecordsSkipped {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, count = self.count, "records settled before left out");
        counter!("records_skipped_total", "service" => service.clone()).increment(self.count);
    }
}

/// An answer came for an assignment that is no more, or for a record that was never polled; it was dropped.
pub struct StaleAnswers {
    /// How many.
    pub count: u64,
}

impl Entry for StaleAnswers {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, count = self.count, "stale answers dropped");
        counter!("answers_stale_total", "service" => service.clone()).increment(self.count);
    }
}

/// Records of a leaving partition were given up before they were started; their next owner gets them.
pub struct GivenUp {
    /// How many.
    pub count: u64,
}

impl Entry for GivenUp {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, count = self.count, "records of leaving partitions given up unstarted");
        counter!("records_given_up_total", "service" => service.clone()).increment(self.count);
    }
}

/// A leaving partition's started records were not settled in time; their next owner repeats them.
pub struct DrainTimedOut {
    /// Records still being worked on.
    pub unsettled: usize,
}

impl Entry for DrainTimedOut {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, unsettled = self.unsettled, "drain deadline passed: these records will be repeated");
        counter!("drains_timed_out_total", "service" => service.clone()).increment(1);
    }
}
