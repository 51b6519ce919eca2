//! The bugs that are put into a process on purpose, to show that the history finds them; each with the check that it is for.

use delivery::sabotage::Sabotage as Shipped;

use crate::Violation;

macro_rules! sabotages {
    ({ $($shipped:ident => $found:ident,)+ } { $($(#[$doc:meta])+ $name:ident => $check:ident,)+ }) => {
        /// A bug put into a process on purpose, to show that the history finds it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sabotage {
            $($(#[$doc])+ $name,)+
            /// A switch inside the shipped code.
            Shipped(Shipped),
        }

        impl Sabotage {
            /// Every bug that is known.
            pub const ALL: &[Self] = &[$(Self::Shipped(Shipped::$shipped),)+ $(Self::$name),+];

            /// Whether it was found by the check that it is for.
            #[must_use]
            pub fn is_meant_by(self, broken: &Violation) -> bool {
                match self {
                    $(Self::$name => matches!(broken, Violation::$check { .. }),)+
                    $(Self::Shipped(Shipped::$shipped) => matches!(broken, Violation::$found { .. }),)+
                }
            }

            /// The switch that is set in the shipped code, where it is one.
            pub(crate) fn shipped(self) -> Option<Shipped> {
                if let Self::Shipped(shipped) = self { Some(shipped) } else { None }
            }
        }
    };
}

sabotages! {{
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
    EscalatedTopicRead => ReadWhilePaused,
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
    RejoinNumbersAgain => NeverCommitted,
    RejoinForgetsPauses => ReadWhilePaused,
    StopForgotten => JoinedWhileStopped,
    RejoinBudgetForgets => RejoinedTooSoon,
} {
    /// What was given up unstarted is answered as settled.
    GivenUpAsSettled => CommittedUnsettled,
    /// Credits do not come back for what fails.
    CreditsLeaked => Stuck,
    /// A failed event goes to the end of its lane.
    RetryOutOfOrder => OutOfOrder,
    /// A lane is released when its event starts.
    LaneReleasedAtTheStart => TwoOfAKey,
    /// The next event of a lane starts before the dead letter of the one before is written.
    DeadLetterNotAwaited => TwoOfAKey,
    /// The lane of a dead letter waits for ever.
    NotResumedAfterADeadLetter => Blocked,
    /// While a call takes long nothing else is started.
    HungBlocksOthers => Blocked,
    /// The handlers act without a lease.
    LeaseIgnored => ZombieActed,
    /// A call that hangs is not cancelled.
    HungNotCancelled => Stuck,
    /// What a cancelled call answers later settles its event.
    LateAnswerSettles => SettledTwice,
    /// What was started of a partition goes on when it has moved.
    MovedNotCancelled => WorkedOnAfterTheEnd,
    /// A new handler counts the attempts from the beginning.
    AttemptsResetByARestart => TooManyAttempts,
    /// A restart forgives the failures before it.
    BudgetForgets => RestartedTooSoon,
    /// A success forgives nothing.
    SuccessNotCounted => NotForgiven,
    /// No restart waits for its time.
    BackoffIgnored => RestartedTooSoon,
    /// On trial all that could run runs.
    TrialLetsAllThrough => TwoOnTrial,
    /// The success of a call to an earlier handler ends the trial of the present one.
    OldSuccessForgives => ForgivenByAnOldOne,
    /// The panic of a call to an earlier handler ends the present one.
    OldPanicCounts => FelledByAnOldOne,
    /// The repeated panic of one event counts for the budget.
    BadEventHeldAgainstTheHandler => BlamedTooSoon,
    /// What failed before others were handled counts like what failed since.
    ErasIgnored => BlamedTooSoon,
    /// Whatever else runs, the first panics count for the budget.
    DoubtIgnored => BlamedTooSoon,
    /// The panic of an event that had failed before never counts for the budget.
    FailedBeforeForgiven => ForgivenTooLong,
    /// The first probe that is needed is not made.
    GivenUpAtTheFirstProbe => GivenUpTooEarly,
    /// Who is given up answers for what it holds as if it were settled.
    SettledByGivingUp => CommittedUnsettled,
}}
