//! Which broker, and the librdkafka properties of a client, each with its reason.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};

use super::embedded::EmbeddedBroker;

/// Where the records live.
#[derive(Clone, Debug)]
pub enum Broker {
    /// A Kafka cluster: `host:port`, separated by commas.
    Cluster(String),
    /// The embedded broker: volatile, for development and tests.
    Embedded(Arc<EmbeddedBroker>),
}

impl Broker {
    /// `host:port`, separated by commas.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        match self {
            Self::Cluster(servers) => servers.clone(),
            Self::Embedded(broker) => broker.bootstrap(),
        }
    }
}

/// How to speak to Kafka.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Where.
    pub broker: Broker,
    /// Consumer group.
    pub group: String,
    /// Identity within the group that outlives the process (static membership).
    pub instance_id: Option<String>,
    /// Name of the client in the broker's logs and quotas.
    pub client_id: String,
    /// How long a record may wait for its acknowledgement.
    pub delivery_timeout: Duration,
    /// Properties passed through to librdkafka; they win over ours.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: a property's value may be a password.
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.broker.bootstrap())
            .field("group", &self.group)
            .field("instance_id", &self.instance_id)
            .field("client_id", &self.client_id)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Properties of members of a group. Each alone may not go with the defaults of the others.
const OF_MEMBERS: [&str; 4] =
    ["session.timeout.ms", "max.poll.interval.ms", "heartbeat.interval.ms", "partition.assignment.strategy"];

/// Ends the name of the group that keeps the notes of a group.
pub const NOTES_SUFFIX: &str = ".progress";

/// Properties that the delivery guarantees depend on; passing them through is refused.
const OURS: [&str; 8] = [
    "bootstrap.servers",
    "group.id",
    "group.instance.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "acks",
    "request.required.acks",
];

/// Why a property can't be passed through, or `None` where librdkafka takes it.
pub(crate) fn property_problem(name: &str, value: &str) -> Option<String> {
    if OURS.contains(&name) {
        return Some(format!("{name} is set by the service: its guarantees depend on it"));
    }
    // librdkafka itself would notice this only when the client is made.
    if !cfg!(feature = "tls") && name.starts_with("sasl.mechanism") && wants_openssl(value) {
        return Some(format!("{name}: this mechanism is not in this build; {BUILD_WITH_TLS}"));
    }
    // The value is left out of the message: it may be a password.
    let mut probe = ClientConfig::new();
    probe.set(name, value);
    probe.create_native_config().err().map(|error| match error {
        KafkaError::ClientConfig(_, description, _, _) if description.contains(NO_OPENSSL) => {
            format!("{name}: TLS is not in this build; {BUILD_WITH_TLS}")
        }
        KafkaError::ClientConfig(_, description, _, _) => description.replace(value, "..."),
        _ => "librdkafka does not take it".to_owned(),
    })
}

/// How librdkafka says that a property wants what the feature `tls` brings.
const NO_OPENSSL: &str = "OpenSSL not available at build time";
const BUILD_WITH_TLS: &str = "build with the cargo feature `tls`: `cargo build --features tls`, which wants OpenSSL";

/// Whether a SASL mechanism comes with OpenSSL; `PLAIN` comes without.
fn wants_openssl(mechanism: &str) -> bool {
    let mechanism = mechanism.trim().to_ascii_uppercase();
    mechanism.starts_with("SCRAM-") || mechanism == "OAUTHBEARER"
}

impl KafkaConfig {
    /// The topic's limit is for the broker to hold, and it counts compressed bytes: what came in compressed must go out
    /// as a dead letter too. So the client takes nearly what its queue takes.
    const MAX_MESSAGE_BYTES: &'static str = "30000000";

    fn common(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("client.id", &self.client_id)
            .set("message.max.bytes", Self::MAX_MESSAGE_BYTES)
            // The measured state of the broker and the lag come from here.
            .set("statistics.interval.ms", "500")
            // Kafka's own client metrics subscription: traffic that no one asked for.
            .set("enable.metrics.push", "false")
            .set("socket.keepalive.enable", "true")
            // A broker that comes back is found within a second instead of ten.
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false");
        config
    }

