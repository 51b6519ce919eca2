//! The driver of the shipped `Member`: it feeds it what the world says and carries out its effects. It decides nothing. The
//! turn of the thread is done in phases, so that the handler's actor, or a freeze, can come between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::answer::Answer;
use delivery::assignment::Assignment;
use delivery::lease::Lease;
use delivery::member::effect::{Order, OrderId};
use delivery::member::hold::PauseCause;
use delivery::member::status::MemberState;
use delivery::member::{Failure, Member, MemberConfig, Taken};
use delivery::partition::{PartitionOffset, TopicPartition};
use delivery::restart_budget::RestartPolicy;

use super::handler::Handler;
use super::messages::{Change, CommitAnswer, GroupEvent, Left, Outbox};
use super::step::{Step, TOPIC};
use crate::history::{Edition, Known, Tenure, Violation};

pub(crate) const CREDIT_RECORDS: usize = 24;
const CREDIT_BYTES: usize = 1_000_000;
/// Small, so that a short world sees all of it.
pub(crate) const RESTART: RestartPolicy = RestartPolicy {
    max_restarts: 3,
    window: Duration::from_secs(8),
    first_backoff: Duration::from_millis(400),
    max_backoff: Duration::from_millis(800),
    max_probes: 2,
};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Lease,
    Answers,
    Read,
    Events,
    CommitAnswers,
    Advance,
    CarryOut,
}

/// A partition as the client has it.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) tenure: Tenure,
    /// Of the record that the member took last.
    pub(super) edition: Edition,
    /// Of the log that the client reads.
    pub(super) reading: Edition,
    /// Next offset to fetch.
    pub(super) position: i64,
    pub(super) paused: bool,
    /// Of the records that were taken last.
    pub(super) assignment: Option<Arc<Assignment>>,
    /// What was committed when it came.
    pub(super) known: Known,
    /// What this assignment settled, for the check of a clean leave.
    pub(super) settled: Vec<i64>,
    /// What of it the member was told: the next commit says it.
    pub(super) told: Vec<i64>,
}

/// A consumer's thread and its client.
pub(crate) struct Consumer {
    pub(super) number: usize,
    pub(super) member: Member,
    pub(super) phase: Phase,
    /// Read in the middle of a turn, for what comes after.
    pub(super) now_of_turn: Instant,
    pub(super) owned: BTreeMap<usize, Owned>,
    /// What the broker has of partitions that come.
    pub(super) left: BTreeMap<usize, (Tenure, Left)>,
    pub(super) inbox: VecDeque<(Instant, GroupEvent)>,
    pub(super) answers: VecDeque<Answer>,
    pub(super) commit_answers: VecDeque<CommitAnswer>,
    pub(super) note_answers: VecDeque<CommitAnswer>,
    pub(crate) outbox: Outbox,
    pub(crate) topic_paused: bool,
    /// An operator has had it stop, and it has.
    pub(super) stopped: bool,
    pub(super) last_order: OrderId,
    /// It does not reach the broker until then.
    pub(crate) cut_until: Option<Instant>,
    /// Clients cannot be made until then, or not always.
    pub(crate) unmade_until: Instant,
}

impl Consumer {
    pub(crate) fn new(number: usize, lease: Arc<Lease>, max_metadata_bytes: usize, now: Instant) -> Self {
        let config = MemberConfig {
            max_in_flight_records: CREDIT_RECORDS,
            max_metadata_bytes,
            commit_interval: Duration::from_millis(200),
            drain_deadline: Duration::from_millis(1_200),
            stop_deadline: Duration::from_millis(1_500),
            restart: RESTART,
            keeps_notes: true,
            nonce: number as u64,
        };
        let mut member = Member::new(config, lease, now);
        member.regulate(CREDIT_BYTES, now);
        Self {
            number,
            member,
            phase: Phase::Lease,
            now_of_turn: now,
            owned: BTreeMap::new(),
            left: BTreeMap::new(),
            inbox: VecDeque::new(),
            answers: VecDeque::new(),
            commit_answers: VecDeque::new(),
            note_answers: VecDeque::new(),
            outbox: Outbox::default(),
            topic_paused: false,
            stopped: false,
            last_order: 0,
            cut_until: None,
            unmade_until: now,
        }
    }

    /// The group tells it something, which comes to it then.
    pub(crate) fn tell(&mut self, at: Instant, event: GroupEvent) {
        let at = self.inbox.back().map_or(at, |(last, _)| at.max(*last));
        self.inbox.push_back((at, event));
    }

    /// The broker answers a commit.
    pub(crate) fn answer_commit(&mut self, answer: CommitAnswer) {
        self.commit_answers.push_back(answer);
    }

    /// The broker answers a note.
    pub(crate) fn answer_note(&mut self, answer: CommitAnswer) {
        self.note_answers.push_back(answer);
    }

