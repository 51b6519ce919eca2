//! What the benches share: a filled topic, our service, a plain client of the same settings, and the figures.

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

use std::time::{Duration, Instant};

use kafka_actors::kafka::{Broker, KafkaConfig};
use kafka_actors::service::{Route, Service, ServiceBuilder};
use kafka_actors::settings::{Declared, Defaults, Settings, Variables, arguments, environment};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Partitions of a topic that a bench fills.
pub const PARTITIONS: i32 = 8;
/// Keys of its events.
pub const KEYS: u64 = 1_000;

/// The brokers that `dev/kafka` started.
#[must_use]
pub fn brokers() -> String {
    environment().remove("KAFKA_BROKERS").expect("KAFKA_BROKERS is set: run this by dev/kafka")
}

/// The numbers on the command line, by their place; those that are left out are as given here.
#[must_use]
pub fn numbers<const N: usize>(mut defaults: [u64; N]) -> [u64; N] {
    let given = arguments().into_iter().filter_map(|word| word.parse().ok());
    defaults.iter_mut().zip(given).for_each(|(number, given)| *number = given);
    defaults
}

/// A name for a topic or a group that no one had before.
#[must_use]
pub fn unique() -> String {
    format!("bench-{}", uuid::Uuid::now_v7().simple())
}

/// Makes a topic, and its dead-letter topic, and fills it with keys and values, compressed by that codec.
pub fn fill(brokers: &str, topic: &str, codec: &str, records: impl Iterator<Item = (String, String)>) {
    let config = |name: &str, value: &str| -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set(name, value);
        config
    };
    let admin: AdminClient<DefaultClientContext> = config("client.id", "bench").create().unwrap();
    let names = [topic.to_owned(), format!("{topic}.dlq")];
    let topics: Vec<_> = names.iter().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).unwrap();
    produce(brokers, topic, codec, records);
}

/// Fills a topic that is there, and gives the producer that did it.
pub fn produce(
    brokers: &str,
    topic: &str,
    codec: &str,
    records: impl Iterator<Item = (String, String)>,
) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("linger.ms", "50").set("compression.type", codec);
    let producer: BaseProducer = config.create().unwrap();
    for (key, value) in records {
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((_, refused)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = refused;
        }
    }
    producer.flush(Duration::from_mins(1)).unwrap();
    producer
}

/// A number that looks random and is the same in each run, for the record of this number.
#[must_use]
pub fn scattered(number: u64) -> u64 {
    // The finaliser of splitmix64.
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Some 200 bytes of JSON of the demo's contract, for a user who is also the key.
#[must_use]
pub fn user_event(user: u64, number: u64) -> (String, String) {
    let value = format!(
        r#"{{"userId":{user},"action":"user_updated","data":{{"fullName":"User Number {number}","email":"user-{number}@example.org","address":"1 Some Street, Some Town"}}}}"#
    );
    (user.to_string(), value)
}

/// Settings of a service in a group of its own: those of the environment, and more.
fn settings(brokers: &str, more: &[(&str, &str)]) -> Settings {
    let group = unique();
    let given = [
        ("KAFKA_BROKERS", brokers),
        ("KAFKA_GROUP", &group),
        ("KAFKA_CREATE_TOPICS", "false"),
        ("RUST_LOG", "warn,kafka_actors=error"),
    ];
    let mut variables: Variables = environment();
    variables.extend(given.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let defaults = Defaults { service: "bench", port: 0, management_port: 0 };
    Settings::from_variables(defaults, Declared::NONE, false, variables).unwrap()
}

/// A plain consumer with the properties of ours.
#[must_use]
pub fn plain_consumer(brokers: &str, topic: &str) -> BaseConsumer {
    let settings = settings(brokers, &[]);
    let config = KafkaConfig {
        broker: Broker::Cluster(brokers.to_owned()),
        group: settings.group,
        instance_id: None,
        client_id: "bench".to_owned(),
        delivery_timeout: settings.publish_deadline,
        properties: settings.kafka_properties,
    };
    let consumer: BaseConsumer = config.consumer_properties().into_iter().collect::<ClientConfig>().create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    consumer
}

/// Our service with one route. Call it inside an actix system.
#[must_use]
pub fn service(brokers: &str, route: Route, more: &[(&str, &str)]) -> Service {
    let settings = settings(brokers, more);
    kafka_actors::telemetry::init(settings.log_format, &settings.log_filter);
    ServiceBuilder::new(settings, Broker::Cluster(brokers.to_owned())).route(route).start().unwrap()
}

/// A moment: by the clock, and in CPU time of this process.
#[derive(Clone, Copy)]
pub struct Moment {
    wall: Instant,
    cpu: Duration,
}

/// What a number of events took.
#[derive(Clone, Copy)]
pub struct Took {
    /// By the clock.
    pub wall: Duration,
    /// In CPU time.
    pub cpu: Duration,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    /// From this moment until now.
    #[must_use]
    pub fn took(self) -> Took {
        Took { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

impl Took {
    /// Events a second, and CPU time for each.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn show(self, events: u64) -> String {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        format!("{:.0}/s, {:.2} us CPU each", events as f64 / wall, cpu * 1e6 / events as f64)
    }
}

/// Two ways through the same events, in turns: one line per round, then the medians of the pairs' ratios. The first
/// round warms the broker's page cache and does not count.
pub fn compare(
    events: u64,
    rounds: u64,
    other: (&str, &mut dyn FnMut() -> Took),
    ours: &mut dyn FnMut() -> Took,
) -> f64 {
    let (name, other) = other;
    let (mut rates, mut cpus) = (Vec::new(), Vec::new());
    for round in 0..=rounds.max(1) {
        let (one, two) = (other(), ours());
        if round > 0 {
            println!("round {round}: {name} {}; ours {}", one.show(events), two.show(events));
            rates.push(one.wall.as_secs_f64() / two.wall.as_secs_f64());
            cpus.push(two.cpu.as_secs_f64() / one.cpu.as_secs_f64());
        }
    }
    let rate = median(rates);
    println!("ours/{name}, medians of the pairs: rate {rate:.2}, CPU {:.2}", median(cpus));
    rate
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu() -> Duration {
    // SAFETY: the call fills the struct it is given.
    #[allow(unsafe_code)]
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let of = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}
