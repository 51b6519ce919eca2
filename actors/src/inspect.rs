//! Inspection: the last routed messages, kept in a ring whose slots are used again, to be asked for and to be followed live.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::journal::Message;
use crate::outcome::Outcome;

/// Routed messages kept: minutes of a busy demo, at most some megabytes.
pub const KEPT_MESSAGES: usize = 10_000;
/// Messages a slow follower of the live stream may lag behind before it is told that it missed some.
const STREAM_LAG_MESSAGES: usize = 1_024;
/// Longest key or error text kept.
const MAX_TEXT_BYTES: usize = 256;

/// A routed message as it is shown: coordinates, identity, handler and how the attempt ended; never the payload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutedMessage {
    /// When the attempt ended.
    pub at: Timestamp,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Key as text (bytes that are none are replaced), cut at 256 bytes.
    pub key: Option<String>,
    /// The event's id.
    pub id: String,
    /// Its correlation id.
    pub correlation_id: String,
    /// Handler.
    pub handler: String,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// From the attempt's start to its end, microseconds.
    pub duration_us: u64,
    /// Why it failed, cut at 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RoutedMessage {
    fn of(at: Timestamp, message: &Message<'_>) -> Self {
        let mut made = Self {
            at,
            topic: String::new(),
            partition: 0,
            offset: 0,
            key: None,
            id: String::new(),
            correlation_id: String::new(),
            handler: String::new(),
            outcome: message.outcome,
            attempt: 0,
            duration_us: 0,
            error: None,
        };
        made.set(at, message);
        made
    }

    /// Overwrites a slot of the ring; its strings keep their memory, so a ring that is full allocates nothing.
    fn set(&mut self, at: Timestamp, message: &Message<'_>) {
        self.at = at;
        replace(&mut self.topic, message.topic);
        self.partition = message.partition;
        self.offset = message.offset;
        match message.key {
            None => self.key = None,
            Some(key) => {
                let key = String::from_utf8_lossy(&key[..key.len().min(MAX_TEXT_BYTES)]);
                replace(self.key.get_or_insert_default(), &key);
            }
        }
        replace(&mut self.id, message.id);
        replace(&mut self.correlation_id, message.correlation_id);
        replace(&mut self.handler, message.handler);
        self.outcome = message.outcome;
        self.attempt = message.attempt;
        self.duration_us = u64::try_from(message.duration.as_micros()).unwrap_or(u64::MAX);
        self.error = message.error.map(|error| error[..error.floor_char_boundary(MAX_TEXT_BYTES)].to_owned());
    }
}

fn replace(slot: &mut String, text: &str) {
    slot.clear();
    slot.push_str(text);
}

/// Which messages are asked for; what is left out matches all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The event's id.
    pub id: Option<String>,
    /// Topic.
    pub topic: Option<String>,
    /// Key.
    pub key: Option<String>,
    /// How the attempt ended.
    pub outcome: Option<Outcome>,
    /// At most so many, newest first; 100 where it is left out.
    pub limit: Option<usize>,
}

impl Query {
    /// Whether the message is asked for.
    #[must_use]
    pub fn matches(&self, message: &RoutedMessage) -> bool {
        fn same(asked: Option<&String>, is: Option<&str>) -> bool {
            asked.is_none_or(|asked| Some(asked.as_str()) == is)
        }
        same(self.id.as_ref(), Some(&message.id))
            && same(self.topic.as_ref(), Some(&message.topic))
            && same(self.key.as_ref(), message.key.as_deref())
            && self.outcome.is_none_or(|asked| asked == message.outcome)
    }
}

/// Keeps the last routed messages of a service and passes them on to whoever follows.
#[derive(Debug)]
pub struct Inspector {
    // One lock: handler actors write for nanoseconds, and a reader copies what it was asked for.
    ring: Mutex<VecDeque<RoutedMessage>>,
    live: broadcast::Sender<RoutedMessage>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self { ring: Mutex::default(), live: broadcast::Sender::new(STREAM_LAG_MESSAGES) }
    }
}

impl Inspector {
    /// Keeps a message; the oldest one goes when the ring is full.
    pub fn keep(&self, at: Timestamp, message: &Message<'_>) {
        {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = if ring.len() < KEPT_MESSAGES { None } else { ring.pop_front() };
            let slot = match oldest {
                None => RoutedMessage::of(at, message),
                Some(mut slot) => {
                    slot.set(at, message);
                    slot
                }
            };
            ring.push_back(slot);
        }
        if self.live.receiver_count() > 0 {
            // An error means that the last follower left just now.
            let _ = self.live.send(RoutedMessage::of(at, message));
        }
    }

    /// The messages that match, newest first.
    #[must_use]
    pub fn find(&self, query: &Query) -> Vec<RoutedMessage> {
        let limit = query.limit.unwrap_or(100).min(KEPT_MESSAGES);
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().rev().filter(|message| query.matches(message)).take(limit).cloned().collect()
    }

    /// Messages from now on.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<RoutedMessage> {
        self.live.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message<'a>(offset: i64, id: &'a str, key: &'a [u8], outcome: Outcome) -> Message<'a> {
        Message {
            topic: "t",
            partition: 0,
            offset,
            key: Some(key),
            value: None,
            id,
            correlation_id: "c",
            handler: "H",
            outcome,
            attempt: 1,
            duration: Duration::from_micros(5),
            error: None,
        }
    }

    #[test]
    fn it_keeps_the_last_ones_and_finds_them_newest_first() {
        let inspector = Inspector::default();
        for offset in 0..=KEPT_MESSAGES {
            let id = offset.to_string();
            let outcome = if offset % 2 == 0 { Outcome::Handled } else { Outcome::Retry };
            inspector.keep(Timestamp::UNIX_EPOCH, &message(i64::try_from(offset).unwrap(), &id, b"k", outcome));
        }
        let all = inspector.find(&Query { limit: Some(usize::MAX), ..Query::default() });
        assert_eq!((all.len(), all[0].offset, all[all.len() - 1].offset), (KEPT_MESSAGES, 10_000, 1));
        let some = inspector.find(&Query { outcome: Some(Outcome::Retry), limit: Some(2), ..Query::default() });
        assert_eq!(some.iter().map(|found| found.offset).collect::<Vec<_>>(), [9_999, 9_997]);
        let one = inspector.find(&Query { id: Some("77".into()), key: Some("k".into()), ..Query::default() });
        assert_eq!((one.len(), one[0].offset), (1, 77));
        assert!(inspector.find(&Query { key: Some("x".into()), ..Query::default() }).is_empty());
    }

    #[test]
    fn a_follower_gets_what_comes_after_it_began() {
        let inspector = Inspector::default();
        inspector.keep(Timestamp::UNIX_EPOCH, &message(1, "1", b"k", Outcome::Handled));
        let mut live = inspector.follow();
        inspector.keep(Timestamp::UNIX_EPOCH, &message(2, "2", b"k", Outcome::Handled));
        assert_eq!(live.try_recv().unwrap().offset, 2);
        assert!(live.try_recv().is_err());
    }
}
