//! What operators tell the actors on the way out, and the producer's client: nothing is lost, and nothing goes out twice or
//! long after no one wanted it any more.

use std::time::{Duration, Instant};

use actix_web::web;
use kafka_actors::Route;
use kafka_actors::event::Correlation;
use kafka_actors::http::{Problem, Publisher as Publishes, post};
use kafka_actors::kafka::{Broker, PublishError};
use kafka_actors::service::Service;
use kafka_actors::status::ActorState;
use serde_json::{Value, json};

use crate::kit::{Publisher, Step, TOPIC, broker, service_of, service_with, wait_for, wait_until_ready};
use crate::ledger::{QUICK, status, vitals};
use crate::operator::{done, give, request, says_stopped, under_load};
use crate::producers::{Ledger, OUT, Refuses, step};

const CLIENT: &str = "producer";
const ACTOR: &str = "shard-0/producer";
const WORKER: &str = "http-0/producer";

/// A service that publishes what is posted to it.
fn posting(broker: &Broker, settings: &[(&str, &str)], routes: impl IntoIterator<Item = Route>) -> Service {
    async fn publish(step: web::Json<Value>, publisher: web::Data<Publishes>) -> Result<web::Json<Value>, Problem> {
        let published = publisher.publish::<Step>(OUT, step.into_inner(), "", &Correlation::default()).await?;
        Ok(web::Json(json!(published)))
    }
    let settings: Vec<_> = QUICK.iter().chain(&[("HTTP_WORKERS", "1")]).chain(settings).copied().collect();
    service_with(broker, &settings, routes, |builder| {
        builder.http(|config| {
            config.service(post("/steps", publish));
        })
    })
}

async fn publish(service: &Service, number: u32) -> (u16, Value) {
    request(service.api(), "POST", "/steps", &json!(step(number)).to_string()).await
}

fn not_sent(fate: &Result<(), PublishError>) -> bool {
    matches!(fate, Err(PublishError::NotSent(_)))
}

fn read(ledger: &Ledger) -> Vec<u32> {
    let mut read = ledger.read.lock().unwrap().clone();
    read.sort_unstable();
    read
}

#[test]
fn a_client_that_is_restarted_on_command_under_load_sends_each_record_once() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service_of(&broker, &QUICK, ledger.routes());
        wait_until_ready(&service).await;
        let publisher = Publisher::new(&broker);
        let commands = async {
            for _ in 0..3 {
                let known = ledger.known();
                wait_for("some", || ledger.known() > known + 50).await;
                done(&service, CLIENT, "restart").await;
            }
        };
        let steps = under_load((&publisher, TOPIC), step, 0, commands).await;
        wait_for("every fate", || ledger.known() == steps as usize).await;
        assert_eq!(ledger.count(Result::is_ok), steps as usize, "{:?}", ledger.fates.lock().unwrap());
        wait_for("what was acknowledged", || ledger.all_read()).await;
        assert!(read(&ledger).into_iter().eq(0..steps), "each once");
        let client = status(&service, CLIENT);
        assert_eq!((client.state, client.restarts, client.last_failure.is_none()), (ActorState::Running, 3, true));
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn a_client_that_is_stopped_refuses_what_comes_by_name_and_dead_letters_wait_until_it_is_started() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let routes = ledger.routes().into_iter().chain([Route::each("refused", |_| Refuses)]);
        let service = posting(&broker, &[("RETRY_MAX_BACKOFF_MS", "20")], routes);
        wait_until_ready(&service).await;
        assert_eq!(publish(&service, 0).await.0, 200);
        done(&service, CLIENT, "stop").await;
        let by_operator = [format!("{CLIENT} is stopped by an operator")];
        wait_for("that reason, and no other", || service.health().readiness().reasons == by_operator).await;
        let (code, problem) = publish(&service, 1).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(code == 503 && detail.contains("an operator stopped the producer's client"), "{problem}");
        assert_eq!((give(&service, CLIENT, "stop").await.0, give(&service, CLIENT, "restart").await.0), (409, 409));
        let publisher = Publisher::new(&broker);
        publisher.publish(&step(2)).await;
        wait_for("its refusal", || ledger.known() == 1).await;
        assert_eq!(ledger.count(not_sent), 1);
        publisher.publish_to("refused", &step(3)).await;
        wait_for("the dead letter that waits", || service.health().handlers()[2].delayed_dead_letters == 1).await;
        wait_for("it to be owned", || service.health().consumer().in_flight == 1).await;

        done(&service, CLIENT, "start").await;
        wait_for("the dead letter", || service.health().handlers()[2].dead_lettered == 1).await;
        assert_eq!(publish(&service, 4).await.0, 200);
        wait_for("what was acknowledged", || read(&ledger) == [0, 4]).await;
        wait_until_ready(&service).await;
        service.stop().await;
    });
}

