//! Attempts that fail: they are repeated in their lane, given up as dead letters, and owned until one of both is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{
    Broker, Database, Out, Place, Program, Raw, Seen, Start, embedded_broker, new_user, wait_for, wait_for_count,
};

const TOPIC: &str = "notification.events";
const DEAD: &str = "notification.events.dlq";

/// A broker, a client of it, and a folder for micro-1's database.
fn stage() -> (Arc<Broker>, Raw, TempDir) {
    let broker = embedded_broker();
    let kafka = Raw::new(&broker.bootstrap());
    (broker, kafka, tempfile::tempdir().unwrap())
}

fn notification(user: u64, content: &str) -> Out {
    Out::new(TOPIC, user, json!({"userId": user, "type": "info", "content": content}).to_string())
}

/// From now on storing a notification of this user fails, as a full disk would fail it.
fn refuse(folder: &Path, user: u64) {
    let raise = "SELECT RAISE(ABORT, 'refused by the test')";
    Database::open(folder).execute(format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON notifications WHEN NEW.user_id = {user} BEGIN {raise}; END"
    ));
}

fn allow(folder: &Path) {
    Database::open(folder).execute("DROP TRIGGER refuse".to_owned());
}

fn retrying(start: Start, attempts: u32) -> Start {
    let attempts = attempts.to_string();
    start.env("RETRY_ATTEMPTS", attempts).env("RETRY_BACKOFF_MS", "10").env("RETRY_MAX_BACKOFF_MS", "100")
}

#[track_caller]
fn wait_for_outcome(program: &Program, service: &str, user: u64, outcome: &str) -> Vec<Value> {
    wait_for(outcome, || {
        let found = program.routed(service, &format!("key={user}&outcome={outcome}&limit=1000"));
        (!found.is_empty()).then_some(found)
    })
}

/// Dead letters of one user, with their headers.
fn dead_letters(kafka: &Raw, user: u64) -> Vec<Seen> {
    let mut letters = kafka.read_all(DEAD);
    letters.retain(|letter| letter.value_text().contains(&format!("\"userId\":{user},")));
    letters
}

fn committed_in(kafka: &Raw, partition: i32) -> i64 {
    kafka.committed_in("micro-1-group", TOPIC, partition)
}

#[test]
fn a_failing_user_is_tried_again_in_order_while_the_others_go_on() {
    let (broker, kafka, folder) = stage();
    // Attempts for longer than a minute.
    let start = retrying(Start::one("micro-1"), 100).env("RETRY_MAX_BACKOFF_MS", "1000");
    let program = start.on(&broker).keeping(&folder).start().ready();
    let (failing, other) = (new_user(), new_user());
    refuse(folder.path(), failing);
    let records: Vec<_> =
        (0..5).flat_map(|n| [notification(failing, &n.to_string()), notification(other, &n.to_string())]).collect();
    kafka.send_all(&records);

    let all: Vec<String> = (0..5).map(|n| n.to_string()).collect();
    let mut database = Database::open(folder.path());
    wait_for("the others", || (database.contents().get(&other) == Some(&all)).then_some(()));
    // More than one attempt, so that it is the lane that waits and not the first attempt that is slow.
    let failed = wait_for("several attempts", || {
        Some(program.routed("micro-1", &format!("key={failing}&outcome=retry"))).filter(|failed| failed.len() > 3)
    });
    assert!(failed.iter().all(|attempt| attempt["error"].as_str().unwrap().contains("refused by the test")));
    assert_eq!(database.contents().get(&failing), None);

    allow(folder.path());
    wait_for("the failing user", || (database.contents().get(&failing) == Some(&all)).then_some(()));
    let handled = wait_for("their journal entries", || {
        Some(program.routed("micro-1", &format!("key={failing}&outcome=handled"))).filter(|handled| handled.len() == 5)
    });
    // Newest first; the attempts of an event are numbered on.
    let first = handled.last().unwrap();
    let mut attempts: Vec<u64> = program
        .routed("micro-1", &format!("id={}&limit=1000", first["id"].as_str().unwrap()))
        .iter()
        .map(|attempt| attempt["attempt"].as_u64().unwrap())
        .collect();
    attempts.reverse();
    assert_eq!(attempts, (1..=first["attempt"].as_u64().unwrap()).collect::<Vec<_>>());
    assert!(kafka.read_all(DEAD).is_empty());
}

#[test]
fn a_locked_database_delays_notifications_and_loses_none_and_keeps_their_order() {
    let (broker, kafka, folder) = stage();
    let program = retrying(Start::one("micro-1"), 100).on(&broker).keeping(&folder).start().ready();
    let users = [new_user(), new_user(), new_user()];
    let mut lock = Database::open(folder.path());
    lock.execute("BEGIN EXCLUSIVE".to_owned());
    let records: Vec<_> = (0..10).flat_map(|n| users.map(|user| notification(user, &n.to_string()))).collect();
    let lies = kafka.send_all(&records);
    wait_for("a failed attempt", || {
        let failed = program.routed("micro-1", "outcome=retry");
        failed.iter().any(|failed| failed["error"].as_str().unwrap().contains("locked")).then_some(())
    });
    assert_eq!(kafka.committed_in_all("micro-1-group", TOPIC), 0, "nothing is settled");
    lock.execute("ROLLBACK".to_owned());

    let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let expected: BTreeMap<u64, Vec<String>> = users.into_iter().map(|user| (user, all.clone())).collect();
    wait_for("every notification", || (lock.count() == lies.len()).then_some(()));
    assert_eq!(lock.contents(), expected);
    wait_for("the commit", || (kafka.committed_in_all("micro-1-group", TOPIC) == 30).then_some(()));
    assert!(kafka.read_all(DEAD).is_empty());
}

