//! A handler may take longer than Kafka lets a member go without a poll: the poll does not wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_actors::service::Service;
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, kafka, service, unused, wait_for, wait_until_ready};

/// Not shorter than the session timeout: librdkafka refuses that.
const POLL_INTERVAL: Duration = Duration::from_secs(7);

/// Takes more than three poll intervals for an event.
struct Slow {
    begun: Arc<AtomicUsize>,
}

impl Handler for Slow {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        self.begun.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(3 * POLL_INTERVAL + Duration::from_secs(1)).await;
        Ok(Done::Handled)
    }
}

/// What is assigned, and by which assignment: another one would have another epoch.
fn assigned(service: &Service) -> Vec<(i32, u32)> {
    service.health().consumer().partitions.iter().map(|at| (at.partition, at.epoch)).collect()
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_a_handler_slower_than_three_poll_intervals_causes_no_rebalance() {
    actix::System::new().block_on(async {
        let (broker, name) = (kafka(), unused("slow"));
        let begun = Arc::new(AtomicUsize::new(0));
        let route = Route::each(&name, {
            let begun = Arc::clone(&begun);
            move |_| Slow { begun: Arc::clone(&begun) }
        });
        let interval = POLL_INTERVAL.as_millis().to_string();
        let variables = [
            ("KAFKA_GROUP", name.as_str()),
            ("KAFKA_PROPERTY_MAX_POLL_INTERVAL_MS", &interval),
            // With two events in flight nothing more is read.
            ("MAX_IN_FLIGHT_RECORDS", "2"),
        ];
        let service = service(&broker, &variables, route);
        wait_until_ready(&service).await;
        let before = assigned(&service);
        let publisher = Publisher::new(&broker);
        for number in 0..3 {
            publisher.publish_to(&name, &Step { key: number.to_string(), number, poison: false }).await;
        }
        wait_for("the first two", || service.health().handlers()[0].handled == 2).await;
        wait_for("the third to begin", || begun.load(Ordering::Relaxed) == 3).await;
        assert_eq!(assigned(&service), before, "the assignment of the beginning");
        service.stop().await;
    });
}
