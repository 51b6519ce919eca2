//! What a partition may have in flight, and when it is paused.

use proptest::prelude::*;

use super::super::backpressure::Tap;
use super::super::hold::PATIENCE;
use super::super::progress::codec::{decode, encode, max_runs_bytes};
use super::hold::PauseCause;
use super::*;

fn read(kit: &mut Kit, slot: u32, from: i64, count: usize) {
    for offset in (from..).take(count) {
        assert_eq!(kit.track(slot, offset, 10), Tracked::New);
    }
}

fn regulate(kit: &mut Kit, now: Instant) -> Vec<Tap> {
    kit.member.backpressure.regulate(&mut kit.member.partitions, now)
}

/// Reads what it may of one partition until it may read no more.
fn fill(kit: &mut Kit, slot: u32) -> usize {
    let mut read_so_far = 0;
    while kit.member.room_of(slot) > 0 {
        let room = kit.member.room_of(slot);
        read(kit, slot, i64::try_from(read_so_far).unwrap(), room);
        read_so_far += room;
    }
    read_so_far
}

#[test]
fn one_that_is_stuck_is_paused_after_a_while_and_leaves_room_for_the_others() {
    let mut kit = Kit::new(100, 1_000_000, MAX_METADATA_BYTES);
    let (stuck, _) = kit.assign("stuck", 0);
    let (other, _) = kit.assign("other", 0);
    assert_eq!(fill(&mut kit, stuck), 50, "as much as is left");
    let begin = Instant::now();
    assert_eq!(regulate(&mut kit, begin), []);
    assert_eq!((regulate(&mut kit, begin + PATIENCE / 2), kit.member.room_of(stuck)), (vec![], 0));
    let cause = PauseCause::Backpressure;
    assert_eq!(regulate(&mut kit, begin + PATIENCE), [Tap { slot: stuck, paused: true, cause }]);
    assert_eq!(fill(&mut kit, other), 25, "half of what the stuck one left");
    assert_eq!(kit.member.free(), 25);
}

#[test]
fn one_whose_bytes_are_more_than_what_is_left_is_held_too() {
    let mut kit = Kit::new(100, 1_000, MAX_METADATA_BYTES);
    let (slot, epoch) = kit.assign("t", 0);
    assert_eq!(kit.track(slot, 0, 501), Tracked::New);
    kit.member.regulate(499, kit.now);
    assert_eq!(kit.member.room_of(slot), 0);
    kit.settle((slot, epoch), [0]);
    assert!(kit.member.room_of(slot) > 0);
}

#[test]
fn a_paused_one_is_resumed_at_half_of_what_it_may_have_and_a_quick_one_is_never_paused() {
    let mut kit = Kit::new(100, 1_000_000, MAX_METADATA_BYTES);
    let (slot, epoch) = kit.assign("t", 0);
    fill(&mut kit, slot);
    let (begin, cause) = (Instant::now(), PauseCause::Backpressure);
    regulate(&mut kit, begin);
    kit.settle((slot, epoch), [0]);
    assert_eq!(regulate(&mut kit, begin + PATIENCE), [], "it made room in between");
    read(&mut kit, slot, 50, 1);
    regulate(&mut kit, begin + PATIENCE);
    assert_eq!(regulate(&mut kit, begin + 2 * PATIENCE), [Tap { slot, paused: true, cause }]);
    kit.settle((slot, epoch), 1..17);
    assert_eq!(regulate(&mut kit, begin + 3 * PATIENCE), [], "34 on their way, 66 left");
    kit.settle((slot, epoch), 17..18);
    assert_eq!(regulate(&mut kit, begin + 3 * PATIENCE), [Tap { slot, paused: false, cause }]);
    assert!(kit.member.room_of(slot) > 0);
}

