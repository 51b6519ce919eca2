//! What a handler is: a type that answers for events of one contract. Everything around it is its `HandlerActor`.

mod actor;
mod calls;
mod clock;
mod drive;
mod entry;
mod in_flight;
mod invoke;
mod letters;

use std::future::Future;

pub use actor::Work;
pub(crate) use actor::{HandlerActor, HandlerContext};
pub(crate) use in_flight::{InFlight, Share};
pub(crate) use invoke::{Each, InBatches, Invoke};

use crate::event::{Contract, Event};
use delivery::outcome::HandlerResult;

/// Handles events one by one. Events of different keys are handled concurrently, those of one key in order.
///
/// It lives on one thread: state may be in a `Cell` or `RefCell`, and blocking code belongs into
/// `tokio::task::spawn_blocking`. A panic is caught: it is a failed attempt of its event, and another handler with fresh
/// state takes over.
///
/// ```
/// use kafka_actors::{Contract, Done, Event, Handler, HandlerResult};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, schemars::JsonSchema, garde::Validate)]
/// struct Greeting {
///     #[garde(length(min = 1))]
///     name: String,
/// }
///
/// impl Contract for Greeting {
///     const TYPE: &'static str = "greeting.v1";
///     fn key(&self) -> Option<String> {
///         Some(self.name.clone())
///     }
/// }
///
/// struct GreetingActor;
///
/// impl Handler for GreetingActor {
///     type Event = Greeting;
///
///     async fn handle(&self, event: &Event<Greeting>) -> HandlerResult {
///         println!("hello {}", event.value().name);
///         Ok(Done::Handled)
///     }
/// }
/// ```
pub trait Handler: 'static {
    /// The contract it handles.
    type Event: Contract;

    /// Handles one event.
    ///
    /// At least once: after a crash the same event comes again, with the same id. The future is dropped where it waits
    /// when the event's partition has gone to another member, who handles it then.
    fn handle(&self, event: &Event<Self::Event>) -> impl Future<Output = HandlerResult>;
}

/// Handles events by the batch, one batch at a time: for a database that wants one transaction for many.
pub trait BatchHandler: 'static {
    /// The contract it handles.
    type Event: Contract;

    /// Handles a batch and answers for each event, in the order of `events`.
    ///
    /// Events of one key are in order. Where one of them fails, answer the same for those of its key behind it, or
    /// they will have been handled before it. An event that failed before comes alone.
    fn handle_batch(&self, events: &[Event<Self::Event>]) -> impl Future<Output = Vec<HandlerResult>>;
}
