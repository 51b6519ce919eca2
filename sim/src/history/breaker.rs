//! What is checked of handlers that fail: when a breaker opens, what it lets through, and when it closes.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use delivery::worker::CallId;
use delivery::worker::breaker::BreakerPolicy;

use super::{Edition, History, Tenure, Violation};
use crate::policy::POLICY;

/// How a call ended for one of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    /// It panicked or was cancelled at its deadline.
    AsIfBroken,
    /// The same, with others in the call.
    InCompany,
    Transient,
    Permanent,
    /// What the handler needs is away.
    Away,
    /// Its partition is another's.
    Moved,
}

type Event = (Tenure, Edition, i64);
/// A key of a partition, in whatever tenure.
type Key = (usize, u8);
/// How a call ended for an event.
pub(crate) type Told = (Event, Key, Ended);

/// What can be known of a handler by looking at its calls.
#[derive(Debug, Default)]
pub(super) struct Watched {
    in_flight: Vec<(CallId, HashMap<Event, u32>, bool)>,
    /// Keys that failed since the last success, each with the calls that are in flight since then.
    failures: Vec<(Key, Vec<CallId>)>,
    /// When each event failed first, by the number of successes before.
    first_failed: HashMap<Event, u64>,
    successes: u64,
    open: Option<Open>,
    /// Something failed that may open it at once.
    is_excused: bool,
    buried: HashSet<Event>,
    /// How the last attempt at an event ended.
    ended: HashMap<Event, Ended>,
    /// Whether the last panic was of a call to the present handler.
    present_panicked: bool,
}

#[derive(Debug)]
struct Open {
    /// When it opened, or the last probe failed.
    waits_since: Instant,
    failed_probes: u32,
}

fn interval(failed_probes: u32) -> Duration {
    let BreakerPolicy { max_interval, .. } = POLICY.breaker;
    (Duration::from_millis(100) * (1 << failed_probes.min(8))).min(max_interval)
}

impl Watched {
    /// Keys that are evidence against the handler.
    fn evidence(&self) -> usize {
        self.failures.iter().filter(|(_, with)| with.is_empty()).count()
    }

    fn failed(&mut self, event: Event, key: Key, counts: bool) {
        let first = *self.first_failed.entry(event).or_insert(self.successes);
        if !counts || self.open.is_some() {
            return;
        }
        if first != self.successes {
            return self.failures.retain(|(failed, _)| *failed != key);
        }
        if !self.failures.iter().any(|(failed, _)| *failed == key) {
            let with = self.in_flight.iter().map(|(id, ..)| *id).collect();
            self.failures.push((key, with));
        }
    }
}

impl History {
    fn watched(&mut self, member: usize) -> &mut Watched {
        self.watched.entry(member).or_default()
    }

    /// A handler is called, with events and the numbers of their attempts.
    pub(crate) fn called(
        &mut self,
        member: usize,
        id: CallId,
        events: &[(Event, u32)],
        now: Instant,
    ) -> Result<(), Violation> {
        let watched = self.watched(member);
        let is_probe = watched.open.is_some();
        if let Some(Open { waits_since, failed_probes }) = &watched.open {
            if watched.in_flight.iter().any(|(.., is_probe)| *is_probe) || events.len() > 1 {
                return Err(Violation::TwoProbes(member));
            }
            if now.saturating_duration_since(*waits_since) < interval(*failed_probes) / 2 {
                return Err(Violation::ProbedTooSoon(member));
            }
        }
        watched.in_flight.push((id, events.iter().copied().collect(), is_probe));
        self.report.probes += u64::from(is_probe);
        Ok(())
    }

