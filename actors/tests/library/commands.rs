//! What operators tell the actors on the way in: to be restarted, to stop, to start. No record is lost, repeated or overtaken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::member::stall::STALL_AFTER;
use kafka_actors::kafka::Broker;
use kafka_actors::service::Service;
use kafka_actors::status::{ActorState, ConsumerState};
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::kit::{GIVE_UP, Publisher, Step, TOPIC, broker, kafka, service, unused, wait_for, wait_until_ready};
use crate::ledger::{
    FINISHING, Ledger, QUICK, SLOW, THREAD, epochs, status, step, thread_waits_for_its_restart, vitals,
};
use crate::operator::{done, ended, give, request, says_stopped, under_load};

const ROUTER: &str = "shard-0/router";
const CONSUMER: &str = "shard-0/consumer";

fn partitions(service: &Service) -> usize {
    service.health().consumer().partitions.len()
}

#[test]
fn the_consumers_thread_leaves_and_joins_again_on_command_and_each_record_is_handled_once_in_order() {
    the_thread_is_told_to_join_again(&broker(), TOPIC);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_the_consumers_thread_leaves_and_joins_again_on_command_and_each_record_is_handled_once_in_order() {
    the_thread_is_told_to_join_again(&kafka(), &unused("commands"));
}

fn the_thread_is_told_to_join_again(broker: &Broker, topic: &str) {
    actix::System::new().block_on(async {
        let ledger = Ledger::default();
        let settings: Vec<_> = FINISHING.into_iter().chain([("KAFKA_GROUP", topic)]).collect();
        let service = ledger.serve(broker, topic, &settings).await;
        let publisher = Publisher::new(broker);
        let before = epochs(&service);
        let commands = async {
            for round in 1..4 {
                let handled = ledger.len();
                wait_for("some", || ledger.len() > handled + 50).await;
                done(&service, THREAD, "restart").await;
                wait_for("its partitions", || epochs(&service).len() == before.len()).await;
                assert_eq!(status(&service, THREAD).restarts, round);
            }
        };
        let steps = under_load((&publisher, topic), step, 0, commands).await;
        wait_for("all", || ledger.len() >= steps as usize).await;
        wait_until_ready(&service).await;
        wait_for("their commit", || service.health().consumer().lag == 0).await;
        ledger.assert_each_once_in_order(0..steps);
        assert!(epochs(&service).iter().min() > before.iter().max(), "{before:?} {:?}", epochs(&service));
        let thread = status(&service, THREAD);
        assert_eq!((thread.restarts, thread.state, thread.last_failure.is_none()), (3, ActorState::Running, true));
        service.stop().await;
    });
}

#[test]
fn a_consumer_that_is_stopped_has_left_its_group_to_the_others_until_it_is_started() {
    const STEPS: u32 = 200;
    actix::System::new().block_on(async {
        for path in [THREAD, CONSUMER] {
            let broker = broker();
            let (ledger, publisher) = (Ledger::default(), Publisher::new(&broker));
            let first = ledger.serve(&broker, TOPIC, &FINISHING).await;
            let all = partitions(&first);
            for number in 0..STEPS {
                publisher.publish(&step(number)).await;
            }
            done(&first, path, "stop").await;
            for path in [THREAD, CONSUMER] {
                assert_eq!(status(&first, path).state, ActorState::StoppedByOperator, "{path}");
                assert!(says_stopped(&first, path), "{:?}", first.health().readiness());
                assert_eq!((give(&first, path, "stop").await.0, give(&first, path, "restart").await.0), (409, 409));
            }
            let left = first.health().consumer();
            assert_eq!((left.state, left.partitions.len(), left.in_flight), (ConsumerState::Stopped, 0, 0));
            let handled = ledger.len();
            for number in STEPS..2 * STEPS {
                publisher.publish(&step(number)).await;
            }
            assert_eq!(ledger.len(), handled, "nothing is read");

            let second = ledger.serve(&broker, TOPIC, &FINISHING).await;
            wait_for("what the first left", || ledger.len() >= 2 * STEPS as usize).await;
            done(&first, path, "start").await;
            wait_for("its share", || partitions(&first) > 0 && partitions(&first) + partitions(&second) == all).await;
            wait_until_ready(&first).await;
            for number in 2 * STEPS..3 * STEPS {
                publisher.publish(&step(number)).await;
            }
            wait_for("all", || ledger.len() >= 3 * STEPS as usize).await;
            for path in [THREAD, CONSUMER] {
                assert_eq!(status(&first, path).state, ActorState::Running, "{path}");
            }
            first.stop().await;
            second.stop().await;
            ledger.assert_each_once_in_order(0..3 * STEPS);
        }
    });
}

#[test]
fn a_consumer_that_is_out_of_its_group_remembers_the_pause_of_a_topic() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = ledger.serve(&broker, TOPIC, &[]).await;
        let all = partitions(&service);
        done(&service, CONSUMER, "stop").await;
        let (code, pause) = request(service.management(), "POST", &format!("/topics/{TOPIC}:pause"), "").await;
        assert_eq!((code, &pause["partitions"]), (200, &json!(0)), "{pause}");
        Publisher::new(&broker).publish(&step(0)).await;
        done(&service, CONSUMER, "start").await;
        wait_for("the pause", || {
            let paused = service.health().consumer().partitions;
            paused.len() == all && paused.iter().all(|at| at.paused == Some("operator"))
        })
        .await;
        assert_eq!(ledger.len(), 0);
        request(service.management(), "POST", &format!("/topics/{TOPIC}:resume"), "").await;
        wait_for("the record", || ledger.len() == 1).await;
        service.stop().await;
    });
}

