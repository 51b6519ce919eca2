//! A seeded world around the pure decisions of `actors::delivery`: partitions, a group, members that crash, freeze and
//! come back, handlers that fail, commits that are late, lost or refused. A history checks what is promised.
//!
//! The same seed gives the same run, step by step: the trace's hash is in the report.

mod history;
mod member;
mod reading;
mod rng;
mod world;

pub use history::Violation;

/// A bug put into the member on purpose, to show that the history finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A record counts as settled when it is polled.
    SettledAtThePoll,
    /// The committed offset passes unsettled records.
    FrontierPastAGap,
    /// An answer from an earlier assignment is taken for one of the current one.
    EpochIgnored,
    /// An answer is matched by its offset alone.
    AnswerByOffsetAlone,
    /// What was given up unstarted is answered as settled.
    GivenUpAsSettled,
    /// A leaving partition is released without its last commit.
    ReleasedWithoutCommit,
    /// A leaving partition is released without waiting for what was started.
    ReleasedWithoutDrain,
    /// A commit counts as done when it is sent.
    CommitCountedWhenSent,
    /// Credits do not come back for what fails.
    CreditsLeaked,
    /// A failed event goes to the end of its lane.
    RetryOutOfOrder,
    /// A lane is released when its event starts.
    LaneReleasedAtTheStart,
    /// The next event of a lane starts before the dead letter of the one before is written.
    DeadLetterNotAwaited,
    /// The commit's metadata is not read.
    MetadataIgnored,
    /// The commit's metadata is read one offset too high.
    MetadataAtTheWrongBase,
    /// Metadata of another partition is trusted.
    MetadataOfAnotherPartition,
    /// A partition is read on although its progress may not fit into a commit, and what does not fit is cut off.
    ProgressCutOff,
    /// Reading goes on as long as there are credits, whosever they are.
    ShareIgnored,
    /// A partition that was paused is not resumed.
    NeverResumed,
    /// A pause of a topic is forgotten when a partition of it is assigned.
    PauseForgotten,
}

impl Sabotage {
    /// Every bug that is known.
    pub const ALL: [Self; 19] = [
        Self::SettledAtThePoll,
        Self::FrontierPastAGap,
        Self::EpochIgnored,
        Self::AnswerByOffsetAlone,
        Self::GivenUpAsSettled,
        Self::ReleasedWithoutCommit,
        Self::ReleasedWithoutDrain,
        Self::CommitCountedWhenSent,
        Self::CreditsLeaked,
        Self::RetryOutOfOrder,
        Self::LaneReleasedAtTheStart,
        Self::DeadLetterNotAwaited,
        Self::MetadataIgnored,
        Self::MetadataAtTheWrongBase,
        Self::MetadataOfAnotherPartition,
        Self::ProgressCutOff,
        Self::ShareIgnored,
        Self::NeverResumed,
        Self::PauseForgotten,
    ];
}

/// What happened in a run that kept every promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Hash of the trace.
    pub hash: u64,
    /// Records in all partitions.
    pub records: u64,
    /// Records handled or dead-lettered more than once.
    pub repeated: u64,
    /// Records left out because an earlier owner had settled them.
    pub skipped: u64,
    /// Partitions that changed their owner in order.
    pub clean_moves: u64,
    /// Partitions taken from an owner that was gone or frozen.
    pub taken: u64,
    /// Members that crashed.
    pub crashes: u64,
    /// Commits that the broker refused, or whose answer was lost.
    pub failed_commits: u64,
    /// Answers that were stale.
    pub stale_answers: u64,
    /// Times that a partition was held although there were credits.
    pub held: u64,
    /// Partitions paused because they had too much on their way.
    pub paused: u64,
    /// Times that somebody paused a topic.
    pub topic_pauses: u64,
}

/// Runs the world of a seed to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Violation> {
    world::World::new(seed, sabotage).run()
}
