//! What is measured of a running service, written by its actors and read by status requests.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::kafka::MEASUREMENT_VALID;
use crate::outcome::Outcome;

/// Counts of one handler, kept by its actor.
#[derive(Debug, Default)]
pub struct HandlerCounters {
    ended: [AtomicU64; Outcome::ALL.len()],
    queued: AtomicUsize,
    running: AtomicUsize,
    state: AtomicU8,
    restarts: AtomicU64,
    delayed_dead_letters: AtomicI64,
    last_panic: Mutex<Option<Incident>>,
}

/// How an actor stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// It was not made yet.
    #[default]
    Starting,
    /// It works.
    Running,
    /// It failed, and is made anew at once or after a pause.
    BackingOff,
    /// It failed beyond its restart budget: its topic is paused.
    Escalated,
    /// It gets one event at a time, to see whether it works again.
    Probing,
    /// It does not come back.
    Stopped,
}

impl ActorState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Running, Self::BackingOff, Self::Escalated, Self::Probing, Self::Stopped];
}

/// Something that went wrong, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Incident {
    /// When.
    pub at: Timestamp,
    /// What.
    pub message: String,
}

impl HandlerCounters {
    pub(crate) fn ended(&self, outcome: Outcome, count: u64) {
        self.ended[outcome as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set_depth(&self, queued: usize, running: usize) {
        self.queued.store(queued, Ordering::Relaxed);
        self.running.store(running, Ordering::Relaxed);
    }

    /// It was made, for the first time or anew.
    pub(crate) fn made(&self, state: ActorState, anew: bool) {
        self.restarts.fetch_add(u64::from(anew), Ordering::Relaxed);
        self.set_state(state);
    }

    pub(crate) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> ActorState {
        let state = self.state.load(Ordering::Relaxed);
        ActorState::ALL.into_iter().find(|known| *known as u8 == state).unwrap_or_default()
    }

    pub(crate) fn failed(&self, message: &str) {
        *self.last_panic.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Incident { at: Timestamp::now(), message: message.to_owned() });
    }

    pub(crate) fn dead_letter_delayed(&self, by: i64) {
        self.delayed_dead_letters.fetch_add(by, Ordering::Relaxed);
    }
}

/// How a handler stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerStatus {
    /// Name of the actor.
    pub name: String,
    /// Topic that is routed to it.
    pub topic: String,
    /// How it stands.
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
    pub delayed_dead_letters: i64,
    /// Restarts after a panic.
    pub restarts: u64,
    /// The last panic.
    pub last_panic: Option<Incident>,
}

impl HandlerCounters {
    /// As they stand now.
    #[must_use]
    pub fn status(&self, name: &str, topic: &str) -> HandlerStatus {
        let ended = |outcome: Outcome| self.ended[outcome as usize].load(Ordering::Relaxed);
        HandlerStatus {
            name: name.to_owned(),
            topic: topic.to_owned(),
            state: self.state(),
            queued: self.queued.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            handled: ended(Outcome::Handled),
            duplicates: ended(Outcome::Duplicate),
            retries: ended(Outcome::Retry),
            dead_lettered: ended(Outcome::DeadLettered),
            delayed_dead_letters: self.delayed_dead_letters.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_panic: self.last_panic.lock().unwrap_or_else(PoisonError::into_inner).clone(),
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

/// How a partition stands.
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
    /// The last offset that was noted beside the group's commits while these were not taken, in this assignment.
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
    /// Why it stands still, where it does although there is something to do.
    pub stalled: Option<StallStatus>,
}

/// Why a frontier stands still.
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
    /// For how long it stands, in seconds.
    pub seconds: u64,
}

/// How the consumer stands.
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

    /// As it stands now. A broker counts as reachable only while that is being measured.
    #[must_use]
    pub fn status(&self) -> ConsumerStatus {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = latest.0.is_some_and(|at| at.elapsed() < MEASUREMENT_VALID);
        let mut status = latest.1.clone();
        status.broker_reachable &= fresh;
        status
    }
}
