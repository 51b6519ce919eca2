//! `.env.example` of each service: copied to `.env` it works, and it leaves no variable out.

use std::collections::BTreeMap;

use crate::project::{APPS, accepted, read, root, services};

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
fn an_example_names_every_variable_of_its_service_under_its_meaning_with_its_default_and_no_other() {
    for app in APPS {
        let service = app.defaults.service;
        let text = read(&format!("{service}/.env.example"));
        let lines: Vec<&str> = text.lines().collect();
        let mut named = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let set = line.split_once('=').filter(|_| !line.starts_with('#'));
            let Some((name, value)) = set.or_else(|| unset(line)) else { continue };
            named.push((name, value, set.is_some(), lines[at - 1]));
        }
        let table = app.table();
        assert_eq!(named.len(), table.len(), "{service}: {named:?}");
        for (variable, (name, value, set, meaning)) in table.iter().zip(named) {
            assert!(
                name.starts_with(variable.name.trim_end_matches("<NAME>")),
                "{name} is in the place of {}",
                variable.name
            );
            assert_eq!(meaning, format!("# {}", variable.meaning), "{service}: {name}");
            assert!(set || value == variable.default, "{service}: {name}={value}");
        }
    }
}

#[test]
fn what_an_example_leaves_unset_is_accepted_as_it_is_shown() {
    for service in services() {
        let text = read(&format!("{}/.env.example", service.service));
        let shown: BTreeMap<String, String> = text
            .lines()
            .filter_map(unset)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert!(shown.len() > 20, "{shown:?}");
        accepted(service, &shown);
    }
}
