//! What is due, and when is the next?

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::arena::Id;
use super::lanes::{LaneId, Wait};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The backoff of a lane is over.
    Backoff(LaneId, Wait),
    /// A dead letter has to be written once more.
    Letter(Id, Wait),
}

/// Timers in the order of their times.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    set: u64,
}

#[derive(Debug)]
struct Timer {
    /// When, in nanoseconds after the clock's origin; then in the order in which they were set.
    at: (u64, u64),
    due: Due,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Timers {
    pub(crate) fn set(&mut self, at_ns: u64, due: Due) {
        self.set += 1;
        self.heap.push(Reverse(Timer { at: (at_ns, self.set), due }));
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(timer)| timer.at.0)
    }

    /// The next that is due.
    pub(crate) fn due(&mut self, now_ns: u64) -> Option<Due> {
        self.next_ns().filter(|at| *at <= now_ns)?;
        self.heap.pop().map(|Reverse(timer)| timer.due)
    }

    /// Ends all backoffs at once; gives them.
    pub(crate) fn end_backoffs(&mut self) -> Vec<(LaneId, Wait)> {
        let mut ended = Vec::new();
        self.heap.retain(|Reverse(timer)| match timer.due {
            Due::Backoff(lane, wait) => {
                ended.push((lane, wait));
                false
            }
            Due::Letter(..) => true,
        });
        ended
    }
}
