//! Topics: those that are missing are created, or named.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::config::{Broker, KafkaConfig};

/// A topic that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions where it has to be created.
    pub partitions: i32,
    /// Replicas where it has to be created; -1 is the broker's default.
    pub replication: i32,
    /// Largest record in bytes where it has to be created, or the broker's default.
    pub max_message_bytes: Option<u32>,
}

/// Why the topics are not there.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// They are missing and creating them is not wanted.
    #[error("topics are missing: {}; create them, or set KAFKA_CREATE_TOPICS=true", .0.join(", "))]
    Missing(Vec<String>),
    /// The broker refused to create one.
    #[error("topic {topic} could not be created: {error}")]
    Refused {
        /// Name.
        topic: String,
        /// Why.
        #[source]
        error: RDKafkaErrorCode,
    },
    /// The broker could not be asked.
    #[error("the broker could not be asked for its topics: {0}")]
    Unreachable(#[source] KafkaError),
}

impl TopicsError {
    /// Whether it is worth trying again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Missing(_) => false,
            Self::Refused { error, .. } => !matches!(
                error,
                RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
                    | RDKafkaErrorCode::PolicyViolation
                    | RDKafkaErrorCode::InvalidReplicationFactor
                    | RDKafkaErrorCode::InvalidPartitions
                    | RDKafkaErrorCode::InvalidTopic
            ),
            Self::Unreachable(_) => true,
        }
    }
}

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);

/// Makes sure that the topics are there; returns the names of those that it created.
///
/// Blocks up to some seconds while the broker is asked: call it where a thread may block.
///
/// # Errors
/// When they are missing and `create` is false, or the broker refuses or cannot be asked.
pub fn ensure_topics(config: &KafkaConfig, wanted: &[TopicSpec], create: bool) -> Result<Vec<String>, TopicsError> {
    let admin: AdminClient<DefaultClientContext> = config.admin().create().map_err(TopicsError::Unreachable)?;
    let known = admin.inner().fetch_metadata(None, METADATA_TIMEOUT).map_err(TopicsError::Unreachable)?;
    let missing: Vec<&TopicSpec> =
        wanted.iter().filter(|topic| !known.topics().iter().any(|found| found.name() == topic.name)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if !create {
        return Err(TopicsError::Missing(missing.iter().map(|topic| topic.name.clone()).collect()));
    }
    match &config.broker {
        Broker::Embedded(broker) => {
            for topic in &missing {
                // The other service of the process may have created it meanwhile; then it is there all the same.
                let _ = broker.create_topic(&topic.name, topic.partitions);
            }
        }
        Broker::Cluster(_) => create_on_cluster(&admin, &missing)?,
    }
    Ok(missing.into_iter().map(|topic| topic.name.clone()).collect())
}

fn create_on_cluster(admin: &AdminClient<DefaultClientContext>, missing: &[&TopicSpec]) -> Result<(), TopicsError> {
    let limits: Vec<Option<String>> =
        missing.iter().map(|topic| topic.max_message_bytes.map(|limit| limit.to_string())).collect();
    let wanted: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&limits)
        .map(|(topic, limit)| {
            let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication));
            limit.iter().fold(new, |new, limit| new.set("max.message.bytes", limit))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT));
    // rdkafka completes its admin futures from a thread of its own; this function may block, so it waits here.
    let results =
        futures_executor::block_on(admin.create_topics(&wanted, &options)).map_err(TopicsError::Unreachable)?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, error)) => return Err(TopicsError::Refused { topic, error }),
        }
    }
    Ok(())
}
