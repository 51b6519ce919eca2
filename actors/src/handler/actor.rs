//! `HandlerActor`: owns a handler and the lanes in front of it. It runs, retries, dead-letters and answers for records.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task;
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustc_hash::FxHashSet;
use tokio::time::Sleep;

use super::anew::Arrived;
use super::attempts::Waited;
use super::begin::call;
use super::clock::Clock;
use super::in_flight::Share;
use super::invoke::{Invoke, Run};
use super::item::{Fallen, InHand, Item, Place};
use super::life::Life;
use super::look::Look;
use super::runs::{Running, Runs};
use crate::escalation::Escalation;
use crate::event::Event;
use crate::guard::Panicked;
use crate::inspect::Inspector;
use crate::journal::{Journal, Routed};
use crate::producer::Producer;
use crate::record::{BatchPool, RecordBatch};
use crate::status::HandlerCounters;
use crate::supervisor::{Commands, Orders, Report};
use delivery::answer::{Answer, Answers};
use delivery::lease::Lease;
use delivery::outcome::{HandlerResult, Outcome};
use delivery::worker::lanes::{Lanes, Unkeyed};
use delivery::worker::restart_budget::RestartPolicy;
use delivery::worker::retry::RetryPolicy;

/// Records of one batch for one handler.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Work {
    /// The batch they lie in.
    pub batch: Arc<RecordBatch>,
    /// Their indices in it.
    pub records: Vec<u32>,
}

/// Give up what was not started of assignments that are closed.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub struct Sweep;

/// How a handler is run.
#[derive(Clone, Debug)]
pub struct HandlerConfig {
    /// Attempts and backoff.
    pub retry: RetryPolicy,
    /// How often and how soon it is made anew.
    pub restart: RestartPolicy,
    /// Order of records without a key.
    pub unkeyed: Unkeyed,
    /// A call that takes longer is cancelled.
    pub deadline: Duration,
}

/// What a handler's actor works with.
pub(crate) struct Surroundings {
    pub(crate) group: String,
    pub(crate) answers: Answers,
    pub(crate) lease: Arc<Lease>,
    pub(crate) escalation: Escalation,
    pub(crate) journal: Journal,
    pub(crate) inspector: Arc<Inspector>,
    pub(crate) counters: Arc<HandlerCounters>,
    pub(crate) pool: BatchPool,
    pub(crate) commands: Commands,
}

/// What a call to the handler gave: its answers, or its panic.
pub(super) type Called = Result<Run<HandlerResult>, Panicked>;

type Factory<I> = Rc<dyn Fn() -> I>;
/// A handler and what it is called with.
pub(super) type Call<I> = (Rc<I>, Run<Event<<I as Invoke>::Event>>);

/// The actor around a handler.
///
/// Its own state (lanes, what waits for a retry, what waits for the broker) survives a panic of the handler: the
/// handler alone is made anew. Its records survive a panic of its own: see `anew.rs`.
pub(crate) struct HandlerActor<I: Invoke> {
    pub(super) name: &'static str,
    pub(super) config: HandlerConfig,
    pub(super) around: Rc<Surroundings>,
    pub(super) share: Share,
    pub(super) producer: Producer,
    pub(super) factory: Factory<I>,
    pub(super) life: Life<I>,
    pub(super) orders: Orders,
    /// Is told when a handler that is stopped has nothing in hand any more.
    pub(super) stopping: Option<Report>,
    pub(super) lanes: Lanes<Item>,
    /// Records that were dropped without an answer.
    pub(super) fallen: Rc<Fallen>,
    /// Records that came and are in no lane yet.
    pub(super) arrived: Option<Arrived>,
    pub(super) runs: Box<dyn Running<InHand, Call<I>, Called>>,
    pub(super) waits: FuturesUnordered<LocalBoxFuture<'static, Waited>>,
    /// Rings when a call that waits may have reached its deadline.
    pub(super) alarm: Option<Pin<Box<Sleep>>>,
    /// Records whose dead letter is on its way.
    pub(super) dying: FxHashSet<Place>,
    pub(super) answers: Vec<Answer>,
    /// Records that came and went since waiting ones were compacted.
    pub(super) since_compacted: usize,
    pub(super) clock: Clock,
    /// What had ended when it looked last.
    pub(super) ends: u64,
    pub(super) counted: [u64; Outcome::ALL.len()],
}

impl<I: Invoke> HandlerActor<I> {
    pub(crate) fn new(
        name: &'static str,
        config: HandlerConfig,
        around: Surroundings,
        share: Share,
        producer: Producer,
        factory: Factory<I>,
    ) -> Self {
        Self {
            name,
            lanes: Lanes::new(share.limit()),
            fallen: Rc::default(),
            arrived: None,
            share,
            life: Life::new(config.restart),
            orders: around.commands.obeyed_by(around.counters.vitals()),
            stopping: None,
            config,
            producer,
            factory,
            runs: Self::no_runs(),
            waits: FuturesUnordered::new(),
            alarm: None,
            dying: FxHashSet::default(),
            answers: Vec::new(),
            since_compacted: 0,
            clock: Clock::start(around.lease.origin()),
            ends: 0,
            counted: [0; Outcome::ALL.len()],
            around: Rc::new(around),
        }
    }

