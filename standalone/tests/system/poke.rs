//! Harm on demand: with `CHAOS=true` an event's `data.chaos` is obeyed, and without it is a member like any other.

use serde_json::{Value, json};

use crate::kit::{Out, Place, Program, Raw, Start, embedded_broker, new_user, notification, user_event, wait_for};

/// Sends a user event with that word; gives its place.
fn poke(program: &Program, user: u64, chaos: &Value) -> Place {
    place(&program.send_to_micro_2("user.events", &user_event(user, chaos)))
}

/// Sends a notification with that word to micro-1; gives its place.
fn notify(program: &Program, user: u64, chaos: &Value) -> Place {
    let message = notification(user, chaos);
    let response = program.post("micro-2", "/api/notifications/send").json(&message).send().unwrap();
    place(&response.json::<Value>().unwrap()["data"])
}

fn place(sent: &Value) -> Place {
    (i32::try_from(sent["partition"].as_i64().unwrap()).unwrap(), sent["offset"].as_i64().unwrap())
}

/// The attempts at a user's events of one topic, oldest first, as soon as the last one of them ended with that outcome.
#[track_caller]
fn attempts(program: &Program, service: &str, topic: &str, user: u64, outcome: &str) -> Vec<Value> {
    let mut found = wait_for(outcome, || {
        let found = program.routed(service, &format!("topic={topic}&key={user}&limit=1000"));
        found.first().is_some_and(|last| last["outcome"] == outcome).then_some(found)
    });
    found.reverse();
    found
}

fn outcomes(attempts: &[Value]) -> Vec<&str> {
    attempts.iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect()
}

/// `cargo run` with the switch on.
fn start() -> Start {
    let start = Start::both().env("CHAOS", "true").env("RETRY_BACKOFF_MS", "10").env("RETRY_ATTEMPTS", "3");
    start.env("RESTART_BACKOFF_MS", "10").env("MICRO_1_RETRY_ATTEMPTS", "4")
}

#[test]
fn panic_restarts_the_handler_at_each_attempt_until_the_event_is_a_dead_letter_and_the_next_is_handled() {
    let mut program = start().start().ready();
    let (harmed, well) = (new_user(), new_user());
    poke(&program, harmed, &json!("panic"));
    let told = attempts(&program, "micro-2", "user.events", harmed, "dead_lettered");
    assert_eq!(outcomes(&told), ["retry", "retry", "dead_lettered"]);
    assert!(told.iter().all(|attempt| attempt["error"].as_str().unwrap().contains("data.chaos is \"panic\"")));
    let failures = wait_for("their lines", || {
        Some(program.journal("actor failed, restarting with fresh state")).filter(|lines| lines.len() >= 3)
    });
    assert_eq!(failures.len(), 3, "{failures:?}");
    assert!(failures.iter().all(|line| line["actor"] == "shard-0/handlers/UserEventActor"), "{failures:?}");
    assert!(
        failures.iter().all(|line| line["cause"].as_str().unwrap().contains("contracts/src/poke.rs:")),
        "{failures:?}"
    );
    poke(&program, well, &Value::Null);
    wait_for("the next one's notification", || (!program.notifications(well).is_empty()).then_some(()));
    let actor = program.actor("micro-2", "user.events");
    assert_eq!(
        (&actor["state"], &actor["restarts"], &actor["deadLettered"]),
        (&json!("running"), &json!(3), &json!(1))
    );
    assert!(program.stop().success());
}

#[test]
fn hang_is_cancelled_at_the_deadline_while_the_others_go_on() {
    // It hangs for three times as long, and the other is done in that time.
    let mut program = start().env("MICRO_2_HANDLER_DEADLINE_MS", "4000").start().ready();
    let (harmed, well) = (new_user(), new_user());
    poke(&program, harmed, &json!("hang"));
    wait_for("it to be in flight", || (program.actor("micro-2", "user.events")["running"] == 1).then_some(()));
    poke(&program, well, &Value::Null);
    wait_for("the other's notification", || (!program.notifications(well).is_empty()).then_some(()));
    let told = attempts(&program, "micro-2", "user.events", harmed, "dead_lettered");
    assert_eq!(outcomes(&told), ["retry", "retry", "dead_lettered"]);
    assert!(told.iter().all(|attempt| attempt["error"] == "no answer within 4s"), "{told:?}");
    assert_eq!(program.actor("micro-2", "user.events")["restarts"], 0);
    assert!(program.stop().success());
}

