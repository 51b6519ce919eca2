//! Bad requests: each is refused as `application/problem+json` that says what is wrong, and nothing of it reaches Kafka.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::kit::{Shared, World, client, new_user, wait_for};

static SHARED: Shared = Shared::new();

const SEND_TO_MICRO_2: (&str, &str) = ("micro-1", "/api/kafka/send-to-micro2");
const SEND_NOTIFICATION: (&str, &str) = ("micro-2", "/api/notifications/send");
const SEND: (&str, &str) = ("micro-2", "/api/kafka/send");
const ROUTES: [(&str, &str); 3] = [SEND_TO_MICRO_2, SEND_NOTIFICATION, SEND];

const MAX_BODY_BYTES: usize = 256 * 1024;

/// Checks the form of a refusal.
#[track_caller]
fn refused(response: Response, status: u16) -> Value {
    let code = response.status().as_u16();
    let media_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().unwrap();
    assert_eq!((code, media_type.as_deref()), (status, Some("application/problem+json")), "{text}");
    problem(&text, status)
}

#[track_caller]
fn problem(text: &str, status: u16) -> Value {
    let problem: Value = serde_json::from_str(text).unwrap();
    assert_eq!(problem["status"], status, "{text}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {text}");
    }
    problem
}

fn post(world: &World, (service, path): (&str, &str), media_type: &str, body: impl Into<Vec<u8>>) -> Response {
    let request = world.program.post(service, path).header("content-type", media_type);
    request.body(body.into()).send().unwrap()
}

/// The body of a valid request.
fn good((_, path): (&str, &str), user: u64) -> Value {
    match path {
        "/api/notifications/send" => json!({"userId": user, "type": "info", "content": "good"}),
        _ => json!({"topic": "micro-1.events", "message": {"userId": user, "action": "good"}}),
    }
}

#[test]
fn malformed_json_is_refused_with_400() {
    let world = SHARED.world();
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let bodies: [&[u8]; 8] =
        [b"", b"{", b"{\"message\":{\"a\":1},}", b"nul", b"{} {}", b"{'a':1}", b"{\"a\":\"\xff\xfe\"}", &deep];
    for route in ROUTES {
        for body in bodies {
            refused(post(&world, route, "application/json", body), 400);
        }
    }
}

