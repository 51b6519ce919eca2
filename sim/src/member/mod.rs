//! A member of the group: the product's own decisions, joined as the consumer's thread and the handler's actor join them.

use std::collections::{HashMap, VecDeque};

use actors::answer::Answer;
use actors::delivery::hold::PauseCause;
use actors::delivery::intake::{Commit, Effect, Intake, Resume};
use actors::delivery::lanes::{LaneKey, Lanes};
use actors::delivery::progress_codec;
use actors::delivery::retry::RetryPolicy;

use crate::Sabotage;
use crate::history::{History, Known, Record, Violation};
use crate::rng::Rng;

pub(crate) const CREDIT_RECORDS: usize = 24;
pub(crate) const TOPIC: &str = "t";
const CREDIT_BYTES: usize = 1_000_000;
const LANES_AT_ONCE: usize = 8;
const ATTEMPTS: u32 = 3;

/// A record on its way through the member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) partition: usize,
    pub(crate) record: Record,
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
    pub(crate) attempts: u32,
}

/// Work that takes its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Handle(LaneKey, Item),
    DeadLetter(LaneKey, Item),
    Backoff(LaneKey),
}

/// A partition that this member owns.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) generation: u64,
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
    /// Whether its records may be started.
    pub(crate) open: bool,
    /// Next offset to fetch.
    pub(crate) position: i64,
    /// What was committed when it came.
    pub(crate) known: Known,
    /// What this assignment settled, for the check of a clean leave.
    pub(crate) settled: Vec<i64>,
    /// What of it was answered: the next commit says it.
    pub(crate) answered: Vec<i64>,
    pub(crate) leaving: bool,
    /// Whether the source was told to fetch nothing.
    pub(crate) paused: bool,
}

/// A commit on its way to the broker and back.
#[derive(Clone, Debug)]
pub(crate) struct CommitOnItsWay {
    pub(crate) number: u64,
    pub(crate) slot: u32,
    pub(crate) partition: usize,
    pub(crate) generation: u64,
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

pub(crate) struct Member {
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) intake: Intake,
    pub(crate) lanes: Lanes<Item>,
    pub(crate) owned: HashMap<usize, Owned>,
    pub(crate) works: Vec<Work>,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) max_metadata_bytes: usize,
    pub(crate) topic_paused: bool,
    pub(crate) frozen: bool,
}

impl Member {
    pub(crate) fn new(sabotage: Option<Sabotage>, max_metadata_bytes: usize) -> Self {
        // Whoever cuts off what does not fit believes that all fits.
        let unlimited = sabotage == Some(Sabotage::ProgressCutOff);
        let believed = if unlimited { progress_codec::MAX_METADATA_BYTES } else { max_metadata_bytes };
        Self {
            sabotage,
            intake: Intake::new(CREDIT_RECORDS, CREDIT_BYTES, believed),
            lanes: Lanes::new(LANES_AT_ONCE),
            owned: HashMap::new(),
            works: Vec::new(),
            answers: VecDeque::new(),
            max_metadata_bytes,
            topic_paused: false,
            frozen: false,
        }
    }

    pub(crate) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    pub(crate) fn partitions(&self) -> Vec<usize> {
        let mut partitions: Vec<usize> = self.owned.keys().copied().collect();
        partitions.sort_unstable();
        partitions
    }

    /// A partition comes, with what the broker has of it.
    pub(crate) fn assign(&mut self, partition: usize, generation: u64, committed: Option<(i64, String)>) {
        let (slot, epoch) = self.intake.assign(TOPIC, i32::try_from(partition).unwrap_or(0));
        if self.is(Sabotage::PauseForgotten) {
            self.intake.pause_topic(TOPIC, PauseCause::Operator, false);
        }
        let (offset, metadata) = committed.unwrap_or_default();
        let runs = progress_codec::decode(offset, &metadata).unwrap_or_default();
        let resume = match self.sabotage {
            Some(Sabotage::MetadataIgnored) => Resume { offset, metadata: String::new() },
            Some(Sabotage::MetadataAtTheWrongBase) => {
                let shifted = runs.iter().map(|run| run.start + 1..run.end + 1);
                Resume { offset, metadata: progress_codec::encode(offset, shifted, self.max_metadata_bytes) }
            }
            Some(Sabotage::MetadataOfAnotherPartition) => {
                let other = std::iter::once(offset + 2..offset + 5);
                Resume { offset, metadata: progress_codec::encode(offset, other, self.max_metadata_bytes) }
            }
            _ => Resume { offset, metadata },
        };
        // What cannot be read is handled again.
        let _ = self.intake.resume(slot, &resume);
        let known = Known { offset, runs };
        let owned = Owned {
            generation,
            slot,
            epoch,
            open: true,
            position: offset,
            known,
            settled: Vec::new(),
            answered: Vec::new(),
            leaving: false,
            paused: false,
        };
        self.owned.insert(partition, owned);
    }

