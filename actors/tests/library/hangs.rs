//! A handler that does not answer is cancelled at its deadline, and its event has failed in that attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_actors::{BatchHandler, Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service, wait_for, wait_until_ready};

/// Hangs on the first attempts at poison.
#[derive(Clone)]
struct Hangs {
    hung: Arc<AtomicUsize>,
    attempts_that_hang: u32,
}

impl Hangs {
    async fn take(&self, event: &Event<Step>) {
        if event.value().poison && event.attempt() <= self.attempts_that_hang {
            self.hung.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
    }
}

impl Handler for Hangs {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        self.take(event).await;
        Ok(Done::Handled)
    }
}

struct Batches(Hangs);

impl BatchHandler for Batches {
    type Event = Step;

    async fn handle_batch(&self, events: &[Event<Step>]) -> Vec<HandlerResult> {
        for event in events {
            self.0.take(event).await;
        }
        events.iter().map(|_| Ok(Done::Handled)).collect()
    }
}

const DEADLINE: Duration = Duration::from_millis(100);
const HEALTHY: u32 = 20;

/// Sends one event that hangs among others that do not, and gives the handled, the retried and the dead-lettered.
fn one_hangs(attempts_that_hang: u32, route: fn(Hangs) -> Route) -> (u64, u64, u64) {
    actix::System::new().block_on(async {
        let broker = broker();
        let hung = Arc::new(AtomicUsize::new(0));
        let route = route(Hangs { hung: Arc::clone(&hung), attempts_that_hang }).deadline(DEADLINE);
        let service = service(&broker, &[], route);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        publisher.publish(&Step { key: "stuck".to_owned(), number: 0, poison: true }).await;
        for number in 0..HEALTHY {
            publisher.publish(&Step { key: number.to_string(), number, poison: false }).await;
        }
        let status = || service.health().handlers().remove(0);
        wait_for("all to be settled", || status().handled + status().dead_lettered > u64::from(HEALTHY)).await;
        assert!(hung.load(Ordering::Relaxed) > 1);
        let ended = status();
        service.stop().await;
        (ended.handled, ended.retries, ended.dead_lettered)
    })
}

#[test]
fn a_call_that_hangs_is_cancelled_and_its_event_is_tried_again_while_the_others_go_on() {
    let healthy = u64::from(HEALTHY);
    assert_eq!(one_hangs(2, |hangs| Route::each(TOPIC, move |_| hangs.clone())), (healthy + 1, 2, 0));
}

#[test]
fn an_event_whose_every_attempt_hangs_is_dead_lettered() {
    let healthy = u64::from(HEALTHY);
    assert_eq!(one_hangs(u32::MAX, |hangs| Route::each(TOPIC, move |_| hangs.clone())), (healthy, 2, 1));
}

#[test]
fn a_batch_that_hangs_is_cancelled_and_each_of_its_events_is_tried_alone() {
    let (handled, _, dead_lettered) =
        one_hangs(u32::MAX, |hangs| Route::batched(TOPIC, move |_| Batches(hangs.clone())));
    assert_eq!((handled, dead_lettered), (u64::from(HEALTHY), 1));
}
