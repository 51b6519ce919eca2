//! Panics on demand, for tests of what survives them. Compiled with the feature `faults` alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Places in an actor's code, and how often it should panic there.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<&'static str, u32>>);

impl Faults {
    /// The actor panics the next `times` times that it passes `place`.
    pub fn arm(&self, place: &'static str, times: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place, times);
    }

    /// How often it should still panic there.
    #[must_use]
    pub fn left(&self, place: &'static str) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(place).copied().unwrap_or(0)
    }

    pub(super) fn pass(&self, place: &'static str) {
        let panics = {
            let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            armed.get_mut(place).is_some_and(|left| {
                let panics = *left > 0;
                *left = left.saturating_sub(1);
                panics
            })
        };
        assert!(!panics, "a fault at {place}");
    }
}
