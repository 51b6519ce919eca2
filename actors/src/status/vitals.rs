//! The vitals of an actor: its state, its failures, and how much it has to do and has done. Every actor of a service
//! has them, in one tree.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::catch_panic::Panicked;

/// Restarts within the window beyond which none is counted: a larger number would tell no more.
const MAX_RESTARTS_COUNTED: usize = 1000;

/// The state of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorState {
    /// It was not made yet.
    #[default]
    Starting,
    /// It works.
    Running,
    /// It failed, and is restarted at once or after a pause.
    BackingOff,
    /// It failed beyond its restart budget: what feeds it waits.
    OverBudget,
    /// It gets one thing at a time, to see whether it works again.
    Probing,
    /// A handler's breaker is open: events of different keys fail, or what it needs is away. Nothing is called.
    BreakerOpen,
    /// Its breaker is open, and one event is tried.
    BreakerHalfOpen,
    /// It does not come back, and the service ends.
    Failed,
    /// An operator stopped it, and may start it again.
    #[serde(rename = "stopped")]
    StoppedByOperator,
}

impl ActorState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Running,
        Self::BackingOff,
        Self::OverBudget,
        Self::Probing,
        Self::BreakerOpen,
        Self::BreakerHalfOpen,
        Self::Failed,
        Self::StoppedByOperator,
    ];

    /// The word for it in metrics and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::BackingOff => "backing_off",
            Self::OverBudget => "over_budget",
            Self::Probing => "probing",
            Self::BreakerOpen => "breaker_open",
            Self::BreakerHalfOpen => "breaker_half_open",
            Self::Failed => "failed",
            Self::StoppedByOperator => "stopped",
        }
    }
}

/// Something that went wrong: when, what and where.
#[derive(Clone, Debug, Serialize)]
pub struct Incident {
    /// When.
    pub at: Timestamp,
    /// What, with the place where it is known.
    pub message: String,
    /// File, line and column.
    pub place: Option<String>,
}

/// Kept by an actor and its supervisor, read by the status pages and metrics.
#[derive(Debug)]
pub struct Vitals {
    path: String,
    window: Duration,
    state: AtomicU8,
    restarts: AtomicU64,
    handled: AtomicU64,
    failed: AtomicU64,
    mailbox: AtomicUsize,
    in_flight: AtomicUsize,
    // Locked when the actor fails and when its status is read.
    past: Mutex<Past>,
    #[cfg(feature = "faults")]
    faults: super::faults::Faults,
}

#[derive(Debug, Default)]
struct Past {
    last_failure: Option<Incident>,
    restarts: VecDeque<Instant>,
}

/// The depth of a mailbox of which no one counts the messages.
const UNKNOWN: usize = usize::MAX;

impl Vitals {
    /// Of an actor that has not begun. `window` is that of its restart budget.
    #[must_use]
    pub fn new(path: String, window: Duration) -> Self {
        Self {
            path,
            window,
            state: AtomicU8::default(),
            restarts: AtomicU64::default(),
            handled: AtomicU64::default(),
            failed: AtomicU64::default(),
            mailbox: AtomicUsize::new(UNKNOWN),
            in_flight: AtomicUsize::default(),
            past: Mutex::default(),
            #[cfg(feature = "faults")]
            faults: super::faults::Faults::default(),
        }
    }

