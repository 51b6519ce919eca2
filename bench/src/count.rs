//! Drains a backlog of typed events once from the embedded broker, in one process and without Kafka: for counting the
//! instructions of each thread. `raw` after the number of events drains by a raw `BaseConsumer` loop instead; with `panics`
//! one event in a hundred has its handler panic in its first attempt.
//!
//! `valgrind --tool=callgrind --separate-threads=yes target/release/count [EVENTS] [raw|panics]`

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench::{KEYS, PARTITIONS};
use contracts::UserEvent;
use garde::Validate as _;
use kafka_actors::kafka::EmbeddedBroker;
use kafka_actors::service::Route;
use kafka_actors::settings::arguments;
use kafka_actors::{Done, Event, Handler, HandlerResult};
use rdkafka::message::Message as _;

struct Count {
    handled: Arc<AtomicU64>,
    panics: bool,
}

impl Handler for Count {
    type Event = UserEvent;

    async fn handle(&self, event: &Event<UserEvent>) -> HandlerResult {
        assert!(!self.panics || event.record().offset() % 100 != 0 || event.attempt() > 1, "one in a hundred");
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(Done::Handled)
    }
}

fn main() {
    // The embedded broker keeps 5 MiB of a partition, which are some 170,000 of these events in all.
    let [events] = bench::numbers([60_000]);
    let broker = EmbeddedBroker::start().unwrap();
    let (brokers, topic) = (broker.bootstrap(), bench::unique());
    broker.create_topic(&topic, PARTITIONS).unwrap();
    broker.create_topic(&format!("{topic}.dlq"), PARTITIONS).unwrap();
    let records = (0..events).map(|number| bench::user_event(number % KEYS + 1, number));
    // It stays, for a thread that ends gives its number in callgrind's output to the next one.
    let _producer = bench::produce(&brokers, &topic, "none", records);
    let is_said = |word: &str| arguments().iter().any(|said| said == word);
    if is_said("raw") {
        drain_raw(&brokers, &topic, events);
    } else {
        drain_ours(&brokers, &topic, events, is_said("panics"));
    }
}

fn drain_raw(brokers: &str, topic: &str, events: u64) {
    let consumer = bench::plain_consumer(brokers, topic);
    let mut seen = 0;
    while seen < events {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let event: UserEvent = serde_json::from_slice(message.payload().unwrap()).unwrap();
        event.validate().unwrap();
        seen += 1;
    }
}

fn drain_ours(brokers: &str, topic: &str, events: u64, panics: bool) {
    let seen = Arc::new(AtomicU64::new(0));
    let handled = Arc::clone(&seen);
    let route = Route::each(topic, move |_| Count { handled: Arc::clone(&handled), panics });
    actix::System::new().block_on(async move {
        let service = bench::service(brokers, route, &[]);
        while seen.load(Ordering::Relaxed) < events {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service.stop().await;
    });
}
