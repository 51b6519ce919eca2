//! Brokers that are down, or do not answer: what requests are told, what status says, and what holds afterwards.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kafka_actors::kafka::EmbeddedBroker;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::kit::{Database, Program, Raw, Start, embedded_broker, new_user, wait_for};

/// micro-2 may publish to it.
const TOPIC: &str = "micro-2.events";
/// Longer than any deadline here: an answer that does not come.
const NEVER: Duration = Duration::from_mins(1);

/// What a request to publish was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Acknowledged,
    NotSent,
    Unknown,
}

/// Reads the answer; any other than these three is none of those that the issue allows.
#[track_caller]
fn told(response: Response) -> Told {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body: Value = response.json().unwrap();
    if status == 200 {
        assert!(body["data"]["offset"].is_u64(), "{body}");
        return Told::Acknowledged;
    }
    let detail = body["detail"].as_str().unwrap();
    assert_eq!((content_type.as_str(), &body["status"]), ("application/problem+json", &json!(status)), "{body}");
    match status {
        503 => {
            assert!(retry_after.unwrap().parse::<u32>().unwrap() > 0 && detail.contains("nothing was sent"), "{body}");
            Told::NotSent
        }
        504 => {
            assert!(retry_after.is_none() && detail.contains("outcome is unknown"), "{body}");
            Told::Unknown
        }
        _ => panic!("{status}: {body}"),
    }
}

fn user_created(user: u64) -> Value {
    let message = json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}});
    json!({"message": message, "topic": "user.events"})
}

fn create_user(program: &Program, user: u64) -> Response {
    program.post("micro-1", "/api/kafka/send-to-micro2").json(&user_created(user)).send().unwrap()
}

/// Every way to publish.
fn publish_in_each_way(program: &Program, user: u64) -> Vec<Response> {
    let notification = json!({"userId": user, "type": "info", "content": "c"});
    let requests = [
        program.post("micro-1", "/api/kafka/send-to-micro2").json(&user_created(user)),
        program.post("micro-1", "/api/kafka/send-to-micro2").json(&json!({"message": {"userId": user}})),
        program.post("micro-2", "/api/kafka/send").json(&json!({"topic": "micro-2.events", "message": {"a": user}})),
        program.post("micro-2", "/api/notifications/send").json(&notification),
    ];
    requests.map(|request| request.send().unwrap()).into()
}

/// Whose events are in `user.events`.
#[track_caller]
fn users_written(broker: &EmbeddedBroker) -> Vec<u64> {
    let written = Raw::new(&broker.bootstrap()).read_all("user.events");
    let values = written.iter().map(|record| serde_json::from_str::<Value>(record.value_text()).unwrap());
    values.map(|value| value["userId"].as_u64().unwrap()).collect()
}

#[test]
fn a_broker_that_goes_down_hangs_up_whatever_other_tests_have_started_meanwhile() {
    let broker = embedded_broker();
    let mut connection = TcpStream::connect(broker.bootstrap()).unwrap();
    // Connections are accepted in their order: with an answer on a later one, the broker has this one.
    Raw::new(&broker.bootstrap()).partitions("user.events");
    let _program = Start::both().start();
    broker.down();
    connection.set_read_timeout(Some(NEVER)).unwrap();
    let read = connection.read(&mut [0]);
    let waits = read.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(!waits, "somebody else holds the broker's end of it");
    // Nor is there anybody who holds the port.
    broker.up().unwrap();
    Raw::new(&broker.bootstrap()).partitions("user.events");
}

#[test]
fn while_the_broker_is_down_every_publish_is_refused_with_503_and_retry_after() {
    let broker = embedded_broker();
    let program = Start::both().on(&broker).start().ready();
    broker.down();
    for service in ["micro-1", "micro-2"] {
        wait_for("the producer to notice", || {
            (program.status(service)["producer"]["reachable"] == false).then_some(())
        });
    }
    let user = new_user();
    for response in publish_in_each_way(&program, user) {
        let url = response.url().clone();
        assert_eq!(told(response), Told::NotSent, "{url}");
    }

    broker.up().unwrap();
    let program = program.ready();
    for response in publish_in_each_way(&program, user) {
        let url = response.url().clone();
        assert_eq!(told(response), Told::Acknowledged, "{url}");
    }
    // Of each way the second one only: what was said not to be sent has not been sent.
    let kafka = Raw::new(&broker.bootstrap());
    let sent: usize = ["user.events", "micro-1.events", "micro-2.events"]
        .iter()
        .map(|topic| {
            kafka.read_all(topic).iter().filter(|record| record.value_text().contains(&user.to_string())).count()
        })
        .sum();
    assert_eq!(sent, 3);
}

