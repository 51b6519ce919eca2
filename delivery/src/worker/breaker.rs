//! Whose fault is a failure, the event's or the handler's? Evidence over different keys decides.
//!
//! A key that always fails is that key's problem. Where events of several different keys fail and nothing goes well in
//! between, it is the handler's, or that of what the handler needs, and no event should pay for it: the breaker opens. It is
//! a circuit breaker (Nygard, "Release It!"): open, nothing is called; half-open, one event is tried at a time; a success
//! closes it.

use std::num::NonZeroU32;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::lanes::LaneKey;
use crate::backoff::Backoff;
use crate::now::{Now, nanos};
use crate::sabotage::{self, Sabotage};

/// When a breaker opens, how it probes, and whether it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Different keys that have failed, with nothing handled in between, at which it opens.
    pub keys: usize,
    /// Longest interval between probes. The first is 100 ms, or this where it is shorter; it doubles.
    pub max_interval: Duration,
    /// Open for so long, it is given up and the service ends; never where it is `None`.
    pub exit_after: Option<Duration>,
}

const FIRST_INTERVAL: Duration = Duration::from_millis(100);

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { keys: 5, max_interval: Duration::from_mins(1), exit_after: None }
    }
}

/// Numbers a streak of failures: those without a success in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak(NonZeroU32);

/// Names an opening, so that a probe of an earlier one says nothing of the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening(u32);

#[derive(Debug)]
struct Open {
    opening: Opening,
    since_ns: u64,
    cause: String,
    next_probe_ns: u64,
    failed_probes: u32,
    is_probing: bool,
    /// No handler could be made; no event is evidence of anything.
    by_factory: bool,
}

