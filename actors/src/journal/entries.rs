//! The entries: what can be observed of a service, in the order in which a record meets it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use tracing::{Level, debug, error, info, warn};

use super::Entry;
use crate::event::{correlation_id_of, id_of};
use crate::outcome::Outcome;
use crate::record::Record;

/// The service listens.
pub struct Started<'a> {
    /// Address of the API.
    pub api: std::net::SocketAddr,
    /// Address of the management listener.
    pub management: std::net::SocketAddr,
    /// Brokers it was told to use.
    pub brokers: &'a str,
}

impl Entry for Started<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, api = %self.api, management = %self.management, brokers = self.brokers, "started");
    }
}

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

/// An event could not be published, or nobody knows whether it was.
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
    /// Whether anybody reads the lines; asked first, so that nothing is formatted for nobody.
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

/// A handler panicked; it was caught and the handler got fresh state.
pub struct HandlerPanicked<'a> {
    /// Handler.
    pub handler: &'a str,
    /// The panic's message.
    pub message: &'a str,
}

impl Entry for HandlerPanicked<'_> {
    fn write(&self, service: &Arc<str>) {
        error!(%service, handler = self.handler, panic = self.message, "handler panicked, restarted with fresh state");
        counter!("handler_restarts_total", "service" => service.clone(), "handler" => self.handler.to_owned())
            .increment(1);
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

/// Partitions were assigned, revoked or lost.
pub struct Rebalanced<'a> {
    /// What happened to them.
    pub change: Change,
    /// Which, as `topic/first-last,other`, separated by spaces.
    pub partitions: &'a str,
    /// How many this member owns now.
    pub owned: usize,
}

/// What happened to partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They came to this member.
    Assigned,
    /// They leave this member, after their records were drained and committed.
    Revoked,
    /// They were taken without asking: nothing could be committed.
    Lost,
}

impl Entry for Rebalanced<'_> {
    #[allow(clippy::cast_precision_loss)] // a gauge is an f64; partitions are few
    fn write(&self, service: &Arc<str>) {
        let Self { partitions, owned, .. } = self;
        let change = match self.change {
            Change::Assigned => "assigned",
            Change::Revoked => "revoked",
            Change::Lost => "lost",
        };
        if self.change == Change::Lost {
            warn!(%service, partitions, owned, "partitions lost");
        } else {
            info!(%service, change, partitions, owned, "rebalanced");
        }
        counter!("rebalances_total", "service" => service.clone(), "change" => change).increment(1);
        gauge!("partitions_owned", "service" => service.clone()).set(*owned as f64);
    }
}

/// Offsets were committed.
pub struct Committed {
    /// Partitions in the commit.
    pub partitions: usize,
}

impl Entry for Committed {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, partitions = self.partitions, "committed");
        counter!("commits_total", "service" => service.clone()).increment(1);
    }
}

/// A commit was refused or not answered; it is repeated from a newer snapshot.
pub struct CommitFailed<'a> {
    /// The partition, or all.
    pub partition: &'a str,
    /// Why.
    pub error: &'a dyn fmt::Display,
}

impl Entry for CommitFailed<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, partition = self.partition, error = %self.error, "commit failed");
        counter!("commits_failed_total", "service" => service.clone()).increment(1);
    }
}

/// The consumer met an error it could not go on from; it leaves the group and joins again.
pub struct ConsumerRestarted<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
    /// Restarts without an assignment in between.
    pub attempt: u32,
}

impl Entry for ConsumerRestarted<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, error = %self.error, attempt = self.attempt, "consumer restarts");
        counter!("consumer_restarts_total", "service" => service.clone()).increment(1);
    }
}

/// What was settled above a committed offset could not be read; it is handled again.
pub struct ProgressUnread<'a> {
    /// The partition, or all.
    pub partition: &'a str,
    /// Why.
    pub error: &'a dyn fmt::Display,
}

impl Entry for ProgressUnread<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, partition = self.partition, error = %self.error, "progress above the commit not read");
        counter!("progress_unread_total", "service" => service.clone()).increment(1);
    }
}

/// A partition's log went back behind what was polled: its topic was made anew, or its end was cut. It begins anew.
pub struct LogWentBack {
    /// How many times.
    pub count: u64,
}

impl Entry for LogWentBack {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, count = self.count, "a log went back: its records are handled from there on");
        counter!("logs_went_back_total", "service" => service.clone()).increment(self.count);
    }
}

