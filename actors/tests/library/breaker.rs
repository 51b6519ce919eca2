//! Whose fault is a failure? A key that always fails costs itself; a handler that fails at everything costs no event.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_actors::escalation::{Cause, EXIT_SOFTWARE};
use kafka_actors::service::Service;
use kafka_actors::status::{ActorState, HandlerStatus};
use kafka_actors::{BatchHandler, Done, Event, Handler, HandlerError, HandlerResult, Route};
use tokio::sync::{Barrier, Semaphore};

use crate::kit::{Publisher, Step, TOPIC, broker, service, service_of, wait_for, wait_for_count, wait_until_ready};

/// Handlers that are made from it panic while it is broken.
#[derive(Clone, Default)]
struct Shared {
    broken: Arc<AtomicBool>,
    handled: Arc<Mutex<Vec<(String, u32)>>>,
}

struct Touchy(Shared);

impl Handler for Touchy {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        tokio::task::yield_now().await;
        assert!(!self.0.broken.load(Ordering::Relaxed), "broken");
        self.0.handled.lock().unwrap().push((event.value().key.clone(), event.value().number));
        Ok(Done::Handled)
    }
}

/// Short pauses.
const QUICK: [(&str, &str); 2] = [("RETRY_MAX_BACKOFF_MS", "20"), ("BREAKER_MAX_INTERVAL_MS", "20")];

fn is_open(service: &Service) -> bool {
    matches!(first(service).state, ActorState::BreakerOpen | ActorState::BreakerHalfOpen)
}

fn first(service: &Service) -> HandlerStatus {
    service.health().handlers().remove(0)
}

fn step(number: u32) -> Step {
    Step { key: format!("k{}", number % 5), number, poison: false }
}

#[test]
fn a_handler_that_panics_at_everything_opens_its_breaker_alone_and_when_it_is_healed_all_is_handled_once_in_order() {
    const STEPS: u32 = 200;
    actix::System::new().block_on(async {
        let broker = broker();
        let (shared, sibling) = (Shared::default(), Shared::default());
        shared.broken.store(true, Ordering::Relaxed);
        let routes = [(TOPIC, shared.clone()), ("other", sibling.clone())];
        let routes = routes.map(|(topic, shared)| Route::each(topic, move |_| Touchy(shared.clone())));
        let service = service_of(&broker, &QUICK, routes);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..STEPS {
            publisher.publish(&step(number)).await;
            publisher.publish_to("other", &step(number)).await;
        }
        wait_for("the breaker", || is_open(&service)).await;
        wait_for("a pause of its topic alone", || {
            let consumer = service.health().consumer();
            let others = consumer.partitions.iter().filter(|at| at.topic != TOPIC).all(|at| at.paused.is_none());
            others && consumer.partitions.iter().any(|at| at.topic == TOPIC && at.paused == Some("supervisor"))
        })
        .await;
        let reasons = service.health().readiness().reasons;
        assert!(reasons.iter().any(|reason| reason.contains("Touchy") && reason.contains("broken")), "{reasons:?}");
        wait_for("its sibling", || sibling.handled.lock().unwrap().len() == STEPS as usize).await;
        let probes = first(&service).restarts;
        wait_for("further probes", || first(&service).restarts > probes + 3).await;
        let dead_lettered = first(&service).dead_lettered;
        assert!(first(&service).handled == 0 && dead_lettered < 5, "{dead_lettered}");

        shared.broken.store(false, Ordering::Relaxed);
        wait_for("the rest", || first(&service).handled + dead_lettered == u64::from(STEPS)).await;
        assert_eq!((first(&service).state, first(&service).dead_lettered), (ActorState::Running, dead_lettered));
        wait_until_ready(&service).await;
        let handled = shared.handled.lock().unwrap().clone();
        for key in 0..5 {
            let numbers = handled.iter().filter(|step| step.0 == format!("k{key}")).map(|step| step.1);
            // What was dead-lettered before the breaker opened were the first ones.
            let all = (0..STEPS).filter(|number| number % 5 == key);
            let rest = all.skip_while(|number| !handled.iter().any(|step| step.1 == *number));
            assert!(numbers.eq(rest), "k{key}: once, in order");
        }
        service.stop().await;
    });
}

