//! Pauses on a real cluster, whose client prefetches what a pause throws away.

use std::collections::BTreeSet;

use serde_json::json;

use super::cluster::Cluster;
use super::{Groups, Shared, on};
use crate::kit::{Out, Raw, Start, new_user, wait_for};
use crate::pauses::{
    assert_each_is_a_dead_letter, assert_each_was_handled_once, burst, order, pause_and_resume_while_events_flow,
    paused, settled,
};

const TOPIC: &str = "user.events";
const BACKLOG: usize = 50;

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_topic_that_is_paused_again_and_again_skips_nothing_and_repeats_nothing() {
    let kafka = Shared::cluster();
    let (raw, groups) = (kafka.client(), Groups::new());
    let users: Vec<u64> = (0..40).map(|_| new_user()).collect();
    let mut program = on(Start::both(), &kafka.brokers, &groups).start().ready();
    assert_eq!(order(&program, TOPIC, "pause").status(), 200);
    (0..BACKLOG).for_each(|_| burst(&raw, &users));
    pause_and_resume_while_events_flow(&program, &|| burst(&raw, &users));
    assert_each_was_handled_once(&program, &raw, &groups.micro_2, 0);
    assert!(program.stop().success());
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_partition_that_is_paused_because_it_is_stuck_goes_on_where_it_was_read() {
    const STUCK: &str = "micro-1.events";
    const DEAD: &str = "micro-1.events.dlq";
    const ROUNDS: usize = 4;
    const GARBAGE: usize = 60;
    let kafka = Cluster::start(&[]);
    let (raw, groups) = (Raw::new(kafka.brokers()), Groups::new());
    let start = on(Start::both(), kafka.brokers(), &groups).env("MICRO_2_MAX_IN_FLIGHT_RECORDS", "40");
    let mut program = start.env("PUBLISH_DEADLINE_MS", "500").start().ready();
    for round in 0..ROUNDS {
        let refusing = raw.refuse_all(DEAD);
        // Each of another key: none waits for another, and each waits for its dead letter.
        let garbage = (0..GARBAGE).map(|_| Out::new(STUCK, new_user(), "garbage").partition(0));
        raw.send_all(&garbage.collect::<Vec<_>>());
        wait_for("the pause", || paused(&program, STUCK).contains(&json!("backpressure")).then_some(()));
        drop(refusing);
        raw.wait_until_all_is_committed(&groups.micro_2, STUCK);
        assert_each_is_a_dead_letter(&program, &raw, DEAD, (round + 1) * GARBAGE);
    }
    let handled = settled(&program, STUCK);
    assert_eq!(handled.iter().collect::<BTreeSet<_>>().len(), handled.len(), "none twice");
    assert!(program.stop().success());
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_pause_survives_rebalances_of_the_classic_and_of_the_new_protocol() {
    for protocol in ["classic", "consumer"] {
        let kafka = Cluster::start(&[]);
        let (raw, groups) = (Raw::new(kafka.brokers()), Groups::new());
        // Where topics have partitions alike, the assignors give one member the one topic, and the other the other.
        raw.create_topic("micro-1.events", 1);
        let users: Vec<u64> = (0..40).map(|_| new_user()).collect();
        let start = || {
            let start = on(Start::one("micro-2"), kafka.brokers(), &groups);
            start.env("KAFKA_PROPERTY_GROUP_PROTOCOL", protocol).start().ready()
        };
        let keeper = start();
        assert_eq!(order(&keeper, TOPIC, "pause").status(), 200);
        let all_paused = || (paused(&keeper, TOPIC) == vec![json!("operator"); 8]).then_some(());
        wait_for("the pause", all_paused);
        let before = settled(&keeper, TOPIC).len();
        burst(&raw, &users);
        let mut other = start();
        wait_for("its share to be handled", || (!settled(&other, TOPIC).is_empty()).then_some(()));
        assert!(other.stop().success());
        wait_for("the keeper to have all again, paused", all_paused);
        burst(&raw, &users);
        assert_eq!(settled(&keeper, TOPIC).len(), before, "{protocol}: nothing of it was read");
        assert_eq!(order(&keeper, TOPIC, "resume").status(), 200);
        assert_each_was_handled_once(&keeper, &raw, &groups.micro_2, settled(&other, TOPIC).len());
    }
}
