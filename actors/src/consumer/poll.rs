//! The consumer's thread: reads batches, takes answers, commits the frontier, answers rebalances. It never waits for
//! anybody who waits for it: while leaving partitions drain, the others go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use actix::dev::SendError;

use super::notes::NOTE_INTERVAL;
use super::room::RecordSize;
use super::stall::Stalls;
use super::take_in::{InARow, LeftOut, take_in};
use super::{Command, ConsumerParts};
use crate::guard::guarded;
use crate::journal::{CommitFailed, Committed, ConsumerRestarted, GivenUp, LogWentBack, RecordsSkipped, StaleAnswers};
use crate::kafka::{CommitAnswer, Notes, Source, SourceError, SourceEvent, TopicPartition, is_surely_refused};
use crate::record::RecordBatch;
use crate::router::{Deliver, MAX_WAITING_BATCHES};
use crate::status::ConsumerState;
use crate::supervisor::Report;
use delivery::assignment::Assignment;
use delivery::member::commit_pace::CommitPace;
use delivery::member::intake::{Effect, Intake};
use delivery::member::membership::Membership;
use delivery::member::progress_codec::MAX_METADATA_BYTES;

/// A batch is sent on at the latest when it has so many records: more gains nothing.
const MAX_BATCH_RECORDS: usize = 512;
/// A batch is sent on when it has about so many bytes: it keeps all of its memory as long as one record of it is wanted.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// Rebalances, statistics and errors are served so often.
pub(super) const EVENTS_INTERVAL: Duration = Duration::from_millis(20);
/// Wait for the first record when nothing else is to be done.
const IDLE_WAIT: Duration = EVENTS_INTERVAL;
/// Wait while a batch is being filled and the router has not taken the one before.
const FILLING_WAIT: Duration = Duration::from_millis(1);
/// How long partitions wait for what was started once the whole member has drained.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);
/// Restarts without an assignment in between before the service gives up.
const MAX_RESTARTS: u32 = 5;
/// Before the first restart; the second waits twice as long, and so on.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// The status is written so often.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);

/// Partitions on their way out.
pub(super) struct Leaving {
    pub(super) partitions: Vec<TopicPartition>,
    pub(super) slots: Vec<u32>,
    pub(super) deadline: Instant,
    /// Set when all was answered or the deadline passed: from then on only the final commit is awaited.
    pub(super) committing_until: Option<Instant>,
    pub(super) next_commit: Instant,
    pub(super) next_sweep: Instant,
}

/// The whole member on its way out.
pub(super) struct Draining {
    pub(super) deadline: Instant,
    pub(super) left_at: Option<Instant>,
    pub(super) then: Then,
}

/// What comes when it has left, and who is told.
pub(super) enum Then {
    /// The thread ends.
    End(oneshot::Sender<()>),
    /// A new member joins, as an operator ordered.
    JoinAgain(Report),
    /// It stays out until an operator starts it.
    StayOut(Report),
}

pub(super) struct PollLoop {
    pub(super) parts: ConsumerParts,
    pub(super) source: Source,
    pub(super) intake: Intake,
    pub(super) assignments: FxHashMap<u32, Arc<Assignment>>,
    /// The partition that the last record came from.
    pub(super) last: Option<InARow>,
    pub(super) record_size: RecordSize,
    pub(super) batch: RecordBatch,
    pub(super) leaving: Vec<Leaving>,
    pub(super) membership: Membership,
    /// A sweep that the router's full mailbox did not take.
    pub(super) sweep_wanted: bool,
    pub(super) stalls: Stalls,
    pub(super) watermarks: HashMap<TopicPartition, (Option<i64>, Option<i64>)>,
    pub(super) reachable: Option<(Instant, bool)>,
    /// As measured: it waits for others in a rebalance.
    pub(super) waits_for_the_group: bool,
    pub(super) state: ConsumerState,
    pub(super) next_events: Instant,
    pub(super) pace: CommitPace,
    /// None where nothing that is noted would outlive this process.
    pub(super) notes: Option<Notes>,
    pub(super) note_pace: CommitPace,
    /// Nothing is read or started until the broker confirms our progress.
    pub(super) held: bool,
    pub(super) next_status: Instant,
    pub(super) draining: Option<Draining>,
    /// Restarts without an assignment in between.
    pub(super) restarts: u32,
}

