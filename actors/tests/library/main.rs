//! The library as a team uses it: services of the tests' own, on an embedded broker.

// A test that cannot go on panics; that is what its unwraps are for.
#![allow(clippy::unwrap_used, missing_docs)]

mod around;
mod blocked;
mod breaker;
mod commands;
mod commands_out;
mod crashes;
mod embedded;
mod hangs;
mod held;
mod in_flight;
mod kit;
mod ledger;
mod moves;
mod operator;
mod panics;
mod producers;
mod retries;
mod slow;
mod stalls;
mod whose_fault;
