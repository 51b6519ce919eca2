//! The modules keep apart: who may know what, read from the sources. ARCHITECTURE.md says the order; this reads it there.

use std::collections::BTreeMap;

use kafka_actors::settings::Defaults;

use crate::project::{files, members, read, services};
use crate::rust::Source;

/// Members of the workspace that run in no service: they may know what they measure.
const TOOLS: [&str; 3] = ["bench", "chaos", "sim"];

/// Files that may write and read JSON without a contract in between.
const JSON_FILES: [&str; 7] = [
    "actors/src/event.rs",
    "actors/src/http/",
    "actors/src/kafka/statistics.rs",
    "contracts/src/other_event.rs",
    "contracts/src/poke.rs",
    "micro-1/src/http.rs",
    "micro-2/src/http.rs",
];

/// A file of more lines wants to be two.
const MAX_LINES: usize = 400;

/// The sources of the services, without tests.
fn sources() -> Vec<(String, Source)> {
    members().iter().filter(|name| !TOOLS.contains(&name.as_str())).flat_map(|name| sources_of(name)).collect()
}

fn sources_of(name: &str) -> Vec<(String, Source)> {
    files(&format!("{name}/src"), ".rs").into_iter().map(|file| (file.clone(), Source::of(&read(&file)))).collect()
}

/// Asserts that only files below these paths do something, and that some file does.
#[track_caller]
fn only_in(paths: &[&str], what: &str, does: impl Fn(&Source) -> bool) {
    let doing: Vec<String> = sources().into_iter().filter(|(_, source)| does(source)).map(|(file, _)| file).collect();
    assert!(!doing.is_empty(), "no file does it, so this test looks for the wrong thing: {what}");
    let outside: Vec<&String> = doing.iter().filter(|file| !paths.iter().any(|path| file.starts_with(path))).collect();
    assert!(outside.is_empty(), "{what}, outside {paths:?}: {outside:?}");
}

#[test]
fn only_the_kafka_module_knows_rdkafka() {
    only_in(&["actors/src/kafka/"], "names rdkafka", |source| {
        source.knows_crate("rdkafka") || source.knows_crate("rdkafka_sys")
    });
}

#[test]
fn the_environment_is_read_in_one_file() {
    only_in(&["actors/src/settings/sources.rs"], "reads the environment", |source| {
        source.names("std::env") || source.knows_crate("env") || source.knows_crate("dotenvy")
    });
}

#[test]
fn json_without_a_contract_stays_in_its_files() {
    only_in(&JSON_FILES, "names serde_json", |source| source.knows_crate("serde_json"));
}

#[test]
fn unsafe_code_is_in_one_file() {
    only_in(&["actors/src/kafka/ffi.rs"], "says unsafe", |source| source.names("unsafe"));
    only_in(&["actors/src/kafka/mod.rs"], "allows unsafe code", |source| source.names("unsafe_code"));
}

#[test]
fn the_journal_alone_writes_log_lines_and_metrics() {
    let paths = ["actors/src/journal/", "actors/src/telemetry.rs"];
    only_in(&paths, "names tracing, log or metrics", |source| {
        ["tracing", "log", "metrics"].iter().any(|name| source.knows_crate(name))
    });
    // Before there is a journal, and for people: what a program says on its terminal.
    let terminal = ["actors/src/launch.rs", "standalone/src/main.rs"];
    only_in(&terminal, "prints", |source| {
        ["println", "print", "eprintln", "eprint", "dbg"].iter().any(|name| source.names(name))
    });
}

#[test]
fn decisions_know_no_client_no_actor_no_clock_and_no_randomness() {
    const KNOWN: [&str; 6] = ["std", "crate", "super", "self", "rustc_hash", "smallvec"];
    const FORBIDDEN: [&str; 10] =
        ["rdkafka", "rdkafka_sys", "actix", "actix_web", "tokio", "tokio_util", "rand", "uuid", "tracing", "metrics"];
    const IMPURE: [&str; 8] = [
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "SystemTime",
        "std::env",
        "std::fs",
        "std::net",
        "std::thread",
    ];
    for (file, source) in sources_of("delivery").into_iter().filter(|(file, _)| !file.contains("/tests/")) {
        for path in &source.uses {
            assert!(KNOWN.contains(&path[0].as_str()), "{file} uses {}", path.join("::"));
        }
        for name in FORBIDDEN {
            assert!(!source.knows_crate(name), "{file} knows {name}");
        }
        for path in IMPURE {
            assert!(!source.goes_through(path), "{file} names {path}");
        }
    }
}

#[test]
fn the_library_knows_nothing_of_the_example() {
    let mut words = vec!["DATA_DIR".to_owned(), "CHAOS".to_owned(), "both services".to_owned(), "the demo".to_owned()];
    for Defaults { service, port, management_port } in services() {
        words.extend([port, management_port].map(|port| port.to_string()));
        let word = service.replace('-', "_");
        words.extend([service.to_owned(), word.to_uppercase(), word]);
    }
    for file in ["delivery", "actors"].iter().flat_map(|library| files(library, ".rs")) {
        let text = read(&file);
        for word in &words {
            assert!(!text.contains(word), "{file} says {word}");
        }
    }
}

