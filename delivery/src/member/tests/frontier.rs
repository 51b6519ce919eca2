//! Where the frontier is, after whatever was tracked and settled in whatever order.

// A vector of one run is one run.
#![allow(clippy::single_range_in_vec_init)]

use proptest::prelude::*;

use super::super::frontier::{Answered, Frontier, MAX_RECORD_PROGRESS_BYTES, Tracking};
use super::super::progress::codec::{MAX_METADATA_BYTES, decode, encode};

#[test]
fn it_stays_below_an_unsettled_record_however_much_above_is_settled() {
    let mut frontier = Frontier::default();
    assert_eq!(frontier.position(), None);
    for offset in [10, 11, 14, 15] {
        assert_eq!(frontier.track(offset, 1), Tracking::New);
    }
    assert_eq!(frontier.position(), Some(10));
    for offset in [15, 11, 14] {
        assert_eq!(frontier.settle(offset), Answered::Now);
        assert_eq!(frontier.position(), Some(10));
    }
    assert_eq!(frontier.settle(10), Answered::Now);
    assert_eq!(frontier.position(), Some(16));
}

#[test]
fn a_second_answer_changes_nothing_and_a_foreign_one_is_told() {
    let mut frontier = Frontier::default();
    assert_eq!(frontier.settle(3), Answered::Unknown);
    assert_eq!((frontier.track(3, 9), frontier.track(5, 9)), (Tracking::New, Tracking::New));
    assert_eq!(frontier.track(4, 9), Tracking::WentBack);
    assert_eq!(frontier.settle(4), Answered::Before, "whatever lies below the end was polled, or does not exist");
    assert_eq!(frontier.settle(3), Answered::Now);
    assert_eq!(frontier.settle(3), Answered::Before);
    assert_eq!(frontier.settle(6), Answered::Unknown);
}

#[test]
fn it_never_passes_a_record_that_was_given_up() {
    let mut frontier = Frontier::default();
    assert_eq!((frontier.track(0, 5), frontier.track(1, 5)), (Tracking::New, Tracking::New));
    assert_eq!(frontier.give_up(0), Answered::Now);
    assert_eq!(frontier.settle(1), Answered::Now);
    assert_eq!(frontier.settle(0), Answered::Before);
    assert_eq!((frontier.position(), frontier.owned()), (Some(0), (0, 0)));
}

#[test]
fn a_resumed_one_skips_what_was_settled_and_says_so_again() {
    let mut frontier = Frontier::resume(10, vec![12..14, 20..25]);
    assert_eq!((frontier.track(10, 1), frontier.track(11, 1)), (Tracking::New, Tracking::New));
    assert_eq!((frontier.track(12, 1), frontier.track(13, 1)), (Tracking::SettledBefore, Tracking::SettledBefore));
    assert_eq!(frontier.settled_above(), [12..14, 20..25], "also what is not polled yet");
    assert_eq!(frontier.track(14, 1), Tracking::New);
    assert_eq!(frontier.settled_above(), [12..14, 20..25]);
    assert_eq!(frontier.settle(10), Answered::Now);
    assert_eq!(frontier.settle(11), Answered::Now);
    assert_eq!(frontier.position(), Some(14));
    assert_eq!(frontier.track(22, 1), Tracking::SettledBefore, "the log may have lost 15 to 21");
    assert_eq!(frontier.settled_above(), [15..25], "23 and 24 hold before they are polled");
}

#[test]
fn runs_of_another_log_are_forgotten() {
    let mut frontier = Frontier::resume(10, vec![12..14]);
    for offset in 0..14 {
        assert_eq!(frontier.track(offset, 1), Tracking::New);
    }
}

#[test]
fn all_that_was_settled_at_the_foot_is_passed_at_once() {
    let mut frontier = Frontier::resume(10, vec![11..13]);
    // 10 is gone from the log.
    assert_eq!((frontier.track(11, 1), frontier.position()), (Tracking::SettledBefore, Some(13)));
    assert_eq!(frontier.track(12, 1), Tracking::SettledBefore);
    assert_eq!((frontier.position(), frontier.settled_above().len()), (Some(13), 0));
}