#[test]
fn from_the_moment_the_broker_goes_down_no_publish_is_acknowledged_and_each_is_answered_in_time() {
    let broker = embedded_broker();
    let program = Start::one("micro-1").on(&broker).env("PUBLISH_DEADLINE_MS", "1000").start().ready();
    let mut unsent = Vec::new();
    broker.down();
    // Each has its answer before the broker comes back: none waits for that.
    wait_for("the producer to notice", || {
        let user = new_user();
        let told = told(create_user(&program, user));
        assert_ne!(told, Told::Acknowledged);
        if told == Told::NotSent {
            unsent.push(user);
        }
        (program.status("micro-1")["producer"]["reachable"] == false).then_some(())
    });
    broker.up().unwrap();
    program.wait_until_ready("micro-1");
    let user = new_user();
    assert_eq!(told(create_user(&program, user)), Told::Acknowledged);
    let written = users_written(&broker);
    assert!(written.contains(&user));
    assert!(!unsent.iter().any(|unsent| written.contains(unsent)), "{unsent:?} in {written:?}");
}

/// micro-1 with a deadline, and micro-2 with one that does not come.
#[track_caller]
fn an_acknowledgement_does_not_come(start: Start) {
    let broker = embedded_broker();
    let program = start.env("MICRO_2_PUBLISH_DEADLINE_MS", "60000").on(&broker).start().ready();
    let ask_micro_2 = || program.post("micro-2", "/api/kafka/send").json(&json!({"topic": TOPIC, "message": {"a": 1}}));
    // The clients have to know the topics, or there would be nothing that they could send.
    assert_eq!(told(create_user(&program, new_user())), Told::Acknowledged);
    assert_eq!(told(ask_micro_2().send().unwrap()), Told::Acknowledged);
    let user = wait_for("a request that the broker does not answer", || {
        broker.slow_down(NEVER).unwrap();
        let request = ask_micro_2();
        // It may be cut off by the end of the test.
        let patient = thread::spawn(move || drop(request.send()));
        wait_for("it to be on its way", || {
            (program.status("micro-2")["producer"]["inFlight"] == 1 || patient.is_finished()).then_some(())
        });
        let user = new_user();
        let told = told(create_user(&program, user));
        assert_ne!(told, Told::Acknowledged);
        if told == Told::Unknown && !patient.is_finished() {
            return Some(user);
        }
        // Between two lines of this test the services found the broker silent: that was a slow machine.
        broker.slow_down(Duration::ZERO).unwrap();
        program.wait_until_ready("micro-1");
        None
    });
    broker.slow_down(Duration::ZERO).unwrap();
    let next = new_user();
    wait_for("an acknowledgement", || (told(create_user(&program, next)) == Told::Acknowledged).then_some(()));
    let written = users_written(&broker);
    assert!(written.contains(&user), "the broker had it: saying that nothing was sent would have been wrong");
}

#[test]
fn an_acknowledgement_that_does_not_come_within_5_seconds_is_a_504_that_says_the_outcome_is_unknown() {
    an_acknowledgement_does_not_come(Start::both());
}

#[test]
fn an_acknowledgement_that_does_not_come_within_a_short_deadline_is_a_504_at_that_deadline() {
    an_acknowledgement_does_not_come(Start::both().env("MICRO_1_PUBLISH_DEADLINE_MS", "300"));
}

#[test]
fn readiness_and_status_tell_that_the_broker_is_down_and_later_that_it_is_back() {
    let broker = embedded_broker();
    let program = Start::both().on(&broker).start().ready();
    broker.down();
    for service in ["micro-1", "micro-2"] {
        wait_for("readiness to say so", || {
            let readiness: Value = program.get(service, "/readyz").json().unwrap();
            readiness["reasons"].to_string().contains("reaches no broker").then_some(())
        });
        wait_for("the status to say so", || {
            let status = program.status(service);
            let of = |client: &str, what: &str| status[client][what] == false;
            let clients = of("producer", "reachable") && of("consumer", "brokerReachable");
            (clients && of("broker", "reachable") && status["ready"] == false).then_some(())
        });
        assert_eq!(program.get(service, "/readyz").status(), 503);
        assert_eq!(program.get(service, "/livez").status(), 200, "it lives, or it would be restarted for nothing");
    }

    broker.up().unwrap();
    let program = program.ready();
    for service in ["micro-1", "micro-2"] {
        wait_for("the status to say so", || {
            let status = program.status(service);
            let reachable = [&status["broker"]["reachable"], &status["producer"]["reachable"], &status["ready"]];
            (reachable == [&json!(true); 3]).then_some(())
        });
    }
}