#[test]
fn the_simulators_driver_decides_nothing_of_its_own() {
    // What a member decides with. A driver that names one of these has begun to decide.
    const PARTS: [&str; 14] = [
        "Frontier",
        "Pace",
        "Commits",
        "Notes",
        "Progress",
        "Backpressure",
        "Membership",
        "Leaving",
        "Rejoin",
        "RestartBudget",
        "RetryPolicy",
        "StallWatch",
        "LEASE",
        "encode",
    ];
    const DRIVER: [&str; 3] =
        ["sim/src/process/consumer.rs", "sim/src/process/carry_out.rs", "sim/src/process/reading.rs"];
    for file in DRIVER {
        let text = read(file);
        let source = Source::of(&text);
        for part in PARTS {
            assert!(!source.uses.iter().flatten().any(|name| name == part), "{file} names {part}");
        }
        for (at, line) in text.lines().enumerate() {
            // The client goes on behind what it has read; nothing else is counted here.
            let counts = [" + ", " - ", " * ", " / ", "saturating_", "checked_"].iter().any(|sign| line.contains(sign));
            let allowed = line.trim_start().starts_with("//") || line.contains("owned.position = record.offset + 1;");
            assert!(!counts || allowed, "{file}:{} counts: {line}", at + 1);
        }
    }
}

/// The modules of `actors` as ARCHITECTURE.md lists them, from the top down: lines such as "3. `http`: ...".
fn modules() -> Vec<String> {
    let text = read("ARCHITECTURE.md");
    let (_, section) = text.split_once("\n## The modules of `actors`").expect("the section of the modules");
    let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
    let modules: Vec<String> = section
        .lines()
        .filter_map(|line| {
            let (number, rest) = line.split_once(". `")?;
            number.parse::<u32>().ok()?;
            Some(rest.split_once('`')?.0.trim_end_matches('/').to_owned())
        })
        .collect();
    assert!(modules.len() > 10, "{modules:?}");
    modules
}

/// The module path of a file below actors/src, without the file's own `mod`.
fn module(file: &str) -> Vec<&str> {
    let path = file.strip_prefix("actors/src/").unwrap().strip_suffix(".rs").unwrap();
    path.split('/').filter(|name| *name != "mod" && *name != "lib").collect()
}

/// The module of `actors` that a path in a file leads into, or `None` where it stays or leads out of the crate.
fn target_of(path: &[String], module: &[&str]) -> Option<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let target = match path[0].as_str() {
        "crate" => path.get(1),
        "super" if ups >= module.len() => path.get(ups),
        _ => None,
    };
    target.cloned()
}

#[test]
fn the_document_lists_every_module_once() {
    let mut listed = modules();
    let text = read("actors/src/lib.rs");
    let mut real: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    listed.sort();
    real.sort();
    assert_eq!(listed, real, "the list in ARCHITECTURE.md and the modules in lib.rs");
}

#[test]
fn imports_go_down_only_in_the_order_of_the_document() {
    let modules = modules();
    let place: BTreeMap<&str, usize> = modules.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut upward = Vec::new();
    let mut seen = 0;
    for (file, source) in sources_of("actors") {
        let module = module(&file);
        let Some(own) = module.first() else { continue };
        for path in &source.paths {
            let Some(target) = target_of(path, &module) else { continue };
            if target == *own {
                continue;
            }
            seen += 1;
            match place.get(target.as_str()) {
                Some(at) if *at > place[own] => {}
                Some(_) => upward.push(format!("{file}: {}", path.join("::"))),
                // A name that the crate's front door shows again leads past the modules.
                None => upward.push(format!("{file}: {} names no module", path.join("::"))),
            }
        }
    }
    assert!(seen > 50, "only {seen} imports were found");
    assert!(upward.is_empty(), "these go up:\n{}", upward.join("\n"));
}

#[test]
fn each_crate_uses_only_those_below_it_and_the_services_never_meet() {
    let mut below: Vec<(&str, &[&str])> =
        vec![("delivery", &[]), ("actors", &["delivery"]), ("contracts", &["actors"])];
    below.extend(services().map(|service| (service.service, &["actors", "contracts"][..])));
    for (name, below) in below {
        for other in members() {
            let other = other.as_str();
            if other == name || below.contains(&other) {
                continue;
            }
            let manifest = read(&format!("{name}/Cargo.toml"));
            let dependency = dependency(other);
            assert!(!manifest.contains(&format!("\n{dependency} = ")), "{name}/Cargo.toml names {dependency}");
            for (file, source) in sources_of(name) {
                assert!(!source.knows_crate(&dependency.replace('-', "_")), "{file} knows {other}");
            }
        }
    }
}

/// The name under which the other members depend on a member.
fn dependency(member: &str) -> &str {
    let name = if member == "actors" { "kafka-actors" } else { member };
    assert!(read("Cargo.toml").contains(&format!("\n{name} = {{ ")) || TOOLS.contains(&name) || name == "standalone");
    name
}

/// Every file of Rust in the workspace.
fn all_files() -> Vec<String> {
    members().iter().flat_map(|member| files(member, ".rs")).collect()
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let silent: Vec<String> = all_files().into_iter().filter(|file| !read(file).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn no_file_grows_beyond_what_one_can_read_at_a_sitting() {
    for file in all_files() {
        let lines = read(&file).lines().count();
        assert!(lines <= MAX_LINES, "{file} has {lines} lines");
    }
}
