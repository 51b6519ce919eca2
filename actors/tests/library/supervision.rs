//! A handler that fails again and again: it is given pauses, then a trial, and in the end up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_actors::escalation::{Cause, EXIT_SOFTWARE};
use kafka_actors::service::Service;
use kafka_actors::status::{ActorState, HandlerStatus};
use kafka_actors::{BatchHandler, Done, Event, Handler, HandlerResult, Route};
use tokio::sync::{Barrier, Semaphore};

use crate::kit::{Publisher, Step, TOPIC, broker, service, service_of, wait_for, wait_until_ready};

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

/// Attempts without end, so that events outlast the handlers; and short pauses.
const PATIENT: [(&str, &str); 5] = [
    ("RETRY_ATTEMPTS", "100"),
    ("RETRY_MAX_BACKOFF_MS", "20"),
    ("RESTART_BUDGET", "2"),
    ("RESTART_BACKOFF_MS", "1"),
    ("RESTART_MAX_BACKOFF_MS", "100"),
];

fn first(service: &Service) -> HandlerStatus {
    service.health().handlers().remove(0)
}

fn step(number: u32) -> Step {
    Step { key: format!("k{}", number % 5), number, poison: false }
}

#[test]
fn beyond_its_budget_a_handler_escalates_alone_and_when_it_is_healed_everything_is_handled_once_in_order() {
    const STEPS: u32 = 200;
    actix::System::new().block_on(async {
        let broker = broker();
        let (shared, sibling) = (Shared::default(), Shared::default());
        shared.broken.store(true, Ordering::Relaxed);
        let routes = [(TOPIC, shared.clone()), ("other", sibling.clone())];
        let routes = routes.map(|(topic, shared)| Route::each(topic, move |_| Touchy(shared.clone())));
        // Probes that last longer than any wait of a test, however slow the machine is. Each costs one of five events one
        // of its attempts.
        let probes = [("RESTART_PROBES", "1000"), ("RESTART_MAX_BACKOFF_MS", "500")];
        let patient: Vec<_> = PATIENT.into_iter().chain(probes).collect();
        let service = service_of(&broker, &patient, routes);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..STEPS {
            publisher.publish(&step(number)).await;
            publisher.publish_to("other", &step(number)).await;
        }
        wait_for("the escalation", || first(&service).state == ActorState::Escalated).await;
        wait_for("the pause of its topic alone", || {
            let consumer = service.health().consumer();
            consumer.partitions.iter().all(|at| (at.paused == Some("supervisor")) == (at.topic == TOPIC))
        })
        .await;
        let reasons = service.health().readiness().reasons;
        assert!(reasons.iter().any(|reason| reason.contains("Touchy") && reason.contains("broken")), "{reasons:?}");
        wait_for("its sibling", || sibling.handled.lock().unwrap().len() == STEPS as usize).await;
        let probes = first(&service).restarts;
        wait_for("further probes", || first(&service).restarts > probes + 3).await;
        assert_eq!((first(&service).handled, first(&service).dead_lettered), (0, 0));

        shared.broken.store(false, Ordering::Relaxed);
        wait_for("the rest", || first(&service).handled == u64::from(STEPS)).await;
        assert_eq!(first(&service).state, ActorState::Running);
        wait_until_ready(&service).await;
        let handled = shared.handled.lock().unwrap().clone();
        for key in 0..5 {
            let numbers = handled.iter().filter(|step| step.0 == format!("k{key}")).map(|step| step.1);
            assert!(numbers.eq((0..STEPS).filter(|number| number % 5 == key)), "k{key}: once, in order");
        }
        service.stop().await;
    });
}

#[test]
fn a_handler_whose_probes_fail_ends_the_service_with_its_own_code_and_settles_nothing() {
    actix::System::new().block_on(async {
        let broker = broker();
        let shared = Shared::default();
        shared.broken.store(true, Ordering::Relaxed);
        let patient: Vec<_> = PATIENT.into_iter().chain([("RESTART_PROBES", "3")]).collect();
        let service = service(&broker, &patient, Route::each(TOPIC, move |_| Touchy(shared.clone())));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..20 {
            publisher.publish(&step(number)).await;
        }
        let Cause { message, exit_code } = service.failed().await;
        assert_eq!(exit_code, EXIT_SOFTWARE);
        assert!(message.contains("Touchy") && message.contains("supervision.rs:"), "{message}");
        // Two restarts within the budget, and three probes of which the last one was not followed by another; and those of
        // events that had failed before, which are not counted against the budget.
        assert!(first(&service).restarts >= 2 + 3, "{}", first(&service).restarts);
        assert_eq!((first(&service).handled, first(&service).dead_lettered), (0, 0));
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
        let patient: Vec<_> = PATIENT.into_iter().chain([("RESTART_PROBES", "10")]).collect();
        let service = service(&broker, &patient, route);
        let publisher = Publisher::new(&broker);
        wait_for("the handler", || first(&service).state == ActorState::Probing).await;
        for number in 0..20 {
            publisher.publish(&step(number)).await;
        }
        wait_for("all", || first(&service).handled == 20).await;
        assert_eq!((first(&service).state, first(&service).retries), (ActorState::Running, 0));
        service.stop().await;
    });
}

/// Its first calls all fall at the same time.
struct Together(Arc<Barrier>);

const TOGETHER: usize = 100;