    /// Nothing is being worked on.
    pub(super) fn no_runs() -> Box<dyn Running<InHand, Call<I>, Called>> {
        Box::new(Runs::new(|(handler, events)| call(handler, events)))
    }

    /// Does all that can be done now.
    fn advance(&mut self, cx: &mut task::Context<'_>) {
        self.clock = Clock::start(self.around.lease.origin());
        self.lanes.set_limit(self.share.limit());
        self.obey(cx);
        self.cancel_moved();
        self.around.lease.wake_at_change(cx.waker());
        // To make a handler is to act on nothing that this member holds.
        self.revive(cx);
        while self.may_act() {
            self.cancel_moved();
            self.cancel_hung(cx);
            self.revive(cx);
            while let task::Poll::Ready(Some(waited)) = self.waits.poll_next_unpin(cx) {
                self.waited(waited);
            }
            while self.may_act()
                && let Some((in_hand, called)) = self.runs.next(cx)
            {
                self.finish(in_hand, called);
            }
            while self.may_act()
                && self.may_begin()
                && let Some((handler, generation)) = self.life.handler()
                && let Some((in_hand, events)) = self.next_run(generation)
            {
                let mut in_hand = Some(in_hand);
                let called = self.runs.begin(&mut in_hand, (handler, events), cx);
                if let (Some(in_hand), Some(called)) = (in_hand, called) {
                    self.finish(in_hand, called);
                }
            }
            // What was begun above may have added a wait that wants its first poll, want an alarm, or another handler.
            if !self.waits_want_polling(cx) && !self.sets_alarm() && !self.life.has_fallen() {
                break;
            }
        }
        self.tell_when_stopped();
        self.share.tell(self.lanes.running(), self.lanes.is_full().then_some(cx.waker()));
        self.flush();
        self.compact_when_crowded();
    }

    /// Whether this member may still start and finish things. Without a lease (the process was frozen, so that others
    /// may have its partitions) everything stands still; the consumer's thread sweeps when it knows more.
    pub(super) fn may_act(&self) -> bool {
        self.around.lease.holds_at(self.clock.now_ns)
    }

    /// Polls the waits once more; true when one was over, so that there may be more to do.
    fn waits_want_polling(&mut self, cx: &mut task::Context<'_>) -> bool {
        match self.waits.poll_next_unpin(cx) {
            task::Poll::Ready(Some(waited)) => {
                self.waited(waited);
                true
            }
            task::Poll::Ready(None) | task::Poll::Pending => false,
        }
    }

    /// Sends what was collected: answers upstream, counts to the metrics and the status.
    fn flush(&mut self) {
        for outcome in Outcome::ALL {
            let count = std::mem::take(&mut self.counted[outcome as usize]);
            if count > 0 {
                self.around.journal.write(Routed { handler: self.name, outcome, count });
                self.around.counters.ended(outcome, count);
            }
        }
        self.around.counters.vitals().set_depth(self.lanes.queued(), self.lanes.running());
        self.around.counters.set_slow_calls(self.slow_calls());
        if !self.answers.is_empty() {
            self.since_compacted += self.answers.len();
            // The receiver goes away only with the consumer's thread, when nobody needs answers any more.
            let next = Vec::with_capacity(self.answers.len());
            let _ = self.around.answers.send(std::mem::replace(&mut self.answers, next));
        }
    }
}

impl<I: Invoke> Actor for HandlerActor<I> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The router waits for each message to be taken, so that one at a time is the rule.
        ctx.set_mailbox_capacity(16);
        self.around.counters.vitals().passes("started");
        ctx.spawn(Advance);
    }
}

/// Polled with the actor whenever its mailbox or something it waits for woke it.
struct Advance;

impl<I: Invoke> ActorFuture<HandlerActor<I>> for Advance {
    type Output = ();

    fn poll(
        self: std::pin::Pin<&mut Self>,
        actor: &mut HandlerActor<I>,
        _: &mut Context<HandlerActor<I>>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<()> {
        actor.advance(cx);
        task::Poll::Pending
    }
}

impl<I: Invoke> actix::Handler<Work> for HandlerActor<I> {
    type Result = ();

    fn handle(&mut self, Work { batch, records }: Work, _: &mut Self::Context) {
        self.since_compacted += records.len();
        // First of all: from here on it is not lost with a panic.
        self.arrived = Some(Arrived { batch, records, queued: 0 });
        self.queue_arrived();
    }
}

impl<I: Invoke> actix::Handler<Sweep> for HandlerActor<I> {
    type Result = ();

    fn handle(&mut self, _: Sweep, _: &mut Self::Context) {
        let swept = self.lanes.sweep(|item| !item.may_start());
        self.answers.extend(swept.iter().map(|item| item.answer(false)));
        self.cancel_ended();
        // `Advance` is polled after each message: it sends the answers, and goes on where it had no lease.
    }
}

impl<I: Invoke> actix::Handler<Look> for HandlerActor<I> {
    type Result = ();

    fn handle(&mut self, look: Look, _: &mut Self::Context) {
        if let Some(found) = self.find(look.place) {
            // A consumer's thread that is gone wants to know nothing.
            let _ = look.found.send(found);
        }
    }
}
