//! A seeded world around the shipped state machines of `delivery`: partitions, a group, members that crash, freeze, fail and
//! come back, operators who stop, start and pause them and set offsets, logs that go back, handlers that fail, panic and
//! hang, commits that are late, lost or refused. A history checks what is promised.
//!
//! The same seed gives the same run, step by step: the trace's hash is in the report.

mod history;
mod policy;
mod process;
mod report;
mod rng;
mod sabotage;
mod world;

pub use history::Violation;
pub use report::Report;
pub use sabotage::{SABOTAGES, Sabotage, is_meant_by};

/// Runs the world of a seed to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Violation> {
    delivery::sabotage::set(sabotage);
    let ended = world::World::new(seed).run();
    delivery::sabotage::set(None);
    ended
}
