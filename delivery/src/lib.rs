//! The decisions of delivery, without I/O: inputs and time come as values, what should be done goes back as values.
//!
//! Two state machines decide. A [`member`] of a consumer group owns partitions, frontiers, commits and backpressure; a
//! [`worker`] owns one handler's lanes, attempts, retries and breaker. The drivers around them are thin, and the simulator
//! drives the same ones. Nothing here knows rdkafka, actix, tokio, a clock, randomness or the environment.

pub mod answer;
pub mod assignment;
mod backoff;
pub mod lease;
pub mod member;
pub mod now;
pub mod outcome;
pub mod partition;
pub mod restart_budget;
pub mod rng;
pub mod sabotage;
pub mod worker;
