//! What of a worker's records is another member's now, and what becomes of that?

use super::calls::{Call, CallId};
use super::item::{Item, Routed, Stage};
use super::lanes::LaneId;
use super::{Effect, Id, Run, Worker};
use crate::now::Now;
use crate::sabotage::{self, Sabotage};

impl<R: Routed> Worker<R> {
    /// Looks at all it holds where an assignment was closed or ended since it looked last: what was not started of a closed
    /// one is given up, what was of an ended one is cancelled.
    pub(crate) fn look_for_moves(&mut self, now: &Now) {
        let changes = self.lease.changes();
        if std::mem::replace(&mut self.changes, changes) == changes {
            return;
        }
        for item in self.lanes.sweep(|item| !item.record.assignment().is_open()) {
            self.give_up(&item);
        }
        self.give_up_held();
        if !sabotage::is(Sabotage::MovedNotCancelled) {
            self.cancel_moved(now);
        }
    }

    /// Cancels calls that work on records which are another's now; what else they worked on goes back to its lane.
    fn cancel_moved(&mut self, now: &Now) {
        let moved = |id: &Id| self.lanes.get(*id).is_some_and(|item| item.record.assignment().has_ended());
        let calls: Vec<CallId> =
            self.calls.oldest_first().filter(|(_, call)| call.records.iter().any(moved)).map(|(id, _)| id).collect();
        for id in calls {
            let Some(call) = self.calls.end(id) else { continue };
            self.effects.push_back(Effect::Cancel(id));
            self.return_unmoved(&call);
            if call.probes.is_some() && call.probes == self.breaker.opening() {
                // It shows nothing.
                self.breaker.unprobed();
            }
            self.call_is_over(now, &Call { probes: None, ..call });
        }
    }

    fn return_unmoved(&mut self, call: &Call) {
        let mut rest = call.records.iter().copied().peekable();
        while let Some(first) = rest.next() {
            let Some(lane) = self.lanes.lane_of(first) else { continue };
            let mut kept = Run::new();
            let mut next = Some(first);
            while let Some(id) = next {
                let Some(item) = self.lanes.get_mut(id) else { break };
                if item.record.assignment().has_ended() {
                    if let Some(item) = self.lanes.remove(id) {
                        self.give_up(&item);
                    }
                } else {
                    item.stage = Stage::Queued;
                    kept.push(id);
                }
                next = rest.next_if(|next| self.lanes.lane_of(*next) == Some(lane));
            }
            let wait = self.lanes.put_back(lane, kept.into_iter());
            self.lanes.resume(lane, wait);
        }
    }

    /// A record that was just taken out of its lane is of a partition that leaves.
    pub(crate) fn give_up_started(&mut self, lane: LaneId, id: Id) {
        if let Some(item) = self.lanes.remove(id) {
            self.give_up(&item);
        }
        self.lanes.release(lane);
    }

    /// Its next owner handles it.
    pub(crate) fn give_up(&mut self, item: &Item<R>) {
        self.answers.push(item.answer(sabotage::is(Sabotage::GivenUpAsSettled)));
    }
}
