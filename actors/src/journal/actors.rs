//! The states of the actors.

use std::sync::Arc;

use metrics::{counter, gauge};

use super::Entry;

/// The state of an actor; metrics alone.
pub struct ActorSeen<'a> {
    /// Its path.
    pub actor: &'a str,
    /// The state that it is in.
    pub state: &'static str,
    /// All that there are.
    pub states: &'a [&'static str],
    /// Restarts in all, and within the window of its budget.
    pub restarts: (u64, usize),
    /// What waits for it, where that is counted.
    pub mailbox: Option<usize>,
    /// What it works on.
    pub in_flight: usize,
    /// What it has done.
    pub handled: u64,
    /// Attempts of it that failed.
    pub failed: u64,
}

impl Entry for ActorSeen<'_> {
    // A gauge is a float; what is counted here stays far below what one keeps exact.
    #[allow(clippy::cast_precision_loss)]
    fn write(&self, service: &Arc<str>) {
        let Self { state, states, restarts: (restarts, in_window), mailbox, in_flight, handled, failed, .. } = *self;
        let (service, actor): (&Arc<str>, Arc<str>) = (service, self.actor.into());
        for known in states {
            let is = if *known == state { 1.0 } else { 0.0 };
            gauge!("actor_state", "service" => service.clone(), "actor" => actor.clone(), "state" => *known).set(is);
        }
        let labels = [("service", service.clone()), ("actor", actor)];
        counter!("actor_restarts_total", &labels).absolute(restarts);
        gauge!("actor_restarts_in_window", &labels).set(in_window as f64);
        if let Some(mailbox) = mailbox {
            gauge!("actor_mailbox", &labels).set(mailbox as f64);
        }
        gauge!("actor_in_flight", &labels).set(in_flight as f64);
        counter!("actor_handled_total", &labels).absolute(handled);
        counter!("actor_attempts_failed_total", &labels).absolute(failed);
    }
}
