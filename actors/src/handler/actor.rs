//! `HandlerActor`: owns a handler and the lanes in front of it. It runs, retries, dead-letters and answers for records.

use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task;
use std::time::{Duration, Instant};

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use rustc_hash::FxHashSet;
use smallvec::smallvec;
use tokio::time::{Sleep, sleep_until};

use super::dead_letters::{Letter, write};
use super::in_flight::Share;
use super::invoke::{Invoke, Run};
use super::item::{InHand, Item, Place};
use super::look::{Found, Look, Whereabouts};
use super::runs::{Running, Runs};
use crate::answer::{Answer, Answers};
use crate::delivery::lanes::{LaneKey, LaneState, Lanes, Unkeyed};
use crate::delivery::retry::RetryPolicy;
use crate::escalation::{Escalation, panic_message};
use crate::event::Event;
use crate::inspect::Inspector;
use crate::journal::{HandlerPanicked, Journal, Message, Routed};
use crate::lease::Lease;
use crate::outcome::{ErrorKind, HandlerError, HandlerResult, Outcome};
use crate::producer::Producer;
use crate::record::RecordBatch;
use crate::status::HandlerCounters;

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
}

/// What a call to the handler gave: its answers, or the message of its panic.
type Called = Result<Run<HandlerResult>, String>;

/// The time, read once per call: reading it for everything that wants it would cost more than a small handler.
#[derive(Clone, Copy)]
struct Clock {
    started: Timestamp,
    start: Instant,
    now: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Self { started: Timestamp::now(), start: now, now }
    }

    fn tick(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    /// The wall clock at the last tick.
    fn timestamp(&self) -> Timestamp {
        self.started.checked_add(self.now - self.start).unwrap_or(self.started)
    }
}

/// Things a lane waits for.
enum Waited {
    /// Its backoff is over.
    Backoff(LaneKey),
    /// The fate of its dead letter is known.
    DeadLettered { lane: LaneKey, letter: Letter, duration: Duration, written: bool },
}

type Factory<I> = Rc<dyn Fn() -> I>;
/// A handler and what it is called with.
type Call<I> = (Rc<I>, Run<Event<<I as Invoke>::Event>>);

