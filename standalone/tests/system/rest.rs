//! The REST routes: their paths, the shapes of their answers, and what of a request reaches Kafka.

use serde_json::{Value, json};

use crate::kit::{Out, Shared, World, new_user, unique, wait_for};

static SHARED: Shared = Shared::new();

#[track_caller]
fn post(world: &World, service: &str, path: &str, body: &Value) -> (u16, Value) {
    let response = world.program.post(service, path).json(body).send().unwrap();
    let status = response.status().as_u16();
    (status, response.json().unwrap())
}

#[track_caller]
fn get(world: &World, service: &str, path: &str) -> (u16, Value) {
    let response = world.program.get(service, path);
    let status = response.status().as_u16();
    (status, response.json().unwrap())
}

/// Checks the `data` of an answer against Kafka: the record is where it says.
#[track_caller]
fn assert_written(world: &World, answer: &Value, topic: &str, message: &Value, key: Option<&str>) {
    assert_eq!(answer["success"], true, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|text| text.contains(topic)), "{answer}");
    let data = answer["data"].as_object().unwrap();
    let members: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(members, ["topic", "message", "id", "partition", "offset"]);
    assert_eq!((&data["topic"], &data["message"]), (&json!(topic), message));
    let partition = i32::try_from(data["partition"].as_i64().unwrap()).unwrap();
    let record = world.kafka.read(topic).at((partition, data["offset"].as_i64().unwrap()));
    assert_eq!(serde_json::from_str::<Value>(record.value_text()).unwrap(), *message);
    assert_eq!(record.key_text(), key);
    assert_eq!(record.header("ce_id"), data["id"].as_str());
}

#[test]
fn send_to_micro_2_answers_with_the_place_that_the_broker_acknowledged() {
    let world = SHARED.world();
    let user = new_user();
    let key = user.to_string();
    let path = "/api/kafka/send-to-micro2";

    let message = json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}});
    let (status, answer) = post(&world, "micro-1", path, &json!({"message": message, "topic": "user.events"}));
    assert_eq!(status, 200, "{answer}");
    assert_written(&world, &answer, "user.events", &message, Some(&key));

    // The topic is optional.
    let message = json!({"userId": user, "action": "seen", "where": ["here"]});
    for body in [json!({"message": message}), json!({"message": message, "topic": null})] {
        let (status, answer) = post(&world, "micro-1", path, &body);
        assert_eq!(status, 200, "{answer}");
        assert_written(&world, &answer, "micro-1.events", &message, Some(&key));
    }
}

