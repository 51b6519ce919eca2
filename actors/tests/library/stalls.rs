//! A frontier that stands still is named, and what waits for its next attempt is none.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actors::{Done, Event, Handler, HandlerError, HandlerResult, Route};
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
        assert!(service.health().readiness().ready, "it has not stood for long");

        wait_for("the stall", || !service.health().readiness().ready).await;
        let reasons = service.health().readiness().reasons;
        assert_eq!(reasons.len(), 1, "the other partitions are well: {reasons:?}");
        let offset = format!("{TOPIC}/{partition} stands at offset ");
        for part in [offset.as_str(), "(key stuck)", "Hangs, its handler has not answered"] {
            assert!(reasons[0].contains(part), "{part:?} is missing in {reasons:?}");
        }
        go_on.notify_one();
        wait_until_ready(&service).await;
        assert_eq!(service.health().handlers()[0].handled, 22);
        service.stop().await;
    });
}

/// Always fails, for a time.
struct Fails(Rc<dyn Fn() -> bool>);

impl Handler for Fails {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        if (self.0)() { Err(HandlerError::transient("not yet")) } else { Ok(Done::Handled) }
    }
}

#[test]
fn an_event_that_waits_for_its_next_attempt_is_no_stall() {
    actix::System::new().block_on(async {
        let broker = broker();
        let began = Instant::now();
        let often = [("RETRY_ATTEMPTS", "100"), ("RETRY_BACKOFF_MS", "300"), ("RETRY_MAX_BACKOFF_MS", "300")];
        // Longer than a frontier may stand.
        let factory = move |_: &_| Fails(Rc::new(move || began.elapsed() < Duration::from_secs(13)));
        let service = service(&broker, &often, Route::each(TOPIC, factory));
        wait_until_ready(&service).await;
        Publisher::new(&broker).publish(&step("late", 0, false)).await;
        wait_for("its success", || {
            let readiness = service.health().readiness();
            assert!(readiness.ready, "{readiness:?}");
            service.health().handlers()[0].handled == 1
        })
        .await;
        assert!(service.health().handlers()[0].retries > 10);
        service.stop().await;
    });
}
