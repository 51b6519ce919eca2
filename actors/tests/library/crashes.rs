//! The library's own actors panic: that costs a restart, and no record.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::escalation::EXIT_SOFTWARE;
use actors::service::Service;
use actors::status::{ActorState, ActorStatus, Vitals};
use actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service, service_of, wait_for, wait_until_ready};

/// What was handled, in its order.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Vec<(String, u32)>>>);

impl Ledger {
    fn route(&self, topic: &str) -> Route {
        let ledger = self.clone();
        Route::each(topic, move |_| Writes(ledger.clone()))
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    #[track_caller]
    fn assert_each_once_in_order(&self, steps: std::ops::Range<u32>) {
        let all = self.0.lock().unwrap();
        let mut last = HashMap::new();
        for (key, number) in &*all {
            let before = last.insert(key, *number);
            assert!(before.is_none_or(|before| before < *number), "{number} of key {key} after {before:?}");
        }
        let mut numbers: Vec<u32> = all.iter().map(|step| step.1).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(steps), "each once");
    }
}

const KEYS: u32 = 5;

struct Writes(Ledger);

impl Handler for Writes {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if event.value().number.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
        self.0.0.lock().unwrap().push((event.value().key.clone(), event.value().number));
        Ok(Done::Handled)
    }
}

fn step(number: u32) -> Step {
    Step { key: (number % KEYS).to_string(), number, poison: false }
}

fn vitals(service: &Service, path: &str) -> Arc<Vitals> {
    service.health().vitals(path).unwrap()
}

fn status(service: &Service, path: &str) -> ActorStatus {
    vitals(service, path).status()
}

const QUICK: [(&str, &str); 3] =
    [("RESTART_BACKOFF_MS", "1"), ("RESTART_MAX_BACKOFF_MS", "20"), ("COMMIT_INTERVAL_MS", "50")];

#[test]
fn a_router_that_panics_hands_each_record_on_once_and_in_order_wherever_it_was() {
    const STEPS: u32 = 100;
    actix::System::new().block_on(async {
        let broker = broker();
        let (ledger, other) = (Ledger::default(), Ledger::default());
        let service = service_of(&broker, &QUICK, [ledger.route(TOPIC), other.route("other")]);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let router = vitals(&service, "shard-0/router");
        let mut restarts = 0;
        for place in ["deliver", "dispatch", "dispatched", "started"] {
            // A paused pair of topics makes batches with records of both.
            for numbers in [0..STEPS / 2, STEPS / 2..STEPS] {
                router.faults().arm(place, 1);
                if place == "started" {
                    router.faults().arm("deliver", 1);
                    restarts += 1;
                }
                restarts += 1;
                for number in numbers {
                    publisher.publish(&step(number)).await;
                    publisher.publish_to("other", &step(number)).await;
                }
            }
            wait_for("all", || ledger.len() >= STEPS as usize && other.len() >= STEPS as usize).await;
            wait_for("their commit", || service.health().consumer().lag == 0).await;
            for ledger in [&ledger, &other] {
                ledger.assert_each_once_in_order(0..STEPS);
                ledger.clear();
            }
            assert_eq!(router.status().restarts, restarts, "at {place}");
        }
        let last = router.status().last_failure.unwrap();
        assert!(last.message.contains("a fault at") && last.place.unwrap().contains("faults.rs:"));
        wait_for("its recovery", || router.state() == ActorState::Running).await;
        assert!(service.health().readiness().ready);
        service.stop().await;
    });
}

