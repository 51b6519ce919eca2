//! Handles events that take 10 ms each, by our service and by what one would write by hand for the best: the plain client
//! with the same settings, one task per key behind a bounded channel, no retries, nothing tracked, nothing committed.
//! In turns; fails where ours does not reach 95 % of it.
//!
//! `dev/kafka -- cargo run --release -p bench --bin slow [EVENTS] [ROUNDS]`

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench::{KEYS, Moment, PARTITIONS, Took};
use contracts::UserEvent;
use garde::Validate as _;
use kafka_actors::service::Route;
use kafka_actors::{Done, Event, Handler, HandlerResult};
use rdkafka::message::{Message as _, OwnedMessage};
use tokio::sync::mpsc;

/// What an event takes.
const PAUSE: Duration = Duration::from_millis(10);
/// What the ideal holds for a key; with all keys far more than the credits of ours.
const WAITING_PER_KEY: usize = 1_024;
/// The least of the ideal's rate that ours must reach.
const WANTED: f64 = 0.95;

fn main() {
    let [events, rounds] = bench::numbers([300_000, 5]);
    let (brokers, topic) = (bench::brokers(), bench::unique());
    bench::fill(&brokers, &topic, "none", (0..events).map(|number| bench::user_event(number % KEYS + 1, number)));
    println!("{events} events of {PAUSE:?} each, {PARTITIONS} partitions, {KEYS} keys");
    let ideal = &mut || handle_ideally(&brokers, &topic, events);
    let rate = bench::compare(events, rounds, ("ideal", ideal), &mut || handle_ours(&brokers, &topic, events));
    assert!(rate >= WANTED, "ours must reach {WANTED} of the ideal's rate");
}

/// One thread polls, another one runs the tasks, as in our service.
fn handle_ideally(brokers: &str, topic: &str, events: u64) -> Took {
    let handled = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let tasks = runtime.handle().clone();
    let (done, until_done) = tokio::sync::oneshot::channel();
    let running = std::thread::spawn(move || runtime.block_on(until_done));
    let consumer = bench::plain_consumer(brokers, topic);
    let mut keys: HashMap<Vec<u8>, mpsc::Sender<OwnedMessage>> = HashMap::new();
    let mut began = None;
    for _ in 0..events {
        let message = loop {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            break message.unwrap();
        };
        began.get_or_insert_with(Moment::now);
        if !keys.contains_key(message.key().unwrap()) {
            let (sender, waiting) = mpsc::channel(WAITING_PER_KEY);
            tasks.spawn(handle_key(waiting, Arc::clone(&handled)));
            keys.insert(message.key().unwrap().to_vec(), sender);
        }
        keys[message.key().unwrap()].blocking_send(message.detach()).unwrap();
    }
    while handled.load(Ordering::Relaxed) < events {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.unwrap().took();
    done.send(()).unwrap();
    running.join().unwrap().unwrap();
    took
}

async fn handle_key(mut waiting: mpsc::Receiver<OwnedMessage>, handled: Arc<AtomicU64>) {
    while let Some(message) = waiting.recv().await {
        let event: UserEvent = serde_json::from_slice(message.payload().unwrap()).unwrap();
        event.validate().unwrap();
        tokio::time::sleep(PAUSE).await;
        handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Takes its time; the first event starts the clock.
struct Slow {
    began: std::sync::mpsc::Sender<Moment>,
    handled: Arc<AtomicU64>,
    first: std::cell::Cell<bool>,
}

impl Handler for Slow {
    type Event = UserEvent;

    async fn handle(&self, _: &Event<UserEvent>) -> HandlerResult {
        if self.first.replace(false) {
            self.began.send(Moment::now()).unwrap();
        }
        tokio::time::sleep(PAUSE).await;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(Done::Handled)
    }
}

fn handle_ours(brokers: &str, topic: &str, events: u64) -> Took {
    let handled = Arc::new(AtomicU64::new(0));
    let (sender, began) = std::sync::mpsc::channel();
    let counted = Arc::clone(&handled);
    let route =
        Route::each(topic, move |_| Slow { began: sender.clone(), handled: Arc::clone(&counted), first: true.into() });
    actix::System::new().block_on(async move {
        let service = bench::service(brokers, route, &[]);
        while handled.load(Ordering::Relaxed) < events {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let took = began.recv().unwrap().took();
        service.stop().await;
        assert_eq!(handled.load(Ordering::Relaxed), events);
        took
    })
}
