//! The actor around a handler panics, alone and together with everything else; and every actor is seen.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_actors::fatal::EXIT_SOFTWARE;
use kafka_actors::status::ActorState;
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service, service_of, wait_for, wait_for_count, wait_until_ready};
use crate::ledger::{KEYS, Ledger, QUICK, THREAD, status, step, vitals};

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
        let service = ledger.serve(&broker, TOPIC, &[]).await;
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
        let service = ledger.serve(&broker, TOPIC, &[]).await;
        // The attempts of the events of a kit's service.
        vitals(&service, AROUND).faults().arm("begin", 3);
        Publisher::new(&broker).publish_all((0..5).map(|number| step(number * KEYS))).await;
        let ended = || (service.health().handlers()[0].handled, service.health().handlers()[0].dead_lettered);
        wait_for("the dead letter, and the others", || ended() == (4, 1)).await;
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
        let service = ledger.serve(&broker, TOPIC, &settings).await;
        vitals(&service, AROUND).faults().arm("work", 1);
        vitals(&service, AROUND).faults().arm("started", u32::MAX);
        Publisher::new(&broker).publish(&step(0)).await;
        let cause = service.stopped().await;
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
        let in_lanes = || {
            let status = status();
            status.queued + status.running
        };
        wait_for_count("the first half in its lanes", STEPS as usize / 2, in_lanes).await;
        let (router, around) = (vitals(&service, "shard-0/router"), vitals(&service, "shard-0/handlers/Gated"));
        // Over a batch in flight, with records in the lanes and calls that wait.
        router.faults().arm("deliver", 2);
        router.faults().arm("dispatched", 2);
        around.faults().arm("work", 2);
        for tenth in 5..10 {
            publisher.publish_all((tenth * STEPS / 10..(tenth + 1) * STEPS / 10).map(step)).await;
        }
        wait_for_count("all in their lanes", STEPS as usize, in_lanes).await;
        around.faults().arm("begin", 2);
        open.store(true, Ordering::Relaxed);
        wait_for_count("all", STEPS as usize, || usize::try_from(status().handled).unwrap()).await;
        wait_for("their commit", || service.health().consumer().in_flight == 0).await;
        ledger.assert_each_once_in_order(0..STEPS);
        assert_eq!((router.status().restarts, status().dead_lettered), (4, 0));
        // The handler itself panicked over each hundredth, and was restarted.
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