#[test]
fn when_the_attempts_are_used_up_the_event_is_a_dead_letter_and_its_followers_are_tried() {
    let (broker, kafka, folder) = stage();
    let program = retrying(Start::one("micro-1"), 2).on(&broker).keeping(&folder).start().ready();
    let (failing, other) = (new_user(), new_user());
    refuse(folder.path(), failing);
    let lies = kafka.send_all(&[notification(failing, "a"), notification(failing, "b"), notification(other, "c")]);

    wait_for("two dead letters", || {
        let dead = program.routed("micro-1", &format!("key={failing}&outcome=dead_lettered"));
        (dead.len() == 2).then_some(())
    });
    let mut outcomes = program.routed("micro-1", &format!("key={failing}"));
    outcomes.reverse();
    let told: Vec<_> = outcomes
        .iter()
        .map(|entry| (entry["offset"].as_i64().unwrap(), entry["outcome"].as_str().unwrap(), &entry["attempt"]))
        .collect();
    let (one, two) = (json!(1), json!(2));
    let expected = [(0, "retry", &one), (0, "dead_lettered", &two), (1, "retry", &one), (1, "dead_lettered", &two)];
    let at = |place: usize| lies[place].1;
    assert_eq!(told, expected.map(|(place, outcome, attempt)| (at(place), outcome, attempt)));

    let letters = dead_letters(&kafka, failing);
    assert_eq!(letters.len(), 2);
    for (letter, (content, lies)) in letters.iter().zip([("a", lies[0]), ("b", lies[1])]) {
        let header = |name: &str| letter.header(name).unwrap();
        assert_eq!(letter.value, notification(failing, content).value);
        assert_eq!((header("dlq-attempts"), header("dlq-error-kind")), ("2", "transient"));
        assert_eq!((header("dlq-origin-topic"), header("dlq-handler")), (TOPIC, "NotificationActor"));
        let origin = (header("dlq-origin-partition").parse().unwrap(), header("dlq-origin-offset").parse().unwrap());
        assert_eq!(origin, lies);
        assert!(header("dlq-error").contains("refused by the test"));
        assert!(header("dlq-first-failure") < header("dlq-last-failure"));
    }
    // The user is served again, and what was given up does not come back.
    allow(folder.path());
    kafka.send_all(&[notification(failing, "d")]);
    for user in [failing, other] {
        wait_for_outcome(&program, "micro-1", user, "handled");
    }
    let stored = Database::open(folder.path()).contents();
    assert_eq!(stored, [(failing, vec!["d".to_owned()]), (other, vec!["c".to_owned()])].into());
}

/// What holds while a dead letter waits.
#[track_caller]
fn assert_owned(program: &Program, kafka: Option<&Raw>, user: u64, lies: Place) {
    wait_for("the late dead letter", || (program.actor("micro-1", TOPIC)["delayedDeadLetters"] == 1).then_some(()));
    let readiness = program.get("micro-1", "/readyz");
    assert_eq!(readiness.status(), 503);
    let reasons = readiness.text().unwrap();
    assert!(reasons.contains("NotificationActor has 1 dead letters that cannot be written"), "{reasons}");
    assert!(program.routed("micro-1", &format!("key={user}&outcome=dead_lettered")).is_empty());
    if let Some(kafka) = kafka {
        assert!(committed_in(kafka, lies.0) <= lies.1, "the offset is not passed");
    }
}

#[track_caller]
fn assert_written(program: &Program, kafka: &Raw, user: u64, lies: Place) {
    let written = wait_for_outcome(program, "micro-1", user, "dead_lettered");
    assert_eq!((written.len(), &written[0]["offset"]), (1, &json!(lies.1)));
    program.wait_until_ready("micro-1");
    assert_eq!(program.actor("micro-1", TOPIC)["delayedDeadLetters"], 0);
    wait_for("the commit", || (committed_in(kafka, lies.0) > lies.1).then_some(()));
    assert_one_dead_letter(program, kafka, user);
}

/// There is one, and no other but for an attempt of which no one knew that it was written.
#[track_caller]
fn assert_one_dead_letter(program: &Program, kafka: &Raw, user: u64) {
    let letters = dead_letters(kafka, user).len();
    let unknown = program.unknown_dead_letters();
    assert!((1..=1 + unknown).contains(&letters), "{letters}, {unknown} unknown");
}

