//! Dead letters on a real cluster: nothing of the record is lost, and the limits of real topics hold.

use super::wire::Record;
use super::{Groups, Shared, on, settled};
use crate::kit::{Start, new_user, wait_for};

/// Kafka's default limit for a record is 1,048,588 bytes with its framing.
const LARGEST_VALUE_BYTES: usize = 1_048_000;

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_dead_letter_has_every_byte_of_the_record_and_says_where_from_and_why() {
    let kafka = Shared::cluster();
    let wire = kafka.wire();
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
        // No UTF-8, as nobody promises one.
        key.extend(b"\xff\xfe");
        let headers: [(&str, Option<&[u8]>); 3] = [("h", Some(b"\xfd\x00")), ("h", Some(b"again")), ("none", None)];
        for (kind, value) in values {
            let record = Record { topic, key: Some(&key), value, headers: &headers, ..Default::default() };
            let written = wire.write(&record);
            let service = if topic == "user.events" { "micro-2" } else { "micro-1" };
            wait_for("the record's end", || {
                let ends = settled(&program, topic);
                ends.contains(&(written.partition, written.offset)).then_some(())
            });
            let letters = wire.read(&format!("{topic}.dlq"), &key);
            let mine = |letter: &&super::wire::Lying| {
                letter.header("dlq-origin-offset") == written.offset.to_string() && letter.header("dlq-group") == *group
            };
            let letters: Vec<_> = letters.iter().filter(mine).collect();
            assert_eq!(letters.len(), 1, "one dead letter of {service} for {written:?}");
            let letter = letters[0];
            assert!(letter.key.as_deref() == Some(&key[..]) && letter.value.as_deref() == value, "its bytes are kept");
            let original: Vec<_> =
                headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec))).collect();
            assert_eq!(letter.headers[..3], original[..]);
            assert_eq!(letter.header("dlq-origin-topic"), topic);
            assert_eq!(letter.header("dlq-origin-partition"), written.partition.to_string());
            assert_eq!(
                (letter.header("dlq-handler").as_str(), letter.header("dlq-error-kind").as_str()),
                (handler, kind)
            );
            assert_eq!(letter.header("dlq-attempts"), "1");
            assert!(!letter.header("dlq-error").is_empty());
            assert!(letter.header("dlq-first-failure") <= letter.header("dlq-last-failure"));
            assert!(letter.header("dlq-origin-timestamp").parse::<i64>().unwrap() > 0);
        }
        // The next record of the same key is handled as if nothing had been.
        let value = match topic {
            "user.events" => format!(r#"{{"userId":{user},"action":"user_created","data":{{"fullName":"Next"}}}}"#),
            _ => format!(r#"{{"userId":{user},"type":"welcome","content":"Welcome, Next!"}}"#),
        };
        wire.write(&Record { topic, key: Some(&key), value: Some(value.as_bytes()), ..Default::default() });
        let kept = wait_for("the next record", || program.notifications(user).into_iter().next());
        assert_eq!(kept["content"], "Welcome, Next!");
        wait_for("the group at the end", || (wire.committed(group, topic) == wire.ends(topic)).then_some(()));
    }
    assert!(program.stop().success());
}