#[test]
fn send_to_micro_2_takes_its_two_topics_and_no_other() {
    let world = SHARED.world();
    let message = json!({"userId": new_user(), "type": "info", "content": "c"});
    for (topic, expected) in [
        ("notification.events", 403),
        ("micro-2.events", 403),
        ("nonsense", 404),
        ("user.events.dlq", 404),
        ("USER.EVENTS", 404),
        ("", 404),
    ] {
        let body = json!({"message": message, "topic": topic});
        let (status, answer) = post(&world, "micro-1", "/api/kafka/send-to-micro2", &body);
        assert_eq!((status, &answer["status"]), (expected, &json!(expected)), "{topic}: {answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(topic) && detail.contains("user.events, micro-1.events"), "{answer}");
    }
}

#[test]
fn a_notification_sent_by_rest_reaches_kafka_with_all_its_fields_and_the_user_as_its_key() {
    let world = SHARED.world();
    // User 1 is the one of the example; the content makes the record this test's own.
    let message = json!({"userId": 1, "type": "info", "content": unique("hello")});
    let (status, answer) = post(&world, "micro-2", "/api/notifications/send", &message);
    assert_eq!(status, 200, "{answer}");
    assert_written(&world, &answer, "notification.events", &message, Some("1"));
    let kept = wait_for("the notification in micro-1", || {
        world.program.notifications(1).into_iter().find(|kept| kept["content"] == message["content"])
    });
    assert_eq!((&kept["id"], &kept["type"], &kept["userId"]), (&answer["data"]["id"], &json!("info"), &json!(1)));
}

#[test]
fn micro_2_sends_to_every_topic_of_the_route_tables_and_to_no_other() {
    let world = SHARED.world();
    let user = new_user();
    let key = user.to_string();
    for (topic, message) in [
        ("user.events", json!({"userId": user, "action": "user_updated", "data": {}})),
        ("notification.events", json!({"userId": user, "type": "info", "content": "hello"})),
        ("micro-1.events", json!({"userId": user, "action": "seen"})),
        ("micro-2.events", json!({"userId": user, "deep": {"er": [1, 2.5, null, "x"]}})),
    ] {
        let (status, answer) = post(&world, "micro-2", "/api/kafka/send", &json!({"topic": topic, "message": message}));
        assert_eq!(status, 200, "{answer}");
        assert_written(&world, &answer, topic, &message, Some(&key));
    }
    for topic in ["nonsense", "user.events.dlq", "__consumer_offsets", ""] {
        let body = json!({"topic": topic, "message": {"a": 1}});
        let (status, answer) = post(&world, "micro-2", "/api/kafka/send", &body);
        assert_eq!((status, &answer["status"]), (404, &json!(404)), "{topic}: {answer}");
    }
}

#[test]
fn both_services_greet_and_say_that_they_are_alive_and_ready() {
    let world = SHARED.world();
    for service in ["micro-1", "micro-2"] {
        assert_eq!(get(&world, service, "/"), (200, json!({"hello": "world"})));
        assert_eq!(get(&world, service, "/livez"), (200, json!({"status": "alive"})));
        // A busy machine may have it doubt itself for a moment.
        let ready = (200, json!({"ready": true, "reasons": []}));
        wait_for("readiness", || (get(&world, service, "/readyz") == ready).then_some(()));
    }
}

#[test]
fn the_status_shows_what_was_measured_of_broker_producer_consumer_and_actors() {
    let world = SHARED.world();
    let user = new_user();
    let message = json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}});
    let sent = world.program.send_to_micro_2("user.events", &message);
    for (service, topics, actors) in [
        ("micro-1", ["notification.events", "micro-2.events"], ["NotificationActor", "OtherEventsActor"]),
        ("micro-2", ["user.events", "micro-1.events"], ["UserEventActor", "OtherEventsActor"]),
    ] {
        let status = wait_for("the first event to be counted, no lag, and readiness", || {
            let (code, status) = get(&world, service, "/api/kafka/status");
            assert_eq!(code, 200);
            let handled = status["actors"][0]["handled"].as_u64().unwrap();
            let (consumer, ready) = (&status["consumer"], &status["ready"]);
            (handled > 0 && consumer["lag"] == 0 && consumer["inFlight"] == 0 && ready == true).then_some(status)
        });
        assert_eq!((&status["service"], &status["ready"]), (&json!(service), &json!(true)));
        assert_eq!(status["broker"]["reachable"], true);
        assert!(status["broker"]["addresses"].as_str().unwrap().starts_with("127.0.0.1:"), "{status}");
        assert_eq!(status["producer"]["reachable"], true);
        assert!(status["producer"]["inFlight"].is_u64(), "{status}");
        let consumer = &status["consumer"];
        assert_eq!((&consumer["state"], &consumer["brokerReachable"]), (&json!("assigned"), &json!(true)));
        let mut assigned: Vec<(String, i64)> = consumer["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|partition| {
                (partition["topic"].as_str().unwrap().to_owned(), partition["partition"].as_i64().unwrap())
            })
            .collect();
        assigned.sort();
        let mut expected: Vec<(String, i64)> =
            topics.iter().flat_map(|topic| (0..8).map(|partition| ((*topic).to_owned(), partition))).collect();
        expected.sort();
        assert_eq!(assigned, expected);
        let shown: Vec<(&str, &str)> = status["actors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|actor| (actor["name"].as_str().unwrap(), actor["topic"].as_str().unwrap()))
            .collect();
        assert_eq!(shown, [(actors[0], topics[0]), (actors[1], topics[1])]);
        assert_eq!(status["actors"][0]["restarts"], 0);
    }
    // The partition of the event itself: settled and committed up to it.
    wait_for("the commit to be shown", || {
        let (_, status) = get(&world, "micro-2", "/api/kafka/status");
        let partitions = status["consumer"]["partitions"].as_array().unwrap();
        let own = partitions
            .iter()
            .find(|shown| shown["topic"] == "user.events" && shown["partition"] == sent["partition"])
            .unwrap();
        let behind = sent["offset"].as_i64().unwrap() + 1;
        let reached = |member: &str| own[member].as_i64().is_some_and(|offset| offset >= behind);
        (reached("frontier") && reached("committed") && reached("highWatermark")).then_some(())
    });
}

