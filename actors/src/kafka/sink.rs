//! Where records go out: one producer, idempotent, acknowledged by all replicas; each record's fate comes back once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use tokio::sync::oneshot;

use super::config::KafkaConfig;
use super::context::write_log;
use super::ffi;
use super::reach::Reach;
use super::statistics::Statistics;
use crate::event::Outgoing;
use crate::journal::{ClientError, Journal};

/// Where the broker wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// What kept a record from being acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishCause {
    /// The client or the broker says so.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The service's own producer says so.
    #[error("{0}")]
    Producer(&'static str),
}

/// Why a record was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nothing was sent: no broker is reached, or the queue is full, or it timed out before it was sent.
    #[error("nothing was sent: {0}")]
    NotSent(#[source] PublishCause),
    /// It was or may have been sent, and no one knows whether it was written.
    #[error("the outcome is unknown: {0}")]
    Unknown(#[source] PublishCause),
    /// The client or the broker refused it, and would again.
    #[error("refused: {0}")]
    Refused(#[source] PublishCause),
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

/// What the keeper of a client is told of it.
#[derive(Debug)]
pub enum SinkEvent {
    /// It met a fatal error: it never sends again.
    Fatal {
        /// Number of the client.
        client: u32,
        /// Which error.
        reason: String,
    },
    /// It ended before it sent this record: nothing of it was written.
    Unsent {
        /// The record.
        record: Outgoing,
        /// Wants its fate.
        reply: Reply,
    },
}

/// How long a client that has met a fatal error waits for the answers to what was sent.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The producer's client with its delivery thread; a clone is the same client. It outlives the actors that use it.
#[derive(Clone)]
pub struct Sink {
    producer: Arc<ThreadedProducer<SinkContext>>,
}

impl Sink {
    /// Makes the client; it connects on its own. After a fatal error it sends nothing more.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub fn open(config: &KafkaConfig, journal: &Journal) -> Result<Self, KafkaError> {
        Self::open_for(config, journal, None)
    }

    /// Makes the client of that number, which tells its keeper what becomes of it.
    ///
    /// # Errors
    /// When librdkafka refuses the configuration.
    pub(crate) fn open_kept(
        config: &KafkaConfig,
        journal: &Journal,
        number: u32,
        events: Sender<SinkEvent>,
    ) -> Result<Self, KafkaError> {
        Self::open_for(config, journal, Some((number, events)))
    }

    fn open_for(
        config: &KafkaConfig,
        journal: &Journal,
        keeper: Option<(u32, Sender<SinkEvent>)>,
    ) -> Result<Self, KafkaError> {
        let client = config.producer();
        KafkaConfig::check(&client)?;
        let acknowledged = AtomicU64::new(0);
        let context =
            SinkContext { journal: journal.clone(), reach: Reach::new("producer", journal), acknowledged, keeper };
        Ok(Self { producer: Arc::new(client.create_with_context(context)?) })
    }

    /// Sends a record. Its fate goes to `reply`, exactly once; a dropped receiver changes nothing for the record.
    ///
    /// Never waits: when the client's queue is full the answer is [`PublishError::NotSent`] at once.
    pub fn send(&self, record: &Outgoing, reply: Reply) {
        if let Some(reply) = self.try_send(record, reply) {
            // A caller that went away does not want the answer.
            let _ = reply.send(Err(PublishError::NotSent(PublishCause::Producer("the producer met a fatal error"))));
        }
    }

    /// The same, but gives the reply back where this client never sends again.
    pub(crate) fn try_send(&self, record: &Outgoing, reply: Reply) -> Option<Reply> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut out: BaseRecord<'_, [u8], [u8], Box<Reply>> =
            BaseRecord::with_opaque_to(&record.topic, Box::new(reply)).headers(headers);
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        let Err((error, refused)) = self.producer.send(out) else { return None };
        if let Some(reason) = self.fatal_error() {
            self.producer.context().fatal(reason);
            return Some(*refused.delivery_opaque);
        }
        let fate = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => {
                PublishError::NotSent(PublishCause::Producer("the queue of records waiting for the broker is full"))
            }
            _ => unsent(error),
        };
        // A caller that went away does not want the answer.
        let _ = refused.delivery_opaque.send(Err(fate));
        None
    }

    /// The fatal error that it met, if it did.
    pub(crate) fn fatal_error(&self) -> Option<String> {
        self.producer.client().fatal_error().map(|(code, reason)| format!("{code}: {reason}"))
    }

    /// Asks a broker for its topics, and blocks until it has answered, up to `patience`; true where it did.
    pub(crate) fn probe(&self, patience: Duration) -> bool {
        let reached = self.producer.client().fetch_metadata(None, patience).is_ok();
        if reached {
            self.producer.context().reach.measured(true);
        }
        reached
    }

    /// Has it answer for every record that it has taken: blocks until the brokers have said what became of those that
    /// were sent, up to a second. The others come to the keeper unsent.
    pub(crate) fn wind_up(&self) {
        self.producer.purge(PurgeConfig::default().queue());
        // Past the deadline no one knows what became of the rest, and that is what is answered.
        let _ = self.producer.flush(LAST_ANSWERS);
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let _ = self.producer.flush(LAST_ANSWERS);
    }

    /// Number of the client.
    pub(crate) fn number(&self) -> u32 {
        self.producer.context().keeper.as_ref().map_or(0, |(number, _)| *number)
    }

    /// Records that brokers have acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.producer.context().acknowledged.load(Ordering::Relaxed)
    }

    /// Has it meet a fatal error.
    #[cfg(feature = "faults")]
    pub(crate) fn fail_for_good(&self) {
        ffi::fail_for_good(self.producer.client());
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
fn unsent(error: KafkaError) -> PublishError {
    match error.rdkafka_error_code() {
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
        ) => PublishError::Refused(error.into()),
        _ => PublishError::NotSent(error.into()),
    }
}

