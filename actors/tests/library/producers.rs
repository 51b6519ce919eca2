//! The producer's client meets a fatal error, or an actor in front of it panics: nothing that was accepted is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kafka_actors::event::{Correlation, NewEvent};
use kafka_actors::fatal::EXIT_SOFTWARE;
use kafka_actors::kafka::{Broker, PublishError};
use kafka_actors::service::Service;
use kafka_actors::status::ActorState;
use kafka_actors::{Done, Event, Handler, HandlerError, HandlerResult, Producer, Route};

use crate::kit::{Publisher, Step, TOPIC, broker, kafka, service_of, unused, wait_for, wait_until_ready};

/// What came of each publish, and what was read of the topic it went to.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) fates: Arc<Mutex<HashMap<u32, Result<(), PublishError>>>>,
    pub(crate) read: Arc<Mutex<Vec<u32>>>,
}

impl Ledger {
    pub(crate) fn routes(&self) -> [Route; 2] {
        self.routes_of(TOPIC, OUT)
    }

    fn routes_of(&self, topic: &str, out: &str) -> [Route; 2] {
        let (forwards, reads, to) = (self.clone(), self.clone(), out.to_owned());
        let forwards = Route::each(topic, move |producer| Forwards(producer.clone(), forwards.clone(), to.clone()));
        [forwards, Route::each(out, move |_| Reads(reads.clone()))]
    }

    pub(crate) fn known(&self) -> usize {
        self.fates.lock().unwrap().len()
    }

    /// How many fates are of that kind.
    pub(crate) fn count(&self, kind: impl Fn(&Result<(), PublishError>) -> bool) -> usize {
        self.fates.lock().unwrap().values().filter(|fate| kind(fate)).count()
    }

    /// Whether each that was acknowledged was read.
    pub(crate) fn all_read(&self) -> bool {
        let read = self.read.lock().unwrap();
        self.fates.lock().unwrap().iter().all(|(number, fate)| fate.is_err() || read.contains(number))
    }
}

pub(crate) const OUT: &str = "out";

/// Publishes a step of the same number for each step, and answers with whatever came of that.
struct Forwards(Producer, Ledger, String);

impl Handler for Forwards {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        let step = event.value();
        let out =
            NewEvent::triggered("test", &self.2, step, &Correlation::default()).map_err(HandlerError::permanent)?;
        let fate = self.0.publish(out).await.map(drop);
        self.1.fates.lock().unwrap().insert(step.number, fate);
        Ok(Done::Handled)
    }
}

struct Reads(Ledger);

impl Handler for Reads {
    type Event = Step;

    async fn handle(&self, event: &Event<Step>) -> HandlerResult {
        self.0.read.lock().unwrap().push(event.value().number);
        Ok(Done::Handled)
    }
}

/// Fails for good.
pub(crate) struct Refuses;

impl Handler for Refuses {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        Err(HandlerError::permanent("no"))
    }
}

pub(crate) fn step(number: u32) -> Step {
    Step { key: (number % 7).to_string(), number, poison: false }
}

fn client(service: &Service) -> (ActorState, u64) {
    let status = service.health().vitals("producer").unwrap().status();
    (status.state, status.restarts)
}

const QUICK: [(&str, &str); 2] = [("RESTART_BACKOFF_MS", "1"), ("RESTART_MAX_BACKOFF_MS", "20")];

#[test]
fn after_a_fatal_error_what_was_accepted_is_written_once_or_said_to_be_unknown_and_no_one_else_notices() {
    the_client_fails(&broker(), TOPIC, OUT);
}

#[test]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_what_was_accepted_before_a_fatal_error_is_written_once_or_said_to_be_unknown() {
    the_client_fails(&kafka(), &unused("steps"), &unused("out"));
}

