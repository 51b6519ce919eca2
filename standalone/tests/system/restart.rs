//! Services that end and come back, and members that come and go: every event is handled, and its effect is there once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

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
/// Bursts in one feeding.
const MAX_BURSTS: usize = 40;

/// Ends the feeding, also where what happens meanwhile panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

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

    /// Goes on writing while something happens, so that it happens under load.
    pub(crate) fn feed_while<T>(&mut self, happens: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // The limit keeps a slow machine from being buried, and the embedded broker from dropping records.
                for _ in 0..MAX_BURSTS {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    self.burst();
                }
            });
            let _over = Over(&over);
            happens()
        })
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
fn random_below(end: usize) -> usize {
    usize::try_from(uuid::Uuid::now_v7().as_u128() & 0xffff).unwrap() % end
}

/// Waits until micro-1 has stored some notifications more, each time another number.
#[track_caller]
pub(crate) fn wait_for_a_random_moment(database: &mut Database) {
    let moment = database.count() + 1 + random_below(2_000);
    wait_for("a random moment of the work", || (database.count() >= moment).then_some(()));
}

/// Counted outcomes of one handler.
#[track_caller]
fn count(program: &Program, service: &str, topic: &str, outcome: &str) -> usize {
    usize::try_from(program.actor(service, topic)[outcome].as_u64().unwrap()).unwrap()
}

/// How many records of a topic a group has settled and committed.
#[track_caller]
pub(crate) fn committed_in_all(broker: &EmbeddedBroker, group: &str, topic: &str) -> usize {
    usize::try_from(committed(broker, group, topic).iter().sum::<i64>()).unwrap()
}

#[track_caller]
fn wait_until_all_is_committed(broker: &EmbeddedBroker, group: &str, topic: &str) -> usize {
    wait_for("everything to be committed", || {
        let all = read_topic(broker, topic).len();
        (committed_in_all(broker, group, topic) == all).then_some(all)
    })
}

#[test]
fn a_service_that_was_stopped_goes_on_where_it_stopped_and_repeats_nothing() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || Start::one("micro-1").on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    load.burst();
    let mut program = start().ready();
    let mut database = Database::open(folder.path());
    load.feed_while(|| {
        wait_for_a_random_moment(&mut database);
        assert_eq!(program.stop().code(), Some(0));
    });
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

/// Records that were left out because the commit said that they are settled.
#[track_caller]
fn skipped(program: &Program) -> usize {
    let metrics = program.manage("micro-1", "/metrics").text().unwrap();
    let line = metrics.lines().find(|line| line.starts_with("records_skipped_total{"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Commits so often that a commit of what is not settled would not stay hidden.
fn often_committing(start: Start) -> Start {
    start.env("COMMIT_INTERVAL_MS", "10")
}

/// How many records the service has in hand.
#[track_caller]
fn in_hand(program: &Program, service: &str) -> u64 {
    program.status(service)["consumer"]["inFlight"].as_u64().unwrap()
}

#[test]
fn what_micro_1_has_in_hand_when_it_is_told_to_stop_is_finished_and_committed() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = Start::one("micro-1").env("DRAIN_DEADLINE_MS", "8000");
    let mut program = start.on(&broker).keeping(&folder).start().ready();
    let mut database = Database::open(folder.path());
    database.execute("BEGIN EXCLUSIVE".to_owned());
    let mut load = Load::notifications(&broker);
    load.burst();
    wait_for("all of it to be in hand", || (in_hand(&program, "micro-1") == BURST as u64).then_some(()));
    program.signal(libc::SIGTERM);
    wait_for("the drain", || (!program.journal("stopping").is_empty()).then_some(()));
    database.execute("ROLLBACK".to_owned());
    assert_eq!(program.ended().code(), Some(0));
    load.assert_stored_once_in_order(&mut database);
    assert_eq!(committed_in_all(&broker, "micro-1-group", "notification.events"), BURST);
}

#[test]
fn what_micro_1_had_in_hand_when_it_crashed_comes_again() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || often_committing(Start::one("micro-1")).on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    let mut program = start().ready();
    load.burst();
    let mut database = Database::open(folder.path());
    load.assert_stored_once_in_order(&mut database);
    wait_until_all_is_committed(&broker, "micro-1-group", "notification.events");
    // Nothing can be stored any more: what comes now stays in hand.
    database.execute("BEGIN EXCLUSIVE".to_owned());
    load.burst();
    wait_for("all of it to be in hand", || (in_hand(&program, "micro-1") == BURST as u64).then_some(()));
    wait_for("a failed attempt", || (!program.routed("micro-1", "outcome=retry").is_empty()).then_some(()));
    program.kill();
    database.execute("ROLLBACK".to_owned());
    assert_eq!(committed_in_all(&broker, "micro-1-group", "notification.events"), BURST);

    let _program = start().ready();
    load.assert_stored_once_in_order(&mut database);
}

#[test]
fn what_micro_2_had_in_hand_when_it_crashed_comes_again() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let one = Start::one("micro-1").on(&broker).keeping(&folder).start().ready();
    let start = || often_committing(Start::one("micro-2")).env("PUBLISH_DEADLINE_MS", "500").on(&broker).start();
    let mut two = start().ready();
    // micro-2 has not asked for the topic yet: it reads, and cannot answer.
    broker.hide_topic("notification.events", true).unwrap();
    let mut load = Load::user_events(&broker);
    load.burst();
    wait_for("all of it to be in hand", || (in_hand(&two, "micro-2") == BURST as u64).then_some(()));
    wait_for("a failed attempt", || (!two.routed("micro-2", "outcome=retry").is_empty()).then_some(()));
    two.kill();
    broker.hide_topic("notification.events", false).unwrap();
    assert_eq!(committed_in_all(&broker, "micro-2-group", "user.events"), 0);

    let _two = start().ready();
    load.assert_stored_once_in_order(&mut Database::open(folder.path()));
    drop(one);
}