impl Handler for Together {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if event.attempt() == 1 {
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
        let service = service(&broker, &PATIENT, Route::each(TOPIC, move |_| Together(Arc::clone(&barrier))));
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
fn an_event_that_panics_at_each_attempt_is_judged_by_its_attempts_and_takes_its_handler_from_nobody() {
    actix::System::new().block_on(async {
        let broker = broker();
        // A second failure that counted would have the topic paused for minutes.
        let settings = [
            ("RETRY_ATTEMPTS", "30"),
            ("RETRY_MAX_BACKOFF_MS", "1"),
            ("RESTART_BUDGET", "1"),
            ("RESTART_BACKOFF_MS", "60000"),
            ("RESTART_MAX_BACKOFF_MS", "600000"),
        ];
        let service = service(&broker, &settings, Route::batched(TOPIC, |_| Poisoned(Shared::default())));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        publisher.publish(&Step { key: "poison".to_owned(), number: 0, poison: true }).await;
        wait_for("the dead letter", || first(&service).dead_lettered == 1).await;
        assert_eq!((first(&service).state, first(&service).restarts), (ActorState::Running, 30));
        publisher.publish(&step(1)).await;
        wait_for("the next event", || first(&service).handled == 1).await;
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
fn a_call_that_was_in_hand_over_a_panic_and_went_well_forgives_it() {
    actix::System::new().block_on(async {
        let broker = broker();
        // A second failure that counted would have the topic paused for minutes.
        let settings = [
            ("RETRY_ATTEMPTS", "1"),
            ("RESTART_BUDGET", "1"),
            ("RESTART_BACKOFF_MS", "60000"),
            ("RESTART_MAX_BACKOFF_MS", "600000"),
        ];
        let go_on = Arc::new(Semaphore::new(0));
        let going = Arc::clone(&go_on);
        let service = service(&broker, &settings, Route::each(TOPIC, move |_| Patient(Arc::clone(&going))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for round in 1..4 {
            publisher.publish(&Step { key: "healthy".to_owned(), number: 0, poison: false }).await;
            wait_for("it to be in hand", || first(&service).running == 1).await;
            // The first is one call of two, the second one of three.
            for panics in [2 * round - 1, 2 * round] {
                publisher.publish(&Step { key: "poison".to_owned(), number: 0, poison: true }).await;
                wait_for("the dead letter", || first(&service).dead_lettered == panics).await;
            }
            go_on.add_permits(1);
            wait_for("the other one", || first(&service).handled == round).await;
            assert_eq!((first(&service).state, first(&service).restarts), (ActorState::Running, 2 * round));
        }
        service.stop().await;
    });
}

#[test]
fn events_that_panic_at_once_escalate_nothing_while_most_calls_may_still_go_well() {
    const HEALTHY: u32 = 40;
    actix::System::new().block_on(async {
        let broker = broker();
        // A second failure that counted would have the topic paused for minutes.
        let settings = [
            ("RETRY_ATTEMPTS", "2"),
            ("RETRY_MAX_BACKOFF_MS", "1"),
            ("RESTART_BUDGET", "1"),
            ("RESTART_BACKOFF_MS", "60000"),
            ("RESTART_MAX_BACKOFF_MS", "600000"),
        ];
        let go_on = Arc::new(Semaphore::new(0));
        let going = Arc::clone(&go_on);
        let service = service(&broker, &settings, Route::each(TOPIC, move |_| Patient(Arc::clone(&going))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for number in 0..HEALTHY {
            publisher.publish(&Step { key: format!("healthy {number}"), number: 0, poison: false }).await;
        }
        wait_for("them to be in hand", || first(&service).running == HEALTHY as usize).await;
        for number in 0..HEALTHY / 2 {
            publisher.publish(&Step { key: format!("poison {number}"), number: 0, poison: true }).await;
        }
        wait_for("the dead letters", || first(&service).dead_lettered == u64::from(HEALTHY / 2)).await;
        go_on.add_permits(HEALTHY as usize);
        wait_for("the others", || first(&service).handled == u64::from(HEALTHY)).await;
        assert_eq!((first(&service).state, first(&service).restarts), (ActorState::Running, u64::from(HEALTHY)));
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
fn a_handler_that_panics_at_everything_escalates_before_it_costs_an_event() {
    actix::System::new().block_on(async {
        let broker = broker();
        let barrier = Arc::new(Barrier::new(LANES));
        // Two failures that count are followed by restarts at once, the third one escalates: for a minute at least.
        let settings = [
            ("RETRY_ATTEMPTS", "10"),
            ("RETRY_MAX_BACKOFF_MS", "20"),
            ("RESTART_BUDGET", "2"),
            ("RESTART_BACKOFF_MS", "60000"),
            ("RESTART_MAX_BACKOFF_MS", "600000"),
        ];
        let service = service(&broker, &settings, Route::each(TOPIC, move |_| Hopeless(Arc::clone(&barrier))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        // All lanes fall in the first attempt together, so that it is told by their second ones alone.
        for number in 0..2 * LANES {
            let number = u32::try_from(number).unwrap();
            publisher.publish(&step(number)).await;
        }
        wait_for("the escalation", || first(&service).state == ActorState::Escalated).await;
        assert_eq!((first(&service).handled, first(&service).dead_lettered), (0, 0));
        service.stop().await;
    });
}