#[test]
fn fail_2_fails_two_attempts_and_the_third_is_handled() {
    let mut program = start().start().ready();
    let user = new_user();
    poke(&program, user, &json!("fail:2"));
    let told = attempts(&program, "micro-2", "user.events", user, "handled");
    assert_eq!(outcomes(&told), ["retry", "retry", "handled"]);
    assert_eq!(told[1]["error"], r#"data.chaos is "fail:2": attempt 2 fails"#);
    wait_for("its notification", || (!program.notifications(user).is_empty()).then_some(()));
    assert_eq!(program.actor("micro-2", "user.events")["restarts"], 0);
    assert!(program.stop().success());
}

#[test]
fn sleep_250_takes_a_quarter_of_a_second_and_is_handled() {
    let mut program = start().start().ready();
    let user = new_user();
    poke(&program, user, &json!("sleep:250"));
    let told = attempts(&program, "micro-2", "user.events", user, "handled");
    assert!(told.len() == 1 && told[0]["durationUs"].as_u64().unwrap() >= 250_000, "{told:?}");
    assert!(program.stop().success());
}

#[test]
fn a_word_that_is_none_makes_its_event_a_dead_letter_that_says_which_there_are() {
    let mut program = start().start().ready();
    for word in [json!("panik"), json!(5)] {
        let user = new_user();
        poke(&program, user, &word);
        let told = attempts(&program, "micro-2", "user.events", user, "dead_lettered");
        assert_eq!(told.len(), 1, "no attempt can help: {told:?}");
        let known = r#"data.chaos is none of "panic", "hang", "fail:<attempts>" or "sleep:<milliseconds>""#;
        assert_eq!(told[0]["error"], known);
    }
    assert!(program.stop().success());
}

#[test]
fn micro_1_obeys_too_and_no_other_notification_of_the_batch_is_harmed() {
    let broker = embedded_broker();
    let mut program = start().env("MICRO_1_HANDLER_DEADLINE_MS", "2000").on(&broker).start().ready();
    let topic = "notification.events";
    let users: Vec<u64> = (0..6).map(|_| new_user()).collect();
    let records = users.iter().enumerate().map(|(number, user)| {
        let chaos = if number == 3 { json!("panik") } else { Value::Null };
        Out::new(topic, user, notification(*user, &chaos).to_string()).partition(0)
    });
    // Written and read together, so that the handler gets them in one batch.
    Raw::new(&broker.bootstrap()).send_together(&records.collect::<Vec<_>>());
    for (number, user) in users.iter().enumerate() {
        let told = attempts(&program, "micro-1", topic, *user, if number == 3 { "dead_lettered" } else { "handled" });
        // With the one that is none all of the batch failed once, and came again one by one.
        assert_eq!(told.len(), 2, "{told:?}");
    }
    for (word, end, kind) in
        [("fail:2", "handled", "fails"), ("panic", "dead_lettered", "panicked"), ("hang", "dead_lettered", "no answer")]
    {
        let user = new_user();
        notify(&program, user, &json!(word));
        let told = attempts(&program, "micro-1", topic, user, end);
        assert!(told.len() > 2 && told[0]["error"].as_str().unwrap().contains(kind), "{told:?}");
        assert_eq!(program.notifications(user).len(), usize::from(end == "handled"));
    }
    assert!(program.stop().success());
}

#[test]
fn without_the_switch_a_word_is_ordinary_data_that_reaches_the_log_as_it_came() {
    let broker = embedded_broker();
    let kafka = Raw::new(&broker.bootstrap());
    let mut program = Start::both().on(&broker).start().ready();
    for word in [json!("panic"), json!("hang"), json!("fail:2"), json!("sleep:250"), json!("panik"), json!({"a": [1]})]
    {
        let user = new_user();
        let lies = poke(&program, user, &word);
        let written = kafka.read_all("user.events").into_iter().find(|seen| seen.place() == lies);
        assert_eq!(written.unwrap().value_text(), user_event(user, &word).to_string());
        let told = attempts(&program, "micro-2", "user.events", user, "handled");
        assert_eq!(outcomes(&told), ["handled"], "{word}");
        notify(&program, user, &word);
        wait_for("both notifications", || (program.notifications(user).len() == 2).then_some(()));
    }
    for (service, topic) in [("micro-1", "notification.events"), ("micro-2", "user.events")] {
        let actor = program.actor(service, topic);
        assert_eq!((&actor["restarts"], &actor["retries"], &actor["deadLettered"]), (&json!(0), &json!(0), &json!(0)));
    }
    assert!(program.stop().success());
}
