//! One handler: the order of its events, their attempts, and what is done when it fails.

pub mod blame;
pub mod lanes;
mod queues;
pub mod restart_budget;
pub mod retry;
