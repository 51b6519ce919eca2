//! The consumer's thread: reads batches, takes answers, commits the frontier, answers rebalances. It never waits for
//! anybody who waits for it: while leaving partitions drain, the others go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use actix::dev::SendError;
use tokio::sync::oneshot;

use super::{Command, ConsumerParts};
use crate::delivery::intake::{Commit, Effect, Intake, Resume, Tracking};
use crate::handler::Sweep;
use crate::journal::{
    BrokerReach, Change, CommitFailed, Committed, DrainTimedOut, GivenUp, ProgressUnread, Rebalanced, RecordsSkipped,
    StaleAnswers,
};
use crate::kafka::{CommitAnswer, Message, PartitionOffset, Source, SourceError, SourceEvent, TopicPartition};
use crate::record::{Assignment, BatchPool, RecordBatch};
use crate::router::{Deliver, MAX_WAITING_BATCHES};
use crate::status::{ConsumerState, ConsumerStatus, PartitionStatus};

/// A batch is sent on at the latest when it has so many records: more gains nothing.
const MAX_BATCH_RECORDS: usize = 512;
/// A batch is sent on at the latest when it has so many bytes (and passes them by one record at most).
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Rebalances, statistics and errors are served so often.
const EVENTS_INTERVAL: Duration = Duration::from_millis(20);
/// Wait for the first record when nothing else is to be done.
const IDLE_WAIT: Duration = EVENTS_INTERVAL;
/// Wait while a batch is being filled and the router has not taken the one before.
const FILLING_WAIT: Duration = Duration::from_millis(1);
/// A final commit that is not answered by then is given up: its records are repeated.
const FINAL_COMMIT_DEADLINE: Duration = Duration::from_secs(2);
/// Between attempts at a final commit that was refused.
const FINAL_COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// While partitions leave, what is not started of them is given up so often.
const SWEEP_INTERVAL: Duration = EVENTS_INTERVAL;
/// The broker is asked so long for what was committed. Without an answer, what was settled above the committed offsets
/// is handled again; meanwhile nothing else goes on here, so it is short.
const COMMITTED_WAIT: Duration = Duration::from_secs(2);
/// The status is written so often.
const STATUS_INTERVAL: Duration = Duration::from_millis(250);
/// Leaving the group is given up after so long; the broker then notices by the session timeout.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// Partitions on their way out.
struct Leaving {
    partitions: Vec<TopicPartition>,
    slots: Vec<u32>,
    deadline: Instant,
    /// Set when all was answered or the deadline passed: from then on only the final commit is awaited.
    committing_until: Option<Instant>,
    next_commit: Instant,
    next_sweep: Instant,
}

pub(super) struct PollLoop {
    parts: ConsumerParts,
    source: Source,
    intake: Intake,
    assignments: HashMap<u32, Arc<Assignment>>,
    /// Slot of the partition that the last record came from: records come in runs.
    last: Option<(usize, i32, u32)>,
    pool: BatchPool,
    batch: RecordBatch,
    leaving: Vec<Leaving>,
    watermarks: HashMap<TopicPartition, (Option<i64>, Option<i64>)>,
    reachable: Option<(Instant, bool)>,
    state: ConsumerState,
    next_events: Instant,
    next_commit: Instant,
    next_status: Instant,
    draining: Option<Draining>,
}

/// The whole member on its way out.
struct Draining {
    deadline: Instant,
    done: Option<oneshot::Sender<()>>,
    left_at: Option<Instant>,
}

impl PollLoop {
    /// Polls until it is told to drain, and returns when it has left the group.
    pub(super) fn run(parts: ConsumerParts, commands: &Receiver<Command>) -> Result<(), SourceError> {
        let topics: Vec<&str> = parts.topics.iter().map(String::as_str).collect();
        let source = Source::open(&parts.kafka, &topics, &parts.journal)?;
        let now = Instant::now();
        let pool = BatchPool::default();
        let mut this = Self {
            source,
            intake: Intake::new(parts.config.max_in_flight_records, parts.config.max_in_flight_bytes),
            assignments: HashMap::new(),
            last: None,
            batch: pool.batch(),
            pool,
            leaving: Vec::new(),
            watermarks: HashMap::new(),
            reachable: None,
            state: ConsumerState::Joining,
            next_events: now,
            next_commit: now,
            next_status: now,
            draining: None,
            parts,
        };
        while !this.has_left() {
            this.turn(commands)?;
        }
        this.state = ConsumerState::Stopped;
        this.write_status();
        let Self { source, draining, .. } = this;
        // Closing tells the coordinator goodbye; whoever waits for the drain waits for that too.
        drop(source);
        if let Some(done) = draining.and_then(|draining| draining.done) {
            // Nobody waits any more: then nobody needs to know.
            let _ = done.send(());
        }
        Ok(())
    }

