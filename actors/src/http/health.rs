//! Health as measured: liveness, readiness, and the whole status of a service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::problem::{Problem, get};
use crate::escalation::Escalation;
use crate::producer::Outlet;
use crate::status::{
    ActorState, ActorStatus, ActorTree, ConsumerBoard, ConsumerState, ConsumerStatus, HandlerCounters, HandlerStatus,
    StallStatus, Vitals,
};
use crate::supervisor::Pulses;

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
    pub(crate) escalation: Escalation,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// Whether a service should be sent requests, and if not, why.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
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
    /// Readiness as measured now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.judge(&self.consumer(), &self.handlers())
    }

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

    fn judge(&self, consumer: &ConsumerStatus, handlers: &[HandlerStatus]) -> Readiness {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("stopping".to_owned());
        }
        if let Some(cause) = self.escalation.cause() {
            reasons.push(cause.message);
        }
        if !self.outlet.is_reachable() {
            reasons.push("the producer reaches no broker".to_owned());
        }
        if self.outlet.is_down() {
            reasons.push("the producer's client is being made anew".to_owned());
        }
        match consumer.state {
            ConsumerState::Assigned if consumer.broker_reachable => {}
            ConsumerState::Assigned => reasons.push("the consumer reaches no broker".to_owned()),
            state => reasons.push(format!("the consumer is {state:?}").to_lowercase()),
        }
        for partition in &consumer.partitions {
            if let Some(StallStatus { offset, key, handler, why, seconds }) = &partition.stalled {
                let key = key.as_ref().map_or(String::new(), |key| format!(" (key {key})"));
                let (topic, number) = (&partition.topic, partition.partition);
                reasons
                    .push(format!("{topic}/{number} stands at offset {offset}{key} for {seconds} s: {handler}, {why}"));
            }
        }
        for (arbiter, still) in self.pulses.stuck() {
            let seconds = still.as_secs();
            reasons.push(format!("arbiter {arbiter} has not turned for {seconds} s: something blocks its thread"));
        }
        for ActorStatus { path, state, last_failure, .. } in self.actors() {
            if matches!(state, ActorState::Escalated | ActorState::Probing | ActorState::Stopped) {
                let cause = last_failure.map_or(String::new(), |incident| incident.message);
                reasons.push(format!("{path} has used up its restarts: {cause}"));
            }
        }
        for handler in handlers.iter().filter(|handler| handler.delayed_dead_letters > 0) {
            let count = handler.delayed_dead_letters;
            reasons.push(format!("{} has {count} dead letters that cannot be written", handler.name));
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn status(&self) -> Status {
        let consumer = self.consumer.status();
        let actors = self.handlers();
        let Readiness { ready, reasons } = self.judge(&consumer, &actors);
        let producer = ProducerStatus { reachable: self.outlet.is_reachable(), in_flight: self.outlet.in_flight() };
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

async fn readyz(health: web::Data<Health>) -> HttpResponse {
    let readiness = health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(readiness)
}

/// The measured state of broker, producer, consumer and actors.
///
/// # Errors
/// Never; it is a handler like the others.
pub async fn status_of(health: web::Data<Health>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(health.status()))
}
