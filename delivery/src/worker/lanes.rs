//! May this record start? The items of one key run one at a time, in order; other keys go on.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::assignment::PartitionSeed;
use crate::sabotage::{self, Sabotage};
use crate::worker::arena::{Arena, Id, Queue};

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
            (Some(_), _) if sabotage::is(Sabotage::KeyIgnored) => offset.hash(&mut hasher),
            (Some(key), _) => key.hash(&mut hasher),
            (None, Unkeyed::Unordered) => offset.hash(&mut hasher),
            (None, Unkeyed::PartitionOrder) => {}
        }
        Self(hasher.finish())
    }

    /// By sabotage, another key in the place of this one.
    pub(crate) fn another(self, number: usize) -> Self {
        Self(self.0.wrapping_add(number as u64))
    }
}

/// The queues of all keys of one handler.
#[derive(Debug)]
pub struct Lanes<T> {
    by_key: FxHashMap<LaneKey, Lane>,
    /// The items of all lanes, those included that run.
    items: Arena<Placed<T>>,
    /// Lanes that have an item and run none, in the order in which they became so. May name a lane that was
    /// swept empty meanwhile; such a name is skipped.
    ready: VecDeque<LaneKey>,
    limit: usize,
    running: usize,
    queued: usize,
    last_wait: u32,
}

#[derive(Debug)]
struct Placed<T> {
    lane: LaneKey,
    item: T,
}

#[derive(Debug)]
struct Lane {
    queue: Queue,
    state: LaneState,
}

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneState {
    /// It may run, and does when there is room.
    Ready,
    /// Its item is being worked on.
    Running,
    /// It waits for something that has this name.
    Waiting(Wait),
}

/// Names what a lane waits for, so that what comes too late resumes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(u32);

