//! Actor-based services on Kafka: REST calls trigger events, and actors route and handle what comes back.
//!
//! A service is a list of routes: a topic, and the handler that its events go to. The library does the rest: it joins the
//! group, keeps the events of one key in order, tries failed ones again, writes dead letters, commits what is settled,
//! serves HTTP, and stops in order.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use kafka_actors::{App, Contract, Declared, Defaults, Done, Event, Handler, HandlerResult, Program, Route, ServiceBuilder};
//! # use serde::{Deserialize, Serialize};
//!
//! /// What is said on the topic: plain JSON on the wire, checked by its rules.
//! #[derive(Serialize, Deserialize, schemars::JsonSchema, garde::Validate)]
//! struct Greeting {
//!     #[garde(length(min = 1))]
//!     name: String,
//! }
//!
//! impl Contract for Greeting {
//!     const TYPE: &'static str = "greeting.v1";
//!     fn key(&self) -> Option<String> {
//!         Some(self.name.clone())
//!     }
//! }
//!
//! struct GreetingActor;
//!
//! impl Handler for GreetingActor {
//!     type Event = Greeting;
//!     async fn handle(&self, event: &Event<Greeting>) -> HandlerResult {
//!         println!("hello {}", event.value().name);
//!         Ok(Done::Handled)
//!     }
//! }
//!
//! const APP: App = App {
//!     defaults: Defaults { service: "greeter", port: 3335, management_port: 4335 },
//!     own: Declared::NONE,
//!     build: |settings, broker| {
//!         let service = ServiceBuilder::new(settings, broker).route(Route::each("greetings", |_| GreetingActor));
//!         Box::pin(async { Ok(service) })
//!     },
//! };
//!
//! fn main() -> ExitCode {
//!     Program::alone("greeter: says hello.", &[APP]).main()
//! }
//! ```
//!
//! # The modules, from the top down
//!
//! Each imports only from those below it; a test reads that.
//!
//! - [`launch`], [`service`]: from the command line to running actors, and their end.
//! - [`http`]: requests, publishing for them, problems, health, the management listener.
//! - [`consumer`], [`router`], [`handler`], [`producer`]: the actors.
//! - `supervisor`: it keeps them alive.
//! - [`inspect`], [`status`]: what was routed, and what is measured.
//! - [`telemetry`], [`mod@settings`]: the log and the metrics, and the one reader of the environment.
//! - [`kafka`]: the only module that knows rdkafka.
//! - [`journal`]: every observable thing, its log line and its metric.
//! - [`dead_letter`], [`event`], [`fatal`], [`catch_panic`], [`record`], [`outcome`]: what all of them use.
//!
//! What decides is in a crate of its own, `kafka-actors-delivery`, which knows no I/O.

pub mod catch_panic;
pub mod consumer;
pub mod dead_letter;
pub mod event;
pub mod fatal;
pub mod handler;
pub mod http;
pub mod inspect;
pub mod journal;
pub mod kafka;
pub mod launch;
pub mod producer;
pub mod record;
pub mod router;
pub mod service;
pub mod settings;
pub mod status;
mod supervisor;
pub mod telemetry;

pub use delivery::outcome;
pub use delivery::outcome::{Done, HandlerError, HandlerResult};
pub use delivery::restart_budget::RestartPolicy;
pub use delivery::worker::retry::RetryPolicy;
pub use event::{Contract, Event, NewEvent};
pub use handler::{BatchHandler, Handler};
pub use launch::{App, Program};
pub use producer::Producer;
pub use service::{Route, ServiceBuilder, StartError};
pub use settings::{Declared, Defaults, Settings};
