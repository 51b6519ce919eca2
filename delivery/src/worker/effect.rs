//! What goes into a worker and comes out of it?

use std::time::Duration;

use super::arena::Id;
use super::breaker::BreakerPolicy;
use super::calls::{CallId, Run};
use super::lanes::{Unkeyed, Wait};
use super::retry::RetryPolicy;
use crate::outcome::{HandlerResult, Outcome};

/// How a handler is run.
#[derive(Clone, Debug)]
pub struct WorkerPolicy {
    /// Attempts and backoff.
    pub retry: RetryPolicy,
    /// When failures are the handler's, and what then.
    pub breaker: BreakerPolicy,
    /// Order of records without a key.
    pub unkeyed: Unkeyed,
    /// A call that takes longer is cancelled.
    pub deadline: Duration,
    /// How often the first handler may fail to be made before it is given up.
    pub max_starts: u32,
    /// Calls at once, where the limit of lanes allows.
    pub max_calls: usize,
    /// Events in one call.
    pub max_events_per_call: usize,
}

impl Default for WorkerPolicy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            unkeyed: Unkeyed::default(),
            deadline: Duration::from_secs(30),
            max_starts: 5,
            max_calls: usize::MAX,
            max_events_per_call: 1,
        }
    }
}

/// How a call to the handler ended.
#[derive(Clone, Debug)]
pub enum CallEnd {
    /// It answered for each of its events, in order.
    Answered(Run<HandlerResult>),
    /// It panicked, and said so.
    Panicked(String),
}

/// What the driver does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Drop the call where it waits. Its end is not told any more.
    Cancel(CallId),
    /// Write the dead letter of this record, and say [`letter_written`](super::Worker::letter_written) or
    /// [`letter_refused`](super::Worker::letter_refused) with the same names.
    WriteDeadLetter(Id, Wait),
    /// Drop the handler: it panicked, or an operator said so.
    DropHandler {
        /// The panic.
        panicked: Option<String>,
    },
    /// The breaker opened: what feeds the handler should stop.
    BreakerOpened {
        /// Why.
        cause: String,
        /// Until the first probe.
        probe_in: Duration,
    },
    /// The breaker closed: an event was handled.
    BreakerClosed,
    /// It does not come back, and the service should end.
    GaveUp {
        /// Why.
        cause: String,
    },
}

/// How the handler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// None was made yet.
    Starting,
    /// It works.
    Running,
    /// The breaker is open: nothing is called.
    Open,
    /// The breaker is open, and one event is tried.
    HalfOpen,
    /// An operator stopped it.
    Stopped,
    /// It was given up.
    Failed,
}

/// How much the handler is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// All that there is room for.
    Everything,
    /// Nothing.
    Nothing,
    /// One record more than at the last request; each request has another number.
    OneMore(u64),
}

/// An attempt that ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a, R> {
    /// The record.
    pub record: &'a R,
    /// How it ended.
    pub outcome: Outcome,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// From its start to its end.
    pub duration: Duration,
    /// Why it failed, where it did.
    pub error: Option<&'a str>,
}
