//! Settings: where they come from, what is said of bad ones, and what is never said.

use std::net::TcpListener;

use kafka_actors::launch::App;
use kafka_actors::settings::united;
use serde_json::json;

use crate::kit::{Out, Raw, Start, embedded_broker, new_user, wait_for};

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: i32 = 78;

#[test]
fn bad_settings_are_all_told_at_once_and_the_exit_code_is_78() {
    let wrong = [
        ("KAFKA_BROKERS", "nowhere", "`host:port`"),
        ("KAFKA_PARTITIONS", "0", "a number, 1 to 10000"),
        ("KAFKA_REPLICATION", "11", "1 to 10, or -1"),
        ("KAFKA_CREATE_TOPICS", "maybe", "`true` or `false`"),
        ("HOST", "localhost:80", "an IP address"),
        ("MICRO_1_PORT", "65536", "a number, 0 to 65535"),
        ("MICRO_2_MANAGEMENT_PORT", "-1", "a number, 0 to 65535"),
        ("LOG_FORMAT", "xml", "`text` or `json`"),
        ("RUST_LOG", "=loud=", "a filter"),
        ("PUBLISH_DEADLINE_MS", "99", "a number, 100 to 60000"),
        ("MAX_IN_FLIGHT_BYTES", "1MiB", "a number, 1048576 to"),
        ("RETRY_ATTEMPTS", "0", "a number, 1 to 100"),
        // The services' own settings are told with the library's.
        ("CHAOS", "yes", "`true` or `false`"),
    ];
    let start = wrong.iter().fold(Start::both(), |start, (name, value, _)| start.env(name, value));
    let start = start.env("KAFKA_PROPERTY_NO_SUCH_THING", "1").env("KAFKA_PROPERTY_ACKS", "0");
    let (status, output) = start.run_to_end();
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{output}");
    let told = |name: &str| output.lines().filter(|line| line.trim_start().starts_with(name)).collect::<Vec<_>>();
    for (name, value, allowed) in wrong {
        let lines = told(&format!("{name}={value:?} is not allowed"));
        assert!(lines.len() == 1 && lines[0].contains(allowed), "{name}: {lines:?} in\n{output}");
    }
    for name in ["KAFKA_PROPERTY_NO_SUCH_THING", "KAFKA_PROPERTY_ACKS"] {
        assert_eq!(told(name).len(), 1, "{name} in\n{output}");
    }
    assert_eq!(output.lines().count(), 1 + wrong.len() + 2, "one message, and nothing else:\n{output}");
}

#[test]
fn the_env_file_of_the_service_is_read_and_the_environment_wins_over_it() {
    let broker = embedded_broker();
    let file = format!("KAFKA_BROKERS={}\nKAFKA_GROUP=from-the-file\nRUST_LOG=off\n# a comment\n", broker.bootstrap());
    let mut program = Start::one("micro-1")
        .on(&broker)
        .without("KAFKA_BROKERS")
        .env("RUST_LOG", "debug")
        .file("micro-1/.env", &file)
        .start()
        .ready();
    // The broker is the file's, the log filter is the environment's.
    assert_eq!(program.journal("started")[0]["brokers"], broker.bootstrap());
    // And the group: a commit of it is known to the broker.
    let user = new_user();
    let kafka = Raw::new(&broker.bootstrap());
    let value = json!({"userId": user, "type": "info", "content": "c"}).to_string();
    let (partition, offset) = kafka.send(&Out::new("notification.events", user, value));
    wait_for("the commit", || {
        (kafka.committed_in("from-the-file", "notification.events", partition) == offset + 1).then_some(())
    });
    assert!(program.stop().success());
}

#[test]
fn ports_in_the_env_file_of_a_service_are_its_own_also_when_both_run_in_one_process() {
    // A port that is held: the refusal shows that it was read, and no port has to be hoped to be free.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let start = || Start::both().file("micro-1/.env", &format!("PORT={}\n", address.port()));
    let (status, output) = start().without("MICRO_1_PORT").run_to_end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&format!("micro-1: the API cannot listen on {address}")), "{output}");

    // The environment wins.
    let mut program = start().start();
    assert!(program.stop().success());
}

#[test]
fn a_service_alone_reads_its_own_settings_and_no_others() {
    let own = |app: App| -> Vec<&str> {
        let table = app.table();
        assert!(table.iter().all(|variable| !variable.default.contains('/')), "one default each: {table:?}");
        table.iter().filter(|variable| variable.own).map(|variable| variable.name).collect()
    };
    assert_eq!((own(micro_1::APP), own(micro_2::APP)), (vec!["DATA_DIR", "CHAOS"], vec!["CHAOS"]));
    let (_, output) = Start::one("micro-2").env("MICRO_2_CHAOS", "yes").env("MICRO_1_CHAOS", "no").run_to_end();
    assert!(output.contains("MICRO_2_CHAOS=\"yes\" is not allowed") && !output.contains("MICRO_1_CHAOS"), "{output}");
}

