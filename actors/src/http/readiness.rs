//! Readiness as measured: one check for each thing that has to be well, and what is wrong where it is not.

use std::sync::atomic::Ordering;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::health::Health;
use crate::producer::Reach;
use crate::status::{ActorState, ActorStatus, ConsumerState, ConsumerStatus, HandlerStatus, StallStatus};

/// Whether a service should be sent requests, and if not, why.
#[derive(Debug, Serialize)]
pub struct Readiness {
    /// Whether it should.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// One thing that has to be well.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    name: String,
    ok: bool,
    /// What is wrong with it.
    why: Vec<String>,
}

/// Readiness with all that it is made of.
#[derive(Serialize)]
struct Verbose {
    #[serde(flatten)]
    readiness: Readiness,
    checks: Vec<Check>,
    actors: Vec<ActorStatus>,
}

impl Check {
    fn new(name: impl Into<String>, why: impl IntoIterator<Item = String>) -> Self {
        let why: Vec<String> = why.into_iter().collect();
        Self { name: name.into(), ok: why.is_empty(), why }
    }
}

impl Readiness {
    pub(super) fn of(checks: &[Check]) -> Self {
        let reasons: Vec<String> = checks.iter().flat_map(|check| &check.why).cloned().collect();
        Self { ready: reasons.is_empty(), reasons }
    }
}

impl Health {
    /// Readiness as measured now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness::of(&self.checks(&self.consumer(), &self.handlers()))
    }

    pub(super) fn checks(&self, consumer: &ConsumerStatus, handlers: &[HandlerStatus]) -> Vec<Check> {
        let stopping = self.stopping.load(Ordering::Relaxed).then(|| "stopping".to_owned());
        let producer = match self.outlet.reach() {
            Reach::Nothing => Some("the producer reaches no broker".to_owned()),
            Reach::Restarting => Some("the producer's client is being restarted".to_owned()),
            // Where no client comes its own state says why.
            Reach::Broker | Reach::Closed(_) => None,
        };
        let member = match consumer.state {
            ConsumerState::Assigned if consumer.broker_reachable => None,
            ConsumerState::Assigned => Some("the consumer reaches no broker".to_owned()),
            state => Some(format!("the consumer is {state:?}").to_lowercase()),
        };
        let stalls = consumer.partitions.iter().filter_map(|partition| {
            let StallStatus { offset, key, handler, why, seconds } = partition.stalled.as_ref()?;
            let key = key.as_ref().map_or(String::new(), |key| format!(" (key {key})"));
            let (topic, number) = (&partition.topic, partition.partition);
            Some(format!("{topic}/{number} is stalled at offset {offset}{key} for {seconds} s: {handler}, {why}"))
        });
        let stuck = self.heartbeats.stuck().into_iter().map(|(arbiter, still)| {
            let seconds = still.as_secs();
            format!("arbiter {arbiter} has not turned for {seconds} s: something blocks its thread")
        });
        let dead_letters = handlers.iter().filter(|handler| handler.delayed_dead_letters > 0).map(|handler| {
            format!("{} has {} dead letters that cannot be written", handler.name, handler.delayed_dead_letters)
        });
        let mut checks = vec![
            Check::new("in service", stopping),
            Check::new("nothing failed for good", self.fatal.error().map(|error| error.message)),
            Check::new("producer", producer),
            Check::new("consumer", member),
            Check::new("frontiers move", stalls),
            Check::new("arbiters turn", stuck),
            Check::new("dead letters", dead_letters),
        ];
        checks.extend(self.actors().into_iter().map(|ActorStatus { path, state, last_failure, .. }| {
            let cause = || last_failure.map_or(String::new(), |incident| incident.message);
            let why = match state {
                ActorState::OverBudget | ActorState::Probing | ActorState::Failed => {
                    Some(format!("{path} has used up its restarts: {}", cause()))
                }
                ActorState::BreakerOpen | ActorState::BreakerHalfOpen => {
                    Some(format!("{path}: its breaker is open: {}", cause()))
                }
                ActorState::StoppedByOperator => Some(format!("{path} is stopped by an operator")),
                ActorState::Starting | ActorState::Running | ActorState::BackingOff => None,
            };
            Check::new(path, why)
        }));
        checks
    }
}

/// `?verbose` tells each check, also those that are well, and the states of the actors.
pub(super) async fn readyz(request: HttpRequest, health: web::Data<Health>) -> HttpResponse {
    let checks = health.checks(&health.consumer(), &health.handlers());
    let readiness = Readiness::of(&checks);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = HttpResponse::build(status);
    if request.query_string().split('&').any(|word| word.split('=').next() == Some("verbose")) {
        response.json(Verbose { readiness, checks, actors: health.actors() })
    } else {
        response.json(readiness)
    }
}