    fn turn(&mut self, commands: &Receiver<Command>) -> Result<(), SourceError> {
        if let Ok(Command::Drain { deadline, done }) = commands.try_recv() {
            self.begin_drain(deadline, done);
        }
        self.take_answers();
        self.fill();
        self.send_batch();
        let now = Instant::now();
        if now >= self.next_events {
            self.next_events = now + EVENTS_INTERVAL;
            for event in self.source.poll_events()? {
                self.event(event)?;
            }
        }
        self.take_commit_answers();
        if now >= self.next_commit {
            self.next_commit = now + self.parts.config.commit_interval;
            self.commit(|_| true);
        }
        self.advance_leaving(now)?;
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.write_status();
        }
        Ok(())
    }

    /// Reads what there is, within the credits. When there are none, waits for answers instead.
    fn fill(&mut self) {
        let room = MAX_BATCH_RECORDS.saturating_sub(self.batch.len());
        let room = if self.batch.bytes() < MAX_BATCH_BYTES { room } else { 0 };
        let max = room.min(self.intake.free());
        if max == 0 || self.draining.is_some() {
            // Without an answer in time the turn goes on: callbacks are to be served.
            if let Ok(answers) = self.parts.answers.recv_timeout(FILLING_WAIT) {
                self.answered(&answers);
            }
            return;
        }
        let idle = self.batch.is_empty() && self.leaving.is_empty();
        let wait = if idle { IDLE_WAIT } else { FILLING_WAIT };
        let Self { source, intake, assignments, last, batch, .. } = self;
        let mut skipped = 0;
        source.read(max, wait, |message| skipped += u64::from(take_in(message, intake, assignments, last, batch)));
        if skipped > 0 {
            self.parts.journal.write(RecordsSkipped { count: skipped });
        }
    }

    /// Sends the batch on when the router has taken the one before; until then it is filled further.
    fn send_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let waiting = self.parts.waiting.load(Ordering::Relaxed);
        let full = self.batch.len() >= MAX_BATCH_RECORDS || self.batch.bytes() >= MAX_BATCH_BYTES;
        if waiting >= MAX_WAITING_BATCHES || (waiting > 0 && !full) {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, self.pool.batch());
        self.parts.waiting.fetch_add(1, Ordering::Relaxed);
        if let Err(SendError::Full(Deliver { batch }) | SendError::Closed(Deliver { batch })) =
            self.parts.router.try_send(Deliver { batch })
        {
            self.parts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.batch = batch;
            if !self.parts.router.connected() {
                self.parts.escalation.raise("the router is gone");
            }
        }
    }

    fn take_answers(&mut self) {
        while let Ok(answers) = self.parts.answers.try_recv() {
            self.answered(&answers);
        }
    }

    fn answered(&mut self, answers: &[crate::answer::Answer]) {
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

    fn event(&mut self, event: SourceEvent) -> Result<(), SourceError> {
        match event {
            SourceEvent::Assigned(partitions) => self.assigned(&partitions),
            SourceEvent::Revoked { partitions, lost: true } => self.lost(&partitions),
            SourceEvent::Revoked { partitions, lost: false } => {
                self.begin_leaving(partitions, self.parts.config.drain_deadline);
                Ok(())
            }
            SourceEvent::Measured { reachable, watermarks } => {
                self.watermarks =
                    watermarks.into_iter().map(|(partition, high, lag)| (partition, (high, lag))).collect();
                if self.reachable.is_none_or(|(_, before)| before != reachable) {
                    self.parts.journal.write(BrokerReach { client: "consumer", reachable });
                }
                self.reachable = Some((Instant::now(), reachable));
                Ok(())
            }
        }
    }

    fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for TopicPartition { topic, partition } in partitions {
            let (slot, epoch) = self.intake.assign(topic, *partition);
            let assignment = Assignment::new(topic.as_str().into(), *partition, slot, epoch);
            if let Some(before) = self.assignments.insert(slot, Arc::new(assignment)) {
                before.close();
            }
        }
        self.last = None;
        self.resume(partitions);
        self.source.accept(partitions)?;
        if self.draining.is_none() {
            self.state = ConsumerState::Assigned;
        }
        self.journal_rebalance(Change::Assigned, partitions);
        self.write_status();
        Ok(())
    }

    /// Reads what was settled above the committed offsets, so that it is not handled again.
    fn resume(&mut self, partitions: &[TopicPartition]) {
        let committed = match self.source.committed(partitions, COMMITTED_WAIT) {
            Ok(committed) => committed,
            Err(error) => {
                let partitions = "all that were assigned";
                return self.parts.journal.write(ProgressUnread { partition: partitions, error: &error });
            }
        };
        for PartitionOffset { topic, partition, offset, metadata } in committed {
            let Some(slot) = self.intake.slot_of(&topic, partition) else { continue };
            if let Err(error) = self.intake.resume(slot, &Resume { offset, metadata }) {
                let partition = format!("{topic}/{partition}");
                self.parts.journal.write(ProgressUnread { partition: &partition, error: &error });
            }
        }
    }

    /// Others have them already: nothing is committed, and whatever is still answered is stale.
    fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        self.leaving.retain(|leaving| !leaving.partitions.iter().any(|leaving| partitions.contains(leaving)));
        self.end(partitions);
        self.source.release(partitions)?;
        self.sweep();
        self.journal_rebalance(Change::Lost, partitions);
        self.write_status();
        Ok(())
    }

    /// Nothing more of them is started; what was started may finish until the deadline.
    fn begin_leaving(&mut self, partitions: Vec<TopicPartition>, patience: Duration) {
        let slots: Vec<u32> = partitions.iter().filter_map(|at| self.intake.slot_of(&at.topic, at.partition)).collect();
        for slot in &slots {
            self.intake.leave(*slot);
            if let Some(assignment) = self.assignments.get(slot) {
                assignment.close();
            }
        }
        let now = Instant::now();
        self.leaving.push(Leaving {
            partitions,
            slots,
            deadline: now + patience,
            committing_until: None,
            next_commit: now,
            next_sweep: now,
        });
    }

    fn sweep(&self) {
        // When the router's mailbox is full of batches it comes to their records later, and finds them closed then.
        if self.parts.sweep.try_send(Sweep).is_err() && !self.parts.sweep.connected() {
            self.parts.escalation.raise("the router is gone");
        }
    }

    /// Brings partitions that leave further: drained, then committed, then released.
    fn advance_leaving(&mut self, now: Instant) -> Result<(), SourceError> {
        for mut leaving in std::mem::take(&mut self.leaving) {
            let unsettled: usize = leaving.slots.iter().map(|slot| self.intake.in_flight(*slot)).sum();
            if leaving.committing_until.is_none() && (unsettled == 0 || now >= leaving.deadline) {
                if unsettled > 0 {
                    self.parts.journal.write(DrainTimedOut { unsettled });
                }
                leaving.committing_until = Some(now + FINAL_COMMIT_DEADLINE);
                leaving.next_commit = now;
            }
            let Some(until) = leaving.committing_until else {
                // Said again and again: records that were still on their way to a lane come to it after a sweep.
                if now >= leaving.next_sweep {
                    leaving.next_sweep = now + SWEEP_INTERVAL;
                    self.sweep();
                }
                self.leaving.push(leaving);
                continue;
            };
            let uncommitted = leaving.slots.iter().any(|slot| self.intake.is_uncommitted(*slot));
            if uncommitted && now < until {
                if now >= leaving.next_commit {
                    leaving.next_commit = now + FINAL_COMMIT_PAUSE;
                    self.commit(|slot| leaving.slots.contains(&slot));
                }
                self.leaving.push(leaving);
                continue;
            }
            self.end(&leaving.partitions);
            self.source.release(&leaving.partitions)?;
            self.journal_rebalance(Change::Revoked, &leaving.partitions);
            self.write_status();
        }
        if let Some(draining) = &mut self.draining
            && self.leaving.is_empty()
            && draining.left_at.is_none()
            && (self.intake.in_flight_in_all() == 0 || now >= draining.deadline)
        {
            draining.left_at = Some(now);
            self.source.leave();
        }
        Ok(())
    }

    fn end(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            let Some(slot) = self.intake.slot_of(&at.topic, at.partition) else { continue };
            self.intake.end(slot);
            if let Some(assignment) = self.assignments.remove(&slot) {
                assignment.close();
            }
        }
        self.last = None;
    }

    fn commit(&mut self, wanted: impl Fn(u32) -> bool) {
        let (number, commits) = self.intake.begin_commit(wanted);
        if commits.is_empty() {
            return;
        }
        let slots: Vec<u32> = commits.iter().map(|commit| commit.slot).collect();
        let offsets: Vec<PartitionOffset> = commits
            .into_iter()
            .map(|Commit { slot, offset, metadata }| {
                let (topic, partition) = self.intake.partition(slot);
                PartitionOffset { topic: topic.to_owned(), partition, offset, metadata }
            })
            .collect();
        if let Err(error) = self.source.commit(number, &offsets) {
            self.parts.journal.write(CommitFailed { partition: "all", error: &error });
            for slot in slots {
                self.intake.commit_answered(slot, number, false);
            }
        }
    }

    fn take_commit_answers(&mut self) {
        while let Some(answers) = self.source.commit_answers(Duration::ZERO) {
            let accepted = answers.iter().filter(|answer| answer.error.is_none()).count();
            if accepted > 0 {
                self.parts.journal.write(Committed { partitions: accepted });
            }
            for CommitAnswer { number, partition: at, error } in answers {
                if let Some(error) = &error {
                    let partition = format!("{}/{}", at.topic, at.partition);
                    self.parts.journal.write(CommitFailed { partition: &partition, error });
                }
                if let Some(slot) = self.intake.slot_of(&at.topic, at.partition) {
                    self.intake.commit_answered(slot, number, error.is_none());
                }
            }
        }
    }

    /// Intake stops. What is in the lanes is finished up to the deadline; then the member leaves, and leaving gives up
    /// whatever is not started.
    fn begin_drain(&mut self, patience: Duration, done: oneshot::Sender<()>) {
        self.state = ConsumerState::Draining;
        self.draining = Some(Draining { deadline: Instant::now() + patience, done: Some(done), left_at: None });
        self.write_status();
    }

    fn has_left(&self) -> bool {
        self.draining.as_ref().and_then(|draining| draining.left_at).is_some_and(|left| {
            (self.source.is_unassigned() && self.leaving.is_empty()) || left.elapsed() > LEAVE_DEADLINE
        })
    }

    fn journal_rebalance(&self, change: Change, partitions: &[TopicPartition]) {
        let owned = self.assignments.len();
        self.parts.journal.write(Rebalanced { change, partitions: &summary(partitions), owned });
    }

    fn write_status(&mut self) {
        let partitions: Vec<PartitionStatus> = self
            .intake
            .standings()
            .map(|at| {
                let key = TopicPartition { topic: at.topic.to_owned(), partition: at.partition };
                let (high_watermark, known_lag) = self.watermarks.get(&key).copied().unwrap_or_default();
                let lag = match (high_watermark, at.position) {
                    (Some(high), Some(position)) => Some((high - position).max(0)),
                    _ => known_lag,
                };
                PartitionStatus {
                    topic: key.topic,
                    partition: key.partition,
                    epoch: at.epoch,
                    frontier: at.position,
                    committed: at.committed,
                    high_watermark,
                    lag,
                    in_flight: at.in_flight,
                }
            })
            .collect();
        let status = ConsumerStatus {
            state: self.state,
            broker_reachable: self.reachable.is_some_and(|(_, reachable)| reachable),
            lag: partitions.iter().filter_map(|partition| partition.lag).sum(),
            in_flight: self.intake.in_flight_in_all(),
            partitions,
        };
        self.parts.board.set(self.reachable.map(|(at, _)| at), status);
    }
}

