//! Services that end and come back, and members that come and go: every event is handled, and its effect is there once.

use std::collections::BTreeMap;

use actors::kafka::EmbeddedBroker;
use serde_json::{Value, json};

use crate::kit::{
    Database, Feeder, PARTITIONS, Program, Start, committed, embedded_broker, new_user, read_topic, wait_for,
};

/// Numbered events of some users, and what shall be stored of each user in the end, in order.
pub(crate) struct Load {
    feeder: Feeder,
    topic: &'static str,
    users: Vec<u64>,
    sent: usize,
}

/// Records that are written together.
pub(crate) const BURST: usize = 200;

impl Load {
    /// User events for micro-2.
    pub(crate) fn user_events(broker: &EmbeddedBroker) -> Self {
        Self::new(broker, "user.events")
    }

    /// Notifications for micro-1.
    pub(crate) fn notifications(broker: &EmbeddedBroker) -> Self {
        Self::new(broker, "notification.events")
    }

    fn new(broker: &EmbeddedBroker, topic: &'static str) -> Self {
        Self { feeder: Feeder::new(broker), topic, users: (0..20).map(|_| new_user()).collect(), sent: 0 }
    }

    /// Writes the next burst; all of it is acknowledged when this returns.
    pub(crate) fn burst(&mut self) {
        let records: Vec<(u64, Value)> = (self.sent..self.sent + BURST)
            .map(|number| {
                let user = self.users[number % self.users.len()];
                let event = if self.topic == "user.events" {
                    json!({"userId": user, "action": "user_updated", "data": {"fullName": number.to_string()}})
                } else {
                    json!({"userId": user, "type": "info", "content": updated(number)})
                };
                (user, event)
            })
            .collect();
        self.feeder.send(self.topic, &records);
        self.sent += BURST;
    }

    pub(crate) fn bursts(&mut self, count: usize) {
        for _ in 0..count {
            self.burst();
        }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// Waits until micro-1 has stored a notification for each, and checks that there is one each, in order.
    #[track_caller]
    pub(crate) fn assert_stored_once_in_order(&self, database: &mut Database) {
        wait_for("every notification", || (database.count() >= self.sent).then_some(()));
        let mut expected: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for number in 0..self.sent {
            expected.entry(self.users[number % self.users.len()]).or_default().push(updated(number));
        }
        let stored = database.contents();
        for (user, contents) in &expected {
            assert_eq!(stored.get(user), Some(contents), "the notifications of user {user}");
        }
        assert_eq!(stored.len(), expected.len());
    }
}

/// What micro-2 tells a user whose name is that number.
fn updated(number: usize) -> String {
    format!("Your profile was updated, {number}.")
}

/// A number below `end` that is another one in each run.
pub(crate) fn random_below(end: usize) -> usize {
    usize::try_from(uuid::Uuid::now_v7().as_u128() & 0xffff).unwrap() % end
}

/// Counted outcomes of one handler.
#[track_caller]
fn count(program: &Program, service: &str, topic: &str, outcome: &str) -> usize {
    usize::try_from(program.actor(service, topic)[outcome].as_u64().unwrap()).unwrap()
}

#[track_caller]
fn wait_until_all_is_committed(broker: &EmbeddedBroker, group: &str, topic: &str) -> usize {
    let written = || i64::try_from(read_topic(broker, topic).len()).unwrap();
    let all = wait_for("everything to be committed", || {
        let all = written();
        (committed(broker, group, topic).iter().sum::<i64>() == all).then_some(all)
    });
    usize::try_from(all).unwrap()
}

#[test]
fn a_service_that_was_stopped_goes_on_where_it_stopped_and_repeats_nothing() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || Start::one("micro-1").on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    load.burst();
    let mut program = start().ready();
    let mut database = Database::open(folder.path());
    wait_for("the work to begin", || (database.count() > 0).then_some(()));
    load.bursts(1 + random_below(5));
    assert_eq!(program.stop().code(), Some(0));
    let before = database.count();
    load.bursts(2);

    let mut program = start().ready();
    load.assert_stored_once_in_order(&mut database);
    wait_until_all_is_committed(&broker, "micro-1-group", "notification.events");
    let again = ["handled", "duplicates", "retries"].map(|it| count(&program, "micro-1", "notification.events", it));
    assert_eq!(again, [load.sent() - before, 0, 0]);
    assert!(program.stop().success());
}

#[test]
fn a_restart_with_nothing_to_do_repeats_nothing() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || Start::one("micro-1").on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    load.burst();
    let mut program = start().ready();
    let mut database = Database::open(folder.path());
    load.assert_stored_once_in_order(&mut database);
    assert!(program.stop().success());

    let program = start().ready();
    load.burst();
    load.assert_stored_once_in_order(&mut database);
    wait_until_all_is_committed(&broker, "micro-1-group", "notification.events");
    assert_eq!(count(&program, "micro-1", "notification.events", "duplicates"), 0);
    assert_eq!(count(&program, "micro-1", "notification.events", "handled"), BURST);
}