#[test]
fn whatever_was_acknowledged_while_the_broker_came_and_went_is_stored_once_and_what_was_refused_is_not() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let program = Start::both().on(&broker).keeping(&folder).env("PUBLISH_DEADLINE_MS", "1000").start().ready();
    let (enough, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let told_of: BTreeMap<u64, Told> = thread::scope(|scope| {
        let (program, enough, acknowledged) = (&program, &enough, &acknowledged);
        let users: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut told_of = Vec::new();
                    while !enough.load(Ordering::Relaxed) {
                        let user = new_user();
                        let told = told(create_user(program, user));
                        acknowledged.fetch_add(usize::from(told == Told::Acknowledged), Ordering::Relaxed);
                        told_of.push((user, told));
                    }
                    told_of
                })
            })
            .collect();
        let mut told_here = Vec::new();
        for _ in 0..3 {
            let handled = || program.actor("micro-1", "notification.events")["handled"].as_u64().unwrap();
            let done = || (handled(), acknowledged.load(Ordering::Relaxed));
            let before = done();
            wait_for("events to be acknowledged, and some to arrive", || {
                let now = done();
                (now.0 > before.0 + 20 && now.1 > before.1 + 20).then_some(())
            });
            broker.down();
            // Until somebody was refused: else a broker that is back soon would have been away unnoticed.
            wait_for("a refusal", || {
                let user = new_user();
                let told = told(create_user(program, user));
                told_here.push((user, told));
                (told == Told::NotSent).then_some(())
            });
            broker.up().unwrap();
        }
        program.wait_until_ready("micro-1");
        enough.store(true, Ordering::Relaxed);
        users.into_iter().flat_map(|user| user.join().unwrap()).chain(told_here).collect()
    });
    let those = |told: Told| told_of.iter().filter(move |(_, is)| **is == told).map(|(user, _)| *user);
    assert!(those(Told::Acknowledged).count() > 60 && those(Told::NotSent).count() >= 3);

    let mut database = Database::open(folder.path());
    let stored = wait_for("what was acknowledged", || {
        let stored = database.contents();
        those(Told::Acknowledged).all(|user| stored.contains_key(&user)).then_some(stored)
    });
    for (user, contents) in &stored {
        assert_eq!(contents, &["Welcome, John Doe!"], "user {user}, {:?}", told_of.get(user));
    }
    for user in those(Told::NotSent) {
        assert!(!stored.contains_key(&user), "user {user}: said not to be sent, and was");
    }
}

#[test]
fn a_service_that_starts_before_its_broker_listens_and_lives_and_is_ready_once_the_broker_comes() {
    let broker = embedded_broker();
    broker.down();
    let program = Start::both().on(&broker).start();
    for service in ["micro-1", "micro-2"] {
        assert_eq!(program.get(service, "/livez").status(), 200);
        assert_eq!(program.get(service, "/").status(), 200);
        assert_eq!(program.get(service, "/readyz").status(), 503);
        assert_eq!(program.status(service)["broker"]["reachable"], false);
    }
    assert_eq!(told(create_user(&program, new_user())), Told::NotSent);

    broker.up().unwrap();
    let program = program.ready();
    let user = new_user();
    assert_eq!(told(create_user(&program, user)), Told::Acknowledged);
    wait_for("the notification", || program.notifications(user).into_iter().next());
}

#[test]
fn the_healthcheck_exits_0_while_all_is_ready_and_1_otherwise() {
    let broker = embedded_broker();
    let program = Start::both().on(&broker).start().ready();
    wait_for("health", || (program.healthcheck().code() == Some(0)).then_some(()));
    broker.down();
    wait_for("readiness to end", || (program.get("micro-2", "/readyz").status() == 503).then_some(()));
    assert_eq!(program.healthcheck().code(), Some(1));
    broker.up().unwrap();
    let mut program = program.ready();
    wait_for("health", || (program.healthcheck().code() == Some(0)).then_some(()));
    assert!(program.stop().success());
    assert_eq!(program.healthcheck().code(), Some(1), "no one listens any more");
}
