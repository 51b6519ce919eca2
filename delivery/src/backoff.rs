//! How long is the pause before something that failed is tried again? Exponential, capped, with jitter.

use std::time::Duration;

/// A backoff that doubles from `first` up to `most`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// The pause after failure number `failure` (from 1); `random` is a number in 0..1.
    ///
    /// It lies between half and all of the exponential value ("equal jitter"): those that failed together do not come
    /// back together, and none comes back at once.
    pub(crate) fn pause(self, failure: u32, random: f64) -> Duration {
        let doublings = failure.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.most);
        full.div_f64(2.0) + full.mul_f64(random.clamp(0.0, 1.0) / 2.0)
    }
}