fn the_client_fails(broker: &Broker, topic: &str, out: &str) {
    const STEPS: u32 = 600;
    actix::System::new().block_on(async {
        let ledger = Ledger::default();
        let settings: Vec<_> = QUICK.into_iter().chain([("KAFKA_GROUP", topic)]).collect();
        let service = service_of(broker, &settings, ledger.routes_of(topic, out));
        wait_until_ready(&service).await;
        let publisher = Publisher::new(broker);
        for number in 0..STEPS {
            if number % 200 == 100 {
                wait_for("some", || ledger.known() >= number as usize / 2).await;
                service.health().break_producer();
                wait_for("the end of the client", || client(&service).1 > u64::from(number / 200)).await;
            }
            publisher.publish_to(topic, &step(number)).await;
        }
        wait_for("every fate", || ledger.known() == STEPS as usize).await;
        wait_for("what was acknowledged", || ledger.all_read()).await;
        assert_eq!(ledger.count(|fate| matches!(fate, Err(PublishError::NotSent(_) | PublishError::Refused(_)))), 0);
        let mut read = ledger.read.lock().unwrap().clone();
        read.sort_unstable();
        assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        wait_for("its recovery", || client(&service) == (ActorState::Running, 3)).await;
        let last = service.health().vitals("producer").unwrap().status().last_failure.unwrap().message;
        assert!(last.contains("a test wants it"), "{last}");
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn while_there_is_no_client_publishes_wait_and_are_then_acknowledged() {
    const STEPS: u32 = 100;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        // Probes that last longer than any wait of a test, however slow the machine is.
        let probes = [("RESTART_BUDGET", "1"), ("RESTART_PROBES", "1000"), ("RESTART_MAX_BACKOFF_MS", "200")];
        let settings: Vec<_> = QUICK.into_iter().chain(probes).collect();
        let service = service_of(&broker, &settings, ledger.routes());
        wait_until_ready(&service).await;
        let producer = service.health().vitals("producer").unwrap();
        producer.faults().arm("build", u32::MAX);
        service.health().break_producer();
        wait_for("its budget to be used up", || producer.state() == ActorState::OverBudget).await;
        let reasons = service.health().readiness().reasons;
        assert!(reasons.iter().any(|reason| reason.contains("producer has used up its restarts")), "{reasons:?}");
        let publisher = Publisher::new(&broker);
        for number in 0..STEPS {
            publisher.publish(&step(number)).await;
        }
        wait_for("the first of each key", || service.health().handlers()[0].running == 7).await;
        assert_eq!(ledger.known(), 0);
        producer.faults().arm("build", 0);
        wait_for("all", || ledger.read.lock().unwrap().len() == STEPS as usize).await;
        assert_eq!(ledger.count(Result::is_ok), STEPS as usize);
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn what_waits_for_a_client_too_long_is_refused_as_not_sent_and_one_that_never_comes_ends_the_service() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let settings = [("RESTART_PROBES", "1000"), ("PUBLISH_DEADLINE_MS", "500")];
        let settings: Vec<_> = QUICK.into_iter().chain(settings).collect();
        let service = service_of(&broker, &settings, ledger.routes());
        wait_until_ready(&service).await;
        let producer = service.health().vitals("producer").unwrap();
        producer.faults().arm("build", u32::MAX);
        service.health().break_producer();
        let publisher = Publisher::new(&broker);
        publisher.publish(&step(0)).await;
        wait_for("its refusal", || ledger.known() == 1).await;
        assert_eq!(ledger.count(|fate| matches!(fate, Err(PublishError::NotSent(_)))), 1);
        let cause = service.stopped().await;
        assert_eq!(cause.exit_code, EXIT_SOFTWARE);
        assert!(cause.message.starts_with("producer does not come back"), "{}", cause.message);
        publisher.publish(&step(1)).await;
        wait_for("its refusal", || ledger.known() == 2).await;
        assert_eq!(ledger.count(|fate| matches!(fate, Err(PublishError::NotSent(_)))), 2);
        service.stop().await;
    });
}

#[test]
fn an_event_over_which_its_producers_actor_panics_is_unknown_and_the_others_go_out() {
    const STEPS: u32 = 50;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let routes = ledger.routes().into_iter().chain([Route::each("refused", |_| Refuses)]);
        let service = service_of(&broker, &QUICK, routes);
        wait_until_ready(&service).await;
        let producer = service.health().vitals("shard-0/producer").unwrap();
        producer.faults().arm("publish", 1);
        producer.faults().arm("started", 1);
        let publisher = Publisher::new(&broker);
        for number in 0..STEPS {
            publisher.publish(&step(number)).await;
        }
        wait_for("every fate", || ledger.known() == STEPS as usize).await;
        wait_for("what was acknowledged", || ledger.all_read()).await;
        assert_eq!(ledger.count(Result::is_ok), STEPS as usize - 1);
        assert_eq!(ledger.count(|fate| matches!(fate, Err(PublishError::Unknown(_)))), 1);
        assert_eq!((producer.status().restarts, producer.state()), (2, ActorState::Running));

        // A dead letter over which it panics is owned until it is written.
        producer.faults().arm("publish", 2);
        publisher.publish_to("refused", &step(0)).await;
        wait_for("the dead letter", || service.health().handlers()[2].dead_lettered == 1).await;
        assert_eq!(producer.status().restarts, 4);
        service.stop().await;
    });
}
