//! The story of a run as it is told on the terminal: what happened when, and how long recovery took.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What happened so far; shared by all who do something.
pub(crate) struct Story {
    began: Instant,
    told: Mutex<Told>,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Instances that got SIGKILL.
    pub(crate) kills: usize,
    /// Brokers that got SIGKILL.
    pub(crate) broker_kills: usize,
    /// By what was waited for: how long it took.
    pub(crate) recoveries: BTreeMap<String, Vec<Duration>>,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), told: Mutex::default() }
    }

    pub(crate) fn say(&self, what: &str) {
        println!("{:8.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn killed(&self, what: &str) {
        self.told().kills += 1;
        self.say(&format!("{what}: SIGKILL"));
    }

    pub(crate) fn broker_killed(&self, broker: usize) {
        self.told().broker_kills += 1;
        self.say(&format!("broker {broker}: SIGKILL"));
    }

    /// Something that was waited for since `since` is there.
    pub(crate) fn recovered(&self, who: &str, what: &str, since: Instant) {
        let took = since.elapsed();
        self.told().recoveries.entry(what.to_owned()).or_default().push(took);
        self.say(&format!("{who}: {what} after {:.1} s", took.as_secs_f64()));
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was counted so far.
    pub(crate) fn so_far(&self) -> Told {
        self.told().clone()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
