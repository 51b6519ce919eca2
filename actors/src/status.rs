//! What is measured of a running service, written by its actors and read by status requests.

#[cfg(feature = "faults")]
mod faults;
mod vitals;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::kafka::MEASUREMENT_VALID;
use delivery::member::stall::SlowCalls;
use delivery::outcome::Outcome;
use delivery::worker::Appetite;
#[cfg(feature = "faults")]
pub use faults::Faults;
pub use vitals::{ActorState, ActorStatus, ActorTree, Incident, Vitals};

/// Counts of one handler, kept by its actor.
#[derive(Debug)]
pub struct HandlerCounters {
    vitals: Arc<Vitals>,
    ended: [AtomicU64; Outcome::ALL.len()],
    delayed_dead_letters: AtomicUsize,
    /// Zero: everything; one: nothing; above: one record more, with the number of the request.
    appetite: AtomicU64,
    // Locked by the actor and the consumer's thread some times a second.
    slow_calls: Mutex<SlowCalls>,
}

impl HandlerCounters {
    /// Of an actor with those vitals.
    #[must_use]
    pub fn new(vitals: Arc<Vitals>) -> Self {
        Self {
            vitals,
            ended: Default::default(),
            delayed_dead_letters: AtomicUsize::default(),
            appetite: AtomicU64::default(),
            slow_calls: Mutex::default(),
        }
    }

    /// The state of its actor.
    #[must_use]
    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    pub(crate) fn ended(&self, outcome: Outcome, count: u64) {
        self.ended[outcome as usize].fetch_add(count, Ordering::Relaxed);
        match outcome {
            Outcome::Handled | Outcome::Duplicate => self.vitals.add(count, 0),
            Outcome::Retry | Outcome::DeadLettered => self.vitals.add(0, count),
        }
    }

    /// How much the handler should be fed, and how many of its dead letters could not be written yet.
    pub(crate) fn set_feeding(&self, appetite: Appetite, delayed_dead_letters: usize) {
        let appetite = match appetite {
            Appetite::Everything => 0,
            Appetite::Nothing => 1,
            Appetite::OneMore(number) => number + 1,
        };
        self.appetite.store(appetite, Ordering::Relaxed);
        self.delayed_dead_letters.store(delayed_dead_letters, Ordering::Relaxed);
    }

    /// How much the handler should be fed.
    pub(crate) fn appetite(&self) -> Appetite {
        match self.appetite.load(Ordering::Relaxed) {
            0 => Appetite::Everything,
            1 => Appetite::Nothing,
            number => Appetite::OneMore(number - 1),
        }
    }

    /// Its calls that have run for long.
    #[must_use]
    pub fn slow_calls(&self) -> SlowCalls {
        self.slow_calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_slow_calls(&self, calls: SlowCalls) {
        *self.slow_calls.lock().unwrap_or_else(PoisonError::into_inner) = calls;
    }
}

/// The state of a handler.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerStatus {
    /// Name of the actor.
    pub name: String,
    /// Topic that is routed to it.
    pub topic: String,
    /// Its state.
    pub state: ActorState,
    /// Events that wait in their lanes.
    pub queued: usize,
    /// Lanes that run.
    pub running: usize,
    /// Events handled.
    pub handled: u64,
    /// Repeats recognised.
    pub duplicates: u64,
    /// Failed attempts that were followed by another.
    pub retries: u64,
    /// Events in the dead-letter topic.
    pub dead_lettered: u64,
    /// Dead letters that could not be written yet.
    pub delayed_dead_letters: usize,
    /// Restarts after a panic.
    pub restarts: u64,
    /// The last panic.
    pub last_panic: Option<Incident>,
}

impl HandlerCounters {
    /// As they are now.
    #[must_use]
    pub fn status(&self, name: &str, topic: &str) -> HandlerStatus {
        let ended = |outcome: Outcome| self.ended[outcome as usize].load(Ordering::Relaxed);
        let ActorStatus { state, mailbox, in_flight, restarts, last_failure, .. } = self.vitals.status();
        HandlerStatus {
            name: name.to_owned(),
            topic: topic.to_owned(),
            state,
            queued: mailbox.unwrap_or(0),
            running: in_flight,
            handled: ended(Outcome::Handled),
            duplicates: ended(Outcome::Duplicate),
            retries: ended(Outcome::Retry),
            dead_lettered: ended(Outcome::DeadLettered),
            delayed_dead_letters: self.delayed_dead_letters.load(Ordering::Relaxed),
            restarts,
            last_panic: last_failure,
        }
    }
}

/// Where the consumer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsumerState {
    /// Waiting for the broker and the topics.
    #[default]
    Connecting,
    /// Subscribed; nothing was assigned yet.
    Joining,
    /// A member with an assignment, which may be empty where the group has more members than partitions.
    Assigned,
    /// Finishing what was started, before it leaves.
    Draining,
    /// Left the group.
    Stopped,
    /// Met an error it cannot go on from.
    Failed,
}

/// The state of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// Topic.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// Number of the assignment.
    pub epoch: u32,
    /// Every offset below it is settled; unknown before the first record.
    pub frontier: Option<i64>,
    /// The last offset the broker acknowledged, in this assignment.
    pub committed: Option<i64>,
    /// The last offset that was noted in addition to the group's commits while these were not taken, in this assignment.
    pub noted: Option<i64>,
    /// Offset of the next record to be written.
    pub high_watermark: Option<i64>,
    /// Records not settled.
    pub lag: Option<i64>,
    /// Records on their way through the actors.
    pub in_flight: usize,
    /// Whether it leaves this member: what was started of it has some time to finish.
    pub leaving: bool,
    /// Why nothing is read of it, where it is paused: `operator`, `supervisor`, `backpressure`.
    pub paused: Option<&'static str>,
    /// Why its frontier does not move, where it does not although there is something to do.
    pub stalled: Option<StallStatus>,
}

/// Why a frontier does not move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StallStatus {
    /// The lowest unsettled offset.
    pub offset: i64,
    /// Its key as text, where its handler told.
    pub key: Option<String>,
    /// Its handler.
    pub handler: &'static str,
    /// What it waits for.
    pub why: &'static str,
    /// For how long it has not moved, in seconds.
    pub seconds: u64,
}

/// The state of the consumer.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Where it is.
    pub state: ConsumerState,
    /// Whether it reached a broker within the last seconds.
    pub broker_reachable: bool,
    /// Records not settled in all partitions whose lag is known.
    pub lag: i64,
    /// Records on their way through the actors.
    pub in_flight: usize,
    /// What is assigned.
    pub partitions: Vec<PartitionStatus>,
}

/// The consumer's status, written by its thread and read by requests.
#[derive(Debug, Default)]
pub struct ConsumerBoard {
    latest: Mutex<(Option<Instant>, ConsumerStatus)>,
}

impl ConsumerBoard {
    pub(crate) fn set(&self, measured: Option<Instant>, status: ConsumerStatus) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = (measured, status);
    }

    pub(crate) fn set_state(&self, state: ConsumerState) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).1.state = state;
    }

    /// As it is now. A broker counts as reachable only while that is being measured.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = latest.0.is_some_and(|at| at.elapsed() < MEASUREMENT_VALID);
        let mut status = latest.1.clone();
        status.broker_reachable &= fresh;
        status
    }
}
