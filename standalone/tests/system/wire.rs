//! What lies on the wire: the plain JSON, the key, and an identity in headers that is passed on end to end.

use serde_json::{Value, json};

use crate::kit::{Out, Seen, Shared, World, new_user, unique, wait_for};

static SHARED: Shared = Shared::new();

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Posts a body as it is written here; gives the `data` of the answer and the record that it names.
#[track_caller]
fn post(world: &World, service: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (Value, Seen) {
    let mut request = world.program.post(service, path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body.to_owned()).send().unwrap();
    let status = response.status();
    let answer: Value = response.json().unwrap();
    assert_eq!(status, 200, "{answer}");
    let data = answer["data"].clone();
    let at = (i32::try_from(data["partition"].as_i64().unwrap()).unwrap(), data["offset"].as_i64().unwrap());
    let seen = world.kafka.read(data["topic"].as_str().unwrap()).at(at);
    (data, seen)
}

/// The version of a UUID, which is all of the text.
#[track_caller]
fn uuid_version(text: &str) -> usize {
    assert_eq!(text.len(), 36, "{text}");
    uuid::Uuid::parse_str(text).unwrap().get_version_num()
}

fn user_created(user: u64) -> String {
    json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}}).to_string()
}

#[test]
fn the_value_is_the_plain_json_that_was_sent_with_members_that_no_contract_knows() {
    let world = SHARED.world();
    let user = new_user();
    let event = format!(
        r#"{{"userId":{user},"action":"user_created","data":{{"fullName":"Zoë \"Z\" O'Neil","age":42,"tags":["a",null,{{"b":1.5}}],"nil":null}},"more":true}}"#
    );
    let other = format!(r#"{{"zebra":1,"userId":{user},"apple":{{"deep":[[[]]]}},"action":"seen"}}"#);
    let notification = format!(r#"{{"type":"info","content":"line\nline","userId":{user},"extra":{{}}}}"#);
    for (service, path, topic, value) in [
        ("micro-1", "/api/kafka/send-to-micro2", "user.events", &event),
        ("micro-1", "/api/kafka/send-to-micro2", "micro-1.events", &other),
        ("micro-2", "/api/kafka/send", "micro-2.events", &other),
        ("micro-2", "/api/kafka/send", "notification.events", &notification),
    ] {
        let body = format!(r#"{{"topic":"{topic}","message":{value}}}"#);
        assert_eq!(post(&world, service, path, &[], &body).1.value_text(), value);
    }
    assert_eq!(post(&world, "micro-2", "/api/notifications/send", &[], &notification).1.value_text(), notification);
}

#[test]
fn the_key_is_the_user_id_and_an_event_without_a_user_has_none() {
    let world = SHARED.world();
    let user = new_user();
    let body = format!(r#"{{"topic":"user.events","message":{}}}"#, user_created(user));
    let (_, seen) = post(&world, "micro-1", "/api/kafka/send-to-micro2", &[], &body);
    assert_eq!(seen.key_text(), Some(user.to_string().as_str()));
    let (_, seen) = post(&world, "micro-1", "/api/kafka/send-to-micro2", &[], r#"{"message":{"hello":"world"}}"#);
    assert_eq!(seen.key, None);
}

#[test]
fn identity_travels_in_cloud_events_headers() {
    let world = SHARED.world();
    let user = new_user();
    let notification = json!({"userId": user, "type": "info", "content": "c"});
    for (service, path, body, kind) in [
        (
            "micro-1",
            "/api/kafka/send-to-micro2",
            format!(r#"{{"topic":"user.events","message":{}}}"#, user_created(user)),
            "user.event.v1",
        ),
        ("micro-1", "/api/kafka/send-to-micro2", json!({"message": {"a": 1}}).to_string(), "other.event.v1"),
        ("micro-2", "/api/notifications/send", notification.to_string(), "notification.v1"),
        (
            "micro-2",
            "/api/kafka/send",
            json!({"topic": "micro-2.events", "message": {"a": 1}}).to_string(),
            "other.event.v1",
        ),
    ] {
        let correlation = unique("order");
        let given = [("x-correlation-id", correlation.as_str()), ("traceparent", TRACEPARENT)];
        let (data, seen) = post(&world, service, path, &given, &body);
        let id = seen.header("ce_id").unwrap();
        assert_eq!((uuid_version(id), Some(id)), (7, data["id"].as_str()));
        let time = seen.header("ce_time").unwrap();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
        let names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_id", id),
            ("ce_type", kind),
            ("ce_source", service),
            ("ce_time", time),
            ("content-type", "application/json"),
            ("ce_correlationid", &correlation),
            ("traceparent", TRACEPARENT),
        ];
        assert_eq!(names, expected.map(|(name, _)| name));
        for (name, value) in expected {
            assert_eq!((name, seen.header(name)), (name, Some(value)));
        }

        // Without a cause the event begins a correlation of its own, and no one makes up a trace.
        let (data, seen) = post(&world, service, path, &[], &body);
        assert_eq!(seen.header("ce_correlationid"), data["id"].as_str());
        assert_eq!(seen.header("traceparent"), None);
    }
}

#[test]
fn what_a_request_says_of_its_cause_reaches_the_notification_that_comes_of_it() {
    let world = SHARED.world();
    let user = new_user();
    let correlation = unique("order");
    let body = format!(r#"{{"topic":"user.events","message":{}}}"#, user_created(user));
    let given = [("x-correlation-id", correlation.as_str()), ("traceparent", TRACEPARENT)];
    let (event, _) = post(&world, "micro-1", "/api/kafka/send-to-micro2", &given, &body);

    let key = user.to_string();
    let made = world.kafka.read("notification.events").wait_for(|seen| seen.key_text() == Some(&key));
    assert_eq!(made.value_text(), format!(r#"{{"userId":{user},"type":"welcome","content":"Welcome, John Doe!"}}"#));
    assert_eq!(made.header("ce_correlationid"), Some(correlation.as_str()));
    assert_eq!(made.header("ce_causationid"), event["id"].as_str());
    assert_eq!(made.header("traceparent"), Some(TRACEPARENT));
    assert_eq!((made.header("ce_source"), made.header("ce_type")), (Some("micro-2"), Some("notification.v1")));
    let id = made.header("ce_id").unwrap();
    // Version 5: derived, not drawn.
    assert_eq!(uuid_version(id), 5);

    let kept = wait_for("the notification", || world.program.notifications(user).pop());
    assert_eq!((&kept["id"], &kept["correlationId"]), (&json!(id), &json!(correlation)));
}

#[test]
fn a_repeated_event_makes_the_same_notification_and_it_is_kept_once() {
    let world = SHARED.world();
    let user = new_user();
    let key = user.to_string();
    let event = Out::new("user.events", user, user_created(user)).header("ce_id", unique("event"));
    world.kafka.send_all(&[event.clone(), event]);

    let made = world.kafka.read("notification.events").wait_for_all(2, |seen| seen.key_text() == Some(&key));
    let ids: Vec<_> = made.iter().map(|seen| seen.header("ce_id").unwrap()).collect();
    assert_eq!(ids[0], ids[1]);
    let outcomes = wait_for("both to be settled", || {
        let routed = world.program.routed("micro-1", &format!("id={}", ids[0]));
        (routed.len() == 2).then(|| routed.iter().map(|routed| routed["outcome"].clone()).collect::<Vec<_>>())
    });
    assert_eq!(outcomes, ["duplicate", "handled"], "newest first");
    assert_eq!(world.program.notifications(user).len(), 1);
    assert_eq!(world.program.routed("micro-1", &format!("key={key}&outcome=duplicate")).len(), 1);
}

#[test]
fn other_events_of_one_user_make_other_notifications() {
    let world = SHARED.world();
    let user = new_user();
    let event = |id: String| Out::new("user.events", user, user_created(user)).header("ce_id", id);
    world.kafka.send_all(&[event(unique("event")), event(unique("event"))]);
    let kept = wait_for("both", || Some(world.program.notifications(user)).filter(|kept| kept.len() == 2));
    assert_ne!(kept[0]["id"], kept[1]["id"]);
}

#[test]
fn a_record_without_an_identity_is_known_by_its_topic_partition_and_offset() {
    let world = SHARED.world();
    let user = new_user();
    let bare = Out::new("user.events", user, user_created(user));
    let long = "x".repeat(257);
    let records = [
        bare.clone(),
        bare.clone().header("ce_id", ""),
        bare.clone().header("ce_id", b"\xff\xfe"),
        bare.clone().header("ce_id", "two\nlines"),
        bare.clone().header("ce_id", &long),
        Out { headers: vec![("ce_id".to_owned(), None)], ..bare },
    ];
    let places = world.kafka.send_all(&records);
    let mut ids: Vec<String> =
        places.iter().map(|(partition, offset)| format!("user.events/{partition}/{offset}")).collect();
    let kept = wait_for("their notifications", || {
        Some(world.program.notifications(user)).filter(|kept| kept.len() == records.len())
    });
    // The notification begins no correlation of its own: it has that of its cause, which is the cause's id.
    let mut correlations: Vec<String> =
        kept.iter().map(|kept| kept["correlationId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    correlations.sort();
    assert_eq!(correlations, ids);
    for id in ids {
        // A notification may be stored before its cause's handler has heard that it was written.
        let routed = wait_for("its outcome", || {
            Some(world.program.routed("micro-2", &format!("id={id}"))).filter(|routed| !routed.is_empty())
        });
        assert_eq!((routed.len(), &routed[0]["outcome"]), (1, &json!("handled")), "{id}");
    }
}
