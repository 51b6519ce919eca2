//! Where variables come from: the process's environment, the service's `.env`, and `.env`. The environment is read here alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// The process's environment. Names and values that are not UTF-8 are left out.
#[must_use]
pub fn environment() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The words behind the program's name.
#[must_use]
pub fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The name under which a variable is for that service alone: `GREETER_PORT`. It wins over the plain one.
pub(crate) fn own_name(service: &str, name: &str) -> String {
    format!("{}_{name}", service.to_uppercase().replace('-', "_"))
}

/// Ports, which services of one process cannot share.
const PORTS: [&str; 2] = ["PORT", "MANAGEMENT_PORT"];

/// A value as it is written, and where.
pub(super) struct Given {
    /// The variable's name, also where it counts under another.
    pub(super) name: String,
    pub(super) value: String,
    file: Option<PathBuf>,
}

impl Given {
    /// What an error adds to it: ` (in greeter/.env)`; nothing where it is from the environment.
    pub(super) fn origin(&self) -> String {
        self.file.as_ref().map_or(String::new(), |file| format!(" (in {})", file.display()))
    }
}

/// Every variable that is set, by the name that it counts under, each from its strongest source.
#[derive(Default)]
pub(super) struct Sources(pub(super) BTreeMap<String, Given>);

impl Sources {
    /// The environment wins over `<service>/.env`, and that over `.env`. What is wrong with the files is added to the
    /// problems.
    pub(super) fn load(service: &str, shared: bool, problems: &mut Vec<String>) -> Self {
        let mut all = Self::default();
        let mut read = |file: &Path| {
            read_file(file).unwrap_or_else(|problem| {
                problems.push(problem);
                Variables::new()
            })
        };
        let file = Path::new(".env");
        all.add(read(file), Some(file));
        let file = &Path::new(service).join(".env");
        let mut own = read(file);
        if shared {
            // In a file of its own a plain port is the service's, also where the process has others.
            all.add_ports_of(service, &mut own, file);
        }
        all.add(own, Some(file));
        all.add(environment(), None);
        all
    }

    /// Adds variables, which win over those that are there.
    pub(super) fn add(&mut self, variables: Variables, file: Option<&Path>) {
        self.0.extend(variables.into_iter().map(|(name, value)| {
            let given = Given { name: name.clone(), value, file: file.map(Path::to_owned) };
            (name, given)
        }));
    }

    /// Takes the plain ports out of the variables and adds them under the service's own names.
    fn add_ports_of(&mut self, service: &str, variables: &mut Variables, file: &Path) {
        for name in PORTS {
            if let Some(value) = variables.remove(name) {
                let given = Given { name: name.to_owned(), value, file: Some(file.to_owned()) };
                self.0.insert(own_name(service, name), given);
            }
        }
    }

    /// The first of the names that is set. An empty value counts as not set.
    pub(super) fn first(&self, names: impl IntoIterator<Item = String>) -> Option<&Given> {
        names.into_iter().find_map(|name| self.0.get(&name).filter(|given| !given.value.is_empty()))
    }
}

fn read_file(file: &Path) -> Result<Variables, String> {
    match dotenvy::from_path_iter(file) {
        Ok(entries) => entries.collect::<Result<_, _>>().map_err(|error| match error {
            // The line is not shown: it may hold a password.
            dotenvy::Error::LineParse(_, at) => {
                format!("{}: a line is not NAME=value (near column {at})", file.display())
            }
            error => format!("{}: {error}", file.display()),
        }),
        Err(error) if error.not_found() => Ok(Variables::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}