#[test]
fn a_breaker_that_stays_open_ends_the_service_where_that_is_wanted_and_settles_nothing() {
    actix::System::new().block_on(async {
        let broker = broker();
        let shared = Shared::default();
        shared.broken.store(true, Ordering::Relaxed);
        let settings: Vec<_> = QUICK.into_iter().chain([("BREAKER_EXIT_AFTER_MS", "200")]).collect();
        let service = service(&broker, &settings, Route::each(TOPIC, move |_| Touchy(shared.clone())));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..20 {
            publisher.publish(&step(number)).await;
        }
        let Cause { message, exit_code, .. } = service.stopped().await;
        assert_eq!(exit_code, EXIT_SOFTWARE);
        assert!(message.contains("Touchy") && message.contains("breaker.rs:"), "{message}");
        assert!(first(&service).handled == 0 && first(&service).dead_lettered < 5);
        service.stop().await;
    });
}

#[test]
fn a_handler_that_cannot_be_made_at_first_is_made_when_it_can_be() {
    actix::System::new().block_on(async {
        let broker = broker();
        let (shared, asked) = (Shared::default(), AtomicUsize::new(0));
        let route = Route::each(TOPIC, {
            let shared = shared.clone();
            move |_| {
                assert!(asked.fetch_add(1, Ordering::Relaxed) >= 4, "not yet");
                Touchy(shared.clone())
            }
        });
        let service = service(&broker, &QUICK, route);
        let publisher = Publisher::new(&broker);
        wait_until_ready(&service).await;
        for number in 0..20 {
            publisher.publish(&step(number)).await;
        }
        wait_for("all", || first(&service).handled == 20).await;
        assert_eq!((first(&service).state, first(&service).retries), (ActorState::Running, 0));
        service.stop().await;
    });
}

#[test]
fn a_handler_that_can_never_be_made_ends_the_service_and_one_that_could_be_is_asked_for_again_and_again() {
    actix::System::new().block_on(async {
        let broker = broker();
        let never = Route::each(TOPIC, |_| -> Touchy { panic!("never") });
        let ends = service(&broker, &QUICK, never);
        let Cause { message, exit_code, .. } = ends.stopped().await;
        assert_eq!(exit_code, EXIT_SOFTWARE);
        assert!(message.contains("Touchy") && message.contains("never"), "{message}");
        ends.stop().await;

        let (shared, asked) = (Shared::default(), Arc::new(AtomicUsize::new(0)));
        let route = Route::each(TOPIC, {
            let (shared, asked) = (shared.clone(), Arc::clone(&asked));
            move |_| {
                assert!(!(1..30).contains(&asked.fetch_add(1, Ordering::Relaxed)), "not now");
                Touchy(shared.clone())
            }
        });
        let service = service(&broker, &QUICK, route);
        wait_until_ready(&service).await;
        shared.broken.store(true, Ordering::Relaxed);
        Publisher::new(&broker).publish(&step(0)).await;
        wait_for("the breaker", || is_open(&service)).await;
        shared.broken.store(false, Ordering::Relaxed);
        wait_for("the event", || first(&service).handled == 1).await;
        wait_for("its end", || first(&service).state == ActorState::Running).await;
        assert!(asked.load(Ordering::Relaxed) > 30, "more often than the first one may fail");
        service.stop().await;
    });
}

/// Its first call for each event panics, all of them at the same time.
struct Together(Arc<Barrier>, Arc<Mutex<HashSet<u32>>>);

const TOGETHER: usize = 100;

impl Handler for Together {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if self.1.lock().unwrap().insert(event.value().number) {
            self.0.wait().await;
            panic!("all at once");
        }
        Ok(Done::Handled)
    }
}

#[test]
fn calls_that_panic_together_cost_one_restart() {
    actix::System::new().block_on(async {
        let broker = broker();
        let barrier = Arc::new(Barrier::new(TOGETHER));
        let met = Arc::default();
        let route = Route::each(TOPIC, move |_| Together(Arc::clone(&barrier), Arc::clone(&met)));
        let service = service(&broker, &QUICK, route);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..TOGETHER {
            let number = u32::try_from(number).unwrap();
            publisher.publish(&Step { key: number.to_string(), number, poison: false }).await;
        }
        wait_for("all", || first(&service).handled == TOGETHER as u64).await;
        assert_eq!((first(&service).retries, first(&service).restarts), (TOGETHER as u64, 1));
        service.stop().await;
    });
}

/// Waits while it is broken; panics on poison.
struct Poisoned(Shared);

impl BatchHandler for Poisoned {
    type Event = Step;

    async fn handle_batch(&self, events: &[Event<Step>]) -> Vec<HandlerResult> {
        while self.0.broken.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(events.iter().all(|event| !event.value().poison), "poison");
        vec![Ok(Done::Handled); events.len()]
    }
}

