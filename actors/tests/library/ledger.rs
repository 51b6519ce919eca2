//! A ledger of what was handled, and a route that writes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kafka_actors::kafka::Broker;
use kafka_actors::service::Service;
use kafka_actors::status::{ActorState, ActorStatus, Vitals};
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{Step, service, wait_for, wait_until_ready};

/// What was handled, in its order.
#[derive(Clone, Default)]
pub(crate) struct Ledger(pub(crate) Arc<Mutex<Vec<(String, u32)>>>);

impl Ledger {
    pub(crate) fn route(&self, topic: &str) -> Route {
        let ledger = self.clone();
        Route::each(topic, move |_| Writes(ledger.clone()))
    }

    /// A ready service that is soon back after a failure, and has what it handles of a topic written here.
    pub(crate) async fn serve(&self, broker: &Broker, topic: &str, more: &[(&str, &str)]) -> Service {
        let settings: Vec<_> = QUICK.iter().chain(more).copied().collect();
        let service = service(broker, &settings, self.route(topic));
        wait_until_ready(&service).await;
        service
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    #[track_caller]
    pub(crate) fn assert_each_once_in_order(&self, steps: std::ops::Range<u32>) {
        let all = self.0.lock().unwrap();
        let mut last = HashMap::new();
        for (key, number) in &*all {
            let before = last.insert(key, *number);
            assert!(before.is_none_or(|before| before < *number), "{number} of key {key} after {before:?}");
        }
        let mut numbers: Vec<u32> = all.iter().map(|step| step.1).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(steps), "each once");
    }
}

pub(crate) const KEYS: u32 = 5;

struct Writes(Ledger);

impl Handler for Writes {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        if event.value().number.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
        self.0.0.lock().unwrap().push((event.value().key.clone(), event.value().number));
        Ok(Done::Handled)
    }
}

pub(crate) fn step(number: u32) -> Step {
    Step { key: (number % KEYS).to_string(), number, poison: false }
}

pub(crate) fn vitals(service: &Service, path: &str) -> Arc<Vitals> {
    service.health().vitals(path).unwrap()
}

pub(crate) fn status(service: &Service, path: &str) -> ActorStatus {
    vitals(service, path).status()
}

/// Epochs of the partitions that it has.
pub(crate) fn epochs(service: &Service) -> Vec<u32> {
    service.health().consumer().partitions.iter().map(|at| at.epoch).collect()
}

pub(crate) const QUICK: [(&str, &str); 3] =
    [("RESTART_BACKOFF_MS", "1"), ("RESTART_MAX_BACKOFF_MS", "20"), ("COMMIT_INTERVAL_MS", "50")];

/// What was begun is finished before partitions are given away, however slow the machine is.
pub(crate) const FINISHING: [(&str, &str); 2] =
    [("DRAIN_DEADLINE_MS", "60000"), ("REBALANCE_DRAIN_DEADLINE_MS", "60000")];

/// The thread that polls Kafka.
pub(crate) const THREAD: &str = "shard-0/consumer/thread";

/// With these a third failure is followed by a pause of half a minute at least. No failure is forgotten before that.
pub(crate) const SLOW: [(&str, &str); 3] =
    [("RESTART_BACKOFF_MS", "60000"), ("RESTART_MAX_BACKOFF_MS", "600000"), ("RESTART_WINDOW_MS", "3600000")];

/// Has the thread of a [`SLOW`] service fail until it waits for its restart.
pub(crate) async fn thread_waits_for_its_restart(service: &Service) {
    let thread = vitals(service, THREAD);
    // The first two restarts come at once.
    thread.faults().arm("turn", 3);
    // In this order: before the last failure it is backing off for a moment, twice.
    wait_for("its pause", || thread.faults().left("turn") == 0 && thread.state() == ActorState::BackingOff).await;
}
