//! Lanes: the items of one key run one at a time, in order; other keys go on.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::assignment::PartitionSeed;
use crate::worker::queues::{Items, Queue};

/// What happens to the order of records without a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unkeyed {
    /// Each is a lane of its own.
    #[default]
    Unordered,
    /// All of a partition share a lane.
    PartitionOrder,
}

/// Names a lane. Two keys whose hashes are equal share a lane, which costs parallelism between the two and never order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LaneKey(u64);

impl LaneKey {
    /// The lane of a record of the partition that `seed` names.
    #[must_use]
    #[inline]
    pub fn of(seed: PartitionSeed, offset: i64, key: Option<&[u8]>, unkeyed: Unkeyed) -> Self {
        let mut hasher = FxHasher::default();
        seed.hash(&mut hasher);
        match (key, unkeyed) {
            (Some(key), _) => key.hash(&mut hasher),
            (None, Unkeyed::Unordered) => offset.hash(&mut hasher),
            (None, Unkeyed::PartitionOrder) => {}
        }
        Self(hasher.finish())
    }
}

/// The queues of all keys of one handler.
#[derive(Debug)]
pub struct Lanes<T> {
    by_key: FxHashMap<LaneKey, Lane>,
    /// The items of all lanes.
    items: Items<T>,
    /// Lanes that have an item and run none, in the order in which they became so. May name a lane that was
    /// swept empty meanwhile; such a name is skipped.
    ready: VecDeque<LaneKey>,
    limit: usize,
    running: usize,
    queued: usize,
}

#[derive(Debug)]
struct Lane {
    queue: Queue,
    state: LaneState,
}

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// It may run, and does when there is room.
    Ready,
    /// Its item is being worked on.
    Running,
    /// Its first item waits for its next attempt.
    Waiting,
}