/// The actor around a handler.
///
/// Its own state (lanes, what waits for a retry, what waits for the broker) survives a panic of the handler: the
/// handler alone is made anew.
pub(crate) struct HandlerActor<I: Invoke> {
    name: &'static str,
    config: HandlerConfig,
    around: Rc<Surroundings>,
    share: Share,
    producer: Producer,
    factory: Factory<I>,
    handler: Rc<I>,
    lanes: Lanes<Item>,
    runs: Box<dyn Running<InHand, Call<I>, Called>>,
    waits: FuturesUnordered<LocalBoxFuture<'static, Waited>>,
    /// Rings when a call that waits may have reached its deadline.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Records whose dead letter is on its way.
    dying: FxHashSet<Place>,
    answers: Vec<Answer>,
    clock: Clock,
    counted: [u64; Outcome::ALL.len()],
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
            share,
            config,
            around: Rc::new(around),
            producer,
            handler: Rc::new(factory()),
            factory,
            runs: Box::new(Runs::new(|(handler, events)| call(handler, events))),
            waits: FuturesUnordered::new(),
            alarm: None,
            dying: FxHashSet::default(),
            answers: Vec::new(),
            clock: Clock::start(),
            counted: [0; Outcome::ALL.len()],
        }
    }

    /// Does all that can be done now.
    fn advance(&mut self, cx: &mut task::Context<'_>) {
        self.clock = Clock::start();
        self.lanes.set_limit(self.share.limit());
        while self.may_act() {
            self.cancel_hung(cx);
            while let task::Poll::Ready(Some(waited)) = self.waits.poll_next_unpin(cx) {
                self.waited(waited);
            }
            while self.may_act()
                && let Some((in_hand, called)) = self.runs.next(cx)
            {
                self.finish(in_hand, called);
            }
            while self.may_act()
                && self.runs.waiting() < I::MAX_RUNS
                && let Some((in_hand, events)) = self.next_run()
            {
                let handler = Rc::clone(&self.handler);
                if let Some((in_hand, called)) = self.runs.begin(in_hand, (handler, events), cx) {
                    self.finish(in_hand, called);
                }
            }
            // What was begun above may have added a wait that wants its first poll, or want an alarm.
            if !self.waits_want_polling(cx) && !self.sets_alarm() {
                break;
            }
        }
        self.share.tell(self.lanes.running(), self.lanes.is_full().then_some(cx.waker()));
        self.flush();
    }

    /// Whether this member may still start and finish things. Without a lease (the process was frozen, so that others
    /// may have its partitions) everything stands still; the consumer's thread sweeps when it knows more.
    fn may_act(&self) -> bool {
        self.around.lease.holds(self.clock.now)
    }

    /// Sets the alarm for the next deadline of a call where none is set; true when it did, so that it wants its first poll.
    fn sets_alarm(&mut self) -> bool {
        if self.alarm.is_some() || self.runs.waiting() == 0 {
            return false;
        }
        let oldest = self.runs.kept().map(|in_hand| in_hand.began).min();
        self.alarm = oldest.map(|began| Box::pin(sleep_until((began + self.config.deadline).into())));
        true
    }

    /// Cancels calls that have reached their deadline. What they worked on has failed in this attempt.
    fn cancel_hung(&mut self, cx: &mut task::Context<'_>) {
        if self.alarm.as_mut().is_none_or(|alarm| alarm.as_mut().poll(cx).is_pending()) {
            return;
        }
        self.alarm = None;
        let (now, deadline) = (self.clock.now, self.config.deadline);
        for in_hand in self.runs.cancel(&mut |in_hand| now >= in_hand.began + deadline) {
            let error = HandlerError::new(ErrorKind::Hung, format!("no answer within {deadline:?}"));
            let results = smallvec![Err(error); in_hand.items.len()];
            self.finish(in_hand, Ok(results));
        }
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

    /// The next items that may run together, decoded. Items that cannot run are dealt with on the way.
    fn next_run(&mut self) -> Option<(InHand, Run<Event<I::Event>>)> {
        let mut in_hand = InHand { began: self.clock.now, items: Run::new() };
        let mut events = Run::new();
        while in_hand.items.len() < I::MAX_EVENTS_PER_RUN
            && let Some((lane, item)) = self.lanes.start()
        {
            if !item.may_start() {
                self.answers.push(item.answer(false));
                self.lanes.release(lane);
                continue;
            }
            let alone = item.attempts > 0;
            if alone && !in_hand.items.is_empty() {
                // An event that failed before runs alone, so that it cannot take others with it again.
                self.lanes.unstart(lane, item);
                break;
            }
            match decode::<I>(&item) {
                Ok(event) => {
                    events.push(event);
                    in_hand.items.push((lane, item));
                }
                Err(error) => {
                    self.fail(lane, item, error, Duration::ZERO, Vec::new());
                    continue;
                }
            }
            if alone {
                break;
            }
            self.join_followers(lane, &mut in_hand, &mut events);
        }
        (!in_hand.items.is_empty()).then_some((in_hand, events))
    }

    /// Takes more items of a lane into the run, as long as they can run with it.
    fn join_followers(&mut self, lane: LaneKey, in_hand: &mut InHand, events: &mut Run<Event<I::Event>>) {
        while in_hand.items.len() < I::MAX_EVENTS_PER_RUN {
            let mut event = None;
            let joined = self.lanes.join(lane, |item| {
                event = (item.attempts == 0 && item.may_start()).then(|| decode::<I>(item).ok()).flatten();
                event.is_some()
            });
            let (Some(item), Some(event)) = (joined, event) else { break };
            events.push(event);
            in_hand.items.push((lane, item));
        }
    }

    /// Makes the handler anew. A factory that panics cannot be helped here: the old handler stays until the service ends.
    fn renew_handler(&mut self) {
        match catch_unwind(AssertUnwindSafe(|| (self.factory)())) {
            Ok(handler) => self.handler = Rc::new(handler),
            Err(panic) => {
                let message = panic_message(&*panic);
                self.around.escalation.raise(&format!("{} cannot be made anew: {message}", self.name));
            }
        }
    }

    /// Deals with what a call to the handler answered.
    fn finish(&mut self, InHand { began, items }: InHand, called: Called) {
        let results = called.unwrap_or_else(|message| {
            self.around.journal.write(HandlerPanicked { handler: self.name, message: &message });
            self.around.counters.restarted(&message);
            self.renew_handler();
            let error = HandlerError::new(ErrorKind::Panic, message);
            smallvec![Err(error); items.len()]
        });
        let duration = self.clock.tick().saturating_duration_since(began);
        let mut rest = items.into_iter().zip(results).peekable();
        while let Some(((lane, item), result)) = rest.next() {
            let Some(error) = self.settle_if_done(&item, result, duration) else {
                if rest.peek().is_none_or(|((next, _), _)| *next != lane) {
                    self.lanes.release(lane);
                }
                continue;
            };
            // The first failure of a lane. Whatever of the lane is done behind it is done; the rest waits with it.
            let mut followers = Vec::new();
            while let Some(((_, item), result)) = rest.next_if(|((next, _), _)| *next == lane) {
                match result {
                    Ok(done) => self.settle(&item, done.into(), duration, None),
                    Err(_) => followers.push(item),
                }
            }
            self.fail(lane, item, error, duration, followers);
        }
    }

    fn settle_if_done(&mut self, item: &Item, result: HandlerResult, duration: Duration) -> Option<HandlerError> {
        match result {
            Ok(done) => {
                self.settle(item, done.into(), duration, None);
                None
            }
            Err(error) => Some(error),
        }
    }

    /// An attempt failed: another one after a pause, or a dead letter. The lane waits in both cases, followers behind.
    fn fail(&mut self, lane: LaneKey, mut item: Item, error: HandlerError, duration: Duration, followers: Vec<Item>) {
        item.attempts += 1;
        let now = self.clock.timestamp();
        if item.first_failure_us == 0 {
            item.first_failure_us = now.as_microsecond();
        }
        let another = if error.kind.is_transient() { self.config.retry.backoff(item.attempts, random()) } else { None };
        let Some(pause) = another else {
            self.lanes.put_back(lane, followers.into_iter());
            self.dying.insert(item.place());
            let letter = Letter { item, handler: self.name, error, last_failure: now };
            let write = write(Rc::clone(&self.around), self.producer.clone(), self.config.retry, letter);
            let waited = write.map(move |(letter, written)| Waited::DeadLettered { lane, letter, duration, written });
            return self.waits.push(waited.boxed_local());
        };
        self.tell(&item, Outcome::Retry, duration, Some(&error.message));
        self.lanes.put_back(lane, std::iter::once(item).chain(followers).collect::<Vec<_>>().into_iter());
        self.waits.push(tokio::time::sleep(pause).map(move |()| Waited::Backoff(lane)).boxed_local());
    }

    /// Cancels calls that work on records which are somebody else's now; what else they worked on goes back to its lane.
    fn cancel_ended(&mut self) {
        let cancelled = self.runs.cancel(&mut |in_hand| in_hand.items.iter().any(|(_, item)| item.has_ended()));
        for InHand { items, .. } in cancelled {
            let mut rest = items.into_iter().peekable();
            while let Some((lane, item)) = rest.next() {
                let of_lane =
                    std::iter::successors(Some(item), |_| rest.next_if(|(next, _)| *next == lane).map(|of| of.1));
                let (ended, kept): (Vec<Item>, Vec<Item>) = of_lane.partition(Item::has_ended);
                self.answers.extend(ended.iter().map(|item| item.answer(false)));
                self.lanes.put_back(lane, kept.into_iter());
                self.lanes.resume(lane);
            }
        }
    }

    /// Where a record is, if it is here.
    fn find(&self, place: Place) -> Option<Found> {
        let found = |item: &Item, whereabouts| Found {
            place,
            handler: self.name,
            key: item.record().key().map(|key| String::from_utf8_lossy(key).into_owned()),
            whereabouts,
        };
        let in_hand = self.runs.kept().flat_map(|in_hand| &in_hand.items).find(|(_, item)| item.place() == place);
        let in_hand = in_hand.map(|(_, item)| found(item, Whereabouts::InHand));
        in_hand
            .or_else(|| {
                let (item, state) = self.lanes.find(|item| item.place() == place)?;
                let waits = state == LaneState::Waiting;
                Some(found(item, if waits { Whereabouts::Waiting } else { Whereabouts::Queued }))
            })
            .or_else(|| {
                let dying = self.dying.contains(&place);
                dying.then_some(Found { place, handler: self.name, key: None, whereabouts: Whereabouts::Waiting })
            })
    }

    fn waited(&mut self, waited: Waited) {
        match waited {
            Waited::Backoff(lane) => self.lanes.resume(lane),
            Waited::DeadLettered { lane, letter: Letter { item, error, .. }, duration, written } => {
                self.dying.remove(&item.place());
                if written {
                    self.settle(&item, Outcome::DeadLettered, duration, Some(&error.message));
                } else {
                    self.answers.push(item.answer(false));
                }
                self.lanes.resume(lane);
            }
        }
    }

    /// The record needs nothing more.
    fn settle(&mut self, item: &Item, outcome: Outcome, duration: Duration, error: Option<&str>) {
        self.tell(item, outcome, duration, error);
        self.answers.push(item.answer(true));
    }

    /// One journal line and one slot of the ring per attempt that ended.
    fn tell(&mut self, item: &Item, outcome: Outcome, duration: Duration, error: Option<&str>) {
        self.counted[outcome as usize] += 1;
        let message = Message {
            record: item.record(),
            handler: self.name,
            outcome,
            // A failed attempt is counted already; one that went well is the next.
            attempt: if error.is_some() { item.attempts } else { item.attempts + 1 },
            duration,
            error,
        };
        if Message::is_read() {
            self.around.journal.write(message);
        }
        self.around.inspector.keep(self.clock.timestamp(), &message);
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
        self.around.counters.set_depth(self.lanes.queued(), self.lanes.running());
        if !self.answers.is_empty() {
            // The receiver goes away only with the consumer's thread, when nobody needs answers any more.
            let next = Vec::with_capacity(self.answers.len());
            let _ = self.around.answers.send(std::mem::replace(&mut self.answers, next));
        }
    }
}

