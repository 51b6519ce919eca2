//! micro-1's REST routes.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use contracts::{OtherEvent, UserEvent, topic};
use garde::Validate;
use kafka_actors::http::{Body, Problem, Published, Publisher, correlation_of, get, post, status_of, topic_problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::store::{KeptNotification, Store};

/// Topics that `send-to-micro2` publishes to.
const ALLOWED: [&str; 2] = [topic::USER_EVENTS, topic::MICRO_1_EVENTS];
const MAX_PAGE: u32 = 1_000;
const DEFAULT_PAGE: u32 = 100;

pub(crate) fn routes(config: &mut web::ServiceConfig, store: &Store) {
    config
        .app_data(web::Data::new(store.clone()))
        .service(get("/", || async { HttpResponse::Ok().json(json!({"hello": "world"})) }))
        .service(post("/api/kafka/send-to-micro2", send_to_micro_2))
        .service(get("/api/kafka/status", status_of))
        .service(get("/api/notifications/{user_id}", notifications));
}

#[derive(Deserialize, JsonSchema, Validate)]
struct SendToMicro2 {
    /// A user event for `user.events`, any other event for `micro-1.events`.
    #[garde(skip)]
    message: Value,
    /// `micro-1.events` where it is left out.
    #[garde(skip)]
    topic: Option<String>,
}

#[derive(Serialize)]
struct Sent {
    success: bool,
    message: String,
    data: Published,
}

async fn send_to_micro_2(
    request: HttpRequest,
    body: Body,
    publisher: web::Data<Publisher>,
) -> Result<web::Json<Sent>, Problem> {
    let SendToMicro2 { message, topic } = body.read()?;
    let correlation = correlation_of(&request)?;
    let topic = topic.as_deref().unwrap_or(topic::MICRO_1_EVENTS);
    let data = match topic {
        topic::USER_EVENTS => publisher.publish::<UserEvent>(topic, message, "/message", &correlation).await?,
        topic::MICRO_1_EVENTS => publisher.publish::<OtherEvent>(topic, message, "/message", &correlation).await?,
        other => return Err(topic_problem(other, &ALLOWED, &topic::ALL)),
    };
    Ok(web::Json(Sent { success: true, message: format!("Event sent to {topic}"), data }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    limit: Option<u32>,
    cursor: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notifications {
    notifications: Vec<KeptNotification>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

async fn notifications(
    user: web::Path<u64>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> Result<web::Json<Notifications>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("limit: 1 to {MAX_PAGE}")));
    }
    // No contract lets such a user have notifications.
    let user = i64::try_from(*user).unwrap_or(i64::MAX);
    let page = store
        .page(user, query.cursor, limit)
        .await
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(1))?;
    Ok(web::Json(Notifications {
        notifications: page.notifications,
        next_cursor: page.next.map(|seq| seq.to_string()),
    }))
}