#[test]
fn a_wrong_value_in_an_env_file_is_told_with_the_file_that_it_is_in() {
    let files = |start: Start| {
        start
            .file("micro-1/.env", "CHAOS=maybe\nHTTP_WORKERS=0\nPORT=high\n")
            .file(".env", "HTTP_WORKERS=65\nRETRY_ATTEMPTS=0\n")
    };
    let (status, output) = files(Start::both().without("MICRO_1_PORT")).run_to_end();
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{output}");
    for expected in [
        "CHAOS=\"maybe\" is not allowed: `true` or `false` (in micro-1/.env)",
        "PORT=\"high\" is not allowed: a number, 0 to 65535 (in micro-1/.env)",
        "HTTP_WORKERS=\"0\" is not allowed: a number, 1 to 64 (in micro-1/.env)",
        "HTTP_WORKERS=\"65\" is not allowed: a number, 1 to 64 (in .env)",
        "RETRY_ATTEMPTS=\"0\" is not allowed: a number, 1 to 100 (in .env)",
    ] {
        assert_eq!(output.lines().filter(|line| line.trim() == expected).count(), 1, "{expected} in\n{output}");
    }
}

#[test]
fn a_bad_line_in_the_env_file_is_named_and_not_shown() {
    let start = Start::both().file("micro-2/.env", "KAFKA_GROUP=g\nKAFKA_PROPERTY_SASL_PASSWORD='s3cret\n");
    let (status, output) = start.run_to_end();
    assert_eq!(status.code(), Some(EXIT_CONFIG), "{output}");
    assert!(output.contains("micro-2/.env") && !output.contains("s3cret"), "{output}");
}

#[test]
fn a_service_alone_without_brokers_says_which_two_ways_there_are() {
    for service in ["micro-1", "micro-2"] {
        let (status, output) = Start::one(service).run_to_end();
        assert_eq!(status.code(), Some(EXIT_CONFIG), "{output}");
        assert!(output.contains("KAFKA_BROKERS is not set"), "{output}");
        assert!(output.contains(&format!("KAFKA_BROKERS=localhost:9092 cargo run -p {service}")), "{output}");
        assert!(output.contains("  cargo run  "), "{output}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_variable_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for variable in ["MICRO_1_PORT", "MICRO_1_MANAGEMENT_PORT", "MICRO_2_PORT", "MICRO_2_MANAGEMENT_PORT"] {
        let (status, output) = Start::both().env(variable, address.port().to_string()).run_to_end();
        assert_eq!(status.code(), Some(1), "{output}");
        let line = output.lines().find(|line| line.contains("cannot listen")).unwrap_or_else(|| panic!("{output}"));
        assert!(line.contains(&address.to_string()) && line.contains("in use"), "{line}");
        assert!(line.contains(&format!("set {variable} ")), "{line}");
    }
}

#[test]
fn help_lists_every_variable_and_unknown_words_are_refused() {
    let (status, help) = Start::both().words(&["--help"]).run_to_end();
    assert!(status.success(), "{help}");
    for variable in united([micro_1::APP, micro_2::APP].iter().map(App::table)) {
        let lines: Vec<&str> =
            help.lines().filter(|line| line.split_whitespace().next() == Some(variable.name)).collect();
        assert_eq!(lines, [format!("  {variable}")], "{help}");
    }
    for service in ["micro-1", "micro-2"] {
        assert!(help.contains(service), "{help}");
    }
    let (status, output) = Start::both().words(&["--nonsense"]).run_to_end();
    assert_eq!(status.code(), Some(2), "{output}");
    assert!(output.contains("--nonsense") && output.contains("--help"), "{output}");
}

#[test]
fn passwords_are_in_no_output_however_much_is_logged() {
    let broker = embedded_broker();
    let secret = "s3cret-of-this-test";
    let mut program = Start::both()
        .on(&broker)
        .env("RUST_LOG", "trace")
        .env("KAFKA_PROPERTY_DEBUG", "generic,security,conf")
        .env("KAFKA_PROPERTY_SASL_MECHANISM", "PLAIN")
        .env("KAFKA_PROPERTY_SASL_USERNAME", "user")
        .env("KAFKA_PROPERTY_SASL_PASSWORD", secret)
        .start()
        .ready();
    let message = json!({"userId": new_user(), "action": "user_created", "data": {"fullName": "John Doe"}});
    program.send_to_micro_2("user.events", &message);
    for service in ["micro-1", "micro-2"] {
        let status = program.get(service, "/api/kafka/status").text().unwrap();
        assert!(!status.contains(secret), "{status}");
    }
    assert!(program.stop().success());
    let output = program.output();
    // The output does hold what librdkafka tells of its configuration, so a password could be there.
    assert!(output.contains("sasl.username"), "the configuration was not logged");
    assert!(!output.contains(secret));

    // Nor in what is said of settings that are refused.
    let start = Start::both().env("KAFKA_PROPERTY_SASL_PASSWORD", secret).env("KAFKA_PROPERTY_LINGER_MS", secret);
    let (status, output) = start.env("LOG_FORMAT", "xml").run_to_end();
    assert_eq!(status.code(), Some(EXIT_CONFIG));
    assert!(output.contains("KAFKA_PROPERTY_LINGER_MS") && !output.contains(secret), "{output}");
}
