//! The memory of batches: counted while a batch lives, whatever of it is still wanted, and used again by later ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Entry, RecordBatch};

/// Spare buffers kept: as many batches as are usually on their way at once.
const MAX_SPARE_BATCHES: usize = 16;
/// A buffer that a huge record has grown is given back to the allocator instead of being kept.
const MAX_SPARE_ARENA_BYTES: usize = 512 << 10;
/// A batch that uses less than this part of its memory gives the rest back: it may live long.
const WORTH_SHRINKING: usize = 4;

/// The memory of one batch.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) arena: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

impl Buffers {
    /// Bytes they take.
    pub(super) fn size(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    pub(super) fn shrink(&mut self) {
        if self.arena.len() < self.arena.capacity() / WORTH_SHRINKING {
            self.arena.shrink_to_fit();
        }
        if self.entries.len() < self.entries.capacity() / WORTH_SHRINKING {
            self.entries.shrink_to_fit();
        }
    }
}

/// Gives the memory of finished batches to new ones, and knows how much is in use; a clone is the same pool.
#[derive(Clone, Default)]
pub struct BatchPool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    limit_bytes: usize,
    held_bytes: AtomicUsize,
    spare: Mutex<Vec<Buffers>>,
}

impl BatchPool {
    /// A pool for batches of so many bytes in all. It says what is free and refuses nothing.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Shared { limit_bytes, ..Shared::default() }))
    }

    /// An empty batch on recycled memory where there is some.
    #[must_use]
    pub fn batch(&self) -> RecordBatch {
        let buffers = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        RecordBatch { buffers, assignments: Vec::new(), pool: self.clone(), held_bytes: 0 }
    }

    /// What sealed batches may still take.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.0.limit_bytes.saturating_sub(self.0.held_bytes.load(Ordering::Relaxed))
    }

    /// Whether more than half of the memory is in use.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.free_bytes() < self.0.limit_bytes / 2
    }

    /// A batch takes `now` instead of `before`.
    pub(super) fn hold(&self, before: usize, now: usize) {
        // Relaxed: it is a number for decisions that a moment's lateness does not spoil.
        self.0.held_bytes.fetch_add(now, Ordering::Relaxed);
        self.0.held_bytes.fetch_sub(before, Ordering::Relaxed);
    }

    pub(super) fn recycle(&self, mut buffers: Buffers) {
        if buffers.arena.capacity() > MAX_SPARE_ARENA_BYTES {
            return;
        }
        buffers.arena.clear();
        buffers.entries.clear();
        let mut spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MAX_SPARE_BATCHES {
            spare.push(buffers);
        }
    }
}
