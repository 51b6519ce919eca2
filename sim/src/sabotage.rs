//! The bugs that are put into a member on purpose, to show that the history finds them; each with the check that it is for.

use crate::Violation;

macro_rules! sabotages {
    ($($(#[$doc:meta])+ $name:ident => $check:ident,)+) => {
        /// A bug put into the member on purpose, to show that the history finds it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sabotage {
            $($(#[$doc])+ $name,)+
        }

        impl Sabotage {
            /// Every bug that is known.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Whether it was found by the check that it is for.
            #[must_use]
            pub fn is_meant_by(self, broken: &Violation) -> bool {
                match self {
                    $(Self::$name => matches!(broken, Violation::$check { .. }),)+
                }
            }
        }
    };
}

sabotages! {
    /// A record counts as settled when it is polled.
    SettledAtThePoll => CommittedUnsettled,
    /// The committed offset passes unsettled records.
    FrontierPastAGap => CommittedUnsettled,
    /// An answer from an earlier assignment is taken for one of the current one.
    EpochIgnored => LeftUncommitted,
    /// An answer is matched by its offset alone.
    AnswerByOffsetAlone => CommittedUnsettled,
    /// What was given up unstarted is answered as settled.
    GivenUpAsSettled => CommittedUnsettled,
    /// A leaving partition is released without its last commit.
    ReleasedWithoutCommit => LeftUncommitted,
    /// A leaving partition is released without waiting for what was started.
    ReleasedWithoutDrain => LeftUncommitted,
    /// A commit counts as done when it is sent.
    CommitCountedWhenSent => LeftUncommitted,
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
    /// The handlers act without a lease.
    LeaseIgnored => ZombieActed,
    /// The lease is renewed although the member is in doubt.
    LeaseRenewedInDoubt => ZombieActed,
    /// The doubt is ended by the answer to a commit from before the gap.
    DoubtEndedByAnOldAnswer => ZombieActed,
    /// Lost partitions are drained and committed like those that leave.
    CommitOnLost => LostCommitted,
    /// Commits do not wait for their time.
    PaceIgnored => CommitStorm,
    /// Once work is held it is held for ever.
    HeldForEver => HeldTooLong,
    /// Work is started although it is held.
    HoldIgnored => StartedWhileHeld,
    /// A refused commit counts as accepted.
    RefusalCountedAsAccepted => LeftUncommitted,
    /// After a refusal nothing more is committed until something else happens.
    RefusalNotRepeated => NeverCommitted,
    /// A call that hangs is not cancelled.
    HungNotCancelled => Stuck,
    /// What a cancelled call answers later settles its event.
    LateAnswerSettles => SettledTwice,
    /// A note counts as taken when it is sent.
    NoteCountedWhenSent => LeftUncommitted,
    /// A note says of all that was polled that it is settled.
    NoteSaysWhatWasPolled => NotedUnsettled,
    /// Notes are not read.
    NoteIgnored => StartedAgain,
    /// A note is read one offset too high.
    NoteAtTheWrongBase => SkippedUnsettled,
    /// What was started of a partition goes on when it has moved.
    MovedNotCancelled => WorkedOnAfterTheEnd,
    /// What has moved is cancelled when the sweep comes, which may be after the lease is renewed.
    MovedCancelledBySweepsAlone => WorkedOnAfterTheEnd,
    /// There is nothing to ask the broker with any more, and the member waits for its answer.
    WaitsForAnAnswerToNothing => Stuck,
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
    /// What escalated is read on.
    EscalatedTopicRead => ReadWhilePaused,
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
}
