//! `HandlerActor`: what is around a handler, and what of it survives which panic?

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context, Supervised};
use tokio::time::Sleep;

use super::calls::{Calls, Polled};
use super::clock::Clock;
use super::entry::Entry;
use super::in_flight::Share;
use super::invoke::{Called, Invoke, Run, call};
use super::letters::Letters;
use crate::catch_panic::{Panicked, dropped};
use crate::event::Event;
use crate::fatal::Fatal;
use crate::inspect::Inspector;
use crate::journal::Journal;
use crate::producer::Producer;
use crate::record::{BatchPool, RecordBatch};
use crate::status::HandlerCounters;
use crate::supervisor::{Commands, PendingCommands, Report, Restarts, random_u64, supervise};
use delivery::answer::Answers;
use delivery::lease::Lease;
use delivery::outcome::Outcome;
use delivery::restart_budget::RestartPolicy;
use delivery::worker::{CallId, Worker, WorkerPolicy};

/// Records of one batch for one handler.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Work {
    /// The batch they lie in.
    pub batch: Arc<RecordBatch>,
    /// Their indices in it.
    pub records: Vec<u32>,
}

/// What a handler's actor works with.
pub(crate) struct HandlerContext {
    pub(crate) group: String,
    pub(crate) answers: Answers,
    pub(crate) lease: Arc<Lease>,
    pub(crate) fatal: Fatal,
    pub(crate) journal: Journal,
    pub(crate) inspector: Arc<Inspector>,
    pub(crate) counters: Arc<HandlerCounters>,
    pub(crate) pool: BatchPool,
    pub(crate) commands: Commands,
}

/// A handler and what it is called with.
pub(super) type Call<I> = (Rc<I>, Run<Event<<I as Invoke>::Event>>);

/// The actor around a handler.
///
/// Its worker survives a panic of the handler, and the worker's records survive a panic of the actor itself.
pub(crate) struct HandlerActor<I: Invoke> {
    pub(super) name: &'static str,
    pub(super) restart: RestartPolicy,
    pub(super) context: HandlerContext,
    pub(super) share: Share,
    pub(super) producer: Producer,
    pub(super) factory: Rc<dyn Fn() -> I>,
    pub(super) handler: Option<Rc<I>>,
    pub(super) worker: Worker<Entry>,
    /// Records of one batch that came, of which the first are with the worker.
    pub(super) arrived: Option<(Work, usize)>,
    pub(super) calls: Box<dyn Polled<CallId, Call<I>, Called>>,
    pub(super) letters: Letters,
    /// Rings when the worker has something to do.
    pub(super) alarm: Option<(Instant, Pin<Box<Sleep>>)>,
    pub(super) commands: PendingCommands,
    /// Is told when a handler that is stopped has no call in flight any more.
    pub(super) stopping: Option<Report>,
    pub(super) last_panic: Option<Panicked>,
    /// Whether the driver did what may want it to turn once more.
    pub(super) did_something: bool,
    /// Whether there were slow calls when it told last.
    pub(super) tells_slow_calls: bool,
    pub(super) clock: Clock,
    /// Records that came and went since waiting ones were compacted.
    pub(super) since_compacted: usize,
    pub(super) ended: [u64; Outcome::ALL.len()],
}

impl<I: Invoke> HandlerActor<I> {
    pub(crate) fn new(
        name: &'static str,
        policy: &WorkerPolicy,
        restart: RestartPolicy,
        context: HandlerContext,
        share: Share,
        producer: Producer,
        factory: Rc<dyn Fn() -> I>,
    ) -> Self {
        let policy =
            WorkerPolicy { max_calls: I::MAX_RUNS, max_events_per_call: I::MAX_EVENTS_PER_RUN, ..policy.clone() };
        Self {
            name,
            restart,
            worker: Worker::new(policy, Arc::clone(&context.lease), share.limit(), random_u64()),
            commands: context.commands.obeyed_by(context.counters.vitals()),
            clock: Clock::start(context.lease.origin()),
            context,
            share,
            producer,
            factory,
            handler: None,
            arrived: None,
            calls: Box::new(Calls::new(|(handler, events)| call(handler, events))),
            letters: Letters::default(),
            alarm: None,
            stopping: None,
            last_panic: None,
            did_something: false,
            tells_slow_calls: false,
            since_compacted: 0,
            ended: [0; Outcome::ALL.len()],
        }
    }

    /// Starts it on the current arbiter, under supervision.
    pub(crate) fn supervised(self) -> Addr<Self> {
        let HandlerContext { counters, journal, fatal, .. } = &self.context;
        let restarts = Restarts::new(Arc::clone(counters.vitals()), self.restart, journal.clone(), fatal.clone());
        supervise(self, restarts)
    }
}

impl<I: Invoke> Actor for HandlerActor<I> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The router waits for each message to be taken, so that one at a time is the rule.
        ctx.set_mailbox_capacity(16);
        self.context.counters.vitals().passes("started");
        ctx.spawn(Advance);
    }
}

/// Polled with the actor whenever its mailbox or something it waits for woke it.
struct Advance;

impl<I: Invoke> ActorFuture<HandlerActor<I>> for Advance {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut HandlerActor<I>,
        _: &mut Context<HandlerActor<I>>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        actor.advance(cx);
        Poll::Pending
    }
}

impl<I: Invoke> Supervised for HandlerActor<I> {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.calls.clear();
        self.letters.clear();
        self.alarm = None;
        // Its end changes nothing for the next one.
        let _ = dropped(self.handler.take());
        let last = self.context.counters.vitals().status().last_failure;
        self.worker.recover(last.map_or(String::new(), |incident| incident.message));
        self.take_arrived();
    }
}

impl<I: Invoke> actix::Handler<Work> for HandlerActor<I> {
    type Result = ();

    fn handle(&mut self, work: Work, _: &mut Self::Context) {
        self.since_compacted += work.records.len();
        // First of all: from here on it is not lost with a panic.
        self.arrived = Some((work, 0));
        self.take_arrived();
        // `Advance` is polled after each message.
    }
}
