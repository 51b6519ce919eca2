//! Promises that only a real Kafka can show: `dev/kafka -- cargo test -- --include-ignored on_kafka`.
//!
//! Most tests share the cluster that `KAFKA_BROKERS` of the test process names; those that break their cluster, or
//! want one of another kind, start their own.

mod broker;
mod cluster;
mod dead_letters;
mod flow;
mod group;
mod members;
mod pauses;
mod restart;
mod tls;
mod topics;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_actors::settings::environment;
use serde_json::Value;

use crate::kit::{Program, Raw, Start, unique, wait_for};

/// The cluster that the tests share, held by one test at a time: the topics have fixed names, and another test's
/// service would answer the events of this one, whose own may then fail unseen.
struct Shared {
    brokers: String,
    _turn: MutexGuard<'static, ()>,
}

impl Shared {
    #[track_caller]
    fn cluster() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let brokers = environment().remove("KAFKA_BROKERS");
        let brokers = brokers.expect("KAFKA_BROKERS is not set: dev/kafka -- cargo test -- --include-ignored");
        Self { brokers, _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    fn client(&self) -> Raw {
        Raw::new(&self.brokers)
    }
}

/// Consumer groups that no other test has.
struct Groups {
    micro_1: String,
    micro_2: String,
}

impl Groups {
    fn new() -> Self {
        Self { micro_1: unique("micro-1"), micro_2: unique("micro-2") }
    }
}

/// `start` against these brokers, in these groups.
fn on(start: Start, brokers: &str, groups: &Groups) -> Start {
    start
        .env("KAFKA_BROKERS", brokers)
        .env("MICRO_1_KAFKA_GROUP", &groups.micro_1)
        .env("MICRO_2_KAFKA_GROUP", &groups.micro_2)
}

/// What is assigned to a service, as it says itself.
#[track_caller]
fn assigned(program: &Program, service: &str) -> BTreeSet<(String, i64)> {
    let status: Value = program.get(service, "/api/kafka/status").json().unwrap();
    let partitions = status["consumer"]["partitions"].as_array().unwrap();
    partitions.iter().map(|at| (at["topic"].as_str().unwrap().to_owned(), at["partition"].as_i64().unwrap())).collect()
}

/// Where the events came from that a program settled, for one topic: partition and offset in the order of its journal.
fn settled(program: &Program, topic: &str) -> Vec<(i32, i64)> {
    let routed = program.journal("routed").into_iter();
    routed
        .filter(|entry| entry["topic"] == topic && entry["outcome"] != "retry")
        .map(|entry| (i32::try_from(entry["partition"].as_i64().unwrap()).unwrap(), entry["offset"].as_i64().unwrap()))
        .collect()
}

/// Waits for the last line of a program that has ended: everything that it said before was read then.
#[track_caller]
fn all_is_said(program: &Program) {
    wait_for("the last line", || program.journal("stopping").iter().any(|entry| entry["step"] == "done").then_some(()));
}
