//! The bugs that are put into a member on purpose, to show that the history finds them; each with the check that it is for.

use delivery::sabotage::Sabotage as Shipped;

use crate::Violation;

macro_rules! sabotages {
    ($($(#[$doc:meta])+ $name:ident => $check:ident,)+) => {
        /// A bug put into the member on purpose, to show that the history finds it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sabotage {
            $($(#[$doc])+ $name,)+
            /// A switch in the shipped code.
            Shipped(Shipped),
        }

        impl Sabotage {
            /// Every bug of the member's copy that is known.
            const OF_THE_MEMBER: &[Self] = &[$(Self::$name),+];

            /// Whether it was found by the check that it is for.
            #[must_use]
            pub fn is_meant_by(self, broken: &Violation) -> bool {
                match self {
                    $(Self::$name => matches!(broken, Violation::$check { .. }),)+
                    Self::Shipped(shipped) => shipped_is_meant_by(shipped, broken),
                }
            }
        }
    };
}

sabotages! {
    /// The committed offset passes unsettled records.
    FrontierPastAGap => CommittedUnsettled,
    /// An answer from an earlier assignment is taken for one of the current one.
    EpochIgnored => LeftUncommitted,
    /// An answer is matched by its offset alone.
    AnswerByOffsetAlone => CommittedUnsettled,
    /// A leaving partition is released without its last commit.
    ReleasedWithoutCommit => LeftUncommitted,
    /// A leaving partition is released without waiting for what was started.
    ReleasedWithoutDrain => LeftUncommitted,
    /// A commit counts as done when it is sent.
    CommitCountedWhenSent => LeftUncommitted,
    /// The commit's metadata is not read.
    MetadataIgnored => StartedAgain,
    /// The commit's metadata is read one offset too high.
    MetadataAtTheWrongBase => SkippedUnsettled,
    /// Metadata of another partition is trusted.
    MetadataOfAnotherPartition => SkippedUnsettled,
    /// A partition is read on although its progress may not fit into a commit, and what does not fit is cut off.
    ProgressCutOff => LeftOut,
    /// Reading goes on as long as there are credits, whosever they are.
    ShareIgnored => NothingLeft,
    /// A partition that was paused is not resumed.
    NeverResumed => Stuck,
    /// A pause of a topic is forgotten when a partition of it is assigned.
    PauseForgotten => ReadWhilePaused,
    /// The lease is renewed although the member is in doubt.
    LeaseRenewedInDoubt => ZombieActed,
    /// The doubt is ended by the answer to a commit from before the gap.
    DoubtEndedByAnOldAnswer => ZombieActed,
    /// Lost partitions are drained and committed like those that leave.
    CommitOnLost => LostCommitted,
    /// What the handler's breaker is open for is read on.
    OpenTopicRead => ReadWhilePaused,
    /// Commits do not wait for their time.
    PaceIgnored => CommitStorm,
    /// Once work is held it is held for ever.
    HeldForEver => HeldTooLong,
    /// A refused commit counts as accepted.
    RefusalCountedAsAccepted => LeftUncommitted,
    /// After a refusal nothing more is committed until something else happens.
    RefusalNotRepeated => NeverCommitted,
    /// A note counts as taken when it is sent.
    NoteCountedWhenSent => LeftUncommitted,
    /// A note says of all that was polled that it is settled.
    NoteSaysWhatWasPolled => NotedUnsettled,
    /// Notes are not read.
    NoteIgnored => StartedAgain,
    /// A note is read one offset too high.
    NoteAtTheWrongBase => SkippedUnsettled,
    /// There is nothing to ask the broker with any more, and the member waits for its answer.
    WaitsForAnAnswerToNothing => Stuck,
}

macro_rules! shipped {
    ($($name:ident => $check:ident,)+) => {
        const SHIPPED: &[Shipped] = &[$(Shipped::$name),+];

        fn shipped_is_meant_by(shipped: Shipped, broken: &Violation) -> bool {
            match shipped {
                $(Shipped::$name => matches!(broken, Violation::$check { .. }),)+
            }
        }
    };
}

shipped! {
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
}

impl Sabotage {
    /// Every bug that is known.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OF_THE_MEMBER.iter().copied().chain(SHIPPED.iter().copied().map(Self::Shipped))
    }
}
