//! `docker-compose.yml`, read with a YAML parser: no Docker engine is needed to know that it fits the services.

use std::collections::BTreeMap;

use kafka_actors::settings::Defaults;
use yaml_rust2::{Yaml, YamlLoader};

use crate::project::{accepted, read, services};

fn compose() -> Yaml {
    let mut documents = YamlLoader::load_from_str(&read("docker-compose.yml")).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// The members of a mapping, by name.
#[track_caller]
fn members(yaml: &Yaml) -> BTreeMap<&str, &Yaml> {
    yaml.as_hash().unwrap().iter().map(|(name, value)| (name.as_str().unwrap(), value)).collect()
}

#[track_caller]
fn texts(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// A container's environment. Compose refuses values that YAML takes for booleans, so each must be text.
#[track_caller]
fn environment(container: &Yaml) -> BTreeMap<String, String> {
    members(&container["environment"])
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.as_str().unwrap_or_else(|| panic!("{name}: quote it")).to_owned()))
        .collect()
}

/// The containers of our services.
fn ours(compose: &Yaml) -> Vec<(Defaults, &Yaml)> {
    services().map(|service| (service, &compose["services"][service.service])).into()
}

#[test]
fn it_starts_kafka_and_the_services_and_nothing_else() {
    let compose = compose();
    let names: Vec<&str> = members(&compose["services"]).into_keys().collect();
    let mut expected = vec!["kafka"];
    expected.extend(services().map(|service| service.service));
    assert_eq!(names, expected);
}

#[test]
fn each_service_knows_and_accepts_every_variable_it_is_given() {
    let compose = compose();
    for (service, container) in ours(&compose) {
        let settings = accepted(service, &environment(container));
        assert!(settings.host.is_unspecified(), "a container's loopback address is reached by no one else");
        assert!(settings.management_host.is_unspecified());
    }
}

#[test]
fn the_services_are_sent_to_a_listener_that_kafka_advertises_under_that_name() {
    let compose = compose();
    let kafka = environment(&compose["services"]["kafka"]);
    let advertised: Vec<&str> =
        kafka["KAFKA_ADVERTISED_LISTENERS"].split(',').map(|at| at.split_once("://").unwrap().1).collect();
    let names = |list: &str| -> Vec<String> {
        kafka[list].split(',').map(|entry| entry.split(':').next().unwrap().to_owned()).collect()
    };
    for (service, container) in ours(&compose) {
        let settings = accepted(service, &environment(container));
        let brokers = settings.brokers.unwrap();
        assert!(advertised.contains(&brokers.as_str()), "{brokers} is none of {advertised:?}");
        let (host, _) = brokers.split_once(':').unwrap();
        assert!(!compose["services"][host].is_badvalue(), "no container is named {host}");
    }
    assert_eq!(names("KAFKA_LISTENERS"), names("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"));
    let listened = names("KAFKA_LISTENERS");
    assert!(names("KAFKA_ADVERTISED_LISTENERS").iter().all(|name| listened.contains(name)));
    assert!(listened.contains(&kafka["KAFKA_INTER_BROKER_LISTENER_NAME"]));
    assert!(listened.contains(&kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]));
}