proptest! {
    #[test]
    fn a_restart_repeats_what_was_unsettled_and_nothing_else(
        gaps in prop::collection::vec(1i64..4, 1..80),
        settled in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        polled_again in 0usize..80,
    ) {
        let offsets: Vec<i64> = gaps.iter().scan(100, |at, gap| { *at += gap; Some(*at) }).collect();
        let mut frontier = Frontier::default();
        let mut open: std::collections::BTreeSet<i64> = offsets.iter().copied().collect();
        for &offset in &offsets {
            prop_assert_eq!(frontier.track(offset, 1), Tracking::New);
        }
        for index in settled {
            open.remove(index.get(&offsets));
            frontier.settle(*index.get(&offsets));
        }
        let mut base = frontier.position().unwrap();
        let mut text = encode(base, frontier.settled_above().into_iter(), MAX_METADATA_BYTES);
        // A member that takes over polls a part, settles nothing, and hands on; the next one polls all.
        for take in [polled_again, usize::MAX] {
            let mut next = Frontier::resume(base, decode(base, &text).unwrap());
            for offset in offsets.iter().copied().filter(|offset| *offset >= base).take(take) {
                let expected = if open.contains(&offset) { Tracking::New } else { Tracking::SettledBefore };
                prop_assert_eq!(next.track(offset, 1), expected);
            }
            if let Some(position) = next.position() {
                base = position;
                text = encode(base, next.settled_above().into_iter(), MAX_METADATA_BYTES);
            }
        }
    }

    #[test]
    fn the_size_of_the_progress_is_bounded_at_every_step_and_settling_never_raises_the_bound(
        before in prop::collection::vec((1i64..40, prop_oneof![1i64..6, 100i64..300]), 0..12),
        steps in prop::collection::vec((0u8..10, any::<prop::sample::Index>()), 1..250),
    ) {
        // The end of each run is the start of the next gap.
        let runs = before.iter().scan(50, |at, (gap, length)| { *at += gap + length; Some(*at - length..*at) });
        let mut frontier = Frontier::resume(50, runs.collect());
        let mut open: Vec<i64> = Vec::new();
        for (kind, index) in steps {
            let bound = frontier.worst_progress_bytes();
            let next = frontier.end().unwrap_or(50);
            let raised = match kind {
                // A record, now and then a hole before it, now and then a long stretch of records.
                0..7 => {
                    let hole = if kind == 5 { i64::try_from(index.index(20_000)).unwrap() } else { 0 };
                    let count = if kind == 6 { 200u16 } else { 1 };
                    let offsets = (0..count).map(|at| next + hole + i64::from(at));
                    open.extend(offsets.filter(|offset| frontier.track(*offset, 1) == Tracking::New));
                    usize::from(count) * MAX_RECORD_PROGRESS_BYTES
                }
                _ if open.is_empty() => 0,
                _ => {
                    let offset = open.swap_remove(index.index(open.len()));
                    if kind == 7 { frontier.give_up(offset) } else { frontier.settle(offset) };
                    0
                }
            };
            prop_assert!(frontier.worst_progress_bytes() <= bound + raised);
            let text = encode(frontier.position().unwrap_or(50), frontier.settled_above().into_iter(), usize::MAX);
            // Without the letter of the version and the checksum.
            let runs_bytes = (text.len().saturating_sub(1) * 3 / 4).saturating_sub(4);
            prop_assert!(runs_bytes <= frontier.worst_progress_bytes());
        }
    }

    #[test]
    fn it_is_the_lowest_unsettled_offset_after_any_interleaving(
        gaps in prop::collection::vec(1i64..4, 1..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..120),
    ) {
        let offsets: Vec<i64> = gaps.iter().scan(100, |at, gap| { *at += gap; Some(*at) }).collect();
        let mut frontier = Frontier::default();
        let mut open = std::collections::BTreeSet::new();
        for &offset in &offsets {
            prop_assert_eq!(frontier.track(offset, 2), Tracking::New);
            open.insert(offset);
        }
        for index in order {
            let offset = *index.get(&offsets);
            let expected = if open.remove(&offset) { Answered::Now } else { Answered::Before };
            prop_assert_eq!(frontier.settle(offset), expected);
            let lowest = open.first().copied().unwrap_or(offsets[offsets.len() - 1] + 1);
            prop_assert_eq!(frontier.position(), Some(lowest));
            prop_assert_eq!(frontier.owned(), (open.len(), 2 * open.len()));
        }
    }
}
