//! A handler that blocks its thread is named, and one that uses `spawn_blocking` is not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use kafka_actors::service::Service;
use kafka_actors::status::ConsumerState;
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{GIVE_UP, Publisher, Step, TOPIC, broker, service_of, wait_for, wait_until_ready};

type Gate = Arc<Mutex<Receiver<()>>>;

/// Waits for its gate, and holds up its thread or one of those that are there for it.
struct Waits {
    gate: Gate,
    blocks: bool,
    begun: Arc<AtomicBool>,
}

impl Handler for Waits {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        let gate = Arc::clone(&self.gate);
        self.begun.store(true, Ordering::Relaxed);
        let wait = move || gate.lock().unwrap().recv().unwrap();
        if self.blocks {
            wait();
        } else {
            tokio::task::spawn_blocking(wait).await.unwrap();
        }
        Ok(Done::Handled)
    }
}

/// Whether the arbiter of the handlers is named as one that does not turn.
fn is_stuck(service: &Service) -> bool {
    service.health().readiness().reasons.iter().any(|reason| reason.starts_with("arbiter shard-0 has not turned for"))
}

#[test]
fn an_arbiter_that_a_handler_blocks_is_named_until_it_turns_again_and_spawn_blocking_blocks_none() {
    actix::System::new().block_on(async {
        let broker = broker();
        let publisher = Publisher::new(&broker);
        let [(open, waits), (other_open, blocks)] = [false, true].map(|blocks| {
            let (open, gate) = channel();
            let gate = Arc::new(Mutex::new(gate));
            let route = Route::each(TOPIC, move |_| Waits { gate: Arc::clone(&gate), blocks, begun: Arc::default() });
            (open, service_of(&broker, &[("KAFKA_GROUP", if blocks { "one" } else { "other" })], [route]))
        });
        for service in [&waits, &blocks] {
            wait_until_ready(service).await;
        }
        publisher.publish(&Step { key: "k".to_owned(), number: 0, poison: false }).await;
        wait_for("the name of the arbiter", || is_stuck(&blocks)).await;
        // The other waits too, and turns.
        wait_for("its like that does not block", || waits.health().handlers()[0].running == 1 && !is_stuck(&waits))
            .await;
        for open in [open, other_open] {
            open.send(()).unwrap();
        }
        wait_for("its turn", || !is_stuck(&blocks)).await;
        for service in [waits, blocks] {
            wait_for("the event", || service.health().handlers()[0].handled == 1).await;
            service.stop().await;
        }
    });
}

#[test]
fn a_stop_waits_for_no_handler_that_blocks_its_thread() {
    actix::System::new().block_on(async {
        let broker = broker();
        let (open, gate) = channel();
        let gate = Arc::new(Mutex::new(gate));
        let begun = Arc::new(AtomicBool::new(false));
        let route = Route::each(TOPIC, {
            let begun = Arc::clone(&begun);
            move |_| Waits { gate: Arc::clone(&gate), blocks: true, begun: Arc::clone(&begun) }
        });
        let settings = [("DRAIN_DEADLINE_MS", "100"), ("REBALANCE_DRAIN_DEADLINE_MS", "100")];
        let service = service_of(&broker, &settings, [route]);
        wait_until_ready(&service).await;
        Publisher::new(&broker).publish(&Step { key: "k".to_owned(), number: 0, poison: false }).await;
        // Were it only on its way to its handler, the stop would give it up, and nothing would be blocked.
        wait_for("its handler to block", || begun.load(Ordering::Relaxed)).await;
        wait_for("the record to be told of", || service.health().consumer().in_flight == 1).await;
        let board = service.health().clone();
        tokio::time::timeout(GIVE_UP, service.stop()).await.expect("it ends in order");
        assert_eq!(board.consumer().state, ConsumerState::Stopped, "it has left the group");
        open.send(()).unwrap();
    });
}
