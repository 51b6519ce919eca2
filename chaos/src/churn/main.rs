//! Members of one group come, leave, are killed and frozen while records flow. A ledger of every handling shows what was
//! lost, repeated, out of order or late, and how long a partition was stalled.
//!
//! `dev/kafka -- cargo run --release -p chaos --bin churn [classic|kip848|static] [SEED] [SECONDS]`

// A run that cannot go on panics.
#![allow(clippy::unwrap_used)]

mod group;
mod ledger;
mod member;
mod plan;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chaos::monotonic;
use kafka_actors::settings::{arguments, environment};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use group::Group;
use ledger::{Fed, Story, judge};
use plan::{Kind, plan};

const PARTITIONS: i32 = 8;
const MEMBERS: usize = 3;
const KEYS: u32 = 1_000;
const RECORDS_PER_SECOND: u32 = 60_000 / 45;
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const FROZEN_FOR: Duration = Duration::from_secs(9);
/// A member that was thawed stays for so long while the one that took its place runs.
const STAYS_AFTER_THAW: Duration = Duration::from_secs(4);
/// After the last record was fed all must be handled by then.
const DRAINED_WITHIN: Duration = Duration::from_mins(1);
/// Exit code of a run that shows nothing: a fault did not take hold.
const EXIT_INVALID: u8 = 3;

/// Notes what was fed.
struct Notes(Arc<Mutex<Vec<Fed>>>);

impl ClientContext for Notes {}

impl ProducerContext for Notes {
    type DeliveryOpaque = Box<(u32, u64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Self::DeliveryOpaque) {
        let message = result.as_ref().expect("the broker is well");
        let (key, at) = *opaque;
        self.0.lock().unwrap().push(Fed { place: (message.partition(), message.offset()), key, at });
    }
}

fn main() -> ExitCode {
    if environment().contains_key(member::LEDGER) {
        return member::run();
    }
    let words = arguments();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let protocol = words.first().copied().unwrap_or("classic");
    let number = |at: usize, default| words.get(at).map_or(Some(default), |word| word.parse::<u64>().ok());
    let (Some(seed), Some(seconds), "classic" | "kip848" | "static") = (number(1, 1), number(2, 45), protocol) else {
        eprintln!("usage: churn [classic|kip848|static] [SEED] [SECONDS]");
        return ExitCode::from(2);
    };
    let Some(brokers) = environment().remove("KAFKA_BROKERS") else {
        eprintln!("KAFKA_BROKERS is not set: dev/kafka -- cargo run --release -p chaos --bin churn");
        return ExitCode::from(2);
    };
    run(&brokers, protocol, seed, Duration::from_secs(seconds))
}

fn run(brokers: &str, protocol: &str, seed: u64, lasts: Duration) -> ExitCode {
    let name = format!("churn-{}", uuid::Uuid::now_v7().simple());
    create_topic(brokers, &name);
    let folder = tempfile::tempdir().unwrap();
    let mut group = Group::new(folder.path(), variables(brokers, &name, protocol), protocol == "static");
    for place in 0..MEMBERS {
        group.start(place);
    }
    let fed = Arc::new(Mutex::new(Vec::new()));
    let feeder = thread::spawn({
        let (brokers, name, fed) = (brokers.to_owned(), name.clone(), Arc::clone(&fed));
        move || feed(&brokers, &name, lasts, fed)
    });
    println!("{protocol}, seed {seed}: {MEMBERS} members, {PARTITIONS} partitions, {KEYS} keys, {lasts:?}");
    strike(&mut group, seed, lasts);
    feeder.join().unwrap();
    let fed = fed.lock().unwrap().clone();
    let drained = wait_until_all_is_handled(&group, &fed);
    // What is handled may not be committed yet; leaving commits it.
    group.stop_all();
    evaluate(&group, &fed, protocol, drained, folder)
}

