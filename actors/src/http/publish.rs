//! Publishing for a request: within its deadline, and with an answer that promises no more than is known.

use std::fmt;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::problem::{FieldProblem, Problem};
use crate::event::{Contract, Correlation, MAX_IDENTITY_BYTES, NewEvent};
use crate::http::check;
use crate::kafka::PublishError;
use crate::producer::{Outlet, Producer};

/// Publishes in the name of a request. One lives on each HTTP worker.
#[derive(Clone)]
pub struct Publisher {
    producer: Producer,
    outlet: Outlet,
    deadline: Duration,
}

/// What the broker acknowledged.
#[derive(Debug, Serialize)]
pub struct Published {
    /// Topic.
    pub topic: String,
    /// The value as it was written.
    pub message: Value,
    /// The event's id.
    pub id: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// Until a client should try again when no broker is reached.
const RETRY_AFTER_SECONDS: u32 = 1;

impl Publisher {
    pub(crate) fn new(producer: Producer, outlet: Outlet, deadline: Duration) -> Self {
        Self { producer, outlet, deadline }
    }

    /// Publishes `message`, which is at `pointer` in the request, as an event of contract `E`. Members that the
    /// contract does not know are sent too.
    ///
    /// # Errors
    /// 422 where it is none; 503 where nothing was sent; 504 where the outcome is unknown; 502 where the broker refuses.
    pub async fn publish<E: Contract>(
        &self,
        topic: &str,
        message: Value,
        pointer: &str,
        correlation: &Correlation,
    ) -> Result<Published, Problem> {
        let event: E = check(&message, pointer).map_err(Problem::fields)?;
        let value = serde_json::to_vec(&message)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let event = NewEvent::triggered_with_value(self.producer.service(), topic, &event, value, correlation);
        if let Some(why) = self.outlet.hopeless() {
            return Err(not_sent(why));
        }
        let id = event.id.clone();
        let fate = tokio::time::timeout(self.deadline, self.producer.publish(event)).await;
        let delivery = match fate {
            Ok(Ok(delivery)) => delivery,
            Ok(Err(PublishError::NotSent(reason))) => return Err(not_sent(reason)),
            Ok(Err(PublishError::Unknown(reason))) => return Err(unknown(&id, reason)),
            Ok(Err(PublishError::Refused(reason))) => {
                return Err(Problem::new(StatusCode::BAD_GATEWAY, format!("Kafka refused the event: {reason}")));
            }
            Err(_) => return Err(unknown(&id, "no acknowledgement within the deadline")),
        };
        let (partition, offset) = (delivery.partition, delivery.offset);
        Ok(Published { topic: topic.to_owned(), message, id, partition, offset })
    }
}

fn not_sent(reason: impl fmt::Display) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("nothing was sent: {reason}"))
        .retry_after(RETRY_AFTER_SECONDS)
}

fn unknown(id: &str, reason: impl fmt::Display) -> Problem {
    let detail = format!("the outcome is unknown, event {id} may have been written: {reason}");
    Problem::new(StatusCode::GATEWAY_TIMEOUT, detail)
}

/// What a request says of what set it off: `x-correlation-id` and `traceparent`.
///
/// # Errors
/// 400 where one of them is no short printable text.
pub fn correlation_of(request: &HttpRequest) -> Result<Correlation, Problem> {
    let correlation_id = short_header(request, "x-correlation-id")?;
    Ok(Correlation { correlation_id, causation_id: None, traceparent: short_header(request, "traceparent")? })
}

/// A header that says who or what something is, where the request has it.
pub(super) fn short_header(request: &HttpRequest, name: &str) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(name) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= MAX_IDENTITY_BYTES);
    // `to_str` lets a tab pass; a control character is no identity, and the receiver would not take it for one.
    let text = text.filter(|text| !text.chars().any(char::is_control));
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        let detail = format!("header {name}: 1 to {MAX_IDENTITY_BYTES} printable ASCII characters");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// 404 or 403 for a topic that cannot be published to here.
#[must_use]
pub fn topic_problem(topic: &str, allowed: &[&str], known: &[&str]) -> Problem {
    let allowed = allowed.join(", ");
    if known.contains(&topic) {
        return Problem::new(
            StatusCode::FORBIDDEN,
            format!("topic {topic} is not published to here; allowed: {allowed}"),
        );
    }
    Problem::new(StatusCode::NOT_FOUND, format!("there is no topic {topic:?}; allowed: {allowed}"))
}

impl From<FieldProblem> for Problem {
    fn from(field: FieldProblem) -> Self {
        Self::fields(vec![field])
    }
}
