//! `application/problem+json` (RFC 9457): the one form in which a request is refused.

use std::fmt;

use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, ResponseError, web};
use serde::Serialize;

/// Why a request was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    /// One entry per field that is missing or wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
    #[serde(skip)]
    allow: Option<Method>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) to the field.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

impl Problem {
    /// A problem of that status; `detail` says what happened and what would help.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
            allow: None,
        }
    }

    /// 422 with one entry per field.
    #[must_use]
    pub fn fields(errors: Vec<FieldProblem>) -> Self {
        let detail = match errors.len() {
            1 => "a field is missing or wrong".to_owned(),
            count => format!("{count} fields are missing or wrong"),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// Says which method would do.
    fn allow(mut self, method: Method) -> Self {
        self.allow = Some(method);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = self.retry_after_seconds {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(method) = &self.allow {
            response.insert_header((ALLOW, method.as_str()));
        }
        // `json` keeps a content type that is set.
        response.content_type("application/problem+json").json(self)
    }
}

/// A path that is read; another method is refused with 405.
pub fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    only(Method::GET, path, handler)
}

/// A path that is posted to; another method is refused with 405.
pub fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    only(Method::POST, path, handler)
}

fn only<F, Args>(method: Method, path: &str, handler: F) -> Resource
where
    F: Handler<Args, Output: Responder + 'static>,
    Args: FromRequest + 'static,
{
    let route = web::method(method.clone()).to(handler);
    web::resource(path).route(route).default_service(web::to(move |request: HttpRequest| {
        let detail = format!("{} takes {method}, not {}", request.path(), request.method());
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).allow(method.clone());
        std::future::ready(Err::<HttpResponse, _>(problem))
    }))
}

/// What answers where nothing else does, and queries that cannot be read: problems too.
pub fn fallbacks(config: &mut web::ServiceConfig) {
    config
        .app_data(web::QueryConfig::default().error_handler(|error, _| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {error}")).into()
        }))
        .app_data(web::PathConfig::default().error_handler(|error, _| {
            Problem::new(StatusCode::NOT_FOUND, format!("the path cannot be read: {error}")).into()
        }))
        .default_service(web::to(|request: HttpRequest| async move {
            let detail = format!("there is no {} {}", request.method(), request.path());
            Err::<HttpResponse, _>(Problem::new(StatusCode::NOT_FOUND, detail))
        }));
}
