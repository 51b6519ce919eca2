//! Runs many seeds and stops at the first that breaks a promise: `cargo run --release -p sim [SEEDS] [FIRST]`.

use std::process::ExitCode;

/// Progress is told so often.
const TOLD_EVERY: u64 = 10_000;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let seeds = numbers.first().copied().unwrap_or(100_000);
    let first = numbers.get(1).copied().unwrap_or(0);
    for seed in first..first.saturating_add(seeds) {
        if let Err(broken) = sim::run(seed, None) {
            eprintln!("seed {seed}: {broken}\nagain: cargo run --release -p sim 1 {seed}");
            return ExitCode::FAILURE;
        }
        if (seed - first + 1).is_multiple_of(TOLD_EVERY) {
            println!("{} seeds kept every promise", seed - first + 1);
        }
    }
    println!("all {seeds} seeds from {first} on kept every promise");
    ExitCode::SUCCESS
}
