//! Dead letters on a real cluster: nothing of the record is lost, and the limits of real topics hold.

use super::{Groups, Shared, on, settled};
use crate::kit::{Out, Start, new_user, wait_for};

/// Kafka's default limit for a record is 1,048,588 bytes with its framing.
const LARGEST_VALUE_BYTES: usize = 1_048_000;

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_dead_letter_has_every_byte_of_the_record_and_says_where_from_and_why() {
    let kafka = Shared::cluster();
    let raw = kafka.client();
    let groups = Groups::new();
    let mut program = on(Start::both(), &kafka.brokers, &groups).start().ready();

    let large = vec![b'{'; 900_000];
    let largest = vec![0xff; LARGEST_VALUE_BYTES];
    let unknown = br#"{"userId":1,"action":"user_exploded","data":{}}"#;
    let values: [(&str, Option<&[u8]>); 6] = [
        ("undecodable", Some(&large)),
        ("undecodable", Some(&largest)),
        ("undecodable", Some(b"\xff\x00\xfe")),
        ("undecodable", Some(b"")),
        ("undecodable", None),
        ("undecodable", Some(unknown)),
    ];
    for (topic, handler, group) in [
        ("user.events", "UserEventActor", &groups.micro_2),
        ("notification.events", "NotificationActor", &groups.micro_1),
    ] {
        let user = new_user();
        let mut key = user.to_string().into_bytes();
        // No UTF-8, as no one promises one.
        key.extend(b"\xff\xfe");
        let keyed = |value: &str| Out { key: Some(key.clone()), ..Out::new(topic, "", value) };
        let headers = [("h", Some(&b"\xfd\x00"[..])), ("h", Some(b"again")), ("none", None)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)));
        for (kind, value) in values {
            let value = value.map(<[u8]>::to_vec);
            let record = Out { value, headers: headers.to_vec(), ..keyed("") };
            let place = raw.send(&record);
            let service = if topic == "user.events" { "micro-2" } else { "micro-1" };
            wait_for("the record's end", || settled(&program, topic).contains(&place).then_some(()));
            let (partition, offset) = (place.0.to_string(), place.1.to_string());
            let mut letters = raw.read_all(&format!("{topic}.dlq"));
            letters.retain(|letter| {
                letter.key == record.key
                    && letter.header("dlq-origin-offset") == Some(&offset)
                    && letter.header("dlq-group") == Some(group)
            });
            assert_eq!(letters.len(), 1, "one dead letter of {service} for {place:?}");
            let letter = &letters[0];
            assert!(letter.value == record.value, "its bytes are kept");
            assert_eq!(letter.headers[..3], headers);
            let header = |name: &str| letter.header(name).unwrap();
            assert_eq!((header("dlq-origin-topic"), header("dlq-origin-partition")), (topic, partition.as_str()));
            assert_eq!((header("dlq-handler"), header("dlq-error-kind")), (handler, kind));
            assert_eq!(header("dlq-attempts"), "1");
            assert!(!header("dlq-error").is_empty());
            assert!(header("dlq-first-failure") <= header("dlq-last-failure"));
            assert!(header("dlq-origin-timestamp").parse::<i64>().unwrap() > 0);
        }
        // The next record of the same key is handled as if nothing had been.
        let value = match topic {
            "user.events" => format!(r#"{{"userId":{user},"action":"user_created","data":{{"fullName":"Next"}}}}"#),
            _ => format!(r#"{{"userId":{user},"type":"welcome","content":"Welcome, Next!"}}"#),
        };
        raw.send(&keyed(&value));
        let kept = wait_for("the next record", || program.notifications(user).into_iter().next());
        assert_eq!(kept["content"], "Welcome, Next!");
        raw.wait_until_all_is_committed(group, topic);
    }
    assert!(program.stop().success());
}
