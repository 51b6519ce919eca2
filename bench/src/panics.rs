//! Handles a backlog in which one event in a hundred has its handler panic, at each attempt until it is a dead letter, and
//! the same backlog without panics, in turns. Fails where not all is settled, where the healthy events go at less than
//! nine tenths of the rate without panics, or where a handler takes too long to be restarted.
//!
//! `dev/kafka -- cargo run --release -p bench --bin panics [RECORDS] [ROUNDS] [MICROSECONDS] [PANIC]`
//!
//! Each event takes MICROSECONDS, 10,000 unless it is said; one that panics does so after PANIC of them, at once unless it is
//! said. With 0 the handler only counts.

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::{KEYS, Moment, PARTITIONS, Took};
use contracts::UserEvent;
use kafka_actors::service::Route;
use kafka_actors::{Done, Event, Handler, HandlerResult};

/// One event in so many has its handler panic.
const PANICS_EVERY: u64 = 100;
/// The least of the rate without panics that the healthy events must reach.
const WANTED: f64 = 0.9;
/// From a panic until the next handler is made: 99 of 100 take no longer.
const RESTARTED_WITHIN: Duration = Duration::from_millis(10);
/// Attempts follow each other quickly: a key that waits for its next attempt is no work for anybody, and each one would
/// otherwise wait a second and a half for each of its events that panic.
const SETTINGS: [(&str, &str); 3] =
    // What is logged of each panic would measure whatever reads the log.
    [("RETRY_BACKOFF_MS", "1"), ("RETRY_MAX_BACKOFF_MS", "10"), ("RUST_LOG", "off")];

fn main() {
    let [records, rounds, takes_us, panics_us] = bench::numbers([1_000_000, 3, 10_000, 0]);
    let (brokers, topic) = (bench::brokers(), bench::unique());
    let bad = u64::try_from((0..records).filter(|number| is_bad(*number)).count()).unwrap();
    bench::fill(&brokers, &topic, "none", (0..records).map(event));
    let (takes, panics) = (Duration::from_micros(takes_us), Duration::from_micros(panics_us));
    println!(
        "{records} records of {takes:?}, of which {bad} panic after {panics:?}; {PARTITIONS} partitions, {KEYS} keys"
    );
    let backlog = Backlog { brokers, topic, healthy: records - bad, bad, takes: [takes, panics] };
    let mut restarts = Vec::new();
    let calm = &mut || backlog.handle(false).0;
    let rate = bench::compare(backlog.healthy, rounds, ("calm", calm), &mut || {
        let (took, more) = backlog.handle(true);
        restarts.extend(more);
        took
    });
    restarts.sort();
    let at = |share: usize| restarts[(restarts.len() - 1) * share / 1_000];
    let (median, p99, longest) = (at(500), at(990), at(1_000));
    println!("{} restarts: median {median:.1?}, p99 {p99:.1?}, longest {longest:.1?}", restarts.len());
    assert!(rate >= WANTED, "healthy events must reach {WANTED} of the rate without panics");
    assert!(p99 <= RESTARTED_WITHIN, "99 of 100 restarts must take {RESTARTED_WITHIN:?} at most");
}

/// Whether this record's handler should panic.
fn is_bad(number: u64) -> bool {
    bench::scattered(number).is_multiple_of(PANICS_EVERY)
}

fn event(number: u64) -> (String, String) {
    let (key, value) = bench::user_event(number % KEYS + 1, number);
    (key, if is_bad(number) { value.replacen("User Number", BAD, 1) } else { value })
}

/// How the names of those begin whose handler should panic.
const BAD: &str = "Panic Number";

/// What the handlers of one run did.
#[derive(Default)]
struct Ledger {
    begun: AtomicBool,
    healthy: AtomicU64,
    /// The panic after which no handler was made yet.
    panicked: Mutex<Option<Instant>>,
    restarts: Mutex<Vec<Duration>>,
}

/// Counts healthy events; the first one starts the clock.
struct Count {
    ledger: Arc<Ledger>,
    first: Sender<Moment>,
    panics: bool,
    /// A healthy event, and one that panics.
    takes: [Duration; 2],
}

impl Count {
    /// Restarted, it notes how long that took.
    fn new(ledger: &Arc<Ledger>, first: &Sender<Moment>, panics: bool, takes: [Duration; 2]) -> Self {
        if let Some(panicked) = ledger.panicked.lock().unwrap().take() {
            ledger.restarts.lock().unwrap().push(panicked.elapsed());
        }
        Self { ledger: Arc::clone(ledger), first: first.clone(), panics, takes }
    }
}

impl Handler for Count {
    type Event = UserEvent;

    async fn handle(&self, event: &Event<UserEvent>) -> HandlerResult {
        let was_bad = event.value().data.full_name.as_ref().is_some_and(|name| name.starts_with(BAD));
        if !self.ledger.begun.swap(true, Ordering::Relaxed) {
            self.first.send(Moment::now()).unwrap();
        }
        let is_bad = was_bad && self.panics;
        let takes = self.takes[usize::from(is_bad)];
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if is_bad {
            *self.ledger.panicked.lock().unwrap() = Some(Instant::now());
            panic!("one in {PANICS_EVERY}");
        }
        self.ledger.healthy.fetch_add(u64::from(!was_bad), Ordering::Relaxed);
        Ok(Done::Handled)
    }
}

/// The records that each run handles.
struct Backlog {
    brokers: String,
    topic: String,
    healthy: u64,
    bad: u64,
    takes: [Duration; 2],
}

impl Backlog {
    /// What the healthy ones took, and how long each restart. All of them are settled and committed when this returns.
    fn handle(&self, panics: bool) -> (Took, Vec<Duration>) {
        let ledger = Arc::new(Ledger::default());
        let (first, began) = channel();
        let (shared, takes) = (Arc::clone(&ledger), self.takes);
        let route = Route::each(&self.topic, move |_| Count::new(&shared, &first, panics, takes));
        let took = actix::System::new().block_on(async {
            let service = bench::service(&self.brokers, route, &SETTINGS);
            let failed = service.stopped();
            let handled = async {
                while ledger.healthy.load(Ordering::Relaxed) < self.healthy {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let took = began.recv().unwrap().took();
                // All that is polled is settled, and nothing is left to poll.
                while service.health().consumer().lag > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                took
            };
            let took = tokio::select! {
                took = handled => took,
                cause = failed => panic!("the service failed: {}", cause.message),
            };
            let ended = service.health().handlers().remove(0);
            let dead = if panics { self.bad } else { 0 };
            assert_eq!((ended.handled, ended.dead_lettered), (self.healthy + self.bad - dead, dead), "all are settled");
            service.stop().await;
            took
        });
        assert_eq!(ledger.healthy.load(Ordering::Relaxed), self.healthy, "each once");
        let restarts = std::mem::take(&mut *ledger.restarts.lock().unwrap());
        (took, restarts)
    }
}