    /// Its place in the tree: `shard-0/handlers/UserEventActor`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> ActorState {
        let state = self.state.load(Ordering::Relaxed);
        ActorState::ALL.into_iter().find(|known| *known as u8 == state).unwrap_or_default()
    }

    pub(crate) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// It was made, for the first time or again.
    pub(crate) fn made(&self, state: ActorState, again: bool) {
        if again {
            self.restarts.fetch_add(1, Ordering::Relaxed);
            let mut past = self.past();
            if past.restarts.len() == MAX_RESTARTS_COUNTED {
                past.restarts.pop_front();
            }
            past.restarts.push_back(Instant::now());
        }
        self.set_state(state);
    }

    /// It panicked.
    pub(crate) fn panicked(&self, panicked: &Panicked) {
        self.failed(panicked.to_string(), panicked.place.clone());
    }

    /// It cannot go on as it is, for that reason.
    pub(crate) fn failed(&self, message: String, place: Option<String>) {
        self.past().last_failure = Some(Incident { at: Timestamp::now(), message, place });
    }

    /// What waits for it and what it works on.
    pub(crate) fn set_depth(&self, mailbox: usize, in_flight: usize) {
        self.mailbox.store(mailbox, Ordering::Relaxed);
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    /// It handled so much, or failed at it.
    pub(crate) fn add(&self, handled: u64, failed: u64) {
        self.handled.fetch_add(handled, Ordering::Relaxed);
        if failed > 0 {
            self.failed.fetch_add(failed, Ordering::Relaxed);
        }
    }

    /// What it has done.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// A place in its actor's code where a test may have it panic; nothing without the feature `faults`.
    #[inline]
    #[cfg_attr(not(feature = "faults"), allow(unused_variables, clippy::unused_self))]
    pub(crate) fn passes(&self, place: &'static str) {
        #[cfg(feature = "faults")]
        self.faults.pass(place);
    }

    /// Where its actor should panic.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn faults(&self) -> &super::faults::Faults {
        &self.faults
    }

    fn past(&self) -> std::sync::MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are now.
    #[must_use]
    pub fn status(&self) -> ActorStatus {
        let (last_failure, restarts_in_window) = {
            let past = self.past();
            let recent = past.restarts.iter().rev().take_while(|at| at.elapsed() < self.window).count();
            (past.last_failure.clone(), recent)
        };
        let mailbox = self.mailbox.load(Ordering::Relaxed);
        ActorStatus {
            path: self.path.clone(),
            state: self.state(),
            restarts: self.restarts.load(Ordering::Relaxed),
            restarts_in_window,
            last_failure,
            mailbox: (mailbox != UNKNOWN).then_some(mailbox),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The state of an actor, and what it did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActorStatus {
    /// Its place in the tree.
    pub path: String,
    /// Its state.
    pub state: ActorState,
    /// Restarts in all.
    pub restarts: u64,
    /// Restarts within the window of its restart budget.
    pub restarts_in_window: usize,
    /// The last failure.
    pub last_failure: Option<Incident>,
    /// What waits for it, where that is counted: events in their lanes, batches, records.
    pub mailbox: Option<usize>,
    /// What it works on.
    pub in_flight: usize,
    /// What it has done: events, batches, records.
    pub handled: u64,
    /// What failed of that.
    pub failed: u64,
}

/// The vitals of every actor of a service; a clone is the same tree.
#[derive(Clone, Debug, Default)]
pub struct ActorTree(Arc<Mutex<Vec<Arc<Vitals>>>>);

impl ActorTree {
    /// Adds an actor that has not begun.
    pub(crate) fn add(&self, path: String, window: Duration) -> Arc<Vitals> {
        let vitals = Arc::new(Vitals::new(path, window));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&vitals));
        vitals
    }

    /// Every actor, sorted by path.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Vitals>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.sort_by(|one, other| one.path.cmp(&other.path));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_a_word_of_its_own_and_it_is_the_same_in_json_and_in_metrics() {
        let words: Vec<&str> = ActorState::ALL.iter().map(|state| state.as_str()).collect();
        let known: std::collections::HashSet<&&str> = words.iter().collect();
        assert_eq!(known.len(), words.len(), "{words:?}");
        for state in ActorState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn they_say_how_often_an_actor_was_restarted_in_the_window_and_in_all() {
        let tree = ActorTree::default();
        let forgets = tree.add("b".to_owned(), Duration::ZERO);
        let vitals = tree.add("a".to_owned(), Duration::from_mins(1));
        assert_eq!((vitals.state(), vitals.status().mailbox), (ActorState::Starting, None));
        for vitals in [&vitals, &forgets] {
            vitals.made(ActorState::Running, false);
            vitals.panicked(&Panicked { message: "no".to_owned(), place: Some("a.rs:1:2".to_owned()) });
            vitals.made(ActorState::Running, true);
        }
        let [first, second] = tree.all().try_into().expect("two were added");
        assert_eq!((first.path(), second.path()), ("a", "b"));
        let counts = |vitals: &Vitals| (vitals.status().restarts_in_window, vitals.status().restarts);
        assert_eq!((counts(&first), counts(&second)), ((1, 1), (0, 1)));
        let last = first.status().last_failure.expect("it failed");
        assert_eq!((last.message.as_str(), last.place.as_deref()), ("panicked at a.rs:1:2: no", Some("a.rs:1:2")));
    }
}