fn variables(brokers: &str, name: &str, protocol: &str) -> Vec<(String, String)> {
    let mut variables = vec![
        ("KAFKA_BROKERS", brokers.to_owned()),
        ("KAFKA_GROUP", name.to_owned()),
        ("KAFKA_CREATE_TOPICS", "false".to_owned()),
        ("LOG_FORMAT", "json".to_owned()),
        // One line for each handling would cost more than the handling.
        ("RUST_LOG", "info,kafka_actors::journal::messages=warn".to_owned()),
        (member::TOPIC, name.to_owned()),
    ];
    if protocol == "kip848" {
        variables.push(("KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer".to_owned()));
    } else {
        variables.push(("KAFKA_PROPERTY_SESSION_TIMEOUT_MS", SESSION_TIMEOUT.as_millis().to_string()));
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn create_topic(brokers: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> = client(brokers).create().unwrap();
    let names = [name.to_owned(), format!("{name}.dlq")];
    let topics: Vec<_> =
        names.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap();
}

/// Feeds records of all keys in turn, evenly over the time.
fn feed(brokers: &str, topic: &str, lasts: Duration, fed: Arc<Mutex<Vec<Fed>>>) {
    let producer: ThreadedProducer<Notes> = client(brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .create_with_context(Notes(fed))
        .unwrap();
    let began = Instant::now();
    let mut sent: u32 = 0;
    while began.elapsed() < lasts {
        let due = began.elapsed().as_secs_f64() * f64::from(RECORDS_PER_SECOND);
        while f64::from(sent) < due {
            let key = sent % KEYS;
            let (text, value) = (key.to_string(), format!("{{\"key\":{key}}}"));
            let mut record = BaseRecord::with_opaque_to(topic, Box::new((key, monotonic()))).key(&text).payload(&value);
            while let Err((error, refused)) = producer.send(record) {
                assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
                thread::sleep(Duration::from_millis(5));
                record = refused;
            }
            sent += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Goes through the plan of the seed; frozen members are thawed, and stopped some time later, on the way.
fn strike(group: &mut Group, seed: u64, lasts: Duration) {
    enum Due {
        Thaw(usize),
        Stop(usize),
    }
    let began = Instant::now();
    let mut due: Vec<(Instant, Due)> = Vec::new();
    let mut next = began;
    let end = began + lasts;
    let mut steps = plan(seed, lasts).into_iter();
    let mut step = steps.next();
    if let Some(step) = &step {
        next = began + step.after;
    }
    while Instant::now() < end || !due.is_empty() {
        let now = Instant::now();
        group.reap();
        while let Some(at) = due.iter().position(|(when, _)| *when <= now) {
            match due.swap_remove(at).1 {
                Due::Thaw(fault) => {
                    if let Some(member) = group.thaw(fault) {
                        println!("{:6.1} s: member {member} goes on", began.elapsed().as_secs_f64());
                        due.push((now + STAYS_AFTER_THAW, Due::Stop(member)));
                    }
                }
                Due::Stop(member) => group.stop(member),
            }
        }
        if let Some(plan::Step { kind, victim, .. }) = step.filter(|_| now >= next && now < end) {
            let done = group.strike(kind, victim);
            println!("{:6.1} s: {done}", began.elapsed().as_secs_f64());
            if kind == Kind::Freeze {
                due.push((now + FROZEN_FOR, Due::Thaw(group.faults.len() - 1)));
            }
            step = steps.next();
            next = Instant::now() + step.map_or(lasts, |step| step.after);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn wait_until_all_is_handled(group: &Group, fed: &[Fed]) -> bool {
    let until = Instant::now() + DRAINED_WITHIN;
    loop {
        let handlings = group.handlings();
        let done: BTreeSet<_> =
            handlings.iter().filter(|handling| handling.finish.is_some()).map(|handling| handling.place).collect();
        if fed.iter().all(|fed| done.contains(&fed.place)) {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn evaluate(group: &Group, fed: &[Fed], protocol: &str, drained: bool, folder: tempfile::TempDir) -> ExitCode {
    let verdict = judge(fed, &group.handlings(), &Story { faults: &group.faults, ids: group.ids() });
    let count = |kind: Kind| group.faults.iter().filter(|fault| fault.kind == kind).count();
    let percent =
        |count: usize| 100.0 * f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(fed.len()).unwrap());
    println!(
        "records {}; leaves {}, kills {}, freezes {}",
        fed.len(),
        count(Kind::Leave),
        count(Kind::Kill),
        count(Kind::Freeze)
    );
    println!(
        "lost {}, out of order {}, by two at once {}, late {}",
        verdict.lost, verdict.disordered, verdict.at_once, verdict.late
    );
    let by = |kind| verdict.repeated.get(&kind).copied().unwrap_or(0);
    println!(
        "repeated {} ({:.2} %): after leaves {}, kills {}, freezes {}, nothing {}",
        verdict.repeats(),
        percent(verdict.repeats()),
        by(Some(Kind::Leave)),
        by(Some(Kind::Kill)),
        by(Some(Kind::Freeze)),
        by(None),
    );
    if group.static_members {
        println!("by two that were awake under one instance id {}", verdict.by_twins);
    }
    println!("longest stall {:.1} s, of partition {}", verdict.longest_stall.as_secs_f64(), verdict.stalled_partition);

    let stall_limit = if protocol == "classic" { 15 } else { 8 };
    let promises = [
        (drained && verdict.lost == 0, "no record is lost"),
        (verdict.disordered == 0, "the order of each key is kept"),
        // A freeze may come in the very middle of a handling, between the last look at the lease and the handling's effect.
        (
            verdict.at_once <= count(Kind::Freeze),
            "no two work on one record at once, but for one in the middle of each freeze",
        ),
        (verdict.late <= count(Kind::Freeze), "a thawed member finishes at most the one that it was in the middle of"),
        (percent(verdict.repeats()) <= 1.0, "at most 1 % is repeated"),
        (by(Some(Kind::Leave)) == 0 && by(None) == 0, "a clean leave repeats nothing"),
        (
            verdict.longest_stall <= Duration::from_secs(stall_limit),
            "no partition is stalled for longer than the limit",
        ),
    ];
    let broken: Vec<&str> = promises.iter().filter(|(kept, _)| !kept).map(|(_, promise)| *promise).collect();
    let frozen: Vec<usize> = group.faults.iter().filter(|f| f.kind == Kind::Freeze).map(|f| f.member).collect();
    // A freeze took hold where the group gave the member's partitions away, or its place.
    let noticed: Vec<usize> = [group.that_said("partitions lost"), group.that_said("taken over")].concat();
    let unnoticed: Vec<&usize> = frozen.iter().filter(|member| !noticed.contains(member)).collect();
    if broken.is_empty() && !unnoticed.is_empty() && frozen.len() == unnoticed.len() {
        println!("invalid: no member that was frozen lost anything: {unnoticed:?}");
        return ExitCode::from(EXIT_INVALID);
    }
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    if broken.is_empty() {
        println!("every promise was kept");
        return ExitCode::SUCCESS;
    }
    println!("ledgers and logs: {}", folder.keep().display());
    ExitCode::FAILURE
}
