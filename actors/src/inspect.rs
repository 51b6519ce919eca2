//! Inspection: the last routed messages, kept in a ring, to be asked for and to be followed live.
//!
//! The ring is made of segments, each a vector of fixed-size entries and one of text, written from front to back:
//! keeping a message costs no allocation and touches little memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::event::{given_correlation_id_of, given_id_of};
use crate::journal::Message;
use delivery::outcome::Outcome;

/// Routed messages kept: minutes of a busy demo, at most some megabytes.
pub const KEPT_MESSAGES: usize = 10_000;
/// Messages a slow follower of the live stream may lag behind before it is told that it missed some.
const STREAM_LAG_MESSAGES: usize = 1_024;
/// Messages per segment; the oldest segment goes as a whole, so up to so many more than [`KEPT_MESSAGES`] are held.
const SEGMENT_MESSAGES: usize = 500;
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
    pub duration_us: u32,
    /// Why it failed, cut at 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
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

/// Keeps the last routed messages of a service and passes them on to those that follow.
#[derive(Debug)]
pub struct Inspector {
    // One lock: handler actors write for nanoseconds, and a reader copies what it was asked for.
    ring: Mutex<Ring>,
    live: broadcast::Sender<RoutedMessage>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Is written to.
    current: Segment,
    full: VecDeque<Segment>,
    /// Whether somebody may follow: asking the stream itself takes its lock.
    followed: bool,
}

#[derive(Debug, Default)]
struct Segment {
    entries: Vec<Kept>,
    text: Vec<u8>,
    /// Topics and handlers that the entries name; as few as a service has routes.
    routes: Vec<(Arc<str>, &'static str)>,
}

/// One message in a segment. Its text is key, id, correlation id and error, one after the other.
#[derive(Debug)]
struct Kept {
    at_us: i64,
    offset: i64,
    /// Up to 71 minutes; no handler's deadline is as long.
    duration_us: u32,
    text: u32,
    partition: i32,
    attempt: u32,
    route: u16,
    key: u16,
    /// [`ABSENT`] where the record has none: then it follows from the coordinates.
    id: u16,
    /// [`ABSENT`] where the record has none: then it is the id.
    correlation_id: u16,
    error: u16,
    outcome: Outcome,
}

/// Length of a text that is not there.
const ABSENT: u16 = u16::MAX;

impl Segment {
    fn push(&mut self, at_us: i64, message: &Message<'_>) {
        let text = u32::try_from(self.text.len()).expect("a segment's text is at most some hundred kilobytes");
        let record = &message.record;
        let (assignment, named) = (record.assignment(), record.has_headers());
        // Not `as_micros`, which has 128 bits.
        let duration_us =
            message.duration.as_secs().saturating_mul(1_000_000) + u64::from(message.duration.subsec_micros());
        let entry = Kept {
            at_us,
            offset: record.offset(),
            duration_us: u32::try_from(duration_us).unwrap_or(u32::MAX),
            text,
            partition: assignment.partition,
            attempt: message.attempt,
            route: self.route(&assignment.topic, message.handler),
            key: self.write(record.key()),
            id: self.write(named.then(|| given_id_of(record)).flatten().map(str::as_bytes)),
            correlation_id: self.write(named.then(|| given_correlation_id_of(record)).flatten().map(str::as_bytes)),
            error: self.write(message.error.map(str::as_bytes)),
            outcome: message.outcome,
        };
        self.entries.push(entry);
    }

    fn route(&mut self, topic: &Arc<str>, handler: &'static str) -> u16 {
        // Of a name that lies in two places there are two entries, and both are right.
        let same = |route: &(Arc<str>, &'static str)| Arc::ptr_eq(&route.0, topic) && std::ptr::eq(route.1, handler);
        let known = self.routes.iter().rposition(same);
        let index = known.unwrap_or_else(|| {
            self.routes.push((Arc::clone(topic), handler));
            self.routes.len() - 1
        });
        u16::try_from(index).expect("a segment has fewer messages, and so fewer routes, than 2^16")
    }

    /// Appends text, cut at its longest, and gives its length.
    fn write(&mut self, text: Option<&[u8]>) -> u16 {
        let Some(text) = text else { return ABSENT };
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];
        self.text.extend_from_slice(text);
        u16::try_from(text.len()).expect("text is cut far below 64 KiB")
    }

    /// Newest first.
    fn messages(&self) -> impl Iterator<Item = RoutedMessage> {
        self.entries.iter().rev().map(|kept| self.message(kept))
    }