#[test]
fn a_router_beyond_its_budget_escalates_and_what_waits_for_it_is_handled_once_when_it_is_healed() {
    const STEPS: u32 = 200;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let settings = [("RESTART_BUDGET", "2"), ("RESTART_PROBES", "1000")];
        let settings: Vec<_> = QUICK.into_iter().chain(settings).collect();
        let service = service(&broker, &settings, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let router = vitals(&service, "shard-0/router");
        // Its own start fails too.
        router.faults().arm("deliver", 1);
        router.faults().arm("started", u32::MAX);
        for number in 0..STEPS {
            publisher.publish(&step(number)).await;
        }
        wait_for("its escalation", || router.state() == ActorState::Escalated).await;
        let reasons = service.health().readiness().reasons;
        assert!(
            reasons.iter().any(|reason| reason.contains("shard-0/router") && reason.contains("a fault at started"))
        );
        assert_eq!(ledger.len(), 0);
        router.faults().arm("started", 0);
        wait_for("all", || ledger.len() >= STEPS as usize).await;
        wait_for("its recovery", || router.state() == ActorState::Running).await;
        ledger.assert_each_once_in_order(0..STEPS);
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn a_router_that_does_not_come_back_ends_the_service_with_its_own_code_and_settles_nothing() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let settings = [("RESTART_BUDGET", "2"), ("RESTART_PROBES", "2")];
        let settings: Vec<_> = QUICK.into_iter().chain(settings).collect();
        let service = service(&broker, &settings, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        vitals(&service, "shard-0/router").faults().arm("dispatch", u32::MAX);
        Publisher::new(&broker).publish(&step(0)).await;
        let cause = service.failed().await;
        assert_eq!(cause.exit_code, EXIT_SOFTWARE);
        assert!(cause.message.starts_with("shard-0/router does not come back"), "{}", cause.message);
        assert_eq!((status(&service, "shard-0/router").restarts, ledger.len()), (2 + 2, 0));
        wait_for("it to be owned", || service.health().consumer().in_flight == 1).await;
        service.stop().await;
    });
}

#[test]
fn a_consumers_actor_that_panics_over_the_order_to_drain_still_drains_and_commits() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        // Nothing is committed but at the end.
        let settings = [("COMMIT_INTERVAL_MS", "60000"), QUICK[0], QUICK[1]];
        let first = service(&broker, &settings, ledger.route(TOPIC));
        wait_until_ready(&first).await;
        let publisher = Publisher::new(&broker);
        for number in 0..50 {
            publisher.publish(&step(number)).await;
        }
        wait_for("all", || ledger.len() == 50).await;
        let consumer = vitals(&first, "shard-0/consumer");
        consumer.faults().arm("drain", 1);
        consumer.faults().arm("started", 2);
        first.stop().await;
        assert_eq!(consumer.status().restarts, 3, "one for the order, two for its start");

        let second = service(&broker, &settings, ledger.route(TOPIC));
        wait_until_ready(&second).await;
        publisher.publish(&step(50)).await;
        wait_for("the next", || ledger.len() > 50).await;
        ledger.assert_each_once_in_order(0..51);
        second.stop().await;
    });
}

#[test]
fn every_actor_is_seen_with_its_state() {
    actix::System::new().block_on(async {
        let broker = broker();
        let routes = [Ledger::default().route(TOPIC), Ledger::default().route("other")];
        let service = service_of(&broker, &[("HTTP_WORKERS", "1")], routes);
        let known = || service.health().actors().into_iter().map(|actor| (actor.path, actor.state)).collect::<Vec<_>>();
        let expected = [
            "http-0/producer",
            "producer",
            "shard-0/consumer",
            "shard-0/consumer/thread",
            "shard-0/handlers/Writes/other",
            "shard-0/handlers/Writes/steps",
            "shard-0/producer",
            "shard-0/router",
        ];
        let all = expected.map(|path| (path.to_owned(), ActorState::Running));
        wait_for("all of them", || known() == all).await;
        Publisher::new(&broker).publish(&step(0)).await;
        wait_for("what they did", || {
            let handled = |path| status(&service, path).handled;
            handled("shard-0/router") == 1 && handled(THREAD) == 1 && handled("shard-0/handlers/Writes/steps") == 1
        })
        .await;
        service.stop().await;
    });
}

const AROUND: &str = "shard-0/handlers/Writes";