/// Records came again that were settled in an earlier assignment; they were left out.
pub struct RecordsSkipped {
    /// How many.
    pub count: u64,
}

impl Entry for RecordsSkipped {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, count = self.count, "records settled before left out");
        counter!("records_skipped_total", "service" => service.clone()).increment(self.count);
    }
}

/// An answer came for an assignment that is no more, or for a record that was never polled; it was dropped.
pub struct StaleAnswers {
    /// How many.
    pub count: u64,
}

impl Entry for StaleAnswers {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, count = self.count, "stale answers dropped");
        counter!("answers_stale_total", "service" => service.clone()).increment(self.count);
    }
}

/// Records of a leaving partition were given up before they were started; their next owner gets them.
pub struct GivenUp {
    /// How many.
    pub count: u64,
}

impl Entry for GivenUp {
    fn write(&self, service: &Arc<str>) {
        debug!(%service, count = self.count, "records of leaving partitions given up unstarted");
        counter!("records_given_up_total", "service" => service.clone()).increment(self.count);
    }
}

/// A leaving partition's started records were not settled in time; their next owner repeats them.
pub struct DrainTimedOut {
    /// Records still being worked on.
    pub unsettled: usize,
}

impl Entry for DrainTimedOut {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, unsettled = self.unsettled, "drain deadline passed: these records will be repeated");
        counter!("drains_timed_out_total", "service" => service.clone()).increment(1);
    }
}

/// Whether a Kafka client reaches a broker changed.
pub struct BrokerReach {
    /// `consumer` or `producer`.
    pub client: &'static str,
    /// Whether a broker is reached now.
    pub reachable: bool,
}

impl Entry for BrokerReach {
    fn write(&self, service: &Arc<str>) {
        let client = self.client;
        if self.reachable {
            info!(%service, client, "broker reached");
        } else {
            warn!(%service, client, "no broker reachable");
        }
        gauge!("broker_reachable", "service" => service.clone(), "client" => client).set(if self.reachable {
            1.0
        } else {
            0.0
        });
    }
}

/// A Kafka client reported an error of its own.
pub struct ClientError<'a> {
    /// `consumer` or `producer`.
    pub client: &'static str,
    /// The error.
    pub error: &'a dyn fmt::Display,
    /// What librdkafka adds.
    pub reason: &'a str,
}

impl Entry for ClientError<'_> {
    fn write(&self, service: &Arc<str>) {
        // Debug: a broker that is down makes many of these, and `BrokerReach` says it once.
        debug!(%service, client = self.client, error = %self.error, reason = self.reason, "kafka client error");
        counter!("kafka_client_errors_total", "service" => service.clone(), "client" => self.client).increment(1);
    }
}

/// A line of librdkafka's own log.
pub struct ClientLog<'a> {
    /// `consumer` or `producer`.
    pub client: &'static str,
    /// Whether librdkafka calls it a warning or worse.
    pub severe: bool,
    /// Facility and text.
    pub text: &'a str,
}

impl Entry for ClientLog<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { client, text, .. } = self;
        // A broker that is down fills librdkafka's log at its warning level; `BrokerReach` says that once at ours.
        if self.severe {
            info!(target: "librdkafka", %service, client, "{text}");
        } else {
            debug!(target: "librdkafka", %service, client, "{text}");
        }
    }
}

/// The topics could not be checked or created; it is tried again.
pub struct TopicsDelayed<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
    /// Until the next attempt.
    pub pause: Duration,
}

impl Entry for TopicsDelayed<'_> {
    fn write(&self, service: &Arc<str>) {
        warn!(%service, error = %self.error, pause = ?self.pause, "topics not ready, trying again");
    }
}

/// Topics were created.
pub struct TopicsCreated<'a> {
    /// Their names, separated by spaces.
    pub topics: &'a str,
}

impl Entry for TopicsCreated<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, topics = self.topics, "topics created");
    }
}

/// A step of the shutdown began or ended.
pub struct Stopping<'a> {
    /// The step.
    pub step: &'a str,
}

impl Entry for Stopping<'_> {
    fn write(&self, service: &Arc<str>) {
        info!(%service, step = self.step, "stopping");
    }
}

/// The service failed.
pub struct Failed<'a> {
    /// Why.
    pub error: &'a dyn fmt::Display,
}

impl Entry for Failed<'_> {
    fn write(&self, service: &Arc<str>) {
        error!(%service, error = %self.error, "failed");
    }
}
