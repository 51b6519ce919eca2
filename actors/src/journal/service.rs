//! The service as a whole: its start, its topics, its stop and its failure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::Entry;

/// The service listens.
pub struct Started<'a> {
    /// Address of the API.
    pub api: std::net::SocketAddr,
    /// Address of the management listener.
    pub management: std::net::SocketAddr,
    /// Brokers it was told to use.
    pub brokers: &'a str,
}

impl Entry for Started<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, api = %self.api, management = %self.management, brokers = self.brokers, "started");
    }
}

/// The topics could not be checked or created; it is tried again.
pub struct TopicsDelayed<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
    /// Until the next attempt.
    pub pause: Duration,
}

impl Entry for TopicsDelayed<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, error = %self.error, pause = ?self.pause, "topics not ready, trying again");
    }
}

/// Topics were created.
pub struct TopicsCreated<'a> {
    /// Their names, separated by spaces.
    pub topics: &'a str,
}

impl Entry for TopicsCreated<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, topics = self.topics, "topics created");
    }
}

/// A step of the shutdown began or ended.
pub struct Stopping<'a> {
    /// The step.
    pub step: &'a str,
}

impl Entry for Stopping<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, step = self.step, "stopping");
    }
}

/// The service failed.
pub struct Failed<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
}

impl Entry for Failed<'_> {
    fn write(&self, service: &Arc<str>) {
        error!(%service, error = %self.error, "failed");
    }
}
