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
    by_key: FxHashMap<LaneKey, LaneId>,
    by_place: Arena<Lane>,
    /// The items of all lanes, those included that run.
    items: Arena<Placed<T>>,
    /// Lanes that may run, in the order in which they became so.
    ready: VecDeque<LaneId>,
    limit: usize,
    running: usize,
    queued: usize,
    last_wait: u32,
}

#[derive(Debug)]
struct Placed<T> {
    lane: LaneId,
    item: T,
}

/// A lane as long as it has items; the name may then be given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneId(Id);

#[derive(Debug)]
struct Lane {
    key: LaneKey,
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
            by_place: Arena::new(),
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
        let lane = *self.by_key.entry(key).or_insert_with(|| {
            let lane = LaneId(self.by_place.insert(Lane { key, queue: Queue::EMPTY, state: LaneState::Ready }));
            self.ready.push_back(lane);
            lane
        });
        let id = self.items.insert(Placed { lane, item });
        if let Some(lane) = self.by_place.get_mut(lane.0) {
            self.items.push_back(&mut lane.queue, id);
            self.queued += 1;
        }
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
    pub fn lane_of(&self, id: Id) -> Option<LaneId> {
        self.items.get(id).map(|placed| placed.lane)
    }

    /// Starts the first item of a lane that runs nothing; the lane runs from now on. `None` when no lane may run.
    pub fn start(&mut self) -> Option<Id> {
        if self.running >= self.limit {
            return None;
        }
        loop {
            let id = self.ready.pop_front()?;
            let lane = self.by_place.get_mut(id.0)?;
            if let Some(first) = self.items.pop_front(&mut lane.queue) {
                lane.state = LaneState::Running;
                self.running += 1;
                self.queued -= 1;
                return Some(first);
            }
            self.end(id);
        }
    }

    /// The same for the first lane whose item is `wanted`. Looks at all that may run: for rare choices.
    pub fn start_where(&mut self, wanted: impl Fn(&T) -> bool) -> Option<Id> {
        let at = self.ready.iter().position(|id| {
            let first = self.by_place.get(id.0).and_then(|lane| self.items.get(lane.queue.first()?));
            first.is_some_and(|placed| wanted(&placed.item))
        })?;
        let id = self.ready.remove(at)?;
        self.ready.push_front(id);
        self.start()
    }

    /// Takes back a start: the item is the first of its lane again, and its lane the first to run.
    pub fn unstart(&mut self, id: Id) {
        let Some(at) = self.lane_of(id) else { return };
        self.put_back(at, std::iter::once(id));
        if let Some(lane) = self.by_place.get_mut(at.0) {
            lane.state = LaneState::Ready;
            self.ready.push_front(at);
        }
    }

    /// Starts the next item of a running lane, to be worked on together with the one before it, if `accept` agrees.
    pub fn join(&mut self, at: LaneId, accept: impl FnOnce(&T) -> bool) -> Option<Id> {
        let lane = self.by_place.get_mut(at.0).filter(|lane| lane.state == LaneState::Running)?;
        self.items.get(lane.queue.first()?).filter(|placed| accept(&placed.item))?;
        self.queued -= 1;
        self.items.pop_front(&mut lane.queue)
    }

    /// Puts items of a running lane back at its head, in their order; the lane waits until [`resume`](Self::resume).
    pub fn put_back(&mut self, at: LaneId, items: impl DoubleEndedIterator<Item = Id>) -> Wait {
        self.last_wait = self.last_wait.wrapping_add(1);
        let wait = Wait(self.last_wait);
        let Some(lane) = self.by_place.get_mut(at.0).filter(|lane| lane.state == LaneState::Running) else {
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
    pub fn unwait(&mut self, at: LaneId, wait: Wait, id: Id) {
        if let Some(lane) = self.by_place.get_mut(at.0).filter(|lane| lane.state == LaneState::Waiting(wait)) {
            self.items.push_front(&mut lane.queue, id);
            self.queued += 1;
        }
        self.resume(at, wait);
    }

    /// What a lane waited for is over: it may run again.
    pub fn resume(&mut self, at: LaneId, wait: Wait) {
        if let Some(lane) = self.by_place.get_mut(at.0).filter(|lane| lane.state == LaneState::Waiting(wait)) {
            lane.state = LaneState::Ready;
            self.ready.push_back(at);
        }
    }

    /// What a running lane worked on has ended; its next item may run.
    pub fn release(&mut self, at: LaneId) {
        let Some(lane) = self.by_place.get_mut(at.0).filter(|lane| lane.state == LaneState::Running) else {
            debug_assert!(false, "only a running lane is released");
            return;
        };
        self.running -= 1;
        if lane.queue.is_empty() {
            self.end(at);
        } else {
            lane.state = LaneState::Ready;
            self.ready.push_back(at);
        }
    }

    /// A lane has no items any more.
    fn end(&mut self, at: LaneId) {
        if let Some(lane) = self.by_place.remove(at.0) {
            self.by_key.remove(&lane.key);
        }
    }

    /// Takes out every item that was not started and that `gone` names.
    pub fn sweep(&mut self, mut gone: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut swept = Vec::new();
        let Self { by_key, by_place, items, ready, .. } = self;
        by_key.retain(|_, id| {
            let Some(lane) = by_place.get_mut(id.0) else { return false };
            let mut kept = Queue::EMPTY;
            while let Some(item) = items.pop_front(&mut lane.queue) {
                if items.get(item).is_some_and(|placed| gone(&placed.item)) {
                    swept.extend(items.remove(item).map(|placed| placed.item));
                } else {
                    items.push_back(&mut kept, item);
                }
            }
            lane.queue = kept;
            // A lane that waits stays, also when it is empty: what it waits for (a dead letter, say) holds its place, and
            // `resume` is still to come.
            let stays = lane.state != LaneState::Ready || !lane.queue.is_empty();
            if !stays {
                by_place.remove(id.0);
            }
            stays
        });
        ready.retain(|id| by_place.get(id.0).is_some());
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
