//! A member of the group: the product's own decisions, joined as the consumer's thread and the handler's actor join them.

mod commits;
mod consumer;
mod handler;
mod leaving;
mod notes;
mod reading;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::answer::Answer;
use delivery::assignment::Assignment;
use delivery::lease::Lease;
use delivery::member::commit_pace::CommitPace;
use delivery::member::intake::Intake;
use delivery::member::membership::Membership;
use delivery::member::progress_codec;

use crate::Sabotage;
use crate::history::{History, Known, Tenure, Violation};
use crate::rng::Rng;
pub(crate) use commits::{CommitAnswer, CommitRequest};
use consumer::Phase;
pub(crate) use handler::{Handler, Item, POLICY};
use leaving::{Draining, Leaving};
pub(crate) use notes::together;

pub(crate) const CREDIT_RECORDS: usize = 24;
pub(crate) const TOPIC: &str = "t";
const CREDIT_BYTES: usize = 1_000_000;
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
const NOTE_INTERVAL: Duration = Duration::from_millis(20);

/// What a member works with at a step.
pub(crate) struct Step<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut Rng,
    pub(crate) history: &'a mut History,
    /// Whether anything fails.
    pub(crate) faults: bool,
}

/// A partition that this member owns, as far as it knows.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) tenure: Tenure,
    slot: u32,
    epoch: u32,
    /// Whether its records may be started and finished.
    assignment: Arc<Assignment>,
    /// Next offset to fetch.
    position: i64,
    /// What was committed when it came.
    known: Known,
    /// What this assignment settled, for the check of a clean leave.
    pub(crate) settled: Vec<i64>,
    /// What of it was answered: the next commit says it.
    answered: Vec<i64>,
    /// Whether the source was told to fetch nothing.
    paused: bool,
}

/// What earlier owners of a partition left at the broker.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// What the group has.
    pub(crate) committed: Option<(i64, String)>,
    /// What was noted beside it.
    pub(crate) note: Option<(i64, String)>,
    /// What both say, where they go together.
    pub(crate) known: Known,
}

/// What the group tells a member.
#[derive(Clone, Debug)]
pub(crate) enum GroupEvent {
    /// Partitions come, each with what the broker has of it.
    Assigned { partitions: Vec<(Tenure, Left)> },
    /// Partitions are to be given away.
    Revoked { partitions: Vec<usize> },
    /// All is another's, or will be.
    Lost,
}

/// A partition that a member gave away.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) owned: Owned,
    /// All was answered and committed, as far as the member knows.
    pub(crate) clean: bool,
    /// Whether any of it was still worked on.
    pub(crate) working: bool,
}

/// What a member does to the world.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) commits: Vec<CommitRequest>,
    pub(crate) notes: Vec<CommitRequest>,
    pub(crate) released: Vec<Released>,
    /// It heard that it lost all, and joins again.
    pub(crate) rejoins: bool,
    /// It asks the group to let it go.
    pub(crate) leaves: bool,
    /// It is no more.
    pub(crate) gone: bool,
}

pub(crate) struct Member {
    number: usize,
    sabotage: Option<Sabotage>,
    max_metadata_bytes: usize,
    // What the consumer's thread has.
    phase: Phase,
    /// Read in the middle of a turn, for what comes after.
    now_of_turn: Instant,
    intake: Intake,
    owned: BTreeMap<usize, Owned>,
    membership: Membership,
    pace: CommitPace,
    note_pace: CommitPace,
    held: bool,
    leaving: Vec<Leaving>,
    draining: Option<Draining>,
    topic_paused: bool,
    // What lies between the threads, and between the member and the world.
    lease: Arc<Lease>,
    answers: VecDeque<Answer>,
    inbox: VecDeque<(Instant, GroupEvent)>,
    commit_answers: VecDeque<CommitAnswer>,
    note_answers: VecDeque<CommitAnswer>,
    pub(crate) outbox: Outbox,
    pub(crate) handler: Handler,
    // What the world does to it.
    /// Nothing of it runs, since when and until when.
    pub(crate) frozen: Option<(Instant, Instant)>,
    /// Its consumer's thread waits for something until then; all else goes on.
    pub(crate) stalled_until: Instant,
    /// It does not reach the broker until then.
    pub(crate) cut_until: Option<Instant>,
}

impl Member {
    pub(crate) fn new(
        number: usize,
        sabotage: Option<Sabotage>,
        max_metadata_bytes: usize,
        seed: u64,
        now: Instant,
    ) -> Self {
        let lease = Arc::new(Lease::new(now));
        // Whoever cuts off what does not fit believes that all fits.
        let unlimited = sabotage == Some(Sabotage::ProgressCutOff);
        let believed = if unlimited { progress_codec::MAX_METADATA_BYTES } else { max_metadata_bytes };
        Self {
            number,
            sabotage,
            max_metadata_bytes,
            phase: Phase::Lease,
            now_of_turn: now,
            intake: Intake::new(CREDIT_RECORDS, CREDIT_BYTES, believed).with_nonce(number as u64),
            owned: BTreeMap::new(),
            membership: Membership::new(now),
            pace: CommitPace::new(now, COMMIT_INTERVAL),
            note_pace: CommitPace::new(now, NOTE_INTERVAL),
            held: false,
            leaving: Vec::new(),
            draining: None,
            topic_paused: false,
            handler: Handler::new(number, &lease, seed, now),
            lease,
            answers: VecDeque::new(),
            inbox: VecDeque::new(),
            commit_answers: VecDeque::new(),
            note_answers: VecDeque::new(),
            outbox: Outbox::default(),
            frozen: None,
            stalled_until: now,
            cut_until: None,
        }
    }

    fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
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

    /// Whether it has answered all that the group told it. A client hears of one change at a time.
    pub(crate) fn has_answered(&self) -> bool {
        self.inbox.is_empty() && self.leaving.is_empty()
    }

    /// Whether it stands still.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Whether it is on its way out.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// What a member at rest owes: its credits are all there.
    pub(crate) fn check_rest(&self) -> Result<(), Violation> {
        if !self.is_busy() && self.intake.free() != CREDIT_RECORDS { Err(Violation::CreditsLost) } else { Ok(()) }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.answers.is_empty() || self.handler.is_busy()
    }

    /// The handler's actor does some of what it can do now.
    pub(crate) fn advance(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        self.handler.advance(step)?;
        for answer in self.handler.answers() {
            if answer.settled
                && let Some(owned) =
                    self.owned.values_mut().find(|owned| (owned.slot, owned.epoch) == (answer.slot, answer.epoch))
            {
                owned.settled.push(answer.offset);
            }
            self.answers.push_back(answer);
        }
        Ok(())
    }
}