#[test]
fn every_missing_or_wrong_field_is_named_by_its_pointer() {
    let world = SHARED.world();
    let user_event = |message: Value| (SEND_TO_MICRO_2, json!({"topic": "user.events", "message": message}));
    let other_event = |message: Value| (SEND_TO_MICRO_2, json!({"message": message}));
    let sent = |topic: &str, message: Value| (SEND, json!({"topic": topic, "message": message}));
    let data = json!({"fullName": "J"});
    let long = "x".repeat(10_001);
    let mut cases = vec![
        ((SEND_TO_MICRO_2, json!({})), vec!["/message"]),
        ((SEND_TO_MICRO_2, json!({"topic": "user.events"})), vec!["/message"]),
        ((SEND_TO_MICRO_2, json!({"topic": 5})), vec!["/message", "/topic"]),
        ((SEND_TO_MICRO_2, json!([])), vec![""]),
        ((SEND_TO_MICRO_2, json!("text")), vec![""]),
        ((SEND_TO_MICRO_2, json!(null)), vec![""]),
        (user_event(json!(null)), vec!["/message"]),
        (user_event(json!([1])), vec!["/message"]),
        (user_event(json!({})), vec!["/message/action", "/message/data", "/message/userId"]),
        (
            user_event(json!({"userId": "1", "action": "user_exploded", "data": {"fullName": ""}})),
            vec!["/message/action", "/message/data/fullName", "/message/userId"],
        ),
        (user_event(json!({"userId": 1, "action": "user_created", "data": {}})), vec!["/message/data/fullName"]),
        (user_event(json!({"userId": 1, "action": "user_updated", "data": null})), vec!["/message/data"]),
        (
            user_event(json!({"userId": 1, "action": "user_updated", "data": {"fullName": &long[..201]}})),
            vec!["/message/data/fullName"],
        ),
        (
            user_event(json!({"userId": 1, "action": "user_updated", "data": {"fullName": 5}})),
            vec!["/message/data/fullName"],
        ),
        (user_event(json!({"userId": 1, "data": data})), vec!["/message/action"]),
        (other_event(json!({})), vec!["/message"]),
        (other_event(json!(7)), vec!["/message"]),
        (other_event(json!({"userId": 0, "action": ""})), vec!["/message/action", "/message/userId"]),
        (other_event(json!({"userId": {}, "action": &long[..101]})), vec!["/message/action", "/message/userId"]),
        ((SEND_NOTIFICATION, json!({})), vec!["/content", "/type", "/userId"]),
        ((SEND_NOTIFICATION, json!({"userId": 1, "type": "", "content": ""})), vec!["/content", "/type"]),
        ((SEND_NOTIFICATION, json!({"userId": 1, "type": &long[..65], "content": long})), vec!["/content", "/type"]),
        ((SEND_NOTIFICATION, json!({"userId": 1, "type": 1, "content": null})), vec!["/content", "/type"]),
        ((SEND_NOTIFICATION, json!([])), vec![""]),
        ((SEND, json!({})), vec!["/message", "/topic"]),
        ((SEND, json!({"topic": null, "message": {}})), vec!["/topic"]),
        (
            sent("notification.events", json!({"userId": true})),
            vec!["/message/content", "/message/type", "/message/userId"],
        ),
        (sent("user.events", json!({"userId": 1})), vec!["/message/action", "/message/data"]),
        (sent("micro-2.events", json!({})), vec!["/message"]),
    ];
    for user in [json!(0), json!(-1), json!(1.5), json!("1"), json!(null), json!(9_007_199_254_740_992_u64)] {
        let event = json!({"userId": user, "action": "user_created", "data": data});
        cases.push((user_event(event), vec!["/message/userId"]));
        cases.push(((SEND_NOTIFICATION, json!({"userId": user, "type": "info", "content": "c"})), vec!["/userId"]));
    }
    for ((route, body), expected) in cases {
        let problem = refused(post(&world, route, "application/json", body.to_string()), 422);
        let errors = problem["errors"].as_array().unwrap();
        let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(pointers, expected, "{route:?} {body}: {problem}");
        assert!(errors.iter().all(|error| error["detail"].as_str().is_some_and(|text| !text.is_empty())), "{problem}");
    }
}

#[test]
fn another_media_type_is_refused_with_415() {
    let world = SHARED.world();
    for route in ROUTES {
        let body = good(route, new_user()).to_string();
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "*/*"] {
            refused(post(&world, route, media_type, body.clone()), 415);
        }
        let (service, path) = route;
        refused(world.program.post(service, path).body(body.clone()).send().unwrap(), 415);
        for media_type in ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"] {
            assert_eq!(post(&world, route, media_type, body.clone()).status(), 200, "{media_type}");
        }
    }
}

/// Sends a request by hand, and gives status and body of the answer.
fn by_hand(world: &World, (service, path): (&str, &str), head: &str, body: &[u8]) -> (u16, String) {
    let url = world.program.url(service, path);
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{head}\r\n\r\n");
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body).unwrap();
    // The answer is whole before the request is, so the end of the connection is nothing to wait for.
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut answer = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(answer.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    answer.read_exact(&mut body).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
}

#[test]
fn a_body_above_256_kib_is_refused_with_413_whether_its_length_is_declared_or_not() {
    let world = SHARED.world();
    for route in ROUTES {
        // Declared: the answer comes before any of the body.
        let (status, text) = by_hand(&world, route, &format!("Content-Length: {}", MAX_BODY_BYTES + 1), b"");
        assert_eq!(status, 413, "{text}");
        problem(&text, 413);
        // Chunked: no one knows before it is too much. The last chunk never comes.
        let mut body = format!("{:x}\r\n", MAX_BODY_BYTES + 1).into_bytes();
        body.extend(vec![b' '; MAX_BODY_BYTES + 1]);
        let (status, text) = by_hand(&world, route, "Transfer-Encoding: chunked", &body);
        assert_eq!(status, 413, "{text}");
        problem(&text, 413);
        // Of exactly that size it is taken, and not only if its length is declared.
        let mut largest = good(route, new_user()).to_string();
        largest.push_str(&" ".repeat(MAX_BODY_BYTES - largest.len()));
        assert_eq!(post(&world, route, "application/json", largest.clone()).status(), 200);
        let chunked = reqwest::blocking::Body::new(std::io::Cursor::new(largest.into_bytes()));
        let (service, path) = route;
        let request = world.program.post(service, path).header("content-type", "application/json");
        assert_eq!(request.body(chunked).send().unwrap().status(), 200);
    }
}

