//! Members that share a group: they divide the partitions, and what happens to one loses and repeats nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::cluster::Cluster;
use super::{Groups, assigned, on, settled};
use crate::kit::{Out, Program, Raw, Start, new_user, wait_for};

const TOPIC: &str = "user.events";
const USERS: usize = 20;
/// Between two events: enough for members to have work at every moment of a takeover, and few enough to be read as
/// one page of notifications a user.
const PACE: Duration = Duration::from_millis(10);

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_members_of_a_group_share_it_and_take_over_with_each_event_taking_effect_once_and_in_order() {
    members_come_and_go(&[]);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_members_of_the_new_group_protocol_take_over_too_with_each_event_taking_effect_once_and_in_order() {
    members_come_and_go(&[("KAFKA_PROPERTY_GROUP_PROTOCOL", "consumer")]);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_members_that_give_up_everything_in_each_rebalance_take_over_too_with_each_event_taking_effect_once_in_order()
 {
    // With `range` a member of two topics has some of each.
    members_come_and_go(&[("KAFKA_PROPERTY_PARTITION_ASSIGNMENT_STRATEGY", "range")]);
}

#[track_caller]
fn members_come_and_go(settings: &[(&str, &str)]) {
    let kafka = Cluster::start(&[]);
    let raw = Raw::new(kafka.brokers());
    // Where topics have partitions alike, the assignors give one member the one topic, and the other the other.
    raw.create_topic("micro-1.events", 1);
    let groups = Groups::new();
    let start = |service| {
        let start = on(Start::one(service), kafka.brokers(), &groups);
        settings.iter().fold(start, |start, (name, value)| start.env(name, value)).start()
    };
    let keeper = start("micro-1").ready();
    let mut killed = start("micro-2").ready();
    let all = assigned(&killed, "micro-2");
    let survivor = start("micro-2").ready();
    wait_for_shared(&killed, &survivor, &all);

    let users: Vec<u64> = (0..USERS).map(|_| new_user()).collect();
    let sent = while_events_flow(&raw, &users, || {
        for member in [&killed, &survivor] {
            wait_for("work for both", || (!settled(member, TOPIC).is_empty()).then_some(()));
        }
        killed.kill();
        wait_for("the survivor to take over", || (assigned(&survivor, "micro-2") == all).then_some(()));

        let mut leaver = start("micro-2").ready();
        wait_for_shared(&survivor, &leaver, &all);
        wait_for("work for the new member", || (!settled(&leaver, TOPIC).is_empty()).then_some(()));
        assert!(leaver.stop().success());
        wait_for("the survivor to have all again", || (assigned(&survivor, "micro-2") == all).then_some(()));
    });

    // The group has settled all, and so has the keeper's with what came of it: nothing more can come.
    for (group, topic) in [(&groups.micro_2, TOPIC), (&groups.micro_1, "notification.events")] {
        raw.wait_until_all_is_committed(group, topic);
    }
    for (user, events) in sent {
        let kept: Vec<String> = keeper
            .notifications(user)
            .iter()
            .rev()
            .map(|notification| notification["content"].as_str().unwrap().to_owned())
            .collect();
        let expected: Vec<String> = (0..events).map(|event| format!("Welcome, event {event}!")).collect();
        assert_eq!(kept, expected, "one notification for each event of user {user}, in order");
    }
}

/// Waits until both members have a share of each topic, and together all.
#[track_caller]
fn wait_for_shared(one: &Program, other: &Program, all: &BTreeSet<(String, i64)>) {
    wait_for("both members to have partitions", || {
        let (one, other) = (assigned(one, "micro-2"), assigned(other, "micro-2"));
        let shared = !one.is_empty() && !other.is_empty() && one.is_disjoint(&other);
        let of_topic = |share: &BTreeSet<(String, i64)>| share.iter().any(|(topic, _)| topic == TOPIC);
        (shared && of_topic(&one) && of_topic(&other) && &one | &other == *all).then_some(())
    });
}

/// Writes events of the users in turn while `act` runs; gives their number by user.
fn while_events_flow(raw: &Raw, users: &[u64], act: impl FnOnce()) -> BTreeMap<u64, usize> {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut sent: BTreeMap<u64, usize> = users.iter().map(|user| (*user, 0)).collect();
            for user in users.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let count = sent.get_mut(user).unwrap();
                let name = format!("event {count}");
                let value = json!({"userId": user, "action": "user_created", "data": {"fullName": name}}).to_string();
                raw.send(&Out::new(TOPIC, user, value));
                *count += 1;
                thread::sleep(PACE);
            }
            sent
        });
        // Also when `act` panics: the scope would wait for the writer.
        let stopping = Stop(&stop);
        act();
        drop(stopping);
        writer.join().unwrap()
    })
}
