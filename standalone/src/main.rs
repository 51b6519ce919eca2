//! `cargo run`: both services in one process, on an embedded broker where no other one is set.

use std::io::Write as _;
use std::process::ExitCode;

use kafka_actors::kafka::Broker;
use kafka_actors::launch::{App, Program};
use kafka_actors::service::Service;

const APPS: [App; 2] = [micro_1::APP, micro_2::APP];

fn main() -> ExitCode {
    let data = match tempfile::tempdir() {
        Ok(data) => data,
        Err(error) => {
            eprintln!("no temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let program = Program {
        about: "Both services in one process, on an embedded broker where KAFKA_BROKERS is not set.",
        apps: &APPS,
        embed_broker: true,
        // A database that outlived the volatile broker would take new records of it for repeats.
        adjust: &|settings| {
            if settings.brokers.is_none()
                && let Some(own) = settings.own_mut::<micro_1::Own>()
            {
                own.data_dir.get_or_insert_with(|| data.path().to_owned());
            }
        },
        started: &banner,
        without_brokers: contracts::ways_to_start,
    };
    program.main()
}

fn banner(services: &[Service], broker: &Broker) {
    let [micro_1, micro_2] = services else { return };
    let (one, two, manage) = (micro_1.api(), micro_2.api(), micro_1.management());
    let kind = match broker {
        Broker::Embedded(_) => "embedded, volatile: memory only, gone when this process ends",
        Broker::Cluster(_) => "as set by KAFKA_BROKERS",
    };
    // No one reads a closed pipe, and the services run all the same.
    let _ = writeln!(
        std::io::stdout(),
        r#"
  broker   {}  ({kind})
  micro-1  http://{one}  (management http://{manage})
  micro-2  http://{two}  (management http://{})

  Trigger an event, and see the notification that comes back:

    curl -s http://{one}/api/kafka/send-to-micro2 -H 'content-type: application/json' \
      -d '{{"message":{{"userId":1,"action":"user_created","data":{{"fullName":"John Doe"}}}},"topic":"user.events"}}'
    curl -s http://{one}/api/notifications/1

  See what was routed:     curl -s http://{manage}/messages
  Follow it live:          curl -sN http://{manage}/messages/stream
  Measured state:          curl -s http://{one}/api/kafka/status

  Ctrl-C drains and stops.
"#,
        broker.bootstrap(),
        micro_2.management(),
    );
}
