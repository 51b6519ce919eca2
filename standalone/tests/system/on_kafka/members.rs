//! Members that are frozen, and members that keep their identity over a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::{Groups, assigned, on};
use crate::kit::{Out, Place, Program, Raw, Start, new_user, wait_for};

const TOPIC: &str = "user.events";

/// The journal's lines on events of the topic that were handled. An attempt that failed (a record that the broker did not
/// take in time, because the program was frozen) is none of them.
fn handled(program: &Program) -> Vec<Value> {
    let mut routed = program.journal("routed");
    routed.retain(|entry| entry["topic"] == TOPIC && entry["outcome"] == "handled");
    routed
}

/// When each event of the topic was handled first and last, in the words of the journal: RFC 3339, which sorts by time.
fn handled_at(program: &Program) -> BTreeMap<Place, (String, String)> {
    let mut times: BTreeMap<Place, (String, String)> = BTreeMap::new();
    for entry in handled(program) {
        let number = |name: &str| entry[name].as_i64().unwrap();
        let place = (i32::try_from(number("partition")).unwrap(), number("offset"));
        let at = entry["timestamp"].as_str().unwrap().to_owned();
        times.entry(place).and_modify(|(_, last)| last.clone_from(&at)).or_insert((at.clone(), at));
    }
    times
}