struct SinkContext {
    journal: Journal,
    reach: Reach,
    acknowledged: AtomicU64,
    /// Number of the client, and who keeps it.
    keeper: Option<(u32, Sender<SinkEvent>)>,
}

impl SinkContext {
    fn fatal(&self, reason: String) {
        if let Some((client, events)) = &self.keeper {
            // A keeper that is gone keeps nothing alive any more.
            let _ = events.send(SinkEvent::Fatal { client: *client, reason });
        }
    }

    /// A record that was dropped unsent when its client ended: its keeper sends it by another one.
    fn give_back(&self, record: Outgoing, reply: Reply) {
        let unsent = SinkEvent::Unsent { record, reply };
        let refused = match &self.keeper {
            Some((_, events)) => events.send(unsent).err().map(|refused| refused.0),
            None => Some(unsent),
        };
        if let Some(SinkEvent::Unsent { reply, .. }) = refused {
            // A caller that went away does not want the answer.
            let _ = reply.send(Err(PublishError::NotSent(PublishCause::Producer("the producer stopped"))));
        }
    }
}

/// The record that a delivery report is about.
fn outgoing(message: &BorrowedMessage<'_>) -> Outgoing {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|Header { key, value }| (key.to_owned(), value.map(<[u8]>::to_vec))).collect()
    });
    Outgoing {
        topic: message.topic().to_owned(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Errors of a client that ended, not of the record.
fn is_end(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode::{Fatal, PurgeInflight, PurgeQueue};
    matches!(code, Some(Fatal | PurgeInflight | PurgeQueue))
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        write_log(&self.journal, "producer", level, facility, text);
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = Statistics::parse(json) {
            self.reach.measured(statistics.reachable());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.journal.write(ClientError { client: "producer", error: &error, reason });
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // Known now, before the statistics say it.
            self.reach.measured(false);
        }
    }
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = Box<Reply>;

    fn delivery(&self, result: &DeliveryResult<'_>, reply: Self::DeliveryOpaque) {
        let fate = match result {
            Ok(message) if message.offset() >= 0 => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Ok(Delivery { partition: message.partition(), offset: message.offset() })
            }
            // A retried batch that the broker had already: written, but it does not say where.
            Ok(_) => Err(PublishError::Unknown(PublishCause::Producer("written, but the broker did not say where"))),
            Err((error, message)) if ffi::possibly_persisted(message) => {
                Err(PublishError::Unknown(error.clone().into()))
            }
            Err((error, message)) if is_end(error.rdkafka_error_code()) => {
                return self.give_back(outgoing(message), *reply);
            }
            Err((error, _)) => Err(unsent(error.clone())),
        };
        // A caller that went away does not want the answer.
        let _ = reply.send(fate);
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_of_the_client_stays_the_source_of_what_became_of_the_record() {
        let refused = unsent(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge));
        assert!(matches!(refused, PublishError::Refused(_)) && !refused.is_transient());
        let cause = refused.source().and_then(|cause| cause.downcast_ref::<PublishCause>());
        assert!(matches!(cause, Some(PublishCause::Kafka(KafkaError::MessageProduction(_)))), "{cause:?}");
        let away = unsent(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
        assert!(matches!(away, PublishError::NotSent(_)) && away.is_transient());
    }
}
