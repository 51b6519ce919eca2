//! A broker that dies and comes back under a running service.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use super::cluster::Cluster;
use super::{Groups, on};
use crate::kit::{Program, Raw, Start, new_user, wait_for};

const UP: u8 = 0;
const DOWN: u8 = 1;
const UP_AGAIN: u8 = 2;
const DONE: u8 = 3;

/// An answer to a request.
struct Answer {
    /// What it told the service, and the service the user.
    name: String,
    status: u16,
    /// Where the broker was from the request to its answer, if it was there all the time.
    broker: Option<u8>,
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_dead_broker_never_gets_a_2xx_and_each_answer_holds_after_it_came_back() {
    let kafka = Cluster::start(&[]);
    let groups = Groups::new();
    let mut program = on(Start::both(), kafka.brokers(), &groups).start().ready();
    let user = new_user();
    let broker = AtomicU8::new(UP);
    let count = |answers: &[Answer], at| answers.iter().filter(|answer| answer.broker == Some(at)).count();

    let answers = thread::scope(|scope| {
        let (told, telling) = std::sync::mpsc::channel();
        let program = &program;
        let (broker, kafka) = (&broker, &kafka);
        scope.spawn(move || {
            for number in 0.. {
                let before = broker.load(Ordering::SeqCst);
                if before == DONE {
                    break;
                }
                let mut answer = ask(program, user, &format!("number {number}"));
                answer.broker = (broker.load(Ordering::SeqCst) == before).then_some(before);
                if told.send(answer).is_err() {
                    break;
                }
            }
        });
        let mut answers: Vec<Answer> = Vec::new();
        let mut until = |what: &str, reached: &dyn Fn(&[Answer]) -> bool| {
            wait_for(what, || {
                answers.extend(telling.try_iter());
                reached(&answers).then_some(())
            });
        };
        until("answers", &|answers| count(answers, UP) >= 20);

        kafka.kill_broker(1);
        broker.store(DOWN, Ordering::SeqCst);
        for service in ["micro-1", "micro-2"] {
            wait_for("the status to say that the broker is down", || {
                let status: Value = program.get(service, "/api/kafka/status").json().unwrap();
                (status["broker"]["reachable"] == false && status["ready"] == false).then_some(())
            });
        }
        for service in ["micro-1", "micro-2"] {
            assert_eq!(program.get(service, "/readyz").status(), 503);
            assert_eq!(program.get(service, "/livez").status(), 200);
        }
        // Few, because each may take as long as an answer may. None waits for the broker to come back.
        until("answers without a broker", &|answers| count(answers, DOWN) >= 5);

        broker.store(UP_AGAIN, Ordering::SeqCst);
        kafka.restart_broker(1);
        until("answers that are good again", &|answers| {
            answers.iter().filter(|answer| answer.broker == Some(UP_AGAIN) && answer.status == 200).count() >= 20
        });
        broker.store(DONE, Ordering::SeqCst);
        answers.extend(telling.iter());
        answers
    });

    for answer in &answers {
        let allowed: &[u16] = match answer.broker {
            Some(UP) => &[200],
            Some(DOWN) => &[503, 504],
            _ => &[200, 503, 504],
        };
        assert!(allowed.contains(&answer.status), "{} with the broker at {:?}", answer.status, answer.broker);
    }
    // It is ready again by itself, and what was promised has happened.
    wait_until_ready(&program);
    let raw = Raw::new(kafka.brokers());
    for (group, topic) in [(&groups.micro_2, "user.events"), (&groups.micro_1, "notification.events")] {
        raw.wait_until_all_is_committed(group, topic);
    }
    let kept: Vec<Value> = program.notifications(user);
    for Answer { name, status, .. } in &answers {
        let effects = kept.iter().filter(|kept| kept["content"] == format!("Welcome, {name}!")).count();
        match status {
            200 => assert_eq!(effects, 1, "{name} was acknowledged"),
            503 => assert_eq!(effects, 0, "of {name} nothing was sent"),
            _ => assert!(effects <= 1, "{name} took effect {effects} times"),
        }
    }
    assert!(program.stop().success());
}

#[track_caller]
fn wait_until_ready(program: &Program) {
    for service in ["micro-1", "micro-2"] {
        program.wait_until_ready(service);
    }
}

fn ask(program: &Program, user: u64, name: &str) -> Answer {
    let message = json!({"userId": user, "action": "user_created", "data": {"fullName": name}});
    let answer = program
        .post("micro-1", "/api/kafka/send-to-micro2")
        .json(&json!({"message": message, "topic": "user.events"}))
        .send()
        .unwrap();
    let status = answer.status().as_u16();
    if status != 200 {
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers().contains_key("retry-after"), status == 503, "{status}");
    }
    Answer { name: name.to_owned(), status, broker: None }
}
