//! Ctrl-C and SIGTERM: the program finishes what it has begun, says that it is going, and is gone within 10 s.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{
    Database, Load, Out, Program, Raw, Start, client, embedded_broker, new_user, notification, try_get, wait_for,
    wait_for_a_random_moment,
};

/// Sends the signal and checks that the end is in order and in time: by the program's own clock, for it cuts off a stop
/// that is not done after 9.5 s, and says so.
#[track_caller]
fn ends_in_order(program: &mut Program, signal: i32) {
    program.signal(signal);
    let ended: ExitStatus = program.ended();
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(program.journal("failed").is_empty(), "it was cut off, or it met something worse: {}", program.output());
}

/// A request whose body stays out: `Content-Length` promises more than is sent.
fn slow_request(program: &Program) -> TcpStream {
    let url = program.url("micro-1", "");
    let mut connection = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let head = "POST /api/kafka/send-to-micro2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    write!(connection, "{head}Content-Length: 1000\r\n\r\n{{\"message\":").unwrap();
    // Answers come in order, so one on a second connection does not show that this one is read. The workers are two:
    // some requests later each of them has been through its connections.
    for _ in 0..10 {
        assert_eq!(program.get("micro-1", "/livez").status(), 200);
    }
    connection
}

#[track_caller]
fn wait_until_it_is_stopping(program: &Program) {
    let stopping = || program.journal("stopping").iter().any(|step| step["service"] == "micro-1");
    wait_for("the stop to begin", || stopping().then_some(()));
}

#[test]
fn an_idle_program_ends_in_order_on_ctrl_c_and_on_sigterm() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut program = Start::both().start().ready();
        ends_in_order(&mut program, signal);
        let steps = program.journal("stopping");
        let done = |service: &str| steps.iter().any(|step| step["service"] == service && step["step"] == "done");
        assert!(done("micro-1") && done("micro-2"), "{steps:?}");
    }
}

#[test]
fn a_program_under_load_ends_in_order_and_repeats_nothing_after_the_restart() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
        let start = || Start::both().finishing().on(&broker).keeping(&folder).start();
        let mut load = Load::user_events(&broker);
        let mut program = start().ready();
        let mut database = Database::open(folder.path());
        load.feed_while(|| {
            wait_for_a_random_moment(&mut database);
            ends_in_order(&mut program, signal);
        });
        load.burst();

        let program = start().ready();
        load.assert_stored_once_in_order(&mut database);
        wait_for("the commit", || {
            (load.kafka.committed_in_all("micro-2-group", "user.events") == load.sent()).then_some(())
        });
        assert_eq!(load.kafka.read_all("notification.events").len(), load.sent(), "no event was answered twice");
        assert_eq!(program.actor("micro-1", "notification.events")["duplicates"], 0);
    }
}

#[test]
fn a_program_whose_broker_is_down_ends_in_order() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let broker = embedded_broker();
        let mut program = Start::both().on(&broker).start().ready();
        broker.down();
        wait_for("readiness to end", || (program.get("micro-1", "/readyz").status() == 503).then_some(()));
        ends_in_order(&mut program, signal);
    }
}

#[test]
fn a_program_under_load_whose_broker_has_just_gone_down_ends_in_order_and_loses_nothing() {
    let (broker, folder) = (embedded_broker(), tempfile::tempdir().unwrap());
    let mut load = Load::user_events(&broker);
    let mut program = Start::both().on(&broker).keeping(&folder).start().ready();
    load.bursts(3);
    broker.down();
    ends_in_order(&mut program, libc::SIGTERM);
    broker.up().unwrap();
    load.burst();
    let _program = Start::both().on(&broker).keeping(&folder).start().ready();
    load.assert_stored_once_in_order(&mut Database::open(folder.path()));
}

#[test]
fn a_stop_in_which_each_step_takes_all_of_its_time_ends_in_order() {
    let broker = embedded_broker();
    // A record that does not end, one whose end cannot be committed, and one that cannot be sent.
    let start = Start::one("micro-1").on(&broker).env("CHAOS", "true").env("PUBLISH_DEADLINE_MS", "60000");
    let mut program = start.start().ready();
    // The client knows the topic, so that the next record of it waits for the broker alone.
    program.send_to_micro_2("micro-1.events", &json!({"userId": new_user()}));
    let raw = Raw::new(&broker.bootstrap());
    let actor = |field: &str| program.actor("micro-1", "notification.events")[field].as_u64().unwrap();
    // One after the other, so that they are not handled in one batch.
    for (begun, chaos) in [(1, "sleep:2000"), (2, "hang")] {
        let user = new_user();
        raw.send(&Out::new("notification.events", user, notification(user, &json!(chaos)).to_string()));
        let has_begun = || actor("queued") + actor("running") + actor("handled") == begun;
        wait_for("it to be in flight", || has_begun().then_some(()));
    }
    broker.slow_down(Duration::from_mins(1)).unwrap();
    let body = json!({"message": {"userId": new_user()}, "topic": "micro-1.events"});
    let request = program.post("micro-1", "/api/kafka/send-to-micro2").json(&body);
    let asking = thread::spawn(move || request.send());
    let waits_for_the_broker = || program.status("micro-1")["producer"]["inFlight"] == 1;
    wait_for("one to be handled, and one to wait for the broker", || {
        (actor("handled") == 1 && waits_for_the_broker()).then_some(())
    });
    ends_in_order(&mut program, libc::SIGTERM);
    drop(asking);
}