    /// The handler's actor answers for records.
    pub(crate) fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            if let Some(owned) = self.of(&answer).filter(|_| answer.settled) {
                owned.settled.push(answer.offset);
            }
            self.answers.push_back(answer);
        }
    }

    /// The partition of an answer, where it is of the present assignment.
    fn of(&mut self, answer: &Answer) -> Option<&mut Owned> {
        let is_of = |at: &Assignment| (at.slot, at.epoch) == (answer.slot, answer.epoch);
        self.owned.values_mut().find(|owned| owned.assignment.as_deref().is_some_and(is_of))
    }

    /// Whether it has answered all that the group told it. A client hears of one change at a time.
    pub(crate) fn has_answered(&self) -> bool {
        self.inbox.is_empty() && !self.member.partition_views().any(|at| at.leaving)
    }

    /// Whether it may be given partitions.
    pub(crate) fn can_take(&self) -> bool {
        let stays = !matches!(self.member.state(), MemberState::Draining | MemberState::Stopped);
        self.member.has_client() && stays && self.cut_until.is_none() && self.has_answered()
    }

    /// Whether it is on its way out, or out by an operator's order.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.member.state(), MemberState::Draining | MemberState::Stopped)
    }

    /// Whether an operator has stopped it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.member.state() == MemberState::Stopped
    }

    /// Whether its client has read something of each partition that it has or gets, of the log as it is.
    pub(crate) fn has_read(&self, partition: usize, edition: Edition) -> bool {
        let read = |owned: &Owned| owned.edition == edition && owned.assignment.is_some();
        self.inbox.is_empty() && self.owned.get(&partition).is_none_or(read)
    }

    /// Credits that are free.
    pub(crate) fn free(&self) -> usize {
        self.member.free()
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// An operator pauses the topic, or ends that.
    pub(crate) fn pause_topic(&mut self, paused: bool) {
        self.topic_paused = paused;
        self.member.pause_topic(TOPIC, PauseCause::Operator, paused);
    }

    /// It is told to stop: nothing more is read, what is there may finish for so long, and then it leaves.
    pub(crate) fn stop(&mut self, now: Instant, patience: Duration) {
        self.member.drain(patience, now);
    }

    /// An operator orders something, which forgives failures. False where it is not obeyed now.
    pub(crate) fn order(&mut self, order: Order, now: Instant) -> bool {
        let obeys = self.member.obeys();
        if obeys {
            self.last_order += 1;
            self.member.order(self.last_order, order, now);
        }
        obeys
    }

    /// Its client or its thread fails.
    pub(crate) fn fail(&mut self, panics: bool, step: &mut Step<'_>) -> Result<(), Violation> {
        let why = "by seed".to_owned();
        let failure = if panics { Failure::Panic(why) } else { Failure::Client(why) };
        self.member.failed(&failure, step.now, step.rng.unit());
        self.phase = Phase::CarryOut;
        self.carry_out(step)
    }

    /// Brings the turn one phase further.
    pub(crate) fn turn(&mut self, handler: &mut Handler, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = step.now;
        self.phase = match self.phase {
            Phase::Lease => {
                self.member.turn(now);
                self.carry_out_with(handler, step)?;
                Phase::Answers
            }
            Phase::Answers => {
                self.take_answers(step);
                if self.member.has_client() { Phase::Read } else { Phase::Lease }
            }
            Phase::Read => {
                self.member.feed(TOPIC, handler.appetite());
                self.member.regulate(CREDIT_BYTES, now);
                self.carry_out_with(handler, step)?;
                self.read(handler, step)?;
                self.carry_out_with(handler, step)?;
                Phase::Events
            }
            Phase::Events => {
                self.now_of_turn = now;
                if let Some((_, event)) = self.inbox.pop_front_if(|(at, _)| *at <= now) {
                    self.event(event, step);
                }
                self.carry_out_with(handler, step)?;
                Phase::CommitAnswers
            }
            Phase::CommitAnswers => {
                while let Some(CommitAnswer { number, taken }) = self.commit_answers.pop_front() {
                    if !taken.iter().any(|(_, taken)| *taken == Taken::Yes) {
                        step.history.changed(self.number, now);
                    }
                    self.member.commit_answered(number, &taken, now);
                }
                while let Some(CommitAnswer { number, taken }) = self.note_answers.pop_front() {
                    self.member.note_answered(number, &taken, now);
                }
                Phase::Advance
            }
            Phase::Advance => {
                self.member.advance(self.now_of_turn);
                Phase::CarryOut
            }
            Phase::CarryOut => {
                self.carry_out_with(handler, step)?;
                Phase::Lease
            }
        };
        Ok(())
    }

    /// Takes answers of the handler's actor; some may still be on their way.
    fn take_answers(&mut self, step: &mut Step<'_>) {
        let all = self.answers.len();
        let come = if step.rng.percent(70) { all } else { step.rng.below(all.max(1)) };
        let answers: Vec<Answer> = self.answers.drain(..come).collect();
        for answer in answers.iter().filter(|answer| answer.settled) {
            if let Some(owned) = self.of(answer) {
                owned.told.push(answer.offset);
            }
        }
        self.member.answered(&answers);
    }

    fn event(&mut self, event: GroupEvent, step: &mut Step<'_>) {
        step.history.changed(self.number, step.now);
        match event {
            GroupEvent::Assigned { partitions } => {
                let names = partitions.iter().map(|(tenure, _)| at(tenure.partition)).collect();
                self.left.extend(partitions.into_iter().map(|(tenure, left)| (tenure.partition, (tenure, left))));
                self.member.assigned(names, step.now);
            }
            GroupEvent::Revoked { partitions } => {
                let names: Vec<TopicPartition> = partitions.into_iter().map(at).collect();
                self.member.revoked(&names, step.now);
            }
            GroupEvent::Lost => {
                step.history.report.losses += 1;
                for owned in self.owned.values() {
                    step.history.lost(owned.tenure);
                }
                self.member.lost(self.owned.keys().copied().map(at).collect(), step.now);
                self.outbox.changes.push(Change::Joins);
            }
        }
    }
}

pub(super) fn at(partition: usize) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition: name(partition) }
}

pub(super) fn name(partition: usize) -> i32 {
    i32::try_from(partition).unwrap_or(0)
}

pub(super) fn number(at: &TopicPartition) -> usize {
    usize::try_from(at.partition).unwrap_or(0)
}

pub(super) fn named(at: &TopicPartition, offset: i64, metadata: String) -> PartitionOffset {
    PartitionOffset { topic: at.topic.clone(), partition: at.partition, offset, metadata }
}
