//! What the handlers of a service work on at once: one limit that they share, of which each is sure of a part.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

/// The limit and what each handler uses of it. All handlers of a shard run on one thread, and each keeps to what it was
/// told at its turn, so that together they stay within the limit.
pub(crate) struct InFlight {
    limit: usize,
    /// By handler.
    running: Vec<Cell<usize>>,
    /// Handlers that could do more.
    waiting: RefCell<Vec<Waker>>,
}

/// A handler's part.
pub(crate) struct Share {
    all: Rc<InFlight>,
    own: usize,
}

impl InFlight {
    /// The shares of so many handlers.
    pub(crate) fn shares(limit: usize, handlers: usize) -> Vec<Share> {
        let running = vec![Cell::new(0); handlers];
        let all = Rc::new(Self { limit, running, waiting: RefCell::default() });
        (0..handlers).map(|own| Share { all: Rc::clone(&all), own }).collect()
    }
}

impl Share {
    /// How many lanes may run now. Half of the limit is divided among all, so that one handler whose events take long
    /// leaves something to the others; the other half goes to those that have more to do. At least one may always run.
    pub(crate) fn limit(&self) -> usize {
        let InFlight { limit, running, .. } = &*self.all;
        let sure = limit / (2 * running.len());
        let others = running.iter().enumerate().filter(|(at, _)| *at != self.own);
        let taken: usize = others.map(|(_, running)| running.get().max(sure)).sum();
        limit.saturating_sub(taken).max(1)
    }

    /// Tells what runs now; `wants_more` is woken when another handler runs less.
    pub(crate) fn tell(&self, running: usize, wants_more: Option<&Waker>) {
        let before = self.all.running[self.own].replace(running);
        if running < before {
            for waker in self.all.waiting.take() {
                waker.wake();
            }
        }
        if let Some(waker) = wants_more {
            let mut waiting = self.all.waiting.borrow_mut();
            if !waiting.iter().any(|known| known.will_wake(waker)) {
                waiting.push(waker.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[test]
    fn a_lone_handler_has_all_of_it() {
        assert_eq!(InFlight::shares(1_000, 1)[0].limit(), 1_000);
    }

    #[test]
    fn one_that_takes_all_it_gets_leaves_the_others_their_part_and_together_they_stay_within() {
        let shares = InFlight::shares(1_000, 2);
        assert_eq!(shares[0].limit(), 750);
        shares[0].tell(750, None);
        assert_eq!(shares[1].limit(), 250);
        shares[1].tell(250, None);
        assert_eq!(shares[0].limit(), 750);
        shares[0].tell(100, None);
        assert_eq!(shares[1].limit(), 750);
    }

    #[test]
    fn a_limit_smaller_than_the_number_of_handlers_stops_none() {
        assert!(InFlight::shares(1, 3).iter().all(|share| share.limit() == 1));
    }

    #[test]
    fn who_wants_more_is_woken_when_another_runs_less() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let shares = InFlight::shares(10, 2);
        shares[0].tell(7, None);
        shares[1].tell(3, Some(&waker));
        shares[1].tell(3, Some(&waker));
        shares[0].tell(8, None);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        shares[0].tell(6, None);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "once, however often it asked");
    }
}
