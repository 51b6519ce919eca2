//! One member of a consumer group: which records are in flight, what is settled of them, what is committed and when.
//!
//! A driver feeds it (records, answers, what the group and the broker say, orders of operators, time) and carries out its
//! [`Effect`]s; it decides nothing. Here the parts are wired together, and no part's rule is here: how much is read is in
//! `ingest.rs` and `backpressure.rs`, when a commit is sent in `progress/commits.rs` and `progress/pace.rs`, what happens on
//! revoke in `handover.rs` and `leaving.rs`, whether the member may act in `membership.rs`, and when it joins again in `rejoin.rs`.

mod assigned;
pub mod backpressure;
pub mod effect;
pub mod frontier;
mod handover;
pub mod hold;
pub mod ingest;
mod leaving;
pub mod membership;
mod orders;
mod partitions;
pub mod progress;
mod rejoin;
mod settled_before;
pub mod stall;
pub mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::assigned::Assigned;
use self::backpressure::Backpressure;
use self::effect::{Effect, Told};
use self::frontier::Answered;
use self::hold::PauseCause;
use self::ingest::{BatchSize, Ingest, Intake, Reading};
pub use self::leaving::LEAVE_DEADLINE;
use self::leaving::Leaving;
use self::membership::{Membership, Turn};
pub use self::partitions::Measured;
use self::partitions::Partitions;
pub use self::progress::commits::Taken;
use self::progress::commits::{self, Commits};
use self::progress::notes::{self, Notes};
pub use self::rejoin::Failure;
use self::rejoin::Rejoin;
use self::stall::{Change, StallContext, StallWatch};
use crate::answer::Answer;
use crate::lease::Lease;
use crate::partition::TopicPartition;
use crate::restart_budget::RestartPolicy;
use crate::sabotage::{Sabotage, is};

/// Limits and intervals of a member.
#[derive(Clone, Copy, Debug)]
pub struct MemberConfig {
    /// Records in flight at once.
    pub max_in_flight_records: usize,
    /// Longest metadata of a commit.
    pub max_metadata_bytes: usize,
    /// Between commits while there is something to commit. A commit costs the broker some milliseconds.
    pub commit_interval: Duration,
    /// How long leaving partitions wait for what was started.
    pub drain_deadline: Duration,
    /// The same where an operator stops the consumer or has it join again.
    pub stop_deadline: Duration,
    /// How often it may fail.
    pub restart: RestartPolicy,
    /// Whether there is anywhere to note progress while the group takes no commits.
    pub keeps_notes: bool,
    /// A random number that tells this member's commits from those of all others, before and after it.
    pub nonce: u64,
}

/// One member of a consumer group.
#[derive(Debug)]
pub struct Member {
    config: MemberConfig,
    partitions: Partitions,
    intake: Intake,
    backpressure: Backpressure,
    commits: Commits,
    notes: Notes,
    membership: Membership,
    leaving: Leaving,
    rejoin: Rejoin,
    stalls: StallWatch,
    /// Whether anything was assigned since it has joined, which may have been no partition.
    joined: bool,
    /// As measured: it waits for others in a rebalance.
    waits_for_the_group: bool,
    effects: VecDeque<Effect>,
}

impl Member {
    /// A member whose client has just been made.
    #[must_use]
    pub fn new(config: MemberConfig, lease: Arc<Lease>, now: Instant) -> Self {
        let MemberConfig { max_metadata_bytes, nonce, .. } = config;
        Self {
            partitions: Partitions::default(),
            intake: Intake::new(),
            backpressure: Backpressure::new(config.max_in_flight_records, max_metadata_bytes),
            commits: Commits::new(now, config.commit_interval, max_metadata_bytes, nonce),
            notes: Notes::new(now, max_metadata_bytes, config.keeps_notes),
            membership: Membership::new(now, lease),
            leaving: Leaving::new(config.drain_deadline),
            rejoin: Rejoin::new(config.restart),
            stalls: StallWatch::default(),
            joined: false,
            waits_for_the_group: false,
            effects: VecDeque::new(),
            config,
        }
    }

