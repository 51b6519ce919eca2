//! `RouterActor`: which handler does a record go to? It splits each batch by topic. Its state is the batch that it
//! dispatches, which outlives it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll, ready};

use crate::fatal::Fatal;
use crate::handler::Work;
use crate::record::RecordBatch;
use crate::status::Vitals;
use crate::supervisor::{Restarts, supervise};
use actix::dev::RecipientRequest;
use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext as _, Context, Handler, MailboxError, Message, Recipient, Supervised};

/// A batch from the consumer's thread.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// The records.
    pub batch: RecordBatch,
}

/// Topic -> handler; built once at the start, immutable.
pub type RouteTable = HashMap<Arc<str>, Recipient<Work>>;

/// Dispatches by topic.
pub struct RouterActor {
    parts: RouterParts,
}

/// What a router works with. It goes from a router that panicked to the next one.
#[derive(Clone)]
pub(crate) struct RouterParts {
    pub(crate) routes: Rc<RouteTable>,
    /// Batches that the consumer's thread sent and this actor has not taken yet: counted up by the sender.
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) fatal: Fatal,
    in_flight: Rc<RefCell<BatchInFlight>>,
}

/// The batch in flight, and how far its dispatch is. A panic of the router leaves it where it is.
#[derive(Default)]
struct BatchInFlight {
    /// Not split yet.
    batch: Option<Arc<RecordBatch>>,
    /// What goes to the handlers, until each has taken it.
    pieces: Vec<Piece>,
}

/// What goes to one handler.
struct Piece {
    to: Recipient<Work>,
    /// Not sent yet.
    work: Option<Work>,
    /// On its way.
    request: Option<Pin<Box<RecipientRequest<Work>>>>,
}

/// Batches that wait in the router's mailbox: one on its way while the next is being filled, and some air.
pub const MAX_WAITING_BATCHES: usize = 8;

impl RouterParts {
    pub(crate) fn new(routes: RouteTable, waiting: Arc<AtomicUsize>, vitals: Arc<Vitals>, fatal: Fatal) -> Self {
        Self { routes: Rc::new(routes), waiting, vitals, fatal, in_flight: Rc::default() }
    }

    /// The batch's records by handler, one piece each; records of one topic keep their order.
    fn split(&self, batch: &Arc<RecordBatch>) -> Vec<Piece> {
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
        let pieces = by_target.into_iter().filter_map(|(topic, records)| {
            let target = self.routes.get(topic);
            if target.is_none() {
                // Only topics of the route table are subscribed to. Were it otherwise, the records stay owned.
                self.fatal.raise(&format!("no route for topic {topic}"));
            }
            let work = Some(Work { batch: Arc::clone(batch), records });
            Some(Piece { to: target?.clone(), work, request: None })
        });
        pieces.collect()
    }

    /// Brings the batch in flight to the handlers: each gets its piece once, whatever panics in between. Over when all
    /// have taken theirs.
    fn dispatch(&self, cx: &mut task::Context<'_>) -> Poll<()> {
        let mut in_flight = self.in_flight.borrow_mut();
        let BatchInFlight { batch, pieces } = &mut *in_flight;
        if let Some(whole) = &*batch {
            self.vitals.passes("dispatch");
            *pieces = self.split(whole);
            *batch = None;
        }
        for piece in &mut *pieces {
            if let Some(work) = piece.work.take() {
                piece.request = Some(Box::pin(piece.to.send(work)));
            }
        }
        while let Some(piece) = pieces.last_mut() {
            if let Some(request) = &mut piece.request
                && let Err(error) = ready!(request.as_mut().poll(cx))
            {
                self.check(piece.to.connected(), error);
            }
            pieces.pop();
            self.vitals.passes("dispatched");
        }
        self.vitals.add(1, 0);
        self.vitals.set_depth(self.waiting.load(Ordering::Relaxed), 0);
        Poll::Ready(())
    }

    /// A handler's actor that panicked over a message has kept what was in it; one that is gone has not.
    fn check(&self, connected: bool, error: MailboxError) {
        if !connected {
            // Its records stay owned: nothing was answered, so nothing is committed past them.
            self.fatal.raise(&format!("a handler's actor is gone: {error}"));
        }
    }
}

impl RouterActor {
    /// Starts a router on the current arbiter.
    pub(crate) fn start(parts: RouterParts, restarts: Restarts) -> Addr<Self> {
        supervise(Self { parts }, restarts)
    }
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAX_WAITING_BATCHES);
        self.parts.vitals.passes("started");
    }
}

impl Supervised for RouterActor {
    fn restarting(&mut self, ctx: &mut Self::Context) {
        *self = Self { parts: self.parts.clone() };
        // What waits last is polled first: the rest of the batch in flight comes before all else.
        if self.parts.in_flight.borrow().is_full() {
            ctx.wait(Dispatch);
        }
    }
}

impl BatchInFlight {
    fn is_full(&self) -> bool {
        self.batch.is_some() || !self.pieces.is_empty()
    }
}

/// Polled until the batch in flight is with the handlers.
struct Dispatch;

impl ActorFuture<RouterActor> for Dispatch {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut RouterActor,
        _: &mut Context<RouterActor>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        actor.parts.dispatch(cx)
    }
}

impl Handler<Deliver> for RouterActor {
    type Result = ();

    fn handle(&mut self, Deliver { batch }: Deliver, ctx: &mut Self::Context) {
        let parts = &self.parts;
        // First of all: from here on it is not lost with a panic.
        parts.in_flight.borrow_mut().batch = Some(Arc::new(batch));
        let waiting = parts.waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        parts.vitals.set_depth(waiting, 1);
        parts.vitals.passes("deliver");
        // The next message is taken when the handlers have this one: a handler that is behind slows the intake.
        ctx.wait(Dispatch);
    }
}
