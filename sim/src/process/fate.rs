//! How will a call end, and when? As the seed says.

use std::collections::HashMap;
use std::time::Duration;

use delivery::outcome::{Done, HandlerError};
use delivery::worker::CallEnd;

use super::handler::Handler;
use super::item::Item;
use super::step::Step;
use crate::history::Nature;
use crate::policy::POLICY;

/// Of a hundred calls to a handler in good health, while there are faults.
const PANICKING_PERCENT: u64 = 3;
const HANGING_PERCENT: u64 = 2;
const FAILING_PERCENT: u64 = 20;
/// So many of a hundred failures are transient.
const TRANSIENT_PERCENT: u64 = 80;

impl Handler {
    /// How a call will end, and after how long, if ever.
    pub(super) fn fate(&self, items: &[Item], step: &mut Step<'_>) -> (CallEnd, Option<Duration>) {
        // Some are slow, but not too slow for the deadline.
        let deadline = usize::try_from(POLICY.deadline.as_millis()).unwrap_or(0);
        let slow = if step.rng.percent(15) { deadline - 1 } else { 150 };
        let takes = Some(Duration::from_millis(step.rng.below(slow) as u64));
        let panics = || CallEnd::Panicked("by seed".to_owned());
        let is = |nature: Nature| items.iter().any(|item| item.record.nature == nature);
        let luck = step.rng.next() % 100;
        if step.now < self.broken_until || is(Nature::Poison) {
            return (panics(), takes);
        }
        let all =
            |result: Result<Done, HandlerError>| CallEnd::Answered(items.iter().map(|_| result.clone()).collect());
        if is(Nature::Hangs) {
            return (all(Ok(Done::Handled)), None);
        }
        if step.now < self.away_until {
            return (all(Err(HandlerError::unavailable("its store"))), takes);
        }
        if step.faults && luck < PANICKING_PERCENT {
            return (panics(), takes);
        }
        if step.faults && luck < PANICKING_PERCENT + HANGING_PERCENT {
            // It would answer, but long after its deadline.
            return (all(Ok(Done::Handled)), step.rng.percent(50).then_some(POLICY.deadline * 2));
        }
        // As the handler promises: behind a failed event those of its key fail as it did.
        let mut failed: HashMap<(usize, u8), HandlerError> = HashMap::new();
        let results = items.iter().map(|item| {
            if let Some(error) = failed.get(&item.suspect()) {
                return Err(error.clone());
            }
            let fails = step.faults && step.rng.percent(FAILING_PERCENT);
            let error = match fails.then(|| step.rng.percent(TRANSIENT_PERCENT)) {
                None => return Ok(Done::Handled),
                Some(true) => HandlerError::transient("by seed"),
                Some(false) => HandlerError::permanent("by seed"),
            };
            failed.insert(item.suspect(), error.clone());
            Err(error)
        });
        (CallEnd::Answered(results.collect()), takes)
    }
}