/// `user.events/0-3,5 micro-1.events/2`: a line stays short however many partitions there are.
fn summary(partitions: &[TopicPartition]) -> String {
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    let topics = sorted.chunk_by(|one, other| one.topic == other.topic);
    let shown = topics.map(|of_topic| {
        let runs = of_topic.chunk_by(|one, other| one.partition + 1 == other.partition);
        let runs = runs.map(|run| match run {
            [one] => one.partition.to_string(),
            [first, .., last] => format!("{}-{}", first.partition, last.partition),
            [] => String::new(),
        });
        let topic = of_topic.first().map_or("", |at| &at.topic);
        format!("{topic}/{}", runs.collect::<Vec<_>>().join(","))
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Copies a record into the batch. A record of a partition that takes none (it is leaving or gone) is left out: it was
/// never tracked, so its next owner gets it. True where it was settled in an earlier assignment, and is left out too.
fn take_in(
    message: &Message<'_>,
    intake: &mut Intake,
    assignments: &HashMap<u32, Arc<Assignment>>,
    last: &mut Option<(usize, i32, u32)>,
    batch: &mut RecordBatch,
) -> bool {
    let (handle, partition) = (message.topic_handle(), message.partition());
    let slot = match *last {
        Some((known, at, slot)) if known == handle && at == partition => slot,
        _ => {
            let Some(slot) = intake.slot_of(&message.topic(), partition) else { return false };
            *last = Some((handle, partition, slot));
            slot
        }
    };
    let Some(assignment) = assignments.get(&slot) else { return false };
    let raw = message.raw();
    let bytes = raw.key.map_or(0, <[u8]>::len) + raw.value.map_or(0, <[u8]>::len);
    if !assignment.is_open() {
        return false;
    }
    let tracking = intake.track(slot, raw.offset, bytes);
    if tracking == Tracking::New {
        batch.push(assignment, raw, message.headers());
    }
    tracking == Tracking::SettledBefore
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_summed_up_by_topic_and_run() {
        let partitions = [("b", 2), ("a", 1), ("a", 0), ("a", 2), ("a", 5)]
            .map(|(topic, partition)| TopicPartition { topic: topic.to_owned(), partition });
        assert_eq!((summary(&partitions).as_str(), summary(&[]).as_str()), ("a/0-2,5 b/2", ""));
    }
}
