//! Which calls of the handler are in flight, and which of them is the oldest?

use smallvec::SmallVec;

use super::arena::{Arena, Id};
use super::breaker::Opening;

/// What goes through one call. One event costs no allocation.
pub type Run<T> = SmallVec<[T; 1]>;

/// Names a call; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId {
    at: Id,
    number: u64,
}

/// A call in flight.
#[derive(Debug)]
pub(crate) struct Call {
    /// Of the handler that was called.
    pub(crate) generation: u32,
    /// Nanoseconds after the clock's origin.
    pub(crate) began_ns: u64,
    /// The opening of the breaker that it is a probe of.
    pub(crate) probes: Option<Opening>,
    /// Its records; those of one lane are together, in order.
    pub(crate) records: Run<Id>,
}

/// Calls in the order of their beginnings. Beginning and ending one takes the same time however many there are.
#[derive(Debug)]
pub(crate) struct Calls {
    in_flight: Arena<Linked>,
    oldest: Option<Id>,
    newest: Option<Id>,
    len: usize,
    next_number: u64,
}

/// A call with those that began just before and after it.
#[derive(Debug)]
struct Linked {
    number: u64,
    call: Call,
    before: Option<Id>,
    after: Option<Id>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { in_flight: Arena::new(), oldest: None, newest: None, len: 0, next_number: 0 }
    }

    #[inline]
    pub(crate) fn begin(&mut self, call: Call) -> CallId {
        let number = self.next_number;
        self.next_number += 1;
        let at = self.in_flight.insert(Linked { number, call, before: self.newest, after: None });
        match self.newest.and_then(|newest| self.in_flight.get_mut(newest)) {
            Some(newest) => newest.after = Some(at),
            None => self.oldest = Some(at),
        }
        self.newest = Some(at);
        self.len += 1;
        CallId { at, number }
    }

    /// Takes out a call that has ended. `None` where it was taken out before.
    #[inline]
    pub(crate) fn end(&mut self, id: CallId) -> Option<Call> {
        self.in_flight.get(id.at).filter(|linked| linked.number == id.number)?;
        let Linked { call, before, after, .. } = self.in_flight.remove(id.at)?;
        match before.and_then(|before| self.in_flight.get_mut(before)) {
            Some(before) => before.after = after,
            None => self.oldest = after,
        }
        match after.and_then(|after| self.in_flight.get_mut(after)) {
            Some(after) => after.before = before,
            None => self.newest = before,
        }
        self.len -= 1;
        Some(call)
    }

    /// All of them, oldest first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = (CallId, &Call)> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let id = at?;
            let linked = self.in_flight.get(id)?;
            at = linked.after;
            Some((CallId { at: id, number: linked.number }, &linked.call))
        })
    }

    /// The oldest.
    pub(crate) fn oldest(&self) -> Option<(CallId, &Call)> {
        self.oldest_first().next()
    }

    /// Number of the oldest, and of the next to begin: calls that are in flight now have numbers from the one to below the
    /// other.
    #[inline]
    pub(crate) fn numbers(&self) -> (Option<u64>, u64) {
        (self.oldest().map(|(id, _)| id.number), self.next_number)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Forgets all of them. Those that begin later have other names.
    pub(crate) fn clear(&mut self) {
        *self = Self { next_number: self.next_number, ..Self::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(began_ns: u64) -> Call {
        Call { generation: 1, began_ns, probes: None, records: Run::new() }
    }

    #[test]
    fn they_are_told_oldest_first_whichever_ends_and_one_that_has_ended_is_not_another_one() {
        let mut calls = Calls::new();
        let ids = [1, 2, 3].map(|began| calls.begin(call(began)));
        assert_eq!(calls.end(ids[1]).map(|call| call.began_ns), Some(2));
        assert!(calls.end(ids[1]).is_none());
        let fourth = calls.begin(call(4));
        assert!(calls.end(ids[1]).is_none(), "its place is another's");
        let began = |calls: &Calls| calls.oldest_first().map(|(_, call)| call.began_ns).collect::<Vec<_>>();
        assert_eq!((began(&calls), calls.numbers(), calls.len()), (vec![1, 3, 4], (Some(0), 4), 3));
        calls.end(ids[0]);
        assert_eq!((began(&calls), calls.numbers()), (vec![3, 4], (Some(2), 4)));
        calls.end(fourth);
        calls.end(ids[2]);
        assert_eq!((began(&calls), calls.numbers(), calls.len()), (vec![], (None, 4), 0));
        calls.begin(call(5));
        calls.clear();
        assert_eq!((calls.numbers(), calls.len()), ((None, 5), 0));
    }
}
