//! A dead letter: the original bytes, key and headers, plus where it came from and why it is here.

use jiff::Timestamp;

use crate::event::Outgoing;
use crate::record::Record;
use delivery::outcome::HandlerError;

/// Ends the name of a topic's dead-letter topic.
pub const SUFFIX: &str = ".dlq";

/// Longest error text that a dead letter carries: enough for a chain of causes, and bounded.
const MAX_ERROR_BYTES: usize = 2048;

/// Names of the headers that a dead letter adds behind the original ones. Where the original had a header of the
/// same name (it was dead before), the last one counts, as everywhere in Kafka.
pub mod header {
    /// Topic the record came from.
    pub const ORIGIN_TOPIC: &str = "dlq-origin-topic";
    /// Partition it came from.
    pub const ORIGIN_PARTITION: &str = "dlq-origin-partition";
    /// Its offset there.
    pub const ORIGIN_OFFSET: &str = "dlq-origin-offset";
    /// Its timestamp there, milliseconds since the epoch.
    pub const ORIGIN_TIMESTAMP: &str = "dlq-origin-timestamp";
    /// Consumer group that gave it up.
    pub const GROUP: &str = "dlq-group";
    /// Handler that gave it up.
    pub const HANDLER: &str = "dlq-handler";
    /// Kind of the last error: transient, permanent, panic, undecodable, invalid.
    pub const ERROR_KIND: &str = "dlq-error-kind";
    /// Text of the last error.
    pub const ERROR: &str = "dlq-error";
    /// Attempts made.
    pub const ATTEMPTS: &str = "dlq-attempts";
    /// Time of the first failure, RFC 3339.
    pub const FIRST_FAILURE: &str = "dlq-first-failure";
    /// Time of the last failure, RFC 3339.
    pub const LAST_FAILURE: &str = "dlq-last-failure";
}

/// Why and by whom a record was given up.
#[derive(Clone, Debug)]
pub struct Cause<'a> {
    /// Consumer group.
    pub group: &'a str,
    /// Handler.
    pub handler: &'a str,
    /// The last error.
    pub error: &'a HandlerError,
    /// Attempts made.
    pub attempts: u32,
    /// Time of the first failure.
    pub first_failure: Timestamp,
    /// Time of the last failure.
    pub last_failure: Timestamp,
}

/// The record that goes to `<topic>.dlq`.
#[must_use]
pub fn dead_letter(record: &Record<'_>, cause: &Cause<'_>) -> Outgoing {
    let original =
        record.headers().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)));
    let added = [
        (header::ORIGIN_TOPIC, record.topic().to_string()),
        (header::ORIGIN_PARTITION, record.partition().to_string()),
        (header::ORIGIN_OFFSET, record.offset().to_string()),
        (header::ORIGIN_TIMESTAMP, record.timestamp_ms().to_string()),
        (header::GROUP, cause.group.to_owned()),
        (header::HANDLER, cause.handler.to_owned()),
        (header::ERROR_KIND, cause.error.kind.as_str().to_owned()),
        (header::ERROR, truncated(&cause.error.message).to_owned()),
        (header::ATTEMPTS, cause.attempts.to_string()),
        (header::FIRST_FAILURE, format!("{:.6}", cause.first_failure)),
        (header::LAST_FAILURE, format!("{:.6}", cause.last_failure)),
    ];
    Outgoing {
        topic: format!("{}{SUFFIX}", record.topic()),
        key: record.key().map(<[u8]>::to_vec),
        value: record.value().map(<[u8]>::to_vec),
        headers: original
            .chain(added.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))))
            .collect(),
    }
}

fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR_BYTES)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{BatchPool, RawRecord};
    use delivery::assignment::Assignment;

    #[test]
    fn it_keeps_every_byte_and_says_where_from_and_why() {
        let assignment = Arc::new(Assignment::new("user.events".into(), 3, 0, 1));
        let mut batch = BatchPool::default().batch();
        let raw = RawRecord { offset: 42, timestamp_ms: 99, key: Some(b"\xff"), value: None };
        batch.push(&assignment, raw, [(&b"h"[..], Some(&b"\xfe"[..])), (b"n", None)].into_iter());
        let error = HandlerError::permanent("é".repeat(MAX_ERROR_BYTES));
        let at: Timestamp = "2026-01-02T03:04:05.000006Z".parse().unwrap();
        let letter = dead_letter(
            &batch.record(0),
            &Cause { group: "g", handler: "H", error: &error, attempts: 2, first_failure: at, last_failure: at },
        );

        assert_eq!((letter.topic.as_str(), letter.key, letter.value), ("user.events.dlq", Some(vec![0xff]), None));
        assert_eq!(letter.headers[..2], [("h".into(), Some(vec![0xfe])), ("n".into(), None)]);
        let added: Vec<(&str, String)> = letter.headers[2..]
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8(value.clone().unwrap()).unwrap()))
            .collect();
        let (error, rest): (Vec<_>, Vec<_>) = added.into_iter().partition(|(name, _)| *name == header::ERROR);
        assert!(error[0].1.len() <= MAX_ERROR_BYTES && error[0].1.starts_with("éé"));
        let time = "2026-01-02T03:04:05.000006Z";
        let expected = [
            ("dlq-origin-topic", "user.events"),
            ("dlq-origin-partition", "3"),
            ("dlq-origin-offset", "42"),
            ("dlq-origin-timestamp", "99"),
            ("dlq-group", "g"),
            ("dlq-handler", "H"),
            ("dlq-error-kind", "permanent"),
            ("dlq-attempts", "2"),
            ("dlq-first-failure", time),
            ("dlq-last-failure", time),
        ];
        assert_eq!(rest, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