    fn pass_through(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    pub(super) fn consumer(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("group.id", &self.group)
            // The frontier is the only thing that is ever committed.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // The default of a second cuts the draining of a backlog to a fifth.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.min.messages", "10000")
            // Of the default 64 MiB nothing is gained.
            .set("queued.max.messages.kbytes", "16384");
        if let Some(id) = &self.instance_id {
            config.set("group.instance.id", id);
        }
        match &self.broker {
            Broker::Cluster(_) if self.new_group_protocol() => {}
            Broker::Cluster(_) => {
                config
                    .set("partition.assignment.strategy", "cooperative-sticky")
                    .set("session.timeout.ms", Self::SESSION_TIMEOUT_MS)
                    // A rebalance waits so long for members that do not answer, 5 minutes by default. The thread that
                    // polls waits for no handler, so one that has not polled for a session is as good as dead.
                    .set("max.poll.interval.ms", self.session_timeout_ms())
                    // Members hear of a rebalance by a heartbeat: each of its steps may take one.
                    .set("heartbeat.interval.ms", "500");
            }
            // The mock's classic protocol takes a session timeout to rebalance, the new one 0.2 s.
            Broker::Embedded(_) => {
                config.set("group.protocol", "consumer").set("fetch.wait.max.ms", "10");
            }
        }
        self.pass_through(config)
    }

    /// For [`Notes`](super::Notes): a group's client that never joins it.
    pub(super) fn notes(&self) -> ClientConfig {
        let mut config = self.common();
        config.set("statistics.interval.ms", "0");
        let of_members = |name: &str| name.starts_with("group.") || OF_MEMBERS.contains(&name);
        for (name, value) in self.properties.iter().filter(|(name, _)| !of_members(name)) {
            config.set(name, value);
        }
        config
            .set("group.id", format!("{}{NOTES_SUFFIX}", self.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        config
    }

    const SESSION_TIMEOUT_MS: &'static str = "6000";

    fn session_timeout_ms(&self) -> &str {
        self.properties.get("session.timeout.ms").map_or(Self::SESSION_TIMEOUT_MS, String::as_str)
    }

    /// KIP-848: the broker decides session and assignor, and setting them here is an error.
    fn new_group_protocol(&self) -> bool {
        self.properties.get("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.common();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Java's placement, so that a key lies in the same partition whichever client wrote it.
            .set("partitioner", "murmur2_random")
            .set("message.timeout.ms", self.delivery_timeout.as_millis().to_string())
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "20000")
            .set("queue.buffering.max.kbytes", "32768")
            // A lone request is sent at once; under load librdkafka batches what queues meanwhile. The mock
            // cluster loses its batching below 2 ms and runs into its limit of batches.
            .set("linger.ms", if matches!(self.broker, Broker::Embedded(_)) { "2" } else { "0" });
        self.pass_through(config)
    }

    /// The properties of the consumer, for a bench that compares with a client of the same settings.
    #[must_use]
    pub fn consumer_properties(&self) -> Vec<(String, String)> {
        let config = self.consumer();
        config.config_map().iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.pass_through(self.common())
    }

    /// Checks that clients can be made of this.
    ///
    /// # Errors
    /// What librdkafka says.
    pub(super) fn check(config: &ClientConfig) -> KafkaResult<()> {
        config.create_native_config().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::statistics::{MEASUREMENT_VALID, SILENT_MICROS};

    #[test]
    fn a_property_that_librdkafka_does_not_know_or_that_is_ours_is_refused_without_its_value() {
        assert_eq!(property_problem("linger.ms", "5"), None);
        assert!(property_problem("enable.auto.commit", "true").unwrap().contains("guarantees"));
        assert!(property_problem("no.such.thing", "5").unwrap().contains("no.such.thing"));
        let problem = property_problem("linger.ms", "s3cret").unwrap();
        assert!(!problem.contains("s3cret"), "{problem}");
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn what_wants_openssl_is_refused_without_it_and_names_the_feature() {
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("security.protocol", "ssl"),
            ("ssl.ca.location", "/ca.pem"),
            ("ssl.key.password", "s3cret"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.mechanisms", "OAUTHBEARER"),
        ] {
            let problem = property_problem(name, value).unwrap_or_else(|| panic!("{name} is taken"));
            assert!(problem.contains("feature `tls`") && problem.contains(name), "{problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        assert_eq!(property_problem("security.protocol", "SASL_PLAINTEXT"), None);
        assert_eq!(property_problem("sasl.mechanism", "PLAIN"), None);
    }

    #[test]
    fn a_broker_that_is_gone_or_silent_is_noticed_within_five_seconds() {
        let config = config_with(&[]);
        for client in [config.consumer(), config.producer()] {
            let interval = client.get("statistics.interval.ms").unwrap().parse().unwrap();
            let silent = Duration::from_micros(SILENT_MICROS.try_into().unwrap()) + Duration::from_millis(interval);
            assert!(silent.max(MEASUREMENT_VALID) <= Duration::from_secs(5), "{silent:?}");
        }
    }

    fn config_with(properties: &[(&str, &str)]) -> KafkaConfig {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        KafkaConfig {
            broker: Broker::Cluster("localhost:9092".into()),
            group: "g".into(),
            instance_id: None,
            client_id: "c".into(),
            delivery_timeout: Duration::from_secs(1),
            properties: properties.collect(),
        }
    }

    #[test]
    fn what_is_passed_through_for_a_member_does_not_keep_the_client_of_the_notes_from_being_made() {
        for properties in [
            &[("max.poll.interval.ms", "7000")][..],
            &[("session.timeout.ms", "60000"), ("heartbeat.interval.ms", "20000")],
            &[("group.protocol", "consumer"), ("group.remote.assignor", "range")],
            &[("partition.assignment.strategy", "range")],
        ] {
            let config = config_with(properties).notes();
            let client: KafkaResult<rdkafka::consumer::BaseConsumer> = config.create();
            assert!(client.is_ok(), "{properties:?}: {:?}", client.err());
        }
    }

    #[test]
    fn passwords_stay_out_of_the_debug_output() {
        let config = config_with(&[("sasl.password", "s3cret")]);
        let shown = format!("{config:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("s3cret"), "{shown}");
    }
}
