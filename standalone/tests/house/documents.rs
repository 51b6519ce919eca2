//! The documents say what the code says: settings, metrics, exit codes, commands, file names and the names of tests.

use std::collections::BTreeSet;

use kafka_actors::fatal::{EXIT_CONFIG, EXIT_SOFTWARE};
use kafka_actors::settings::Variable;

use crate::project::{APPS, files, is_known, members, read, root, variables};

/// The cells of a table's rows below its head.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let (_, behind) = text.split_once(&format!("\n{head}\n")).unwrap_or_else(|| panic!("no table {head}"));
    behind
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_start_matches('|').trim_end().trim_end_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// What is between backticks, outside of blocks of code.
fn quoted(text: &str) -> Vec<String> {
    let mut in_block = false;
    let prose: Vec<&str> = text
        .lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            in_block ^= fence;
            !in_block && !fence
        })
        .collect();
    prose.join("\n").split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn documents() -> Vec<String> {
    let mut documents = files("docs", ".md");
    documents.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    documents
}

#[test]
fn the_page_of_settings_has_every_one_with_its_default_and_meaning() {
    let page = read("docs/settings.md");
    let (own, of_the_library): (Vec<Variable>, Vec<Variable>) =
        variables().into_iter().partition(|variable| variable.own);
    let expected: Vec<Vec<String>> = of_the_library
        .into_iter()
        .map(|Variable { name, default, meaning, .. }| vec![format!("`{name}`"), default, meaning])
        .collect();
    assert_eq!(table(&page, "| variable | default | meaning |"), expected);

    let services = |name: &str| -> String {
        let reading = APPS.iter().filter(|app| app.table().iter().any(|variable| variable.name == name));
        reading.map(|app| app.defaults.service).collect::<Vec<_>>().join(", ")
    };
    let expected: Vec<Vec<String>> = own
        .into_iter()
        .map(|Variable { name, default, meaning, .. }| vec![format!("`{name}`"), services(name), default, meaning])
        .collect();
    assert_eq!(table(&page, "| variable | services | default | meaning |"), expected);
}

#[test]
fn the_readme_names_the_two_commands_and_every_document() {
    let readme = read("README.md");
    for command in ["cargo run", "cargo test"] {
        assert!(readme.lines().any(|line| line.starts_with(&format!("{command} "))), "{command}");
    }
    for document in documents().iter().filter(|document| *document != "README.md") {
        assert!(readme.contains(&format!("]({document})")), "{document} is not linked");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let (target, _) = link.split_once(')').unwrap();
            let file = target.split('#').next().unwrap();
            assert!(folder.join(file).exists(), "{document} links to {target}");
        }
    }
}

/// Files that documents name because a reader makes them.
fn is_to_be_made(path: &str) -> bool {
    let made = ["micro-1/.env", "micro-1/src/audit.rs", "contracts/src/order_event.rs"];
    made.contains(&path) || path.starts_with("micro-3/")
}

#[test]
fn files_that_documents_name_exist() {
    let mut seen = 0;
    for document in documents() {
        for name in quoted(&read(&document)) {
            let folder = members().into_iter().chain(["docs".to_owned(), "dev".to_owned()]);
            let is_path = folder.into_iter().any(|folder| name.starts_with(&format!("{folder}/")));
            if !is_path || name.contains([' ', '<']) || is_to_be_made(&name) {
                continue;
            }
            seen += 1;
            assert!(root().join(&name).exists(), "{document} names {name}");
        }
    }
    assert!(seen > 20, "only {seen} names of files were found");
}

#[test]
fn the_tests_that_the_guarantees_name_exist() {
    let sources: String = members().iter().flat_map(|member| files(member, ".rs")).map(|file| read(&file)).collect();
    let rows = table(&read("docs/semantics.md"), "| promise | shown by |");
    let mut named = 0;
    for row in &rows {
        if row[1] == "not shown yet" {
            continue;
        }
        for test in row[1].split(", ") {
            let name = test.trim_matches('`');
            assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
            named += 1;
        }
    }
    assert!(named > 5, "{rows:?}");
}

#[test]
fn the_operators_page_lists_every_metric_and_no_other() {
    let mut real = BTreeSet::new();
    for entries in files("actors/src/journal", ".rs").iter().map(|file| read(file)) {
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            for behind in entries.split(kind).skip(1) {
                real.insert(behind.split('"').nth(1).unwrap().to_owned());
            }
        }
    }
    let rows = table(&read("docs/operations.md"), "| metric | labels | counts |");
    let listed: BTreeSet<String> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(listed, real);
}

#[test]
fn the_operators_page_lists_the_exit_codes() {
    let launch = read("actors/src/launch.rs");
    let (_, cut_short) = launch.split_once("EXIT_CUT_SHORT: u8 = ").unwrap();
    let cut_short = cut_short.split(';').next().unwrap().to_owned();
    let rows = table(&read("docs/operations.md"), "| code | means |");
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let (software, config) = (EXIT_SOFTWARE.to_string(), EXIT_CONFIG.to_string());
    assert_eq!(listed, ["0", "1", "2", &software, &config, &cut_short]);
}

#[test]
fn settings_that_documents_name_are_read() {
    let known = variables();
    for document in documents() {
        for name in quoted(&read(&document)) {
            let name = name.split('=').next().unwrap();
            let shouted =
                name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit());
            // A constant and a setting that a reader adds; and a name with a service's prefix.
            let plain = name.strip_prefix("MICRO_1_").unwrap_or(name);
            let other = ["ORDER_EVENTS", "PAGE_SIZE"].contains(&plain);
            assert!(!shouted || other || is_known(plain, &known), "{document} names {name}");
        }
    }
}
