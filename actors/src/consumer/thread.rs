//! The consumer's thread: what does it feed its `Member`, and in which order? It decides nothing, and waits for nothing that
//! waits for it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use actix::dev::SendError;
use tokio::sync::oneshot;

use super::ingest::{Row, ingest, size};
use super::parts::{ConsumerParts, ConsumerRequest};
use crate::catch_panic::{Panicked, catch_panic};
use crate::journal::TopicPaused;
use crate::kafka::{Notes, Source, SourceError};
use crate::record::RecordBatch;
use crate::router::{Deliver, MAX_WAITING_BATCHES};
use crate::status::ActorState;
use crate::supervisor::{PendingCommand, Report, Verb, random, random_u64};
use delivery::member::effect::{End, Order, OrderId};
use delivery::member::hold::PauseCause;
use delivery::member::ingest::{BatchSize, Reading};
use delivery::member::progress::codec::MAX_METADATA_BYTES;
use delivery::member::{Failure, Member, MemberConfig};
use delivery::worker::Appetite;

/// Rebalances, statistics, errors and commands are served so often.
const EVENTS_INTERVAL: Duration = Duration::from_millis(20);
/// The wait for answers where nothing is read.
const ANSWERS_WAIT: Duration = Duration::from_millis(1);
/// The status is written so often.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Without a client, requests and commands are taken so often.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct ConsumerThread {
    pub(super) parts: ConsumerParts,
    pub(super) member: Member,
    /// None while the member is out of the group.
    pub(super) source: Option<Source>,
    /// None where nothing that is noted would outlive this process.
    pub(super) notes: Option<Notes>,
    pub(super) batch: RecordBatch,
    /// The partition that the last record came from.
    pub(super) row: Option<Row>,
    /// Orders to the member that have not ended.
    pub(super) orders: Vec<(OrderId, Report)>,
    last_order: OrderId,
    /// Told when the member has left.
    draining: Vec<oneshot::Sender<()>>,
    /// Where the last panic was.
    pub(super) panicked_at: Option<String>,
    pub(super) reachable: Option<(Instant, bool)>,
    /// Whether something changed that the status shows.
    pub(super) changed: bool,
    next_events: Instant,
    next_status: Instant,
    pub(super) ended: Option<End>,
}