/// Taken from the random half of a fresh id, so that no generator has to be kept.
fn nonce() -> u64 {
    uuid::Uuid::now_v7().as_u64_pair().1
}

impl PollLoop {
    /// Polls until it is told to drain, and returns when it has left the group.
    pub(super) fn run(parts: ConsumerParts, commands: &Receiver<Command>) -> Result<(), SourceError> {
        let source = parts.open_source()?;
        let now = Instant::now();
        let mut this = Self {
            source,
            intake: Intake::new(
                parts.config.max_in_flight_records,
                parts.config.max_in_flight_bytes,
                MAX_METADATA_BYTES,
            )
            .with_nonce(nonce()),
            assignments: FxHashMap::default(),
            last: None,
            record_size: RecordSize::default(),
            batch: parts.pool.batch(),
            leaving: Vec::new(),
            membership: Membership::new(now),
            sweep_wanted: false,
            stalls: Stalls::default(),
            watermarks: HashMap::new(),
            reachable: None,
            waits_for_the_group: false,
            state: ConsumerState::Joining,
            next_events: now,
            pace: CommitPace::new(now, parts.config.commit_interval),
            notes: Notes::open(&parts.kafka)?,
            note_pace: CommitPace::new(now, NOTE_INTERVAL),
            held: false,
            next_status: now,
            draining: None,
            restarts: 0,
            parts,
        };
        loop {
            let next = match guarded(|| this.turn(commands)) {
                Ok(Ok(())) => match this.then_when_left() {
                    None => continue,
                    Some(Then::End(done)) => {
                        this.close(done);
                        return Ok(());
                    }
                    Some(then) => {
                        let back = matches!(then, Then::JoinAgain(_)).then(Instant::now);
                        this.outside(back, Some(then), commands)?
                    }
                },
                Ok(Err(error)) if this.leaves_on_order() => this.left_badly(error, commands)?,
                Ok(Err(error)) => Some(this.restart(error)?),
                Err(panicked) => this.anew(&panicked, commands)?,
            };
            let Some(next) = next else { return Ok(()) };
            this = next;
        }
    }

    /// The thread ends.
    fn close(mut self, done: oneshot::Sender<()>) {
        self.state = ConsumerState::Stopped;
        self.write_status();
        // Closing would wait for commits and notes whose answer has not come.
        let left = self.is_free() && self.pace.unanswered() + self.note_pace.unanswered() == 0;
        let Self { source, notes, .. } = self;
        // Closing tells the coordinator goodbye, and whoever waits for the drain waits for that too. Where the broker
        // does not answer, closing may take longer than anybody wants to wait.
        if left {
            drop((source, notes));
            // Whoever told it may not have waited.
            let _ = done.send(());
        } else {
            let _ = done.send(());
            drop((source, notes));
        }
    }

