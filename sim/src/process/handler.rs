//! A handler's actor with its lanes, its calls and the handler that it keeps alive.

use std::sync::Arc;
use std::time::Instant;

use delivery::answer::Answer;
use delivery::assignment::Assignment;
use delivery::lease::Lease;
use delivery::worker::blame::Era;
use delivery::worker::lanes::{LaneKey, Lanes, Unkeyed};

use super::attempts::{InHand, Wait};
use super::life::Life;
use crate::Sabotage;
use crate::history::{Record, Tenure};

pub(super) const LANES_AT_ONCE: usize = 8;

/// A record on its way through the actor.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(super) tenure: Tenure,
    pub(super) record: Record,
    pub(super) assignment: Arc<Assignment>,
    pub(super) attempts: u32,
    pub(super) failed_in: Option<Era>,
}

impl Item {
    pub(crate) fn new(tenure: Tenure, record: Record, assignment: &Arc<Assignment>) -> Self {
        Self { tenure, record, assignment: Arc::clone(assignment), attempts: 0, failed_in: None }
    }

    pub(super) fn answer(&self, settled: bool) -> Answer {
        let Assignment { slot, epoch, .. } = *self.assignment;
        Answer { slot, epoch, offset: self.record.offset, settled }
    }
}

pub(crate) struct Handler {
    pub(super) number: usize,
    sabotage: Option<Sabotage>,
    pub(super) lease: Arc<Lease>,
    pub(super) answers: Vec<Answer>,
    pub(super) lanes: Lanes<Item>,
    pub(super) in_hand: Vec<InHand>,
    pub(super) waits: Vec<Wait>,
    pub(super) life: Life,
    /// How often assignments had changed when it looked last.
    pub(super) changes: u64,
    /// It panics at everything until then.
    pub(crate) broken_until: Instant,
}

impl Handler {
    pub(crate) fn new(number: usize, lease: &Arc<Lease>, sabotage: Option<Sabotage>, now: Instant) -> Self {
        Self {
            number,
            sabotage,
            lease: Arc::clone(lease),
            answers: Vec::new(),
            lanes: Lanes::new(LANES_AT_ONCE),
            in_hand: Vec::new(),
            waits: Vec::new(),
            life: Life::new(),
            changes: 0,
            broken_until: now,
        }
    }

    pub(super) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// A record comes, which may be of an assignment that is closed by now.
    pub(crate) fn arrive(&mut self, item: Item) {
        let lane =
            LaneKey::of(item.assignment.lane_seed, item.record.offset, Some(&[item.record.key]), Unkeyed::default());
        self.lanes.push(lane, item);
    }

    /// What it answered since it was asked last.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Whether what feeds it is to stop.
    pub(crate) fn pauses_its_topic(&self) -> bool {
        self.life.pauses_its_topic()
    }

    /// Whether its handler was given up, so that its process is to be told to stop.
    pub(crate) fn has_given_up(&self) -> bool {
        self.life.given_up
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.in_hand.is_empty() || !self.waits.is_empty() || !self.answers.is_empty() || self.lanes.queued() > 0
    }

    /// Whether something of a tenure is still worked on.
    pub(crate) fn works_on(&self, tenure: Tenure) -> bool {
        self.in_hand.iter().any(|in_hand| in_hand.item.tenure == tenure)
            || self.waits.iter().any(|wait| wait.is_letter() && wait.item.tenure == tenure)
    }
}