    fn message(&self, kept: &Kept) -> RoutedMessage {
        let mut rest = &self.text[kept.text as usize..];
        let mut read = |length: u16| {
            (length != ABSENT).then(|| {
                let (text, after) = rest.split_at(usize::from(length));
                rest = after;
                String::from_utf8_lossy(text).into_owned()
            })
        };
        let key = read(kept.key);
        let (id, correlation_id, error) = (read(kept.id), read(kept.correlation_id), read(kept.error));
        let Kept { partition, offset, outcome, attempt, .. } = *kept;
        let (topic, handler) = &self.routes[usize::from(kept.route)];
        let id = id.unwrap_or_else(|| format!("{topic}/{partition}/{offset}"));
        RoutedMessage {
            at: Timestamp::from_microsecond(kept.at_us).unwrap_or_default(),
            topic: topic.to_string(),
            partition,
            offset,
            key,
            correlation_id: correlation_id.unwrap_or_else(|| id.clone()),
            id,
            handler: (*handler).to_owned(),
            outcome,
            attempt,
            duration_us: kept.duration_us,
            error,
        }
    }
}

impl Default for Inspector {
    fn default() -> Self {
        Self { ring: Mutex::default(), live: broadcast::Sender::new(STREAM_LAG_MESSAGES) }
    }
}

impl Inspector {
    /// Keeps a message of an attempt that ended so many microseconds after the epoch; the oldest ones go when the ring is full.
    pub fn keep(&self, at_us: i64, message: &Message<'_>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let Ring { current, full, followed } = &mut *ring;
        if current.entries.len() >= SEGMENT_MESSAGES {
            // The oldest segment's memory becomes the newest's.
            let none_goes = full.len() < KEPT_MESSAGES / SEGMENT_MESSAGES;
            let mut next = if none_goes { Segment::default() } else { full.pop_front().unwrap_or_default() };
            next.entries.clear();
            next.text.clear();
            next.routes.clear();
            full.push_back(std::mem::replace(current, next));
        }
        current.push(at_us, message);
        if *followed {
            *followed = self.live.receiver_count() > 0;
            let shown = current.messages().next();
            drop(ring);
            if let Some(shown) = shown {
                // An error means that no one follows any more.
                let _ = self.live.send(shown);
            }
        }
    }

    /// The messages that match, newest first.
    #[must_use]
    pub fn find(&self, query: &Query) -> Vec<RoutedMessage> {
        let limit = query.limit.unwrap_or(100);
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let segments = std::iter::once(&ring.current).chain(ring.full.iter().rev());
        let all = segments.flat_map(Segment::messages).take(KEPT_MESSAGES);
        all.filter(|message| query.matches(message)).take(limit).collect()
    }

    /// Messages from now on.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<RoutedMessage> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.followed = true;
        self.live.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::header;
    use crate::record::{BatchPool, RawRecord, RecordBatch};
    use delivery::assignment::Assignment;

    fn batch(offset: i64, id: Option<&str>) -> RecordBatch {
        let assignment = Arc::new(Assignment::new("t".into(), 3, 0, 1));
        let mut batch = BatchPool::default().batch();
        let headers = id.map(|id| (header::ID.as_bytes(), Some(id.as_bytes()))).into_iter();
        batch.push(&assignment, RawRecord { offset, timestamp_ms: 0, key: Some(b"k"), value: None }, headers);
        batch
    }

    fn keep(inspector: &Inspector, offset: i64, id: Option<&str>, outcome: Outcome, error: Option<&str>) {
        let batch = batch(offset, id);
        let (record, duration) = (batch.record(0), Duration::from_micros(5));
        let message = Message { record, handler: "H", outcome, attempt: 1, duration, error };
        inspector.keep(0, &message);
    }

    #[test]
    fn it_keeps_the_last_ones_and_finds_them_newest_first() {
        let inspector = Inspector::default();
        let last = i64::try_from(3 * KEPT_MESSAGES).unwrap();
        for offset in 0..=last {
            let outcome = if offset % 2 == 0 { Outcome::Handled } else { Outcome::Retry };
            keep(&inspector, offset, Some(&offset.to_string()), outcome, None);
        }
        let all = inspector.find(&Query { limit: Some(usize::MAX), ..Query::default() });
        assert_eq!((all.len(), all[0].offset, all[all.len() - 1].offset), (KEPT_MESSAGES, last, last - 9_999));
        let some = inspector.find(&Query { outcome: Some(Outcome::Retry), limit: Some(2), ..Query::default() });
        assert_eq!(some.iter().map(|found| found.offset).collect::<Vec<_>>(), [last - 1, last - 3]);
        let query = Query { id: Some((last - 77).to_string()), key: Some("k".into()), ..Query::default() };
        let one = inspector.find(&query);
        assert_eq!((one.len(), one[0].offset), (1, last - 77));
        assert!(inspector.find(&Query { key: Some("x".into()), ..Query::default() }).is_empty());
    }

    #[test]
    fn a_record_without_identity_is_named_by_its_coordinates_and_an_error_is_kept_in_part() {
        let inspector = Inspector::default();
        keep(&inspector, 7, None, Outcome::DeadLettered, Some(&"e".repeat(1000)));
        let found = inspector.find(&Query { id: Some("t/3/7".into()), ..Query::default() });
        assert_eq!((found[0].correlation_id.as_str(), found[0].key.as_deref()), ("t/3/7", Some("k")));
        assert_eq!(found[0].error.as_ref().unwrap().len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn a_follower_gets_what_comes_after_it_began() {
        let inspector = Inspector::default();
        keep(&inspector, 1, None, Outcome::Handled, None);
        let mut live = inspector.follow();
        keep(&inspector, 2, None, Outcome::Handled, None);
        assert_eq!(live.try_recv().unwrap().offset, 2);
        assert!(live.try_recv().is_err());
    }
}
