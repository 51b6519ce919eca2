//! The library inside a program of one's own, without `Program`: what such a program hears of a service that cannot go on.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex};

use kafka_actors::fatal::EXIT_CONFIG;
use kafka_actors::kafka::{Broker, TopicsError};
use kafka_actors::{Done, Event, Handler, HandlerResult, Route};

use crate::kit::{GIVE_UP, Step, TOPIC, broker, service};

struct Handles;

impl Handler for Handles {
    type Event = Step;

    async fn handle(&self, _: &Event<Step>) -> HandlerResult {
        Ok(Done::Handled)
    }
}

/// What the current thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn a_program_that_embeds_a_service_hears_why_it_cannot_go_on_and_so_does_the_log() {
    actix::System::new().block_on(async {
        let (log, _guard) = Log::of_this_thread();
        let broker = broker();
        let Broker::Embedded(embedded) = &broker else { unreachable!() };
        embedded.create_topic(TOPIC, 1).unwrap();
        let service = service(&broker, &[("KAFKA_CREATE_TOPICS", "false")], Route::each(TOPIC, |_| Handles));

        let cause = tokio::time::timeout(GIVE_UP, service.stopped()).await.unwrap();
        assert_eq!(cause.exit_code, EXIT_CONFIG);
        let missing = cause.source().and_then(|source| source.downcast_ref::<TopicsError>());
        assert!(matches!(missing, Some(TopicsError::Missing(topics)) if *topics == ["steps.dlq"]), "{cause:?}");
        assert_eq!(cause.to_string(), missing.unwrap().to_string());

        // A caller that comes late hears it too.
        assert_eq!(service.stopped().await.message, cause.message);
        assert_eq!(service.health().readiness().reasons.iter().filter(|why| why.contains("steps.dlq")).count(), 1);
        service.stop().await;
        let told: Vec<String> = log.text().lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect();
        assert!(told.len() == 1 && told[0].contains("probe") && told[0].contains("steps.dlq"), "{}", log.text());
    });
}