#[test]
fn kafka_is_one_node_in_kraft_mode_of_the_version_that_the_tests_use() {
    let compose = compose();
    let kafka = &compose["services"]["kafka"];
    let (image, version) = kafka["image"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(image, "apache/kafka");
    let jars = read("dev/pom.xml");
    assert!(jars.contains(&format!("{version}<")), "dev/pom.xml has another version than {version}");
    let environment = environment(kafka);
    assert_eq!(environment["KAFKA_PROCESS_ROLES"], "broker,controller");
    let (voter, _) = environment["KAFKA_CONTROLLER_QUORUM_VOTERS"].split_once('@').unwrap();
    assert_eq!(environment["KAFKA_NODE_ID"], voter);
    for (name, value) in &environment {
        assert!(!name.ends_with("_REPLICATION_FACTOR") || value == "1", "{name}: one node holds one replica");
    }
}

#[test]
fn every_image_is_pinned_or_built_here() {
    let compose = compose();
    for (name, container) in members(&compose["services"]) {
        if let Some(image) = container["image"].as_str() {
            let (_, tag) = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no tag"));
            assert!(tag.starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.'), "{name}: {tag} moves");
        } else {
            assert_eq!(container["build"]["context"].as_str(), Some("."), "{name}");
        }
    }
    let dockerfile = read("Dockerfile");
    for (service, container) in ours(&compose) {
        let target = container["build"]["target"].as_str().unwrap();
        assert_eq!(target, service.service);
        assert!(dockerfile.contains(&format!(" AS {target}\n")), "the Dockerfile has no target {target}");
    }
}

#[test]
fn every_container_has_a_health_check_and_comes_back_after_a_crash() {
    let compose = compose();
    for (name, container) in members(&compose["services"]) {
        let check = texts(&container["healthcheck"]["test"]);
        assert_eq!(check[0], "CMD", "{name}: without a shell, which the image need not have");
        for setting in ["interval", "timeout", "retries", "start_period"] {
            assert!(!container["healthcheck"][setting].is_badvalue(), "{name}: no {setting}");
        }
        assert_eq!(container["restart"].as_str(), Some("unless-stopped"), "{name}");
    }
    for (service, container) in ours(&compose) {
        assert_eq!(texts(&container["healthcheck"]["test"]), ["CMD", service.service, "healthcheck"]);
    }
}

#[test]
fn the_services_wait_until_kafka_is_healthy() {
    let compose = compose();
    for (service, container) in ours(&compose) {
        let condition = container["depends_on"]["kafka"]["condition"].as_str();
        assert_eq!(condition, Some("service_healthy"), "{}", service.service);
    }
}

#[test]
fn the_ports_are_the_default_ones_and_only_the_host_itself_reaches_them() {
    let compose = compose();
    for (name, container) in members(&compose["services"]) {
        for port in texts(&container["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
    }
    for (service, container) in ours(&compose) {
        let settings = accepted(service, &environment(container));
        assert_eq!((settings.port, settings.management_port), (service.port, service.management_port));
        let expected = [service.port, service.management_port].map(|port| format!("127.0.0.1:{port}:{port}"));
        assert_eq!(texts(&container["ports"]), expected);
    }
}

#[test]
fn what_must_outlive_a_container_lies_on_a_declared_volume() {
    let compose = compose();
    let declared = members(&compose["volumes"]);
    let mut used = Vec::new();
    for (name, container) in members(&compose["services"]) {
        for mount in container["volumes"].as_vec().into_iter().flatten() {
            let (volume, _) = mount.as_str().unwrap().split_once(':').unwrap();
            assert!(declared.contains_key(volume), "{name}: volume {volume} is not declared");
            used.push(volume);
        }
    }
    assert_eq!(used, declared.into_keys().collect::<Vec<_>>(), "every declared volume is used");
    let mounted = |service: &str, folder: &str| {
        let mounts = texts(&compose["services"][service]["volumes"]);
        mounts.iter().any(|mount| mount.ends_with(&format!(":{folder}")))
    };
    assert!(mounted("kafka", &environment(&compose["services"]["kafka"])["KAFKA_LOG_DIRS"]));
    assert!(mounted("micro-1", &environment(&compose["services"]["micro-1"])["DATA_DIR"]));
}

#[test]
fn a_stop_is_given_the_time_it_may_take() {
    let compose = compose();
    for (service, container) in ours(&compose) {
        let grace = container["stop_grace_period"].as_str().unwrap().strip_suffix('s').unwrap();
        // `STOP_DEADLINE` of actors/src/launch.rs is just below the 10 s that are promised.
        assert!(grace.parse::<u32>().unwrap() > 10, "{}: killed while it drains", service.service);
    }
}
