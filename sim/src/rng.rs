//! Randomness that is the same for a seed on every machine and in every version.

/// What happens in a world follows from these numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(delivery::rng::Rng);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(delivery::rng::Rng::new(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.number()
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.next() % 100 < chance
    }

    /// A number in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// One of them, if there is one.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())]) }
    }
}
