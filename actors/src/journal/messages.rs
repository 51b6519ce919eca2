//! What happens to messages: published, routed, tried again, dead-lettered.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tracing::{Level, debug, error, info, warn};

use super::Entry;
use crate::event::{correlation_id_of, id_of};
use crate::record::Record;
use delivery::outcome::Outcome;

/// A request or a handler published an event and the broker acknowledged it.
pub struct Published<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition the broker wrote it to.
    pub partition: i32,
    /// Offset the broker gave it.
    pub offset: i64,
    /// The event's id.
    pub id: &'a str,
    /// Its correlation id.
    pub correlation_id: &'a str,
}

impl Entry for Published<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { topic, partition, offset, id, correlation_id } = self;
        info!(%service, topic, partition, offset, id, correlation_id, "published");
        counter!("events_published_total", "service" => service.clone(), "topic" => (*topic).to_owned()).increment(1);
    }
}

/// An event could not be published, or no one knows whether it was.
pub struct PublishFailed<'a> {
    /// Topic.
    pub topic: &'a str,
    /// What happened to it.
    pub error: &'a dyn fmt::Display,
}

impl Entry for PublishFailed<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, topic = self.topic, error = %self.error, "publish failed");
        counter!("events_publish_failed_total", "service" => service.clone(), "topic" => self.topic.to_owned())
            .increment(1);
    }
}

/// One attempt at a routed message ended. Metrics for it are counted by the batch: see [`Routed`].
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The record: coordinates, key, identity; its value at debug only.
    pub record: Record<'a>,
    /// Handler it was routed to.
    pub handler: &'static str,
    /// How the attempt ended.
    pub outcome: Outcome,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// From the attempt's start to its end.
    pub duration: Duration,
    /// Why it failed, where it did.
    pub error: Option<&'a str>,
}

impl Message<'_> {
    /// Whether anybody reads the lines; asked first, so that nothing is formatted for no one.
    #[must_use]
    pub fn is_read() -> bool {
        tracing::enabled!(Level::INFO)
    }
}

/// Longest part of a payload that a line shows.
const MAX_PAYLOAD_BYTES: usize = 4096;

/// A key or value as text where it is text.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(self.0).escape_debug())
    }
}

impl Entry for Message<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { record, handler, attempt, .. } = self;
        let (topic, partition, offset) = (&**record.topic(), record.partition(), record.offset());
        let (id, correlation_id) = (&*id_of(record), &*correlation_id_of(record));
        let key = record.key().map(|key| tracing::field::display(Text(key)));
        let outcome = self.outcome.as_str();
        let duration_us = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        match self.error {
            None => info!(
                %service, topic, partition, offset, key, id, correlation_id, handler, outcome, attempt, duration_us,
                "routed"
            ),
            Some(error) => warn!(
                %service, topic, partition, offset, key, id, correlation_id, handler, outcome, attempt, duration_us,
                error, "routed"
            ),
        }
        if tracing::enabled!(Level::DEBUG) {
            let bytes = record.value().map(<[u8]>::len);
            let value = record.value().map(|value| &value[..value.len().min(MAX_PAYLOAD_BYTES)]);
            let value = value.map(|value| tracing::field::display(Text(value)));
            debug!(%service, topic, partition, offset, bytes, value, "payload");
        }
    }
}

/// So many attempts of one handler ended in this way.
pub struct Routed<'a> {
    /// Handler.
    pub handler: &'a str,
    /// How they ended.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

impl Entry for Routed<'_> {
    fn write(&self, service: &Arc<str>) {
        counter!(
            "messages_routed_total",
            "service" => service.clone(), "handler" => self.handler.to_owned(), "outcome" => self.outcome.as_str()
        )
        .increment(self.count);
    }
}

/// A dead letter could not be written; its record stays owned and its lane waits.
pub struct DeadLetterDelayed<'a> {
    /// Handler.
    pub handler: &'a str,
    /// Dead-letter topic.
    pub topic: &'a str,
    /// Why.
    pub error: &'a dyn fmt::Display,
    /// Attempts to write it so far.
    pub attempt: u32,
    /// Until the next one.
    pub pause: Duration,
}

impl Entry for DeadLetterDelayed<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { handler, topic, error, attempt, pause } = self;
        error!(%service, handler, topic, %error, attempt, ?pause, "dead letter not written, its lane waits");
        counter!("dead_letters_delayed_total", "service" => service.clone(), "topic" => (*topic).to_owned())
            .increment(1);
    }
}