    /// The next thing to carry out.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The driver turns: to be called before all else in each turn.
    pub fn turn(&mut self, now: Instant) {
        if self.rejoin.forgive_when_due(now) {
            self.tell(Told::Recovered);
        }
        if !self.rejoin.has_client() {
            return self.turn_without_client(now);
        }
        match self.membership.turn(now, !self.partitions.is_empty()) {
            Turn::Certain => {}
            Turn::Doubted { gap } => {
                self.tell(Told::Doubted(gap));
                let (last_commit, can_ask) = self.commits.ask(&mut self.partitions, now);
                self.membership.ask(last_commit, can_ask);
            }
            Turn::Doubtful => {
                if !commits::can_say(&self.partitions) {
                    self.membership.cannot_ask();
                }
            }
        }
    }

    /// Whether the member has a client. Without one only [`turn`](Self::turn) and orders count.
    #[must_use]
    pub fn has_client(&self) -> bool {
        self.rejoin.has_client()
    }

    /// Decides which partitions are paused; to be called before each reading, with what the pool of the batches has left.
    /// A partition that comes while its topic is paused is then never read.
    pub fn regulate(&mut self, free_bytes: usize, now: Instant) {
        self.backpressure.set_free_bytes(free_bytes);
        let taps = self.backpressure.regulate(&mut self.partitions, now);
        if taps.is_empty() {
            return;
        }
        for cause in PauseCause::ALL {
            let of = |paused: bool| taps.iter().filter(move |tap| (tap.paused, tap.cause) == (paused, cause));
            let assigned = |slot: u32| self.partitions.get(slot);
            let paused: Vec<_> = of(true)
                .filter_map(|tap| assigned(tap.slot))
                .map(|assigned| (assigned.at(), assigned.frontier.end()))
                .collect();
            let resumed: Vec<_> = of(false).filter_map(|tap| assigned(tap.slot)).map(Assigned::at).collect();
            if !paused.is_empty() {
                self.effects.push_back(Effect::Pause { cause, partitions: paused });
            }
            if !resumed.is_empty() {
                self.effects.push_back(Effect::Resume { cause, partitions: resumed });
            }
        }
        self.effects.push_back(Effect::Status);
    }

    /// What may be read now into a batch of this size; `None` where the driver waits for answers instead.
    #[must_use]
    pub fn reading(&mut self, batch: BatchSize) -> Option<Reading> {
        if self.leaving.is_draining() || self.membership.is_doubtful() || !self.rejoin.has_client() {
            return None;
        }
        self.intake.begin();
        self.intake.reading(batch, &self.backpressure, self.leaving.is_empty())
    }

    /// The slot of a partition that is or was assigned.
    #[must_use]
    pub fn slot_of(&self, topic: &str, partition: i32) -> Option<u32> {
        self.partitions.slot_of(topic, partition)
    }

