//! What a process works with at a step of the world.

use std::time::Instant;

use crate::history::History;
use crate::rng::Rng;

pub(crate) const TOPIC: &str = "t";

/// What a process works with at a step.
pub(crate) struct Step<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut Rng,
    pub(crate) history: &'a mut History,
    /// Whether anything fails.
    pub(crate) faults: bool,
}
