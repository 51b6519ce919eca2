//! A handler that panics costs failed attempts of the event in flight, and nothing else.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_actors::status::ActorState;
use kafka_actors::{BatchHandler, Contract, Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service, wait_for, wait_until_ready};

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
        let broker = broker();
        let seen = Seen::default();
        let service = service(&broker, &[], route(seen.clone()));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let mut expected = Vec::new();
        let mut poisonous = 0;
        for number in 0..STEPS {
            let step = Step { key: format!("k{}", number % KEYS), number, poison: number % 31 == 7 };
            publisher.publish(&step).await;
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
        // The last panic may be followed by a restart after its event was settled.
        wait_for("the last handler", || status().state == ActorState::Running).await;
        let restarts = usize::try_from(status().restarts).unwrap();
        // A call that panics while another one to the same handler runs costs no restart of its own.
        assert!(restarts >= usize::try_from(poisonous).unwrap(), "{restarts}");
        assert_eq!(seen.made.load(Ordering::Relaxed), restarts + 1, "fresh state after each panic, and no other");
        assert!(status().last_panic.unwrap().message.contains("poison"));
        service.stop().await;
    });
}

#[test]
fn a_panic_costs_failed_attempts_of_the_event_in_flight_and_nothing_else() {
    healthy_events_are_handled_in_order_and_poison_is_dead_lettered(|seen| {
        Route::each(TOPIC, move |_| Probe::new(&seen))
    });
}

#[test]
fn a_panic_in_a_batch_takes_no_other_event_with_it() {
    healthy_events_are_handled_in_order_and_poison_is_dead_lettered(|seen| {
        Route::batched(TOPIC, move |_| Batches(Probe::new(&seen)))
    });
}

/// Its own validation panics on poison.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema, garde::Validate)]
struct Fragile {
    #[garde(skip)]
    key: String,
    #[garde(custom(explodes))]
    poison: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, clippy::unnecessary_wraps)] // as garde wants it
fn explodes(poison: &bool, (): &()) -> garde::Result {
    assert!(!poison, "the contract's own code panics");
    Ok(())
}

impl Contract for Fragile {
    const TYPE: &'static str = "fragile.v1";
    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

struct Takes;

impl Handler for Takes {
    type Event = Fragile;

    async fn handle(&self, _: &Event<Fragile>) -> HandlerResult {
        Ok(Done::Handled)
    }
}

#[test]
fn a_panic_of_a_contracts_own_code_makes_its_event_a_dead_letter_and_takes_no_other_with_it() {
    actix::System::new().block_on(async {
        let broker = broker();
        let service = service(&broker, &[], Route::each(TOPIC, |_| Takes));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..10 {
            // A step looks like a fragile one to the reader.
            publisher.publish(&Step { key: "same".to_owned(), number, poison: number == 3 }).await;
        }
        let status = || service.health().handlers().remove(0);
        wait_for("all to be settled", || status().handled == 9 && status().dead_lettered == 1).await;
        assert_eq!(status().restarts, 0, "the handler had no part in it");
        service.stop().await;
    });
}

/// Its end panics, where it is poison.
#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema, garde::Validate)]
struct Brittle {
    #[garde(skip)]
    key: String,
    #[garde(skip)]
    poison: bool,
}

impl Drop for Brittle {
    fn drop(&mut self) {
        assert!(!self.poison || std::thread::panicking(), "the event falls apart");
    }
}

impl Contract for Brittle {
    const TYPE: &'static str = "brittle.v1";
    fn key(&self) -> Option<String> {
        Some(self.key.clone())
    }
}

/// The end of one that met poison panics too.
#[derive(Default)]
struct Shaken(std::cell::Cell<bool>);

impl Drop for Shaken {
    fn drop(&mut self) {
        assert!(!self.0.get() || std::thread::panicking(), "the handler falls apart");
    }
}

impl Handler for Shaken {
    type Event = Brittle;

    async fn handle(&self, event: &Event<Brittle>) -> HandlerResult {
        self.0.set(event.value().poison);
        Ok(Done::Handled)
    }
}

#[test]
fn a_panic_in_the_drop_of_an_event_or_a_handler_is_a_failed_attempt_like_any_other() {
    actix::System::new().block_on(async {
        let broker = broker();
        let service = service(&broker, &[], Route::each(TOPIC, |_| Shaken::default()));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..10 {
            publisher.publish(&Step { key: "same".to_owned(), number, poison: number == 3 }).await;
        }
        let status = || service.health().handlers().remove(0);
        wait_for("all to be settled", || status().handled == 9 && status().dead_lettered == 1).await;
        assert_eq!((status().retries, status().restarts), (2, 3));
        let last = status().last_panic.unwrap().message;
        assert!(last.contains("panics.rs:") && last.contains("the event falls apart"), "it names the place: {last}");
        service.stop().await;
    });
}
