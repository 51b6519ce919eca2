//! What a cluster says of its topics, and topics that are made or changed.

use std::collections::BTreeMap;

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer as _;

use super::{GIVE_UP, Raw, wait_for};

impl Raw {
    /// Number of replicas of each partition of each topic.
    #[track_caller]
    pub(crate) fn replicas(&self) -> BTreeMap<String, BTreeMap<i32, usize>> {
        let metadata = self.producer.client().fetch_metadata(None, GIVE_UP).unwrap();
        let partitions_of = |topic: &rdkafka::metadata::MetadataTopic| {
            topic.partitions().iter().map(|partition| (partition.id(), partition.replicas().len())).collect()
        };
        metadata.topics().iter().map(|topic| (topic.name().to_owned(), partitions_of(topic))).collect()
    }

    /// Largest record that a topic takes.
    #[track_caller]
    pub(crate) fn max_message_bytes(&self, topic: &str) -> String {
        let described =
            block_on(self.admin().describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new())).unwrap();
        let described = described.into_iter().next().unwrap().unwrap();
        described.get("max.message.bytes").unwrap().value.clone().unwrap()
    }

    #[track_caller]
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(GIVE_UP));
        for result in block_on(self.admin().create_topics(&[new], &options)).unwrap() {
            result.unwrap();
        }
    }

    #[track_caller]
    fn set_max_message_bytes(&self, topic: &str, limit: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", limit);
        let changed = block_on(self.admin().alter_configs(&[change], &AdminOptions::new())).unwrap();
        for result in changed {
            result.unwrap();
        }
        wait_for("the topic's new limit", || (self.max_message_bytes(topic) == limit).then_some(()));
    }

    /// Has a topic refuse every record until the guard is dropped.
    #[track_caller]
    pub(crate) fn refuse_all(&self, topic: &'static str) -> Refusing<'_> {
        let before = self.max_message_bytes(topic);
        self.set_max_message_bytes(topic, "1");
        Refusing { kafka: self, topic, before }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }
}

/// A topic that refuses every record, as long as this lives.
pub(crate) struct Refusing<'a> {
    kafka: &'a Raw,
    topic: &'static str,
    before: String,
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.kafka.set_max_message_bytes(self.topic, &self.before);
    }
}
