//! A record on its way through a handler's actor, and what one call to the handler works on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::invoke::Run;
use crate::record::{Record, RecordBatch};
use delivery::answer::Answer;
use delivery::worker::blame::Era;
use delivery::worker::lanes::LaneKey;

/// One record on its way. Dropped without an answer, wherever a panic may have led to that, it comes back to its actor.
pub(super) struct Item {
    pub(super) batch: Arc<RecordBatch>,
    pub(super) index: u32,
    pub(super) attempts: u32,
    /// Microseconds since the epoch; zero before the first failure.
    pub(super) first_failure_us: i64,
    /// When it failed first, as the blame for panics counts; `None` also where nobody knows any more.
    pub(super) failed_in: Option<Era>,
    answered: Cell<bool>,
    fallen: Rc<Fallen>,
}

/// What became of records that were dropped without an answer.
#[derive(Default)]
pub(super) struct Fallen(RefCell<Vec<Left>>);

/// What is left of one.
struct Left {
    batch: Arc<RecordBatch>,
    index: u32,
    attempts: u32,
    first_failure_us: i64,
}

impl Drop for Item {
    fn drop(&mut self) {
        if self.answered.get() {
            return;
        }
        // What was in hand when its actor panicked has failed in that attempt.
        let attempts = self.attempts + u32::from(std::thread::panicking());
        let Self { index, first_failure_us, .. } = *self;
        let left = Left { batch: Arc::clone(&self.batch), index, attempts, first_failure_us };
        // Borrowed for no longer than it takes to push or to take.
        self.fallen.0.borrow_mut().push(left);
    }
}

impl Fallen {
    /// All of them, as items again.
    pub(super) fn take(self: &Rc<Self>) -> Vec<Item> {
        let left = self.0.take().into_iter();
        let items = left.map(|Left { batch, index, attempts, first_failure_us }| {
            let mut item = Item::new(batch, index, self);
            (item.attempts, item.first_failure_us) = (attempts, first_failure_us);
            item
        });
        items.collect()
    }
}

/// Names a record: slot and epoch of its assignment, and its offset.
pub type Place = (u32, u32, i64);

impl Item {
    pub(super) fn new(batch: Arc<RecordBatch>, index: u32, fallen: &Rc<Fallen>) -> Self {
        let answered = Cell::new(false);
        Self { batch, index, attempts: 0, first_failure_us: 0, failed_in: None, answered, fallen: Rc::clone(fallen) }
    }

    #[inline]
    pub(super) fn record(&self) -> Record<'_> {
        self.batch.record(self.index as usize)
    }

    #[inline]
    pub(super) fn may_start(&self) -> bool {
        self.record().assignment().is_open()
    }

    /// Whether it is somebody else's now: what was started of it is cancelled.
    pub(super) fn has_ended(&self) -> bool {
        self.record().assignment().has_ended()
    }

    #[inline]
    pub(super) fn place(&self) -> Place {
        let record = self.record();
        let assignment = record.assignment();
        (assignment.slot, assignment.epoch, record.offset())
    }

    #[inline]
    pub(super) fn answer(&self, settled: bool) -> Answer {
        let (slot, epoch, offset) = self.place();
        self.answered.set(true);
        Answer { slot, epoch, offset, settled }
    }
}

/// Items that went to the handler in one call; those of one lane stand together, in order.
pub(super) struct InHand {
    /// Of the handler that was called.
    pub(super) generation: u32,
    /// Nanoseconds after the clock's origin.
    pub(super) began_ns: u64,
    pub(super) items: Run<(LaneKey, Item)>,
}
