//! Which bug is put into the decisions on purpose? The simulator shows by them that its checks can fail.
//!
//! Without the feature `sabotage` there is none, and the compiler removes the question. A house test keeps the feature out
//! of every program.

#[cfg(feature = "sabotage")]
use std::cell::Cell;

/// A bug put into the decisions on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sabotage {
    // Of the worker.
    /// A record counts as settled when it arrives.
    SettledAtArrival,
    /// Records of a key have each a lane of their own.
    KeyIgnored,
    /// A failed event goes to the end of its lane.
    RetryOutOfOrder,
    /// The next event of a lane starts before the dead letter of the one before is written.
    DeadLetterNotAwaited,
    /// The lane of a dead letter waits for ever.
    NotResumedAfterADeadLetter,
    /// While a call takes long nothing else is started.
    SlowCallBlocksOthers,
    /// What was given up unstarted is answered as settled.
    GivenUpAsSettled,
    /// Nothing is answered for what failed before.
    FailedNotAnswered,
    /// The lease is not looked at.
    LeaseIgnored,
    /// What was started of a partition goes on when it has moved.
    MovedNotCancelled,
    /// A call is not cancelled at its deadline.
    DeadlineIgnored,
    /// A call that is cancelled at its deadline settles its event.
    CancelledCallSettles,
    /// A new handler counts the attempts from the beginning.
    AttemptsResetByARestart,
    /// The panic of a call to an earlier handler ends the present one.
    OldPanicEndsThePresent,
    /// The breaker counts failures, whosever they are.
    OneKeyOpens,
    /// What failed before others were handled counts like what failed since.
    OwnFaultCounts,
    /// A failure counts while calls that were in flight with it may still go well.
    InFlightIgnored,
    /// A success leaves the evidence as it is.
    SuccessNotCounted,
    /// The breaker stays closed whatever fails.
    NeverOpens,
    /// What fails while the breaker is open is dead-lettered.
    DeadLetteredWhileOpen,
    /// Half-open, all that could run runs.
    HalfOpenLetsAllThrough,
    /// Probes do not wait for their time.
    ProbedWithoutPause,
    /// A success does not close the breaker.
    NeverCloses,
    /// No record is asked for when all in memory have failed.
    NeverReadsOn,
    /// That a store is away counts as an attempt.
    UnavailableCounts,
    // Of the member.
    /// A record counts as settled when it is polled.
    SettledAtThePoll,
    /// The committed offset passes unsettled records.
    FrontierPastAGap,
    /// An answer from an earlier assignment is taken for one of the current one.
    EpochIgnored,
    /// An answer is matched by its offset alone.
    AnswerByOffsetAlone,
    /// A leaving partition is released without its last commit.
    ReleasedWithoutCommit,
    /// A leaving partition is released without waiting for what was started.
    ReleasedWithoutDrain,
    /// A commit counts as done when it is sent.
    CommitCountedWhenSent,
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
    /// The topic of a handler whose breaker is open is read on.
    OpenTopicRead,
    /// The lease is renewed although the member is in doubt.
    LeaseRenewedInDoubt,
    /// The doubt is ended by the answer to a commit from before the gap.
    DoubtEndedByAnOldAnswer,
    /// There is nothing to ask the broker with any more, and the member waits for its answer.
    WaitsForAnAnswerToNothing,
    /// Lost partitions are drained and committed like those that leave.
    CommitOnLost,
    /// Commits do not wait for their time.
    PaceIgnored,
    /// A refused commit counts as accepted.
    RefusalCountedAsAccepted,
    /// After a refusal nothing more is committed until something else happens.
    RefusalNotRepeated,
    /// A note counts as taken when it is sent.
    NoteCountedWhenSent,
    /// A note says of all that was polled that it is settled.
    NoteSaysWhatWasPolled,
    /// Notes are not read.
    NoteIgnored,
    /// A note is read one offset too high.
    NoteAtTheWrongBase,
    /// A note counts with any commit, also one that somebody set by hand.
    NoteOutlivesTheOffsets,
    /// The end of an assignment is not told to the workers.
    EndNotTold,
    /// Where a log went back its records are taken for repeats.
    LogWentBackIgnored,
    /// Where a log went back the assignment goes on, so that answers of the old log settle the new one.
    LogWentBackUnderTheSameEpoch,
    /// A member that begins again numbers its assignments from the beginning.
    RejoinNumbersAgain,
    /// A member that begins again forgets what operators paused.
    RejoinForgetsPauses,
    /// A member that an operator stopped joins again by itself.
    StopForgotten,
    /// Every failure of the consumer is the first.
    RejoinBudgetForgets,
}

#[cfg(feature = "sabotage")]
thread_local! {
    static PRESENT: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// From now on this thread has that bug, or none. Without the feature it has none.
#[cfg_attr(not(feature = "sabotage"), allow(unused_variables))]
pub fn set(sabotage: Option<Sabotage>) {
    #[cfg(feature = "sabotage")]
    PRESENT.set(sabotage);
}

/// Whether this thread has that bug.
#[cfg(feature = "sabotage")]
#[inline]
#[must_use]
pub fn is(sabotage: Sabotage) -> bool {
    PRESENT.get() == Some(sabotage)
}

/// No program has any bug of these.
#[cfg(not(feature = "sabotage"))]
#[inline]
#[must_use]
pub const fn is(_: Sabotage) -> bool {
    false
}
