//! A seeded world around the pure decisions of `kafka_actors::delivery`: partitions, a group, members that crash, freeze and
//! come back, handlers that fail, panic and hang, commits that are late, lost or refused. A history checks what is promised.
//!
//! The same seed gives the same run, step by step: the trace's hash is in the report.

mod history;
mod member;
mod report;
mod rng;
mod sabotage;
mod world;

pub use history::Violation;
pub use report::Report;
pub use sabotage::Sabotage;

/// Runs the world of a seed to its end.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Report, Violation> {
    let shipped = match sabotage {
        Some(Sabotage::Shipped(shipped)) => Some(shipped),
        _ => None,
    };
    delivery::sabotage::set(shipped);
    world::World::new(seed, sabotage).run()
}
