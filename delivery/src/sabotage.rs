//! Which bug is put into the shipped code on purpose, to show that the simulator's checks find it?
//!
//! Without the feature `sabotage`, which the simulator alone enables, there is none, and the compiler leaves the switches
//! out.

/// A bug that the code has on purpose while it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

#[cfg(feature = "sabotage")]
thread_local! {
    static PRESENT: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Sets the bug of this thread, or none.
#[cfg(feature = "sabotage")]
pub fn set(sabotage: Option<Sabotage>) {
    PRESENT.set(sabotage);
}

/// Whether it is this bug that the code has now.
#[cfg(feature = "sabotage")]
#[must_use]
pub fn is(sabotage: Sabotage) -> bool {
    PRESENT.get() == Some(sabotage)
}

/// Whether it is this bug that the code has now: never without the feature.
#[cfg(not(feature = "sabotage"))]
#[must_use]
#[inline]
pub const fn is(_: Sabotage) -> bool {
    false
}
