//! The stall watch-dog: which frontiers stand still although there is something to do.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A frontier that stands still for so long is suspicious.
pub const STALL_AFTER: Duration = Duration::from_secs(10);

/// Remembers since when each frontier stands where it stands.
#[derive(Debug, Default)]
pub struct StallWatch {
    still: HashMap<u32, Still>,
}

#[derive(Clone, Copy, Debug)]
struct Still {
    epoch: u32,
    position: Option<i64>,
    since: Instant,
}

/// A partition as it stands now.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Its slot.
    pub slot: u32,
    /// Epoch of its assignment.
    pub epoch: u32,
    /// Its frontier; `None` before the first record.
    pub position: Option<i64>,
    /// Whether there is something to do: records on their way, or records that are not polled yet.
    pub behind: bool,
    /// Whether it has a good reason to stand: it is paused, or leaves.
    pub excused: bool,
}

impl StallWatch {
    /// Takes the readings of all partitions, and names those that stand still for too long, with how long.
    pub fn look(&mut self, now: Instant, readings: &[Reading]) -> Vec<(u32, Duration)> {
        self.still.retain(|slot, _| readings.iter().any(|reading| reading.slot == *slot));
        let mut suspects = Vec::new();
        for &Reading { slot, epoch, position, behind, excused } in readings {
            let fresh = Still { epoch, position, since: now };
            let still = self.still.entry(slot).or_insert(fresh);
            if still.epoch != epoch || still.position != position || !behind || excused {
                *still = fresh;
            }
            let stands = now.saturating_duration_since(still.since);
            if stands >= STALL_AFTER {
                suspects.push((slot, stands));
            }
        }
        suspects
    }

    /// It stands for a good reason (its record waits for its next attempt): the time begins anew.
    pub fn excuse(&mut self, slot: u32, now: Instant) {
        if let Some(still) = self.still.get_mut(&slot) {
            still.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_42: Reading = Reading { slot: 3, epoch: 1, position: Some(42), behind: true, excused: false };

    fn stands(watch: &mut StallWatch, at: Instant, reading: Reading) -> bool {
        !watch.look(at, &[reading]).is_empty()
    }

    #[test]
    fn a_frontier_that_stands_still_with_something_to_do_is_named_until_it_moves() {
        let begin = Instant::now();
        let mut watch = StallWatch::default();
        assert!(!stands(&mut watch, begin, AT_42));
        assert!(!stands(&mut watch, begin + STALL_AFTER / 2, AT_42));
        assert_eq!(watch.look(begin + STALL_AFTER, &[AT_42]), [(3, STALL_AFTER)]);
        assert!(!stands(&mut watch, begin + STALL_AFTER, Reading { position: Some(43), ..AT_42 }));
    }

    #[test]
    fn one_that_has_nothing_to_do_is_paused_waits_or_came_anew_is_not() {
        let begin = Instant::now();
        let late = begin + STALL_AFTER;
        for quiet in
            [Reading { behind: false, ..AT_42 }, Reading { excused: true, ..AT_42 }, Reading { epoch: 2, ..AT_42 }]
        {
            let mut watch = StallWatch::default();
            assert!(!stands(&mut watch, begin, AT_42));
            assert!(!stands(&mut watch, late, quiet), "{quiet:?}");
        }
        let mut watch = StallWatch::default();
        assert!(!stands(&mut watch, begin, AT_42));
        watch.excuse(3, begin + STALL_AFTER / 2);
        assert!(!stands(&mut watch, late, AT_42) && stands(&mut watch, late + STALL_AFTER / 2, AT_42));
    }
}
