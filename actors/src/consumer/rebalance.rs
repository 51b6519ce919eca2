//! Partitions that come and go: resumed from their commit, drained and committed before they leave, given up when lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::poll::{Draining, Leaving, PollLoop, Then};
use crate::handler::Sweep;
use crate::journal::{Change, DrainTimedOut, ProgressUnread};
use crate::kafka::{PartitionOffset, SourceError, TopicPartition};
use crate::status::ConsumerState;
use delivery::assignment::Assignment;
use delivery::member::intake::Resume;

/// A final commit that is not answered by then is given up: its records are repeated.
const FINAL_COMMIT_DEADLINE: Duration = Duration::from_secs(2);
/// A whole member that leaves waits so long after the deadline of its drain for what it has settled to be committed or
/// noted, and for a rebalance that waits for somebody else: to leave in its middle is to undo it. The coordinator hears of it
/// when the rebalance is over, before anybody got what it brought, and it begins anew.
const GROUP_PATIENCE: Duration = Duration::from_secs(2);
/// Between attempts at a final commit that was refused.
const FINAL_COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// While partitions leave, what is not started of them is given up so often.
const SWEEP_INTERVAL: Duration = super::poll::EVENTS_INTERVAL;
/// The broker is asked so long for what was committed. Without an answer, what was settled above the committed offsets
/// is handled again; meanwhile nothing else goes on here, so it is short.
const COMMITTED_WAIT: Duration = Duration::from_secs(2);
/// Leaving the group is given up after so long; the broker then notices by the session timeout.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);

impl PollLoop {
    pub(super) fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        for TopicPartition { topic, partition } in partitions {
            let (slot, epoch) = self.intake.assign(topic, *partition);
            let assignment = Assignment::new(topic.as_str().into(), *partition, slot, epoch);
            if let Some(before) = self.assignments.insert(slot, Arc::new(assignment)) {
                before.end();
                self.parts.lease.changed();
            }
        }
        self.last = None;
        self.waits_for_the_group = false;
        self.pace.restless(Instant::now());
        self.resume(partitions);
        self.recall(partitions);
        self.source.accept(partitions)?;
        if self.draining.is_none() {
            self.state = ConsumerState::Assigned;
            self.restarts = 0;
        }
        self.journal_rebalance(Change::Assigned, partitions);
        self.write_status();
        Ok(())
    }

    /// Reads what was settled above the committed offsets, so that it is not handled again.
    pub(super) fn resume(&mut self, partitions: &[TopicPartition]) {
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
    pub(super) fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), SourceError> {
        self.pace.restless(Instant::now());
        self.leaving.retain(|leaving| !leaving.partitions.iter().any(|leaving| partitions.contains(leaving)));
        self.end(partitions);
        self.source.release(partitions)?;
        self.sweep();
        self.journal_rebalance(Change::Lost, partitions);
        self.write_status();
        Ok(())
    }

    /// Nothing more of them is started; what was started may finish until the deadline.
    pub(super) fn begin_leaving(&mut self, partitions: Vec<TopicPartition>, patience: Duration) {
        let slots: Vec<u32> = partitions.iter().filter_map(|at| self.intake.slot_of(&at.topic, at.partition)).collect();
        for slot in &slots {
            self.intake.leave(*slot);
            if let Some(assignment) = self.assignments.get(slot) {
                assignment.close();
            }
        }
        let now = Instant::now();
        self.pace.restless(now);
        self.leaving.push(Leaving {
            partitions,
            slots,
            deadline: now + patience,
            committing_until: None,
            next_commit: now,
            next_sweep: now,
        });
    }

    /// Has the handlers look again at what they hold. Tried again at the next turn where the router's mailbox is full.
    pub(super) fn sweep(&mut self) {
        self.sweep_wanted = self.parts.sweep.try_send(Sweep).is_err();
        if self.sweep_wanted {
            self.check_router();
        }
    }

    /// Brings partitions that leave further: drained, then committed, then released.
    pub(super) fn advance_leaving(&mut self, now: Instant) -> Result<(), SourceError> {
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
            let said = leaving.slots.iter().all(|slot| self.is_said(*slot, now));
            if !said && now < until {
                if now >= leaving.next_commit {
                    leaving.next_commit = now + FINAL_COMMIT_PAUSE;
                    self.commit(|slot| leaving.slots.contains(&slot));
                }
                self.leaving.push(leaving);
                continue;
            }
            self.end(&leaving.partitions);
            // What is still in hand is cancelled: the next owner begins it anew.
            self.sweep();
            self.source.release(&leaving.partitions)?;
            self.journal_rebalance(Change::Revoked, &leaving.partitions);
            self.write_status();
        }
        let said = self.intake.slots().iter().all(|slot| self.is_said(*slot, now));
        if let Some(draining) = &mut self.draining
            && self.leaving.is_empty()
            && draining.left_at.is_none()
            && (self.intake.in_flight_in_all() == 0 || now >= draining.deadline)
            // Once it has asked to leave, the group takes nothing of it any more.
            && (said && !self.waits_for_the_group || now >= draining.deadline + GROUP_PATIENCE)
        {
            draining.left_at = Some(now);
            self.source.leave();
        }
        Ok(())
    }

    pub(super) fn is_leaving(&self, slot: u32) -> bool {
        self.leaving.iter().any(|leaving| leaving.slots.contains(&slot))
    }

    pub(super) fn end(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            let Some(slot) = self.intake.slot_of(&at.topic, at.partition) else { continue };
            self.intake.end(slot);
            if let Some(assignment) = self.assignments.remove(&slot) {
                assignment.end();
            }
        }
        self.parts.lease.changed();
        self.last = None;
    }

    /// Intake stops. What is in the lanes is finished up to the deadline; then the member leaves, and leaving gives up
    /// whatever is not started.
    pub(super) fn begin_drain(&mut self, patience: Duration, then: Then) {
        self.state = ConsumerState::Draining;
        let mut draining = Draining { deadline: Instant::now() + patience, left_at: None, then };
        if let Some(begun) = self.draining.take() {
            (draining.deadline, draining.left_at) = (begun.deadline.min(draining.deadline), begun.left_at);
            if let Then::JoinAgain(report) | Then::StayOut(report) = begun.then {
                report.failed("the service ends");
            }
        }
        self.draining = Some(draining);
        self.write_status();
    }

    pub(super) fn has_left(&self) -> bool {
        self.draining
            .as_ref()
            .and_then(|draining| draining.left_at)
            .is_some_and(|left| self.is_free() || left.elapsed() > LEAVE_DEADLINE)
    }

    /// Whether nothing is assigned and nothing is on its way out.
    pub(super) fn is_free(&self) -> bool {
        self.source.is_unassigned() && self.leaving.is_empty()
    }
}
