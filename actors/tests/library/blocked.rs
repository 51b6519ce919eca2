//! A handler that blocks its thread is named, and one that uses `spawn_blocking` is not.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use actors::service::Service;
use actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service_of, wait_for, wait_until_ready};

type Gate = Arc<Mutex<Receiver<()>>>;

/// Waits for its gate, and holds up its thread or one of those that are there for it.
struct Waits {
    gate: Gate,
    blocks: bool,
}

impl Handler for Waits {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        let gate = Arc::clone(&self.gate);
        let wait = move || gate.lock().unwrap().recv().unwrap();
        if self.blocks {
            wait();
        } else {
            tokio::task::spawn_blocking(wait).await.unwrap();
        }
        Ok(Done::Handled)
    }
}

fn stuck(service: &Service) -> Vec<String> {
    let reasons = service.health().readiness().reasons.into_iter();
    reasons.filter(|reason| reason.contains("has not turned for")).collect()
}

#[test]
fn an_arbiter_that_a_handler_blocks_is_named_until_it_turns_again_and_spawn_blocking_blocks_none() {
    actix::System::new().block_on(async {
        let broker = broker();
        let publisher = Publisher::new(&broker);
        let [(open, waits), (other_open, blocks)] = [false, true].map(|blocks| {
            let (open, gate) = channel();
            let gate = Arc::new(Mutex::new(gate));
            let route = Route::each(TOPIC, move |_| Waits { gate: Arc::clone(&gate), blocks });
            (open, service_of(&broker, &[("KAFKA_GROUP", if blocks { "one" } else { "other" })], [route]))
        });
        for service in [&waits, &blocks] {
            wait_until_ready(service).await;
        }
        publisher.publish(&Step { key: "k".to_owned(), number: 0, poison: false }).await;
        wait_for("the name of the arbiter", || !stuck(&blocks).is_empty()).await;
        assert!(stuck(&blocks)[0].starts_with("arbiter shard-0 has not turned"), "{:?}", stuck(&blocks));
        // The other has waited as long.
        assert!(waits.health().handlers()[0].running == 1 && stuck(&waits).is_empty());
        for open in [open, other_open] {
            open.send(()).unwrap();
        }
        wait_for("its turn", || stuck(&blocks).is_empty()).await;
        for service in [waits, blocks] {
            wait_for("the event", || service.health().handlers()[0].handled == 1).await;
            service.stop().await;
        }
    });
}
