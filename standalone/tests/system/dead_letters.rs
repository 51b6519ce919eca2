//! What is no event, on every topic: it ends in the dead-letter topic with all it came with, and the next one is handled.

use serde_json::{Value, json};

use crate::kit::{
    Out, Place, Program, Raw, Seen, Shared, Start, TOPICS, World, embedded_broker, new_user, unique, wait_for,
};

static SHARED: Shared = Shared::new();

/// Service, group and handler of a topic.
fn reader_of(topic: &str) -> (&'static str, &'static str, &'static str) {
    match topic {
        "user.events" => ("micro-2", "micro-2-group", "UserEventActor"),
        "micro-1.events" => ("micro-2", "micro-2-group", "OtherEventsActor"),
        "notification.events" => ("micro-1", "micro-1-group", "NotificationActor"),
        "micro-2.events" => ("micro-1", "micro-1-group", "OtherEventsActor"),
        other => panic!("no reader of {other}"),
    }
}

/// A value of the topic's contract.
fn good(topic: &str, user: u64) -> Value {
    match topic {
        "user.events" => json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}}),
        "notification.events" => json!({"userId": user, "type": "info", "content": "good"}),
        _ => json!({"userId": user, "action": "good"}),
    }
}

/// Values that are no event of the topic's contract, with the kind of error that each makes.
fn bad(topic: &str, user: u64) -> Vec<(&'static str, Option<Vec<u8>>, &'static str)> {
    let text = |text: String| Some(text.into_bytes());
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    let deep_objects = r#"{"a":"#.repeat(50_000) + "1" + &"}".repeat(50_000);
    let mut values = vec![
        ("garbage", text("garbage".to_owned()), "undecodable"),
        ("empty", Some(Vec::new()), "undecodable"),
        ("null", None, "undecodable"),
        ("no UTF-8", Some(b"{\"userId\":1,\"x\":\"\xff\xfe\"}".to_vec()), "undecodable"),
        ("zero bytes", Some(vec![0; 64]), "undecodable"),
        ("huge garbage", Some(vec![b'{'; 900_000]), "undecodable"),
        ("deep array", Some(deep), "undecodable"),
        ("deep object", text(deep_objects), "undecodable"),
        ("cut off", text(format!(r#"{{"userId":{user},"#)), "undecodable"),
        ("two values", text(format!("{0}{0}", good(topic, user))), "undecodable"),
        ("JSON null", text("null".to_owned()), "undecodable"),
        ("an array", text("[1]".to_owned()), "undecodable"),
    ];
    let long = "x".repeat(900_000);
    values.extend(match topic {
        "user.events" => vec![
            ("unknown action", text(json!({"userId": user, "action": "boom", "data": {}}).to_string()), "undecodable"),
            (
                "missing name",
                text(json!({"userId": user, "action": "user_created", "data": {}}).to_string()),
                "invalid",
            ),
            (
                "huge name",
                text(json!({"userId": user, "action": "user_created", "data": {"fullName": long}}).to_string()),
                "invalid",
            ),
            (
                "user 0",
                text(json!({"userId": 0, "action": "user_created", "data": {"fullName": "J"}}).to_string()),
                "invalid",
            ),
        ],
        "notification.events" => vec![
            ("no type", text(json!({"userId": user, "content": "c"}).to_string()), "undecodable"),
            ("huge content", text(json!({"userId": user, "type": "info", "content": long}).to_string()), "invalid"),
            ("empty content", text(json!({"userId": user, "type": "info", "content": ""}).to_string()), "invalid"),
        ],
        _ => vec![
            ("user as text", text(json!({"userId": "1"}).to_string()), "undecodable"),
            ("empty object", text("{}".to_owned()), "invalid"),
            ("huge action", text(json!({"userId": user, "action": long}).to_string()), "invalid"),
        ],
    });
    values
}

/// A dead letter's header that is its origin's place.
fn origin(seen: &Seen) -> Place {
    let number = |name: &str| seen.header(name).unwrap().parse::<i64>().unwrap();
    (i32::try_from(number("dlq-origin-partition")).unwrap(), number("dlq-origin-offset"))
}

/// Writes all bad values of a topic and a good one behind them, under one key; checks what becomes of each.
fn what_is_no_event_is_kept_and_the_next_is_handled(world: &World, topic: &str) {
    let user = new_user();
    let (service, group, handler) = reader_of(topic);
    let cases = bad(topic, user);
    let mut records: Vec<Out> = cases
        .iter()
        .map(|(_, value, _)| {
            let mut out = Out::new(topic, user, "").header("ce_id", unique("bad")).header("x-bytes", b"\xfe\xff");
            // A null header, an empty one, and one name twice: all of it is the sender's.
            out.headers.push(("x-null".to_owned(), None));
            let out = out.header("x-empty", "").header("x-twice", "1").header("x-twice", "2");
            Out { value: value.clone(), ..out }
        })
        .collect();
    let good_id = unique("good");
    records.push(Out::new(topic, user, good(topic, user).to_string()).header("ce_id", &good_id));
    let places = world.kafka.send_all(&records);
    let (&(partition, last), bad_places) = places.split_last().unwrap();

    let handled = wait_for("the good one", || world.program.routed(service, &format!("id={good_id}")).pop());
    assert_eq!((&handled["outcome"], &handled["handler"]), (&json!("handled"), &json!(handler)));

    let mut source = world.kafka.read(topic);
    let key = user.to_string();
    let letters = world
        .kafka
        .read(&format!("{topic}.dlq"))
        .wait_for_all(cases.len(), |seen| seen.key_text() == Some(key.as_str()));
    let again = letters.len() - cases.len();
    assert!(again <= world.program.unknown_dead_letters(), "each once, but where it was not known that it was written");
    for (((name, value, kind), sent), place) in cases.iter().zip(&records).zip(bad_places) {
        let letter = letters.iter().find(|letter| origin(letter) == *place).unwrap();
        assert!(letter.value == *value, "{topic}, {name}: the value is another");
        assert_eq!(letter.key, sent.key);
        let (original, added) = letter.headers.split_at(sent.headers.len());
        assert_eq!(original, sent.headers, "{topic}, {name}");
        let added: Vec<&str> = added.iter().map(|(name, _)| name.as_str()).collect();
        let first = letter.header("dlq-first-failure").unwrap();
        let error = letter.header("dlq-error").unwrap();
        let expected = [
            ("dlq-origin-topic", topic),
            ("dlq-origin-partition", &place.0.to_string()),
            ("dlq-origin-offset", &place.1.to_string()),
            ("dlq-origin-timestamp", &source.at(*place).timestamp_ms.to_string()),
            ("dlq-group", group),
            ("dlq-handler", handler),
            ("dlq-error-kind", kind),
            ("dlq-error", error),
            ("dlq-attempts", "1"),
            ("dlq-first-failure", first),
            // There was one attempt, so the first failure is the last.
            ("dlq-last-failure", first),
        ];
        assert_eq!(added, expected.map(|(name, _)| name));
        for (header, value) in expected {
            assert_eq!(letter.header(header), Some(value), "{topic}, {name}");
        }
        assert!(!error.is_empty() && error.len() <= 2_048, "{topic}, {name}: {error}");
        let shape: String = first.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }
    let routed = world.program.routed(service, &format!("key={key}&outcome=dead_lettered&limit=1000"));
    assert_eq!(routed.len(), cases.len());
    wait_for("the commit behind the good one", || {
        (world.kafka.committed_in(group, topic, partition) > last).then_some(())
    });
}

#[test]
fn what_is_no_user_event_is_kept_as_a_dead_letter_and_the_next_is_handled() {
    what_is_no_event_is_kept_and_the_next_is_handled(&SHARED.world(), TOPICS[0]);
}

#[test]
fn what_is_no_event_of_micro_1_is_kept_as_a_dead_letter_and_the_next_is_handled() {
    what_is_no_event_is_kept_and_the_next_is_handled(&SHARED.world(), TOPICS[1]);
}

#[test]
fn what_is_no_notification_is_kept_as_a_dead_letter_and_the_next_is_handled() {
    what_is_no_event_is_kept_and_the_next_is_handled(&SHARED.world(), TOPICS[2]);
}

#[test]
fn what_is_no_event_of_micro_2_is_kept_as_a_dead_letter_and_the_next_is_handled() {
    what_is_no_event_is_kept_and_the_next_is_handled(&SHARED.world(), TOPICS[3]);
}

#[test]
fn a_dead_letter_keeps_a_key_that_is_null_empty_or_no_text() {
    let world = SHARED.world();
    let mut letters = world.kafka.read("micro-1.events.dlq");
    for key in [None, Some(Vec::new()), Some(b"\xff\x00\xfe".to_vec())] {
        let place = world.kafka.send(&Out { key: key.clone(), ..Out::new("micro-1.events", "", "garbage") });
        let letter = letters.wait_for(|seen| origin(seen) == place);
        assert_eq!(letter.key, key);
    }
}

#[test]
fn until_the_broker_has_the_dead_letter_nothing_is_committed_past_its_record() {
    let broker = embedded_broker();
    let kafka = Raw::new(&broker.bootstrap());
    let (failing, other) = (new_user(), new_user());
    let topic = "micro-1.events";
    let event = |user: u64, id: &str| Out::new(topic, user, good(topic, user).to_string()).header("ce_id", id);
    let big = Out::new(topic, failing, "x".repeat(50_000)).header("ce_id", "big");
    let records = [event(failing, "before"), big, event(failing, "behind"), event(other, "elsewhere")]
        .map(|out| out.partition(0));
    // On one partition, from its first offset on.
    assert_eq!(kafka.send_all(&records), [(0, 0), (0, 1), (0, 2), (0, 3)]);

    // Its producer takes no record as large as this dead letter would be.
    let start = || Start::both().on(&broker);
    let mut program = start().env("KAFKA_PROPERTY_MESSAGE_MAX_BYTES", "20000").start();
    let ids = |program: &Program| -> Vec<String> {
        let routed = program.routed("micro-2", &format!("topic={topic}"));
        routed.iter().rev().map(|routed| routed["id"].as_str().unwrap().to_owned()).collect()
    };
    wait_for("attempts at the dead letter", || (program.delayed_dead_letters().len() >= 3).then_some(()));
    wait_for("the other key", || ids(&program).contains(&"elsewhere".to_owned()).then_some(()));
    wait_for("the commit up to the record", || (kafka.committed_in("micro-2-group", topic, 0) == 1).then_some(()));
    assert_eq!(ids(&program), ["before", "elsewhere"], "its own key waits, other keys go on");
    // Reachability is measured a moment after the start; then this is all that keeps it from being ready.
    wait_for("readiness to name the dead letter alone", || {
        let readiness = program.get("micro-2", "/readyz");
        assert_eq!(readiness.status(), 503);
        let readiness: Value = readiness.json().unwrap();
        (readiness["reasons"] == json!(["OtherEventsActor has 1 dead letters that cannot be written"])).then_some(())
    });
    assert!(program.stop().success());
    assert_eq!(kafka.committed_in("micro-2-group", topic, 0), 1);

    let mut program = start().start().ready();
    let letter = kafka.read(&format!("{topic}.dlq")).wait_for(|_| true);
    assert_eq!((origin(&letter), letter.value.map(|value| value.len())), ((0, 1), Some(50_000)));
    wait_for("the commit behind all", || (kafka.committed_in("micro-2-group", topic, 0) == 4).then_some(()));
    assert_eq!(ids(&program), ["big", "behind"], "what was settled meanwhile is not handled again");
    assert!(program.stop().success());
}