    fn may_start(&self, item: &Item) -> bool {
        self.owned.get(&item.partition).is_some_and(|owned| owned.epoch == item.epoch && owned.open)
    }

    /// Starts the next event that may run.
    pub(crate) fn start(&mut self) -> Result<(), Violation> {
        let Some((lane, item)) = self.lanes.start() else { return Ok(()) };
        if !self.may_start(&item) {
            self.answers.push_back(answer(&item, self.is(Sabotage::GivenUpAsSettled)));
            self.lanes.release(lane);
            return Ok(());
        }
        let (partition, offset) = (item.partition, item.record.offset);
        if self.owned[&partition].known.says_settled(offset) {
            return Err(Violation::StartedAgain(partition, offset));
        }
        let same_key =
            |other: &Item| (other.partition, other.epoch, other.record.key) == (partition, item.epoch, item.record.key);
        let busy = self.works.iter().any(|work| match work {
            Work::Handle(_, other) | Work::DeadLetter(_, other) => same_key(other),
            Work::Backoff(_) => false,
        });
        if busy {
            return Err(Violation::TwoOfAKey(partition, offset));
        }
        self.works.push(Work::Handle(lane, item));
        if self.is(Sabotage::LaneReleasedAtTheStart) {
            self.lanes.release(lane);
        }
        Ok(())
    }

    /// Ends some work: a handler answers, a dead letter is acknowledged, a backoff is over.
    pub(crate) fn finish(&mut self, rng: &mut Rng, failing: u64, history: &mut History) -> Result<(), Violation> {
        if self.works.is_empty() {
            return Ok(());
        }
        match self.works.swap_remove(rng.below(self.works.len())) {
            Work::Backoff(lane) => self.lanes.resume(lane),
            Work::DeadLetter(lane, item) => {
                self.settle(&item, history)?;
                if !self.is(Sabotage::DeadLetterNotAwaited) {
                    self.lanes.resume(lane);
                }
            }
            Work::Handle(lane, item) if rng.percent(failing) => self.fail(lane, item, rng),
            Work::Handle(lane, item) => {
                self.settle(&item, history)?;
                if !self.is(Sabotage::LaneReleasedAtTheStart) {
                    self.lanes.release(lane);
                }
            }
        }
        Ok(())
    }

    fn fail(&mut self, lane: LaneKey, mut item: Item, rng: &mut Rng) {
        if self.is(Sabotage::LaneReleasedAtTheStart) {
            // There is no lane to put it back into.
            return;
        }
        item.attempts += 1;
        let policy = RetryPolicy { max_attempts: ATTEMPTS, ..RetryPolicy::default() };
        let another = if rng.percent(80) { policy.backoff(item.attempts, 0.5) } else { None };
        match another {
            Some(_) if self.is(Sabotage::RetryOutOfOrder) => {
                self.lanes.push(lane, item);
                self.lanes.release(lane);
            }
            Some(_) => {
                self.lanes.put_back(lane, std::iter::once(item));
                self.works.push(Work::Backoff(lane));
            }
            None if self.is(Sabotage::DeadLetterNotAwaited) => {
                self.lanes.release(lane);
                self.works.push(Work::DeadLetter(lane, item));
            }
            None => {
                self.lanes.put_back(lane, std::iter::empty());
                self.works.push(Work::DeadLetter(lane, item));
            }
        }
    }

    fn settle(&mut self, item: &Item, history: &mut History) -> Result<(), Violation> {
        history.settle(item.partition, item.record)?;
        if let Some(owned) = self.owned.get_mut(&item.partition).filter(|owned| owned.epoch == item.epoch) {
            owned.settled.push(item.record.offset);
        }
        if !self.is(Sabotage::CreditsLeaked) || item.attempts == 0 {
            self.answers.push_back(answer(item, true));
        }
        Ok(())
    }

    /// Takes an answer that was on its way.
    pub(crate) fn take_answer(&mut self, history: &mut History) {
        let Some(mut answer) = self.answers.pop_front() else { return };
        if self.is(Sabotage::EpochIgnored) {
            let current = self.owned.values().find(|owned| owned.slot == answer.slot);
            answer.epoch = current.map_or(answer.epoch, |owned| owned.epoch);
        }
        if self.is(Sabotage::AnswerByOffsetAlone) {
            let first = self.partitions().first().map(|partition| &self.owned[partition]);
            (answer.slot, answer.epoch) = first.map_or((answer.slot, answer.epoch), |owned| (owned.slot, owned.epoch));
        }
        let effect = self.intake.answer(&answer);
        if effect == Effect::Settled
            && let Some(owned) = self.owned.values_mut().find(|owned| owned.slot == answer.slot)
        {
            owned.answered.push(answer.offset);
        }
        history.report.stale_answers += u64::from(effect == Effect::Stale);
    }

