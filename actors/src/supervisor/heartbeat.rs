//! The heartbeat of the arbiters: a task on each says that its thread turns, and a thread of its own names one that does not,
//! because something on it blocks. Nothing can take a blocked thread away; who sees it named can.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::journal::{ArbiterStuck, ArbiterTurns, Journal};

/// Between two beats of an arbiter, and between two looks at all.
const INTERVAL: Duration = Duration::from_millis(500);
/// An arbiter without a beat for so long is named.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The heartbeats of a service's arbiters; a clone is the same.
#[derive(Clone)]
pub(crate) struct Heartbeats(Arc<Known>);

struct Known {
    origin: Instant,
    /// An arbiter that has ended takes its heartbeat with it.
    heartbeats: Mutex<Vec<Weak<Heartbeat>>>,
}

struct Heartbeat {
    arbiter: String,
    /// Milliseconds after the origin.
    last_ms: AtomicU64,
    stuck: AtomicBool,
}

impl Heartbeats {
    /// None yet, and the thread that watches them until no one has them any more.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn watched(journal: Journal) -> io::Result<Self> {
        let known = Arc::new(Known { origin: Instant::now(), heartbeats: Mutex::default() });
        let watched = Arc::downgrade(&known);
        thread::Builder::new().name("arbiter-watch".to_owned()).spawn(move || {
            let mut checked = Instant::now();
            while let Some(known) = watched.upgrade() {
                let now = Instant::now();
                // A process that was frozen has not run any of its threads: that is no arbiter's fault.
                if now.saturating_duration_since(checked) < 2 * INTERVAL {
                    known.check(now, &journal);
                }
                checked = now;
                drop(known);
                thread::sleep(INTERVAL);
            }
        })?;
        Ok(Self(known))
    }

    /// Has the current arbiter beat, under that name, until it ends.
    pub(crate) fn beat(&self, arbiter: String) {
        let known = Arc::clone(&self.0);
        let heartbeat =
            Arc::new(Heartbeat { arbiter, last_ms: AtomicU64::new(known.ms(Instant::now())), stuck: false.into() });
        known.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&heartbeat));
        let origin = known.origin;
        drop(known);
        actix::spawn(async move {
            loop {
                heartbeat.last_ms.store(millis(origin, Instant::now()), Ordering::Relaxed);
                tokio::time::sleep(INTERVAL).await;
            }
        });
    }

    /// Arbiters that do not turn, and for how long.
    pub(crate) fn stuck(&self) -> Vec<(String, Duration)> {
        let now = self.0.ms(Instant::now());
        let stuck = self.0.alive().into_iter().filter(|heartbeat| heartbeat.stuck.load(Ordering::Relaxed));
        stuck.map(|heartbeat| (heartbeat.arbiter.clone(), heartbeat.still(now))).collect()
    }
}

impl Known {
    fn ms(&self, at: Instant) -> u64 {
        millis(self.origin, at)
    }

    fn alive(&self) -> Vec<Arc<Heartbeat>> {
        let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
        heartbeats.retain(|heartbeat| heartbeat.strong_count() > 0);
        heartbeats.iter().filter_map(Weak::upgrade).collect()
    }

    fn check(&self, now: Instant, journal: &Journal) {
        let heartbeats = self.alive();
        let now = self.ms(now);
        let mut known = heartbeats.iter().filter(|heartbeat| heartbeat.stuck.load(Ordering::Relaxed)).count();
        for heartbeat in heartbeats {
            let still = heartbeat.still(now);
            let stuck = still >= STUCK_AFTER;
            let before = heartbeat.stuck.swap(stuck, Ordering::Relaxed);
            if stuck && !before {
                known += 1;
                journal.write(ArbiterStuck { arbiter: &heartbeat.arbiter, still, known });
            } else if before && !stuck {
                known -= 1;
                journal.write(ArbiterTurns { arbiter: &heartbeat.arbiter, known });
            }
        }
    }
}

impl Heartbeat {
    fn still(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }
}

fn millis(origin: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(origin).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_without_a_beat_for_five_seconds_is_stuck_until_it_beats_again_and_one_that_ended_is_forgotten() {
        let origin = Instant::now();
        let known = Arc::new(Known { origin, heartbeats: Mutex::default() });
        let [one, other] = ["one", "other"].map(|arbiter| {
            let heartbeat = Heartbeat { arbiter: arbiter.to_owned(), last_ms: 0.into(), stuck: false.into() };
            let heartbeat = Arc::new(heartbeat);
            known.heartbeats.lock().unwrap().push(Arc::downgrade(&heartbeat));
            heartbeat
        });
        let heartbeats = Heartbeats(Arc::clone(&known));
        let stuck_at = |at_ms: u64| {
            known.check(origin + Duration::from_millis(at_ms), &Journal::new("test"));
            heartbeats.stuck().into_iter().map(|(arbiter, _)| arbiter).collect::<Vec<_>>()
        };
        assert!(stuck_at(4_999).is_empty());
        other.last_ms.store(4_999, Ordering::Relaxed);
        assert_eq!(stuck_at(5_000), ["one"]);
        one.last_ms.store(5_000, Ordering::Relaxed);
        assert!(stuck_at(5_001).is_empty());
        assert_eq!(stuck_at(10_000), ["one", "other"]);
        drop(one);
        assert_eq!(stuck_at(10_001), ["other"]);
    }
}
