//! The project as files: where it lies, what it consists of, and what its services call themselves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kafka_actors::launch::App;
use kafka_actors::settings::{Defaults, Settings, Variable, united};

/// Folders that are no part of the project's text.
const SKIPPED: [&str; 3] = ["target", ".git", "data"];

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of the project as text.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below a folder whose names end so, by their path from the root.
pub(crate) fn files(folder: &str, end: &str) -> Vec<String> {
    fn walk(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !SKIPPED.contains(&name) {
                walk(&path, end, found);
            } else if path.is_file() && name.ends_with(end) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), end, &mut found);
    let mut found: Vec<String> =
        found.iter().map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()).collect();
    found.sort();
    assert!(!found.is_empty(), "no {end} below {folder}");
    found
}

/// The services as their programs know them. One that is added here is checked everywhere.
pub(crate) const APPS: [App; 2] = [micro_1::APP, micro_2::APP];

/// What the services call themselves, and their ports.
pub(crate) fn services() -> [Defaults; APPS.len()] {
    APPS.map(|app| app.defaults)
}

/// Every variable that some service reads.
pub(crate) fn variables() -> Vec<Variable> {
    united(APPS.iter().map(App::table))
}

/// The members of the workspace.
pub(crate) fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, list) = manifest.split_once("\nmembers = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Whether one of the variables has this name.
pub(crate) fn is_known(name: &str, variables: &[Variable]) -> bool {
    variables.iter().any(|variable| match variable.name.strip_suffix("<NAME>") {
        Some(prefix) => name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()),
        None => name == variable.name,
    })
}

/// Has the service itself judge these variables.
#[track_caller]
pub(crate) fn accepted(service: Defaults, variables: &BTreeMap<String, String>) -> Settings {
    let app = APPS.into_iter().find(|app| app.defaults.service == service.service).unwrap();
    let unknown: Vec<_> = variables.keys().filter(|name| !is_known(name, &app.table())).collect();
    assert!(unknown.is_empty(), "{}: the settings do not know {unknown:?}", service.service);
    Settings::from_variables(service, app.own, false, variables.clone()).unwrap_or_else(|error| panic!("{error}"))
}