#[test]
fn an_unknown_path_is_refused_with_404_on_both_listeners() {
    let world = SHARED.world();
    for service in ["micro-1", "micro-2"] {
        for path in ["/nonsense", "/api", "/api/kafka/send-to-micro2/", "/api/kafka", "//", "/api/notifications/"] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                refused(client().request(method.clone(), world.program.url(service, path)).send().unwrap(), 404);
                let managed = client().request(method, world.program.management_url(service, path));
                refused(managed.send().unwrap(), 404);
            }
        }
    }
}

#[test]
fn a_wrong_method_is_refused_with_405_that_names_the_right_one() {
    let world = SHARED.world();
    let api: [(&str, &str, &str); 10] = [
        ("micro-1", "/api/kafka/send-to-micro2", "POST"),
        ("micro-1", "/api/kafka/status", "GET"),
        ("micro-1", "/api/notifications/1", "GET"),
        ("micro-1", "/", "GET"),
        ("micro-1", "/livez", "GET"),
        ("micro-2", "/api/kafka/send", "POST"),
        ("micro-2", "/api/notifications/send", "POST"),
        ("micro-2", "/api/kafka/status", "GET"),
        ("micro-2", "/", "GET"),
        ("micro-2", "/readyz", "GET"),
    ];
    let wrong = |url: String, allowed: &str| {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            if method.as_str() == allowed {
                continue;
            }
            let response = client().request(method.clone(), &url).send().unwrap();
            assert_eq!(
                response.headers().get("allow").map(|value| value.to_str().unwrap()),
                Some(allowed),
                "{method} {url}"
            );
            refused(response, 405);
        }
    };
    for (service, path, allowed) in api {
        wrong(world.program.url(service, path), allowed);
    }
    for path in ["/messages", "/messages/stream", "/metrics", "/status", "/livez", "/readyz"] {
        wrong(world.program.management_url("micro-1", path), "GET");
    }
}

#[test]
fn a_correlation_id_that_is_no_short_printable_text_is_refused_with_400() {
    let world = SHARED.world();
    for (service, path) in ROUTES {
        let body = good((service, path), new_user());
        let send = |name: &str, value: &[u8]| {
            let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
            world.program.post(service, path).header(name, value).json(&body).send().unwrap()
        };
        for name in ["x-correlation-id", "traceparent"] {
            for value in [&b""[..], b"caf\xe9", b"a\tb", "x".repeat(257).as_bytes()] {
                let problem = refused(send(name, value), 400);
                assert!(problem["detail"].as_str().unwrap().contains(name), "{problem}");
            }
            assert_eq!(send(name, "x".repeat(256).as_bytes()).status(), 200);
        }
    }
}

#[test]
fn of_a_refused_request_nothing_reaches_kafka() {
    let world = SHARED.world();
    let user = new_user();
    for body in [
        json!({"userId": user, "type": "", "content": "bad"}).to_string(),
        json!({"userId": user, "type": "bad"}).to_string(),
        format!("{{\"userId\":{user},\"type\":\"bad\",\"content\":\"bad\"}}}}"),
    ] {
        let status = post(&world, SEND_NOTIFICATION, "application/json", body).status().as_u16();
        assert!(status == 422 || status == 400, "{status}");
    }
    let forbidden = json!({"topic": "notification.events", "message": good(SEND_NOTIFICATION, user)});
    refused(post(&world, SEND_TO_MICRO_2, "application/json", forbidden.to_string()), 403);
    let message = good(SEND_NOTIFICATION, user);
    assert_eq!(post(&world, SEND_NOTIFICATION, "application/json", message.to_string()).status(), 200);

    // It was written behind all that, to the partition where the others would be.
    let key = user.to_string();
    let found = world.kafka.read("notification.events").wait_for_all(1, |seen| seen.key_text() == Some(key.as_str()));
    let values: Vec<Value> = found.iter().map(|seen| serde_json::from_str(seen.value_text()).unwrap()).collect();
    assert_eq!(values, [message]);
    let kept = wait_for("the notification", || Some(world.program.notifications(user)).filter(|kept| !kept.is_empty()));
    assert_eq!(kept.len(), 1);
}