#[test]
fn a_thread_that_waits_for_its_restart_obeys_an_operator_at_once() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service(&broker, &SLOW, ledger.route(TOPIC));
        wait_until_ready(&service).await;
        for verbs in [&["restart"][..], &["stop", "start"]] {
            thread_waits_for_its_restart(&service).await;
            for verb in verbs {
                done(&service, THREAD, verb).await;
            }
            wait_until_ready(&service).await;
        }
        Publisher::new(&broker).publish(&step(0)).await;
        wait_for("the record", || ledger.len() == 1).await;
        service.stop().await;
    });
}

/// Ends no call before it may.
struct Waits(Arc<Semaphore>);

impl Handler for Waits {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        drop(self.0.acquire().await);
        Ok(Done::Handled)
    }
}

#[test]
fn a_thread_that_panics_while_it_leaves_on_command_says_so_and_is_then_where_it_was_sent() {
    actix::System::new().block_on(async {
        let broker = broker();
        let may = Arc::new(Semaphore::new(0));
        let route = Route::each(TOPIC, {
            let may = Arc::clone(&may);
            move |_| Waits(Arc::clone(&may))
        });
        let settings: Vec<_> = QUICK.into_iter().chain([("DRAIN_DEADLINE_MS", "60000")]).collect();
        let service = service(&broker, &settings, route);
        wait_until_ready(&service).await;
        Publisher::new(&broker).publish(&step(0)).await;
        for verb in ["restart", "stop"] {
            // In flight at the present member: the call that an earlier one had begun may not have been cancelled yet.
            wait_for("it to be in flight", || {
                service.health().consumer().in_flight == 1 && service.health().handlers()[0].running == 1
            })
            .await;
            let (_, command) = give(&service, THREAD, verb).await;
            wait_for("it to leave", || service.health().consumer().state == ConsumerState::Draining).await;
            vitals(&service, THREAD).faults().arm("turn", 1);
            let command = ended(&service, &command).await;
            assert_eq!(command["state"], "failed", "{command}");
            wait_for("its place", || match verb {
                "restart" => service.health().readiness().ready,
                _ => says_stopped(&service, THREAD),
            })
            .await;
        }
        done(&service, THREAD, "start").await;
        may.add_permits(1);
        wait_for("the record", || service.health().handlers()[0].handled == 1).await;
        service.stop().await;
    });
}

#[test]
fn a_router_that_is_stopped_has_the_consumer_wait_and_goes_on_with_what_waited_and_that_is_no_stall() {
    const STEPS: u32 = 300;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = ledger.serve(&broker, TOPIC, &[]).await;
        let publisher = Publisher::new(&broker);
        let stop = async {
            wait_for("some", || ledger.len() > 50).await;
            done(&service, ROUTER, "stop").await;
        };
        let first = under_load((&publisher, TOPIC), step, 0, stop).await;
        publisher.publish_all((first..first + STEPS).map(step)).await;
        assert!(says_stopped(&service, ROUTER));
        wait_for("what waits", || service.health().consumer().in_flight >= STEPS as usize).await;
        wait_for("the end of what it had handed on", || {
            let handler = &service.health().handlers()[0];
            handler.queued + handler.running == 0
        })
        .await;
        let (handled, began) = (ledger.len(), Instant::now());
        wait_for("longer than a frontier may rest", || {
            let reasons = service.health().readiness().reasons;
            assert!(reasons.contains(&format!("{ROUTER} is stopped by an operator")), "{reasons:?}");
            assert!(
                !reasons.iter().any(|reason| reason.contains(" is stalled at offset ")),
                "it is no stall: {reasons:?}"
            );
            began.elapsed() > STALL_AFTER + Duration::from_secs(3)
        })
        .await;
        // A busy machine may have had other reasons in between.
        let by_operator = [format!("{ROUTER} is stopped by an operator")];
        wait_for("that reason alone", || service.health().readiness().reasons == by_operator).await;
        assert_eq!(ledger.len(), handled);
        let steps = under_load((&publisher, TOPIC), step, first + STEPS, done(&service, ROUTER, "start")).await;
        wait_for("all", || ledger.len() >= steps as usize).await;
        done(&service, ROUTER, "restart").await;
        wait_until_ready(&service).await;
        ledger.assert_each_once_in_order(0..steps);
        service.stop().await;
    });
}

#[test]
fn a_service_stops_in_time_with_each_of_its_actors_stopped_and_the_next_one_handles_what_was_left() {
    actix::System::new().block_on(async {
        let ways = [THREAD, CONSUMER, ROUTER, "shard-0/producer", "producer", "shard-0/handlers/Writes"];
        for path in ways.into_iter().chain(["http-0/producer"]) {
            let broker = broker();
            let (ledger, publisher) = (Ledger::default(), Publisher::new(&broker));
            // What waits in a stopped actor takes all of it; what does not is done and committed before.
            let settings = [("DRAIN_DEADLINE_MS", "2000")];
            let stops = ledger.serve(&broker, TOPIC, &settings).await;
            publisher.publish(&step(0)).await;
            wait_for("the first", || ledger.len() == 1).await;
            done(&stops, path, "stop").await;
            assert!(says_stopped(&stops, path));
            for number in 1..50 {
                publisher.publish(&step(number)).await;
            }
            let board = stops.health().clone();
            tokio::time::timeout(GIVE_UP, stops.stop()).await.expect("it ends in order");
            assert_eq!(board.consumer().state, ConsumerState::Stopped, "{path}");
            assert_eq!(board.consumer().partitions.len(), 0, "{path}");

            let next = ledger.serve(&broker, TOPIC, &settings).await;
            wait_for("the rest", || ledger.len() >= 50).await;
            next.stop().await;
            ledger.assert_each_once_in_order(0..50);
        }
    });
}
