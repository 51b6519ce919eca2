//! The main job: REST calls trigger events that travel micro-1 -> Kafka -> micro-2 -> Kafka -> micro-1.

use serde_json::json;

use crate::kit::{Start, new_user, wait_for};

#[test]
fn a_clean_start_and_stop_log_no_warning() {
    let mut program = Start::both().start().ready();
    wait_for("each client of each service", || (program.journal("broker reached").len() >= 4).then_some(()));
    assert!(program.stop().success());
    let output = program.output();
    let reached = output.lines().filter(|line| line.contains("broker reached")).count();
    assert_eq!(reached, 4, "each client of each service says it once: {output}");
    let complaints: Vec<&str> = output
        .lines()
        .filter(|line| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_rest_call_triggers_an_event_that_comes_back_as_a_notification() {
    let mut program = Start::both().start().ready();
    let user = new_user();
    let message = json!({"userId": user, "action": "user_created", "data": {"fullName": "John Doe"}});
    let sent = program.send_to_micro_2("user.events", &message);
    assert_eq!((&sent["topic"], &sent["message"]), (&json!("user.events"), &message));
    assert!(sent["partition"].is_u64() && sent["offset"].is_u64(), "{sent}");

    let kept = wait_for("the notification", || program.notifications(user).into_iter().next());
    assert_eq!((&kept["userId"], &kept["type"]), (&json!(user), &json!("welcome")));
    assert_eq!(kept["content"], "Welcome, John Doe!");
    assert_eq!(kept["correlationId"], sent["id"], "one correlation from the request to the notification");
    assert!(program.stop().success());
}
