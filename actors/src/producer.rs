//! `ProducerActor`: the only way out. It owns a share of the service's one Kafka producer; one runs on each arbiter that
//! publishes, so that a message to it crosses no thread.

mod keeper;
mod outlet;

use std::sync::Arc;
use std::time::Instant;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Addr, Context, Handler, Message, Supervised};

use crate::event::{NewEvent, Outgoing};
use crate::journal::{Journal, PublishFailed, Published};
use crate::kafka::{Delivery, PublishCause, PublishError};
use crate::status::Vitals;
use crate::supervisor::{Restarts, supervise};
pub use keeper::OpenError;
pub use outlet::Outlet;
pub(crate) use outlet::Reach;

/// Send this record, and answer once the broker has acknowledged it, or with what is known instead.
///
/// Once it was taken, a record whose asker goes away is sent all the same. One that has waited for so long that its asker
/// has given it up is not taken.
#[derive(Debug, Message)]
#[rtype(result = "Result<Delivery, PublishError>")]
pub struct Publish {
    record: Outgoing,
    since: Instant,
}

/// Owns a share of the Kafka producer. It holds nothing else: what it has taken is in the outlet, which outlives it.
#[derive(Clone)]
pub struct ProducerActor {
    outlet: Outlet,
    vitals: Arc<Vitals>,
}

impl ProducerActor {
    /// Starts an actor on the current arbiter.
    #[must_use]
    pub(crate) fn start_on_this_arbiter(outlet: Outlet, restarts: Restarts) -> Addr<Self> {
        supervise(Self { outlet, vitals: Arc::clone(restarts.vitals()) }, restarts)
    }
}

impl Supervised for ProducerActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = self.clone();
    }
}

impl Actor for ProducerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Publishes take nanoseconds here; this bounds a burst of HTTP requests on one worker.
        ctx.set_mailbox_capacity(1024);
        self.vitals.passes("started");
    }
}

/// A record on its way to the client's queue together with the asker, so that the answer crosses no mailbox.
pub struct Enqueue {
    outlet: Outlet,
    record: Outgoing,
    late: bool,
}

impl Handler<Publish> for ProducerActor {
    type Result = Enqueue;

    fn handle(&mut self, Publish { record, since }: Publish, _: &mut Self::Context) -> Enqueue {
        self.vitals.passes("publish");
        let late = since.elapsed() >= self.outlet.patience();
        self.vitals.add(u64::from(!late), u64::from(late));
        Enqueue { outlet: self.outlet.clone(), record, late }
    }
}

impl MessageResponse<ProducerActor, Publish> for Enqueue {
    fn handle(self, _: &mut Context<ProducerActor>, reply: Option<OneshotSender<Result<Delivery, PublishError>>>) {
        // Without an asker the fate goes nowhere, and the record goes out all the same.
        let reply = reply.unwrap_or_else(|| tokio::sync::oneshot::channel().0);
        if self.late {
            // A caller that went away does not want the answer.
            let _ = reply.send(Err(PublishError::NotSent(PublishCause::Producer(
                "its producer's actor did not take it in time",
            ))));
        } else {
            self.outlet.send(self.record, reply);
        }
    }
}

/// How HTTP handlers and event handlers publish: a message to the `ProducerActor` of their arbiter.
#[derive(Clone)]
pub struct Producer {
    actor: Addr<ProducerActor>,
    journal: Journal,
}

impl Producer {
    /// Publishes through that actor in the name of the journal's service.
    #[must_use]
    pub fn new(actor: Addr<ProducerActor>, journal: Journal) -> Self {
        Self { actor, journal }
    }

    /// Name of the service: the source of its events.
    #[must_use]
    pub fn service(&self) -> &str {
        self.journal.service()
    }

    /// Publishes an event; returns once the broker has acknowledged it.
    ///
    /// Dropping the future before it returns leaves the outcome unknown: the event may be sent.
    ///
    /// # Errors
    /// What is known where it was not acknowledged; see [`PublishError`].
    pub async fn publish(&self, event: NewEvent) -> Result<Delivery, PublishError> {
        let NewEvent { id, correlation_id, record } = event;
        let topic = record.topic.clone();
        let fate = self.send(record).await;
        match &fate {
            Ok(Delivery { partition, offset }) => self.journal.write(Published {
                topic: &topic,
                partition: *partition,
                offset: *offset,
                id: &id,
                correlation_id: &correlation_id,
            }),
            Err(error) => self.journal.write(PublishFailed { topic: &topic, error }),
        }
        fate
    }

    /// Sends a record as it is; returns once the broker has acknowledged it.
    pub(crate) async fn send(&self, record: Outgoing) -> Result<Delivery, PublishError> {
        self.actor.send(Publish { record, since: Instant::now() }).await.unwrap_or_else(|_| {
            // The actor panicked over it, or its arbiter ended with it in the mailbox or in the client's queue.
            Err(PublishError::Unknown(PublishCause::Producer("the producer stopped")))
        })
    }
}
