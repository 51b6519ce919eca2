//! What the tests are built on: a broker, the program as a process, HTTP, another Kafka client, and waiting for a state.

mod broker;
mod database;
mod load;
mod program;
mod raw;
mod topics;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) use broker::{Broker, embedded_broker};
pub(crate) use database::Database;
pub(crate) use load::{BURST, Load, random_below, wait_for_a_random_moment};
pub(crate) use program::{Program, Start, client, try_get};
pub(crate) use raw::{Out, Place, Raw, Seen};
pub(crate) use world::{Shared, World};

/// Ends a wait that would never end. Far above what anything takes, also on a busy machine: no test depends on it.
const GIVE_UP: Duration = Duration::from_mins(1);

/// Every topic of the two services, with those of the dead letters.
pub(crate) const TOPICS: [&str; 4] = ["user.events", "micro-1.events", "notification.events", "micro-2.events"];

/// Partitions of each of them.
pub(crate) const PARTITIONS: i32 = 8;

/// Waits until `state` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(reached) = state() {
            return reached;
        }
        assert!(began.elapsed() < GIVE_UP, "waited {GIVE_UP:?} for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a count has come to `all`. Only progress may not end: how long the whole takes is the machine's affair.
#[track_caller]
pub(crate) fn wait_for_count(what: &str, all: usize, mut count: impl FnMut() -> usize) {
    let mut reached = count();
    while reached < all {
        let what = format!("{what}: {reached} of {all}");
        reached = wait_for(&what, || Some(count()).filter(|now| *now > reached));
    }
}

/// A user id that no other test of this run has.
pub(crate) fn new_user() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Random in its upper part, so that runs on one cluster do not meet.
    let run = uuid::Uuid::now_v7().as_u128() & 0xffff_ffff;
    u64::try_from(run).unwrap() * 4096 + NEXT.fetch_add(1, Ordering::Relaxed) % 4096 + 1
}

/// A user event that micro-2 handles, with the word that `CHAOS=true` has it obey.
pub(crate) fn user_event(user: u64, chaos: &Value) -> Value {
    json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe", "chaos": chaos}})
}

/// A notification that micro-1 stores, with such a word.
pub(crate) fn notification(user: u64, chaos: &Value) -> Value {
    json!({"userId": user, "type": "info", "content": "Hello", "data": {"chaos": chaos}})
}

/// A name that no other test has.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::now_v7().simple())
}
