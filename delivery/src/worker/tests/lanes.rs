//! Lanes: order by key, whatever happens to the others.

use crate::assignment::PartitionSeed;
use crate::worker::Id;
use crate::worker::lanes::*;
use proptest::prelude::*;

fn key(key: &[u8]) -> LaneKey {
    LaneKey::of(PartitionSeed::of("t", 0), 0, Some(key), Unkeyed::Unordered)
}

fn lanes<T>(limit: usize, items: impl IntoIterator<Item = (LaneKey, T)>) -> Lanes<T> {
    let mut lanes = Lanes::new(limit);
    for (key, item) in items {
        lanes.push(key, item);
    }
    lanes
}

/// Starts an item and says which.
fn start(lanes: &mut Lanes<u32>) -> Option<(Id, u32)> {
    let id = lanes.start()?;
    Some((id, *lanes.get(id).unwrap()))
}

fn started(lanes: &mut Lanes<u32>) -> Option<u32> {
    start(lanes).map(|(_, item)| item)
}

fn end(lanes: &mut Lanes<u32>, id: Id) {
    let lane = lanes.lane_of(id).unwrap();
    lanes.remove(id);
    lanes.release(lane);
}

#[test]
fn one_key_runs_one_at_a_time_while_others_go_on() {
    let (a, b) = (key(b"a"), key(b"b"));
    let mut lanes = lanes(10, [(a, 1), (a, 2), (b, 3)]);
    let (first, item) = start(&mut lanes).unwrap();
    assert_eq!((item, started(&mut lanes), started(&mut lanes)), (1, Some(3), None));
    end(&mut lanes, first);
    assert_eq!(started(&mut lanes), Some(2));
    assert_eq!((lanes.running(), lanes.queued(), lanes.all().count()), (2, 0, 2));
}

#[test]
fn a_failing_key_waits_with_its_followers_behind_it_until_what_it_waits_for_is_over() {
    let (a, b) = (key(b"a"), key(b"b"));
    let mut lanes = lanes(10, [(a, 1), (a, 2), (a, 3), (b, 4)]);
    let (first, _) = start(&mut lanes).unwrap();
    let lane = lanes.lane_of(first).unwrap();
    let second = lanes.join(lane, |_| true).unwrap();
    assert_eq!(lanes.join(lane, |item| *item != 3), None);
    let wait = lanes.put_back(lane, [first, second].into_iter());
    assert_eq!((started(&mut lanes), started(&mut lanes)), (Some(4), None));
    lanes.resume(lane, wait);
    let (first, item) = start(&mut lanes).unwrap();
    assert_eq!(item, 1);
    let again = lanes.put_back(lane, std::iter::once(first));
    lanes.resume(lane, wait);
    assert_eq!(started(&mut lanes), None, "what came too late resumes nothing");
    lanes.resume(lane, again);
    assert_eq!(started(&mut lanes), Some(1));
}

#[test]
fn a_start_that_is_taken_back_is_the_next_start() {
    let mut lanes = lanes(10, [(key(b"a"), 1), (key(b"b"), 2), (key(b"a"), 3)]);
    let (first, _) = start(&mut lanes).unwrap();
    lanes.unstart(first);
    assert_eq!((started(&mut lanes), lanes.running(), lanes.queued()), (Some(1), 1, 2));
}

#[test]
fn the_first_that_is_wanted_starts_before_its_turn_and_the_others_keep_theirs() {
    let mut lanes = lanes(10, [(key(b"a"), 1), (key(b"b"), 2), (key(b"c"), 3), (key(b"c"), 4)]);
    assert_eq!(lanes.start_where(|item| *item == 4), None, "it is not the first of its lane");
    let third = lanes.start_where(|item| *item == 3).unwrap();
    assert_eq!((lanes.get(third).copied(), started(&mut lanes), started(&mut lanes)), (Some(3), Some(1), Some(2)));
}

#[test]
fn records_without_a_key_follow_the_policy() {
    let lane = |offset, unkeyed| LaneKey::of(PartitionSeed::of("t", 0), offset, None, unkeyed);
    assert_ne!(lane(1, Unkeyed::Unordered), lane(2, Unkeyed::Unordered));
    assert_eq!(lane(1, Unkeyed::PartitionOrder), lane(2, Unkeyed::PartitionOrder));
}

#[test]
fn what_is_swept_does_not_run_and_what_runs_is_not_swept() {
    let (a, b) = (key(b"a"), key(b"b"));
    let mut lanes = lanes(10, [(a, 1), (a, 2), (b, 3)]);
    let (first, item) = start(&mut lanes).unwrap();
    let mut swept = lanes.sweep(|_| true);
    swept.sort_unstable();
    assert_eq!((item, swept), (1, vec![2, 3]));
    lanes.push(b, 5);
    assert_eq!((started(&mut lanes), started(&mut lanes)), (Some(5), None));
    end(&mut lanes, first);
    assert_eq!((lanes.running(), lanes.queued()), (1, 0));
}

#[test]
fn a_lane_that_waits_for_a_dead_letter_keeps_its_place_through_a_sweep() {
    let a = key(b"a");
    let mut lanes = lanes(10, [(a, 1)]);
    let (first, _) = start(&mut lanes).unwrap();
    let lane = lanes.lane_of(first).unwrap();
    let wait = lanes.put_back(lane, std::iter::empty());
    assert!(lanes.sweep(|_| false).is_empty());
    lanes.push(a, 2);
    assert_eq!(started(&mut lanes), None, "the dead letter of 1 is still on its way");
    lanes.resume(lane, wait);
    assert_eq!(started(&mut lanes), Some(2));
}

proptest! {
    #[test]
    fn any_interleaving_keeps_order_by_key_and_loses_nothing(
        items in prop::collection::vec(0u8..5, 1..80),
        steps in prop::collection::vec((0u8..4, 0usize..1000), 0..400),
        limit in 1usize..6,
    ) {
        let mut lanes = Lanes::new(limit);
        let mut feed = items.iter().copied().enumerate();
        let mut running: Vec<Id> = Vec::new();
        let mut waiting: Vec<(LaneId, Wait)> = Vec::new();
        let mut done: Vec<(usize, u8)> = Vec::new();
        let finish = steps.len();
        let drain = (0..items.len() * 8 + 16).map(|at| (u8::try_from(at % 4).unwrap(), 0));
        for (at, (step, pick)) in steps.into_iter().chain(drain).enumerate() {
            match step {
                0 => if let Some((seq, name)) = feed.next() { lanes.push(key(&[name]), (seq, name)); },
                1 => if let Some(started) = lanes.start() {
                    let lane = lanes.lane_of(started);
                    prop_assert!(running.iter().all(|id| lanes.lane_of(*id) != lane), "two of a key at once");
                    running.push(started);
                },
                2 if !running.is_empty() => {
                    let id = running.swap_remove(pick % running.len());
                    let lane = lanes.lane_of(id).unwrap();
                    if at < finish && lanes.get(id).unwrap().0 % 3 == 0 {
                        waiting.push((lane, lanes.put_back(lane, std::iter::once(id))));
                    } else {
                        done.extend(lanes.remove(id));
                        lanes.release(lane);
                    }
                }
                _ => waiting.drain(..).for_each(|(lane, wait)| lanes.resume(lane, wait)),
            }
            prop_assert!(lanes.running() == running.len() && running.len() <= limit);
        }
        prop_assert_eq!(done.len(), items.len());
        for name in 0..5 {
            let order: Vec<_> = done.iter().filter(|item| item.1 == name).collect();
            prop_assert!(order.is_sorted());
        }
    }
}
