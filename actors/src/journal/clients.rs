//! The Kafka clients: whether they reach a broker, and what librdkafka says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{debug, info, warn};

use super::Entry;

/// Whether a Kafka client reaches a broker changed.
pub struct BrokerReach {
    /// `consumer` or `producer`.
    pub client: &'static str,
    /// Whether a broker is reached now.
    pub reachable: bool,
}

impl Entry for BrokerReach {
    fn write(&self, service: &Arc<str>) {
        let client = self.client;
        if self.reachable {
            info!(%service, client, "broker reached");
        } else {
            warn!(%service, client, "no broker reachable");
        }
        gauge!("broker_reachable", "service" => service.clone(), "client" => client).set(if self.reachable {
            1.0
        } else {
            0.0
        });
    }
}

/// A Kafka client reported an error of its own.
pub struct ClientError<'a> {
    /// `consumer` or `producer`.
    pub client: &'static str,
    /// The error.
    pub error: &'a dyn fmt::Display,
    /// What librdkafka adds.
    pub reason: &'a str,
}

impl Entry for ClientError<'_> {
    fn write(&self, service: &Arc<str>) {
        // Debug: a broker that is down makes many of these, and `BrokerReach` says it once.
        debug!(%service, client = self.client, error = %self.error, reason = self.reason, "kafka client error");
        counter!("kafka_client_errors_total", "service" => service.clone(), "client" => self.client).increment(1);
    }
}

/// A line of librdkafka's own log.
pub struct ClientLog<'a> {
    /// `consumer` or `producer`.
    pub client: &'static str,
    /// Whether librdkafka calls it a warning or worse.
    pub severe: bool,
    /// Facility and text.
    pub text: &'a str,
}

impl Entry for ClientLog<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { client, text, .. } = self;
        // A broker that is down fills librdkafka's log at its warning level; `BrokerReach` says that once at ours.
        if self.severe {
            info!(target: "librdkafka", %service, client, "{text}");
        } else {
            debug!(target: "librdkafka", %service, client, "{text}");
        }
    }
}

/// The producer's client met a fatal error, and there is another one now.
pub struct ProducerRebuilt<'a> {
    /// The error.
    pub cause: &'a str,
    /// Records that waited for it and were given to it.
    pub resent: usize,
    /// How long there was none.
    pub took: Duration,
}

impl Entry for ProducerRebuilt<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { cause, resent, took } = self;
        warn!(%service, cause, resent, ?took, "the producer's client was restarted");
        counter!("producer_rebuilds_total", "service" => service.clone()).increment(1);
    }
}
