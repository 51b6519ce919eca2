//! Whose fault is a failure? A key that always fails costs itself; a handler that fails at everything costs no event.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_actors::status::ActorState;
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};
use tokio::sync::{Barrier, Semaphore};

use crate::breaker::{QUICK, first, is_open, step};
use crate::kit::{Publisher, Step, TOPIC, broker, service, wait_for, wait_for_count, wait_until_ready};

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
        // One partition, so that the healthy one comes after all others.
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
        assert_eq!(first(&service).state, ActorState::Running);
        assert!(first(&service).dead_lettered < 5, "the first ones only, before there were enough of them");
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
fn one_event_in_a_hundred_that_panics_at_once_among_others_that_take_their_time_opens_nothing() {
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

/// Panics at everything; its first calls all panic at the same time.
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
