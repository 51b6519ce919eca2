//! The promises, as what it is called when one is broken.

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A commit passed a record that was neither handled nor dead-lettered.
    #[error("partition {0}: offset {1} is committed and was never settled")]
    CommittedUnsettled(usize, i64),
    /// A note in addition to the group's commits passed a record that was neither handled nor dead-lettered.
    #[error("partition {0}: offset {1} is noted as settled and never was")]
    NotedUnsettled(usize, i64),
    /// A commit of an assignment is lower than one before.
    #[error("partition {0}: offset {1} was committed, then a lower one")]
    CommitWentBack(usize, i64),
    /// A record was started although its owner knew it to be settled.
    #[error("partition {0}: offset {1} was started again although its settlement was committed before the assignment")]
    StartedAgain(usize, i64),
    /// Two events of a key were worked on at once by one member.
    #[error("partition {0}: offset {1} was started while another event of its key was worked on")]
    TwoOfAKey(usize, i64),
    /// A record could be started and was not.
    #[error("partition {0}: offset {1} could be started, and nothing of its key is worked on, but it was not")]
    Blocked(usize, i64),
    /// A record was settled before one of its key that is before it.
    #[error("partition {0}: offset {1} was settled before an earlier event of its key")]
    OutOfOrder(usize, i64),
    /// A record was settled twice by one owner.
    #[error("partition {0}: offset {1} was settled twice in one assignment")]
    SettledTwice(usize, i64),
    /// An owner that left in order leaves a settled record to be repeated.
    #[error("partition {0}: offset {1} was settled, and its owner left in order without committing it")]
    LeftUncommitted(usize, i64),
    /// A record was left out that was never settled.
    #[error("partition {0}: offset {1} was left out and was never settled")]
    SkippedUnsettled(usize, i64),
    /// A commit left out what its member knew to be settled.
    #[error("partition {0}: offset {1} is settled, and a commit left it out")]
    LeftOut(usize, i64),
    /// A partition has more on its way than is left for the others.
    #[error("partition {0}: offset {1} was read although nothing was left for other partitions")]
    NothingLeft(usize, i64),
    /// A record was read of a topic that somebody paused, or whose handler is not there.
    #[error("partition {0}: offset {1} was read although its topic is paused")]
    ReadWhilePaused(usize, i64),
    /// A member that was frozen acted on what another had got meanwhile.
    #[error("partition {0}: offset {1} was started or finished by a thawed member after another had got its partition")]
    ZombieActed(usize, i64),
    /// A member worked on with what it knew to be another's.
    #[error("partition {0}: offset {1} was started or finished although its partition had gone")]
    WorkedOnAfterTheEnd(usize, i64),
    /// A commit was sent of what the member knew to be lost.
    #[error("partition {0}: offset {1} was committed although the partition was known to be lost")]
    LostCommitted(usize, i64),
    /// More commits than the pace has.
    #[error("member {0} sent {1} commits in a second")]
    CommitStorm(usize, usize),
    /// A record was tried more often than its attempts.
    #[error("partition {0}: offset {1} was tried more often than its attempts are")]
    TooManyAttempts(usize, i64),
    /// Attempts at a record were forgotten.
    #[error("partition {0}: offset {1} was tried again as if it had not failed before")]
    AttemptsLost(usize, i64),
    /// A breaker opened without evidence.
    #[error("member {0}: a breaker opened although too few keys have failed, or others may still go well")]
    OpenedTooSoon(usize),
    /// A breaker stayed closed against the evidence.
    #[error("member {0}: an event was dead-lettered although enough different keys have failed")]
    OpenedTooLate(usize),
    /// An event paid for what is not its fault.
    #[error("partition {0}: offset {1} was dead-lettered while the breaker is open")]
    DeadLetteredWhileOpen(usize, i64),
    /// An event paid for a store that is away.
    #[error("partition {0}: offset {1} was dead-lettered because of what its handler needs")]
    DeadLetteredWhileAway(usize, i64),
    /// Half-open there is one event at a time.
    #[error("member {0}: an event was tried while another one was, although the breaker is open")]
    TwoProbes(usize),
    /// Half-open there are pauses.
    #[error("member {0}: an event was tried before its time although the breaker is open")]
    ProbedTooSoon(usize),
    /// A success closes a breaker.
    #[error("member {0}: a breaker stayed open after an event was handled")]
    NotClosed(usize),
    /// A panic of an earlier handler's call ended the present one.
    #[error("member {0}: a handler was ended by the panic of an earlier one's call")]
    EndedByAnOldPanic(usize),
    /// A consumer made a client before its backoff was over.
    #[error("member {0}: another client was made before its time")]
    RejoinedTooSoon(usize),
    /// A consumer joined although an operator has stopped it.
    #[error("member {0} joins although an operator has stopped it")]
    JoinedWhileStopped(usize),
    /// Credits were not given back.
    #[error("a member that has nothing on its way lacks credits")]
    CreditsLost,
    /// A member is busy although there is nothing to do.
    #[error("member {0} has something on its way for ever although all is settled")]
    NeverAtRest(usize),
    /// Nothing moves although nothing fails any more.
    #[error("partition {0}: offset {1} is never settled although nothing fails any more")]
    Stuck(usize, i64),
    /// What is settled stays uncommitted although nothing fails any more.
    #[error("partition {0}: offset {1} is settled and never committed although nothing fails any more")]
    NeverCommitted(usize, i64),
}