#[test]
fn a_topic_that_somebody_paused_stays_so_through_assignments_until_it_is_resumed() {
    let mut kit = Kit::new(100, 1_000, MAX_METADATA_BYTES);
    let (now, cause) = (Instant::now(), PauseCause::Operator);
    let (first, _) = kit.assign("t", 0);
    kit.member.pause_topic("t", cause, true);
    assert_eq!(regulate(&mut kit, now), [Tap { slot: first, paused: true, cause }]);
    assert_eq!(regulate(&mut kit, now), [], "said once");
    kit.assign("t", 0);
    let (second, _) = kit.assign("t", 1);
    let (other, _) = kit.assign("other", 0);
    let again = [first, second].map(|slot| Tap { slot, paused: true, cause });
    assert_eq!(regulate(&mut kit, now), again, "each assignment begins unpaused at the source");
    assert!(kit.member.partition_views().all(|at| at.paused.is_some() == (at.slot != other)));
    kit.member.pause_topic("t", cause, false);
    assert_eq!(regulate(&mut kit, now), [first, second].map(|slot| Tap { slot, paused: false, cause }));
}

#[test]
fn a_partition_with_nothing_on_its_way_may_have_one_record_however_much_was_settled_of_it_before() {
    let mut kit = Kit::new(1_000, 1_000_000, 100);
    let at = kit.assign("t", 0);
    let runs: Vec<_> = (0..i64::try_from(max_runs_bytes(100) / 2).unwrap()).map(|at| 2 * at + 1..2 * at + 2).collect();
    let metadata = encode(0, runs.iter().cloned(), 100);
    kit.member.go_on_from(vec![offset(0, &metadata)], Vec::new());
    assert_eq!(kit.member.room_of(at.0), 1, "the metadata is full");
    for run in &runs {
        assert_eq!(kit.track(at.0, run.start - 1, 1), Tracked::New);
        kit.settle(at, [run.start - 1]);
        assert_eq!(kit.track(at.0, run.start, 1), Tracked::SettledBefore);
        assert!(kit.member.room_of(at.0) >= 1);
    }
    read(&mut kit, at.0, runs[runs.len() - 1].end, 1);
    assert!(kit.member.room_of(at.0) > 1, "all of it was passed");
}

proptest! {
    #[test]
    fn a_commit_never_has_to_leave_anything_out(
        max_metadata_bytes in 30usize..200,
        steps in prop::collection::vec((0u8..8, any::<prop::sample::Index>(), 0i64..300), 1..400),
    ) {
        let mut kit = Kit::new(200, 100_000, max_metadata_bytes);
        let (mut at, mut end) = (kit.assign("t", 0), 0);
        let mut open: Vec<i64> = Vec::new();
        for (kind, index, hole) in steps {
            match kind {
                0 | 1 => {
                    // As many as it may, now and then with holes in between.
                    for _ in 0..kit.member.room_of(at.0) {
                        end += if kind == 0 { hole } else { 0 };
                        if kit.track(at.0, end, 10) == Tracked::New { open.push(end) }
                        end += 1;
                    }
                }
                // The next owner goes on from the commit.
                2 if index.index(4) == 0 => {
                    let Some((number, commits)) = kit.commit() else { continue };
                    kit.commit_answered(at.0, number, Taken::Yes);
                    let Some(commit) = commits.into_iter().next() else { continue };
                    end = commit.offset;
                    open.clear();
                    at = kit.assign("t", 0);
                    kit.member.go_on_from(vec![commit], Vec::new());
                }
                _ if open.is_empty() => {}
                _ => kit.settle(at, [open.swap_remove(index.index(open.len()))]),
            }
            let Some(assigned) = kit.member.partitions.get(at.0) else { continue };
            let settled = assigned.frontier.settled_above();
            let position = assigned.frontier.position().unwrap_or(0);
            let written = encode(position, settled.iter().cloned(), max_metadata_bytes);
            prop_assert_eq!(decode(position, &written), Ok(settled));
        }
    }
}