/// What failed since the last success, and what follows from it.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    streak: Streak,
    /// Whether anything failed in this streak.
    is_troubled: bool,
    /// Keys that have failed in this streak. Each counts when no call below its number is in flight: every such call may
    /// still go well. There are no more than records in memory.
    suspects: FxHashMap<LaneKey, u64>,
    openings: u32,
    open: Option<Open>,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            streak: Streak(NonZeroU32::MIN),
            is_troubled: false,
            suspects: FxHashMap::default(),
            openings: 0,
            open: None,
        }
    }

    /// The present one, to be kept with each event that fails for the first time.
    pub(crate) fn streak(&self) -> Streak {
        self.streak
    }

    /// Something failed, whatever follows.
    pub(crate) fn troubled(&mut self) -> Streak {
        self.is_troubled = true;
        self.streak
    }

    /// An event of that key failed in a way that may be the handler's fault; it had failed for the first time in that
    /// streak. `next_call` is the number of the call that begins next.
    pub(crate) fn suspect(&mut self, key: LaneKey, failed_in: Streak, next_call: u64) {
        if failed_in != self.streak && !sabotage::is(Sabotage::OwnFaultCounts) {
            // Others were handled in between: it is its own fault.
            self.suspects.remove(&key);
            return;
        }
        let key = if sabotage::is(Sabotage::OneKeyOpens) { key.another(self.suspects.len()) } else { key };
        self.suspects.entry(key).or_insert(next_call);
    }

    /// Whether the evidence is enough, or will be when the calls in flight end without a success.
    pub(crate) fn may_open(&self) -> bool {
        self.suspects.len() >= self.policy.keys && !sabotage::is(Sabotage::NeverOpens)
    }

    /// Whether the evidence is enough, where `oldest_call` is the number of the oldest in flight.
    pub(crate) fn is_conclusive(&self, oldest_call: Option<u64>) -> bool {
        let counts = |calls_below: &&u64| {
            oldest_call.is_none_or(|oldest| oldest >= **calls_below) || sabotage::is(Sabotage::InFlightIgnored)
        };
        self.may_open() && self.suspects.values().filter(counts).take(self.policy.keys).count() >= self.policy.keys
    }

    /// It opens, for that reason. Returns the time until the first probe; `None` where it was open.
    pub(crate) fn open(&mut self, now: &Now, cause: String) -> Option<Duration> {
        self.is_troubled = true;
        if let Some(open) = &mut self.open {
            open.cause = cause;
            return None;
        }
        let interval = self.interval(0, 1.0);
        let next_probe_ns = now.ns + nanos(interval);
        self.openings = self.openings.wrapping_add(1);
        self.open = Some(Open {
            opening: Opening(self.openings),
            since_ns: now.ns,
            cause,
            next_probe_ns,
            failed_probes: 0,
            is_probing: false,
            by_factory: false,
        });
        Some(interval)
    }

    /// The same where no handler can be made: it closes when one is made.
    pub(crate) fn open_by_factory(&mut self, now: &Now, cause: String) -> Option<Duration> {
        let was_open = self.is_open();
        let probe_in = self.open(now, cause);
        if let Some(open) = self.open.as_mut().filter(|_| !was_open) {
            open.by_factory = true;
        }
        probe_in
    }

    /// A handler was made. Returns whether that closed it.
    pub(crate) fn factory_works(&mut self) -> bool {
        self.open.take_if(|open| open.by_factory).is_some()
    }

    /// Why it is open, if it is.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.open.as_ref().map(|open| &*open.cause)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The present opening, if it is open.
    pub(crate) fn opening(&self) -> Option<Opening> {
        self.open.as_ref().map(|open| open.opening)
    }

    /// Whether a probe is in flight.
    pub(crate) fn is_probing(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_probing)
    }

    /// Whether one event may be tried now although it is open.
    pub(crate) fn may_probe(&self, now: &Now) -> bool {
        let early = |open: &Open| now.ns < open.next_probe_ns && !sabotage::is(Sabotage::ProbedWithoutPause);
        let probing = |open: &Open| open.is_probing && !sabotage::is(Sabotage::HalfOpenLetsAllThrough);
        self.open.as_ref().is_some_and(|open| !probing(open) && !early(open))
    }

    /// A probe begins.
    pub(crate) fn probing(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = true;
        }
    }

    /// A probe was taken back: it shows nothing.
    pub(crate) fn unprobed(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
        }
    }

    /// A probe failed; `random` is a number in 0..1.
    pub(crate) fn probe_failed(&mut self, now: &Now, random: f64) {
        let Some(failed) = self.open.as_ref().map(|open| open.failed_probes.saturating_add(1)) else { return };
        let interval = self.interval(failed, random);
        if let Some(open) = &mut self.open {
            (open.failed_probes, open.is_probing) = (failed, false);
            open.next_probe_ns = now.ns + nanos(interval);
        }
    }

    /// An event was handled. Returns whether that closed it.
    #[inline]
    pub(crate) fn succeeded(&mut self) -> bool {
        if !self.is_troubled {
            return false;
        }
        self.is_troubled = false;
        if !sabotage::is(Sabotage::SuccessNotCounted) {
            self.suspects.clear();
            // After four billions of them an event may seem to have failed in this one: none waits for so long.
            self.streak = Streak(self.streak.0.checked_add(1).unwrap_or(NonZeroU32::MIN));
        }
        if sabotage::is(Sabotage::NeverCloses) {
            return false;
        }
        self.open.take().is_some()
    }

    /// All is forgiven, and it is closed. Returns whether it was open.
    pub(crate) fn reset(&mut self) -> bool {
        let was_open = self.is_open();
        self.is_troubled = true;
        self.succeeded();
        self.open = None;
        was_open
    }

    /// The next time at which something has to be done about it.
    pub(crate) fn timeout_ns(&self) -> Option<u64> {
        let open = self.open.as_ref()?;
        let exit = self.policy.exit_after.map(|after| open.since_ns + nanos(after));
        let probe = (!open.is_probing).then_some(open.next_probe_ns);
        [exit, probe].into_iter().flatten().min()
    }

    /// Whether it has been open for longer than it may be.
    pub(crate) fn is_hopeless(&self, now: &Now) -> bool {
        let open_for = self.open.as_ref().map(|open| now.since(open.since_ns));
        open_for.zip(self.policy.exit_after).is_some_and(|(is, most)| is >= most)
    }

    fn interval(&self, failed_probes: u32, random: f64) -> Duration {
        Backoff { first: FIRST_INTERVAL, most: self.policy.max_interval }.pause(failed_probes.saturating_add(1), random)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::assignment::PartitionSeed;
    use crate::worker::lanes::Unkeyed;

    fn key(number: i64) -> LaneKey {
        LaneKey::of(PartitionSeed::of("t", 0), number, None, Unkeyed::Unordered)
    }

    fn at(millis: u64) -> Now {
        Now { instant: Instant::now(), ns: millis * 1_000_000, wall_us: 0 }
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy {
            keys: 3,
            max_interval: Duration::from_millis(400),
            exit_after: Some(Duration::from_secs(1)),
        })
    }

    /// Events of those keys fail for the first time, with nothing else in flight.
    fn fail(breaker: &mut Breaker, keys: impl IntoIterator<Item = i64>) {
        for number in keys {
            let streak = breaker.troubled();
            breaker.suspect(key(number), streak, 0);
        }
    }

    #[test]
    fn one_key_that_fails_again_and_again_is_its_own_problem_and_enough_different_ones_are_evidence() {
        let mut breaker = breaker();
        fail(&mut breaker, [1; 100]);
        fail(&mut breaker, [2]);
        assert!(!breaker.may_open() && !breaker.is_conclusive(None));
        fail(&mut breaker, [3]);
        assert!(breaker.is_conclusive(None));
    }

    #[test]
    fn a_success_clears_the_evidence_and_what_failed_before_it_is_its_own_fault_from_then_on() {
        let mut breaker = breaker();
        let before = breaker.troubled();
        fail(&mut breaker, [1, 2]);
        assert!(!breaker.succeeded());
        for number in 0..100 {
            breaker.suspect(key(number), before, 0);
        }
        fail(&mut breaker, [3, 4]);
        assert!(!breaker.may_open(), "two have failed since");
        breaker.suspect(key(3), before, 0);
        fail(&mut breaker, [5]);
        assert!(!breaker.may_open(), "one of them has left");
        fail(&mut breaker, [6]);
        assert!(breaker.may_open());
    }

    #[test]
    fn a_failure_counts_only_when_no_call_is_in_flight_that_was_so_with_it() {
        let mut breaker = breaker();
        for number in 0..3 {
            let streak = breaker.troubled();
            breaker.suspect(key(number), streak, 10);
        }
        assert!(breaker.may_open() && !breaker.is_conclusive(Some(9)));
        assert!(breaker.is_conclusive(Some(10)), "what began later says nothing of it");
    }

    #[test]
    fn open_it_probes_at_growing_intervals_until_a_success_closes_it() {
        let mut breaker = breaker();
        assert_eq!(breaker.open(&at(0), "no store".to_owned()), Some(Duration::from_millis(100)));
        assert_eq!(breaker.open(&at(1), "no store at all".to_owned()), None);
        assert_eq!(breaker.cause(), Some("no store at all"));
        assert!(!breaker.may_probe(&at(99)) && breaker.may_probe(&at(100)));
        breaker.probing();
        assert!(breaker.is_probing() && !breaker.may_probe(&at(100)));
        breaker.unprobed();
        assert!(breaker.may_probe(&at(100)));
        for (failed_at, next) in [(100, 300), (300, 700), (700, 1_100)] {
            breaker.probing();
            breaker.probe_failed(&at(failed_at), 1.0);
            assert!(!breaker.may_probe(&at(next - 1)) && breaker.may_probe(&at(next)), "{next}");
        }
        assert!(!breaker.is_hopeless(&at(999)) && breaker.is_hopeless(&at(1_000)));
        assert!(breaker.succeeded() && !breaker.is_open() && !breaker.succeeded());
    }
}
