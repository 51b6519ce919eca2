//! Which frontiers do not move although there is something to do, and what do they wait for?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::member::assigned::Assigned;
use crate::member::partitions::{Measured, Partitions};

/// A frontier that does not move for so long is suspicious.
pub const STALL_AFTER: Duration = Duration::from_secs(10);
/// A call is slow when it has run for so long.
pub const SLOW_AFTER: Duration = Duration::from_secs(1);
/// Slow calls of a handler that are named.
pub const MAX_SLOW_CALLS: usize = 16;

/// A call to a handler that has run for more than [`SLOW_AFTER`], named by its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowCall {
    /// Slot of the record's assignment.
    pub slot: u32,
    /// Epoch of the record's assignment.
    pub epoch: u32,
    /// Offset of the record.
    pub offset: i64,
    /// Its key as text.
    pub key: Option<String>,
    /// When the call began.
    pub since: Instant,
}

/// The slow calls of a handler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlowCalls {
    /// The oldest first, [`MAX_SLOW_CALLS`] at most.
    pub calls: Vec<SlowCall>,
    /// Whether as many lanes run as may.
    pub is_full: bool,
}

/// What a member cannot see by itself of what its records go through.
#[derive(Clone, Debug, Default)]
pub struct StallContext {
    /// Whether a broker is reached. Without one nothing can come: that is told already.
    pub reachable: bool,
    /// Whether an operator stopped something that all records go through: then frontiers do not move by his will.
    pub stopped: bool,
    /// By topic.
    pub handlers: Vec<HandlerView>,
}

/// What is seen of the handler of a topic.
#[derive(Clone, Debug)]
pub struct HandlerView {
    /// Its topic.
    pub topic: String,
    /// Whether the thread of its actor turns.
    pub turns: bool,
    /// Its slow calls.
    pub slow: SlowCalls,
}

/// A frontier that does not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The lowest unsettled offset.
    pub offset: i64,
    /// Its key as text, where its handler told.
    pub key: Option<String>,
    /// What it waits for.
    pub why: &'static str,
    /// For how long it has not moved.
    pub still: Duration,
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Begun(u32, Stall),
    Over(u32, i64),
}

/// Remembers since when each frontier is where it is.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    still: BTreeMap<u32, Still>,
    known: BTreeMap<u32, Stall>,
}

#[derive(Clone, Copy, Debug)]
struct Still {
    epoch: u32,
    position: Option<i64>,
    since: Instant,
}

impl StallWatch {
    /// Checks all partitions, and gives what has changed.
    pub(crate) fn check(&mut self, partitions: &Partitions, context: &StallContext, now: Instant) -> Vec<Change> {
        self.still.retain(|slot, _| partitions.get(*slot).is_some());
        let mut stalls = BTreeMap::new();
        for (assigned, measured) in partitions.with_measured() {
            let (slot, epoch) = (assigned.slot(), assigned.assignment.epoch);
            let position = assigned.frontier.position();
            let fresh = Still { epoch, position, since: now };
            let still = self.still.entry(slot).or_insert(fresh);
            if still.epoch != epoch || still.position != position || is_well(assigned, measured, context) {
                *still = fresh;
            }
            let still_for = now.saturating_duration_since(still.since);
            if still_for < STALL_AFTER {
                continue;
            }
            match waits_for(assigned, context) {
                Some((why, key)) => {
                    let Some(offset) = position else { continue };
                    stalls.insert(slot, Stall { offset, key, why, still: still_for });
                }
                // Its record waits for its next attempt, a dead letter or a handler: the time begins again.
                None => still.since = now,
            }
        }
        self.changes(stalls)
    }

    fn changes(&mut self, stalls: BTreeMap<u32, Stall>) -> Vec<Change> {
        let over = self.known.iter().filter(|(slot, _)| !stalls.contains_key(slot));
        let mut changes: Vec<Change> = over.map(|(slot, stall)| Change::Over(*slot, stall.offset)).collect();
        for (slot, stall) in &stalls {
            let told = self.known.get(slot).is_some_and(|known| (known.offset, known.why) == (stall.offset, stall.why));
            if !told {
                changes.push(Change::Begun(*slot, stall.clone()));
            }
        }
        self.known = stalls;
        changes
    }

    /// Nothing is assigned any more.
    pub(crate) fn forget(&mut self) -> Vec<Change> {
        self.still.clear();
        self.changes(BTreeMap::new())
    }

    /// The stall of a slot.
    pub(crate) fn of(&self, slot: u32) -> Option<&Stall> {
        self.known.get(&slot)
    }

    /// Partitions whose frontier does not move.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }
}

/// Whether a frontier has nothing to do, or a good reason not to move.
fn is_well(assigned: &Assigned, measured: Measured, context: &StallContext) -> bool {
    let in_flight = assigned.in_flight() > 0;
    let unread = measured.high_watermark.zip(assigned.frontier.position()).is_some_and(|(high, at)| high > at);
    let leaving = !assigned.assignment.is_open();
    let nothing_comes = !context.reachable || assigned.hold.paused().is_some();
    leaving || context.stopped || (!in_flight && (!unread || nothing_comes))
}

