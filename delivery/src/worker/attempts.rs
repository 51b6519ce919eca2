//! What becomes of an attempt that ended: settled, tried again, or dead-lettered?

use std::time::Duration;

use super::calls::{Call, CallId, Run};
use super::item::{Routed, Stage};
use super::lanes::LaneId;
use super::timers::Due;
use super::{CallEnd, Effect, EndedAttempt, Id, Worker};
use crate::now::{Now, nanos};
use crate::outcome::{ErrorKind, HandlerError, HandlerResult, Outcome};
use crate::sabotage::{self, Sabotage};

/// What becomes of a record whose attempt failed.
enum Fate {
    /// It runs again as soon as it may, and the attempt does not count.
    Uncounted,
    /// It runs again after its backoff.
    Backoff,
    /// It was its last attempt: a dead letter.
    Bury,
    /// It was its last attempt, and the breaker is about to know whose fault that is.
    Hold,
}

impl<R: Routed> Worker<R> {
    /// A call ended. One that comes when there is no lease any more (the process was frozen in the very call) waits until
    /// this member is known to have its partitions still, or is forgotten.
    pub fn call_ended(&mut self, now: &Now, id: CallId, end: CallEnd) {
        if !self.may_act(now) {
            return self.late.push((id, end));
        }
        let Some(call) = self.calls.end(id) else {
            return;
        };
        self.working_on = call.records.first().copied();
        let duration = now.since(call.began_ns);
        match end {
            CallEnd::Answered(results) => self.answered(now, &call, results, duration),
            CallEnd::Panicked(cause) => {
                if self.present.panicked(call.generation) {
                    self.effects.push_back(Effect::DropHandler { panicked: Some(cause.clone()) });
                }
                self.all_failed(now, &call, &HandlerError::new(ErrorKind::Panic, cause), duration);
            }
        }
        self.call_is_over(now, &call);
        self.working_on = None;
    }

    /// Cancels calls that have reached their deadline. What they worked on has failed in this attempt.
    pub(crate) fn cancel_overdue(&mut self, now: &Now) {
        let deadline = self.policy.deadline;
        while let Some((id, call)) = self.calls.oldest()
            && now.since(call.began_ns) >= deadline
            && !sabotage::is(Sabotage::DeadlineIgnored)
        {
            let Some(call) = self.calls.end(id) else { break };
            if sabotage::is(Sabotage::CancelledCallSettles) {
                let items = call.records.iter().filter_map(|id| self.lanes.get(*id));
                self.answers.extend(items.map(|item| item.answer(true)));
            }
            self.effects.push_back(Effect::Cancel(id));
            let error = HandlerError::new(ErrorKind::Timeout, format!("no answer within {deadline:?}"));
            self.all_failed(now, &call, &error, deadline);
            self.call_is_over(now, &call);
        }
    }

    /// A call is in flight no more: the breaker may know more by that.
    pub(crate) fn call_is_over(&mut self, now: &Now, call: &Call) {
        if call.probes.is_some() && call.probes == self.breaker.opening() {
            self.breaker.probe_failed(now, self.rng.unit());
        }
        if self.breaker.may_open() {
            if !self.breaker.is_open() && self.breaker.is_conclusive(self.calls.numbers().0) {
                self.open(now, "events of different keys fail, and none is handled".to_owned());
            }
        } else if !self.held.is_empty() {
            self.release_held();
        }
    }

    fn answered(&mut self, now: &Now, call: &Call, results: Run<HandlerResult>, duration: Duration) {
        if results.iter().any(Result::is_ok) && self.breaker.succeeded() {
            self.effects.push_back(Effect::BreakerClosed);
        }
        // Nearly always it is one, and then most of what is below need not be done.
        if let ([id], [result]) = (&call.records[..], &results[..])
            && let (Ok(done), Some(lane)) = (result, self.lanes.lane_of(*id))
        {
            self.settle(*id, (*done).into(), duration, None);
            return self.lanes.release(lane);
        }
        let mut rest = call.records.iter().copied().zip(results).peekable();
        while let Some((id, result)) = rest.next() {
            let Some(lane) = self.lanes.lane_of(id) else { continue };
            let error = match result {
                Ok(done) => {
                    self.settle(id, done.into(), duration, None);
                    if rest.peek().is_none_or(|(next, _)| self.lanes.lane_of(*next) != Some(lane)) {
                        self.lanes.release(lane);
                    }
                    continue;
                }
                Err(error) => error,
            };
            // The first failure of a lane. Whatever of the lane is done behind it is done; the rest waits with it.
            let mut followers = Run::new();
            while let Some((id, result)) = rest.next_if(|(next, _)| self.lanes.lane_of(*next) == Some(lane)) {
                match result {
                    Ok(done) => self.settle(id, done.into(), duration, None),
                    Err(_) => followers.push(id),
                }
            }
            self.fail(now, (lane, id), error, duration, followers, false);
        }
    }