#[test]
fn after_a_panic_the_others_go_on_at_once() {
    actix::System::new().block_on(async {
        let broker = broker();
        let publisher = Publisher::new(&broker);
        let shared = Shared::default();
        shared.broken.store(true, Ordering::Relaxed);
        // The one that panics comes back after 30 s at least.
        let settings = [("RETRY_BACKOFF_MS", "60000"), ("RETRY_MAX_BACKOFF_MS", "60000")];
        let route = Route::batched(TOPIC, {
            let shared = shared.clone();
            move |_| Poisoned(shared.clone())
        });
        let service = service(&broker, &settings, route);
        wait_until_ready(&service).await;
        publisher.publish(&Step { key: "poison".to_owned(), number: 0, poison: true }).await;
        wait_for("it to be in hand", || first(&service).running == 1).await;
        for number in 1..20 {
            publisher.publish(&step(number)).await;
        }
        wait_for("the others behind it", || first(&service).queued == 19).await;
        shared.broken.store(false, Ordering::Relaxed);
        wait_for("the others", || first(&service).handled == 19).await;
        // It would have panicked again in its next attempt.
        assert_eq!((first(&service).retries, first(&service).restarts), (1, 1), "they wait for nobody");
        service.stop().await;
    });
}

#[test]
fn ten_events_of_one_key_that_always_panic_are_ten_dead_letters_and_pause_nothing() {
    actix::System::new().block_on(async {
        let broker = broker();
        let service = service(&broker, &QUICK, Route::each(TOPIC, |_| Patient(Arc::new(Semaphore::new(1_000)))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        // Twenty users, one of whom is poison, and nothing else comes afterwards.
        for number in 0..200 {
            let user = number % 20;
            publisher.publish(&Step { key: format!("user {user}"), number, poison: user == 7 }).await;
        }
        let opened = Cell::new(false);
        wait_for("all of them", || {
            opened.set(opened.get() || is_open(&service));
            first(&service).handled == 190 && first(&service).dead_lettered == 10
        })
        .await;
        assert_eq!((first(&service).retries, first(&service).restarts, opened.get()), (20, 30, false));
        assert!(service.health().readiness().ready);
        service.stop().await;
    });
}

#[test]
fn fifty_keys_that_always_panic_and_then_one_that_does_not_are_fifty_dead_letters_and_hold_nothing_up() {
    actix::System::new().block_on(async {
        let broker = broker();
        // One partition, so that the healthy one stands behind all others.
        let settings: Vec<_> = QUICK.into_iter().chain([("KAFKA_PARTITIONS", "1")]).collect();
        let service = service(&broker, &settings, Route::each(TOPIC, |_| Patient(Arc::new(Semaphore::new(1_000)))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..50 {
            publisher.publish(&Step { key: format!("poison {number}"), number, poison: true }).await;
        }
        wait_for("the breaker", || is_open(&service)).await;
        assert!(first(&service).dead_lettered < 5);
        publisher.publish(&Step { key: "healthy".to_owned(), number: 50, poison: false }).await;
        wait_for("all of them", || first(&service).handled == 1 && first(&service).dead_lettered == 50).await;
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn a_handler_that_panics_at_everything_costs_fewer_events_than_the_breaker_has_keys_whatever_comes_how_slowly() {
    actix::System::new().block_on(async {
        let broker = broker();
        let service = service(&broker, &QUICK, Route::each(TOPIC, |_| Patient(Arc::new(Semaphore::new(0)))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..4_u32 {
            publisher.publish(&Step { key: format!("k{number}"), number, poison: true }).await;
            // Nothing else arrives: its attempts are used up.
            wait_for("its dead letter", || first(&service).dead_lettered == u64::from(number) + 1).await;
        }
        for number in 4..20 {
            publisher.publish(&Step { key: format!("k{number}"), number, poison: true }).await;
        }
        wait_for("the breaker", || is_open(&service)).await;
        let probes = first(&service).restarts;
        wait_for("probes", || first(&service).restarts > probes + 10).await;
        assert_eq!((first(&service).dead_lettered, first(&service).handled), (4, 0));
        service.stop().await;
    });
}

/// Needs a store, which may be away.
struct Needy(Arc<AtomicBool>);

impl Handler for Needy {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        if self.0.load(Ordering::Relaxed) {
            return Err(HandlerError::unavailable("the ledger's database is locked"));
        }
        Ok(Done::Handled)
    }
}

#[test]
fn a_store_that_is_away_uses_up_no_attempt_and_is_named_until_it_is_back() {
    actix::System::new().block_on(async {
        let broker = broker();
        let away = Arc::new(AtomicBool::new(true));
        let settings: Vec<_> = QUICK.into_iter().chain([("RETRY_ATTEMPTS", "1")]).collect();
        let route = Route::each(TOPIC, {
            let away = Arc::clone(&away);
            move |_| Needy(Arc::clone(&away))
        });
        let service = service(&broker, &settings, route);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        publisher.publish(&step(0)).await;
        wait_for("the breaker, by one event", || is_open(&service)).await;
        let retries = first(&service).retries;
        wait_for("further probes", || first(&service).retries > retries + 10).await;
        let reasons = service.health().readiness().reasons;
        assert!(reasons.iter().any(|reason| reason.contains("the ledger's database is locked")), "{reasons:?}");
        away.store(false, Ordering::Relaxed);
        wait_for("the event", || first(&service).handled == 1).await;
        wait_until_ready(&service).await;
        assert_eq!((first(&service).dead_lettered, first(&service).restarts), (0, 0));
        service.stop().await;
    });
}

/// Panics on poison at once; what else there is waits until it may go on.
struct Patient(Arc<Semaphore>);

impl Handler for Patient {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        assert!(!event.value().poison, "poison");
        self.0.acquire().await.unwrap().forget();
        Ok(Done::Handled)
    }
}

#[test]
fn events_that_panic_at_once_open_nothing_while_calls_that_were_in_flight_with_them_may_still_go_well() {
    const HEALTHY: u32 = 40;
    actix::System::new().block_on(async {
        let broker = broker();
        let settings = [("RETRY_ATTEMPTS", "2"), ("RETRY_MAX_BACKOFF_MS", "1")];
        let go_on = Arc::new(Semaphore::new(0));
        let going = Arc::clone(&go_on);
        let service = service(&broker, &settings, Route::each(TOPIC, move |_| Patient(Arc::clone(&going))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..HEALTHY {
            publisher.publish(&Step { key: format!("healthy {number}"), number: 0, poison: false }).await;
        }
        wait_for("them to be in flight", || first(&service).running == HEALTHY as usize).await;
        for number in 0..HEALTHY / 2 {
            publisher.publish(&Step { key: format!("poison {number}"), number: 0, poison: true }).await;
        }
        // All attempts of all of them: the last ones wait for what the healthy ones show.
        wait_for("their attempts", || first(&service).restarts == u64::from(HEALTHY)).await;
        wait_for("the first, which are too few", || first(&service).dead_lettered == 4).await;
        assert_eq!(first(&service).state, ActorState::Running);
        go_on.add_permits(HEALTHY as usize);
        wait_for("the others", || first(&service).handled == u64::from(HEALTHY)).await;
        wait_for("the dead letters", || first(&service).dead_lettered == u64::from(HEALTHY / 2)).await;
        assert_eq!(first(&service).state, ActorState::Running);
        service.stop().await;
    });
}

/// Panics over one event in a hundred at once, and takes its time for the others.
struct Often;

impl Handler for Often {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        assert!(!event.value().number.is_multiple_of(100), "one in a hundred");
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(Done::Handled)
    }
}

#[test]
fn one_event_in_a_hundred_that_panics_at_once_beside_others_that_take_their_time_opens_nothing() {
    const STEPS: u32 = 5_000;
    actix::System::new().block_on(async {
        let broker = broker();
        let service = service(&broker, &QUICK, Route::each(TOPIC, |_| Often));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let step = |number: u32| Step { key: (number % 997).to_string(), number, poison: false };
        publisher.publish_all((0..STEPS).map(step)).await;
        let opened = Cell::new(false);
        let ended = || {
            opened.set(opened.get() || is_open(&service));
            usize::try_from(first(&service).handled + first(&service).dead_lettered).unwrap()
        };
        wait_for_count("all of them", STEPS as usize, ended).await;
        assert_eq!((first(&service).dead_lettered, opened.get()), (u64::from(STEPS / 100), false));
        service.stop().await;
    });
}

/// Panics at everything; its first calls all fall at the same time.
struct Hopeless(Arc<Barrier>);

const LANES: usize = 5;

impl Handler for Hopeless {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if event.attempt() == 1 {
            self.0.wait().await;
        }
        panic!("whatever it is");
    }
}

#[test]
fn calls_of_different_keys_that_panic_together_open_the_breaker_before_they_cost_an_event() {
    actix::System::new().block_on(async {
        let broker = broker();
        let barrier = Arc::new(Barrier::new(LANES));
        let settings = [("RETRY_ATTEMPTS", "1"), ("BREAKER_MAX_INTERVAL_MS", "20")];
        let service = service(&broker, &settings, Route::each(TOPIC, move |_| Hopeless(Arc::clone(&barrier))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..2 * LANES {
            let number = u32::try_from(number).unwrap();
            publisher.publish(&step(number)).await;
        }
        wait_for("the breaker", || is_open(&service)).await;
        assert!(first(&service).handled == 0 && first(&service).dead_lettered < 5);
        service.stop().await;
    });
}