#[test]
fn after_a_crash_of_micro_1_every_notification_is_stored_once_in_order_and_each_repeat_is_counted() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || often_committing(Start::one("micro-1")).on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    let mut program = start().ready();
    let mut database = Database::open(folder.path());
    load.feed_while(|| {
        wait_for_a_random_moment(&mut database);
        program.kill();
    });
    let stored = database.count();
    load.bursts(2);
    // A commit that was on its way when the process died has arrived: the broker has answered for two bursts since.
    let settled = committed_in_all(&broker, "micro-1-group", "notification.events");

    let program = start().ready();
    load.assert_stored_once_in_order(&mut database);
    wait_until_all_is_committed(&broker, "micro-1-group", "notification.events");
    let again = ["handled", "duplicates"].map(|it| count(&program, "micro-1", "notification.events", it));
    // What was stored behind the committed offsets came again: it was left out where the commit named it, and
    // recognised where no commit did.
    assert_eq!(again, [load.sent() - stored, stored - settled - skipped(&program)]);
    assert!(read_topic(&broker, "notification.events.dlq").is_empty());
}

#[test]
fn after_a_crash_of_micro_2_every_event_has_one_notification_in_order_and_each_repeat_is_counted() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let one = Start::one("micro-1").on(&broker).keeping(&folder).start().ready();
    let start = || often_committing(Start::one("micro-2")).on(&broker).start();
    let mut load = Load::user_events(&broker);
    let mut two = start().ready();
    let mut database = Database::open(folder.path());
    load.feed_while(|| {
        wait_for_a_random_moment(&mut database);
        two.kill();
    });
    load.bursts(2);

    let two = start().ready();
    load.assert_stored_once_in_order(&mut database);
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
    let start = || often_committing(Start::both()).on(&broker).keeping(&folder).start();
    let mut load = Load::user_events(&broker);
    let mut program = start();
    let mut database = Database::open(folder.path());
    for _ in 0..2 {
        load.feed_while(|| {
            wait_for_a_random_moment(&mut database);
            program.kill();
        });
        program = start();
    }
    let mut program = program.ready();
    load.burst();
    load.assert_stored_once_in_order(&mut database);
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
    let mut second = load.feed_while(|| {
        let second = start().ready();
        wait_until_shared(&[&first, &second]);
        second
    });
    load.bursts(5);
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    for member in [&first, &second] {
        assert!(count(member, "micro-2", "user.events", "handled") > 0, "both work");
    }
    load.feed_while(|| assert_eq!(second.stop().code(), Some(0)));
    wait_until_shared(&[&first]);
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    let times = notifications(&broker);
    assert_eq!(times.len(), load.sent(), "every event is answered");
    assert!(times.values().all(|times| *times == 1), "and none of them twice");
}

#[test]
fn when_one_of_two_members_crashes_the_other_takes_over_and_nothing_is_lost() {
    let broker = embedded_broker();
    let start = || often_committing(Start::one("micro-2")).on(&broker).start();
    let mut load = Load::user_events(&broker);
    let (first, mut second) = (start().ready(), start().ready());
    wait_until_shared(&[&first, &second]);
    load.feed_while(|| {
        let moment = 1 + random_below(500);
        let handled = || count(&second, "micro-2", "user.events", "handled");
        wait_for("a random moment of the work", || (handled() >= moment).then_some(()));
        second.kill();
    });
    load.burst();
    wait_until_shared(&[&first]);
    wait_until_all_is_committed(&broker, "micro-2-group", "user.events");
    assert_eq!(notifications(&broker).len(), load.sent(), "every event is answered");
}
