//! Promises of the whole program, each a sentence. They start the program that the operator starts, and wait for states.
//!
//! Tests named `on_kafka_...` want a real cluster: `dev/kafka -- cargo test -- --include-ignored`.

// A test that cannot go on panics; that is what its unwraps are for.
#![allow(clippy::unwrap_used, missing_docs)]

mod actors;
mod bad_input;
mod broker_down;
mod dead_letters;
mod flow;
mod inspection;
mod kit;
mod on_kafka;
mod pauses;
mod poke;
mod rest;
mod restart;
mod retries;
mod settings;
mod shutdown;
mod wire;