impl<T> Lanes<T> {
    /// No item; at most `limit` lanes run at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let (by_key, ready) = (FxHashMap::default(), VecDeque::new());
        Self { by_key, items: Items::new(), ready, limit, running: 0, queued: 0 }
    }

    /// At most `limit` lanes run at once from now on; those that run go on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether there are items, and no more lanes may run.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued > 0 && self.running >= self.limit
    }

    /// Adds an item at the end of its lane.
    pub fn push(&mut self, key: LaneKey, item: T) {
        self.queued += 1;
        let lane = self.by_key.entry(key).or_insert_with(|| {
            self.ready.push_back(key);
            Lane { queue: Queue::EMPTY, state: LaneState::Ready }
        });
        self.items.push_back(&mut lane.queue, item);
    }

    /// Takes the first item of a lane that runs nothing; the lane runs from now on. `None` when no lane may run.
    pub fn start(&mut self) -> Option<(LaneKey, T)> {
        if self.running >= self.limit {
            return None;
        }
        loop {
            let key = self.ready.pop_front()?;
            let Some(lane) = self.by_key.get_mut(&key) else { continue };
            if lane.state != LaneState::Ready {
                continue;
            }
            let Some(item) = self.items.pop_front(&mut lane.queue) else {
                self.by_key.remove(&key);
                continue;
            };
            lane.state = LaneState::Running;
            self.running += 1;
            self.queued -= 1;
            return Some((key, item));
        }
    }

    /// Takes back a start: the item is the first of its lane again, and its lane the first to run.
    pub fn unstart(&mut self, key: LaneKey, item: T) {
        self.put_back(key, std::iter::once(item));
        if let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Waiting) {
            lane.state = LaneState::Ready;
            self.ready.push_front(key);
        }
    }

    /// Takes the next item of a running lane, to be worked on together with the one before it, if `accept` agrees.
    pub fn join(&mut self, key: LaneKey, accept: impl FnOnce(&T) -> bool) -> Option<T> {
        let lane = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Running)?;
        self.items.of(lane.queue).next().filter(|item| accept(item))?;
        let item = self.items.pop_front(&mut lane.queue)?;
        self.queued -= 1;
        Some(item)
    }

    /// Puts items of a running lane back at its head, in their order; the lane waits until [`resume`](Self::resume).
    pub fn put_back(&mut self, key: LaneKey, items: impl DoubleEndedIterator<Item = T>) {
        let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Running) else {
            debug_assert!(false, "only a running lane takes items back");
            return;
        };
        for item in items.rev() {
            self.queued += 1;
            self.items.push_front(&mut lane.queue, item);
        }
        lane.state = LaneState::Waiting;
        self.running -= 1;
    }

    /// A waiting lane may run again.
    pub fn resume(&mut self, key: LaneKey) {
        if let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Waiting) {
            lane.state = LaneState::Ready;
            self.ready.push_back(key);
        }
    }

    /// Every item that is queued, whatever its lane does, in no order: none is left behind, were the queues in disorder.
    #[must_use]
    pub fn into_items(self) -> Vec<T> {
        self.items.into_all().collect()
    }

    /// What a running lane worked on is settled; its next item may run.
    pub fn release(&mut self, key: LaneKey) {
        let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Running) else {
            debug_assert!(false, "only a running lane is released");
            return;
        };
        self.running -= 1;
        if lane.queue.is_empty() {
            self.by_key.remove(&key);
        } else {
            lane.state = LaneState::Ready;
            self.ready.push_back(key);
        }
    }

    /// Takes out every item that runs not and that `gone` names.
    pub fn sweep(&mut self, mut gone: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let items = &mut self.items;
        self.by_key.retain(|_, lane| {
            let mut kept = Queue::EMPTY;
            while let Some(item) = items.pop_front(&mut lane.queue) {
                if gone(&item) { swept.push(item) } else { items.push_back(&mut kept, item) }
            }
            lane.queue = kept;
            // A lane that waits stays, also when it is empty: what it waits for (a dead letter, say) holds its place, and
            // `resume` is still to come.
            lane.state != LaneState::Ready || !lane.queue.is_empty()
        });
        self.queued -= swept.len();
        swept
    }

    /// An item that is in its lane, and what the lane does. Looks at all of them: for rare questions.
    pub fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<(&T, LaneState)> {
        self.by_key.values().find_map(|lane| {
            let item = self.items.of(lane.queue).find(|item| wanted(item))?;
            Some((item, lane.state))
        })
    }

    /// All items that are in their lane.
    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.all_mut()
    }

    /// Items that wait in their lane.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Lanes that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(key: &[u8]) -> LaneKey {
        LaneKey::of(PartitionSeed::of("t", 0), 0, Some(key), Unkeyed::Unordered)
    }

    #[test]
    fn one_key_runs_one_at_a_time_while_others_go_on() {
        let (a, b) = (key(b"a"), key(b"b"));
        let mut lanes = Lanes::new(10);
        for item in [(a, 1), (a, 2), (b, 3)] {
            lanes.push(item.0, item.1);
        }
        assert_eq!((lanes.start(), lanes.start(), lanes.start()), (Some((a, 1)), Some((b, 3)), None));
        lanes.release(a);
        assert_eq!(lanes.start(), Some((a, 2)));
        assert_eq!((lanes.running(), lanes.queued()), (2, 0));
    }

    #[test]
    fn a_failing_key_waits_with_its_followers_behind_it() {
        let (a, b) = (key(b"a"), key(b"b"));
        let mut lanes = Lanes::new(10);
        for item in [(a, 1), (a, 2), (a, 3), (b, 4)] {
            lanes.push(item.0, item.1);
        }
        let first = lanes.start().map(|(_, item)| item).into_iter();
        let second = lanes.join(a, |_| true);
        assert_eq!(lanes.join(a, |item| *item != 3), None);
        lanes.put_back(a, first.chain(second).collect::<Vec<_>>().into_iter());
        assert_eq!((lanes.start(), lanes.start()), (Some((b, 4)), None));
        lanes.resume(a);
        assert_eq!(lanes.start(), Some((a, 1)));
    }

    #[test]
    fn a_start_that_is_taken_back_is_the_next_start() {
        let mut lanes = Lanes::new(10);
        for item in [(key(b"a"), 1), (key(b"b"), 2), (key(b"a"), 3)] {
            lanes.push(item.0, item.1);
        }
        let (a, item) = lanes.start().unwrap();
        lanes.unstart(a, item);
        assert_eq!((lanes.start(), lanes.running(), lanes.queued()), (Some((a, 1)), 1, 2));
    }

    #[test]
    fn records_without_a_key_follow_the_policy() {
        let lane = |offset, unkeyed| LaneKey::of(PartitionSeed::of("t", 0), offset, None, unkeyed);
        assert_ne!(lane(1, Unkeyed::Unordered), lane(2, Unkeyed::Unordered));
        assert_eq!(lane(1, Unkeyed::PartitionOrder), lane(2, Unkeyed::PartitionOrder));
    }

    #[test]
    fn what_is_swept_does_not_run_and_what_runs_is_not_swept() {
        let (a, b) = (key(b"a"), key(b"b"));
        let mut lanes = Lanes::new(10);
        for item in [(a, 1), (a, 2), (b, 3)] {
            lanes.push(item.0, item.1);
        }
        assert_eq!(lanes.start(), Some((a, 1)));
        let mut swept = lanes.sweep(|_| true);
        swept.sort_unstable();
        assert_eq!(swept, [2, 3]);
        lanes.push(b, 5);
        assert_eq!((lanes.start(), lanes.start()), (Some((b, 5)), None));
        lanes.release(a);
        assert_eq!((lanes.running(), lanes.queued()), (1, 0));
    }

    #[test]
    fn a_lane_that_waits_for_a_dead_letter_keeps_its_place_through_a_sweep() {
        let a = key(b"a");
        let mut lanes = Lanes::new(10);
        lanes.push(a, 1);
        assert_eq!(lanes.start(), Some((a, 1)));
        lanes.put_back(a, std::iter::empty());
        assert!(lanes.sweep(|_| false).is_empty());
        lanes.push(a, 2);
        assert_eq!(lanes.start(), None, "the dead letter of 1 is still on its way");
        lanes.resume(a);
        assert_eq!(lanes.start(), Some((a, 2)));
    }

    proptest! {
        #[test]
        fn any_interleaving_keeps_order_by_key_and_loses_nothing(
            items in prop::collection::vec(0u8..5, 1..80),
            steps in prop::collection::vec((0u8..4, 0usize..1000), 0..400),
            limit in 1usize..6,
        ) {
            let mut lanes = Lanes::new(limit);
            let mut feed = items.iter().copied().enumerate();
            let mut running: Vec<(LaneKey, (usize, u8))> = Vec::new();
            let mut waiting: Vec<LaneKey> = Vec::new();
            let mut done: Vec<(usize, u8)> = Vec::new();
            let finish = steps.len();
            let drain = (0..items.len() * 8 + 16).map(|at| (u8::try_from(at % 4).unwrap(), 0));
            for (at, (step, pick)) in steps.into_iter().chain(drain).enumerate() {
                match step {
                    0 => if let Some((seq, name)) = feed.next() { lanes.push(key(&[name]), (seq, name)); },
                    1 => if let Some(started) = lanes.start() {
                        prop_assert!(running.iter().all(|(lane, _)| *lane != started.0), "two of a key at once");
                        running.push(started);
                    },
                    2 if !running.is_empty() => {
                        let (lane, item) = running.swap_remove(pick % running.len());
                        if at < finish && item.0 % 3 == 0 {
                            lanes.put_back(lane, std::iter::once(item));
                            waiting.push(lane);
                        } else {
                            lanes.release(lane);
                            done.push(item);
                        }
                    }
                    _ => waiting.drain(..).for_each(|lane| lanes.resume(lane)),
                }
                prop_assert!(lanes.running() == running.len() && running.len() <= limit);
            }
            prop_assert_eq!(done.len(), items.len());
            for name in 0..5 {
                let order: Vec<_> = done.iter().filter(|item| item.1 == name).collect();
                prop_assert!(order.is_sorted());
            }
        }
    }
}
