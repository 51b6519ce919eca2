//! A handler that fails at everything, or whose store is away, opens its breaker, and it closes when that is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_actors::fatal::{EXIT_SOFTWARE, FatalError};
use kafka_actors::service::Service;
use kafka_actors::status::{ActorState, HandlerStatus};
use kafka_actors::{BatchHandler, Done, Event, Handler, HandlerError, HandlerResult, Route};

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

/// Short pauses.
pub(crate) const QUICK: [(&str, &str); 2] = [("RETRY_MAX_BACKOFF_MS", "20"), ("BREAKER_MAX_INTERVAL_MS", "20")];

pub(crate) fn is_open(service: &Service) -> bool {
    matches!(first(service).state, ActorState::BreakerOpen | ActorState::BreakerHalfOpen)
}

pub(crate) fn first(service: &Service) -> HandlerStatus {
    service.health().handlers().remove(0)
}

pub(crate) fn step(number: u32) -> Step {
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
        let FatalError { message, exit_code, .. } = service.stopped().await;
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
        let FatalError { message, exit_code, .. } = ends.stopped().await;
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
        wait_for("it to be in flight", || first(&service).running == 1).await;
        for number in 1..20 {
            publisher.publish(&step(number)).await;
        }
        wait_for("the others behind it", || first(&service).queued == 19).await;
        shared.broken.store(false, Ordering::Relaxed);
        wait_for("the others", || first(&service).handled == 19).await;
        // It would have panicked again in its next attempt.
        assert_eq!((first(&service).retries, first(&service).restarts), (1, 1), "they wait for no one");
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
