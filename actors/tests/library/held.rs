//! A backlog comes in long runs of one partition. What one has no room for is stashed, and nothing of it is lost,
//! repeated or taken out of turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service, wait_for_count, wait_until_ready};

/// Numbers by key, in the order in which they were handled.
type Handled = Arc<Mutex<BTreeMap<String, Vec<u32>>>>;

struct Slow(Handled);

impl Handler for Slow {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let Step { key, number, .. } = event.value().clone();
        self.0.lock().unwrap().entry(key).or_default().push(number);
        Ok(Done::Handled)
    }
}

#[test]
fn what_a_partition_has_no_room_for_is_handled_once_and_in_order_while_the_others_go_on() {
    const KEYS: u32 = 20;
    const EVENTS_PER_KEY: u32 = 50;
    actix::System::new().block_on(async {
        let broker = broker();
        let route = |handled: &Handled| {
            let handled = Arc::clone(handled);
            Route::each(TOPIC, move |_| Slow(Arc::clone(&handled)))
        };
        // The first service makes the topic; the second one meets the backlog.
        let first = service(&broker, &[], route(&Handled::default()));
        wait_until_ready(&first).await;
        first.stop().await;
        let publisher = Publisher::new(&broker);
        let mut expected = BTreeMap::new();
        for key in 0..KEYS {
            for number in 0..EVENTS_PER_KEY {
                publisher.publish(&Step { key: key.to_string(), number, poison: false }).await;
            }
            expected.insert(key.to_string(), (0..EVENTS_PER_KEY).collect::<Vec<u32>>());
        }
        let handled = Handled::default();
        // A partition may have a few of them at once, and a fetch brings a hundred.
        let second = service(&broker, &[("MAX_IN_FLIGHT_RECORDS", "16")], route(&handled));
        let all = (KEYS * EVENTS_PER_KEY) as usize;
        wait_for_count("all", all, || handled.lock().unwrap().values().map(Vec::len).sum()).await;
        second.stop().await;
        assert_eq!(*handled.lock().unwrap(), expected);
    });
}
