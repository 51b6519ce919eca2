//! `RouterActor`: dispatches each batch by topic to the actors of the handlers. It holds nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{
    Actor, ActorFutureExt as _, AsyncContext, Context, ContextFutureSpawner as _, Handler, MailboxError, Message,
};
use actix::{Recipient, WrapFuture as _};

use crate::escalation::Escalation;
use crate::handler::{Look, Sweep, Work};
use crate::record::RecordBatch;

/// A batch from the consumer's thread.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The records.
    pub batch: RecordBatch,
}

/// Where the records of a topic go.
#[derive(Clone)]
pub struct RouteTarget {
    /// Takes the records.
    pub work: Recipient<Work>,
    /// Takes the order to give up what was not started of closed assignments.
    pub sweep: Recipient<Sweep>,
    /// Takes the question where a record is.
    pub look: Recipient<Look>,
}

/// Topic -> handler; built once at the start, immutable.
pub type RouteTable = HashMap<Arc<str>, RouteTarget>;

/// Dispatches by topic.
pub struct RouterActor {
    routes: RouteTable,
    /// Batches that the consumer's thread sent and this actor has not taken yet.
    waiting: Arc<AtomicUsize>,
    escalation: Escalation,
}

/// Batches that wait in the router's mailbox: one on its way while the next is being filled, and some air.
pub const MAX_WAITING_BATCHES: usize = 8;

impl RouterActor {
    /// A router for those routes. `waiting` is counted up by whoever sends a batch.
    #[must_use]
    pub fn new(routes: RouteTable, waiting: Arc<AtomicUsize>, escalation: Escalation) -> Self {
        Self { routes, waiting, escalation }
    }

    /// The batch's records by handler, one piece of work each; records of one topic keep their order.
    fn split(&self, batch: RecordBatch) -> Vec<(Recipient<Work>, Work)> {
        let mut by_target: Vec<(&Arc<str>, Vec<u32>)> = Vec::new();
        let mut target_of = Vec::with_capacity(batch.assignments().len());
        for assignment in batch.assignments() {
            let known = by_target.iter().position(|(topic, _)| **topic == assignment.topic);
            target_of.push(known.unwrap_or_else(|| {
                by_target.push((&assignment.topic, Vec::with_capacity(batch.len())));
                by_target.len() - 1
            }));
        }
        for index in 0..batch.len() {
            let target = target_of[batch.assignment_of(index)];
            by_target[target].1.push(u32::try_from(index).expect("a batch holds some hundred records"));
        }
        let pieces: Vec<_> = by_target
            .into_iter()
            .filter_map(|(topic, records)| {
                let target = self.routes.get(topic);
                if target.is_none() {
                    // Only topics of the route table are subscribed to. Were it otherwise, the records stay owned.
                    self.escalation.raise(&format!("no route for topic {topic}"));
                }
                Some((target?.work.clone(), records))
            })
            .collect();
        let batch = Arc::new(batch);
        pieces.into_iter().map(|(to, records)| (to, Work { batch: Arc::clone(&batch), records })).collect()
    }

    fn check(&self, sent: Result<(), MailboxError>) {
        if let Err(error) = sent {
            // Its records stay owned: nothing was answered, so nothing is committed past them.
            self.escalation.raise(&format!("a handler's actor is gone: {error}"));
        }
    }
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAX_WAITING_BATCHES);
    }
}

impl Handler<Deliver> for RouterActor {
    type Result = ();

    fn handle(&mut self, Deliver { batch }: Deliver, ctx: &mut Self::Context) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        for (to, work) in self.split(batch) {
            // The next message is taken when the handler has this one: a handler that is behind slows the intake.
            to.send(work).into_actor(self).map(|sent, actor, _| actor.check(sent)).wait(ctx);
        }
    }
}

impl Handler<Sweep> for RouterActor {
    type Result = ();

    fn handle(&mut self, sweep: Sweep, ctx: &mut Self::Context) {
        for target in self.routes.values() {
            ctx.wait(target.sweep.send(sweep).into_actor(self).map(|sent, actor, _| actor.check(sent)));
        }
    }
}

impl Handler<Look> for RouterActor {
    type Result = ();

    fn handle(&mut self, look: Look, ctx: &mut Self::Context) {
        if let Some(target) = self.routes.get(&look.topic) {
            ctx.wait(target.look.send(look).into_actor(self).map(|sent, actor, _| actor.check(sent)));
        }
    }
}
