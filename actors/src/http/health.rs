//! Health as measured: liveness, and the whole status of a service.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::problem::{Problem, get};
use super::readiness::{Readiness, readyz};
use crate::escalation::Escalation;
use crate::producer::Outlet;
use crate::status::{ActorStatus, ActorTree, ConsumerBoard, ConsumerStatus, HandlerCounters, HandlerStatus, Vitals};
use crate::supervisor::{Commands, Pulses};

/// Everything that is measured of a service, for whoever asks.
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
    pub(crate) pulses: Pulses,
    /// What operators tell them.
    pub(crate) commands: Commands,
    pub(crate) escalation: Escalation,
    pub(crate) stopping: Arc<AtomicBool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    service: &'static str,
    ready: bool,
    reasons: Vec<String>,
    broker: BrokerStatus,
    producer: ProducerStatus,
    consumer: ConsumerStatus,
    actors: Vec<HandlerStatus>,
}

#[derive(Serialize)]
struct BrokerStatus {
    addresses: String,
    reachable: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerStatus {
    reachable: bool,
    in_flight: usize,
}

impl Health {
    /// How the consumer stands now.
    #[must_use]
    pub fn consumer(&self) -> ConsumerStatus {
        self.consumer.status()
    }

    /// How the handlers stand now.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        self.handlers.iter().map(|(name, topic, counters)| counters.status(name, topic)).collect()
    }

    /// How every actor stands now, sorted by path.
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

    fn status(&self) -> Status {
        let consumer = self.consumer.status();
        let actors = self.handlers();
        let Readiness { ready, reasons } = Readiness::of(&self.checks(&consumer, &actors));
        let producer =
            ProducerStatus { reachable: self.outlet.hopeless().is_none(), in_flight: self.outlet.in_flight() };
        let reachable = producer.reachable || consumer.broker_reachable;
        let broker = BrokerStatus { addresses: self.brokers.clone(), reachable };
        Status { service: self.service, ready, reasons, broker, producer, consumer, actors }
    }
}

/// `GET /livez` and `GET /readyz`.
pub fn health_routes(config: &mut web::ServiceConfig) {
    config
        .service(get("/livez", || async { HttpResponse::Ok().json(serde_json::json!({"status": "alive"})) }))
        .service(get("/readyz", readyz));
}

/// The measured state of broker, producer, consumer and actors.
///
/// # Errors
/// Never; it is a handler like the others.
pub async fn status_of(health: web::Data<Health>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(health.status()))
}
