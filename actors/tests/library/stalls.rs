//! A frontier that does not move is named, and what waits for its next attempt is none.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::member::stall::STALL_AFTER;
use kafka_actors::service::Service;
use kafka_actors::{Done, Event, Handler, HandlerError, HandlerResult, Route};
use tokio::sync::Notify;

use crate::kit::{Publisher, Step, TOPIC, broker, service, wait_for, wait_until_ready};

/// Hangs on poison until it is let go.
struct Hangs(Arc<Notify>);

impl Handler for Hangs {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if event.value().poison {
            self.0.notified().await;
        }
        Ok(Done::Handled)
    }
}

fn step(key: &str, number: u32, poison: bool) -> Step {
    Step { key: key.to_owned(), number, poison }
}

/// What readiness says of stalled frontiers.
fn stalls(service: &Service) -> Vec<String> {
    let reasons = service.health().readiness().reasons.into_iter();
    reasons.filter(|reason| reason.contains(" is stalled at offset ")).collect()
}

#[test]
fn a_handler_that_hangs_is_named_with_its_key_and_offset_until_it_goes_on() {
    actix::System::new().block_on(async {
        let broker = broker();
        let go_on = Arc::new(Notify::new());
        let handler = Arc::clone(&go_on);
        let service = service(&broker, &[], Route::each(TOPIC, move |_| Hangs(Arc::clone(&handler))));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        publisher.publish(&step("stuck", 0, false)).await;
        let partition = publisher.publish(&step("stuck", 1, true)).await;
        for number in 0..20 {
            publisher.publish(&step(&format!("other {number}"), number, false)).await;
        }
        wait_for("the others", || service.health().handlers()[0].handled == 21).await;
        wait_for("the stall", || !stalls(&service).is_empty()).await;
        let partitions = service.health().consumer().partitions;
        let seconds: Vec<u64> = partitions.iter().filter_map(|at| Some(at.stalled.as_ref()?.seconds)).collect();
        assert!(seconds.len() == 1 && seconds[0] >= STALL_AFTER.as_secs(), "one, and not before its time: {seconds:?}");
        let reasons = stalls(&service);
        assert_eq!(reasons.len(), 1, "the other partitions are well: {reasons:?}");
        let offset = format!("{TOPIC}/{partition} is stalled at offset ");
        for part in [offset.as_str(), "(key stuck)", "Hangs, its handler has not answered"] {
            assert!(reasons[0].contains(part), "{part:?} is missing in {reasons:?}");
        }
        go_on.notify_one();
        wait_until_ready(&service).await;
        assert_eq!(service.health().handlers()[0].handled, 22);
        service.stop().await;
    });
}

/// Fails for longer than a frontier may rest.
#[derive(Clone, Default)]
struct Fails(Rc<Cell<Option<Instant>>>);

impl Handler for Fails {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        // From the first attempt on: until then nothing is stalled.
        let began = self.0.get().unwrap_or_else(Instant::now);
        self.0.set(Some(began));
        let enough = event.attempt() > 10 && began.elapsed() > STALL_AFTER + Duration::from_secs(3);
        if enough { Ok(Done::Handled) } else { Err(HandlerError::transient("not yet")) }
    }
}

#[test]
fn an_event_that_waits_for_its_next_attempt_is_no_stall() {
    actix::System::new().block_on(async {
        let broker = broker();
        let often = [("RETRY_ATTEMPTS", "100"), ("RETRY_BACKOFF_MS", "300"), ("RETRY_MAX_BACKOFF_MS", "300")];
        let service = service(&broker, &often, Route::each(TOPIC, |_| Fails::default()));
        wait_until_ready(&service).await;
        Publisher::new(&broker).publish(&step("late", 0, false)).await;
        wait_for("its success", || {
            let stalls = stalls(&service);
            assert!(stalls.is_empty(), "{stalls:?}");
            service.health().handlers()[0].handled == 1
        })
        .await;
        assert!(service.health().handlers()[0].retries >= 10);
        service.stop().await;
    });
}
