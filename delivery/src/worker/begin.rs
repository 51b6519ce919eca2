//! What begins now: which records go into the next call?

use std::time::Duration;

use super::calls::{Call, CallId, Run};
use super::item::{Item, Routed, Stage};
use super::lanes::LaneId;
use super::{Id, Worker};
use crate::now::Now;
use crate::outcome::{ErrorKind, HandlerError};
use crate::sabotage::{self, Sabotage};

/// By sabotage, a call that takes longer keeps others from being started.
const SLOW: Duration = Duration::from_millis(300);

impl<R: Routed> Worker<R> {
    /// Begins the next call, if one may begin: the driver calls the handler with the events that `decode` gave it, in their
    /// order, and says [`call_ended`](Self::call_ended). `decode` gets a record and the number of its attempt; one that is
    /// refused becomes a dead letter.
    pub fn begin(&mut self, now: &Now, mut decode: impl FnMut(&R, u32) -> Result<(), HandlerError>) -> Option<CallId> {
        let generation = self.present.generation()?;
        if !self.may_act(now) || self.calls.len() >= self.policy.max_calls {
            return None;
        }
        let is_slow = |(_, call): (CallId, &Call)| now.since(call.began_ns) > SLOW;
        if sabotage::is(Sabotage::SlowCallBlocksOthers) && self.calls.oldest().is_some_and(is_slow) {
            return None;
        }
        let (lane, first) = self.next_record(now, false, &mut decode)?;
        let probes = self.breaker.opening();
        let mut records = Run::from_buf([first]);
        let alone = probes.is_some() || self.lanes.get(first).is_some_and(|item| item.runs_alone);
        let most = if alone { 1 } else { self.policy.max_events_per_call };
        if most > 1 {
            self.join_followers(lane, most, &mut records, &mut decode);
            while records.len() < most
                && let Some((lane, record)) = self.next_record(now, true, &mut decode)
            {
                records.push(record);
                self.join_followers(lane, most, &mut records, &mut decode);
            }
        }
        for id in &records {
            if let Some(item) = self.lanes.get_mut(*id) {
                item.stage = Stage::Started;
            }
        }
        if probes.is_some() {
            self.breaker.probing();
        }
        self.working_on = None;
        Some(self.calls.begin(Call { generation, began_ns: now.ns, probes, records }))
    }

    /// The next record that may run, decoded. Those that cannot run are dealt with on the way.
    #[inline]
    fn next_record(
        &mut self,
        now: &Now,
        with_others: bool,
        decode: &mut impl FnMut(&R, u32) -> Result<(), HandlerError>,
    ) -> Option<(LaneId, Id)> {
        while let Some(id) = self.start(now) {
            let (Some(item), Some(lane)) = (self.lanes.get(id), self.lanes.lane_of(id)) else { continue };
            if !item.record.assignment().is_open() {
                self.give_up_started(lane, id);
                continue;
            }
            self.working_on = Some(id);
            if !self.policy.retry.allows(item.attempts) {
                // Its driver panicked over it in its last attempt.
                let error = format!("the actor around its handler {}", self.driver_panicked);
                self.bury(now, lane, id, HandlerError::new(ErrorKind::Panic, error), Duration::ZERO, Run::new());
                continue;
            }
            if with_others && item.runs_alone {
                self.lanes.unstart(id);
                return None;
            }
            match decode(&item.record, item.attempts + 1) {
                Ok(()) => return Some((lane, id)),
                Err(error) => {
                    self.fail(now, (lane, id), error, Duration::ZERO, Run::new(), false);
                    self.breaker.probe_failed(now, self.rng.unit());
                }
            }
        }
        None
    }

    /// Takes the first record of a lane that may run now.
    #[inline]
    fn start(&mut self, now: &Now) -> Option<Id> {
        if !self.breaker.is_open() || sabotage::is(Sabotage::HalfOpenLetsAllThrough) {
            return self.lanes.start();
        }
        if !self.breaker.may_probe(now) {
            return None;
        }
        let streak = self.breaker.streak();
        let may_be_tried = |item: &Item<R>| self.policy.retry.allows(item.attempts);
        // One that has not failed since the last success shows most. When all have, one more is asked for.
        self.lanes.start_where(|item| may_be_tried(item) && !item.failed_last_in(streak)).or_else(|| {
            if !self.is_asking && !sabotage::is(Sabotage::NeverReadsOn) {
                self.is_asking = true;
                self.asked += 1;
            }
            self.lanes.start_where(may_be_tried)
        })
    }

    /// Takes more records of a lane into the call, as long as they can run with it.
    fn join_followers(
        &mut self,
        lane: LaneId,
        most: usize,
        records: &mut Run<Id>,
        decode: &mut impl FnMut(&R, u32) -> Result<(), HandlerError>,
    ) {
        while records.len() < most {
            let joins = |item: &Item<R>| {
                let may_run = !item.runs_alone && item.attempts == 0 && item.record.assignment().is_open();
                may_run && decode(&item.record, 1).is_ok()
            };
            let Some(id) = self.lanes.join(lane, joins) else { break };
            records.push(id);
        }
    }
}
