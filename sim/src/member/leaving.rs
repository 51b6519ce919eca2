//! Partitions that come and go at a member: resumed from their commit, drained and committed before they leave, given up
//! when lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::assignment::Assignment;
use delivery::member::hold::PauseCause;
use delivery::member::intake::Resume;
use delivery::member::membership::Membership;
use delivery::member::progress_codec;

use super::consumer::Phase;
use super::{Left, Member, Owned, Released, Step, TOPIC};
use crate::Sabotage;
use crate::history::{Tenure, Violation};

/// What was started of a leaving partition may finish for so long.
const DRAIN: Duration = Duration::from_millis(1_200);
/// The same once the whole member has drained.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);
/// A final commit that is not answered by then is given up.
const FINAL_COMMIT_DEADLINE: Duration = Duration::from_secs(2);
/// Between attempts at a final commit that was refused.
const FINAL_COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// A whole member that leaves waits so long for its last commit after the deadline of its drain.
const LAST_COMMIT_PATIENCE: Duration = Duration::from_secs(3);
/// Leaving the group is given up after so long.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);

/// Partitions on their way out.
#[derive(Debug)]
pub(super) struct Leaving {
    partitions: Vec<usize>,
    slots: Vec<u32>,
    deadline: Instant,
    committing_until: Option<Instant>,
    next_commit: Instant,
}

/// The whole member on its way out.
#[derive(Debug)]
pub(super) struct Draining {
    deadline: Instant,
    left_at: Option<Instant>,
}

impl Member {
    /// A partition comes, with what the broker has of it.
    pub(super) fn assigned(&mut self, tenure: Tenure, left: Left, step: &mut Step<'_>) {
        let (slot, epoch) = self.intake.assign(TOPIC, i32::try_from(tenure.partition).unwrap_or(0));
        if self.is(Sabotage::PauseForgotten) {
            self.intake.pause_topic(TOPIC, PauseCause::Operator, false);
        }
        self.pace.restless(step.now);
        let Left { committed, note, known } = left;
        let is_committed = committed.is_some();
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
        // What cannot be read is handled again. Where nothing is committed there is nothing to go on from.
        if is_committed {
            let _ = self.intake.resume(slot, &resume);
        }
        self.recall(slot, note, step);
        let assignment = Assignment::new(TOPIC.into(), i32::try_from(tenure.partition).unwrap_or(0), slot, epoch);
        let assignment = Arc::new(assignment);
        let owned = Owned {
            tenure,
            slot,
            epoch,
            assignment,
            position: offset,
            known,
            settled: Vec::new(),
            answered: Vec::new(),
            paused: false,
        };
        self.owned.insert(tenure.partition, owned);
    }

    /// Others have them already, or will have them: nothing is committed, and whatever is still answered is stale.
    pub(super) fn lost(&mut self, step: &mut Step<'_>) {
        step.history.report.losses += 1;
        for owned in self.owned.values() {
            step.history.lost(owned.tenure);
        }
        self.pace.restless(step.now);
        let partitions: Vec<usize> = self.owned.keys().copied().collect();
        if self.is(Sabotage::CommitOnLost) {
            return self.begin_leaving(partitions, step);
        }
        self.leaving.clear();
        for partition in partitions {
            self.end(partition, step);
        }

        self.outbox.rejoins = true;
    }

    /// Gives everything up and joins the group anew, with another client.
    pub(crate) fn restart(&mut self, step: &mut Step<'_>) {
        self.leaving.clear();
        for partition in self.owned.keys().copied().collect::<Vec<_>>() {
            self.end(partition, step);
        }

        self.pace.forget();
        self.inbox.clear();
        self.commit_answers.clear();
        self.note_answers.clear();
        self.note_pace.forget();
        self.membership = Membership::new(step.now);
        self.phase = Phase::Lease;
    }

    /// Nothing more of them is started; what was started may finish until the deadline.
    pub(super) fn begin_leaving(&mut self, partitions: Vec<usize>, step: &mut Step<'_>) {
        let now = step.now;
        let mut slots = Vec::new();
        for partition in &partitions {
            let Some(owned) = self.owned.get_mut(partition) else { continue };
            owned.assignment.close();
            self.intake.leave(owned.slot);
            slots.push(owned.slot);
        }
        self.lease.changed();
        self.pace.restless(now);
        let waited = self.draining.as_ref().is_some_and(|draining| draining.left_at.is_some());
        let deadline = now + if waited { LEAVE_PATIENCE } else { DRAIN };
        let leaving = Leaving { partitions, slots, deadline, committing_until: None, next_commit: now };
        self.leaving.push(leaving);
    }

    /// Brings partitions that leave further: drained, then committed, then released.
    pub(super) fn advance_leaving(&mut self, step: &mut Step<'_>) -> Result<(), Violation> {
        let now = self.now_of_turn;
        for mut leaving in std::mem::take(&mut self.leaving) {
            let unsettled: usize = leaving.slots.iter().map(|slot| self.intake.in_flight(*slot)).sum();
            let drained = unsettled == 0 || self.is(Sabotage::ReleasedWithoutDrain);
            if leaving.committing_until.is_none() && (drained || now >= leaving.deadline) {
                leaving.committing_until = Some(now + FINAL_COMMIT_DEADLINE);
                leaving.next_commit = now;
            }
            let Some(until) = leaving.committing_until else {
                self.leaving.push(leaving);
                continue;
            };
            let uncommitted = !leaving.slots.iter().all(|slot| self.is_said(*slot));
            let uncommitted = uncommitted && !self.is(Sabotage::ReleasedWithoutCommit);
            if uncommitted && now < until {
                if now >= leaving.next_commit {
                    leaving.next_commit = now + FINAL_COMMIT_PAUSE;
                    self.commit(Some(&leaving.slots), step)?;
                }
                self.leaving.push(leaving);
                continue;
            }
            for partition in leaving.partitions {
                self.release(partition, drained && !uncommitted, step);
            }
        }
        self.advance_drain(now);
        Ok(())
    }

    fn advance_drain(&mut self, now: Instant) {
        let drained = self.intake.in_flight_in_all() == 0;
        let committed = self.intake.slots().into_iter().all(|slot| self.is_said(slot));
        let free = self.owned.is_empty() && self.leaving.is_empty();
        let Some(draining) = &mut self.draining else { return };
        if let Some(left) = draining.left_at {
            self.outbox.gone = free || now.saturating_duration_since(left) > LEAVE_DEADLINE;
        } else if self.leaving.is_empty()
            && (drained || now >= draining.deadline)
            && (committed || now >= draining.deadline + LAST_COMMIT_PATIENCE)
        {
            draining.left_at = Some(now);
            self.outbox.leaves = true;
        }
    }

    fn release(&mut self, partition: usize, clean: bool, step: &mut Step<'_>) {
        let Some(owned) = self.end(partition, step) else { return };
        let working = self.handler.works_on(owned.tenure);
        self.outbox.released.push(Released { owned, clean, working });
    }

    fn end(&mut self, partition: usize, step: &mut Step<'_>) -> Option<Owned> {
        let owned = self.owned.remove(&partition)?;
        self.intake.end(owned.slot);
        owned.assignment.end();
        self.lease.changed();
        step.history.ended(owned.tenure);
        Some(owned)
    }

    /// It is told to stop: nothing more is read, what is there may finish for so long, and then it leaves.
    pub(crate) fn stop(&mut self, now: Instant, patience: Duration) {
        if self.draining.is_none() {
            self.draining = Some(Draining { deadline: now + patience, left_at: None });
        }
    }
}
