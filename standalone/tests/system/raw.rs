//! A Kafka client that shares no code with the product: it writes any bytes, and reads topics with keys and headers.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::kit::{unique, wait_for};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Headers in their order.
pub(crate) type Headers = Vec<(String, Option<Vec<u8>>)>;

/// A record to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Out {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
}

impl Out {
    /// A record with a key and a value, and without headers.
    #[allow(clippy::needless_pass_by_value)] // callers have numbers and texts at hand
    pub(crate) fn new(topic: &str, key: impl ToString, value: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.to_owned(),
            key: Some(key.to_string().into_bytes()),
            value: Some(value.as_ref().to_vec()),
            ..Self::default()
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    pub(crate) fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// A record that was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
}

impl Seen {
    /// The last header of that name, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(known, _)| known == name)?;
        Some(std::str::from_utf8(found.1.as_deref()?).unwrap())
    }

    /// The key where it is text: other tests write keys that are not.
    pub(crate) fn key_text(&self) -> Option<&str> {
        std::str::from_utf8(self.key.as_deref()?).ok()
    }

    pub(crate) fn value_text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap()).unwrap()
    }
}

/// Where a record was written.
type Fate = Result<(i32, i64), String>;

struct Fates;

impl ClientContext for Fates {}

impl ProducerContext for Fates {
    type DeliveryOpaque = Box<mpsc::Sender<Fate>>;

    fn delivery(&self, result: &DeliveryResult<'_>, fate: Self::DeliveryOpaque) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        // Nobody waits any more where the test has failed already.
        let _ = fate.send(result);
    }
}

/// The client.
pub(crate) struct Raw {
    bootstrap: String,
    producer: ThreadedProducer<Fates>,
}

impl Raw {
    pub(crate) fn new(bootstrap: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            // Java's placement, as the product has it.
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", "2000000")
            .set("linger.ms", "2")
            .create_with_context(Fates)
            .unwrap();
        Self { bootstrap: bootstrap.to_owned(), producer }
    }

    /// Writes a record; gives its partition and offset.
    #[track_caller]
    pub(crate) fn send(&self, record: &Out) -> (i32, i64) {
        self.send_all(std::slice::from_ref(record))[0]
    }

    /// Writes records in their order; gives the partition and offset of each.
    #[track_caller]
    pub(crate) fn send_all(&self, records: &[Out]) -> Vec<(i32, i64)> {
        let waiting: Vec<_> = records
            .iter()
            .map(|record| {
                let (fate, waiting) = mpsc::channel();
                let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: value.as_deref() })
                });
                let mut out: BaseRecord<'_, [u8], [u8], Box<mpsc::Sender<Fate>>> =
                    BaseRecord::with_opaque_to(&record.topic, Box::new(fate)).headers(headers);
                out.partition = record.partition;
                out.key = record.key.as_deref();
                out.payload = record.value.as_deref();
                self.producer.send(out).map_err(|(error, _)| error).unwrap();
                waiting
            })
            .collect();
        waiting.into_iter().map(|waiting| waiting.recv_timeout(TIMEOUT).unwrap().unwrap()).collect()
    }

    /// Reads a topic from its beginning on.
    pub(crate) fn read(&self, topic: &str) -> Topic {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            // Of no meaning: partitions are taken by hand and nothing is committed.
            .set("group.id", unique("reader"))
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
        assert!(partitions.count() > 0, "topic {topic} is not there");
        consumer.assign(&partitions).unwrap();
        Topic { consumer, name: topic.to_owned(), seen: Vec::new() }
    }

    /// The offset that a group has committed for a partition.
    #[track_caller]
    pub(crate) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let answer = consumer.committed_offsets(asked, TIMEOUT).unwrap();
        match answer.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

/// A topic that is being read.
pub(crate) struct Topic {
    consumer: BaseConsumer,
    name: String,
    seen: Vec<Seen>,
}

impl Topic {
    /// Waits for `count` records that match; gives them in the order in which they were read.
    #[track_caller]
    pub(crate) fn wait_for_all(&mut self, count: usize, matches: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let what = format!("{count} records in {}", self.name);
        wait_for(&what, || {
            while let Some(message) = self.consumer.poll(Duration::from_millis(20)) {
                let message = message.unwrap();
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                self.seen.push(Seen {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis().unwrap(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
                });
            }
            let found: Vec<Seen> = self.seen.iter().filter(|seen| matches(seen)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits for a record that matches.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, matches: impl Fn(&Seen) -> bool) -> Seen {
        self.wait_for_all(1, matches).remove(0)
    }

    /// Waits for the record at a place.
    #[track_caller]
    pub(crate) fn at(&mut self, (partition, offset): (i32, i64)) -> Seen {
        self.wait_for(|seen| (seen.partition, seen.offset) == (partition, offset))
    }
}
