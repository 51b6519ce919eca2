//! The embedded broker: librdkafka's mock cluster, which speaks the real protocol on a loopback port. Memory only.

use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};
use rdkafka::types::RDKafkaRespErr;

use super::ffi;

/// A broker inside this process, for development and tests.
///
/// Volatile: records live in memory, at most 5 MiB or 100,000 batches per partition, then the oldest go silently.
/// It has no admin API, no time index and no transactions. A process that is started by this one inherits its sockets and
/// keeps connections open that the broker has closed; let it close them on exec.
pub struct EmbeddedBroker {
    /// The client that owns the mock cluster; the cluster lives as long as it.
    owner: BaseProducer<DefaultProducerContext>,
}

/// The mock has one broker.
const BROKER_ID: i32 = 1;
/// How soon members learn of a new assignment.
const HEARTBEAT: Duration = Duration::from_millis(200);
const SESSION: Duration = Duration::from_secs(6);

impl EmbeddedBroker {
    /// Starts a broker on a free loopback port.
    ///
    /// # Errors
    /// When librdkafka cannot make the client or bind the port.
    pub fn start() -> KafkaResult<Self> {
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .set("client.id", "embedded-broker")
            .set("enable.metrics.push", "false")
            .create()?;
        ffi::tune_mock_groups(&owner, HEARTBEAT, SESSION);
        if owner.client().mock_cluster().is_none() {
            return Err(KafkaError::ClientCreation("librdkafka made no mock cluster".to_owned()));
        }
        Ok(Self { owner })
    }

    /// Its address, `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.owner.client().mock_cluster().map(|cluster| cluster.bootstrap_servers()).unwrap_or_default()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When it exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> KafkaResult<()> {
        self.with_cluster(|cluster| cluster.create_topic(name, partitions, 1))
    }

    /// Drops all connections and refuses new ones, until [`up`](Self::up).
    ///
    /// # Errors
    /// When the mock refuses.
    pub fn down(&self) -> KafkaResult<()> {
        self.with_cluster(|cluster| cluster.broker_down(BROKER_ID))
    }

    /// Accepts connections again.
    ///
    /// # Errors
    /// When the mock refuses.
    pub fn up(&self) -> KafkaResult<()> {
        self.with_cluster(|cluster| cluster.broker_up(BROKER_ID))
    }

    /// Answers every request so much later; zero is the normal speed.
    ///
    /// # Errors
    /// When the mock refuses.
    pub fn slow_down(&self, round_trip: Duration) -> KafkaResult<()> {
        self.with_cluster(|cluster| cluster.broker_round_trip_time(BROKER_ID, round_trip))
    }

    /// Answers for a topic as if it was not there, until told otherwise; records in it stay. Clients that know the
    /// topic already go on using it.
    ///
    /// # Errors
    /// When the mock refuses.
    pub fn hide_topic(&self, name: &str, hidden: bool) -> KafkaResult<()> {
        let error = if hidden {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        } else {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        };
        self.with_cluster(|cluster| cluster.topic_error(name, error))
    }

    fn with_cluster<T>(
        &self,
        act: impl FnOnce(rdkafka::mocking::MockCluster<'_, DefaultProducerContext>) -> KafkaResult<T>,
    ) -> KafkaResult<T> {
        act(self.owner.client().mock_cluster().ok_or(KafkaError::Canceled)?)
    }
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedBroker").field(&self.bootstrap()).finish()
    }
}