    /// Gives everything up and joins the group anew. What was in flight comes again, here or elsewhere.
    fn restart(mut self, mut error: SourceError) -> Result<Self, SourceError> {
        let partitions: Vec<TopicPartition> = self
            .intake
            .standings()
            .map(|at| TopicPartition { topic: at.topic.to_owned(), partition: at.partition })
            .collect();
        self.leaving.clear();
        self.end(&partitions);
        self.sweep();
        self.state = ConsumerState::Joining;
        self.write_status();
        // The old member leaves before the new one joins: under one instance id they would push each other out.
        drop(self.source);
        self.pace.forget();
        loop {
            // The group frees an instance id by itself in the end, so waiting for that is no failure.
            self.restarts += u32::from(!matches!(error, SourceError::Unreleased));
            if self.restarts > MAX_RESTARTS || self.draining.is_some() || matches!(error, SourceError::Fenced) {
                return Err(error);
            }
            self.parts.journal.write(ConsumerRestarted { error: &error, attempt: self.restarts });
            self.parts.care.vitals().fell(error.to_string(), None);
            std::thread::sleep(RESTART_PAUSE * self.restarts.max(1));
            match self.parts.open_source() {
                Ok(source) => {
                    self.parts.care.made(true);
                    // Nothing of it is of before; and the handlers, who may have seen the lease end, are to be woken.
                    let membership = Membership::new(Instant::now());
                    return Ok(Self { source, membership, sweep_wanted: true, ..self });
                }
                Err(refused) => error = refused,
            }
        }
    }

