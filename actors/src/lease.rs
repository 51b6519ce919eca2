//! The lease: until when the handlers may act on what this member holds. The consumer's thread renews it while it turns.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Ends by itself when nobody renews it: a process that was frozen finds it ended before it does anything else.
///
/// The idea is that of Gray and Cheriton's leases (1989): a right that expires needs nobody to take it away.
#[derive(Debug)]
pub struct Lease {
    origin: Instant,
    /// Nanoseconds after `origin`.
    until: AtomicU64,
    held: AtomicBool,
    /// How often something that was held became another's.
    ends: AtomicU64,
}

impl Lease {
    /// A lease that has ended.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { origin: now, until: AtomicU64::new(0), held: AtomicBool::new(false), ends: AtomicU64::new(0) }
    }

    /// It holds until then.
    pub fn renew(&self, until: Instant) {
        // Whoever reads an older value finds it ended too early, and never too late. Release: whoever reads this one knows
        // of what ended before.
        self.until.store(self.nanos(until), Ordering::Release);
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

    /// Whether it holds so many nanoseconds after its origin: for whoever has that number, and asks for each event.
    #[must_use]
    pub fn holds_at(&self, now_ns: u64) -> bool {
        now_ns < self.until.load(Ordering::Acquire)
    }

    /// Nothing more is started while it is held; what was started goes on.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Whether nothing more is to be started.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Something that was held is another's from now on. Whoever acts under this lease looks at it before he goes on:
    /// where it was lost in a standstill, the lease may be renewed before any message about that has come.
    pub fn end_some(&self) {
        self.ends.fetch_add(1, Ordering::Release);
    }

    /// How often that was.
    #[must_use]
    pub fn ends(&self) -> u64 {
        self.ends.load(Ordering::Acquire)
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_ends_by_itself_where_nobody_renews_it() {
        let begin = Instant::now();
        let lease = Lease::new(begin);
        assert!(!lease.holds(begin));
        lease.renew(begin + Duration::from_secs(3));
        assert!(lease.holds(begin) && lease.holds(begin + Duration::from_millis(2_999)));
        assert!(lease.holds_at(2_999_999_999) && !lease.holds_at(3_000_000_000));
        assert!(!lease.holds(begin + Duration::from_secs(3)));
    }

    #[test]
    fn whoever_finds_it_renewed_finds_what_ended_before_too() {
        let begin = Instant::now();
        let lease = Lease::new(begin);
        let seen = lease.ends();
        lease.end_some();
        lease.renew(begin + Duration::from_secs(3));
        assert!(lease.holds(begin) && lease.ends() != seen);
    }
}