#[test]
fn an_actor_around_a_handler_that_panics_keeps_every_record_and_their_order_wherever_it_was() {
    const STEPS: u32 = 200;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service(&broker, &QUICK, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let around = vitals(&service, AROUND);
        for (place, repeats) in [("work", 0), ("begin", 0), ("finish", 1), ("started", 0)] {
            let before = around.status().restarts;
            around.faults().arm(place, 1);
            if place == "started" {
                around.faults().arm("work", 1);
            }
            publisher.publish_all((0..STEPS).map(step)).await;
            wait_for("their commit", || service.health().handlers()[0].handled.is_multiple_of(u64::from(STEPS))).await;
            wait_for("all", || ledger.len() >= STEPS as usize + repeats).await;
            // The one that was done when its answer was lost is done again, before those behind it.
            ledger.0.lock().unwrap().dedup_by_key(|step| step.1);
            let mut all = ledger.0.lock().unwrap().clone();
            let mut known = HashSet::new();
            all.retain(|step| known.insert(step.1));
            assert!(ledger.len() <= STEPS as usize + repeats, "{} at {place}", ledger.len());
            *ledger.0.lock().unwrap() = all;
            ledger.assert_each_once_in_order(0..STEPS);
            ledger.clear();
            assert_eq!(around.status().restarts - before, if place == "started" { 2 } else { 1 }, "at {place}");
        }
        wait_for("their commit", || service.health().consumer().lag == 0).await;
        assert_eq!((around.state(), service.health().handlers()[0].dead_lettered), (ActorState::Running, 0));
        service.stop().await;
    });
}

#[test]
fn an_event_over_which_the_actor_around_its_handler_panics_again_and_again_becomes_a_dead_letter() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service(&broker, &QUICK, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        // The attempts of the events of a kit's service.
        vitals(&service, AROUND).faults().arm("begin", 3);
        Publisher::new(&broker).publish_all((0..5).map(|number| step(number * KEYS))).await;
        wait_for("the others", || service.health().handlers()[0].handled == 4).await;
        assert_eq!(service.health().handlers()[0].dead_lettered, 1);
        let numbers: Vec<u32> = ledger.0.lock().unwrap().iter().map(|step| step.1).collect();
        assert_eq!(numbers, [5, 10, 15, 20]);
        service.stop().await;
    });
}

#[test]
fn an_actor_around_a_handler_that_does_not_come_back_ends_the_service_and_settles_nothing() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let settings = [("RESTART_BUDGET", "1"), ("RESTART_PROBES", "2")];
        let settings: Vec<_> = QUICK.into_iter().chain(settings).collect();
        let service = service(&broker, &settings, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        vitals(&service, AROUND).faults().arm("work", 1);
        vitals(&service, AROUND).faults().arm("started", u32::MAX);
        Publisher::new(&broker).publish(&step(0)).await;
        let cause = service.failed().await;
        assert_eq!(cause.exit_code, EXIT_SOFTWARE);
        assert!(cause.message.contains(AROUND) && cause.message.contains("a fault at started"), "{}", cause.message);
        wait_for("it to be owned", || service.health().consumer().in_flight == 1).await;
        assert_eq!(ledger.len(), 0);
        service.stop().await;
    });
}

/// Waits at its gate; panics over the first attempt of each hundredth step.
struct Gated(Ledger, Arc<AtomicBool>);

impl Handler for Gated {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        while !self.1.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let Step { key, number, .. } = event.value();
        assert!(event.attempt() > 1 || number % 100 != 99, "the first attempt");
        self.0.0.lock().unwrap().push((key.clone(), *number));
        Ok(Done::Handled)
    }
}