#[test]
fn notifications_come_newest_first_and_their_pages_repeat_and_miss_none() {
    let world = SHARED.world();
    let user = new_user();
    for number in 0..25 {
        let message = json!({"userId": user, "type": "info", "content": format!("number {number}")});
        assert_eq!(post(&world, "micro-2", "/api/notifications/send", &message).0, 200);
    }
    wait_for("all to be kept", || (world.program.notifications(user).len() == 25).then_some(()));

    let (mut contents, mut sizes, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let (status, page) = get(&world, "micro-1", &format!("/api/notifications/{user}?limit=10{cursor}"));
        assert_eq!(status, 200, "{page}");
        let kept = page["notifications"].as_array().unwrap();
        sizes.push(kept.len());
        contents.extend(kept.iter().map(|kept| kept["content"].as_str().unwrap().to_owned()));
        let Some(next) = page.get("nextCursor") else { break };
        cursor = format!("&cursor={}", next.as_str().unwrap());
        // One that arrives meanwhile is newer than all pages to come, so it moves none of them.
        let late = json!({"userId": user, "type": "late", "content": "late"});
        let before = world.program.notifications(user).len();
        assert_eq!(post(&world, "micro-2", "/api/notifications/send", &late).0, 200);
        wait_for("the late one", || (world.program.notifications(user).len() > before).then_some(()));
    }
    let newest_first: Vec<String> = (0..25).rev().map(|number| format!("number {number}")).collect();
    assert_eq!((contents, sizes), (newest_first, vec![10, 10, 5]));
}

#[test]
fn a_page_holds_up_to_1000_notifications() {
    let world = SHARED.world();
    let user = new_user();
    let records: Vec<Out> = (0..1_003)
        .map(|number| {
            let value = json!({"userId": user, "type": "info", "content": format!("number {number}")});
            Out::new("notification.events", user, value.to_string())
        })
        .collect();
    world.kafka.send_all(&records);
    let page = wait_for("all to be kept", || {
        let (_, page) = get(&world, "micro-1", &format!("/api/notifications/{user}?limit=1000"));
        (page["notifications"][0]["content"] == "number 1002").then_some(page)
    });
    assert_eq!(page["notifications"].as_array().unwrap().len(), 1_000);
    let cursor = page["nextCursor"].as_str().unwrap();
    let (_, rest) = get(&world, "micro-1", &format!("/api/notifications/{user}?limit=1000&cursor={cursor}"));
    assert_eq!(rest["notifications"].as_array().unwrap().len(), 3);
    assert_eq!(rest.get("nextCursor"), None);
    // Without a limit it is a page all the same.
    let (_, page) = get(&world, "micro-1", &format!("/api/notifications/{user}"));
    assert_eq!(page["notifications"].as_array().unwrap().len(), 100);
}

#[test]
fn a_limit_or_cursor_that_is_none_is_refused() {
    let world = SHARED.world();
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=many", "limit=", "cursor=abc", "page=2"] {
        let response = world.program.get("micro-1", &format!("/api/notifications/1?{query}"));
        assert_eq!((query, response.status().as_u16()), (query, 400));
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{query}");
    }
    assert_eq!(get(&world, "micro-1", "/api/notifications/john").0, 404);
    assert_eq!(
        get(&world, "micro-1", &format!("/api/notifications/{}?limit=1", new_user())),
        (200, json!({"notifications": []}))
    );
}

#[test]
fn a_kept_notification_has_the_members_of_the_demo_and_its_time_has_microseconds() {
    let world = SHARED.world();
    let user = new_user();
    let message = json!({"userId": user, "type": "info", "content": "hello"});
    let (_, answer) = post(&world, "micro-2", "/api/notifications/send", &message);
    let kept = wait_for("the notification", || world.program.notifications(user).pop());
    let members: Vec<&str> = kept.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["id", "userId", "type", "content", "correlationId", "handledAt"]);
    let handled_at = kept["handledAt"].as_str().unwrap();
    let shape: String = handled_at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    let partition = i32::try_from(answer["data"]["partition"].as_i64().unwrap()).unwrap();
    let record = world.kafka.read("notification.events").at((partition, answer["data"]["offset"].as_i64().unwrap()));
    // Both are RFC 3339 in UTC with six digits, so their order is that of their text.
    assert!(record.header("ce_time").unwrap() < handled_at, "{:?} before {handled_at}", record.header("ce_time"));
}
