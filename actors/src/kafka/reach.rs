//! Whether a client reaches a broker, and when that is worth a line in the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::statistics::MEASUREMENT_VALID;
use crate::journal::{BrokerReach, Journal};

/// A client connects in the background, and its first statistics may come before it has: until a broker was reached once,
/// the lack of one is news only after so long.
const FIRST_CONNECT: Duration = Duration::from_secs(5);

/// Kept by a client's context, which measures, and read by status requests.
pub(super) struct Reach {
    /// `consumer` or `producer`.
    client: &'static str,
    journal: Journal,
    // Written twice a second.
    known: Mutex<Known>,
}

struct Known {
    opened: Instant,
    /// The last measurement, and when it was made.
    measured: Option<(Instant, bool)>,
    /// What the log said last.
    told: Option<bool>,
}

impl Known {
    /// Takes a measurement; true where it is news.
    fn measured(&mut self, reachable: bool, now: Instant) -> bool {
        self.measured = Some((now, reachable));
        let connects = self.told.is_none() && !reachable && now.duration_since(self.opened) < FIRST_CONNECT;
        !connects && self.told.replace(reachable) != Some(reachable)
    }
}

impl Reach {
    pub(super) fn new(client: &'static str, journal: &Journal) -> Self {
        let known = Known { opened: Instant::now(), measured: None, told: None };
        Self { client, journal: journal.clone(), known: Mutex::new(known) }
    }

    /// Takes a measurement, and says so where it is news.
    pub(super) fn measured(&self, reachable: bool) {
        let news = self.known.lock().unwrap_or_else(PoisonError::into_inner).measured(reachable, Instant::now());
        if news {
            self.journal.write(BrokerReach { client: self.client, reachable });
        }
    }

    /// Whether a broker was reached within the last seconds; false where nothing was measured.
    pub(super) fn is_reachable(&self) -> bool {
        let measured = self.known.lock().unwrap_or_else(PoisonError::into_inner).measured;
        measured.is_some_and(|(at, reachable)| reachable && at.elapsed() < MEASUREMENT_VALID)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> (Known, Instant) {
        let opened = Instant::now();
        (Known { opened, measured: None, told: None }, opened)
    }

    #[test]
    fn a_client_that_still_connects_is_no_news_and_then_each_change_is() {
        let (mut known, opened) = opened();
        let mut at = |millis: u64, reachable: bool| known.measured(reachable, opened + Duration::from_millis(millis));
        assert_eq!([at(0, false), at(500, false)], [false, false], "it connects");
        assert_eq!([at(1000, true), at(1500, true)], [true, false]);
        assert_eq!([at(2000, false), at(2500, false), at(3000, true)], [true, false, true]);
    }

    #[test]
    fn a_broker_that_is_never_reached_is_news_once_when_the_time_to_connect_is_over() {
        let (mut known, opened) = opened();
        let told = (0..20).filter(|half| known.measured(false, opened + Duration::from_millis(500) * *half)).count();
        assert_eq!(told, 1);
        assert!(known.measured(true, opened + Duration::from_secs(20)));
    }
}