#[test]
fn a_program_whose_broker_does_not_answer_ends_in_order() {
    let broker = embedded_broker();
    let mut load = Load::user_events(&broker);
    let mut program = Start::both().on(&broker).start().ready();
    load.burst();
    broker.slow_down(Duration::from_mins(1)).unwrap();
    ends_in_order(&mut program, libc::SIGTERM);
}

#[test]
fn a_program_that_has_never_reached_its_broker_ends_in_order() {
    let broker = embedded_broker();
    broker.down();
    let mut program = Start::both().on(&broker).start();
    ends_in_order(&mut program, libc::SIGTERM);
}

#[test]
fn a_program_that_is_just_joining_its_groups_ends_in_order() {
    let broker = embedded_broker();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // As soon as it listens, and at moments from there to its first assignment.
        let mut program = Start::both().on(&broker).start();
        ends_in_order(&mut program, signal);
        let mut program = Start::both().on(&broker).start();
        wait_for("the join to begin", || {
            (program.status("micro-1")["consumer"]["state"] != "connecting").then_some(())
        });
        ends_in_order(&mut program, signal);
    }
}

#[test]
fn an_open_stream_and_a_request_that_does_not_end_do_not_hold_up_the_end() {
    let mut program = Start::both().start().ready();
    let mut stream = client().get(program.management_url("micro-1", "/messages/stream")).send().unwrap();
    let mut begun = [0; 1];
    stream.read_exact(&mut begun).unwrap();
    let slow = slow_request(&program);
    ends_in_order(&mut program, libc::SIGTERM);
    drop((stream, slow));
}

#[test]
fn a_publish_that_was_begun_before_the_stop_is_answered_and_what_it_says_holds() {
    let broker = embedded_broker();
    let mut program = Start::one("micro-1").on(&broker).start().ready();
    // The client knows the topic, so that the record is on its way at once.
    program.send_to_micro_2("micro-1.events", &json!({"userId": new_user()}));
    broker.slow_down(Duration::from_secs(1)).unwrap();
    let user = new_user();
    let body = json!({"message": {"userId": user}, "topic": "micro-1.events"});
    let request = program.post("micro-1", "/api/kafka/send-to-micro2").json(&body);
    let asking = thread::spawn(move || request.send().unwrap());
    wait_for("the record to be on its way", || {
        let in_flight = program.status("micro-1")["producer"]["inFlight"] == 1;
        (in_flight || asking.is_finished()).then_some(())
    });
    ends_in_order(&mut program, libc::SIGTERM);
    let answer = asking.join().unwrap();
    assert_eq!(answer.status(), 200);
    let data: Value = answer.json::<Value>().unwrap()["data"].clone();
    broker.slow_down(Duration::ZERO).unwrap();
    let written = Raw::new(&broker.bootstrap()).read_all("micro-1.events");
    let found = written.iter().find(|record| record.value_text().contains(&user.to_string())).unwrap();
    assert_eq!((json!(found.partition), json!(found.offset)), (data["partition"].clone(), data["offset"].clone()));
}

#[test]
fn a_second_sigterm_ends_it_at_once_with_143() {
    let mut program = Start::both().start().ready();
    // Holds the stop for seconds, so that the second signal meets it.
    let slow = slow_request(&program);
    program.signal(libc::SIGTERM);
    wait_until_it_is_stopping(&program);
    program.signal(libc::SIGTERM);
    let ended = program.ended();
    assert_eq!(ended.code(), Some(143), "{ended}");
    let steps = program.journal("stopping");
    assert!(!steps.iter().any(|step| step["service"] == "micro-1" && step["step"] == "done"), "it was cut short");
    drop(slow);
}

#[test]
fn while_it_stops_it_is_not_ready_and_takes_no_new_requests() {
    let mut program = Start::both().start().ready();
    let slow = slow_request(&program);
    program.signal(libc::SIGTERM);
    wait_until_it_is_stopping(&program);
    let mut refused = 0;
    while program.is_running() {
        let ready = try_get(&program.url("micro-1", "/readyz"));
        assert!(matches!(ready, None | Some(503)), "{ready:?}");
        let managed = try_get(&program.management_url("micro-1", "/readyz"));
        assert!(matches!(managed, None | Some(503)), "{managed:?}");
        let body = json!({"message": {"userId": 1}});
        let told = program.post("micro-1", "/api/kafka/send-to-micro2").json(&body).send();
        refused += usize::from(told.is_err());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(refused > 0, "a new request is refused");
    assert_eq!(program.ended().code(), Some(0));
    drop(slow);
}