impl ConsumerThread {
    /// Polls until its member has ended, and says how.
    pub(super) fn run(parts: ConsumerParts, requests: &Receiver<ConsumerRequest>) -> Result<End, SourceError> {
        let source = parts.open_source()?;
        let notes = Notes::open(&parts.kafka)?;
        let now = Instant::now();
        let config = MemberConfig {
            max_in_flight_records: parts.config.max_in_flight_records,
            max_metadata_bytes: MAX_METADATA_BYTES,
            commit_interval: parts.config.commit_interval,
            drain_deadline: parts.config.drain_deadline,
            stop_deadline: parts.config.stop_deadline,
            restart: parts.config.restart,
            keeps_notes: notes.is_some(),
            nonce: random_u64(),
        };
        let mut this = Self {
            member: Member::new(config, parts.lease.clone(), now),
            source: Some(source),
            notes,
            batch: parts.pool.batch(),
            row: None,
            orders: Vec::new(),
            last_order: 0,
            draining: Vec::new(),
            panicked_at: None,
            reachable: None,
            changed: false,
            next_events: now,
            next_status: now,
            ended: None,
            parts,
        };
        loop {
            let failure = match catch_panic(|| this.turn(requests)) {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.failure()),
                Err(panicked) => {
                    let cause = panicked.to_string();
                    let Panicked { place, .. } = panicked;
                    this.panicked_at = place;
                    Some(Failure::Panic(cause))
                }
            };
            if let Some(failure) = failure {
                this.member.failed(&failure, Instant::now(), random());
            }
            if let Some(end) = this.ended.take() {
                this.close(&end);
                return Ok(end);
            }
        }
    }

    fn turn(&mut self, requests: &Receiver<ConsumerRequest>) -> Result<(), SourceError> {
        while let Ok(request) = requests.try_recv() {
            self.obey(request);
        }
        self.member.turn(Instant::now());
        self.take_answers();
        self.carry_out()?;
        if self.member.has_client() { self.turn_with_client() } else { self.turn_without_client(requests) }
    }

    fn turn_with_client(&mut self) -> Result<(), SourceError> {
        self.parts.reporter.vitals().passes("turn");
        self.regulate();
        self.carry_out()?;
        self.fill()?;
        self.send_batch();
        let now = Instant::now();
        if now >= self.next_events {
            self.next_events = now + EVENTS_INTERVAL;
            self.take_events()?;
            self.obey_operators();
        }
        self.take_commit_answers();
        self.member.advance(now);
        self.carry_out()?;
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.member.watch(&self.stall_context(), now);
            self.changed = true;
            self.carry_out()?;
        }
        Ok(())
    }

    fn turn_without_client(&mut self, requests: &Receiver<ConsumerRequest>) -> Result<(), SourceError> {
        self.obey_operators();
        self.carry_out()?;
        if self.ended.is_some() || self.member.has_client() {
            return Ok(());
        }
        match requests.recv_timeout(POLL_INTERVAL) {
            Ok(request) => self.obey(request),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL_INTERVAL),
        }
        self.carry_out()
    }

    fn obey(&mut self, request: ConsumerRequest) {
        match request {
            ConsumerRequest::Drain { deadline, done } => {
                self.draining.push(done);
                self.member.drain(deadline, Instant::now());
            }
            ConsumerRequest::PauseTopic { topic, paused, done } => {
                self.member.pause_topic(&topic, PauseCause::Operator, paused);
                let partitions = self.member.partition_views().filter(|at| at.topic == topic).count();
                self.parts.journal.write(TopicPaused { topic: &topic, paused, partitions });
                // The caller may not have waited.
                let _ = done.send(partitions);
            }
        }
    }

    fn obey_operators(&mut self) {
        if !self.member.obeys() {
            return;
        }
        let Some(PendingCommand { verb, report }) = self.parts.reporter.try_next_command() else { return };
        self.last_order += 1;
        self.orders.push((self.last_order, report));
        let order = match verb {
            Verb::Restart => Order::JoinAgain,
            Verb::Stop => Order::Stop,
            Verb::Start => Order::Start,
        };
        self.member.order(self.last_order, order, Instant::now());
    }

    fn take_answers(&mut self) {
        while let Ok(answers) = self.parts.answers.try_recv() {
            self.member.answered(&answers);
        }
    }

    /// Without an answer in time the turn goes on: callbacks must be served.
    fn wait_for_answers(&mut self) {
        if let Ok(answers) = self.parts.answers.recv_timeout(ANSWERS_WAIT) {
            self.member.answered(&answers);
        }
    }

    fn regulate(&mut self) {
        for (topic, _, counters) in &self.parts.routes {
            // The actor around a handler takes nothing either while it is over its restart budget.
            let gone = matches!(counters.vitals().state(), ActorState::OverBudget | ActorState::Failed);
            self.member.feed(topic, if gone { Appetite::Nothing } else { counters.appetite() });
        }
        let free = self.parts.pool.free_bytes().saturating_sub(self.batch.bytes());
        self.member.regulate(free, Instant::now());
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        let before = size(&self.batch);
        let Some(Reading { max, wait }) = self.member.reading(before) else {
            self.wait_for_answers();
            return Ok(());
        };
        let Self { source: Some(source), member, row, batch, .. } = self else { return Ok(()) };
        *row = None;
        let read = source.read(max, wait, |message| ingest(message, member, row, batch));
        let waits = read == 0 && source.has_stashed();
        let now = size(batch);
        member.was_read(BatchSize { records: now.records - before.records, bytes: now.bytes - before.bytes });
        self.carry_out()?;
        if waits {
            self.wait_for_answers();
        }
        Ok(())
    }

    fn send_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let waiting = self.parts.waiting.load(Ordering::Relaxed);
        if !self.member.sends(size(&self.batch), waiting, MAX_WAITING_BATCHES) {
            return self.check_router();
        }
        let mut batch = std::mem::replace(&mut self.batch, self.parts.pool.batch());
        batch.seal();
        let records = batch.len() as u64;
        self.parts.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(SendError::Full(Deliver { batch }) | SendError::Closed(Deliver { batch })) =
            self.parts.router.try_send(Deliver { batch })
        {
            self.parts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.batch = batch;
            return self.check_router();
        }
        self.parts.reporter.vitals().add(records, 0);
    }

    /// A full mailbox is taken from in the end; one of an actor that is gone is not.
    fn check_router(&self) {
        if !self.parts.router.connected() {
            self.parts.fatal.raise("the router is gone");
        }
    }

    /// The member is no more.
    fn close(mut self, end: &End) {
        self.write_status(Some(end));
        let Self { source, notes, draining, .. } = self;
        // The caller may not have waited.
        let tell = || {
            for done in draining {
                let _ = done.send(());
            }
        };
        // Closing tells the coordinator goodbye, and the caller of the drain waits for that too. Where something is not
        // answered, closing would wait for it, for longer than a stop may take.
        if *end == (End::Stopped { in_order: true }) {
            drop((source, notes));
            tell();
        } else {
            tell();
            drop((source, notes));
        }
    }
}
