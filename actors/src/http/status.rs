//! What is the whole status of a service, and is it alive?

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::health::Health;
use super::problem::{Problem, get};
use super::readiness::{Readiness, readyz};
use crate::status::{ConsumerStatus, HandlerStatus};

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
