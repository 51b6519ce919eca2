//! SASL and TLS: with the cargo feature `tls` they are spoken, without it they are refused.

use crate::kit::Start;

#[test]
#[cfg(not(feature = "tls"))]
fn a_tls_setting_is_refused_at_the_start_without_the_feature_and_names_it() {
    let start = Start::one("micro-1")
        .env("KAFKA_BROKERS", "127.0.0.1:9")
        .env("KAFKA_PROPERTY_SECURITY_PROTOCOL", "SASL_SSL")
        .env("KAFKA_PROPERTY_SSL_CA_LOCATION", "/ca.pem")
        .env("KAFKA_PROPERTY_SASL_PASSWORD", "s3cret");
    let (status, said) = start.run_to_end();
    assert_eq!(status.code(), Some(78), "{said}");
    for name in ["KAFKA_PROPERTY_SECURITY_PROTOCOL", "KAFKA_PROPERTY_SSL_CA_LOCATION"] {
        let problem = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(problem.contains("--features tls"), "{problem}");
    }
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
#[cfg(feature = "tls")]
#[ignore = "wants a real Kafka: dev/kafka -- cargo test -- --include-ignored"]
fn on_kafka_the_flow_runs_over_sasl_ssl_and_a_wrong_password_reaches_nothing_and_is_not_shown() {
    use serde_json::json;

    use super::cluster::Cluster;
    use super::{Groups, on};
    use crate::kit::{new_user, unique, wait_for};

    let kafka = Cluster::start(&["--sasl-ssl"]);
    let start = |password: &str| {
        on(Start::both(), kafka.variable("KAFKA_SASL_SSL_BROKERS"), &Groups::new())
            // Debug shows the most that is ever shown.
            .env("RUST_LOG", "debug")
            .env("KAFKA_PROPERTY_SECURITY_PROTOCOL", "SASL_SSL")
            .env("KAFKA_PROPERTY_SASL_MECHANISM", "PLAIN")
            .env("KAFKA_PROPERTY_SSL_CA_LOCATION", kafka.variable("KAFKA_SSL_CA"))
            .env("KAFKA_PROPERTY_SASL_USERNAME", kafka.variable("KAFKA_SASL_USERNAME"))
            .env("KAFKA_PROPERTY_SASL_PASSWORD", password)
    };

    let wrong = unique("wrong");
    let mut program = start(&wrong).start();
    wait_for("the refusal", || program.output().contains("Authentication fail").then_some(()));
    for service in ["micro-1", "micro-2"] {
        assert_eq!(program.get(service, "/readyz").status(), 503);
    }
    assert!(program.stop().success());
    assert!(!program.output().contains(&wrong), "the password is shown");

    let password = kafka.variable("KAFKA_SASL_PASSWORD");
    let mut program = start(password).start().ready();
    let user = new_user();
    program.send_to_micro_2(
        "user.events",
        &json!({"userId": user, "action": "user_created", "data": {"fullName": "Secret"}}),
    );
    let kept = wait_for("the notification", || program.notifications(user).into_iter().next());
    assert_eq!(kept["content"], "Welcome, Secret!");
    assert!(program.stop().success());
    assert!(!program.output().contains(password), "the password is shown");
}
