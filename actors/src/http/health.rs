//! What is measured of a service, for the endpoints that tell of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::fatal::Fatal;
use crate::producer::Outlet;
use crate::status::{ActorStatus, ActorTree, ConsumerBoard, ConsumerStatus, HandlerCounters, HandlerStatus, Vitals};
use crate::supervisor::{Commands, Heartbeats};

/// Everything that is measured of a service.
#[derive(Clone)]
pub struct Health {
    pub(crate) service: &'static str,
    pub(crate) brokers: String,
    pub(crate) outlet: Outlet,
    pub(crate) consumer: Arc<ConsumerBoard>,
    /// Name, topic and counters of each handler.
    pub(crate) handlers: Vec<(&'static str, String, Arc<HandlerCounters>)>,
    /// The vitals of every actor.
    pub(crate) tree: ActorTree,
    pub(crate) heartbeats: Heartbeats,
    /// What operators tell them.
    pub(crate) commands: Commands,
    pub(crate) fatal: Fatal,
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Health {
    /// The state of the consumer now.
    #[must_use]
    pub fn consumer(&self) -> ConsumerStatus {
        self.consumer.status()
    }

    /// The states of the handlers now.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        self.handlers.iter().map(|(name, topic, counters)| counters.status(name, topic)).collect()
    }

    /// The state of every actor now, sorted by path.
    #[must_use]
    pub fn actors(&self) -> Vec<ActorStatus> {
        self.tree.all().iter().map(|vitals| vitals.status()).collect()
    }

    /// The vitals of an actor by its path.
    #[must_use]
    pub fn vitals(&self, path: &str) -> Option<Arc<Vitals>> {
        self.tree.all().into_iter().find(|vitals| vitals.path() == path)
    }

    /// Has the producer's client meet a fatal error.
    #[cfg(feature = "faults")]
    pub fn break_producer(&self) {
        self.outlet.fail_for_good();
    }
}
