//! Thousands of seeded worlds keep every promise, and a deliberate bug breaks one.

// A test that cannot go on panics; that is what its unwraps are for.
#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;

use sim::{Report, SABOTAGES, is_meant_by, run};

const SEEDS: u64 = 2_000;
const THREADS: u64 = 2;
/// A bug that shows in one world of a thousand is found all the same.
const MOST_SEEDS_FOR_A_BUG: u64 = 20_000;

#[test]
fn every_promise_is_kept_in_thousands_of_worlds_with_faults() {
    let mut sum = Report::default();
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|first| {
            scope.spawn(move || {
                let mut sum = Report::default();
                for seed in (0..SEEDS).filter(|seed| seed % THREADS == first) {
                    sum.add(&run(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}")));
                }
                sum
            })
        });
        // All of them run before the first is awaited.
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            sum.add(&thread.join().unwrap());
        }
    });
    // Worlds in which nothing happens prove nothing.
    println!("{SEEDS} seeds: {sum:?}");
    for (what, count) in sum.counts() {
        assert!(count > SEEDS / 20, "only {count} {what}");
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
    for sabotage in SABOTAGES {
        let broken = |seed| run(seed, Some(*sabotage)).err().map(|broken| (seed, broken));
        let found = (0..MOST_SEEDS_FOR_A_BUG).filter_map(broken).find(|(_, broken)| is_meant_by(*sabotage, broken));
        let (seed, broken) = found.unwrap_or_else(|| panic!("{sabotage:?} was not found"));
        println!("{sabotage:?}: seed {seed}: {broken}");
    }
}