fn write_events(raw: &Raw, count: usize) {
    let events: Vec<Out> = (0..count)
        .map(|_| {
            let user = new_user();
            let event = json!({"userId": user, "action": "user_created", "data": {"fullName": "M"}}).to_string();
            Out::new(TOPIC, user, event)
        })
        .collect();
    raw.send_all(&events);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_member_frozen_past_its_session_timeout_starts_and_finishes_nothing_that_it_held() {
    let kafka = Cluster::start(&[]);
    let raw = Raw::new(kafka.brokers());
    // Where topics have partitions alike, the assignors give one member the one topic, and the other the other.
    raw.create_topic("micro-1.events", 1);
    let groups = Groups::new();
    // One event at a time, so that thousands are in the lanes when it freezes.
    let start = || on(Start::one("micro-2"), kafka.brokers(), &groups).env("MAX_IN_FLIGHT", "1").start();
    let frozen = start().ready();
    let all = assigned(&frozen, "micro-2");
    let other = start().ready();
    wait_for("both to have partitions", || {
        let (one, other) = (assigned(&frozen, "micro-2"), assigned(&other, "micro-2"));
        let of_topic = |share: &BTreeSet<(String, i64)>| share.iter().any(|(topic, _)| topic == TOPIC);
        (of_topic(&one) && of_topic(&other) && &one | &other == all).then_some(())
    });
    write_events(&raw, 4_000);
    wait_for("the first events", || (handled_at(&frozen).len() > 50).then_some(()));
    let held = frozen.status("micro-2")["consumer"]["inFlight"].as_u64().unwrap();
    assert!(held > 100, "it holds {held}");

    frozen.signal(libc::SIGSTOP);
    wait_for("the other to have all", || (assigned(&other, "micro-2") == all).then_some(()));
    raw.wait_until_all_is_committed(&groups.micro_2, TOPIC);
    frozen.signal(libc::SIGCONT);
    wait_for("it to hear of its loss", || (!frozen.journal("partitions lost").is_empty()).then_some(()));
    wait_for("it to have a share again", || (!assigned(&frozen, "micro-2").is_empty()).then_some(()));

    // A busy machine may have frozen it at other times too.
    assert!(!frozen.journal("was frozen: holds everything until the broker confirms its membership").is_empty());
    let (by_frozen, by_other) = (handled_at(&frozen), handled_at(&other));
    let late: Vec<_> = by_frozen
        .iter()
        .filter(|(place, (_, last))| by_other.get(place).is_some_and(|(first, _)| last > first))
        .collect();
    assert!(late.is_empty(), "handled after the other had handled them: {late:?}");
    assert_eq!(by_frozen.keys().chain(by_other.keys()).collect::<BTreeSet<_>>().len(), 4_000);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_member_frozen_for_less_than_its_session_timeout_goes_on_where_it_was() {
    let kafka = Cluster::start(&[]);
    let raw = Raw::new(kafka.brokers());
    let groups = Groups::new();
    let start = on(Start::one("micro-2"), kafka.brokers(), &groups).env("MAX_IN_FLIGHT", "1");
    let program = start.env("KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "30000").start().ready();
    write_events(&raw, 2_000);
    wait_for("the first events", || (handled_at(&program).len() > 50).then_some(()));
    program.signal(libc::SIGSTOP);
    // Longer than the lease: this is the very thing under test, and nothing else tells that it has ended.
    std::thread::sleep(Duration::from_secs(4));
    program.signal(libc::SIGCONT);
    raw.wait_until_all_is_committed(&groups.micro_2, TOPIC);
    // A busy machine may have frozen it at other times too.
    assert!(!program.journal("membership confirmed").is_empty());
    assert!(program.journal("partitions lost").is_empty());
    assert_eq!((handled(&program).len(), handled_at(&program).len()), (2_000, 2_000), "each was handled once");
}

/// How often partitions came to a program or left it. A rebalance in which it keeps what it has moves none.
fn moves(program: &Program) -> usize {
    let rebalanced = program.journal("rebalanced").into_iter().filter(|entry| entry["partitions"] != "");
    rebalanced.count() + program.journal("partitions lost").len()
}

#[track_caller]
fn a_restarted_member_gets_its_partitions_back(settings: &[(&str, &str)]) {
    let kafka = Cluster::start(&[]);
    let groups = Groups::new();
    let start = |id: &str| {
        let start = on(Start::one("micro-2"), kafka.brokers(), &groups).env("KAFKA_GROUP_INSTANCE_ID", id);
        settings.iter().fold(start, |start, (name, value)| start.env(name, value)).start().ready()
    };
    let mut one = start("one");
    let all = assigned(&one, "micro-2");
    let other = start("other");
    let share = wait_for("both to have partitions", || {
        let (one, other) = (assigned(&one, "micro-2"), assigned(&other, "micro-2"));
        (!one.is_empty() && !other.is_empty() && &one | &other == all).then_some(one)
    });
    let before = moves(&other);
    assert!(one.stop().success());
    let one = start("one");
    wait_for("its partitions", || (assigned(&one, "micro-2") == share).then_some(()));
    assert_eq!(moves(&other), before, "the other member keeps what it has");
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_member_with_an_instance_id_gets_its_partitions_back_after_a_restart_and_no_other_moves() {
    a_restarted_member_gets_its_partitions_back(&[("KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "30000")]);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_member_with_an_instance_id_gets_its_partitions_back_and_no_other_moves_in_the_new_group_protocol_too() {
    a_restarted_member_gets_its_partitions_back(&[("KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer")]);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_consumer_whose_client_met_a_fatal_error_joins_again_until_the_group_takes_it() {
    let kafka = Cluster::start(&[]);
    let groups = Groups::new();
    let start = || {
        let start = on(Start::one("micro-2"), kafka.brokers(), &groups).env("KAFKA_GROUP_INSTANCE_ID", "one");
        start.env("KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer").start()
    };
    let mut killed = start().ready();
    let all = assigned(&killed, "micro-2");
    killed.kill();
    // The group keeps the instance id for the dead one until its session is over; to ask for it is a fatal error.
    let heir = start();
    wait_for("a restart", || (!heir.journal("consumer restarts").is_empty()).then_some(()));
    let heir = heir.ready();
    assert_eq!(assigned(&heir, "micro-2"), all);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_of_two_members_with_one_instance_id_the_older_ends_and_names_the_setting() {
    let kafka = Cluster::start(&[]);
    let groups = Groups::new();
    let start = || on(Start::one("micro-2"), kafka.brokers(), &groups).env("KAFKA_GROUP_INSTANCE_ID", "one").start();
    let mut older = start().ready();
    let younger = start().ready();
    let status = older.ended();
    assert_eq!(status.code(), Some(78), "{}", older.output());
    let failed: Vec<Value> = older.journal("failed");
    assert!(
        failed.iter().any(|entry| entry["error"].as_str().unwrap().contains("KAFKA_GROUP_INSTANCE_ID")),
        "{failed:?}"
    );
    assert!(!assigned(&younger, "micro-2").is_empty());
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_members_of_a_rebalance_that_is_stuck_behind_a_frozen_one_end_in_order_and_in_time() {
    let kafka = Cluster::start(&[]);
    let groups = Groups::new();
    // The rebalance waits for the frozen one as long as its session lasts.
    let start = || {
        let start = on(Start::one("micro-2"), kafka.brokers(), &groups);
        start.env("KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "120000").start()
    };
    let frozen = start().ready();
    let mut member = start().ready();
    frozen.signal(libc::SIGSTOP);
    let mut joining = start();
    // It has asked to join when its consumer reaches the broker.
    wait_for("it to wait for the others", || {
        let status = joining.status("micro-2");
        (status["consumer"]["state"] == "joining" && status["consumer"]["brokerReachable"] == true).then_some(())
    });
    for program in [&mut joining, &mut member] {
        assert!(program.stop().success());
        // One that takes longer than 9.5 s is cut off, and says so.
        assert!(program.journal("failed").is_empty(), "{}", program.output());
    }
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_what_a_member_settled_while_a_rebalance_was_stuck_is_not_repeated_when_it_is_killed() {
    const EVENTS: usize = 500;
    let kafka = Cluster::start(&[]);
    let raw = Raw::new(kafka.brokers());
    // Where topics have partitions alike, the assignors give one member the one topic, and the other the other.
    raw.create_topic("micro-1.events", 1);
    let groups = Groups::new();
    // The rebalance waits for the frozen one as long as its session lasts.
    let start = || {
        let start = on(Start::one("micro-2"), kafka.brokers(), &groups);
        start.env("KAFKA_PROPERTY_SESSION_TIMEOUT_MS", "20000").start()
    };
    let mut worker = start().ready();
    let all = assigned(&worker, "micro-2");
    // The group has a commit of each partition, or there is nothing that a note could go on from.
    write_events(&raw, EVENTS);
    raw.wait_until_all_is_committed(&groups.micro_2, TOPIC);
    let mut frozen = start().ready();
    wait_for("both to have partitions", || {
        let share = assigned(&worker, "micro-2");
        (share.iter().any(|(topic, _)| topic == TOPIC) && !assigned(&frozen, "micro-2").is_empty()).then_some(())
    });
    frozen.signal(libc::SIGSTOP);
    let heir = start();
    wait_for("it to wait for the others", || {
        let status = heir.status("micro-2");
        (status["consumer"]["state"] == "joining" && status["consumer"]["brokerReachable"] == true).then_some(())
    });
    let of_worker: Vec<i32> = assigned(&worker, "micro-2")
        .into_iter()
        .filter(|(topic, _)| topic == TOPIC)
        .map(|(_, partition)| i32::try_from(partition).unwrap())
        .collect();
    wait_for("a note that says more than the group's commits", || {
        write_events(&raw, EVENTS / 10);
        let ends = raw.ends(TOPIC);
        wait_for("all to be said", || {
            let committed = raw.committed(&groups.micro_2, TOPIC);
            let noted = raw.committed(&format!("{}.progress", groups.micro_2), TOPIC);
            let said = of_worker.iter().all(|at| committed[at].max(noted[at]) == ends[at]);
            said.then(|| of_worker.iter().any(|at| noted[at] > committed[at]))
        })
        .then_some(())
    });
    worker.kill();
    frozen.kill();

    wait_for("the other to have all", || (assigned(&heir, "micro-2") == all).then_some(()));
    raw.wait_until_all_is_committed(&groups.micro_2, TOPIC);
    let metrics = heir.manage("micro-2", "/metrics").text().unwrap();
    assert!(metrics.contains("notes_read_total"), "{metrics}");
    let (by_worker, by_heir) = (handled_at(&worker), handled_at(&heir));
    let repeated: Vec<_> = by_worker.keys().filter(|place| by_heir.contains_key(place)).collect();
    assert!(repeated.is_empty(), "{} of {} were handled again", repeated.len(), by_worker.len());
}
