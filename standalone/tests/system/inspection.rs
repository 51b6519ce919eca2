//! What can be seen of routed messages afterwards: the journal's lines, the management listener, the live stream, metrics.

use std::io::{BufRead as _, BufReader};

use serde_json::{Value, json};

use crate::kit::{Out, Shared, Start, World, client, new_user, unique, wait_for};

static SHARED: Shared = Shared::new();

fn created(user: u64, name: &str) -> Value {
    json!({"userId": user, "action": "user_created", "data": {"fullName": name}})
}

/// Sends a user event and waits until it is handled and its notification is stored.
#[track_caller]
fn flow(world: &World, user: u64, name: &str) -> Value {
    let before = world.program.notifications(user).len();
    let sent = world.program.send_to_micro_2("user.events", &created(user, name));
    wait_for("the notification", || (world.program.notifications(user).len() > before).then_some(()));
    // It may be stored before the handler that wrote it has heard that it was written.
    let id = sent["id"].as_str().unwrap();
    wait_for("the end of its cause", || {
        (!world.program.routed("micro-2", &format!("id={id}")).is_empty()).then_some(())
    });
    sent
}

/// The service's journal lines about that message.
fn lines(world: &World, service: &str, id: &str) -> Vec<Value> {
    let routed = world.program.journal("routed");
    routed.into_iter().filter(|line| line["service"] == service && line["id"] == id).collect()
}

