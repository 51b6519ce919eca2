//! A Kafka client that shares nothing with the program under test: it writes, reads back, and asks the broker.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::kit::{unique, wait_for};

const TIMEOUT: Duration = Duration::from_secs(30);

type Bytes = Option<Vec<u8>>;

/// A record as it lies in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lying {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) headers: Vec<(String, Bytes)>,
}

impl Lying {
    /// The text of the last header of that name.
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().rfind(|(at, _)| at == name);
        let value = found.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no header {name}"));
        String::from_utf8(value).unwrap()
    }
}

/// Where the broker wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// A record to write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

pub(super) struct Wire {
    config: ClientConfig,
    producer: ThreadedProducer<Deliveries>,
}

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Sender<Result<Written, KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, fate: Self::DeliveryOpaque) {
        // Whoever does not wait does not want to know.
        let _ = fate.send(match result {
            Ok(message) => Ok(Written { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(error.clone()),
        });
    }
}

impl Wire {
    pub(super) fn to(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("message.max.bytes", "2097152");
        let producer = config.create_with_context(Deliveries).unwrap();
        Self { config, producer }
    }

    /// Sends a record; the answer says where it was written.
    pub(super) fn send(&self, record: &Record<'_>) -> Receiver<Result<Written, KafkaError>> {
        let (fate, receiver) = mpsc::channel();
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: *value }));
        let mut out: BaseRecord<'_, [u8], [u8], _> =
            BaseRecord::with_opaque_to(record.topic, Box::new(fate)).headers(headers);
        (out.partition, out.key, out.payload) = (record.partition, record.key, record.value);
        self.producer.send(out).map_err(|(error, _)| error).unwrap();
        receiver
    }

    /// Writes a record and waits for its place.
    #[track_caller]
    pub(super) fn write(&self, record: &Record<'_>) -> Written {
        self.send(record).recv().unwrap().unwrap()
    }

    /// Everything that lies in a topic now and has that key.
    #[track_caller]
    pub(super) fn read(&self, topic: &str, key: &[u8]) -> Vec<Lying> {
        let consumer: BaseConsumer =
            self.config.clone().set("group.id", unique("reader")).set("enable.partition.eof", "true").create().unwrap();
        let mut from = TopicPartitionList::new();
        let partitions = self.partitions(topic);
        for partition in &partitions {
            from.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&from).unwrap();
        let (mut found, mut ends) = (Vec::new(), 0);
        while ends < partitions.len() {
            match consumer.poll(TIMEOUT).expect("the topic's end") {
                Err(KafkaError::PartitionEOF(_)) => ends += 1,
                Err(error) => panic!("{error}"),
                Ok(message) if message.key() == Some(key) => found.push(Lying {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let read =
                            |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.map(<[u8]>::to_vec));
                        headers.iter().map(read).collect()
                    }),
                }),
                Ok(_) => {}
            }
        }
        found
    }

    /// Offsets that a group has committed, by partition.
    #[track_caller]
    pub(super) fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer: BaseConsumer = self.config.clone().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in self.partitions(topic) {
            list.add_partition(topic, partition);
        }
        let committed = consumer.committed_offsets(list, TIMEOUT).unwrap();
        let offset_of = |offset: Offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
        committed.elements().iter().map(|at| (at.partition(), offset_of(at.offset()))).collect()
    }

    /// Offsets of the next records to be written, by partition.
    #[track_caller]
    pub(super) fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        let client = self.producer.client();
        let end = |partition| client.fetch_watermarks(topic, partition, TIMEOUT).unwrap().1;
        self.partitions(topic).into_iter().map(|partition| (partition, end(partition))).collect()
    }

    #[track_caller]
    pub(super) fn partitions(&self, topic: &str) -> Vec<i32> {
        self.replicas()[topic].keys().copied().collect()
    }

    /// Number of replicas of each partition of each topic.
    #[track_caller]
    pub(super) fn replicas(&self) -> BTreeMap<String, BTreeMap<i32, usize>> {
        let metadata = self.producer.client().fetch_metadata(None, TIMEOUT).unwrap();
        let partitions_of = |topic: &rdkafka::metadata::MetadataTopic| {
            topic.partitions().iter().map(|partition| (partition.id(), partition.replicas().len())).collect()
        };
        metadata.topics().iter().map(|topic| (topic.name().to_owned(), partitions_of(topic))).collect()
    }

    /// Largest record that a topic takes.
    #[track_caller]
    pub(super) fn max_message_bytes(&self, topic: &str) -> String {
        let described =
            block_on(self.admin().describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new())).unwrap();
        let described = described.into_iter().next().unwrap().unwrap();
        described.get("max.message.bytes").unwrap().value.clone().unwrap()
    }

    #[track_caller]
    pub(super) fn create_topic(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
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
    pub(super) fn refuse_all(&self, topic: &'static str) -> Refusing<'_> {
        let before = self.max_message_bytes(topic);
        self.set_max_message_bytes(topic, "1");
        Refusing { wire: self, topic, before }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config.create().unwrap()
    }
}

/// A topic that refuses every record, as long as this lives.
pub(super) struct Refusing<'a> {
    wire: &'a Wire,
    topic: &'static str,
    before: String,
}

impl Drop for Refusing<'_> {
    fn drop(&mut self) {
        self.wire.set_max_message_bytes(self.topic, &self.before);
    }
}
