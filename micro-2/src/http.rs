//! micro-2's REST routes.

use actix_web::{HttpRequest, HttpResponse, web};
use contracts::{Notification, OtherEvent, UserEvent, topic};
use garde::Validate;
use kafka_actors::http::{Body, Problem, Published, Publisher, correlation_of, get, post, status_of, topic_problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(get("/", || async { HttpResponse::Ok().json(json!({"hello": "world"})) }))
        .service(post("/api/kafka/send", send))
        .service(get("/api/kafka/status", status_of))
        .service(post("/api/notifications/send", send_notification));
}

#[derive(Serialize)]
struct Sent {
    success: bool,
    message: String,
    data: Published,
}

#[derive(Deserialize, JsonSchema, Validate)]
struct Send {
    /// A topic that this service handles or publishes to.
    #[garde(skip)]
    topic: String,
    /// An event of the topic's contract.
    #[garde(skip)]
    message: Value,
}

async fn send(request: HttpRequest, body: Body, publisher: web::Data<Publisher>) -> Result<web::Json<Sent>, Problem> {
    let Send { topic, message } = body.read()?;
    let correlation = correlation_of(&request)?;
    let (at, name) = ("/message", topic.as_str());
    let data = match name {
        topic::USER_EVENTS => publisher.publish::<UserEvent>(name, message, at, &correlation).await?,
        topic::NOTIFICATION_EVENTS => publisher.publish::<Notification>(name, message, at, &correlation).await?,
        topic::MICRO_1_EVENTS | topic::MICRO_2_EVENTS => {
            publisher.publish::<OtherEvent>(name, message, at, &correlation).await?
        }
        other => return Err(topic_problem(other, &topic::ALL, &[])),
    };
    Ok(web::Json(Sent { success: true, message: format!("Event sent to {topic}"), data }))
}

/// The value is sent as it came, so it is checked as a [`Notification`] when it is published.
async fn send_notification(
    request: HttpRequest,
    Body(message): Body,
    publisher: web::Data<Publisher>,
) -> Result<web::Json<Sent>, Problem> {
    let correlation = correlation_of(&request)?;
    let topic = topic::NOTIFICATION_EVENTS;
    let data = publisher.publish::<Notification>(topic, message, "", &correlation).await?;
    Ok(web::Json(Sent { success: true, message: format!("Notification sent to {topic}"), data }))
}