#[test]
fn one_journal_line_per_routed_message_says_where_it_was_whose_it_was_and_how_it_ended() {
    let world = SHARED.world();
    let user = new_user();
    let sent = flow(&world, user, "John Doe");
    let kept = world.program.notifications(user).remove(0);
    for (service, topic, handler, id) in [
        ("micro-2", "user.events", "UserEventActor", &sent["id"]),
        ("micro-1", "notification.events", "NotificationActor", &kept["id"]),
    ] {
        let id = id.as_str().unwrap();
        let found = wait_for("the line", || Some(lines(&world, service, id)).filter(|lines| !lines.is_empty()));
        assert_eq!(found.len(), 1, "{found:?}");
        let line = &found[0];
        let expected = json!({
            "level": "INFO", "topic": topic, "key": user.to_string(), "correlation_id": sent["id"],
            "handler": handler, "outcome": "handled", "attempt": 1,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!((name, &line[name]), (name, value), "{line}");
        }
        for name in ["partition", "offset", "duration_us"] {
            assert!(line[name].is_u64(), "{name} of {line}");
        }
        assert!(line["timestamp"].is_string(), "{line}");
        if service == "micro-2" {
            assert_eq!((&line["partition"], &line["offset"]), (&sent["partition"], &sent["offset"]));
        }
    }
}

#[test]
fn the_line_of_a_dead_letter_is_a_warning_that_says_why() {
    let world = SHARED.world();
    let id = unique("bad");
    let (partition, offset) = world.kafka.send(&Out::new("micro-2.events", "k\n\u{1b}[31m", "{}").header("ce_id", &id));
    let found = wait_for("the line", || Some(lines(&world, "micro-1", &id)).filter(|lines| !lines.is_empty()));
    assert_eq!(found.len(), 1, "{found:?}");
    let line = &found[0];
    let expected = json!({
        "level": "WARN", "topic": "micro-2.events", "partition": partition, "offset": offset,
        // What a terminal would obey is written so that it does not.
        "key": "k\\n\\u{1b}[31m",
        "correlation_id": id, "handler": "OtherEventsActor", "outcome": "dead_lettered", "attempt": 1,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!((name, &line[name]), (name, value), "{line}");
    }
    assert!(line["error"].as_str().unwrap().contains("at least one member"), "{line}");
}

#[test]
fn payloads_are_logged_at_debug_and_not_at_info() {
    let world = SHARED.world();
    let name = unique("name");
    let user = new_user();
    let sent = flow(&world, user, &name);
    let id = sent["id"].as_str().unwrap();
    wait_for("its line", || (!lines(&world, "micro-2", id).is_empty()).then_some(()));
    assert!(!world.program.output().contains(&name), "{}", world.program.output());

    let world = World::start(|start| start.env("RUST_LOG", "debug"));
    let sent = flow(&world, user, &name);
    let payload = wait_for("the payload", || {
        let lines = world.program.journal("payload");
        lines.into_iter().find(|line| line["topic"] == "user.events" && line["offset"] == sent["offset"])
    });
    assert_eq!((&payload["level"], &payload["partition"]), (&json!("DEBUG"), &sent["partition"]));
    assert_eq!(payload["value"].as_str().unwrap().replace('\\', ""), created(user, &name).to_string());
}

#[test]
fn the_text_log_is_one_readable_line_per_message() {
    let mut program = Start::both().env("LOG_FORMAT", "text").start().ready();
    let user = new_user();
    let sent = program.send_to_micro_2("user.events", &created(user, "John Doe"));
    let id = sent["id"].as_str().unwrap();
    let found = wait_for("the line", || {
        let output = program.output();
        let line = output.lines().find(|line| line.contains(" routed ") && line.contains("UserEventActor"));
        line.map(str::to_owned)
    });
    assert!(!found.contains('\u{1b}'), "no colours where there is no terminal: {found}");
    for part in [
        " INFO routed service=micro-2",
        "topic=\"user.events\"",
        &format!("partition={}", sent["partition"]),
        &format!("offset={}", sent["offset"]),
        &format!("key={user}"),
        &format!("id=\"{id}\""),
        &format!("correlation_id=\"{id}\""),
        "handler=\"UserEventActor\"",
        "outcome=\"handled\"",
        "attempt=1",
        "duration_us=",
    ] {
        assert!(found.contains(part), "{part} is missing in: {found}");
    }
    assert!(program.stop().success());
}

#[test]
fn routed_messages_are_found_by_id_topic_key_and_outcome_newest_first() {
    let world = SHARED.world();
    let user = new_user();
    let key = user.to_string();
    let ids: Vec<String> = (0..3).map(|_| flow(&world, user, "John Doe")["id"].as_str().unwrap().to_owned()).collect();
    // Somebody else's, that no filter below asks for.
    flow(&world, new_user(), "Jane Doe");
    let bad = unique("bad");
    let (partition, offset) = world.kafka.send(&Out::new("micro-1.events", user, "garbage").header("ce_id", &bad));
    wait_for("the dead letter", || world.program.routed("micro-2", &format!("id={bad}")).pop());

    let found = |query: &str| -> Vec<String> {
        let routed = world.program.routed("micro-2", query);
        routed.iter().map(|routed| routed["id"].as_str().unwrap().to_owned()).collect()
    };
    let newest_first = [&bad, &ids[2], &ids[1], &ids[0]];
    assert_eq!(found(&format!("key={key}")).iter().collect::<Vec<_>>(), newest_first);
    assert_eq!(found(&format!("key={key}&limit=2")).iter().collect::<Vec<_>>(), newest_first[..2]);
    assert_eq!(found(&format!("key={key}&topic=user.events")).iter().collect::<Vec<_>>(), newest_first[1..]);
    assert_eq!(found(&format!("key={key}&outcome=dead_lettered")), [bad.as_str()]);
    assert_eq!(found(&format!("key={key}&outcome=retry")), [""; 0]);
    assert_eq!(found(&format!("id={}", ids[1])), [ids[1].as_str()]);
    assert_eq!(found(&format!("id={}&topic=micro-1.events", ids[1])), [""; 0]);
    let all = world.program.routed("micro-2", "outcome=handled&limit=10000");
    assert!(all.len() >= 3 && all.iter().all(|routed| routed["outcome"] == "handled"), "{all:?}");

    let shown = world.program.routed("micro-2", &format!("id={bad}")).remove(0);
    let members: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        [
            "at",
            "topic",
            "partition",
            "offset",
            "key",
            "id",
            "correlationId",
            "handler",
            "outcome",
            "attempt",
            "durationUs",
            "error"
        ]
    );
    assert_eq!((&shown["partition"], &shown["offset"]), (&json!(partition), &json!(offset)));
    assert_eq!((&shown["key"], &shown["attempt"]), (&json!(key), &json!(1)));
}

#[test]
fn a_query_that_is_none_is_refused_with_400() {
    let world = SHARED.world();
    for path in ["/messages", "/messages/stream"] {
        for query in ["limit=0", "limit=10001", "limit=x", "limit=-1", "outcome=nonsense", "nonsense=1"] {
            let response = world.program.manage("micro-1", &format!("{path}?{query}"));
            assert_eq!((path, query, response.status().as_u16()), (path, query, 400));
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let problem: Value = response.json().unwrap();
            assert_eq!(problem["status"], 400, "{problem}");
        }
    }
}

#[test]
fn the_stream_shows_the_messages_asked_for_as_they_are_routed() {
    let world = SHARED.world();
    let (user, other) = (new_user(), new_user());
    flow(&world, user, "before");
    let follow = |query: &str| {
        let url = world.program.management_url("micro-2", &format!("/messages/stream?{query}"));
        let response = client().get(url).send().unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        let mut lines = BufReader::new(response).lines().map(Result::unwrap);
        // The first comment tells that from here on nothing is missed.
        assert!(lines.next().unwrap().starts_with(':'));
        lines
    };
    let by_key = follow(&format!("key={user}&topic=user.events&limit=2"));
    let dead = follow(&format!("key={user}&outcome=dead_lettered&limit=1"));
    let first = flow(&world, user, "first");
    flow(&world, other, "another user");
    let bad = unique("bad");
    world.kafka.send(&Out::new("micro-1.events", user, "garbage").header("ce_id", &bad));
    let second = flow(&world, user, "second");

    // With a limit the stream ends, so that all of it can be read.
    let events = |lines: &mut dyn Iterator<Item = String>| -> Vec<Value> {
        let data = lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
        data.collect()
    };
    let seen = events(&mut { by_key });
    assert_eq!(seen.iter().map(|event| &event["id"]).collect::<Vec<_>>(), [&first["id"], &second["id"]]);
    // What is shown live is what is kept.
    assert_eq!(seen[0]["offset"], first["offset"]);
    assert_eq!(seen[0]["handler"], "UserEventActor");
    let seen = events(&mut { dead });
    assert_eq!((seen.len(), &seen[0]["id"], &seen[0]["outcome"]), (1, &json!(bad), &json!("dead_lettered")));
}

#[test]
fn the_metrics_count_routed_messages_by_service_handler_and_outcome() {
    let world = SHARED.world();
    let count = |labels: &str| -> u64 {
        let response = world.program.manage("micro-1", "/metrics");
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
        let text = response.text().unwrap();
        let series = format!("messages_routed_total{{{labels}}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
    };
    let handled = r#"service="micro-2",handler="UserEventActor",outcome="handled""#;
    let stored = r#"service="micro-1",handler="NotificationActor",outcome="handled""#;
    let dead = r#"service="micro-2",handler="OtherEventsActor",outcome="dead_lettered""#;
    let before = [handled, stored, dead].map(count);
    flow(&world, new_user(), "John Doe");
    world.kafka.send(&Out::new("micro-1.events", new_user(), "garbage"));
    wait_for("all three to be counted", || {
        let now = [handled, stored, dead].map(count);
        now.iter().zip(before).all(|(now, before)| *now > before).then_some(())
    });
}

#[test]
fn the_management_listener_and_the_api_show_nothing_of_each_other() {
    let world = SHARED.world();
    for service in ["micro-1", "micro-2"] {
        for path in ["/messages", "/messages/stream", "/metrics", "/status"] {
            assert_eq!((path, world.program.get(service, path).status().as_u16()), (path, 404));
        }
        for path in ["/", "/api/kafka/status", "/api/notifications/1", "/api/kafka/send-to-micro2", "/api/kafka/send"] {
            assert_eq!((path, world.program.manage(service, path).status().as_u16()), (path, 404));
        }
        for path in ["/livez", "/readyz", "/status"] {
            assert_eq!((path, world.program.manage(service, path).status().as_u16()), (path, 200));
        }
    }
}
