//! A route may have attempts and backoffs of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_actors::{Done, Event, Handler, HandlerError, HandlerResult, RetryPolicy, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, service_of, wait_for, wait_until_ready};

/// Fails at each attempt, and counts them.
struct Fails(Arc<AtomicUsize>);

impl Handler for Fails {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err::<Done, _>(HandlerError::transient("it is away"))
    }
}

#[test]
fn a_route_has_attempts_of_its_own_and_never_less_than_one() {
    actix::System::new().block_on(async {
        let broker = broker();
        let policy = |max_attempts| RetryPolicy {
            max_attempts,
            first_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(1),
        };
        // The settings say three.
        let expected = [(TOPIC, None, 3), ("twice", Some(policy(2)), 2), ("never", Some(policy(0)), 1)];
        let attempts = expected.map(|_| Arc::new(AtomicUsize::new(0)));
        let routes = expected.iter().zip(&attempts).map(|((topic, policy, _), attempts)| {
            let attempts = Arc::clone(attempts);
            let route = Route::each(topic, move |_| Fails(Arc::clone(&attempts)));
            match policy {
                Some(policy) => route.retries(*policy),
                None => route,
            }
        });
        let service = service_of(&broker, &[], routes);
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        for (topic, ..) in expected {
            publisher.publish_to(topic, &Step { key: "k".to_owned(), number: 1, poison: false }).await;
        }
        wait_for("the dead letters", || service.health().handlers().iter().all(|one| one.dead_lettered == 1)).await;
        let made = attempts.each_ref().map(|attempts| attempts.load(Ordering::Relaxed));
        assert_eq!(made, expected.map(|(.., attempts)| attempts));
        service.stop().await;
    });
}
