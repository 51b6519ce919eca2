//! The tree of actors on the management listener: the state of each, and commands to them.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::health::Health;
use super::problem::{Problem, get, post};
use super::publish::short_header;
use crate::status::{ActorStatus, Vitals};
use crate::supervisor::{Requester, Verb};

/// Header in which the caller of a command may say who that is.
const REQUESTED_BY: &str = "x-requested-by";

#[derive(Serialize)]
struct Actors {
    actors: Vec<ActorStatus>,
}

pub(super) fn actor_routes(config: &mut web::ServiceConfig) {
    config.service(get("/actors", all));
    for verb in Verb::ALL {
        let give = move |request: HttpRequest, path: web::Path<String>, health: web::Data<Health>| {
            std::future::ready(command(verb, &request, &path, &health))
        };
        config.service(post(&format!("/actors/{{path:.+}}:{}", verb.as_str()), give));
    }
    config.service(get("/actors/{path:.+}", one)).service(get("/commands/{id}", outcome));
}

async fn all(health: web::Data<Health>) -> web::Json<Actors> {
    web::Json(Actors { actors: health.actors() })
}

async fn one(path: web::Path<String>, health: web::Data<Health>) -> Result<web::Json<ActorStatus>, Problem> {
    Ok(web::Json(find(&path, &health)?.status()))
}

fn find(path: &str, health: &Health) -> Result<std::sync::Arc<Vitals>, Problem> {
    let problem =
        || Problem::new(StatusCode::NOT_FOUND, format!("there is no actor {path}; GET /actors has all of them"));
    health.vitals(path).ok_or_else(problem)
}

fn command(verb: Verb, request: &HttpRequest, path: &str, health: &Health) -> Result<HttpResponse, Problem> {
    let actor = find(path, health)?;
    let address = request.peer_addr().map(|address| address.to_string());
    let by = Requester { address, name: short_header(request, REQUESTED_BY)? };
    let refused = |why| Problem::new(StatusCode::CONFLICT, why);
    let command = health.commands.give(&actor, verb, by).map_err(refused)?;
    let place = (LOCATION, format!("/commands/{}", command.id));
    Ok(HttpResponse::Accepted().insert_header(place).json(command))
}

async fn outcome(id: web::Path<String>, health: web::Data<Health>) -> Result<HttpResponse, Problem> {
    let problem = || Problem::new(StatusCode::NOT_FOUND, format!("there is no command {id}, or it is too long ago"));
    Ok(HttpResponse::Ok().json(health.commands.find(&id).ok_or_else(problem)?))
}
