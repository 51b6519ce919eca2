//! A route: a topic, the handler that its events go to, and how that one is made and run.

use std::rc::Rc;
use std::time::Duration;

use actix::Recipient;

use crate::handler::{BatchHandler, Each, Handler, HandlerActor, HandlerContext, InBatches, Invoke, Share, Work};
use crate::producer::Producer;
use crate::settings::Settings;
use delivery::restart_budget::RestartPolicy;
use delivery::worker::WorkerPolicy;
use delivery::worker::lanes::Unkeyed;
use delivery::worker::retry::RetryPolicy;

/// The one shard in the paths of its actors.
pub(super) const SHARD: &str = "shard-0";

pub(super) type StartHandler = Box<dyn FnOnce(&Producer, HandlerContext, Share) -> Recipient<Work> + Send>;

/// A topic and the handler that its events go to.
pub struct Route {
    pub(super) topic: String,
    pub(super) handler: &'static str,
    pub(super) unkeyed: Unkeyed,
    pub(super) deadline: Option<Duration>,
    pub(super) retry: Option<RetryPolicy>,
    pub(super) restart: Option<RestartPolicy>,
    pub(super) start: Box<dyn FnOnce(WorkerPolicy, RestartPolicy) -> StartHandler>,
}

impl Route {
    /// Events of `topic` go one by one to a handler. `factory` makes it, and makes another after a panic.
    pub fn each<H: Handler>(topic: &str, factory: impl Fn(&Producer) -> H + Send + 'static) -> Self {
        Self::new::<H, _>(topic, move |producer| Each(factory(producer)))
    }

    /// Events of `topic` go by the batch to a handler. `factory` makes it, and makes another after a panic.
    pub fn batched<H: BatchHandler>(topic: &str, factory: impl Fn(&Producer) -> H + Send + 'static) -> Self {
        Self::new::<H, _>(topic, move |producer| InBatches(factory(producer)))
    }

    /// Records without a key are handled in the order of their partition.
    #[must_use]
    pub fn unkeyed_in_partition_order(mut self) -> Self {
        self.unkeyed = Unkeyed::PartitionOrder;
        self
    }

    /// Another deadline than `HANDLER_DEADLINE_MS`: a call that takes longer is cancelled where it waits, and counts as a
    /// failed attempt of its events. Code that blocks its thread cannot be cancelled: it belongs into
    /// `tokio::task::spawn_blocking`, which goes on in the background.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Other attempts and backoffs than those of the `RETRY_` variables. At least one attempt is made. Attempts to write a
    /// dead letter have these backoffs too, and no limit.
    #[must_use]
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(RetryPolicy { max_attempts: policy.max_attempts.max(1), ..policy });
        self
    }

    /// Another restart budget than that of the `RESTART_` variables.
    #[must_use]
    pub fn restarts(mut self, policy: RestartPolicy) -> Self {
        self.restart = Some(policy);
        self
    }

    /// How its handler is run, and how the actor around that is restarted.
    pub(super) fn policies(&self, settings: &Settings) -> (WorkerPolicy, RestartPolicy) {
        let restart = self.restart.unwrap_or(settings.restart);
        let policy = WorkerPolicy {
            retry: self.retry.unwrap_or(settings.retry),
            breaker: settings.breaker,
            unkeyed: self.unkeyed,
            deadline: self.deadline.unwrap_or(settings.handler_deadline),
            max_starts: restart.max_restarts,
            ..WorkerPolicy::default()
        };
        (policy, restart)
    }

    fn new<H, I: Invoke>(topic: &str, make: impl Fn(&Producer) -> I + Send + 'static) -> Self {
        let handler = short_name::<H>();
        let start = move |policy: WorkerPolicy, restart: RestartPolicy| -> StartHandler {
            Box::new(move |producer: &Producer, context: HandlerContext, share: Share| {
                let (own, producer) = (producer.clone(), producer.clone());
                let factory = Rc::new(move || make(&own));
                let actor =
                    HandlerActor::new(handler, &policy, restart, context, share, producer, factory).supervised();
                actor.recipient()
            })
        };
        Self {
            topic: topic.to_owned(),
            handler,
            unkeyed: Unkeyed::default(),
            deadline: None,
            retry: None,
            restart: None,
            start: Box::new(start),
        }
    }
}

/// `OrderActor` of `shop::orders::OrderActor`.
fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// `shard-0/handlers/OrderActor`, and the topic too where several routes go to handlers of that name.
pub(super) fn path_of(route: &Route, routes: &[Route]) -> String {
    let Route { handler, topic, .. } = route;
    if routes.iter().filter(|other| other.handler == *handler).count() > 1 {
        format!("{SHARD}/handlers/{handler}/{topic}")
    } else {
        format!("{SHARD}/handlers/{handler}")
    }
}
