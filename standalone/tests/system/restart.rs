//! Services that end and come back, and members that come and go: every event is handled, and its effect is there once.

use std::collections::BTreeMap;

use crate::kit::{
    BURST, Database, Load, PARTITIONS, Program, Raw, Start, embedded_broker, random_below, wait_for,
    wait_for_a_random_moment,
};

/// Counted outcomes of one handler.
#[track_caller]
fn count(program: &Program, service: &str, topic: &str, outcome: &str) -> usize {
    usize::try_from(program.actor(service, topic)[outcome].as_u64().unwrap()).unwrap()
}

#[test]
fn a_service_that_was_stopped_goes_on_where_it_stopped_and_repeats_nothing() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || Start::one("micro-1").finishing().on(&broker).keeping(&folder).start();
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
    load.kafka.wait_until_all_is_committed("micro-1-group", "notification.events");
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
    load.kafka.wait_until_all_is_committed("micro-1-group", "notification.events");
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

/// How many records the service has in flight.
#[track_caller]
fn in_flight(program: &Program, service: &str) -> u64 {
    program.status(service)["consumer"]["inFlight"].as_u64().unwrap()
}

/// micro-1 has stored and committed all that was sent, and a burst more is in flight: it cannot be stored before the
/// transaction of this connection ends.
#[track_caller]
fn with_a_burst_in_flight(program: &Program, load: &mut Load, folder: &tempfile::TempDir) -> Database {
    let mut database = Database::open(folder.path());
    load.assert_stored_once_in_order(&mut database);
    load.kafka.wait_until_all_is_committed("micro-1-group", "notification.events");
    database.execute("BEGIN EXCLUSIVE".to_owned());
    load.burst();
    wait_for("all of it to be in flight", || (in_flight(program, "micro-1") == BURST as u64).then_some(()));
    database
}

#[test]
fn what_micro_1_has_in_flight_when_it_is_told_to_stop_is_finished_and_committed() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let mut load = Load::notifications(&broker);
    let mut database = wait_for("a stop in the middle of the first attempts", || {
        let start = Start::one("micro-1").env("DRAIN_DEADLINE_MS", "8000");
        let mut program = start.on(&broker).keeping(&folder).start().ready();
        // With nothing before it but what an earlier round may have left.
        let mut database = with_a_burst_in_flight(&program, &mut load, &folder);
        program.signal(libc::SIGTERM);
        wait_for("the drain", || (!program.journal("stopping").is_empty()).then_some(()));
        database.execute("ROLLBACK".to_owned());
        assert_eq!(program.ended().code(), Some(0));
        // On a slow machine the wait for the lock, 5 s, may have ended before: what failed is for the next start.
        let failed = program.journal("routed").iter().any(|line| line["outcome"] == "retry");
        (!failed).then_some(database)
    });
    load.assert_stored_once_in_order(&mut database);
    assert_eq!(load.kafka.committed_in_all("micro-1-group", "notification.events"), load.sent());
}

#[test]
fn what_micro_1_had_in_flight_when_it_crashed_comes_again() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let start = || often_committing(Start::one("micro-1")).on(&broker).keeping(&folder).start();
    let mut load = Load::notifications(&broker);
    let mut program = start().ready();
    load.burst();
    let mut database = with_a_burst_in_flight(&program, &mut load, &folder);
    wait_for("a failed attempt", || (!program.routed("micro-1", "outcome=retry").is_empty()).then_some(()));
    program.kill();
    database.execute("ROLLBACK".to_owned());
    assert_eq!(load.kafka.committed_in_all("micro-1-group", "notification.events"), BURST);

    let _program = start().ready();
    load.assert_stored_once_in_order(&mut database);
}

#[test]
fn what_micro_2_had_in_flight_when_it_crashed_comes_again() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let one = Start::one("micro-1").on(&broker).keeping(&folder).start().ready();
    // It has attempts for longer than the topic is hidden.
    let patient = || often_committing(Start::one("micro-2")).env("RETRY_ATTEMPTS", "100");
    let start = || patient().env("PUBLISH_DEADLINE_MS", "500").on(&broker).start();
    let mut two = start().ready();
    // micro-2 has not asked for the topic yet: it reads, and cannot answer.
    broker.hide_topic("notification.events", true).unwrap();
    let mut load = Load::user_events(&broker);
    load.burst();
    wait_for("all of it to be in flight", || (in_flight(&two, "micro-2") == BURST as u64).then_some(()));
    wait_for("a failed attempt", || (!two.routed("micro-2", "outcome=retry").is_empty()).then_some(()));
    two.kill();
    broker.hide_topic("notification.events", false).unwrap();
    assert_eq!(load.kafka.committed_in_all("micro-2-group", "user.events"), 0);

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
    let settled = load.kafka.committed_in_all("micro-1-group", "notification.events");

    let program = start().ready();
    load.assert_stored_once_in_order(&mut database);
    load.kafka.wait_until_all_is_committed("micro-1-group", "notification.events");
    let again = ["handled", "duplicates"].map(|it| count(&program, "micro-1", "notification.events", it));
    // What was stored behind the committed offsets came again: it was left out where the commit named it, and
    // recognised where no commit did.
    assert_eq!(again, [load.sent() - stored, stored - settled - skipped(&program)]);
    assert!(load.kafka.read_all("notification.events.dlq").is_empty());
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
    load.kafka.wait_until_all_is_committed("micro-2-group", "user.events");
    let written = load.kafka.wait_until_all_is_committed("micro-1-group", "notification.events");
    let arrived = ["handled", "duplicates"].map(|it| count(&one, "micro-1", "notification.events", it));
    assert_eq!(arrived, [load.sent(), written - load.sent()]);
    assert!(load.kafka.read_all("user.events.dlq").is_empty());
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
fn notifications(kafka: &Raw) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for record in kafka.read_all("notification.events") {
        *times.entry(record.value_text().to_owned()).or_default() += 1;
    }
    times
}

#[test]
fn two_members_share_the_partitions_and_when_one_leaves_the_other_takes_over_and_nothing_is_lost_or_repeated() {
    let broker = embedded_broker();
    let start = || Start::one("micro-2").finishing().on(&broker).start();
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
    load.kafka.wait_until_all_is_committed("micro-2-group", "user.events");
    for member in [&first, &second] {
        assert!(count(member, "micro-2", "user.events", "handled") > 0, "both work");
    }
    load.feed_while(|| assert_eq!(second.stop().code(), Some(0)));
    wait_until_shared(&[&first]);
    load.kafka.wait_until_all_is_committed("micro-2-group", "user.events");
    let times = notifications(&load.kafka);
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
    load.kafka.wait_until_all_is_committed("micro-2-group", "user.events");
    assert_eq!(notifications(&load.kafka).len(), load.sent(), "every event is answered");
}
