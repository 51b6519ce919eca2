//! Partitions that go to another member while a handler works on their records.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kafka_actors::service::Service;
use kafka_actors::{BatchHandler, Done, Event, Handler, HandlerResult, Route};
use tokio::sync::Notify;

use crate::kit::{Publisher, Step, TOPIC, broker, service, wait_for, wait_until_ready};

/// What the handlers of one member did.
#[derive(Default)]
struct Seen {
    hanging: AtomicUsize,
    cancelled: AtomicUsize,
    handled: AtomicUsize,
    /// Numbers of the steps that hang no more.
    let_go: Mutex<HashSet<u32>>,
    changed: Notify,
}

/// Counts a call that is dropped before it is done.
struct Call<'a>(&'a Seen);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::Relaxed);
    }
}

impl Seen {
    /// Handles a step; poison hangs until it is let go.
    async fn take(&self, step: &Step) {
        if step.poison {
            let call = Call(self);
            self.hanging.fetch_add(1, Ordering::Relaxed);
            while !self.let_go.lock().unwrap().contains(&step.number) {
                self.changed.notified().await;
            }
            std::mem::forget(call);
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    fn let_go(&self, steps: impl IntoIterator<Item = u32>) {
        self.let_go.lock().unwrap().extend(steps);
        self.changed.notify_waiters();
    }

    fn count(&self, of: fn(&Self) -> &AtomicUsize) -> usize {
        of(self).load(Ordering::Relaxed)
    }
}

struct One(Arc<Seen>);

impl Handler for One {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        self.0.take(event.value()).await;
        Ok(Done::Handled)
    }
}

struct Many(Arc<Seen>);

impl BatchHandler for Many {
    type Event = Step;

    async fn handle_batch(&self, events: &[Event<Step>]) -> Vec<HandlerResult> {
        for event in events {
            self.0.take(event.value()).await;
        }
        events.iter().map(|_| Ok(Done::Handled)).collect()
    }
}

const KEYS: u32 = 40;

fn partitions(service: &Service) -> usize {
    service.health().consumer().partitions.len()
}

/// Two members; all steps of the first one hang when half of its partitions are taken from it. Where calls have one event
/// each, as many are cancelled as lie in what moves.
fn what_hangs_is_cancelled_when_its_partition_moves_and_the_rest_goes_on(
    one_each: bool,
    route: fn(Arc<Seen>) -> Route,
) {
    actix::System::new().block_on(async {
        let broker = broker();
        let (one, other) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
        let first = service(&broker, &[], route(Arc::clone(&one)));
        wait_until_ready(&first).await;
        let all = partitions(&first);
        let publisher = Publisher::new(&broker);
        let mut partition_of_steps = Vec::new();
        for number in 0..KEYS {
            partition_of_steps.push(publisher.publish(&Step { key: number.to_string(), number, poison: true }).await);
        }
        let hang = if one_each { KEYS as usize } else { 1 };
        wait_for("all to hang that may", || one.count(|seen| &seen.hanging) >= hang).await;

        let second = service(&broker, &[], route(Arc::clone(&other)));
        wait_for("the second member's share", || {
            partitions(&second) > 0 && partitions(&first) + partitions(&second) == all
        })
        .await;
        assert!(partitions(&first) > 0, "the first member keeps its own");
        wait_for("the cancelled calls", || one.count(|seen| &seen.cancelled) > 0).await;
        wait_for("their events at the second member", || other.count(|seen| &seen.hanging) > 0).await;
        if one_each {
            let moved: Vec<i32> = second.health().consumer().partitions.iter().map(|at| at.partition).collect();
            let moved = partition_of_steps.iter().filter(|partition| moved.contains(partition)).count();
            wait_for("each of them at the second member", || other.count(|seen| &seen.hanging) == moved).await;
            assert_eq!(one.count(|seen| &seen.cancelled), moved);
        }
        assert_eq!((one.count(|seen| &seen.handled), other.count(|seen| &seen.handled)), (0, 0));

        let done = || one.count(|seen| &seen.handled) + other.count(|seen| &seen.handled);
        wait_for("all to be handled", || {
            one.let_go(0..KEYS);
            other.let_go(0..KEYS);
            done() >= KEYS as usize
        })
        .await;
        first.stop().await;
        second.stop().await;
        assert_eq!(done(), KEYS as usize, "each is handled once");
    });
}

#[test]
fn a_call_that_hangs_is_cancelled_when_its_partition_moves_and_its_event_is_handled_by_the_next_owner() {
    what_hangs_is_cancelled_when_its_partition_moves_and_the_rest_goes_on(true, |seen| {
        Route::each(TOPIC, move |_| One(Arc::clone(&seen)))
    });
}

#[test]
fn a_batch_that_hangs_is_cancelled_when_one_of_its_partitions_moves_and_each_event_is_handled_once() {
    what_hangs_is_cancelled_when_its_partition_moves_and_the_rest_goes_on(false, |seen| {
        Route::batched(TOPIC, move |_| Many(Arc::clone(&seen)))
    });
}

#[test]
fn while_partitions_leave_what_was_read_of_the_others_goes_on() {
    actix::System::new().block_on(async {
        let broker = broker();
        let (one, other) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
        let seen = Arc::clone(&one);
        // They leave for longer than anything here takes: until what hangs of them is let go.
        let first = service(
            &broker,
            &[("REBALANCE_DRAIN_DEADLINE_MS", "60000")],
            Route::each(TOPIC, move |_| One(Arc::clone(&seen))),
        );
        wait_until_ready(&first).await;
        let all = partitions(&first);
        let publisher = Publisher::new(&broker);
        // Many that hang in each partition, so that none leaves before it may.
        let mut steps: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for number in 0..KEYS {
            let partition = publisher.publish(&Step { key: number.to_string(), number, poison: true }).await;
            steps.entry(partition).or_default().push(number);
        }
        wait_for("all to hang", || one.count(|seen| &seen.hanging) == KEYS as usize).await;

        let seen = Arc::clone(&other);
        let second = service(&broker, &[], Route::each(TOPIC, move |_| One(Arc::clone(&seen))));
        let mut kept = 0;
        wait_for("partitions to leave", || {
            let partitions = first.health().consumer().partitions;
            let leaving = partitions.iter().any(|at| at.leaving);
            for at in partitions.iter().filter(|at| leaving && !at.leaving) {
                let numbers = steps.remove(&at.partition).unwrap_or_default();
                kept += numbers.len();
                one.let_go(numbers);
            }
            leaving
        })
        .await;
        assert!(kept > 0, "the first member keeps some");
        wait_for("those that it keeps", || one.count(|seen| &seen.handled) == kept).await;
        assert!(first.health().consumer().partitions.iter().any(|at| at.leaving), "the others have not left yet");

        // They are finished where they were begun, and do not come again.
        one.let_go(0..KEYS);
        wait_for("the others", || one.count(|seen| &seen.handled) == KEYS as usize).await;
        wait_for("the second member's share", || {
            partitions(&second) > 0 && partitions(&first) + partitions(&second) == all
        })
        .await;
        wait_until_ready(&second).await;
        first.stop().await;
        second.stop().await;
        assert_eq!([&one, &other].map(|seen| seen.count(|seen| &seen.cancelled)), [0, 0]);
        assert_eq!((one.count(|seen| &seen.handled), other.count(|seen| &seen.hanging)), (KEYS as usize, 0));
    });
}