#[test]
fn after_a_crash_of_micro_1_every_notification_is_stored_once_in_order_and_each_repeat_is_counted() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || Start::one("micro-1").on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    let mut program = start().ready();
    load.bursts(5 + random_below(15));
    program.kill();
    let mut database = Database::open(folder.path());
    let stored = database.count();
    load.bursts(2);
    // A commit that was on its way when the process died has arrived: the broker has answered for two bursts since.
    let settled = committed(&broker, "micro-1-group", "notification.events").iter().sum::<i64>();

    let program = start().ready();
    load.assert_stored_once_in_order(&mut database);
    wait_until_all_is_committed(&broker, "micro-1-group", "notification.events");
    let again = ["handled", "duplicates"].map(|it| count(&program, "micro-1", "notification.events", it));
    // What was stored and not committed came again, and was recognised.
    assert_eq!(again, [load.sent() - stored, stored - usize::try_from(settled).unwrap()]);
    assert!(read_topic(&broker, "notification.events.dlq").is_empty());
}

#[test]
fn after_a_crash_of_micro_2_every_event_has_one_notification_in_order_and_each_repeat_is_counted() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let one = Start::one("micro-1").on(&broker).keeping(&folder).start().ready();
    let start = || Start::one("micro-2").on(&broker).start();
    let mut load = Load::user_events(&broker);
    let mut two = start().ready();
    load.bursts(5 + random_below(10));
    two.kill();
    load.bursts(2);

    let two = start().ready();
    load.assert_stored_once_in_order(&mut Database::open(folder.path()));
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    let written = wait_until_all_is_committed(&broker, "micro-1-group", "notification.events");
    let arrived = ["handled", "duplicates"].map(|it| count(&one, "micro-1", "notification.events", it));
    assert_eq!(arrived, [load.sent(), written - load.sent()]);
    assert!(read_topic(&broker, "user.events.dlq").is_empty());
    drop(two);
}

#[test]
fn after_a_crash_of_both_services_at_once_every_acknowledged_event_has_one_notification_in_order() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || Start::both().on(&broker).keeping(&folder).start();
    let mut load = Load::user_events(&broker);
    let mut program = start().ready();
    for _ in 0..2 {
        load.bursts(3 + random_below(5));
        program.kill();
        program = start();
    }
    let mut program = program.ready();
    load.burst();
    load.assert_stored_once_in_order(&mut Database::open(folder.path()));
    assert!(program.stop().success());
}

/// The partitions that a member owns now, as `topic/partition`.
#[track_caller]
fn owned(program: &Program) -> Vec<String> {
    let status = program.status("micro-2");
    let partitions = status["consumer"]["partitions"].as_array().unwrap();
    partitions.iter().map(|at| format!("{}/{}", at["topic"].as_str().unwrap(), at["partition"])).collect()
}

/// Waits until these members share all partitions, none twice, none left out, none without one.
#[track_caller]
fn wait_until_shared(members: &[&Program]) {
    let topics = ["micro-1.events", "user.events"];
    let mut all: Vec<String> =
        topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| format!("{topic}/{partition}"))).collect();
    all.sort_unstable();
    wait_for("the members to share the partitions", || {
        let owned: Vec<_> = members.iter().map(|member| owned(member)).collect();
        let mut together = owned.concat();
        together.sort_unstable();
        (together == all && owned.iter().all(|owned| !owned.is_empty())).then_some(())
    });
}

/// How often each number was answered with a notification.
fn notifications(broker: &EmbeddedBroker) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for record in read_topic(broker, "notification.events") {
        *times.entry(record.value).or_default() += 1;
    }
    times
}

#[test]
fn two_members_share_the_partitions_and_when_one_leaves_the_other_takes_over_and_nothing_is_lost_or_repeated() {
    let broker = embedded_broker();
    let start = || Start::one("micro-2").on(&broker).start();
    let mut load = Load::user_events(&broker);
    let first = start().ready();
    wait_until_shared(&[&first]);
    load.bursts(3);
    // One joins under load.
    let mut second = start().ready();
    load.bursts(3);
    wait_until_shared(&[&first, &second]);
    load.bursts(5);
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    for member in [&first, &second] {
        assert!(count(member, "micro-2", "user.events", "handled") > 0, "both work");
    }
    // One leaves under load.
    load.burst();
    assert_eq!(second.stop().code(), Some(0));
    load.bursts(2);
    wait_until_shared(&[&first]);
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    let times = notifications(&broker);
    assert_eq!(times.len(), load.sent(), "every event is answered");
    assert!(times.values().all(|times| *times == 1), "and none of them twice");
}

#[test]
fn when_one_of_two_members_crashes_the_other_takes_over_and_nothing_is_lost() {
    let broker = embedded_broker();
    let start = || Start::one("micro-2").on(&broker).start();
    let mut load = Load::user_events(&broker);
    let (first, mut second) = (start().ready(), start().ready());
    wait_until_shared(&[&first, &second]);
    load.bursts(5);
    second.kill();
    load.bursts(2);
    wait_until_shared(&[&first]);
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    assert_eq!(notifications(&broker).len(), load.sent(), "every event is answered");
}
