//! A handler that panics costs failed attempts of the event in hand, and nothing else.

// A test that cannot go on panics; that is what its unwraps are for.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actors::escalation::Escalation;
use actors::event::{Cause, NewEvent};
use actors::journal::Journal;
use actors::kafka::{Broker, EmbeddedBroker, KafkaConfig, Sink};
use actors::settings::{Defaults, Settings, Variables};
use actors::{BatchHandler, Contract, Done, Event, Handler, HandlerResult, Route, ServiceBuilder};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, schemars::JsonSchema, garde::Validate)]
struct Step {
    #[garde(skip)]
    key: String,
    #[garde(skip)]
    number: u32,
    #[garde(skip)]
    poison: bool,
}

impl Contract for Step {
    const TYPE: &'static str = "step.v1";
    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

/// What the handlers of a test saw.
#[derive(Clone, Default)]
struct Seen {
    made: Arc<AtomicUsize>,
    handled: Arc<Mutex<Vec<(String, u32)>>>,
}

struct Probe {
    seen: Seen,
    /// Fresh state begins at zero.
    handled_by_me: std::cell::Cell<u32>,
}

impl Probe {
    fn new(seen: &Seen) -> Self {
        seen.made.fetch_add(1, Ordering::Relaxed);
        Self { seen: seen.clone(), handled_by_me: std::cell::Cell::new(0) }
    }

    fn take(&self, event: &Event<Step>) {
        let Step { key, number, poison } = event.value();
        assert!(!poison, "poison {number} met after {}", self.handled_by_me.get());
        self.handled_by_me.set(self.handled_by_me.get() + 1);
        self.seen.handled.lock().unwrap().push((key.clone(), *number));
    }
}

impl Handler for Probe {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if event.value().number.is_multiple_of(2) {
            // A panic may come at the first poll or later.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.take(event);
        Ok(Done::Handled)
    }
}

struct Batches(Probe);

impl BatchHandler for Batches {
    type Event = Step;

    async fn handle_batch(&self, events: &[Event<Step>]) -> Vec<HandlerResult> {
        // Like a transaction: all of the batch or nothing.
        assert!(events.iter().all(|event| !event.value().poison), "poison in a batch of {}", events.len());
        for event in events {
            self.0.take(event);
        }
        events.iter().map(|_| Ok(Done::Handled)).collect()
    }
}

const KEYS: u32 = 5;
const STEPS: u32 = 200;

/// Sends steps of some keys, one of them poisonous now and then, through a handler, and checks what every handler owes.
fn healthy_events_are_handled_in_order_and_poison_is_dead_lettered(route: impl FnOnce(Seen) -> Route + 'static) {
    actix::System::new().block_on(async {
        let variables: Variables = [("RETRY_ATTEMPTS", "3"), ("RETRY_BACKOFF_MS", "1"), ("RUST_LOG", "off")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let defaults = Defaults { service: "probe", port: 0, management_port: 0 };
        let settings = Settings::from_variables(defaults, false, variables, Vec::new()).unwrap();
        actors::telemetry::init(settings.log_format, &settings.log_filter);
        let broker = Broker::Embedded(Arc::new(EmbeddedBroker::start().unwrap()));
        let seen = Seen::default();
        let service = ServiceBuilder::new(settings, broker.clone()).route(route(seen.clone())).start().unwrap();
        wait_for("readiness", || service.health().readiness().ready).await;

        let kafka = KafkaConfig {
            broker,
            group: "none".to_owned(),
            client_id: "test".to_owned(),
            delivery_timeout: Duration::from_secs(30),
            properties: [].into(),
        };
        let sink = Sink::open(&kafka, &Journal::new("test"), &Escalation::default()).unwrap();
        let mut expected = Vec::new();
        let mut poisonous = 0;
        for number in 0..STEPS {
            let step = Step { key: format!("k{}", number % KEYS), number, poison: number % 31 == 7 };
            let event = NewEvent::triggered("test", "steps", &step, &Cause::default()).unwrap();
            let (reply, fate) = tokio::sync::oneshot::channel();
            sink.send(&event.record, reply);
            fate.await.unwrap().unwrap();
            if step.poison {
                poisonous += 1;
            } else {
                expected.push((step.key, step.number));
            }
        }
        let status = || service.health().handlers().remove(0);
        wait_for("all to be settled", || {
            let now = status();
            now.handled == expected.len() as u64 && now.dead_lettered == poisonous
        })
        .await;

        let handled = seen.handled.lock().unwrap().clone();
        for key in 0..KEYS {
            let of_key = |all: &[(String, u32)]| -> Vec<u32> {
                all.iter().filter(|step| step.0 == format!("k{key}")).map(|step| step.1).collect()
            };
            assert_eq!(of_key(&handled), of_key(&expected), "each healthy event of k{key} once, in order");
        }
        let restarts = usize::try_from(status().restarts).unwrap();
        assert!(restarts >= 3 * usize::try_from(poisonous).unwrap(), "{restarts}");
        assert_eq!(seen.made.load(Ordering::Relaxed), restarts + 1, "fresh state after each panic, and no other");
        assert!(status().last_panic.unwrap().message.contains("poison"));
        service.stop().await;
    });
}

async fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < Duration::from_mins(1), "waited for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_panic_costs_failed_attempts_of_the_event_in_hand_and_nothing_else() {
    healthy_events_are_handled_in_order_and_poison_is_dead_lettered(|seen| {
        Route::each("steps", move |_| Probe::new(&seen))
    });
}

#[test]
fn a_panic_in_a_batch_takes_nobody_with_it() {
    healthy_events_are_handled_in_order_and_poison_is_dead_lettered(|seen| {
        Route::batched("steps", move |_| Batches(Probe::new(&seen)))
    });
}
