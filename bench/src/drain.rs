//! Drains a backlog of typed events through our service, whose handler only counts, and through a raw
//! `BaseConsumer` loop with the same settings and decode, in turns, and prints medians and ratios.
//!
//! `dev/kafka -- cargo run --release -p bench --bin drain [EVENTS] [ROUNDS]`

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bench::{KEYS, Moment, PARTITIONS, Took};
use contracts::UserEvent;
use garde::Validate as _;
use kafka_actors::service::Route;
use kafka_actors::{Done, Event, Handler, HandlerResult};
use rdkafka::message::Message as _;

fn main() {
    let [events, rounds] = bench::numbers([1_000_000, 5]);
    let (brokers, topic) = (bench::brokers(), bench::unique());
    bench::fill(&brokers, &topic, "none", (0..events).map(|number| bench::user_event(number % KEYS + 1, number)));
    println!("{events} events, {PARTITIONS} partitions, {KEYS} keys");
    let raw = &mut || drain_raw(&brokers, &topic, events);
    bench::compare(events, rounds, ("raw", raw), &mut || drain_ours(&brokers, &topic, events));
}

fn drain_raw(brokers: &str, topic: &str, events: u64) -> Took {
    let consumer = bench::plain_consumer(brokers, topic);
    let mut began = None;
    let mut seen = 0;
    while seen < events {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        began.get_or_insert_with(Moment::now);
        let event: UserEvent = serde_json::from_slice(message.payload().unwrap()).unwrap();
        event.validate().unwrap();
        seen += 1;
    }
    began.unwrap().took()
}

/// Counts events; the first one starts the clock.
struct Count {
    seen: Arc<AtomicU64>,
    first: Sender<Moment>,
}

impl Handler for Count {
    type Event = UserEvent;

    async fn handle(&self, _: &Event<UserEvent>) -> HandlerResult {
        if self.seen.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first.send(Moment::now()).unwrap();
        }
        Ok(Done::Handled)
    }
}

fn drain_ours(brokers: &str, topic: &str, events: u64) -> Took {
    let seen = Arc::new(AtomicU64::new(0));
    let (first, began) = channel();
    let handled = Arc::clone(&seen);
    let route = Route::each(topic, move |_| Count { seen: Arc::clone(&handled), first: first.clone() });
    actix::System::new().block_on(async move {
        let service = bench::service(brokers, route, &[]);
        while seen.load(Ordering::Relaxed) < events {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = began.recv().unwrap().took();
        service.stop().await;
        assert_eq!(seen.load(Ordering::Relaxed), events);
        took
    })
}
