//! `.env.example` of each service: copied to `.env` it works, and it leaves no variable out.

use std::collections::BTreeMap;

use kafka_actors::settings::VARIABLES;

use crate::project::{accepted, is_known, read, root, services};

/// `# NAME=value` is a variable that is not set; any other comment is prose.
fn unset(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix("# ")?.split_once('=')?;
    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_').then_some((name, value))
}

#[test]
fn a_copied_example_is_accepted_and_points_the_service_at_a_local_kafka() {
    for service in services() {
        let file = root().join(service.service).join(".env.example");
        let set: BTreeMap<String, String> = dotenvy::from_path_iter(file).unwrap().map(Result::unwrap).collect();
        let settings = accepted(service, &set);
        assert_eq!(settings.brokers.as_deref(), Some("localhost:9092"));
        assert_eq!((settings.port, settings.management_port), (service.port, service.management_port));
    }
}

#[test]
fn what_an_example_leaves_unset_is_the_default() {
    for service in services() {
        let text = read(&format!("{}/.env.example", service.service));
        let shown: BTreeMap<String, String> = text
            .lines()
            .filter_map(unset)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let (shown, default) = (accepted(service, &shown), accepted(service, &BTreeMap::new()));
        assert_eq!(format!("{shown:?}"), format!("{default:?}"));
        assert_eq!(shown.data_dir(), default.data_dir());
        assert_eq!((shown.create_topics, shown.partitions), (default.create_topics, default.partitions));
        assert_eq!((shown.replication, shown.management_host), (default.replication, default.management_host));
        assert_eq!((shown.log_format, &shown.log_filter), (default.log_format, &default.log_filter));
        assert_eq!((shown.http_workers, shown.publish_deadline), (default.http_workers, default.publish_deadline));
        assert_eq!((shown.max_in_flight, shown.retry), (default.max_in_flight, default.retry));
        assert_eq!(shown.max_in_flight_records, default.max_in_flight_records);
        assert_eq!(shown.max_in_flight_bytes, default.max_in_flight_bytes);
        assert_eq!((shown.commit_interval, shown.drain_deadline), (default.commit_interval, default.drain_deadline));
    }
}

#[test]
fn an_example_names_every_variable_under_its_meaning_and_no_other() {
    for service in services() {
        let text = read(&format!("{}/.env.example", service.service));
        let lines: Vec<&str> = text.lines().collect();
        let mut named = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let set = line.split_once('=').filter(|_| !line.starts_with('#'));
            let Some((name, _)) = set.or_else(|| unset(line)) else { continue };
            assert!(is_known(name), "{}: {name} is unknown", service.service);
            named.push((name, lines[at - 1]));
        }
        assert_eq!(named.len(), VARIABLES.len(), "{}: {named:?}", service.service);
        for (variable, (name, meaning)) in VARIABLES.iter().zip(named) {
            assert!(name.starts_with(variable.name.trim_end_matches("<NAME>")), "{name} stands for {}", variable.name);
            assert_eq!(meaning, format!("# {}", variable.meaning), "{}: {name}", service.service);
        }
    }
}