    /// A call ended, or was cancelled.
    pub(crate) fn call_ended(&mut self, member: usize, id: CallId, events: &[Told], now: Instant) {
        let watched = self.watched(member);
        let Some(at) = watched.in_flight.iter().position(|(call, ..)| *call == id) else { return };
        let (_, numbers, is_probe) = watched.in_flight.swap_remove(at);
        for (_, with) in &mut watched.failures {
            with.retain(|call| *call != id);
        }
        if events.iter().any(|(.., ended)| *ended == Ended::Well) {
            watched.successes += 1;
            watched.failures.clear();
            watched.is_excused = false;
        }
        for (event, key, ended) in events {
            watched.ended.insert(*event, *ended);
            let is_last = numbers.get(event).is_some_and(|number| *number >= POLICY.retry.max_attempts);
            match ended {
                // In company it is not known whose fault it was.
                Ended::Well | Ended::Moved | Ended::InCompany => {}
                Ended::AsIfBroken => watched.failed(*event, *key, true),
                Ended::Transient => watched.failed(*event, *key, is_last),
                Ended::Permanent => watched.failed(*event, *key, false),
                Ended::Away => {
                    watched.failed(*event, *key, false);
                    watched.is_excused = true;
                }
            }
        }
        let failed = !events.iter().any(|(.., ended)| matches!(ended, Ended::Well | Ended::Moved));
        if let Some(open) = watched.open.as_mut().filter(|_| is_probe && failed) {
            *open = Open { waits_since: now, failed_probes: open.failed_probes + 1 };
        }
    }

    /// Calls in flight are forgotten.
    pub(crate) fn calls_gone(&mut self, member: usize) {
        let watched = self.watched(member);
        watched.in_flight.clear();
        watched.failures.iter_mut().for_each(|(_, with)| with.clear());
    }

    /// A handler could not be made.
    pub(crate) fn not_made(&mut self, member: usize, now: Instant) {
        let watched = self.watched(member);
        watched.is_excused = true;
        if let Some(open) = &mut watched.open {
            *open = Open { waits_since: now, failed_probes: open.failed_probes + 1 };
        }
    }

    /// A breaker opened.
    pub(crate) fn opened(&mut self, member: usize, now: Instant) -> Result<(), Violation> {
        self.report.opened += 1;
        let watched = self.watched(member);
        watched.open = Some(Open { waits_since: now, failed_probes: 0 });
        let is_right = watched.is_excused || watched.evidence() >= POLICY.breaker.keys;
        if is_right { Ok(()) } else { Err(Violation::OpenedTooSoon(member)) }
    }

    /// A breaker closed.
    pub(crate) fn closed(&mut self, member: usize) {
        self.report.closed += 1;
        let watched = self.watched(member);
        watched.open = None;
        // What is still tried says nothing of a later opening.
        watched.in_flight.iter_mut().for_each(|(.., is_probe)| *is_probe = false);
    }

    /// An operator's word forgives all.
    pub(crate) fn pardoned(&mut self, member: usize) {
        let watched = self.watched(member);
        watched.successes += 1;
        watched.failures.clear();
    }

    /// A dead letter is begun.
    pub(crate) fn buried(&mut self, member: usize, event: Event, key: Key) -> Result<(), Violation> {
        let (partition, offset) = (event.0.partition, event.2);
        let watched = self.watched(member);
        if !watched.buried.insert(event) {
            return Ok(());
        }
        if watched.ended.get(&event) == Some(&Ended::Away) {
            return Err(Violation::DeadLetteredWhileAway(partition, offset));
        }
        if watched.open.is_some() {
            return Err(Violation::DeadLetteredWhileOpen(partition, offset));
        }
        let is_evidence = watched.failures.iter().any(|(failed, with)| *failed == key && with.is_empty());
        let may_be_its_own = matches!(watched.ended.get(&event), Some(Ended::Permanent));
        if is_evidence && !may_be_its_own && watched.evidence() >= POLICY.breaker.keys {
            return Err(Violation::OpenedTooLate(member));
        }
        Ok(())
    }

    /// A call panicked, of the present handler or of one before.
    pub(crate) fn panicked(&mut self, member: usize, present: bool) {
        self.report.panics += 1;
        self.watched(member).present_panicked = present;
    }

    /// A handler ended by a panic.
    pub(crate) fn ended_by_panic(&mut self, member: usize) -> Result<(), Violation> {
        let present = std::mem::take(&mut self.watched(member).present_panicked);
        if present { Ok(()) } else { Err(Violation::EndedByAnOldPanic(member)) }
    }
}
