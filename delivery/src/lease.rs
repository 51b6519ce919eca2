//! Until when may the handlers act on what this member holds, and has something of it gone?

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// Shared by the member, who renews it while it turns, and the workers, who act under it.
///
/// It ends by itself when it is not renewed: a process that was frozen finds it ended before it does anything else.
/// The idea is that of Gray and Cheriton's leases (1989): a right that expires need not be taken away.
#[derive(Debug)]
pub struct Lease {
    origin: Instant,
    /// Nanoseconds after `origin`.
    until: AtomicU64,
    /// How often an assignment was closed or ended.
    changes: AtomicU64,
    /// Workers to wake at the next change. Locked at a change and when a worker goes to sleep.
    waiting: Mutex<Vec<Waker>>,
}

impl Lease {
    /// A lease that has ended.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { origin: now, until: AtomicU64::new(0), changes: AtomicU64::new(0), waiting: Mutex::default() }
    }

    /// It holds until then. Where it had ended, all that wait for it are woken.
    pub fn renew(&self, now: Instant, until: Instant) {
        // A reader of an older value finds it ended too early, and never too late. Release: a reader of this one knows of
        // what changed before.
        let before = self.until.swap(self.nanos(until), Ordering::Release);
        if before <= self.nanos(now) {
            self.wake();
        }
    }

    /// It has ended: nothing is started or finished until it is renewed.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        self.holds_at(self.nanos(now))
    }

    /// The moment from which [`holds_at`](Self::holds_at) counts.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Whether it holds so many nanoseconds after its origin: for a caller that has that number, and asks for each event.
    #[must_use]
    #[inline]
    pub fn holds_at(&self, now_ns: u64) -> bool {
        now_ns < self.until.load(Ordering::Acquire)
    }

    /// Assignments were closed or ended. Called after that and before the lease is renewed, so that a worker that
    /// finds the lease renewed finds the change too.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
        self.wake();
    }

    /// How often assignments changed: a worker that remembers the number knows whether to look at what it holds.
    #[must_use]
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Has that waker woken once, at the next change or when the lease is renewed after its end.
    pub fn wake_at_change(&self, waker: &Waker) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_ends_by_itself_where_it_is_not_renewed() {
        let begin = Instant::now();
        let lease = Lease::new(begin);
        assert!(!lease.holds(begin));
        lease.renew(begin, begin + Duration::from_secs(3));
        assert!(lease.holds(begin) && lease.holds(begin + Duration::from_millis(2_999)));
        assert!(lease.holds_at(2_999_999_999) && !lease.holds_at(3_000_000_000));
        assert!(!lease.holds(begin + Duration::from_secs(3)));
        lease.end();
        assert!(!lease.holds(begin));
    }

    #[test]
    fn a_worker_that_finds_it_renewed_finds_what_changed_before_too() {
        let begin = Instant::now();
        let lease = Lease::new(begin);
        let seen = lease.changes();
        lease.changed();
        lease.renew(begin, begin + Duration::from_secs(3));
        assert!(lease.holds(begin) && lease.changes() != seen);
    }

    #[test]
    fn a_waiting_worker_is_woken_once_by_a_change_or_by_a_lease_that_holds_again() {
        let begin = Instant::now();
        let lease = Lease::new(begin);
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let woken = || count.0.load(Ordering::Relaxed);
        lease.wake_at_change(&waker);
        lease.wake_at_change(&waker);
        lease.renew(begin, begin + Duration::from_secs(3));
        assert_eq!(woken(), 1, "it holds again");
        lease.wake_at_change(&waker);
        lease.renew(begin + Duration::from_secs(1), begin + Duration::from_secs(4));
        assert_eq!(woken(), 1, "it held all the time");
        lease.changed();
        lease.changed();
        assert_eq!(woken(), 2);
    }
}
