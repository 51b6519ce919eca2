//! What is paused is not read, and nothing of it is skipped or repeated: topics by an operator's order, partitions
//! because too much of them is on its way.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::kit::{BURST, Load, Out, Place, Program, Raw, Seen, Start, client, embedded_broker, new_user, wait_for};

const TOPIC: &str = "user.events";
const STUCK: &str = "micro-1.events";
/// Bursts that lie there before anything is read: more than is ever on its way at once.
const BACKLOG: usize = 40;
/// Most bursts that come while the topic is paused and resumed: the embedded broker drops the oldest of too many.
const MORE: usize = 40;
const PAUSES: usize = 20;

#[track_caller]
pub(crate) fn order(program: &Program, topic: &str, word: &str) -> Response {
    client().post(program.management_url("micro-2", &format!("/topics/{topic}:{word}"))).send().unwrap()
}

/// Why each partition of a topic is paused, as micro-2 says.
#[track_caller]
pub(crate) fn paused(program: &Program, topic: &str) -> Vec<Value> {
    let status = program.status("micro-2");
    let partitions = status["consumer"]["partitions"].as_array().unwrap().iter();
    partitions.filter(|at| at["topic"] == topic).map(|at| at["paused"].clone()).collect()
}

/// Where the events came from that a program settled, for one topic, in the order of its journal.
pub(crate) fn settled(program: &Program, topic: &str) -> Vec<Place> {
    let routed = program.journal("routed").into_iter().filter(|entry| entry["topic"] == topic);
    let settled = routed.filter(|entry| entry["outcome"] != "retry");
    settled
        .map(|at| (i32::try_from(at["partition"].as_i64().unwrap()).unwrap(), at["offset"].as_i64().unwrap()))
        .collect()
}

/// Waits until micro-2 has committed all of the topic, and checks that it handled each record once, each partition's
/// records of a key in their order.
#[track_caller]
pub(crate) fn assert_each_was_handled_once(program: &Program, kafka: &Raw, group: &str, before: usize) {
    let all = kafka.wait_until_all_is_committed(group, TOPIC);
    let handled = wait_for("the last lines", || Some(settled(program, TOPIC)).filter(|it| it.len() + before >= all));
    let places: BTreeSet<Place> = handled.iter().copied().collect();
    assert_eq!((handled.len() + before, places.len() + before), (all, all), "each once");
    assert!(program.journal("a log went back: its records are handled from there on").is_empty());
}

