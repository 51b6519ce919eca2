//! Many queues through one vector, so that an item costs no allocation and a short queue no more than two numbers.

/// Queues through one vector, each item with the place of the one behind it: an item costs no allocation. The memory is
/// that of the most items there ever were, which is bounded by the credits.
#[derive(Debug)]
pub(crate) struct Items<T> {
    places: Vec<Place<T>>,
    /// The first place that is free; its `next` is the second.
    free: u32,
}

#[derive(Debug)]
struct Place<T> {
    /// None where the place is free.
    item: Option<T>,
    next: u32,
}

/// Where a queue begins and ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    first: u32,
    last: u32,
}

/// No place.
const NOWHERE: u32 = u32::MAX;

impl Queue {
    pub(crate) const EMPTY: Self = Self { first: NOWHERE, last: NOWHERE };

    pub(crate) fn is_empty(self) -> bool {
        self.first == NOWHERE
    }
}

impl<T> Items<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: NOWHERE }
    }

    /// Puts an item, with this one behind it, where there is room.
    fn put(&mut self, item: T, next: u32) -> u32 {
        let place = Place { item: Some(item), next };
        let at = self.free;
        if let Some(free) = self.places.get_mut(at as usize) {
            self.free = free.next;
            *free = place;
            return at;
        }
        self.places.push(place);
        u32::try_from(self.places.len() - 1).expect("credits keep it far below 2^32 items")
    }

    /// Puts an item at the end of a queue.
    pub(crate) fn push_back(&mut self, queue: &mut Queue, item: T) {
        let at = self.put(item, NOWHERE);
        match self.places.get_mut(queue.last as usize) {
            Some(last) => last.next = at,
            None => queue.first = at,
        }
        queue.last = at;
    }

    /// Puts an item at the head of a queue.
    pub(crate) fn push_front(&mut self, queue: &mut Queue, item: T) {
        let at = self.put(item, queue.first);
        if queue.is_empty() {
            queue.last = at;
        }
        queue.first = at;
    }

    /// Takes the first item of a queue.
    pub(crate) fn pop_front(&mut self, queue: &mut Queue) -> Option<T> {
        let at = queue.first;
        let place = self.places.get_mut(at as usize)?;
        let item = place.item.take();
        queue.first = std::mem::replace(&mut place.next, self.free);
        if queue.is_empty() {
            queue.last = NOWHERE;
        }
        self.free = at;
        item
    }

    /// The items of a queue, in order.
    pub(crate) fn of(&self, queue: Queue) -> impl Iterator<Item = &T> {
        let place = |at: u32| self.places.get(at as usize);
        std::iter::successors(place(queue.first), move |before| place(before.next)).filter_map(|at| at.item.as_ref())
    }

    /// The items of all queues, in no order.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| place.item.as_mut())
    }

    /// The same, by value.
    pub(crate) fn into_all(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|place| place.item)
    }
}