/// Decodes under the guard too: a contract's own `Deserialize` or validation may panic.
fn decode<I: Invoke>(item: &Item) -> Result<Event<I::Event>, HandlerError> {
    catch_unwind(AssertUnwindSafe(|| Event::decode(&item.batch, item.index as usize, item.attempts + 1)))
        .unwrap_or_else(|panic| Err(HandlerError::new(ErrorKind::Undecodable, panic_message(&*panic))))
}

/// Calls the handler; a panic in it ends here.
async fn call<I: Invoke>(handler: Rc<I>, events: Run<Event<I::Event>>) -> Called {
    let called = AssertUnwindSafe(handler.invoke(&events)).catch_unwind().await;
    called.map_err(|panic| panic_message(&*panic))
}

/// A number in 0..1 for jitter; taken from the random half of a fresh id, so that no generator has to be kept.
pub(super) fn random() -> f64 {
    let bits = uuid::Uuid::now_v7().as_u128() & u128::from(u32::MAX);
    f64::from(u32::try_from(bits).unwrap_or(0)) / f64::from(u32::MAX)
}

impl<I: Invoke> Actor for HandlerActor<I> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The router waits for each message to be taken, so that one at a time is the rule.
        ctx.set_mailbox_capacity(16);
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
        for index in records {
            let record = batch.record(index as usize);
            let seed = record.assignment().lane_seed;
            let lane = LaneKey::of(seed, record.offset(), record.key(), self.config.unkeyed);
            let item = Item { batch: Arc::clone(&batch), index, attempts: 0, first_failure_us: 0 };
            self.lanes.push(lane, item);
        }
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
