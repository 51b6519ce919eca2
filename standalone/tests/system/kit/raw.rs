//! A Kafka client that shares no code with the product: it writes any bytes, reads topics with keys and headers, and
//! asks what a group has committed. It serves the embedded broker and a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{GIVE_UP, unique, wait_for, wait_for_count};

type Producer = ThreadedProducer<Fates>;

/// Partition and offset of a record.
pub(crate) type Place = (i32, i64);

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
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    pub(crate) fn place(&self) -> Place {
        (self.partition, self.offset)
    }

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

/// Where a record was written, or why not.
type Fate = Result<Place, String>;

pub(super) struct Fates;

impl ClientContext for Fates {}

impl ProducerContext for Fates {
    type DeliveryOpaque = Box<mpsc::Sender<Fate>>;

    fn delivery(&self, result: &DeliveryResult<'_>, fate: Self::DeliveryOpaque) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        // No one waits any more where the test has failed already.
        let _ = fate.send(result);
    }
}

/// The client.
pub(crate) struct Raw {
    config: ClientConfig,
    pub(super) producer: Producer,
}

impl Raw {
    pub(crate) fn new(bootstrap: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("reconnect.backoff.max.ms", "100");
        let producer = Self::producer(&config, |producer| {
            producer.set("linger.ms", "2");
        });
        Self { config, producer }
    }

    fn producer(config: &ClientConfig, adjust: impl FnOnce(&mut ClientConfig)) -> Producer {
        let mut config = config.clone();
        config
            // Java's placement, as the product has it: a user's records lie in one partition whichever client wrote them.
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "2000000");
        adjust(&mut config);
        config.create_with_context(Fates).unwrap()
    }

    /// Another client of these brokers.
    pub(super) fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Writes a record; gives its partition and offset.
    #[track_caller]
    pub(crate) fn send(&self, record: &Out) -> Place {
        self.send_all(std::slice::from_ref(record))[0]
    }

    /// Writes records in their order; gives the partition and offset of each.
    #[track_caller]
    pub(crate) fn send_all(&self, records: &[Out]) -> Vec<Place> {
        Self::send_by(&self.producer, records)
    }

    /// Writes records of one partition in one batch, so that who reads one of them has them all.
    #[track_caller]
    pub(crate) fn send_together(&self, records: &[Out]) -> Vec<Place> {
        // It waits for the last of them, however slow this is.
        let together = records.len().to_string();
        let adjust = |producer: &mut ClientConfig| {
            producer.set("linger.ms", "60000").set("batch.num.messages", &together);
        };
        Self::send_by(&Self::producer(&self.config, adjust), records)
    }

    #[track_caller]
    fn send_by(producer: &Producer, records: &[Out]) -> Vec<Place> {
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
                producer.send(out).map_err(|(error, _)| error).unwrap();
                waiting
            })
            .collect();
        waiting.into_iter().map(|waiting| waiting.recv_timeout(GIVE_UP).unwrap().unwrap()).collect()
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", "10").create().unwrap()
    }

    /// Reads a topic from its beginning on.
    #[track_caller]
    pub(crate) fn read(&self, topic: &str) -> Topic {
        // The group is of no meaning: partitions are taken by hand and nothing is committed.
        let consumer = self.consumer(&unique("reader"));
        let mut from = TopicPartitionList::new();
        let partitions = self.partitions(topic);
        for partition in &partitions {
            from.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&from).unwrap();
        Topic { consumer, name: topic.to_owned(), partitions: partitions.len(), seen: Vec::new() }
    }

    /// Every record that is in a topic now.
    #[track_caller]
    pub(crate) fn read_all(&self, topic: &str) -> Vec<Seen> {
        self.read(topic).read_to_end()
    }

    /// The offsets that a group has committed, by partition; 0 where it has none.
    #[track_caller]
    pub(crate) fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(topic) {
            asked.add_partition(topic, partition);
        }
        let answer = self.consumer(group).committed_offsets(asked, GIVE_UP).unwrap();
        let offset_of = |offset: Offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
        answer.elements().iter().map(|at| (at.partition(), offset_of(at.offset()))).collect()
    }

    /// The offset that a group has committed for one partition; 0 where it has none.
    #[track_caller]
    pub(crate) fn committed_in(&self, group: &str, topic: &str, partition: i32) -> i64 {
        self.committed(group, topic)[&partition]
    }

    /// The sum of the offsets that a group has committed.
    #[track_caller]
    pub(crate) fn committed_in_all(&self, group: &str, topic: &str) -> usize {
        usize::try_from(self.committed(group, topic).values().sum::<i64>()).unwrap()
    }

    /// Waits until a group has committed all that a topic has; gives the sum of its offsets.
    #[track_caller]
    pub(crate) fn wait_until_all_is_committed(&self, group: &str, topic: &str) -> usize {
        let all = usize::try_from(self.ends(topic).values().sum::<i64>()).unwrap();
        wait_for_count("everything to be committed", all, || self.committed_in_all(group, topic));
        wait_for("everything to be committed", || (self.committed(group, topic) == self.ends(topic)).then_some(()));
        self.committed_in_all(group, topic)
    }

    /// Offsets of the next records to be written, by partition.
    #[track_caller]
    pub(crate) fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        let client = self.producer.client();
        let end = |partition| client.fetch_watermarks(topic, partition, GIVE_UP).unwrap().1;
        self.partitions(topic).into_iter().map(|partition| (partition, end(partition))).collect()
    }

    #[track_caller]
    pub(crate) fn partitions(&self, topic: &str) -> Vec<i32> {
        let metadata = self.producer.client().fetch_metadata(Some(topic), GIVE_UP).unwrap();
        let partitions = metadata.topics()[0].partitions();
        assert!(!partitions.is_empty(), "topic {topic} is not there");
        partitions.iter().map(MetadataPartition::id).collect()
    }
}

/// A topic that is being read.
pub(crate) struct Topic {
    consumer: BaseConsumer,
    name: String,
    partitions: usize,
    seen: Vec<Seen>,
}

impl Topic {
    /// Waits for `count` records that match; gives them in the order in which they were read.
    #[track_caller]
    pub(crate) fn wait_for_all(&mut self, count: usize, matches: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let what = format!("{count} records in {}", self.name);
        wait_for(&what, || {
            while let Some(message) = self.consumer.poll(Duration::from_millis(20)) {
                match message {
                    Ok(message) => self.seen.push(Seen::of(&message)),
                    Err(KafkaError::PartitionEOF(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            let found: Vec<Seen> = self.seen.iter().filter(|seen| matches(seen)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Everything up to the end of each partition.
    #[track_caller]
    fn read_to_end(mut self) -> Vec<Seen> {
        let mut ended = BTreeSet::new();
        while ended.len() < self.partitions {
            match self.consumer.poll(GIVE_UP).expect("the topic's end") {
                Ok(message) => self.seen.push(Seen::of(&message)),
                Err(KafkaError::PartitionEOF(partition)) => {
                    ended.insert(partition);
                }
                Err(error) => panic!("{error}"),
            }
        }
        self.seen
    }

    /// Waits for a record that matches.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, matches: impl Fn(&Seen) -> bool) -> Seen {
        self.wait_for_all(1, matches).remove(0)
    }

    /// Waits for the record at a place.
    #[track_caller]
    pub(crate) fn at(&mut self, place: Place) -> Seen {
        self.wait_for(|seen| seen.place() == place)
    }
}