    /// Begins a commit of what is settled, and gives what goes to the broker.
    pub(crate) fn commit(&mut self) -> Result<Vec<CommitOnItsWay>, Violation> {
        let (number, commits) = self.intake.begin_commit(|_| true);
        let mut sent = Vec::new();
        for Commit { slot, offset, mut metadata } in commits {
            let Some((partition, owned)) = self.owned.iter().find(|(_, owned)| owned.slot == slot) else { continue };
            let (partition, generation) = (*partition, owned.generation);
            if self.is(Sabotage::ProgressCutOff) {
                let runs = progress_codec::decode(offset, &metadata).unwrap_or_default();
                metadata = progress_codec::encode(offset, runs.into_iter(), self.max_metadata_bytes);
            }
            let past = self.is(Sabotage::FrontierPastAGap);
            let offset = if past { owned.settled.iter().max().map_or(offset, |last| last + 1) } else { offset };
            let metadata = if past { String::new() } else { metadata };
            let says = Known { offset, runs: progress_codec::decode(offset, &metadata).unwrap_or_default() };
            let known = owned.known.runs.iter().flat_map(Clone::clone);
            let left_out = owned.answered.iter().copied().chain(known).find(|settled| !says.says_settled(*settled));
            if let Some(left_out) = left_out {
                return Err(Violation::LeftOut(partition, left_out));
            }
            sent.push(CommitOnItsWay { number, slot, partition, generation, offset, metadata });
            if self.is(Sabotage::CommitCountedWhenSent) {
                self.intake.commit_answered(slot, number, true);
            }
        }
        Ok(sent)
    }

    pub(crate) fn commit_answered(&mut self, commit: &CommitOnItsWay, accepted: bool) {
        self.intake.commit_answered(commit.slot, commit.number, accepted);
    }

    /// The partition is to be given to another member: nothing more of it is started.
    pub(crate) fn leave(&mut self, partition: usize) {
        let Some(owned) = self.owned.get_mut(&partition) else { return };
        owned.open = false;
        owned.leaving = true;
        self.intake.leave(owned.slot);
        self.sweep();
    }

    fn sweep(&mut self) {
        let owned = &self.owned;
        let swept = self
            .lanes
            .sweep(|item| !owned.get(&item.partition).is_some_and(|owned| owned.epoch == item.epoch && owned.open));
        let settled = self.is(Sabotage::GivenUpAsSettled);
        self.answers.extend(swept.iter().map(|item| answer(item, settled)));
    }

    /// Whether a leaving partition is drained and committed, and so may be released.
    pub(crate) fn is_released(&self, partition: usize) -> bool {
        self.owned.get(&partition).is_none_or(|owned| {
            let drained = self.intake.in_flight(owned.slot) == 0 || self.is(Sabotage::ReleasedWithoutDrain);
            let committed = !self.intake.is_uncommitted(owned.slot) || self.is(Sabotage::ReleasedWithoutCommit);
            owned.leaving && drained && committed
        })
    }

    /// The partition leaves in order. Everything that was settled of it must be known to the broker.
    pub(crate) fn release(&mut self, partition: usize, broker: &Known) -> Result<(), Violation> {
        let Some(owned) = self.end(partition) else { return Ok(()) };
        let working = self.works.iter().any(|work| match work {
            Work::Handle(_, item) | Work::DeadLetter(_, item) => {
                item.partition == partition && item.epoch == owned.epoch
            }
            Work::Backoff(_) => false,
        });
        let forgotten = owned.settled.iter().find(|offset| !broker.says_settled(**offset));
        match forgotten {
            Some(offset) => Err(Violation::LeftUncommitted(partition, *offset)),
            None if working => Err(Violation::LeftUncommitted(partition, owned.position)),
            None => Ok(()),
        }
    }

    /// The partition is gone: it was lost, or its time to drain is over.
    pub(crate) fn end(&mut self, partition: usize) -> Option<Owned> {
        let owned = self.owned.remove(&partition)?;
        self.intake.end(owned.slot);
        self.sweep();
        Some(owned)
    }

    /// What a member at rest owes: its credits are all there.
    pub(crate) fn check_rest(&self) -> Result<(), Violation> {
        let at_rest = self.works.is_empty() && self.answers.is_empty() && self.lanes.queued() == 0;
        if at_rest && self.intake.free() != CREDIT_RECORDS { Err(Violation::CreditsLost) } else { Ok(()) }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.works.is_empty() || !self.answers.is_empty() || self.lanes.queued() > 0
    }
}

pub(crate) fn answer(item: &Item, settled: bool) -> Answer {
    Answer { slot: item.slot, epoch: item.epoch, offset: item.record.offset, settled }
}
