//! Lays a backlog of records of 100 B to 100 KiB before our service, whose handler takes a second, and fails where its
//! memory passes the limit, where it leaves the group or where it misses a poll.
//!
//! `dev/kafka -- cargo run --release -p bench --bin memory [RECORDS] [SECONDS]`
//!
//! It fills the topic and runs the service in processes of their own, so that the memory is that of a service. Two
//! services, one after the other: first every event takes a second; then only the events of one key do, one in some
//! hundred, so that what is unsettled is strewn over many batches.

// A bench that cannot go on panics.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench::{KEYS, PARTITIONS};
use contracts::OtherEvent;
use kafka_actors::service::{Route, Service};
use kafka_actors::settings::arguments;
use kafka_actors::{Done, Event, Handler, HandlerResult};

/// What a slow event takes.
const PAUSE: Duration = Duration::from_secs(1);
/// What a service may take.
const MAX_RESIDENT_MIB: f64 = 200.0;
const RECORD_BYTES: std::ops::Range<u64> = 100..102_400;
/// One record of so many is of the slow key.
const SLOW_KEY_EVERY: u64 = 300;
const SLOW_KEY: u64 = KEYS + 1;
/// Kafka's shortest: the session timeout must not be longer.
const POLL_INTERVAL_MS: &str = "7000";

fn main() {
    let words = arguments();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", topic, records] => fill(topic, records.parse().unwrap()),
        ["serve", topic, who, seconds] => {
            let slow = if who == "all" { None } else { Some(SLOW_KEY) };
            serve(topic, slow, Duration::from_secs(seconds.parse().unwrap()));
        }
        _ => {
            let [records, seconds] = bench::numbers([1_000_000, 60]);
            let topic = bench::unique();
            println!(
                "{records} records of {RECORD_BYTES:?} bytes, {PARTITIONS} partitions, {KEYS} keys and a slow one"
            );
            run(&["fill", &topic, &records.to_string()]);
            run(&["serve", &topic, "all", &seconds.to_string()]);
            run(&["serve", &topic, "one-key", &seconds.to_string()]);
        }
    }
}

/// Runs this program again, with these words.
fn run(words: &[&str]) {
    let ended = std::process::Command::new(std::env::current_exe().unwrap()).args(words).status().unwrap();
    assert!(ended.success(), "{} {ended}", words.join(" "));
}

/// Sizes are spread evenly over their logarithm: half of the records have less than 3 KiB, the mean is 15 KB.
fn fill(topic: &str, records: u64) {
    let text = text();
    let began = Instant::now();
    let mut bytes = 0;
    let filled = (0..records).map(|number| {
        let user = if number % SLOW_KEY_EVERY == 0 { SLOW_KEY } else { number % KEYS + 1 };
        let (smallest, largest) = (RECORD_BYTES.start as f64, RECORD_BYTES.end as f64);
        let share = bench::scattered(number) as f64 / u64::MAX as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between the two
        let size = (smallest * (largest / smallest).powf(share)) as usize;
        let begin = usize::try_from(bench::scattered(number ^ 1) % text.len() as u64 / 2).unwrap();
        let head = format!(r#"{{"userId":{user},"action":"noted","text":""#);
        let noted = &text[begin..begin + size.saturating_sub(head.len() + 2)];
        bytes += size as u64;
        (user.to_string(), format!(r#"{head}{noted}"}}"#))
    });
    bench::fill(&bench::brokers(), topic, "lz4", filled);
    println!("filled with {} MiB in {:.0?}", bytes >> 20, began.elapsed());
}

/// Words in a random order: text that a codec makes about half as long.
fn text() -> String {
    let mut text = String::new();
    while text.len() < 1 << 20 {
        let word = bench::scattered(text.len() as u64);
        write!(text, "{:x} ", word % 4096 * 7919).unwrap();
    }
    text
}

struct Slow {
    key: Option<u64>,
    handled: Arc<AtomicU64>,
}

impl Handler for Slow {
    type Event = OtherEvent;

    async fn handle(&self, event: &Event<OtherEvent>) -> HandlerResult {
        if self.key.is_none() || self.key == event.value().user_id {
            tokio::time::sleep(PAUSE).await;
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(Done::Handled)
    }
}

fn serve(topic: &str, slow: Option<u64>, length: Duration) {
    let handled = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&handled);
    let route = Route::each(topic, move |_| Slow { key: slow, handled: Arc::clone(&counted) });
    let more = [("KAFKA_PROPERTY_MAX_POLL_INTERVAL_MS", POLL_INTERVAL_MS)];
    let (settled, pinned) = actix::System::new().block_on(async move {
        let service = bench::service(&bench::brokers(), route, &more);
        let began = Instant::now();
        let mut in_flight = 0;
        while began.elapsed() < length {
            tokio::time::sleep(Duration::from_millis(250)).await;
            in_flight = in_flight.max(service.health().consumer().in_flight);
        }
        let settled = handled.load(Ordering::Relaxed);
        stayed_in_the_group(&service).await;
        service.stop().await;
        (settled, in_flight)
    });
    let who = if slow.is_some() { "one key takes a second" } else { "all take a second" };
    let peak = peak_resident_mib();
    println!("{who}: {settled} handled in {length:?}, at most {pinned} in flight, at most {peak:.0} MiB resident");
    assert!(settled > 0, "nothing was handled");
    assert!(peak < MAX_RESIDENT_MIB, "a service must stay below {MAX_RESIDENT_MIB} MiB");
}

/// By its own metrics: partitions came once and never left, and the client met no error (a missed poll is one).
async fn stayed_in_the_group(service: &Service) {
    let url = format!("http://{}/metrics", service.management());
    let metrics = tokio::task::spawn_blocking(move || reqwest::blocking::get(url).unwrap().text().unwrap());
    let metrics = metrics.await.unwrap();
    let of = |name: &str| metrics.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    for trouble in ["rebalances_total{", "consumer_restarts_total", "kafka_client_errors_total"] {
        let lines = of(trouble);
        let lines: Vec<_> = lines.iter().filter(|line| !line.contains(r#"change="assigned""#)).collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
    let owned = of("partitions_owned");
    assert!(owned.len() == 1 && owned[0].ends_with(&format!(" {PARTITIONS}")), "{owned:?}");
}

fn peak_resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