/// What a frontier that has not moved for too long waits for, with its record's key where that is known; `None` where it
/// waits for a good reason.
fn waits_for(assigned: &Assigned, context: &StallContext) -> Option<(&'static str, Option<String>)> {
    if assigned.in_flight() == 0 {
        return Some(("nothing comes from the broker", None));
    }
    let handler = context.handlers.iter().find(|handler| *handler.topic == *assigned.assignment.topic)?;
    if !handler.turns {
        return Some(("its handler's thread does not turn", None));
    }
    let place = (assigned.slot(), assigned.assignment.epoch, assigned.frontier.position());
    let slow = handler.slow.calls.iter().find(|call| (call.slot, call.epoch, Some(call.offset)) == place);
    match slow {
        Some(call) => Some(("its handler has not answered", call.key.clone())),
        None if handler.slow.is_full && !handler.slow.calls.is_empty() => {
            Some(("all that may run at once runs and does not end", None))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::TopicPartition;

    /// A partition with one record in flight at offset 42, and what else its member knows.
    fn stuck() -> (Partitions, StallContext) {
        let mut partitions = Partitions::default();
        let (slot, _) = partitions.assign("t", 0);
        let _ = partitions.get_mut(slot).unwrap().frontier.track(42, 1);
        let handler = HandlerView { topic: "t".to_owned(), turns: true, slow: SlowCalls::default() };
        (partitions, StallContext { reachable: true, stopped: false, handlers: vec![handler] })
    }

    fn call(partitions: &Partitions, offset: i64, since: Instant) -> SlowCall {
        let assigned = partitions.get(0).unwrap();
        SlowCall { slot: 0, epoch: assigned.assignment.epoch, offset, key: Some("key".to_owned()), since }
    }

    /// What is named after the time.
    fn named(partitions: &Partitions, context: &StallContext) -> Option<(&'static str, Option<String>)> {
        let begin = Instant::now();
        let mut watch = StallWatch::default();
        assert_eq!(watch.check(partitions, context, begin), []);
        assert_eq!(watch.check(partitions, context, begin + STALL_AFTER / 2), []);
        watch.check(partitions, context, begin + STALL_AFTER);
        watch.of(0).map(|stall| (stall.why, stall.key.clone()))
    }

    #[test]
    fn a_frontier_that_does_not_move_with_something_to_do_is_named_until_it_moves() {
        let (mut partitions, mut context) = stuck();
        let (begin, mut watch) = (Instant::now(), StallWatch::default());
        context.handlers[0].slow.calls = vec![call(&partitions, 42, begin)];
        assert_eq!(watch.check(&partitions, &context, begin), []);
        let changes = watch.check(&partitions, &context, begin + STALL_AFTER);
        assert!(matches!(&changes[..], [Change::Begun(0, stall)] if stall.still == STALL_AFTER), "{changes:?}");
        assert_eq!(watch.check(&partitions, &context, begin + STALL_AFTER), [], "told once");
        let _ = partitions.get_mut(0).unwrap().frontier.track(43, 1);
        partitions.get_mut(0).unwrap().frontier.settle(42);
        assert_eq!(watch.check(&partitions, &context, begin + STALL_AFTER), [Change::Over(0, 42)]);
        assert_eq!(watch.count(), 0);
    }

    #[test]
    fn what_a_frontier_waits_for_is_named_by_what_its_handler_says() {
        let (mut partitions, mut context) = stuck();
        let since = Instant::now();
        assert_eq!(named(&partitions, &context), None, "its record waits for its next attempt");
        context.handlers[0].slow = SlowCalls { calls: vec![call(&partitions, 7, since)], is_full: true };
        assert_eq!(named(&partitions, &context), Some(("all that may run at once runs and does not end", None)));
        context.handlers[0].slow.calls.push(call(&partitions, 42, since));
        let key = Some("key".to_owned());
        assert_eq!(named(&partitions, &context), Some(("its handler has not answered", key)));
        context.handlers[0].turns = false;
        assert_eq!(named(&partitions, &context), Some(("its handler's thread does not turn", None)));
        partitions.get_mut(0).unwrap().frontier.settle(42);
        assert_eq!(named(&partitions, &context), None, "there is nothing to do");
        let at = TopicPartition { topic: "t".to_owned(), partition: 0 };
        partitions.measured([(at, Measured { high_watermark: Some(50), lag: None })]);
        assert_eq!(named(&partitions, &context), Some(("nothing comes from the broker", None)));
        context.reachable = false;
        assert_eq!(named(&partitions, &context), None, "that is told already");
    }

    #[test]
    fn one_that_has_nothing_to_do_is_paused_waits_or_came_again_is_not() {
        let is_stalled = |change: &dyn Fn(&mut Partitions, &mut StallContext)| {
            let (mut partitions, mut context) = stuck();
            let (begin, mut watch) = (Instant::now(), StallWatch::default());
            context.handlers[0].turns = false;
            watch.check(&partitions, &context, begin);
            change(&mut partitions, &mut context);
            watch.check(&partitions, &context, begin + STALL_AFTER);
            watch.count() == 1
        };
        assert!(is_stalled(&|_, _| {}));
        assert!(!is_stalled(&|_, context| context.stopped = true));
        assert!(!is_stalled(&|partitions, _| partitions.get(0).unwrap().assignment.close()));
        assert!(!is_stalled(&|partitions, _| {
            partitions.assign("t", 0);
            let _ = partitions.get_mut(0).unwrap().frontier.track(42, 1);
        }));
    }
}
