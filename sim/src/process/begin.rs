//! What the handler's actor does when it is woken: it sweeps, revives, cancels, takes what has ended, and begins what may run.

use std::collections::HashSet;
use std::time::Duration;

use super::attempts::{DEADLINE, End, InHand, MAX_ATTEMPTS};
use super::handler::{Handler, Item, LANES_AT_ONCE};
use super::step::Step;
use crate::Sabotage;
use crate::history::{Nature, Violation};

/// Of a hundred calls to a handler in good health, while there are faults.
const PANICKING_PERCENT: u64 = 3;
const HANGING_PERCENT: u64 = 2;
const FAILING_PERCENT: u64 = 20;
/// By sabotage, whoever works for longer than this keeps others from being started.
const OLD: Duration = Duration::from_millis(300);
/// So many of a hundred failures are transient.
const TRANSIENT_PERCENT: u64 = 80;

impl Handler {
    /// Does some of what can be done now.
    pub(crate) fn advance(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let changes = self.lease.changes();
        if std::mem::replace(&mut self.changes, changes) != changes {
            self.assignments_changed(step);
        }
        // To make a handler is to act on nothing that this member holds.
        self.revive(step)?;
        if !self.may_act(step) {
            return Ok(());
        }
        self.cancel_hung(step)?;
        self.revive(step)?;
        self.end_some(step)?;
        for _ in 0..step.rng.below(5) {
            self.revive(step)?;
            if !self.may_begin() {
                break;
            }
            let Some(generation) = self.life.handler() else { break };
            self.start(generation, step)?;
        }
        Ok(())
    }

    /// Whether this member may still start and finish things.
    pub(super) fn may_act(&self, step: &Step<'_>) -> bool {
        self.lease.holds(step.now) || self.is(Sabotage::LeaseIgnored)
    }

    fn may_begin(&self) -> bool {
        let tried = self.life.on_trial() && !self.is(Sabotage::TrialLetsAllThrough);
        let present = self.life.handler();
        present.is_some() && !(tried && self.in_hand.iter().any(|in_hand| Some(in_hand.generation) == present))
    }

    /// Starts the next event that may run.
    fn start(&mut self, generation: u32, step: &mut Step<'_>) -> Result<(), Violation> {
        if self.is(Sabotage::HungBlocksOthers) && self.in_hand.iter().any(|in_hand| in_hand.began + OLD < step.now) {
            return self.check_idle();
        }
        let Some((lane, item)) = self.lanes.start() else { return self.check_idle() };
        if !item.assignment.is_open() {
            self.answers.push(item.answer(self.is(Sabotage::GivenUpAsSettled)));
            self.lanes.release(lane);
            return Ok(());
        }
        let (partition, offset) = (item.tenure.partition, item.record.offset);
        let same_key = |other: &Item| other.tenure == item.tenure && other.record.key == item.record.key;
        let busy = self.in_hand.iter().any(|in_hand| same_key(&in_hand.item))
            || self.waits.iter().any(|wait| wait.is_letter() && same_key(&wait.item));
        if busy {
            return Err(Violation::TwoOfAKey(partition, offset));
        }
        let others = self.in_hand.iter().filter(|in_hand| in_hand.generation == generation);
        if self.life.on_trial() && others.count() > 0 {
            return Err(Violation::TwoOnTrial(partition, offset));
        }
        step.history.start(item.tenure, item.record, MAX_ATTEMPTS)?;
        let (end, takes) = self.fate(&item, step);
        self.in_hand.push(InHand { generation, began: step.now, lane, item, end, ends: takes.map(|it| step.now + it) });
        if self.is(Sabotage::LaneReleasedAtTheStart) {
            self.lanes.release(lane);
        }
        Ok(())
    }

    /// Nothing can be started: whatever is here waits behind something of its own key, or as many run as may.
    fn check_idle(&mut self) -> Result<(), Violation> {
        if self.lanes.running() >= LANES_AT_ONCE {
            return Ok(());
        }
        let key = |item: &Item| (item.tenure.partition, item.record.key);
        let busy: HashSet<_> = self
            .in_hand
            .iter()
            .map(|in_hand| key(&in_hand.item))
            .chain(self.waits.iter().map(|wait| key(&wait.item)))
            .collect();
        let free = self.lanes.items_mut().find(|item| !busy.contains(&key(item)));
        free.map_or(Ok(()), |item| Err(Violation::Blocked(item.tenure.partition, item.record.offset)))
    }

    /// How a call will end, and after how long, if ever.
    fn fate(&self, item: &Item, step: &mut Step<'_>) -> (End, Option<Duration>) {
        // Some are slow, but not too slow for the deadline.
        let slow = if step.rng.percent(15) { usize::try_from(DEADLINE.as_millis()).unwrap_or(0) - 1 } else { 150 };
        let takes = Some(Duration::from_millis(step.rng.below(slow) as u64));
        let (luck, faults) = (step.rng.next() % 100, step.faults);
        let end = match item.record.nature {
            _ if step.now < self.broken_until => End::Panics,
            Nature::Poison => End::Panics,
            Nature::Hangs => return (End::Done, None),
            Nature::Harmless if !faults => End::Done,
            Nature::Harmless if luck < PANICKING_PERCENT => End::Panics,
            Nature::Harmless if luck < PANICKING_PERCENT + HANGING_PERCENT => {
                // It would answer, but long after its deadline.
                return (End::Done, step.rng.percent(50).then_some(DEADLINE * 2));
            }
            Nature::Harmless if luck < PANICKING_PERCENT + HANGING_PERCENT + FAILING_PERCENT => {
                End::Fails { transient: step.rng.percent(TRANSIENT_PERCENT) }
            }
            Nature::Harmless => End::Done,
        };
        (end, takes)
    }
}
