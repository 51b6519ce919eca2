//! The main job on a real cluster.

use serde_json::{Value, json};

use super::{Groups, Shared, on};
use crate::kit::{Out, Start, new_user, wait_for};

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_rest_call_triggers_an_event_that_comes_back_as_a_notification() {
    let kafka = Shared::cluster();
    let mut program = on(Start::both(), &kafka.brokers, &Groups::new()).start().ready();
    let user = new_user();
    let message = json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}});
    let sent = program.send_to_micro_2("user.events", &message);

    let kept = wait_for("the notification", || program.notifications(user).into_iter().next());
    assert_eq!((&kept["type"], &kept["content"]), (&json!("welcome"), &json!("Welcome, John Doe!")));
    assert_eq!(kept["correlationId"], sent["id"]);

    let key = user.to_string();
    let mut lying = kafka.client().read_all("user.events");
    lying.retain(|record| record.key_text() == Some(&key));
    assert_eq!(lying.len(), 1);
    let at = (json!(lying[0].partition), json!(lying[0].offset));
    assert_eq!(at, (sent["partition"].clone(), sent["offset"].clone()), "it lies where the answer said");
    assert_eq!(lying[0].value.as_deref(), Some(message.to_string().as_bytes()), "the value is the plain JSON");
    assert_eq!(lying[0].header("ce_id"), Some(sent["id"].as_str().unwrap()));
    assert_eq!(lying[0].header("ce_source"), Some("micro-1"));
    assert!(program.stop().success());
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_notification_sent_by_hand_and_one_from_a_client_without_headers_are_kept() {
    let kafka = Shared::cluster();
    let mut program = on(Start::both(), &kafka.brokers, &Groups::new()).start().ready();
    let user = new_user();
    let sent = program
        .post("micro-2", "/api/notifications/send")
        .json(&json!({"userId": user, "type": "info", "content": "by hand"}))
        .send()
        .unwrap();
    assert_eq!(sent.status(), 200);
    let sent: Value = sent.json().unwrap();
    wait_for("the first notification", || (program.notifications(user).len() == 1).then_some(()));

    let value = json!({"userId": user, "type": "info", "content": "bare"}).to_string();
    let (partition, offset) = kafka.client().send(&Out::new("notification.events", user, value));
    let kept = wait_for("the second notification", || {
        let kept = program.notifications(user);
        (kept.len() == 2).then_some(kept)
    });
    assert_eq!((&kept[1]["id"], &kept[1]["content"]), (&sent["data"]["id"], &json!("by hand")));
    let id = format!("notification.events/{partition}/{offset}");
    assert_eq!((&kept[0]["id"], &kept[0]["content"]), (&json!(id), &json!("bare")));
    assert!(program.stop().success());
}
