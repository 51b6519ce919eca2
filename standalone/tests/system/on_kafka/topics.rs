//! Topics that are missing on a cluster: created as the settings say, or only named.

use super::cluster::Cluster;
use super::{Groups, on};
use crate::kit::{Raw, Start, TOPICS};

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_missing_topics_are_created_as_the_settings_say() {
    let kafka = Cluster::start(&["--brokers", "3"]);
    let groups = Groups::new();
    let start =
        || on(Start::both(), kafka.brokers(), &groups).env("KAFKA_PARTITIONS", "3").env("KAFKA_REPLICATION", "2");
    let mut program = start().start().ready();
    assert!(program.stop().success());

    let raw = Raw::new(kafka.brokers());
    let replicas = raw.replicas();
    for topic in TOPICS {
        let letters = format!("{topic}.dlq");
        for topic in [topic, &letters] {
            assert_eq!(replicas[topic], [(0, 2), (1, 2), (2, 2)].into(), "partitions and replicas of {topic}");
        }
        let (limit, letters) = (raw.max_message_bytes(topic), raw.max_message_bytes(&letters));
        let (limit, letters): (u32, u32) = (limit.parse().unwrap(), letters.parse().unwrap());
        assert!(letters >= 2 * limit, "a dead letter is larger by its headers: {letters} of {limit}");
    }

    // Those that are there are enough, whatever the settings for new ones say.
    let mut program = start().env("KAFKA_CREATE_TOPICS", "false").env("KAFKA_PARTITIONS", "9").start().ready();
    assert!(program.stop().success());
    assert_eq!(raw.replicas(), Raw::new(kafka.brokers()).replicas());
    assert_eq!(raw.partitions("user.events").len(), 3);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_missing_topics_are_only_named_where_creating_them_is_not_wanted_or_not_possible() {
    let kafka = Cluster::start(&[]);
    let groups = Groups::new();

    let start = on(Start::one("micro-2"), kafka.brokers(), &groups).env("KAFKA_CREATE_TOPICS", "false");
    let mut program = start.start();
    assert_eq!(program.ended().code(), Some(78));
    super::all_is_said(&program);
    let failed = program.journal("failed");
    assert_eq!(failed.len(), 1, "{}", program.output());
    let said = failed[0]["error"].as_str().unwrap();
    for topic in TOPICS.into_iter().chain(["user.events.dlq", "micro-1.events.dlq"]) {
        assert!(said.split([' ', ',', ';']).any(|word| word == topic), "{topic} is not named: {said}");
    }
    assert!(said.contains("KAFKA_CREATE_TOPICS"), "what to do is not said: {said}");

    let start = on(Start::one("micro-2"), kafka.brokers(), &groups).env("KAFKA_REPLICATION", "2");
    let mut program = start.start();
    assert_eq!(program.ended().code(), Some(78), "one broker cannot keep two replicas");
    super::all_is_said(&program);
    let said = program.journal("failed")[0]["error"].as_str().unwrap().to_owned();
    assert!(said.contains("could not be created") && said.contains("ReplicationFactor"), "{said}");

    let there = Raw::new(kafka.brokers()).replicas();
    assert!(!there.contains_key("user.events"), "{there:?}");
}
