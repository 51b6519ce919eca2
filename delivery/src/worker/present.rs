//! Is there a handler, and should there be one?

use crate::sabotage::{self, Sabotage};

/// The handler that is called now, and whether another is made where there is none.
#[derive(Debug)]
pub(crate) struct Present {
    is_there: bool,
    /// How many were made. A panic of a call to an earlier one says nothing of the present one.
    generation: u32,
    /// How often none could be made since the last that was.
    failures: u32,
    /// The next one only takes the place of one that ended with its driver, whose restart counts already.
    ended_with_driver: bool,
    wanted: Wanted,
}

/// Whether a handler is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Now,
    /// When the operator who stopped it says so.
    OnCommand,
    /// It was given up.
    Never,
}

impl Present {
    pub(crate) fn new() -> Self {
        Self { is_there: false, generation: 0, failures: 0, ended_with_driver: false, wanted: Wanted::Now }
    }

    /// The generation of the present handler.
    pub(crate) fn generation(&self) -> Option<u32> {
        self.is_there.then_some(self.generation)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    pub(crate) fn is_missing(&self) -> bool {
        !self.is_there && self.wanted == Wanted::Now
    }

    /// Whether it is the first that is missing.
    pub(crate) fn was_never_there(&self) -> bool {
        self.generation == 0
    }

    /// It was made. Returns whether it takes the place of another.
    pub(crate) fn made(&mut self) -> bool {
        self.is_there = true;
        self.failures = 0;
        self.generation += 1;
        !std::mem::take(&mut self.ended_with_driver) && self.generation > 1
    }

    /// It could not be made. Returns how often that happened in a row.
    pub(crate) fn not_made(&mut self) -> u32 {
        self.failures += 1;
        self.failures
    }

    /// A call to the handler of that generation panicked. Returns whether that ends the present one.
    pub(crate) fn panicked(&mut self, generation: u32) -> bool {
        let present = generation == self.generation || sabotage::is(Sabotage::OldPanicEndsThePresent);
        present && std::mem::replace(&mut self.is_there, false)
    }

    /// It ends; `wanted` says whether another is made.
    pub(crate) fn end(&mut self, wanted: Wanted) {
        self.is_there = false;
        self.failures = 0;
        self.wanted = wanted;
    }

    /// Its driver is restarted: it ends, and all else stays.
    pub(crate) fn dropped(&mut self) {
        self.is_there = false;
        self.ended_with_driver = true;
    }
}