    /// All records of a call failed together.
    fn all_failed(&mut self, now: &Now, call: &Call, error: &HandlerError, duration: Duration) {
        let in_company = call.records.len() > 1;
        let mut rest = call.records.iter().copied().peekable();
        while let Some(id) = rest.next() {
            let Some(lane) = self.lanes.lane_of(id) else { continue };
            let followers: Run<Id> =
                std::iter::from_fn(|| rest.next_if(|next| self.lanes.lane_of(*next) == Some(lane))).collect();
            self.fail(now, (lane, id), error.clone(), duration, followers, in_company);
        }
    }

    /// An attempt failed. Its lane waits, the followers behind it. Of what failed in company no one knows whose fault it was:
    /// each is tried alone.
    pub(crate) fn fail(
        &mut self,
        now: &Now,
        (lane, id): (LaneId, Id),
        error: HandlerError,
        duration: Duration,
        followers: Run<Id>,
        in_company: bool,
    ) {
        let fate = self.fate(now, id, &error, in_company);
        for follower in &followers {
            if let Some(item) = self.lanes.get_mut(*follower) {
                item.stage = Stage::Queued;
                item.runs_alone |= in_company;
            }
        }
        if matches!(fate, Fate::Bury) {
            return self.bury(now, lane, id, error, duration, followers);
        }
        if matches!(fate, Fate::Hold) {
            return self.hold(lane, id, error, duration, followers);
        }
        let Some(item) = self.lanes.get_mut(id) else { return };
        let number = item.attempts + 1;
        item.stage = Stage::Queued;
        let counts = matches!(fate, Fate::Backoff);
        item.attempts += u32::from(counts);
        let wait = self.lanes.put_back(lane, std::iter::once(id).chain(followers));
        if counts {
            let pause = self.policy.retry.pause(number, self.rng.unit());
            self.timers.set(now.ns + nanos(pause), Due::Backoff(lane, wait));
        } else {
            self.lanes.resume(lane, wait);
        }
        self.told.push(EndedAttempt { id, outcome: Outcome::Retry, number, duration, error: Some(error.message) });
    }

    fn fate(&mut self, now: &Now, id: Id, error: &HandlerError, in_company: bool) -> Fate {
        let streak = self.breaker.troubled();
        let Some(item) = self.lanes.get_mut(id) else { return Fate::Uncounted };
        if item.first_failure_us == 0 {
            item.first_failure_us = now.wall_us;
        }
        item.runs_alone = true;
        if in_company {
            return Fate::Uncounted;
        }
        let first = item.failed.map_or(streak, |(first, _)| first);
        item.failed = Some((first, streak));
        let is_last = !self.policy.retry.allows(item.attempts + 1);
        let suspect = item.suspect();
        if self.breaker.is_open() && !sabotage::is(Sabotage::DeadLetteredWhileOpen) {
            return Fate::Uncounted;
        }
        match error.kind {
            ErrorKind::Unavailable if sabotage::is(Sabotage::UnavailableCounts) => return Fate::Bury,
            ErrorKind::Unavailable => {
                self.open(now, format!("unavailable: {error}"));
                return Fate::Uncounted;
            }
            ErrorKind::Transient if !is_last => return Fate::Backoff,
            ErrorKind::Panic | ErrorKind::Timeout | ErrorKind::Transient => {}
            ErrorKind::Permanent | ErrorKind::Undecodable | ErrorKind::Invalid => return Fate::Bury,
        }
        let (oldest_call, next_call) = self.calls.numbers();
        self.breaker.suspect(suspect, first, next_call);
        if self.breaker.is_conclusive(oldest_call) {
            self.open(now, format!("events of different keys fail, and none is handled: {error}"));
            return Fate::Uncounted;
        }
        match is_last {
            false => Fate::Backoff,
            true if self.breaker.may_open() && first == streak => Fate::Hold,
            true => Fate::Bury,
        }
    }

    /// The breaker opens: whatever waits for its next attempt waits for a probe instead.
    fn open(&mut self, now: &Now, cause: String) {
        if let Some(probe_in) = self.breaker.open(now, cause.clone()) {
            self.opened(cause, probe_in);
        }
    }

    pub(crate) fn opened(&mut self, cause: String, probe_in: Duration) {
        for (lane, wait) in self.timers.end_backoffs() {
            self.lanes.resume(lane, wait);
        }
        self.take_back_held();
        self.effects.push_back(Effect::BreakerOpened { cause, probe_in });
    }

    /// The record needs nothing more.
    #[inline]
    pub(crate) fn settle(&mut self, id: Id, outcome: Outcome, duration: Duration, error: Option<String>) {
        let Some(item) = self.lanes.get_mut(id) else { return };
        // A failed attempt is counted already; one that went well is the next.
        let number = if error.is_some() { item.attempts } else { item.attempts + 1 };
        item.stage = Stage::Ended;
        if !sabotage::is(Sabotage::FailedNotAnswered) || item.failed.is_none() {
            self.answers.push(item.answer(true));
        }
        self.told.push(EndedAttempt { id, outcome, number, duration, error });
    }
}