/// Pauses and resumes the topic again and again while its backlog is read and more comes.
#[track_caller]
pub(crate) fn pause_and_resume_while_events_flow(program: &Program, write: &(dyn Fn() + Sync)) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| (0..MORE).take_while(|_| !over.load(Ordering::Relaxed)).for_each(|_| write()));
        for _ in 0..PAUSES {
            assert_eq!(order(program, TOPIC, "pause").status(), 200);
            wait_for("the pause", || paused(program, TOPIC).iter().all(|why| why == "operator").then_some(()));
            let before = settled(program, TOPIC).len();
            assert_eq!(order(program, TOPIC, "resume").status(), 200);
            // Something of it is handled, unless the writer is done and nothing is left.
            wait_for("events", || {
                let nothing_left = program.status("micro-2")["consumer"]["lag"] == 0;
                (settled(program, TOPIC).len() > before || nothing_left).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// All of them are there, and none twice but where no one knew that it was written.
#[track_caller]
pub(crate) fn assert_each_is_a_dead_letter(program: &Program, kafka: &Raw, topic: &str, count: usize) {
    let letters = kafka.read_all(topic);
    let header = |letter: &Seen, name: &str| letter.header(name).unwrap().to_owned();
    let origin = |letter| (header(letter, "dlq-origin-partition"), header(letter, "dlq-origin-offset"));
    assert_eq!(letters.iter().map(origin).collect::<BTreeSet<_>>().len(), count);
    assert!(letters.len() <= count + program.unknown_dead_letters(), "{} dead letters of {count}", letters.len());
}

/// A burst of events of many users.
pub(crate) fn burst(kafka: &Raw, users: &[u64]) {
    let event = |user: &u64| {
        let value = json!({"userId": user, "action": "user_updated", "data": {"fullName": "again"}});
        Out::new(TOPIC, user, value.to_string())
    };
    kafka.send_all(&users.iter().cycle().take(BURST).map(event).collect::<Vec<_>>());
}

#[test]
fn a_paused_topic_is_not_read_while_others_are_and_when_it_is_resumed_each_of_its_events_is_handled_once() {
    let broker = embedded_broker();
    let kafka = Raw::new(&broker.bootstrap());
    let users: Vec<u64> = (0..40).map(|_| new_user()).collect();
    let mut program = Start::both().on(&broker).start().ready();

    let answer = order(&program, TOPIC, "pause");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().unwrap(), json!({"topic": TOPIC, "paused": true, "partitions": 8}));
    (0..BACKLOG).for_each(|_| burst(&kafka, &users));
    let place = kafka.send(&Out::new(STUCK, users[0], json!({"userId": users[0], "action": "elsewhere"}).to_string()));
    wait_for("an event of another topic", || settled(&program, STUCK).contains(&place).then_some(()));
    wait_for("the pause to be shown", || {
        let shown = (paused(&program, TOPIC), paused(&program, STUCK));
        (shown == (vec![json!("operator"); 8], vec![json!(null); 8])).then_some(())
    });
    wait_for("the pause to be counted", || {
        let metrics = program.manage("micro-2", "/metrics").text().unwrap();
        metrics.contains(r#"partitions_paused{service="micro-2",cause="operator"} 8"#).then_some(())
    });
    assert_eq!(settled(&program, TOPIC), []);

    pause_and_resume_while_events_flow(&program, &|| burst(&kafka, &users));
    assert_each_was_handled_once(&program, &kafka, "micro-2-group", 0);
    // What was paused for its backlog is resumed a moment after that is done.
    wait_for("the end of every pause", || (paused(&program, TOPIC) == vec![json!(null); 8]).then_some(()));
    assert!(program.stop().success());
}

#[test]
fn an_order_for_a_topic_that_is_not_read_is_a_404_and_a_get_is_a_405() {
    let broker = embedded_broker();
    let program = Start::both().on(&broker).start().ready();
    let refused = order(&program, "notification.events", "pause");
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["content-type"]),
        (404, &"application/problem+json".parse().unwrap())
    );
    assert_eq!(program.manage("micro-2", "/topics/user.events:pause").status(), 405);
    assert_eq!(order(&program, TOPIC, "stop").status(), 404);
}

#[test]
fn a_pause_survives_members_that_come_and_go_and_is_of_one_process() {
    let broker = embedded_broker();
    let kafka = Raw::new(&broker.bootstrap());
    let users: Vec<u64> = (0..40).map(|_| new_user()).collect();
    let keeper = Start::one("micro-2").on(&broker).start().ready();
    assert_eq!(order(&keeper, TOPIC, "pause").status(), 200);
    wait_for("the pause", || (paused(&keeper, TOPIC) == vec![json!("operator"); 8]).then_some(()));
    burst(&kafka, &users);

    let mut other = Start::one("micro-2").on(&broker).start().ready();
    wait_for("a share for the other", || (!paused(&other, TOPIC).is_empty()).then_some(()));
    wait_for("its share to be handled", || (!settled(&other, TOPIC).is_empty()).then_some(()));
    assert!(paused(&keeper, TOPIC).iter().all(|why| why == "operator"));
    assert!(other.stop().success());
    wait_for("the keeper to have all again, paused", || {
        (paused(&keeper, TOPIC) == vec![json!("operator"); 8]).then_some(())
    });
    burst(&kafka, &users);
    assert_eq!(settled(&keeper, TOPIC), [], "nothing of it was ever read");

    assert_eq!(order(&keeper, TOPIC, "resume").status(), 200);
    assert_each_was_handled_once(&keeper, &kafka, "micro-2-group", settled(&other, TOPIC).len());
}

#[test]
fn a_topic_that_is_stuck_is_paused_and_the_others_of_its_service_go_on() {
    let broker = embedded_broker();
    let dead = format!("{STUCK}.dlq");
    let start = Start::both().on(&broker).env("MICRO_2_MAX_IN_FLIGHT_RECORDS", "40").env("PUBLISH_DEADLINE_MS", "500");
    let mut program = start.start().ready();
    broker.hide_topic(&dead, true).unwrap();
    let mut load = Load::user_events(&broker);
    // Each of another key: none waits for another, and each waits for its dead letter.
    let garbage: Vec<Out> = (0..60).map(|_| Out::new(STUCK, new_user(), "garbage").partition(0)).collect();
    load.kafka.send_all(&garbage);
    wait_for("the pause", || paused(&program, STUCK).contains(&json!("backpressure")).then_some(()));
    load.bursts(3);
    let group = "micro-2-group";
    load.kafka.wait_until_all_is_committed(group, TOPIC);
    // Others may have been paused while they had more than their share on its way.
    let stuck = wait_for("the others to be paused no more", || {
        let status = program.status("micro-2");
        let partitions = status["consumer"]["partitions"].as_array().unwrap().iter();
        let mut paused = partitions.filter(|at| at["paused"] != json!(null)).cloned().collect::<Vec<_>>();
        if paused.len() == 1 { paused.pop() } else { None }
    });
    assert_eq!(
        (&stuck["topic"], &stuck["partition"], &stuck["paused"]),
        (&json!(STUCK), &json!(0), &json!("backpressure"))
    );
    assert!((10..=20).contains(&stuck["inFlight"].as_u64().unwrap()), "{stuck}");

    broker.hide_topic(&dead, false).unwrap();
    load.kafka.wait_until_all_is_committed(group, STUCK);
    assert_each_is_a_dead_letter(&program, &load.kafka, &dead, 60);
    wait_for("the end of the pause", || paused(&program, STUCK).iter().all(Value::is_null).then_some(()));
    assert!(program.stop().success());
}