#[test]
fn restarts_of_everything_under_load_handle_each_of_ten_thousand_records_once_in_order() {
    const STEPS: u32 = 10_000;
    actix::System::new().block_on(async {
        let broker = broker();
        let (ledger, open) = (Ledger::default(), Arc::new(AtomicBool::new(false)));
        let settings: Vec<_> = QUICK.into_iter().chain([("RESTART_BUDGET", "100")]).collect();
        let route = Route::each(TOPIC, {
            let (ledger, open) = (ledger.clone(), Arc::clone(&open));
            move |_| Gated(ledger.clone(), Arc::clone(&open))
        });
        let service = service(&broker, &settings, route);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        // So many keys that no partition has more on its way than it may.
        let step = |number: u32| Step { key: (number % 97).to_string(), number, poison: false };
        publisher.publish_all((0..STEPS / 2).map(step)).await;
        let status = || service.health().handlers().remove(0);
        wait_for("the first half in its lanes", || status().queued + status().running == STEPS as usize / 2).await;
        let (router, around) = (vitals(&service, "shard-0/router"), vitals(&service, "shard-0/handlers/Gated"));
        // Over a batch in hand, with records in the lanes and calls that wait.
        router.faults().arm("deliver", 2);
        router.faults().arm("dispatched", 2);
        around.faults().arm("work", 2);
        for tenth in 5..10 {
            publisher.publish_all((tenth * STEPS / 10..(tenth + 1) * STEPS / 10).map(step)).await;
        }
        wait_for("all in their lanes", || status().queued + status().running == STEPS as usize).await;
        around.faults().arm("begin", 2);
        open.store(true, Ordering::Relaxed);
        wait_for("all", || status().handled >= u64::from(STEPS)).await;
        wait_for("their commit", || service.health().consumer().in_flight == 0).await;
        ledger.assert_each_once_in_order(0..STEPS);
        assert_eq!((router.status().restarts, status().dead_lettered), (4, 0));
        // The handler itself fell over each hundredth, and was made anew.
        assert!(around.status().restarts >= 4 + 20, "{}", around.status().restarts);
        for place in ["deliver", "dispatched"] {
            assert_eq!(router.faults().left(place), 0);
        }
        for place in ["work", "begin"] {
            assert_eq!(around.faults().left(place), 0);
        }
        service.stop().await;
    });
}

const THREAD: &str = "shard-0/consumer/thread";

#[test]
fn a_panic_of_the_poll_thread_loses_nothing_and_what_was_answered_before_stays_stale() {
    const STEPS: u32 = 2_000;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service(&broker, &QUICK, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let epochs = || service.health().consumer().partitions.iter().map(|at| at.epoch).collect::<Vec<_>>();
        let before = epochs();
        let thread = vitals(&service, THREAD);
        for number in 0..STEPS {
            if number % 500 == 250 {
                thread.faults().arm("turn", 1);
            }
            publisher.publish(&step(number)).await;
        }
        let seen = || ledger.0.lock().unwrap().iter().map(|step| step.1).collect::<HashSet<_>>().len();
        wait_for("all", || seen() == STEPS as usize).await;
        wait_for("their end", || service.health().consumer().in_flight == 0).await;
        assert_eq!((thread.status().restarts, thread.state()), (4, ActorState::Running));
        assert!(epochs().iter().min() > before.iter().max(), "{before:?} {:?}", epochs());
        // What was in hand, or settled and not committed, comes again; nothing is missing, and nothing overtakes.
        let all = ledger.0.lock().unwrap().clone();
        for key in 0..KEYS {
            let mut next = key;
            for (_, number) in all.iter().filter(|step| step.0 == key.to_string()) {
                assert!(*number <= next, "{number} overtakes {next}");
                next = next.max(number + KEYS);
            }
            assert_eq!(next, STEPS + key, "all of key {key}");
        }
        assert!(service.health().readiness().ready);
        service.stop().await;
    });
}

#[test]
fn a_poll_thread_that_waits_for_its_restart_obeys_a_stop_and_one_that_does_not_come_back_ends_the_service() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let slow = [("RESTART_BACKOFF_MS", "60000"), ("RESTART_MAX_BACKOFF_MS", "60000")];
        let waits = service(&broker, &slow, ledger.route(TOPIC));
        wait_until_ready(&waits).await;
        vitals(&waits, THREAD).faults().arm("turn", u32::MAX);
        wait_for("its pause", || {
            let thread = status(&waits, THREAD);
            thread.state == ActorState::BackingOff && thread.restarts == 1
        })
        .await;
        assert!(!waits.health().readiness().ready);
        tokio::time::timeout(Duration::from_secs(20), waits.stop()).await.expect("it waits for no pause");

        let hopeless: Vec<_> = QUICK.into_iter().chain([("RESTART_BUDGET", "1"), ("RESTART_PROBES", "1")]).collect();
        let hopeless = service(&broker, &hopeless, ledger.route(TOPIC));
        wait_until_ready(&hopeless).await;
        vitals(&hopeless, THREAD).faults().arm("turn", u32::MAX);
        let cause = hopeless.failed().await;
        assert_eq!(cause.exit_code, EXIT_SOFTWARE);
        assert!(cause.message.starts_with("shard-0/consumer/thread does not come back"), "{}", cause.message);
        hopeless.stop().await;
    });
}
