//! The router, the consumer's actor and the thread that polls panic: that costs a restart, and no record.

use std::collections::HashSet;

use kafka_actors::fatal::EXIT_SOFTWARE;
use kafka_actors::kafka::Broker;
use kafka_actors::status::ActorState;

use crate::kit::{
    GIVE_UP, Publisher, TOPIC, broker, kafka, service, service_of, unused, wait_for, wait_for_count, wait_until_ready,
};
use crate::ledger::{KEYS, Ledger, QUICK, SLOW, THREAD, epochs, status, step, thread_waits_for_its_restart, vitals};

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
                // Armed again before that, it would panic once and not twice.
                let faults = router.faults();
                wait_for("its panics", || faults.left(place) + faults.left("deliver") == 0).await;
            }
            wait_for("all", || ledger.len() >= STEPS as usize && other.len() >= STEPS as usize).await;
            wait_for("their commit", || service.health().consumer().lag == 0).await;
            for ledger in [&ledger, &other] {
                ledger.assert_each_once_in_order(0..STEPS);
                ledger.clear();
            }
            wait_for("its last self", || router.status().restarts >= restarts).await;
            assert_eq!(router.status().restarts, restarts, "at {place}");
        }
        let last = router.status().last_failure.unwrap();
        assert!(last.message.contains("a fault at") && last.place.unwrap().contains("faults.rs:"));
        wait_for("its recovery", || router.state() == ActorState::Running).await;
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn a_router_beyond_its_budget_is_probed_and_what_waits_for_it_is_handled_once_when_it_is_healed() {
    const STEPS: u32 = 200;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        // Probes that last longer than any wait of a test, however slow the machine is.
        let settings = [("RESTART_BUDGET", "2"), ("RESTART_PROBES", "1000"), ("RESTART_MAX_BACKOFF_MS", "200")];
        let service = ledger.serve(&broker, TOPIC, &settings).await;
        let publisher = Publisher::new(&broker);
        let router = vitals(&service, "shard-0/router");
        // Its own start fails too.
        router.faults().arm("deliver", 1);
        router.faults().arm("started", u32::MAX);
        for number in 0..STEPS {
            publisher.publish(&step(number)).await;
        }
        wait_for("its budget to be used up", || router.state() == ActorState::OverBudget).await;
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
        let service = ledger.serve(&broker, TOPIC, &settings).await;
        vitals(&service, "shard-0/router").faults().arm("dispatch", u32::MAX);
        Publisher::new(&broker).publish(&step(0)).await;
        let cause = service.stopped().await;
        assert_eq!(cause.exit_code, EXIT_SOFTWARE);
        assert!(cause.message.starts_with("shard-0/router does not come back"), "{}", cause.message);
        assert_eq!((status(&service, "shard-0/router").restarts, ledger.len()), (2 + 2, 0));
        wait_for("it to be owned", || service.health().consumer().in_flight == 1).await;
        service.stop().await;
    });
}

#[test]
fn a_panic_of_the_poll_thread_loses_nothing_and_what_was_answered_before_stays_stale() {
    the_poll_thread_panics(&broker(), TOPIC);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_panic_of_the_poll_thread_loses_nothing() {
    the_poll_thread_panics(&kafka(), &unused("crashes"));
}

fn the_poll_thread_panics(broker: &Broker, topic: &str) {
    const STEPS: u32 = 2_000;
    actix::System::new().block_on(async {
        let ledger = Ledger::default();
        let service = ledger.serve(broker, topic, &[("KAFKA_GROUP", topic)]).await;
        let publisher = Publisher::new(broker);
        let before = epochs(&service);
        let thread = vitals(&service, THREAD);
        for number in 0..STEPS {
            if number % 500 == 250 {
                thread.faults().arm("turn", 1);
                // Armed again before that, it would fail once and not twice.
                wait_for("its failure", || thread.faults().left("turn") == 0).await;
            }
            publisher.publish_to(topic, &step(number)).await;
        }
        let seen = || ledger.0.lock().unwrap().iter().map(|step| step.1).collect::<HashSet<_>>().len();
        wait_for_count("all", STEPS as usize, seen).await;
        wait_until_ready(&service).await;
        wait_for("their end", || service.health().consumer().in_flight == 0).await;
        assert_eq!((thread.status().restarts, thread.state()), (4, ActorState::Running));
        assert!(epochs(&service).iter().min() > before.iter().max(), "{before:?} {:?}", epochs(&service));
        // What was in flight, or settled and not committed, comes again; nothing is missing, and nothing overtakes.
        let all = ledger.0.lock().unwrap().clone();
        for key in 0..KEYS {
            let mut next = key;
            for (_, number) in all.iter().filter(|step| step.0 == key.to_string()) {
                assert!(*number <= next, "{number} overtakes {next}");
                next = next.max(number + KEYS);
            }
            assert_eq!(next, STEPS + key, "all of key {key}");
        }
        service.stop().await;
    });
}

#[test]
fn a_poll_thread_that_waits_for_its_restart_obeys_a_stop_and_one_that_does_not_come_back_ends_the_service() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let waits = service(&broker, &SLOW, ledger.route(TOPIC));
        wait_until_ready(&waits).await;
        thread_waits_for_its_restart(&waits).await;
        assert!(!waits.health().readiness().ready);
        let thread = vitals(&waits, THREAD);
        tokio::time::timeout(GIVE_UP, waits.stop()).await.expect("it ends");
        assert_eq!(thread.status().restarts, 2, "it has waited for no pause");

        let hopeless: Vec<_> = QUICK.into_iter().chain([("RESTART_BUDGET", "1"), ("RESTART_PROBES", "1")]).collect();
        let hopeless = service(&broker, &hopeless, ledger.route(TOPIC));
        wait_until_ready(&hopeless).await;
        vitals(&hopeless, THREAD).faults().arm("turn", u32::MAX);
        let cause = hopeless.stopped().await;
        assert_eq!(cause.exit_code, EXIT_SOFTWARE);
        assert!(cause.message.starts_with("shard-0/consumer/thread does not come back"), "{}", cause.message);
        hopeless.stop().await;
    });
}
