//! The tree of actors: the state of each, and what an operator can tell it.

use std::time::{Duration, Instant};

use delivery::member::stall::STALL_AFTER;
use kafka_actors::kafka::EmbeddedBroker;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::kit::{Database, Load, Program, Shared, Start, client, embedded_broker, new_user, user_event, wait_for};

/// Where the handler of user events answers.
const ANSWERS: &str = "notification.events";

static SHARED: Shared = Shared::new();

const HANDLER: &str = "shard-0/handlers/UserEventActor";
const TOPIC: &str = "user.events";
/// What can be restarted on command on the way of a user event.
const RESTARTED: [&str; 4] = [HANDLER, "shard-0/router", "shard-0/consumer", "shard-0/producer"];

/// Sends micro-2 a user event that says how its handler should fail, of a user who is new.
fn poke(program: &Program, chaos: &str) -> u64 {
    let user = new_user();
    program.send_to_micro_2(TOPIC, &user_event(user, &json!(chaos)));
    user
}

/// The state of an actor of micro-2.
#[track_caller]
fn actor(program: &Program, path: &str) -> Value {
    let answer = program.manage("micro-2", &format!("/actors/{path}"));
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().unwrap()
}

/// Gives an actor of micro-2 a command.
#[track_caller]
fn give(program: &Program, path: &str, verb: &str) -> Response {
    client().post(program.management_url("micro-2", &format!("/actors/{path}:{verb}"))).send().unwrap()
}

/// Gives a command that is taken; gives what it is by then.
#[track_caller]
fn taken(program: &Program, path: &str, verb: &str) -> Value {
    let answer = give(program, path, verb);
    let (status, place) = (answer.status(), answer.headers().get("location").cloned());
    let command: Value = answer.json().unwrap();
    assert_eq!(status, 202, "{command}");
    assert_eq!(command["links"]["self"], place.unwrap().to_str().unwrap());
    command
}

/// The command as it is now.
#[track_caller]
fn now(program: &Program, command: &Value) -> Value {
    program.manage("micro-2", command["links"]["self"].as_str().unwrap()).json().unwrap()
}

#[track_caller]
fn ended(program: &Program, command: &Value) -> Value {
    wait_for("the command's end", || Some(now(program, command)).filter(|it| it["state"] != "pending"))
}

/// Gives a command and waits until it is done.
#[track_caller]
fn done(program: &Program, path: &str, verb: &str) {
    let command = ended(program, &taken(program, path, verb));
    assert_eq!(command["state"], "done", "{command}");
}

/// With the switch that lets events harm their handlers.
fn harmful() -> Start {
    let start = Start::both().env("CHAOS", "true").env("RETRY_BACKOFF_MS", "10").env("RESTART_BACKOFF_MS", "10");
    // No failure is forgotten before its test has seen it.
    start.env("RESTART_WINDOW_MS", "3600000")
}

