//! Where records go out: one producer, idempotent, acknowledged by all replicas; each record's fate comes back once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::config::KafkaConfig;
use super::context::write_log;
use super::ffi;
use super::statistics::{MEASUREMENT_VALID, Statistics};
use crate::escalation::Escalation;
use crate::event::Outgoing;
use crate::journal::{BrokerReach, ClientError, Journal};

/// Where the broker wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nothing was sent: no broker is reached, or the queue is full, or it timed out before it was sent.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// It was or may have been sent, and nobody knows whether it was written.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The client or the broker refused it, and would again.
    #[error("refused: {0}")]
    Refused(String),
}

impl PublishError {
    /// Whether another attempt can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// Gets the fate of one record.
pub type Reply = oneshot::Sender<Result<Delivery, PublishError>>;

/// The producer's client with its delivery thread; a clone is the same client. It outlives the actors that use it.
#[derive(Clone)]
pub struct Sink {
    producer: Arc<ThreadedProducer<SinkContext>>,
    escalation: Escalation,
}

impl Sink {
    /// Makes the client; it connects on its own. A fatal error of it is raised: it never sends again.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn open(config: &KafkaConfig, journal: &Journal, escalation: &Escalation) -> Result<Self, KafkaError> {
        let client = config.producer();
        KafkaConfig::check(&client)?;
        let context = SinkContext { journal: journal.clone(), reach: Reach::default() };
        Ok(Self { producer: Arc::new(client.create_with_context(context)?), escalation: escalation.clone() })
    }

    /// Sends a record. Its fate goes to `reply`, exactly once; a dropped receiver changes nothing for the record.
    ///
    /// Never waits: when the client's queue is full the answer is [`PublishError::NotSent`] at once.
    pub fn send(&self, record: &Outgoing, reply: Reply) {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut out: BaseRecord<'_, [u8], [u8], Box<Reply>> =
            BaseRecord::with_opaque_to(&record.topic, Box::new(reply)).headers(headers);
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        if let Err((error, refused)) = self.producer.send(out) {
            if let Some((code, reason)) = self.producer.client().fatal_error() {
                self.escalation.raise(&format!("the producer met a fatal error: {code}: {reason}"));
            }
            let fate = match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => {
                    PublishError::NotSent("the queue of records waiting for the broker is full".to_owned())
                }
                code => unsent(code, error.to_string()),
            };
            // A caller that went away does not want the answer.
            let _ = refused.delivery_opaque.send(Err(fate));
        }
    }

    /// Whether a broker was reached within the last seconds, as measured; false where nothing was measured.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.producer.context().reach.is_reachable()
    }

    /// Records that wait for their acknowledgement.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Waits until all is acknowledged or failed; blocks up to `deadline`, so call it where a thread may block.
    ///
    /// # Errors
    /// When records are still on their way at the deadline.
    pub fn flush(&self, deadline: Duration) -> Result<(), KafkaError> {
        self.producer.flush(deadline)
    }
}

/// Errors that came before anything was sent: refused for good, or worth another attempt.
fn unsent(code: Option<RDKafkaErrorCode>, reason: String) -> PublishError {
    match code {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::InvalidArgument,
        ) => PublishError::Refused(reason),
        _ => PublishError::NotSent(reason),
    }
}

#[derive(Default)]
struct Reach {
    reachable: AtomicBool,
    // Written twice a second by the delivery thread and read by status requests.
    measured: Mutex<Option<Instant>>,
}

impl Reach {
    fn is_reachable(&self) -> bool {
        let measured = *self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        self.reachable.load(Ordering::Relaxed) && measured.is_some_and(|at| at.elapsed() < MEASUREMENT_VALID)
    }
}

struct SinkContext {
    journal: Journal,
    reach: Reach,
}

impl SinkContext {
    fn measured(&self, reachable: bool) {
        let first = self.reach.measured.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
        let before = self.reach.reachable.swap(reachable, Ordering::Relaxed);
        if first.is_none() || before != reachable {
            self.journal.write(BrokerReach { client: "producer", reachable });
        }
    }
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        write_log(&self.journal, "producer", level, facility, text);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = Statistics::parse(json) {
            self.measured(statistics.reachable());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.journal.write(ClientError { client: "producer", error: &error, reason });
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Known now, before the statistics say it.
            self.measured(false);
        }
    }
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = Box<Reply>;

    fn delivery(&self, result: &DeliveryResult<'_>, reply: Self::DeliveryOpaque) {
        let fate = match result {
            Ok(message) if message.offset() >= 0 => {
                Ok(Delivery { partition: message.partition(), offset: message.offset() })
            }
            // A retried batch that the broker had already: written, but it does not say where.
            Ok(_) => Err(PublishError::Unknown("written, but the broker did not say where".to_owned())),
            Err((error, message)) if ffi::possibly_persisted(message) => Err(PublishError::Unknown(error.to_string())),
            Err((error, _)) => Err(unsent(error.rdkafka_error_code(), error.to_string())),
        };
        // A caller that went away does not want the answer.
        let _ = reply.send(fate);
    }
}
