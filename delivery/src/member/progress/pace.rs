//! How soon may the next commit or note be sent, and does the broker answer in time?
//!
//! What is settled and not committed is repeated after a crash. While a classic group rebalances, a commit waits behind
//! the member's own request to join, for seconds where a member is dead, and is then refused. What is settled meanwhile is
//! noted elsewhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So long after a change in the group (partitions came or went, a commit was refused) more changes are likely: commits
/// then come as soon as the one before is answered.
const RESTLESS_FOR: Duration = Duration::from_secs(5);
/// Between commits in restless times.
const RESTLESS_INTERVAL: Duration = Duration::from_millis(20);
/// Never taken for late before this.
const LEAST_PATIENCE: Duration = Duration::from_millis(40);
/// Always taken for late after this.
const MOST_PATIENCE: Duration = Duration::from_millis(400);

/// The pace of one sink of a member.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    next: Instant,
    restless_until: Instant,
    /// Commits whose answer has not come, with the time they were sent.
    sent: VecDeque<(u64, Instant)>,
    /// A commit was refused, and none accepted since.
    refused: bool,
    round_trip: RoundTrip,
}

impl Pace {
    /// A commit each `interval` in quiet times.
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        let (sent, round_trip) = (VecDeque::new(), RoundTrip::default());
        Self { interval, next: now, restless_until: now, sent, refused: false, round_trip }
    }

    /// The group changed.
    pub(crate) fn restless(&mut self, now: Instant) {
        self.restless_until = now + RESTLESS_FOR;
        self.next = self.next.min(now + RESTLESS_INTERVAL);
    }

    /// Whether the next one is due. It is then sent, where there is anything to say.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let restless = now < self.restless_until;
        self.next = now + if restless { self.interval.min(RESTLESS_INTERVAL) } else { self.interval };
        true
    }

    /// The next one is due at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.next = now;
    }

    /// A commit went to the broker.
    pub(crate) fn sent(&mut self, number: u64, now: Instant) {
        self.sent.push_back((number, now));
    }

    /// A commit was answered.
    pub(crate) fn answered(&mut self, number: u64, accepted: bool, now: Instant) {
        if let Some(at) = self.sent.iter().position(|(sent, _)| *sent == number) {
            let (_, sent) = self.sent[at];
            self.sent.drain(..=at);
            self.round_trip.measured(now.saturating_duration_since(sent));
        }
        self.refused = !accepted;
        if !accepted {
            self.restless(now);
        }
    }

    /// It could not be sent.
    pub(crate) fn not_sent(&mut self, number: u64) {
        self.sent.retain(|(sent, _)| *sent != number);
    }

    /// Nothing was sent or is awaited any more: the client is another one.
    pub(crate) fn forget(&mut self) {
        self.sent.clear();
        self.refused = false;
    }

    /// Whether the broker refused the last commit, or does not answer one.
    pub(crate) fn is_troubled(&self, now: Instant) -> bool {
        let late = |(_, sent): &(u64, Instant)| now.saturating_duration_since(*sent) > self.round_trip.patience();
        self.refused || self.sent.front().is_some_and(late)
    }

    /// Commits whose answer has not come.
    pub(crate) fn unanswered(&self) -> usize {
        self.sent.len()
    }
}

/// How long an answer takes, smoothed, and how long to wait for one: as TCP does it (Jacobson 1988), with
/// more patience: here an answer that is taken for late too early costs work, and no packet.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
}

impl RoundTrip {
    fn measured(&mut self, took: Duration) {
        // One that was held up says nothing about the others.
        let took = took.min(MOST_PATIENCE);
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.variation) = (Some(took), took / 2);
            return;
        };
        self.variation = (self.variation * 3 + smoothed.abs_diff(took)) / 4;
        self.smoothed = Some((smoothed * 7 + took) / 8);
    }

    fn patience(&self) -> Duration {
        let smoothed = self.smoothed.unwrap_or(MOST_PATIENCE);
        (2 * smoothed + 4 * self.variation).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(200);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn commits_come_at_the_interval_and_faster_for_a_time_after_a_change() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, INTERVAL);
        let due = |pace: &mut Pace, from: Instant| (0..1_000).filter(|ms| pace.is_due(from + millis(*ms))).count();
        assert_eq!(due(&mut pace, begin), 5);
        pace.restless(begin + millis(1_000));
        assert_eq!(due(&mut pace, begin + millis(1_000)), 50);
        assert_eq!(due(&mut pace, begin + millis(7_000)), 5);
    }

    #[test]
    fn a_broker_is_troubled_while_an_answer_is_late_or_was_a_refusal() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, INTERVAL);
        for number in 0..20 {
            let at = begin + millis(number * 100);
            pace.sent(number, at);
            pace.answered(number, true, at + millis(8));
        }
        let at = begin + millis(3_000);
        pace.sent(20, at);
        assert!(!pace.is_troubled(at + LEAST_PATIENCE) && pace.is_troubled(at + LEAST_PATIENCE + millis(1)));
        pace.answered(20, false, at + millis(1_000));
        assert!(pace.is_troubled(at + millis(1_000)) && pace.is_troubled(at + millis(3_000)));
        pace.sent(21, at + millis(3_010));
        pace.answered(21, true, at + millis(3_020));
        assert!(!pace.is_troubled(at + millis(3_020)) && pace.unanswered() == 0);
    }

    #[test]
    fn a_broker_whose_answers_take_long_is_given_more_time_up_to_a_limit() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, INTERVAL);
        for number in 0..50 {
            let at = begin + millis(number * 1_000);
            pace.sent(number, at);
            assert!(!pace.is_troubled(at + MOST_PATIENCE / 3));
            pace.answered(number, true, at + millis(120));
        }
        let at = begin + millis(60_000);
        pace.sent(50, at);
        assert!(!pace.is_troubled(at + millis(110)) && pace.is_troubled(at + MOST_PATIENCE + millis(1)));
    }
}
