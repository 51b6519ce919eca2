//! Which check is each deliberate bug of the shipped code for?

pub use delivery::sabotage::Sabotage;

use crate::Violation;

macro_rules! sabotages {
    ($($name:ident => $check:ident,)+) => {
        /// Every bug that is known.
        pub const SABOTAGES: &[Sabotage] = &[$(Sabotage::$name),+];

        /// Whether a bug was found by the check that it is for.
        #[must_use]
        pub fn is_meant_by(sabotage: Sabotage, broken: &Violation) -> bool {
            match sabotage {
                $(Sabotage::$name => matches!(broken, Violation::$check { .. }),)+
            }
        }
    };
}

sabotages! {
    SettledAtArrival => CommittedUnsettled,
    KeyIgnored => TwoOfAKey,
    RetryOutOfOrder => OutOfOrder,
    DeadLetterNotAwaited => TwoOfAKey,
    NotResumedAfterADeadLetter => Blocked,
    SlowCallBlocksOthers => Blocked,
    GivenUpAsSettled => CommittedUnsettled,
    FailedNotAnswered => NeverCommitted,
    LeaseIgnored => ZombieActed,
    MovedNotCancelled => WorkedOnAfterTheEnd,
    DeadlineIgnored => Stuck,
    CancelledCallSettles => CommittedUnsettled,
    AttemptsResetByARestart => AttemptsLost,
    OldPanicEndsThePresent => EndedByAnOldPanic,
    OneKeyOpens => OpenedTooSoon,
    OwnFaultCounts => OpenedTooSoon,
    InFlightIgnored => OpenedTooSoon,
    SuccessNotCounted => OpenedTooSoon,
    NeverOpens => OpenedTooLate,
    DeadLetteredWhileOpen => DeadLetteredWhileOpen,
    HalfOpenLetsAllThrough => TwoProbes,
    ProbedWithoutPause => ProbedTooSoon,
    NeverCloses => NotClosed,
    NeverReadsOn => Stuck,
    UnavailableCounts => DeadLetteredWhileAway,
    SettledAtThePoll => CommittedUnsettled,
    FrontierPastAGap => CommittedUnsettled,
    EpochIgnored => LeftUncommitted,
    AnswerByOffsetAlone => CommittedUnsettled,
    ReleasedWithoutCommit => LeftUncommitted,
    ReleasedWithoutDrain => LeftUncommitted,
    CommitCountedWhenSent => LeftUncommitted,
    MetadataIgnored => StartedAgain,
    MetadataAtTheWrongBase => SkippedUnsettled,
    MetadataOfAnotherPartition => SkippedUnsettled,
    ProgressCutOff => LeftOut,
    ShareIgnored => NothingLeft,
    NeverResumed => Stuck,
    PauseForgotten => ReadWhilePaused,
    OpenTopicRead => ReadWhilePaused,
    LeaseRenewedInDoubt => ZombieActed,
    DoubtEndedByAnOldAnswer => ZombieActed,
    WaitsForAnAnswerToNothing => Stuck,
    CommitOnLost => LostCommitted,
    PaceIgnored => CommitStorm,
    RefusalCountedAsAccepted => LeftUncommitted,
    RefusalNotRepeated => NeverCommitted,
    NoteCountedWhenSent => LeftUncommitted,
    NoteSaysWhatWasPolled => NotedUnsettled,
    NoteIgnored => StartedAgain,
    NoteAtTheWrongBase => SkippedUnsettled,
    NoteOutlivesTheOffsets => SkippedUnsettled,
    EndNotTold => WorkedOnAfterTheEnd,
    LogWentBackIgnored => Stuck,
    LogWentBackUnderTheSameEpoch => CommittedUnsettled,
    RejoinNumbersAgain => LeftOut,
    RejoinForgetsPauses => ReadWhilePaused,
    StopForgotten => JoinedWhileStopped,
    RejoinBudgetForgets => RejoinedTooSoon,
}