    pub(super) fn turn(&mut self, commands: &Receiver<Command>) -> Result<(), SourceError> {
        self.parts.care.vitals().passes("turn");
        while let Ok(command) = commands.try_recv() {
            self.obey(command);
        }
        self.renew_lease(Instant::now());
        self.take_answers();
        self.regulate(Instant::now())?;
        self.fill()?;
        self.send_batch();
        let now = Instant::now();
        if now >= self.next_events {
            self.next_events = now + EVENTS_INTERVAL;
            for event in self.source.poll_events()? {
                self.event(event)?;
            }
            self.obey_operators();
        }
        self.take_commit_answers();
        if self.pace.is_due(now) {
            self.commit(|_| true);
        }
        self.note(now);
        self.hold_or_go_on(now);
        self.advance_leaving(now)?;
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.watch_stalls(now);
            self.write_status();
        }
        Ok(())
    }

    /// Reads what there is, within what the intake takes. When it takes none, waits for answers instead.
    pub(super) fn fill(&mut self) -> Result<(), SourceError> {
        let room = MAX_BATCH_RECORDS.saturating_sub(self.batch.len());
        let room_bytes = MAX_BATCH_BYTES.saturating_sub(self.batch.bytes()).min(self.parts.pool.free_bytes());
        let max = room.min(self.intake.free()).min(self.record_size.fitting(room_bytes));
        if max == 0 || self.draining.is_some() || self.membership.is_doubtful() || self.held {
            self.wait_for_answers();
            return Ok(());
        }
        let idle = self.batch.is_empty() && self.leaving.is_empty();
        let wait = if idle { IDLE_WAIT } else { FILLING_WAIT };
        let Self { source, intake, assignments, last, batch, .. } = self;
        let mut left_out = LeftOut::default();
        let before = (batch.len(), batch.bytes());
        *last = None;
        let read = source.read(max, wait, |message| take_in(message, intake, assignments, last, batch, &mut left_out));
        self.record_size.note(self.batch.len() - before.0, self.batch.bytes() - before.1);
        let LeftOut { skipped, went_back } = left_out;
        if skipped > 0 {
            self.parts.journal.write(RecordsSkipped { count: skipped });
        }
        if !went_back.is_empty() {
            self.parts.journal.write(LogWentBack { count: went_back.len() as u64 });
            self.sweep();
        }
        went_back.into_iter().try_for_each(|slot| self.tell_position(slot))?;
        if read == 0 && self.source.has_set_aside() {
            self.wait_for_answers();
        }
        Ok(())
    }

    /// Without an answer in time the turn goes on: callbacks are to be served.
    fn wait_for_answers(&mut self) {
        if let Ok(answers) = self.parts.answers.recv_timeout(FILLING_WAIT) {
            self.answered(&answers);
        }
    }

    /// Sends the batch on when the router has taken the one before; until then it is filled further.
    pub(super) fn send_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let waiting = self.parts.waiting.load(Ordering::Relaxed);
        let full = self.batch.len() >= MAX_BATCH_RECORDS || self.batch.bytes() >= MAX_BATCH_BYTES;
        if waiting >= MAX_WAITING_BATCHES || (waiting > 0 && !full) {
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
        self.parts.care.vitals().add(records, 0);
    }

    /// A full mailbox is taken from in the end; one of an actor that is gone is not.
    pub(super) fn check_router(&self) {
        if !self.parts.router.connected() {
            self.parts.escalation.raise("the router is gone");
        }
    }

    pub(super) fn take_answers(&mut self) {
        while let Ok(answers) = self.parts.answers.try_recv() {
            self.answered(&answers);
        }
    }

    pub(super) fn answered(&mut self, answers: &[delivery::answer::Answer]) {
        let (mut stale, mut given_up) = (0, 0);
        for answer in answers {
            match self.intake.answer(answer) {
                Effect::Settled => {}
                Effect::GivenUp => given_up += 1,
                Effect::Stale => stale += 1,
            }
        }
        if stale > 0 {
            self.parts.journal.write(StaleAnswers { count: stale });
        }
        if given_up > 0 {
            self.parts.journal.write(GivenUp { count: given_up });
        }
    }

    pub(super) fn event(&mut self, event: SourceEvent) -> Result<(), SourceError> {
        match event {
            SourceEvent::Assigned(partitions) => self.assigned(&partitions),
            SourceEvent::Revoked { partitions, lost: true } => self.lost(&partitions),
            SourceEvent::Revoked { partitions, lost: false } => {
                // In a drain, what was started has had its time.
                let waited = self.draining.as_ref().is_some_and(|draining| draining.left_at.is_some());
                let patience = if waited { LEAVE_PATIENCE } else { self.parts.config.drain_deadline };
                self.begin_leaving(partitions, patience);
                Ok(())
            }
            SourceEvent::Measured { reachable, waits, watermarks } => {
                self.waits_for_the_group = waits;
                self.watermarks =
                    watermarks.into_iter().map(|(partition, high, lag)| (partition, (high, lag))).collect();
                self.reachable = Some((Instant::now(), reachable));
                Ok(())
            }
        }
    }

    pub(super) fn commit(&mut self, wanted: impl Fn(u32) -> bool) {
        let (number, commits) = self.intake.begin_commit(wanted);
        if commits.is_empty() {
            return;
        }
        let slots: Vec<u32> = commits.iter().map(|commit| commit.slot).collect();
        let offsets = self.offsets_of(commits);
        let sent = self.source.commit(number, &offsets);
        if sent.is_ok() {
            self.pace.sent(number, Instant::now());
        }
        if let Err(error) = sent {
            self.parts.journal.write(CommitFailed { partition: "all", error: &error });
            for slot in slots {
                self.intake.commit_answered(slot, number, false);
            }
        }
    }

    pub(super) fn take_commit_answers(&mut self) {
        while let Some(answers) = self.source.commit_answers() {
            let accepted = answers.iter().filter(|answer| answer.error.is_none()).count();
            if accepted > 0 {
                self.parts.journal.write(Committed { partitions: accepted });
            }
            if let Some(number) = answers.first().map(|answer| answer.number) {
                self.pace.answered(number, accepted > 0, Instant::now());
            }
            if let Some(answer) = answers.iter().find(|answer| answer.error.is_none()) {
                self.commit_accepted(answer.number);
            }
            for CommitAnswer { number, partition: at, error } in answers {
                if let Some(error) = &error {
                    let partition = format!("{}/{}", at.topic, at.partition);
                    self.parts.journal.write(CommitFailed { partition: &partition, error });
                }
                if let Some(slot) = self.intake.slot_of(&at.topic, at.partition) {
                    match error {
                        Some(error) if is_surely_refused(error) => self.intake.commit_refused(slot, number),
                        error => self.intake.commit_answered(slot, number, error.is_none()),
                    }
                }
            }
        }
    }
}
