//! The management listener: routed messages, metrics, status and health, for operators, on a port of its own.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use futures_util::StreamExt as _;
use futures_util::stream::{Stream, select};
use serde::Serialize;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

use super::actors::actor_routes;
use super::health::Health;
use super::problem::{Problem, get, post};
use super::status::{health_routes, status_of};
use crate::consumer::ConsumerControl;
use crate::inspect::{Inspector, KEPT_MESSAGES, Query, RoutedMessage};
use crate::telemetry;

/// A comment so often keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The consumer's thread obeys within milliseconds, once it has begun: it begins when the broker has the topics.
const OBEYED_WITHIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Found {
    messages: Vec<RoutedMessage>,
}

pub(crate) fn management_routes(config: &mut web::ServiceConfig) {
    config
        .configure(health_routes)
        .configure(actor_routes)
        .service(get("/status", status_of))
        .service(get("/metrics", metrics))
        .service(get("/messages", messages))
        .service(get("/messages/stream", stream))
        .service(post("/topics/{topic}:pause", pause))
        .service(post("/topics/{topic}:resume", resume));
}

#[derive(Serialize)]
struct TopicOrder {
    topic: String,
    paused: bool,
    /// Partitions of it that this member has; `None` where its consumer has not begun, and will obey when it does.
    partitions: Option<usize>,
}

async fn pause(
    topic: web::Path<String>,
    health: web::Data<Health>,
    control: web::Data<ConsumerControl>,
) -> Result<HttpResponse, Problem> {
    order(topic.into_inner(), true, &health, &control).await
}

async fn resume(
    topic: web::Path<String>,
    health: web::Data<Health>,
    control: web::Data<ConsumerControl>,
) -> Result<HttpResponse, Problem> {
    order(topic.into_inner(), false, &health, &control).await
}

async fn order(
    topic: String,
    paused: bool,
    health: &Health,
    control: &ConsumerControl,
) -> Result<HttpResponse, Problem> {
    if !health.handlers.iter().any(|(_, known, _)| *known == topic) {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("{topic} is not read by this service")));
    }
    let (status, partitions) = match tokio::time::timeout(OBEYED_WITHIN, control.pause_topic(&topic, paused)).await {
        Ok(Some(partitions)) => (StatusCode::OK, Some(partitions)),
        Ok(None) => return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the consumer has ended")),
        Err(_) => (StatusCode::ACCEPTED, None),
    };
    Ok(HttpResponse::build(status).json(TopicOrder { topic, paused, partitions }))
}

async fn metrics() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(telemetry::metrics())
}

fn check_limit(query: &Query) -> Result<(), Problem> {
    if query.limit.is_some_and(|limit| !(1..=KEPT_MESSAGES).contains(&limit)) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("limit: 1 to {KEPT_MESSAGES}")));
    }
    Ok(())
}

async fn messages(query: web::Query<Query>, inspector: web::Data<Arc<Inspector>>) -> Result<web::Json<Found>, Problem> {
    check_limit(&query)?;
    Ok(web::Json(Found { messages: inspector.find(&query) }))
}

async fn stream(query: web::Query<Query>, inspector: web::Data<Arc<Inspector>>) -> Result<HttpResponse, Problem> {
    check_limit(&query)?;
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("cache-control", "no-store"))
        .streaming(events(query.into_inner(), &inspector)))
}

/// The messages from now on as Server-Sent Events; `limit` ends the stream after so many.
fn events(
    query: Query,
    inspector: &Inspector,
) -> impl Stream<Item = Result<web::Bytes, std::convert::Infallible>> + use<> {
    let limit = query.limit.unwrap_or(usize::MAX);
    let live = BroadcastStream::new(inspector.follow()).filter_map(move |message| {
        let event = match message {
            Ok(message) if query.matches(&message) => {
                let json = serde_json::to_string(&message).expect("a routed message is plain data");
                Some(format!("event: message\nid: {}\ndata: {json}\n\n", message.id))
            }
            Ok(_) => None,
            // The follower was too slow: it is told so, instead of being shown a stream with a hole.
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Some(format!("event: missed\ndata: {{\"missed\":{missed}}}\n\n"))
            }
        };
        std::future::ready(event)
    });
    let live = live.take(limit);
    let mut interval = tokio::time::interval(KEEP_ALIVE);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let quiet = IntervalStream::new(interval).map(|_| ": keep-alive\n\n".to_owned());
    // The first comment comes at once: it tells the client that it is following. `None` ends the whole when the live
    // part has ended.
    select(live.map(Some).chain(futures_util::stream::iter([None])), quiet.map(Some))
        .take_while(|event| std::future::ready(event.is_some()))
        .filter_map(|event| std::future::ready(event.map(|event| Ok(web::Bytes::from(event)))))
}
