//! Where is a record from its arrival to its end? In one vector, whatever its lane does, so that an unwinding panic loses none.
//! Lanes and calls in flight are kept in the same way.

/// Names an item of an [`Arena`] until it is removed; the name may then be given to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// Items that stay in their place while queues through them change: an item costs no allocation. The memory is that of the
/// most items there ever were, which is bounded by the credits and the limit of lanes.
#[derive(Debug)]
pub(crate) struct Arena<T> {
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

    pub(crate) fn first(self) -> Option<Id> {
        (self.first != NOWHERE).then_some(Id(self.first))
    }
}

impl<T> Arena<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: NOWHERE }
    }

    /// Adds an item, in no queue.
    pub(crate) fn insert(&mut self, item: T) -> Id {
        let place = Place { item: Some(item), next: NOWHERE };
        let at = self.free;
        if let Some(free) = self.places.get_mut(at as usize) {
            self.free = free.next;
            *free = place;
            return Id(at);
        }
        self.places.push(place);
        Id(u32::try_from(self.places.len() - 1).expect("credits and the limit of lanes keep it far below 2^32 items"))
    }

    /// Takes an item out that is in no queue.
    pub(crate) fn remove(&mut self, Id(at): Id) -> Option<T> {
        let place = self.places.get_mut(at as usize)?;
        let item = place.item.take()?;
        place.next = std::mem::replace(&mut self.free, at);
        Some(item)
    }

    #[inline]
    pub(crate) fn get(&self, Id(at): Id) -> Option<&T> {
        self.places.get(at as usize)?.item.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, Id(at): Id) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.item.as_mut()
    }

    /// Puts an item that is in no queue at the end of one.
    pub(crate) fn push_back(&mut self, queue: &mut Queue, Id(at): Id) {
        match self.places.get_mut(queue.last as usize) {
            Some(last) => last.next = at,
            None => queue.first = at,
        }
        queue.last = at;
    }

    /// Puts an item that is in no queue at the head of one.
    pub(crate) fn push_front(&mut self, queue: &mut Queue, Id(at): Id) {
        if let Some(place) = self.places.get_mut(at as usize) {
            place.next = queue.first;
        }
        if queue.is_empty() {
            queue.last = at;
        }
        queue.first = at;
    }

    /// Takes the first item out of a queue; it keeps its place.
    pub(crate) fn pop_front(&mut self, queue: &mut Queue) -> Option<Id> {
        let at = queue.first;
        let place = self.places.get_mut(at as usize)?;
        queue.first = std::mem::replace(&mut place.next, NOWHERE);
        if queue.is_empty() {
            queue.last = NOWHERE;
        }
        Some(Id(at))
    }

    /// All items, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.item.as_ref())
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|place| place.item.as_mut())
    }

    pub(crate) fn into_all(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|place| place.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_keeps_its_place_whatever_queue_it_is_in_and_a_free_place_is_used_again() {
        let mut arena = Arena::new();
        let mut queue = Queue::EMPTY;
        let [one, two, three] = [1, 2, 3].map(|item| arena.insert(item));
        arena.push_back(&mut queue, two);
        arena.push_back(&mut queue, three);
        arena.push_front(&mut queue, one);
        assert_eq!((arena.pop_front(&mut queue), queue.first()), (Some(one), Some(two)));
        assert_eq!((arena.get(one).copied(), arena.remove(one), arena.remove(one)), (Some(1), Some(1), None));
        let four = arena.insert(4);
        assert_eq!((four, arena.all().sum::<i32>()), (one, 2 + 3 + 4));
        arena.push_back(&mut queue, four);
        let order: Vec<Id> = std::iter::from_fn(|| arena.pop_front(&mut queue)).collect();
        assert_eq!((order, queue.is_empty()), (vec![two, three, four], true));
        assert_eq!(arena.into_all().count(), 3, "in no queue, and still there");
    }
}