impl<T> Lanes<T> {
    /// No item; at most `limit` lanes run at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            by_key: FxHashMap::default(),
            items: Arena::new(),
            ready: VecDeque::new(),
            limit,
            running: 0,
            queued: 0,
            last_wait: 0,
        }
    }

    /// At most `limit` lanes run at once from now on; those that run go on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// At most so many lanes run at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there are items, and no more lanes may run.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued > 0 && self.running >= self.limit
    }

    /// Adds an item at the end of its lane.
    pub fn push(&mut self, key: LaneKey, item: T) -> Id {
        let id = self.items.insert(Placed { lane: key, item });
        self.queued += 1;
        let lane = self.by_key.entry(key).or_insert_with(|| {
            self.ready.push_back(key);
            Lane { queue: Queue::EMPTY, state: LaneState::Ready }
        });
        self.items.push_back(&mut lane.queue, id);
        id
    }

    /// An item, whether it runs or not.
    #[must_use]
    #[inline]
    pub fn get(&self, id: Id) -> Option<&T> {
        self.items.get(id).map(|placed| &placed.item)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.items.get_mut(id).map(|placed| &mut placed.item)
    }

    /// Takes out an item that was started: it has ended.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.items.remove(id).map(|placed| placed.item)
    }

    /// The lane of an item.
    #[must_use]
    #[inline]
    pub fn lane_of(&self, id: Id) -> Option<LaneKey> {
        self.items.get(id).map(|placed| placed.lane)
    }

    /// Starts the first item of a lane that runs nothing; the lane runs from now on. `None` when no lane may run.
    pub fn start(&mut self) -> Option<Id> {
        if self.running >= self.limit {
            return None;
        }
        loop {
            let key = self.ready.pop_front()?;
            let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Ready) else { continue };
            let Some(id) = self.items.pop_front(&mut lane.queue) else {
                self.by_key.remove(&key);
                continue;
            };
            lane.state = LaneState::Running;
            self.running += 1;
            self.queued -= 1;
            return Some(id);
        }
    }

    /// The same for the first lane whose item is `wanted`. Looks at all that may run: for rare choices.
    pub fn start_where(&mut self, wanted: impl Fn(&T) -> bool) -> Option<Id> {
        let at = self.ready.iter().position(|key| {
            let lane = self.by_key.get(key).filter(|lane| lane.state == LaneState::Ready);
            let first = lane.and_then(|lane| self.items.get(lane.queue.first()?));
            first.is_some_and(|placed| wanted(&placed.item))
        })?;
        let key = self.ready.remove(at)?;
        self.ready.push_front(key);
        self.start()
    }

    /// Takes back a start: the item is the first of its lane again, and its lane the first to run.
    pub fn unstart(&mut self, id: Id) {
        let Some(key) = self.lane_of(id) else { return };
        self.put_back(key, std::iter::once(id));
        if let Some(lane) = self.by_key.get_mut(&key) {
            lane.state = LaneState::Ready;
            self.ready.push_front(key);
        }
    }

    /// Starts the next item of a running lane, to be worked on together with the one before it, if `accept` agrees.
    pub fn join(&mut self, key: LaneKey, accept: impl FnOnce(&T) -> bool) -> Option<Id> {
        let lane = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Running)?;
        self.items.get(lane.queue.first()?).filter(|placed| accept(&placed.item))?;
        self.queued -= 1;
        self.items.pop_front(&mut lane.queue)
    }

    /// Puts items of a running lane back at its head, in their order; the lane waits until [`resume`](Self::resume).
    pub fn put_back(&mut self, key: LaneKey, items: impl DoubleEndedIterator<Item = Id>) -> Wait {
        self.last_wait = self.last_wait.wrapping_add(1);
        let wait = Wait(self.last_wait);
        let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Running) else {
            debug_assert!(false, "only a running lane takes items back");
            return wait;
        };
        for id in items.rev() {
            self.queued += 1;
            if sabotage::is(Sabotage::RetryOutOfOrder) {
                self.items.push_back(&mut lane.queue, id);
            } else {
                self.items.push_front(&mut lane.queue, id);
            }
        }
        lane.state = LaneState::Waiting(wait);
        self.running -= 1;
        wait
    }

    /// What a lane waited for is over: it may run again, this item first, which is out of its queue.
    pub fn unwait(&mut self, key: LaneKey, wait: Wait, id: Id) {
        if let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Waiting(wait)) {
            self.items.push_front(&mut lane.queue, id);
            self.queued += 1;
        }
        self.resume(key, wait);
    }

    /// What a lane waited for is over: it may run again.
    pub fn resume(&mut self, key: LaneKey, wait: Wait) {
        if let Some(lane) = self.by_key.get_mut(&key).filter(|lane| lane.state == LaneState::Waiting(wait)) {
            lane.state = LaneState::Ready;
            self.ready.push_back(key);
        }
    }

    /// What a running lane worked on has ended; its next item may run.
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

    /// Takes out every item that was not started and that `gone` names.
    pub fn sweep(&mut self, mut gone: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let items = &mut self.items;
        self.by_key.retain(|_, lane| {
            let mut kept = Queue::EMPTY;
            while let Some(id) = items.pop_front(&mut lane.queue) {
                if items.get(id).is_some_and(|placed| gone(&placed.item)) {
                    swept.extend(items.remove(id).map(|placed| placed.item));
                } else {
                    items.push_back(&mut kept, id);
                }
            }
            lane.queue = kept;
            // A lane that waits stays, also when it is empty: what it waits for (a dead letter, say) holds its place, and
            // `resume` is still to come.
            lane.state != LaneState::Ready || !lane.queue.is_empty()
        });
        self.queued -= swept.len();
        swept
    }

    /// All items that are here, those included that run, in no order.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.items.all().map(|placed| &placed.item)
    }

    /// The same, to be changed.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.all_mut().map(|placed| &mut placed.item)
    }

    /// The same, by value: none is left behind, were the queues in disorder.
    pub fn into_all(self) -> impl Iterator<Item = T> {
        self.items.into_all().map(|placed| placed.item)
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

    fn lanes<T>(limit: usize, items: impl IntoIterator<Item = (LaneKey, T)>) -> Lanes<T> {
        let mut lanes = Lanes::new(limit);
        for (key, item) in items {
            lanes.push(key, item);
        }
        lanes
    }

    /// Starts an item and says which.
    fn start(lanes: &mut Lanes<u32>) -> Option<(Id, u32)> {
        let id = lanes.start()?;
        Some((id, *lanes.get(id).unwrap()))
    }

    fn started(lanes: &mut Lanes<u32>) -> Option<u32> {
        start(lanes).map(|(_, item)| item)
    }

    fn end(lanes: &mut Lanes<u32>, id: Id) {
        let lane = lanes.lane_of(id).unwrap();
        lanes.remove(id);
        lanes.release(lane);
    }

    #[test]
    fn one_key_runs_one_at_a_time_while_others_go_on() {
        let (a, b) = (key(b"a"), key(b"b"));
        let mut lanes = lanes(10, [(a, 1), (a, 2), (b, 3)]);
        let (first, item) = start(&mut lanes).unwrap();
        assert_eq!((item, started(&mut lanes), started(&mut lanes)), (1, Some(3), None));
        end(&mut lanes, first);
        assert_eq!(started(&mut lanes), Some(2));
        assert_eq!((lanes.running(), lanes.queued(), lanes.all().count()), (2, 0, 2));
    }

    #[test]
    fn a_failing_key_waits_with_its_followers_behind_it_until_what_it_waits_for_is_over() {
        let (a, b) = (key(b"a"), key(b"b"));
        let mut lanes = lanes(10, [(a, 1), (a, 2), (a, 3), (b, 4)]);
        let (first, _) = start(&mut lanes).unwrap();
        let second = lanes.join(a, |_| true).unwrap();
        assert_eq!(lanes.join(a, |item| *item != 3), None);
        let wait = lanes.put_back(a, [first, second].into_iter());
        assert_eq!((started(&mut lanes), started(&mut lanes)), (Some(4), None));
        lanes.resume(a, wait);
        let (first, item) = start(&mut lanes).unwrap();
        assert_eq!(item, 1);
        let again = lanes.put_back(a, std::iter::once(first));
        lanes.resume(a, wait);
        assert_eq!(started(&mut lanes), None, "what came too late resumes nothing");
        lanes.resume(a, again);
        assert_eq!(started(&mut lanes), Some(1));
    }

    #[test]
    fn a_start_that_is_taken_back_is_the_next_start() {
        let mut lanes = lanes(10, [(key(b"a"), 1), (key(b"b"), 2), (key(b"a"), 3)]);
        let (first, _) = start(&mut lanes).unwrap();
        lanes.unstart(first);
        assert_eq!((started(&mut lanes), lanes.running(), lanes.queued()), (Some(1), 1, 2));
    }

    #[test]
    fn the_first_that_is_wanted_starts_before_its_turn_and_the_others_keep_theirs() {
        let mut lanes = lanes(10, [(key(b"a"), 1), (key(b"b"), 2), (key(b"c"), 3), (key(b"c"), 4)]);
        assert_eq!(lanes.start_where(|item| *item == 4), None, "it is not the first of its lane");
        let third = lanes.start_where(|item| *item == 3).unwrap();
        assert_eq!((lanes.get(third).copied(), started(&mut lanes), started(&mut lanes)), (Some(3), Some(1), Some(2)));
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
        let mut lanes = lanes(10, [(a, 1), (a, 2), (b, 3)]);
        let (first, item) = start(&mut lanes).unwrap();
        let mut swept = lanes.sweep(|_| true);
        swept.sort_unstable();
        assert_eq!((item, swept), (1, vec![2, 3]));
        lanes.push(b, 5);
        assert_eq!((started(&mut lanes), started(&mut lanes)), (Some(5), None));
        end(&mut lanes, first);
        assert_eq!((lanes.running(), lanes.queued()), (1, 0));
    }

    #[test]
    fn a_lane_that_waits_for_a_dead_letter_keeps_its_place_through_a_sweep() {
        let a = key(b"a");
        let mut lanes = lanes(10, [(a, 1)]);
        assert_eq!(started(&mut lanes), Some(1));
        let wait = lanes.put_back(a, std::iter::empty());
        assert!(lanes.sweep(|_| false).is_empty());
        lanes.push(a, 2);
        assert_eq!(started(&mut lanes), None, "the dead letter of 1 is still on its way");
        lanes.resume(a, wait);
        assert_eq!(started(&mut lanes), Some(2));
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
            let mut running: Vec<Id> = Vec::new();
            let mut waiting: Vec<(LaneKey, Wait)> = Vec::new();
            let mut done: Vec<(usize, u8)> = Vec::new();
            let finish = steps.len();
            let drain = (0..items.len() * 8 + 16).map(|at| (u8::try_from(at % 4).unwrap(), 0));
            for (at, (step, pick)) in steps.into_iter().chain(drain).enumerate() {
                match step {
                    0 => if let Some((seq, name)) = feed.next() { lanes.push(key(&[name]), (seq, name)); },
                    1 => if let Some(started) = lanes.start() {
                        let lane = lanes.lane_of(started);
                        prop_assert!(running.iter().all(|id| lanes.lane_of(*id) != lane), "two of a key at once");
                        running.push(started);
                    },
                    2 if !running.is_empty() => {
                        let id = running.swap_remove(pick % running.len());
                        let lane = lanes.lane_of(id).unwrap();
                        if at < finish && lanes.get(id).unwrap().0 % 3 == 0 {
                            waiting.push((lane, lanes.put_back(lane, std::iter::once(id))));
                        } else {
                            done.extend(lanes.remove(id));
                            lanes.release(lane);
                        }
                    }
                    _ => waiting.drain(..).for_each(|(lane, wait)| lanes.resume(lane, wait)),
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