#[test]
fn every_actor_is_in_the_tree_with_its_state_its_restarts_and_its_last_failure() {
    let mut program = harmful().env("RETRY_ATTEMPTS", "3").start().ready();
    poke(&program, "panic");
    let healthy = poke(&program, "fail:1");
    wait_for("the notification", || (!program.notifications(healthy).is_empty()).then_some(()));
    wait_for("the dead letter, and the end of the other", || {
        let handler = actor(&program, HANDLER);
        let all = handler["failed"] == 4 && handler["handled"] == 1 && handler["inFlight"] == 0;
        (all && handler["state"] == "running").then_some(())
    });

    let all: Value = program.manage("micro-2", "/actors").json().unwrap();
    let all = all["actors"].as_array().unwrap();
    let paths: Vec<&str> = all.iter().map(|actor| actor["path"].as_str().unwrap()).collect();
    let others = ["http-0/producer", "producer", "shard-0/consumer/thread", "shard-0/handlers/OtherEventsActor"];
    for path in RESTARTED.into_iter().chain(others) {
        assert!(paths.contains(&path), "{path} is missing in {paths:?}");
    }
    assert!(paths.is_sorted() && all.iter().all(|actor| actor["state"] == "running"), "{all:?}");

    let handler = actor(&program, HANDLER);
    let counts = ["restarts", "restartsInWindow", "mailbox", "inFlight", "handled", "failed"];
    // Three attempts that panicked, and one that failed in order.
    assert_eq!(counts.map(|count| handler[count].as_u64().unwrap()), [3, 3, 0, 0, 1, 4], "{handler}");
    let last = &handler["lastFailure"];
    assert!(last["message"].as_str().unwrap().contains(r#"data.chaos is "panic""#), "{last}");
    assert!(last["place"].as_str().unwrap().starts_with("contracts/src/poke.rs:"), "{last}");
    assert!(last["at"].as_str().unwrap().ends_with('Z'), "{last}");
    let other = actor(&program, "shard-0/handlers/OtherEventsActor");
    assert_eq!((&other["restarts"], &other["lastFailure"]), (&json!(0), &Value::Null));

    let labels = format!(r#"service="micro-2",actor="{HANDLER}""#);
    for expected in [
        format!("actor_restarts_total{{{labels}}} 3"),
        format!("actor_failures_total{{{labels}}} 3"),
        format!(r#"actor_state{{{labels},state="running"}} 1"#),
        format!(r#"actor_state{{{labels},state="stopped"}} 0"#),
        format!(r#"actor_state{{{labels},state="failed"}} 0"#),
        format!("actor_restarts_in_window{{{labels}}} 3"),
        format!("actor_handled_total{{{labels}}} 1"),
        format!("actor_attempts_failed_total{{{labels}}} 4"),
        format!("actor_in_flight{{{labels}}} 0"),
        format!("actor_mailbox{{{labels}}} 0"),
    ] {
        // They are measured once a second.
        wait_for(&expected, || {
            let metrics = program.manage("micro-1", "/metrics").text().unwrap();
            metrics.lines().any(|line| line == expected).then_some(())
        });
    }
    assert!(program.stop().success());
}

#[test]
fn readyz_verbose_tells_each_check_and_each_actor_and_without_it_nothing_more() {
    let world = SHARED.world();
    // A busy machine may have it doubt itself for a moment.
    let ready = |path: &str| {
        wait_for("readiness", || {
            let answer = world.program.get("micro-2", path);
            (answer.status() == 200).then(|| answer.json::<Value>().unwrap())
        })
    };
    assert_eq!(ready("/readyz"), json!({"ready": true, "reasons": []}));
    for query in ["verbose", "verbose=1"] {
        let told = ready(&format!("/readyz?{query}"));
        assert_eq!((&told["ready"], &told["reasons"]), (&json!(true), &json!([])));
        let checks = told["checks"].as_array().unwrap();
        for name in ["in service", "producer", "consumer", "frontiers move", "dead letters", HANDLER, "shard-0/router"]
        {
            let check = json!({"name": name, "ok": true, "why": []});
            assert!(checks.contains(&check), "{name} in {checks:?}");
        }
        let actors = told["actors"].as_array().unwrap();
        assert!(actors.iter().any(|actor| actor["path"] == HANDLER && actor["state"] == "running"), "{actors:?}");
    }
}

#[test]
fn actors_are_restarted_on_command_under_load_and_each_event_is_handled_once_and_in_order() {
    let broker = embedded_broker();
    let folder = tempfile::tempdir().unwrap();
    let mut program = Start::both().on(&broker).keeping(&folder).start().ready();
    let mut load = Load::user_events(&broker);
    load.feed_while(|| {
        for _ in 0..5 {
            for path in RESTARTED {
                let before = actor(&program, HANDLER)["handled"].as_u64();
                done(&program, path, "restart");
                wait_for("events after it", || {
                    let nothing_left = program.status("micro-2")["consumer"]["lag"] == 0;
                    (actor(&program, HANDLER)["handled"].as_u64() > before || nothing_left).then_some(())
                });
            }
        }
    });
    load.assert_stored_once_in_order(&mut Database::open(folder.path()));
    for path in RESTARTED {
        let actor = actor(&program, path);
        assert_eq!((&actor["restarts"], &actor["state"]), (&json!(5), &json!("running")), "{actor}");
        assert_eq!(actor["lastFailure"], Value::Null, "nothing failed: {actor}");
    }
    // A notification may be stored before its handler has heard that it was written.
    let handled = || actor(&program, HANDLER)["handled"].as_u64().unwrap();
    wait_for("the last of them", || (handled() >= load.sent() as u64).then_some(()));
    assert_eq!(handled(), load.sent() as u64, "each once");
    assert!(program.stop().success());
}

/// A handler that cannot answer, on a program that has published no answer yet: three events of one user, of which it has
/// one in flight until [`ANSWERS`] is there again. Gives the user.
#[track_caller]
fn one_in_flight_and_two_behind_it(broker: &EmbeddedBroker, program: &Program) -> u64 {
    broker.hide_topic(ANSWERS, true).unwrap();
    let user = new_user();
    for _ in 0..3 {
        program.send_to_micro_2(TOPIC, &user_event(user, &json!("sleep:1")));
    }
    wait_for("one in flight and two behind it", || {
        let handler = actor(program, HANDLER);
        (handler["inFlight"] == 1 && handler["mailbox"] == 2).then_some(())
    });
    user
}

/// A handler that cannot answer waits, longer than any test does.
fn patient(start: Start) -> Start {
    let long = "60000";
    let start = start.env("PUBLISH_DEADLINE_MS", long).env("MICRO_2_HANDLER_DEADLINE_MS", long);
    start.env("KAFKA_PROPERTY_TOPIC_METADATA_PROPAGATION_MAX_MS", long)
}

#[test]
fn a_stopped_handler_ends_what_it_has_in_flight_and_keeps_the_rest_until_it_is_started() {
    let broker = embedded_broker();
    let mut program = patient(harmful()).on(&broker).start().ready();
    let slow = one_in_flight_and_two_behind_it(&broker, &program);
    let stop = taken(&program, HANDLER, "stop");
    wait_for("its state", || (actor(&program, HANDLER)["state"] == "stopped").then_some(()));
    assert_eq!(now(&program, &stop)["state"], "pending", "one event is in flight");
    assert_eq!(give(&program, HANDLER, "start").status(), 409, "while the stop is pending");
    broker.hide_topic(ANSWERS, false).unwrap();
    let stop = ended(&program, &stop);
    assert_eq!((&stop["state"], &stop["error"]), (&json!("done"), &Value::Null), "{stop}");
    wait_for("its count", || (actor(&program, HANDLER)["handled"] != 0).then_some(()));
    let handler = actor(&program, HANDLER);
    assert_eq!((&handler["handled"], &handler["mailbox"]), (&json!(1), &json!(2)), "what was in flight, and no more");

    wait_for("the pause", || {
        let status = program.status("micro-2");
        let mut partitions = status["consumer"]["partitions"].as_array().unwrap().iter();
        let paused = |at: &Value| (at["paused"] == "supervisor") == (at["topic"] == TOPIC);
        partitions.all(paused).then_some(())
    });
    let reasons = json!({"ready": false, "reasons": [format!("{HANDLER} is stopped by an operator")]});
    wait_for("readiness to say so, and nothing else", || {
        let ready = program.get("micro-2", "/readyz");
        assert_eq!(ready.status(), 503);
        (ready.json::<Value>().unwrap() == reasons).then_some(())
    });
    let told: Value = program.get("micro-2", "/readyz?verbose").json().unwrap();
    let check = json!({"name": HANDLER, "ok": false, "why": reasons["reasons"]});
    assert!(told["checks"].as_array().unwrap().contains(&check), "{told}");
    for (verb, why) in [("stop", "it is stopped already"), ("restart", "it is stopped: start it")] {
        let refused = give(&program, HANDLER, verb);
        assert_eq!(refused.status(), 409);
        assert_eq!(refused.json::<Value>().unwrap()["detail"], format!("{HANDLER}: {why}"));
    }
    let began = Instant::now();
    wait_for("longer than a frontier may rest", || {
        let readiness = program.get("micro-2", "/readyz").text().unwrap();
        assert!(!readiness.contains(" is stalled at offset "), "it is no stall: {readiness}");
        (began.elapsed() > STALL_AFTER + Duration::from_secs(3)).then_some(())
    });
    // Its sibling goes on, what comes for it stays in its log, and what waits in its lanes waits.
    let late = poke(&program, "sleep:1");
    program.send_to_micro_2("micro-1.events", &json!({"userId": slow, "action": "elsewhere"}));
    wait_for("the sibling", || (program.actor("micro-2", "micro-1.events")["handled"] == 1).then_some(()));
    assert!(program.notifications(late).is_empty());
    assert_eq!(actor(&program, HANDLER)["handled"], 1);

    done(&program, HANDLER, "start");
    wait_for("all of it", || (program.notifications(slow).len() == 3).then_some(()));
    wait_for("what came later", || (program.notifications(late).len() == 1).then_some(()));
    program.wait_until_ready("micro-2");
    wait_for("their count", || (actor(&program, HANDLER)["handled"] == 4).then_some(()));
    assert_eq!(actor(&program, HANDLER)["state"], "running");
    assert!(program.stop().success());
}

#[test]
fn a_service_with_a_stopped_handler_stops_in_order_and_the_next_one_handles_what_was_left() {
    let broker = embedded_broker();
    let start = || patient(Start::both()).on(&broker).env("CHAOS", "true");
    let mut program = start().start().ready();
    let slow = one_in_flight_and_two_behind_it(&broker, &program);
    let stop = taken(&program, HANDLER, "stop");
    broker.hide_topic(ANSWERS, false).unwrap();
    assert_eq!(ended(&program, &stop)["state"], "done");
    // Or the next program would store it too.
    wait_for("what was in flight", || (program.notifications(slow).len() == 1).then_some(()));
    assert!(program.stop().success());

    let mut program = start().start().ready();
    wait_for("the rest", || (program.notifications(slow).len() == 2).then_some(()));
    wait_for("its count", || (actor(&program, HANDLER)["handled"] == 2).then_some(()));
    assert!(program.stop().success());
}

#[test]
fn a_restart_on_command_closes_a_breaker_at_once() {
    let mut program = harmful().env("RETRY_ATTEMPTS", "1").start().ready();
    for _ in 0..5 {
        poke(&program, "panic");
    }
    let state = || actor(&program, HANDLER)["state"].as_str().unwrap_or_default().to_owned();
    let dead_letters = |count: u64| {
        let handler = program.actor("micro-2", "user.events");
        (handler["deadLettered"] == count).then_some(())
    };
    // Users are dead-lettered one by one until there are five of them: the last one waits.
    wait_for("the breaker", || state().starts_with("breaker_").then_some(()));
    wait_for("the dead letters before it", || dead_letters(4));
    assert_eq!(program.get("micro-2", "/readyz").status(), 503);
    done(&program, HANDLER, "restart");
    // Nothing was handled: by the command alone its attempt counts now.
    wait_for("the fifth dead letter", || dead_letters(5));
    let healthy = poke(&program, "sleep:1");
    wait_for("the notification", || (!program.notifications(healthy).is_empty()).then_some(()));
    program.wait_until_ready("micro-2");
    assert_eq!(state(), "running");
    assert!(program.stop().success());
}

#[test]
fn a_command_says_who_gave_it_and_the_journal_too() {
    let world = SHARED.world();
    let path = "shard-0/handlers/OtherEventsActor";
    let url = world.program.management_url("micro-2", &format!("/actors/{path}:restart"));
    let given = client().post(&url).header("x-requested-by", "Jane, on call").send().unwrap();
    assert_eq!(given.status(), 202);
    let command = ended(&world.program, &given.json().unwrap());
    assert_eq!(
        (&command["actor"], &command["verb"], &command["state"]),
        (&json!(path), &json!("restart"), &json!("done"))
    );
    assert_eq!((&command["requestedBy"]["name"], &command["result"]), (&json!("Jane, on call"), &json!("restarted")));
    assert!(command["requestedBy"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{command}");
    assert!(command["requestedAt"].as_str() <= command["finishedAt"].as_str(), "{command}");
    for line in ["command given", "command done"] {
        let found = wait_for(line, || world.program.journal(line).into_iter().find(|line| line["id"] == command["id"]));
        assert_eq!((&found["actor"], &found["verb"]), (&json!(path), &json!("restart")), "{found}");
        if line == "command given" {
            assert_eq!(
                (&found["name"], &found["address"]),
                (&json!("Jane, on call"), &command["requestedBy"]["address"])
            );
        }
    }
    for name in [&"x".repeat(257), "\u{fc}", "a\tb"] {
        let refused = client().post(&url).header("x-requested-by", name).send().unwrap();
        assert_eq!((name, refused.status().as_u16()), (name, 400));
    }
}

#[test]
fn what_cannot_be_done_or_is_not_there_is_refused_and_nothing_of_it_is_on_the_api() {
    let world = SHARED.world();
    let refused = |path: &str, verb: &str| {
        let answer = give(&world.program, path, verb);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        answer.status().as_u16()
    };
    assert_eq!(refused(HANDLER, "start"), 409, "it is not stopped");
    assert_eq!(refused("shard-0/handlers/Nobody", "restart"), 404);
    for path in ["shard-0/router", "shard-0/consumer", "shard-0/consumer/thread", "producer"] {
        assert_eq!((path, refused(path, "start")), (path, 409), "it is not stopped");
    }
    for path in ["/actors/shard-0/handlers/Nobody", "/actors/shard-0", "/commands/nothing"] {
        let answer = world.program.manage("micro-2", path);
        assert_eq!((path, answer.status().as_u16()), (path, 404));
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(world.program.manage("micro-2", &format!("/actors/{HANDLER}:restart")).status(), 405);
    for path in ["/actors", &format!("/actors/{HANDLER}"), "/commands/nothing"] {
        assert_eq!((path, world.program.get("micro-2", path).status().as_u16()), (path, 404));
    }
    let on_the_api = client().post(world.program.url("micro-2", &format!("/actors/{HANDLER}:stop"))).send().unwrap();
    assert_eq!(on_the_api.status(), 404);
    assert_eq!(actor(&world.program, HANDLER)["state"], "running");
}