    /// A record was read: of this slot and offset, with so many bytes of key and value.
    #[inline]
    pub fn ingest(&mut self, slot: u32, offset: i64, bytes: usize) -> Ingest<'_> {
        self.intake.record(&mut self.partitions, &mut self.backpressure, (slot, offset, bytes))
    }

    /// A reading is over, by which a batch grew by so much.
    pub fn was_read(&mut self, taken: BatchSize) {
        let (skipped, went_back) = self.intake.end(taken);
        if skipped > 0 {
            self.tell(Told::Skipped(skipped));
        }
        if went_back.is_empty() {
            return;
        }
        self.membership.assignments_changed();
        self.tell(Told::LogsWentBack(went_back.len() as u64));
        // The client may still hold the higher position of before, from which it would go on after a pause.
        for assigned in went_back.into_iter().filter_map(|slot| self.partitions.get(slot)) {
            if let Some(end) = assigned.frontier.end() {
                self.effects.push_back(Effect::Seek(assigned.at(), end));
            }
        }
    }

    /// Whether a batch of this size is sent on, where so many wait to be taken and no more than that may.
    #[must_use]
    pub fn sends(&self, batch: BatchSize, waiting: usize, most_waiting: usize) -> bool {
        Intake::is_sent(batch, waiting, most_waiting)
    }

    /// Workers answered for records. An answer from an earlier assignment moves nothing.
    pub fn answered(&mut self, answers: &[Answer]) {
        let (mut stale, mut given_up) = (0, 0);
        for answer in answers {
            match self.answer(answer) {
                Some(true) => {}
                Some(false) => given_up += 1,
                None => stale += 1,
            }
        }
        if stale > 0 {
            self.tell(Told::StaleAnswers(stale));
        }
        if given_up > 0 {
            self.tell(Told::GivenUp(given_up));
        }
    }

    /// Whether a record is settled by this, or given up; `None` where nothing is.
    #[inline]
    fn answer(&mut self, answer: &Answer) -> Option<bool> {
        let offset_alone =
            is(Sabotage::AnswerByOffsetAlone).then(|| self.partitions.assigned().next().map(Assigned::slot));
        let assigned = self.partitions.get_mut(offset_alone.flatten().unwrap_or(answer.slot))?;
        let any_epoch = is(Sabotage::EpochIgnored) || is(Sabotage::AnswerByOffsetAlone);
        if assigned.assignment.epoch != answer.epoch && !any_epoch {
            return None;
        }
        let frontier = &mut assigned.frontier;
        let answered = if answer.settled { frontier.settle(answer.offset) } else { frontier.give_up(answer.offset) };
        let Answered::Now = answered else { return None };
        self.backpressure.give_back(1);
        Some(answer.settled)
    }

    /// What the client measured. `waits`: this member waits for others in a rebalance. Whatever it asks of the coordinator
    /// waits with it.
    pub fn measured(&mut self, waits: bool, partitions: impl IntoIterator<Item = (TopicPartition, Measured)>) {
        self.waits_for_the_group = waits;
        self.partitions.measured(partitions);
    }

    /// The broker answered a commit.
    pub fn commit_answered(&mut self, number: u64, answers: &[(TopicPartition, Taken)], now: Instant) {
        let accepted = answers.iter().filter(|(_, taken)| *taken == Taken::Yes).count();
        self.commits.answered(number, accepted > 0, now);
        if accepted > 0 {
            self.tell(Told::Committed(accepted));
            if self.membership.commit_accepted(number, now) {
                self.tell(Told::Confirmed);
            }
        }
        for (at, taken) in answers {
            if let Some(assigned) = self.partitions.of_mut(at) {
                commits::answered(assigned, number, *taken);
            }
        }
    }

    /// The client could not send a commit.
    pub fn commit_not_sent(&mut self, number: u64) {
        self.commits.not_sent(number, &mut self.partitions);
    }

    /// The broker answered a note. Gives whether the one before had failed too.
    pub fn note_answered(&mut self, number: u64, answers: &[(TopicPartition, Taken)], now: Instant) -> bool {
        let again = self.notes.are_troubled(now);
        let all = answers.iter().all(|(_, taken)| *taken == Taken::Yes);
        self.notes.answered(number, all, now);
        if all {
            self.tell(Told::Noted(answers.len()));
        }
        for (at, taken) in answers {
            if let Some(assigned) = self.partitions.of_mut(at) {
                notes::answered(assigned, number, *taken);
            }
        }
        again
    }

    /// The client could not send a note.
    pub fn note_not_sent(&mut self, number: u64) {
        self.notes.not_sent(number, &mut self.partitions);
    }

    /// Time has passed: commits, notes and what leaves go on. To be called in each turn after what the broker said.
    pub fn advance(&mut self, now: Instant) {
        if !self.rejoin.has_client() {
            return;
        }
        if let Some((number, offsets)) = self.commits.next(&mut self.partitions, now) {
            self.effects.push_back(Effect::Commit { number, offsets });
        }
        // In doubt, another may know more of these partitions, and this would take its place.
        if self.commits.are_troubled(now)
            && !self.membership.is_doubtful()
            && let Some((number, offsets)) = self.notes.next(&mut self.partitions, now)
        {
            self.effects.push_back(Effect::Note { number, offsets });
        }
        self.advance_leaving(now);
    }

    /// Looks for frontiers that do not move.
    pub fn watch(&mut self, context: &StallContext, now: Instant) {
        let changes = self.stalls.check(&self.partitions, context, now);
        self.tell_stalls(changes);
    }

    fn tell_stalls(&mut self, changes: Vec<Change>) {
        let known = self.stalls.count();
        for change in changes {
            let told = match change {
                Change::Begun(slot, stall) => {
                    let partition = self.named(&[slot]).pop();
                    partition.map(|partition| Told::Stalled { partition, stall, known })
                }
                Change::Over(slot, offset) => {
                    self.partitions.name(slot).map(|partition| Told::StallOver { partition, offset, known })
                }
            };
            self.effects.extend(told.map(Effect::Tell));
        }
    }

    /// The partitions of slots.
    fn named(&self, slots: &[u32]) -> Vec<TopicPartition> {
        slots.iter().filter_map(|slot| self.partitions.name(*slot)).collect()
    }

    fn tell(&mut self, told: Told) {
        self.effects.push_back(Effect::Tell(told));
    }
}
