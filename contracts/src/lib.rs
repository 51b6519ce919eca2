//! What the services say to each other: the topics, and the events on them with their validation and key. And what their
//! programs share: the words by which an event harms the demo, where that is allowed, and how the demo is started.

mod notification;
mod other_event;
mod poke;
mod user_event;

pub use notification::Notification;
pub use other_event::OtherEvent;
pub use poke::Chaos;
pub use user_event::{UserAction, UserData, UserEvent};

/// Topics by name.
pub mod topic {
    /// [`UserEvent`](crate::UserEvent)s, micro-1 -> micro-2.
    pub const USER_EVENTS: &str = "user.events";
    /// [`OtherEvent`](crate::OtherEvent)s, micro-1 -> micro-2.
    pub const MICRO_1_EVENTS: &str = "micro-1.events";
    /// [`Notification`](crate::Notification)s, micro-2 -> micro-1.
    pub const NOTIFICATION_EVENTS: &str = "notification.events";
    /// [`OtherEvent`](crate::OtherEvent)s, micro-2 -> micro-1.
    pub const MICRO_2_EVENTS: &str = "micro-2.events";

    /// Every topic that carries events.
    pub const ALL: [&str; 4] = [USER_EVENTS, MICRO_1_EVENTS, NOTIFICATION_EVENTS, MICRO_2_EVENTS];
}

/// How a service of the demo can be started, for who starts it without a broker.
#[must_use]
pub fn ways_to_start(service: &str) -> String {
    format!(
        "There are two ways to start:
  KAFKA_BROKERS=localhost:9092 cargo run -p {service}   this service against a Kafka cluster
  cargo run                                      both services and an embedded broker"
    )
}

/// Largest user id: the largest integer that every JSON reader keeps exact.
pub const MAX_USER_ID: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use kafka_actors::Contract;

    use super::*;

    fn read<E: Contract>(json: &str) -> Result<E, String> {
        let event: E = serde_json::from_str(json).map_err(|error| error.to_string())?;
        event.validate().map_err(|report| report.to_string())?;
        Ok(event)
    }

    #[test]
    fn the_wire_format_is_the_plain_json_of_the_demo() {
        let json = r#"{"userId":1,"action":"user_created","data":{"fullName":"John Doe"}}"#;
        let event: UserEvent = read(json).unwrap();
        assert_eq!((serde_json::to_string(&event).unwrap().as_str(), event.key().as_deref()), (json, Some("1")));

        let json = r#"{"userId":1,"type":"info","content":"hello"}"#;
        let event: Notification = read(json).unwrap();
        assert_eq!((serde_json::to_string(&event).unwrap().as_str(), event.key().as_deref()), (json, Some("1")));

        let json = r#"{"userId":7,"action":"seen","at":[1,2]}"#;
        let event: OtherEvent = read(json).unwrap();
        assert_eq!((serde_json::to_string(&event).unwrap().as_str(), event.key().as_deref()), (json, Some("7")));
        assert_eq!(read::<OtherEvent>(r#"{"hello":"world"}"#).unwrap().key(), None);
    }

    #[test]
    fn what_breaks_a_rule_is_no_event() {
        for json in [
            r#"{"userId":0,"action":"user_created","data":{"fullName":"J"}}"#,
            r#"{"userId":9007199254740992,"action":"user_created","data":{"fullName":"J"}}"#,
            r#"{"userId":1,"action":"user_exploded","data":{"fullName":"J"}}"#,
            r#"{"userId":1,"action":"user_created","data":{"fullName":""}}"#,
            r#"{"userId":1,"action":"user_created","data":{}}"#,
            r#"{"userId":1,"action":"user_created"}"#,
        ] {
            assert!(read::<UserEvent>(json).is_err(), "{json}");
        }
        assert!(read::<UserEvent>(r#"{"userId":1,"action":"user_updated","data":{}}"#).is_ok());
        for json in [
            r#"{"userId":1,"type":"","content":"c"}"#,
            r#"{"userId":1,"type":"info","content":""}"#,
            r#"{"userId":-1,"type":"info","content":"c"}"#,
        ] {
            assert!(read::<Notification>(json).is_err(), "{json}");
        }
        for json in ["{}", "[]", r#"{"userId":"1"}"#, r#"{"userId":0}"#, r#"{"action":""}"#] {
            assert!(read::<OtherEvent>(json).is_err(), "{json}");
        }
    }
}