#[test]
fn while_the_dead_letter_topic_is_missing_the_record_stays_owned_and_others_go_on() {
    let (broker, kafka, folder) = stage();
    let start = retrying(Start::one("micro-1"), 1).env("PUBLISH_DEADLINE_MS", "500");
    let program = start.on(&broker).keeping(&folder).start().ready();
    broker.hide_topic(DEAD, true).unwrap();
    let (failing, other) = (new_user(), new_user());
    refuse(folder.path(), failing);
    let lies = kafka.send_all(&[notification(failing, "a"), notification(failing, "b")]);
    assert_owned(&program, Some(&kafka), failing, lies[0]);
    // With one attempt, an event that came in one batch with the failing one would be given up with it: so it comes later.
    kafka.send_all(&[notification(other, "c")]);
    wait_for_outcome(&program, "micro-1", other, "handled");
    assert_owned(&program, Some(&kafka), failing, lies[0]);

    allow(folder.path());
    broker.hide_topic(DEAD, false).unwrap();
    assert_written(&program, &kafka, failing, lies[0]);
    // The follower waited for it.
    wait_for_outcome(&program, "micro-1", failing, "handled");
    assert_eq!(Database::open(folder.path()).contents()[&failing], ["b"]);
}

#[test]
fn a_record_whose_dead_letter_waits_comes_again_after_a_crash() {
    let (broker, kafka, folder) = stage();
    let start = || {
        let start = retrying(Start::one("micro-1"), 1).env("PUBLISH_DEADLINE_MS", "500");
        start.on(&broker).keeping(&folder).start()
    };
    let mut program = start().ready();
    broker.hide_topic(DEAD, true).unwrap();
    let user = new_user();
    refuse(folder.path(), user);
    let lies = kafka.send_all(&[notification(user, "a")]);
    assert_owned(&program, Some(&kafka), user, lies[0]);
    program.kill();
    allow(folder.path());
    broker.hide_topic(DEAD, false).unwrap();

    let program = start().ready();
    wait_for_outcome(&program, "micro-1", user, "handled");
    assert!(dead_letters(&kafka, user).is_empty());
}

#[test]
fn a_dead_letter_that_meets_a_broker_that_is_down_is_written_when_it_is_back() {
    let (broker, kafka, folder) = stage();
    let start = retrying(Start::one("micro-1"), 1).env("PUBLISH_DEADLINE_MS", "500");
    let program = start.on(&broker).keeping(&folder).start().ready();
    let user = new_user();
    refuse(folder.path(), user);
    // Its topic is missing until the broker is down: so that is what it meets next, however long this takes.
    broker.hide_topic(DEAD, true).unwrap();
    let lies = kafka.send_all(&[notification(user, "a")]);
    wait_for("the dead letter to wait", || (!program.delayed_dead_letters().is_empty()).then_some(()));
    broker.down();
    broker.hide_topic(DEAD, false).unwrap();
    // The next attempt may have begun before.
    let tried = || program.delayed_dead_letters().len();
    wait_for_count("attempts with no broker", tried() + 2, tried);
    assert_owned(&program, None, user, lies[0]);
    broker.up().unwrap();
    // While the broker was away the group may have dropped the member: then the record is its owner's again, and the
    // dead letter is written all the same.
    wait_for("the dead letter", || {
        (!program.routed("micro-1", &format!("key={user}&outcome=dead_lettered")).is_empty()).then_some(())
    });
    program.wait_until_ready("micro-1");
    wait_for("the commit", || (committed_in(&kafka, lies[0].0) > lies[0].1).then_some(()));
    assert_one_dead_letter(&program, &kafka, user);
}

#[test]
fn a_handler_that_cannot_publish_is_tried_again_until_the_broker_is_back() {
    let (broker, kafka, folder) = stage();
    let one = Start::one("micro-1").on(&broker).keeping(&folder).start().ready();
    let start = retrying(Start::one("micro-2"), 100).env("PUBLISH_DEADLINE_MS", "500");
    let two = start.on(&broker).start().ready();
    // Hidden before micro-2 has ever asked for it: it consumes, and cannot publish.
    broker.hide_topic(TOPIC, true).unwrap();
    let user = new_user();
    let records: Vec<_> = (0..5)
        .map(|n| json!({"userId": user, "action": "user_updated", "data": {"fullName": n.to_string()}}))
        .map(|event| Out::new("user.events", user, event.to_string()))
        .collect();
    kafka.send_all(&records);
    wait_for_outcome(&two, "micro-2", user, "retry");
    broker.hide_topic(TOPIC, false).unwrap();
    let mut database = Database::open(folder.path());
    let stored = wait_for("the notifications", || {
        database.contents().remove(&user).filter(|stored| stored.len() == records.len())
    });
    let expected: Vec<String> = (0..5).map(|n| format!("Your profile was updated, {n}.")).collect();
    assert_eq!(stored, expected);
    wait_for("the outcomes", || {
        let handled = two.routed("micro-2", &format!("key={user}&outcome=handled"));
        (handled.len() == 5 && handled.iter().any(|handled| handled["attempt"].as_u64() > Some(1))).then_some(())
    });
    drop(one);
}
