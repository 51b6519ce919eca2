//! HTTP: requests parsed into contract values, events published, problems told, and the management listener.

mod actors;
mod body;
mod health;
mod management;
mod problem;
mod publish;
mod readiness;
mod status;

pub(crate) use body::check;
pub use body::{Body, MAX_BODY_BYTES};
pub use health::Health;
pub(crate) use management::management_routes;
pub use problem::{FieldProblem, Problem, fallbacks, get, post};
pub use publish::{Published, Publisher, correlation_of, topic_problem};
pub use readiness::Readiness;
pub use status::{health_routes, status_of};
