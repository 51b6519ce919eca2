//! Drains a backlog of typed events through consumer, router and a handler that only counts, and through a raw
//! `BaseConsumer` loop with the same settings and decode, in turns, and prints medians and ratios.
//!
//! `dev/kafka -- cargo run --release -p bench --bin drain [EVENTS] [ROUNDS]`

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actors::kafka::{Broker, KafkaConfig};
use actors::service::{Route, ServiceBuilder};
use actors::settings::{Defaults, Settings, Variables, arguments, environment};
use actors::{Done, Event, Handler, HandlerResult};
use contracts::UserEvent;
use garde::Validate as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const PARTITIONS: i32 = 8;
const KEYS: u64 = 1_000;

/// One way through the backlog.
#[derive(Clone, Copy)]
struct Drained {
    wall: Duration,
    cpu: Duration,
}

fn main() {
    let numbers: Vec<u64> = arguments().iter().filter_map(|word| word.parse().ok()).collect();
    let events = numbers.first().copied().unwrap_or(1_000_000);
    let rounds = numbers.get(1).copied().unwrap_or(5);
    let brokers = environment().remove("KAFKA_BROKERS").expect("KAFKA_BROKERS is set: run this by dev/kafka");
    let topic = format!("bench-{}", uuid::Uuid::now_v7().simple());
    fill(&brokers, &topic, events);
    println!("{events} events, {PARTITIONS} partitions, {KEYS} keys");

    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (one, other) = (drain_raw(&brokers, &topic, events), drain_ours(&brokers, &topic, events));
        // The first round warms the broker's page cache.
        if round > 0 {
            print_round(round, events, one, other);
            raw.push(one);
            ours.push(other);
        }
    }
    let wall = |runs: &[Drained]| median(runs.iter().map(|run| run.wall.as_secs_f64()).collect());
    let cpu = |runs: &[Drained]| median(runs.iter().map(|run| run.cpu.as_secs_f64()).collect());
    let ratios = raw.iter().zip(&ours).map(|(raw, ours)| raw.wall.as_secs_f64() / ours.wall.as_secs_f64()).collect();
    println!(
        "median: raw {:.0}/s, ours {:.0}/s; rate ours/raw {:.2} (median of the pairs), CPU ours/raw {:.2}",
        events as f64 / wall(&raw),
        events as f64 / wall(&ours),
        median(ratios),
        cpu(&ours) / cpu(&raw),
    );
}

fn print_round(round: u64, events: u64, raw: Drained, ours: Drained) {
    let show = |run: Drained| {
        format!(
            "{:.0}/s, {:.2} us CPU each",
            events as f64 / run.wall.as_secs_f64(),
            run.cpu.as_secs_f64() * 1e6 / events as f64
        )
    };
    println!("round {round}: raw {}; ours {}", show(raw), show(ours));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn fill(brokers: &str, topic: &str, events: u64) {
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
    let producer: BaseProducer = config("linger.ms", "50").create().unwrap();
    for number in 0..events {
        let user = number % KEYS + 1;
        let value = format!(
            r#"{{"userId":{user},"action":"user_updated","data":{{"fullName":"User Number {number}","email":"user-{number}@example.org","address":"1 Some Street, Some Town"}}}}"#
        );
        let key = user.to_string();
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        while let Err((_, refused)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = refused;
        }
    }
    producer.flush(Duration::from_mins(1)).unwrap();
}

fn group() -> String {
    format!("bench-{}", uuid::Uuid::now_v7().simple())
}

fn drain_raw(brokers: &str, topic: &str, events: u64) -> Drained {
    let config = KafkaConfig {
        broker: Broker::Cluster(brokers.to_owned()),
        group: group(),
        instance_id: None,
        client_id: "bench".to_owned(),
        delivery_timeout: Duration::from_secs(5),
        properties: [].into(),
    };
    let consumer: BaseConsumer = config.consumer_properties().into_iter().collect::<ClientConfig>().create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut began = None;
    let mut seen = 0;
    while seen < events {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        began.get_or_insert_with(|| (Instant::now(), cpu()));
        let event: UserEvent = serde_json::from_slice(message.payload().unwrap()).unwrap();
        event.validate().unwrap();
        seen += 1;
    }
    ended(began.unwrap())
}

/// Counts events; the first one starts the clock.
struct Count {
    seen: Arc<AtomicU64>,
    first: std::sync::mpsc::Sender<(Instant, Duration)>,
}

impl Handler for Count {
    type Event = UserEvent;

    async fn handle(&self, _: &Event<UserEvent>) -> HandlerResult {
        if self.seen.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.send((Instant::now(), cpu())).unwrap();
        }
        Ok(Done::Handled)
    }
}

fn drain_ours(brokers: &str, topic: &str, events: u64) -> Drained {
    let defaults = Defaults { service: "bench", port: 0, management_port: 0 };
    let variables: Variables = [
        ("KAFKA_BROKERS", brokers.to_owned()),
        ("KAFKA_GROUP", group()),
        ("KAFKA_CREATE_TOPICS", "false".to_owned()),
        ("RUST_LOG", "warn".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let settings = Settings::from_variables(defaults, false, variables, Vec::new()).unwrap();
    actors::telemetry::init(settings.log_format, &settings.log_filter);
    let seen = Arc::new(AtomicU64::new(0));
    let (first, began) = std::sync::mpsc::channel();
    let handled = Arc::clone(&seen);
    let factory = move |_: &_| Count { seen: Arc::clone(&handled), first: first.clone() };
    let broker = Broker::Cluster(brokers.to_owned());
    actix::System::new().block_on(async move {
        let service = ServiceBuilder::new(settings, broker).route(Route::each(topic, factory)).start().unwrap();
        while seen.load(Ordering::Relaxed) < events {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let drained = ended(began.recv().unwrap());
        service.stop().await;
        assert_eq!(seen.load(Ordering::Relaxed), events);
        drained
    })
}

fn ended((wall, used): (Instant, Duration)) -> Drained {
    Drained { wall: wall.elapsed(), cpu: cpu().saturating_sub(used) }
}

/// CPU time of this process.
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
