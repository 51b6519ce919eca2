//! The handlers of a service share one limit of events in flight, and one that hangs leaves something to the others.

use std::sync::Arc;

use kafka_actors::service::Service;
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};
use tokio::sync::Semaphore;

use crate::kit::{Publisher, Step, broker, service_of, wait_for, wait_until_ready};

/// Works on an event until it is let go.
struct Waits(Arc<Semaphore>);

impl Handler for Waits {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        self.0.acquire().await.unwrap().forget();
        Ok(Done::Handled)
    }
}

fn running(service: &Service) -> [usize; 2] {
    let handlers = service.health().handlers();
    [handlers[0].running, handlers[1].running]
}

#[test]
fn a_handler_that_hangs_takes_no_more_than_its_share_and_the_limit_holds_for_all_together() {
    const LIMIT: usize = 8;
    const EVENTS: u32 = 20;
    actix::System::new().block_on(async {
        let broker = broker();
        let gates = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
        let routes = gates
            .clone()
            .into_iter()
            .zip(["one", "other"])
            .map(|(gate, topic)| Route::each(topic, move |_| Waits(Arc::clone(&gate))));
        let service = service_of(&broker, &[("MAX_IN_FLIGHT", &LIMIT.to_string())], routes);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let publish = async |topic: &str| {
            for number in 0..EVENTS {
                publisher.publish_to(topic, &Step { key: number.to_string(), number, poison: false }).await;
            }
        };
        publish("one").await;
        // A quarter of the limit is sure for each of two.
        wait_for("the first to take what it may", || running(&service) == [6, 0]).await;
        publish("other").await;
        wait_for("the second to take its share", || running(&service) == [6, 2]).await;

        gates[0].add_permits(EVENTS as usize);
        wait_for("the second to take over", || running(&service) == [0, 6]).await;
        gates[1].add_permits(EVENTS as usize);
        wait_for("all", || service.health().handlers().iter().all(|handler| handler.handled == u64::from(EVENTS)))
            .await;
        service.stop().await;
    });
}