#[test]
fn what_a_client_was_given_before_it_is_stopped_is_sent_or_refused_and_never_both() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service_of(&broker, &QUICK, ledger.routes());
        wait_until_ready(&service).await;
        let commands = async {
            wait_for("some", || ledger.known() > 20).await;
            done(&service, CLIENT, "stop").await;
            wait_for("a refusal", || ledger.count(not_sent) > 0).await;
            done(&service, CLIENT, "start").await;
        };
        let steps = under_load((&Publisher::new(&broker), TOPIC), step, 0, commands).await;
        wait_for("every fate", || ledger.known() == steps as usize).await;
        wait_for("what was acknowledged", || ledger.all_read()).await;
        assert_eq!(ledger.count(|fate| !(fate.is_ok() || not_sent(fate))), 0, "all is known");
        let read = read(&ledger);
        assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        assert_eq!(read.len(), ledger.count(Result::is_ok), "what was refused was not sent");
        service.stop().await;
    });
}

#[test]
fn what_waits_for_a_stopped_producers_actor_goes_out_once_when_it_is_started_in_time() {
    const STEPS: u32 = 20;
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = service_of(&broker, &QUICK, ledger.routes());
        wait_until_ready(&service).await;
        done(&service, ACTOR, "stop").await;
        assert!(says_stopped(&service, ACTOR));
        Publisher::new(&broker).publish_all((0..STEPS).map(step)).await;
        wait_for("the first of each key", || service.health().handlers()[0].running == 7).await;
        assert_eq!(ledger.known(), 0);
        done(&service, ACTOR, "start").await;
        wait_for("every fate", || ledger.known() == STEPS as usize).await;
        assert_eq!(ledger.count(Result::is_ok), STEPS as usize);
        wait_for("what was acknowledged", || ledger.all_read()).await;
        assert!(read(&ledger).into_iter().eq(0..STEPS), "each once");
        done(&service, ACTOR, "restart").await;
        assert_eq!((status(&service, ACTOR).restarts, vitals(&service, ACTOR).state()), (2, ActorState::Running));
        service.stop().await;
    });
}

#[test]
fn what_waited_too_long_for_a_stopped_producers_actor_never_goes_out() {
    actix::System::new().block_on(async {
        let broker = broker();
        let ledger = Ledger::default();
        let service = posting(&broker, &[("PUBLISH_DEADLINE_MS", "500")], ledger.routes());
        wait_until_ready(&service).await;
        for path in [ACTOR, WORKER] {
            done(&service, path, "stop").await;
        }
        Publisher::new(&broker).publish(&step(0)).await;
        wait_for("it to be in flight", || service.health().handlers()[0].running == 1).await;
        let began = Instant::now();
        // The caller by HTTP is answered in time.
        assert_eq!(publish(&service, 1).await.0, 504);
        wait_for("the end of its patience", || began.elapsed() > Duration::from_secs(1)).await;
        for path in [ACTOR, WORKER] {
            done(&service, path, "start").await;
        }
        wait_for("its refusal", || ledger.known() == 1).await;
        assert_eq!(ledger.count(not_sent), 1);
        // A busy machine may let some more run into that deadline.
        let mut number = 2;
        while publish(&service, number).await.0 != 200 {
            number += 1;
        }
        wait_for("what was acknowledged", || read(&ledger).contains(&number)).await;
        assert!(read(&ledger).iter().all(|number| *number >= 2), "{:?}", read(&ledger));
        service.stop().await;
    });
}
