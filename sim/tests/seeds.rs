//! Thousands of seeded worlds keep every promise, and a deliberate bug breaks one.

// A test that cannot go on panics; that is what its unwraps are for.
#![allow(clippy::unwrap_used, missing_docs)]

use sim::{Report, Sabotage, run};

const SEEDS: u64 = 2_000;

#[test]
fn every_promise_is_kept_in_thousands_of_worlds_with_faults() {
    let mut sum = Report::default();
    for seed in 0..SEEDS {
        let report = run(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        sum.records += report.records;
        sum.repeated += report.repeated;
        sum.skipped += report.skipped;
        sum.clean_moves += report.clean_moves;
        sum.taken += report.taken;
        sum.crashes += report.crashes;
        sum.failed_commits += report.failed_commits;
        sum.stale_answers += report.stale_answers;
        sum.held += report.held;
        sum.paused += report.paused;
        sum.topic_pauses += report.topic_pauses;
    }
    // Worlds in which nothing happens prove nothing.
    println!("{SEEDS} seeds: {sum:?}");
    for (what, count) in [
        ("repeats", sum.repeated),
        ("records skipped after a move", sum.skipped),
        ("clean moves", sum.clean_moves),
        ("partitions taken", sum.taken),
        ("crashes", sum.crashes),
        ("failed commits", sum.failed_commits),
        ("stale answers", sum.stale_answers),
        ("holds", sum.held),
        ("pauses of what had too much on its way", sum.paused),
        ("pauses of the topic", sum.topic_pauses),
    ] {
        assert!(count > SEEDS / 10, "only {count} {what}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        assert_eq!(run(seed, None), run(seed, None));
    }
    assert_ne!(run(1, None).unwrap().hash, run(2, None).unwrap().hash);
}

#[test]
fn each_deliberate_bug_breaks_a_promise() {
    for sabotage in Sabotage::ALL {
        let found = (0..SEEDS).find_map(|seed| run(seed, Some(sabotage)).err().map(|broken| (seed, broken)));
        let (seed, broken) = found.unwrap_or_else(|| panic!("{sabotage:?} was not found in {SEEDS} seeds"));
        println!("{sabotage:?}: seed {seed}: {broken}");
    }
}
