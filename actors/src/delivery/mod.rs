//! The decisions of delivery, pure: inputs and time come as values, what to do goes back as values.
//!
//! Nothing here knows rdkafka, actix, tokio, a clock or randomness; a simulator can drive all of it.

mod assigned;
mod before;
pub mod blame;
pub mod commit_pace;
pub mod commits;
pub mod credits;
pub mod dead_letter;
pub mod frontier;
pub mod hold;
pub mod intake;
pub mod lanes;
pub mod membership;
pub mod note;
pub mod progress_codec;
mod queues;
pub mod restart_budget;
pub mod retry;
pub mod stall;
