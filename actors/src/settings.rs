//! The one reader of the environment: settings from variables and the service's `.env`, checked all at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::kafka::property_problem;
use delivery::worker::breaker::BreakerPolicy;
use delivery::worker::restart_budget::RestartPolicy;
use delivery::worker::retry::RetryPolicy;

/// What differs between services before anything is set.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Name of the service; also of its folder, where its `.env` lies, and of its group (`<name>-group`).
    pub service: &'static str,
    /// Port of the API.
    pub port: u16,
    /// Port of the management listener.
    pub management_port: u16,
}

/// A setting: the table in `docs/settings.md` and `--help` are made of these.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// Value where it is not set, as text.
    pub default: &'static str,
    /// What it does and what is allowed.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable that is read.
pub const VARIABLES: [Variable; 35] = [
    variable("KAFKA_BROKERS", "", "`host:port`, several separated by commas; without it `cargo run` embeds a broker"),
    variable("KAFKA_GROUP", "`<service>-group`", "consumer group"),
    variable(
        "KAFKA_GROUP_INSTANCE_ID",
        "",
        "static membership: a name of this instance within its group, by which it is known again after a restart",
    ),
    variable("KAFKA_CREATE_TOPICS", "true", "`true` creates missing topics, `false` only names them and exits"),
    variable("KAFKA_PARTITIONS", "8", "partitions of a topic that is created, 1 to 10000"),
    variable("KAFKA_REPLICATION", "-1", "replicas of a topic that is created, 1 to 10; -1 is the broker's default"),
    variable(
        "KAFKA_PROPERTY_<NAME>",
        "",
        "any librdkafka property: `KAFKA_PROPERTY_SECURITY_PROTOCOL=SASL_SSL`; TLS wants the cargo feature `tls`",
    ),
    variable("HOST", "127.0.0.1", "address of the API"),
    variable("PORT", "3333 / 3334", "port of the API; 0 picks a free one"),
    variable("MANAGEMENT_HOST", "127.0.0.1", "address of the management listener"),
    variable("MANAGEMENT_PORT", "4333 / 4334", "port of the management listener; 0 picks a free one"),
    variable("DATA_DIR", "data", "folder of the service's database"),
    variable("LOG_FORMAT", "text", "`text` or `json`"),
    variable(
        "RUST_LOG",
        "info,actix_server=warn",
        "what is logged, as tracing-subscriber's EnvFilter reads it; `debug` shows payloads",
    ),
    variable("HTTP_WORKERS", "2", "threads that serve HTTP, 1 to 64"),
    variable("PUBLISH_DEADLINE_MS", "5000", "until a request to publish is answered, 100 to 60000"),
    variable("MAX_IN_FLIGHT", "1000", "events that the service works on at once, shared by its handlers, 1 to 100000"),
    variable("MAX_IN_FLIGHT_RECORDS", "65536", "records between poll and settlement, 1 to 1000000"),
    variable("MAX_IN_FLIGHT_BYTES", "67108864", "bytes between poll and settlement, 1048576 to 4294967296"),
    variable("COMMIT_INTERVAL_MS", "200", "between commits while there is something to commit, 10 to 60000"),
    variable(
        "HANDLER_DEADLINE_MS",
        "30000",
        "a handler that has not answered by then is cancelled, and its events have failed in that attempt, 1 to 3600000",
    ),
    variable("RETRY_ATTEMPTS", "5", "attempts at an event before it is dead-lettered, 1 to 100"),
    variable("RETRY_BACKOFF_MS", "100", "backoff before the second attempt; it doubles, 1 to 60000"),
    variable("RETRY_MAX_BACKOFF_MS", "10000", "longest backoff, 1 to 600000"),
    variable(
        "BREAKER_KEYS",
        "5",
        "different keys that fail with none handled in between, at which a route's breaker opens, 1 to 1000",
    ),
    variable(
        "BREAKER_MAX_INTERVAL_MS",
        "60000",
        "longest interval between events that are tried while it is open, 1 to 3600000",
    ),
    variable(
        "BREAKER_EXIT_AFTER_MS",
        "",
        "the service ends with code 70 when a breaker is open for so long, 1 to 86400000",
    ),
    variable("RESTART_BUDGET", "5", "restarts of an actor without a success in between, within the window, 1 to 1000"),
    variable("RESTART_WINDOW_MS", "30000", "the window of the restart budget, 1 to 3600000"),
    variable(
        "RESTART_BACKOFF_MS",
        "100",
        "before the third restart; it doubles; the first two are at once, 1 to 60000",
    ),
    variable("RESTART_MAX_BACKOFF_MS", "5000", "longest backoff of restarts and of probes, 1 to 600000"),
    variable("RESTART_PROBES", "10", "failed probes beyond the budget before the service ends with code 70, 1 to 1000"),
    variable(
        "REBALANCE_DRAIN_DEADLINE_MS",
        "2000",
        "how long partitions that go to another member finish what was started, 0 to 60000",
    ),
    variable("DRAIN_DEADLINE_MS", "4000", "how long a shutdown finishes what was started, 0 to 60000"),
    variable("CHAOS", "false", "`true` lets `data.chaos` of an event harm the demo's handlers; never in earnest"),
];

/// Starts the names of variables that are passed through to librdkafka.
const PROPERTY: &str = "KAFKA_PROPERTY_";

/// The settings of one service.
#[derive(Clone)]
pub struct Settings {
    /// Name of the service.
    pub service: &'static str,
    /// `host:port`, several separated by commas.
    pub brokers: Option<String>,
    /// Consumer group.
    pub group: String,
    /// Identity within the group that outlives the process.
    pub group_instance_id: Option<String>,
    /// Whether missing topics are created.
    pub create_topics: bool,
    /// Partitions of a topic that is created.
    pub partitions: i32,
    /// Replicas of a topic that is created; -1 is the broker's default.
    pub replication: i32,
    /// Properties for librdkafka.
    pub kafka_properties: BTreeMap<String, String>,
    /// Address of the API.
    pub host: IpAddr,
    /// Port of the API.
    pub port: u16,
    /// Address of the management listener.
    pub management_host: IpAddr,
    /// Port of the management listener.
    pub management_port: u16,
    /// Folder of the service's database, where it is set; else `data`.
    pub data_dir: Option<PathBuf>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_filter: String,
    /// Threads that serve HTTP.
    pub http_workers: usize,
    /// Until a request to publish is answered.
    pub publish_deadline: Duration,
    /// Events that the service works on at once.
    pub max_in_flight: usize,
    /// Records between poll and settlement.
    pub max_in_flight_records: usize,
    /// Bytes between poll and settlement.
    pub max_in_flight_bytes: usize,
    /// Between commits.
    pub commit_interval: Duration,
    /// A handler that has not answered by then is cancelled.
    pub handler_deadline: Duration,
    /// Attempts and backoff.
    pub retry: RetryPolicy,
    /// When a handler's breaker opens, and what then.
    pub breaker: BreakerPolicy,
    /// How often and how soon an actor is restarted.
    pub restart: RestartPolicy,
    /// How long partitions that go to another member finish what was started.
    pub rebalance_drain_deadline: Duration,
    /// How long a shutdown finishes what was started.
    pub drain_deadline: Duration,
    /// Whether events may harm the demo's handlers.
    pub chaos: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only of what is passed through: a value may be a password.
        f.debug_struct("Settings")
            .field("service", &self.service)
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("kafka_properties", &self.kafka_properties.keys().collect::<Vec<_>>())
            .field("host", &self.host)
            .field("port", &self.port)
            .field("management_port", &self.management_port)
            .field("data_dir", &self.data_dir())
            .finish_non_exhaustive()
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, a JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{services}: {} of the settings {} wrong:{}", .problems.len(), if .problems.len() == 1 { "is" } else { "are" }, listed(.problems))]
pub struct SettingsError {
    /// Names of the services that they are for.
    pub services: String,
    /// One line each: the variable's name, what is wrong and what is allowed.
    pub problems: Vec<String>,
}

impl SettingsError {
    /// Adds what is wrong for another service of the process; what both say is said once.
    pub(crate) fn add(&mut self, other: Self) {
        if !self.services.is_empty() {
            self.services.push_str(", ");
        }
        self.services.push_str(&other.services);
        for problem in other.problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }
}

fn listed(problems: &[String]) -> String {
    problems.iter().flat_map(|problem| ["\n  ", problem]).collect()
}

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// The process's environment.
#[must_use]
pub fn environment() -> Variables {
    // A name or value that is no UTF-8 is none of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The words behind the program's name.
#[must_use]
pub fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

impl Settings {
    /// Reads the settings of a service: the environment wins over `<service>/.env`, and that over `.env`.
    ///
    /// `shared`: several services run in this process, so the ports are read as `MICRO_1_PORT` only. A name with the
    /// service's prefix wins everywhere.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn load(defaults: Defaults, shared: bool) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let mut variables = Variables::new();
        let own_file = Path::new(defaults.service).join(".env");
        for file in [PathBuf::from(".env"), own_file.clone()] {
            match read_file(&file) {
                // In a file of its own a plain port is the service's, also where the process has others.
                Ok(read) if file == own_file && shared => variables.extend(with_own_ports(read, defaults.service)),
                Ok(read) => variables.extend(read),
                Err(problem) => problems.push(problem),
            }
        }
        variables.extend(environment());
        Self::from_variables(defaults, shared, variables, problems)
    }

    /// Reads the settings from these variables alone.
    ///
    /// # Errors
    /// Every problem at once, after those given.
    pub fn from_variables(
        defaults: Defaults,
        shared: bool,
        variables: Variables,
        problems: Vec<String>,
    ) -> Result<Self, SettingsError> {
        let mut read = Reader { service: defaults.service, shared, variables, problems };
        let settings = Self {
            service: defaults.service,
            brokers: read.optional("KAFKA_BROKERS", "`host:port`, several separated by commas", brokers),
            group: read.or("KAFKA_GROUP", format!("{}-group", defaults.service), "a name", filled),
            group_instance_id: read.optional("KAFKA_GROUP_INSTANCE_ID", "a name", filled),
            create_topics: read.or("KAFKA_CREATE_TOPICS", true, "`true` or `false`", |text| text.parse().ok()),
            partitions: read.within("KAFKA_PARTITIONS", 8, 1, 10_000),
            replication: read.or("KAFKA_REPLICATION", -1, "1 to 10, or -1 for the broker's default", |text| {
                text.parse().ok().filter(|replicas| *replicas == -1 || (1..=10).contains(replicas))
            }),
            kafka_properties: read.properties(),
            host: read.or("HOST", Ipv4Addr::LOCALHOST.into(), "an IP address", |text| text.parse().ok()),
            port: read.own_within("PORT", defaults.port, 0, u16::MAX),
            management_host: read
                .or("MANAGEMENT_HOST", Ipv4Addr::LOCALHOST.into(), "an IP address", |text| text.parse().ok()),
            management_port: read.own_within("MANAGEMENT_PORT", defaults.management_port, 0, u16::MAX),
            data_dir: read.optional("DATA_DIR", "a folder", |text| Some(text.into())),
            log_format: read.or("LOG_FORMAT", LogFormat::Text, "`text` or `json`", |text| text.parse().ok()),
            log_filter: read.or(
                "RUST_LOG",
                "info,actix_server=warn".to_owned(),
                "a filter such as `info,actors=debug`",
                filter,
            ),
            http_workers: read.within("HTTP_WORKERS", 2, 1, 64),
            publish_deadline: read.millis("PUBLISH_DEADLINE_MS", 5_000, 100, 60_000),
            max_in_flight: read.within("MAX_IN_FLIGHT", 1_000, 1, 100_000),
            max_in_flight_records: read.within("MAX_IN_FLIGHT_RECORDS", 65_536, 1, 1_000_000),
            max_in_flight_bytes: read.within("MAX_IN_FLIGHT_BYTES", 64 << 20, 1 << 20, 1 << 32),
            commit_interval: read.millis("COMMIT_INTERVAL_MS", 200, 10, 60_000),
            handler_deadline: read.millis("HANDLER_DEADLINE_MS", 30_000, 1, 3_600_000),
            retry: RetryPolicy {
                max_attempts: read.within("RETRY_ATTEMPTS", 5, 1, 100),
                first_backoff: read.millis("RETRY_BACKOFF_MS", 100, 1, 60_000),
                max_backoff: read.millis("RETRY_MAX_BACKOFF_MS", 10_000, 1, 600_000),
            },
            breaker: BreakerPolicy {
                keys: read.within("BREAKER_KEYS", 5, 1, 1_000),
                max_interval: read.millis("BREAKER_MAX_INTERVAL_MS", 60_000, 1, 3_600_000),
                exit_after: read.maybe_millis("BREAKER_EXIT_AFTER_MS", 1, 86_400_000),
            },
            restart: RestartPolicy {
                max_restarts: read.within("RESTART_BUDGET", 5, 1, 1_000),
                window: read.millis("RESTART_WINDOW_MS", 30_000, 1, 3_600_000),
                first_backoff: read.millis("RESTART_BACKOFF_MS", 100, 1, 60_000),
                max_backoff: read.millis("RESTART_MAX_BACKOFF_MS", 5_000, 1, 600_000),
                max_probes: read.within("RESTART_PROBES", 10, 1, 1_000),
            },
            rebalance_drain_deadline: read.millis("REBALANCE_DRAIN_DEADLINE_MS", 2_000, 0, 60_000),
            drain_deadline: read.millis("DRAIN_DEADLINE_MS", 4_000, 0, 60_000),
            chaos: read.or("CHAOS", false, "`true` or `false`", |text| text.parse().ok()),
        };
        if read.problems.is_empty() {
            Ok(settings)
        } else {
            Err(SettingsError { services: defaults.service.to_owned(), problems: read.problems })
        }
    }

    /// Folder of the service's database.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.data_dir.as_deref().unwrap_or(Path::new("data"))
    }

    /// `--help`: every variable with its default and meaning.
    #[must_use]
    pub fn help() -> String {
        let lines = VARIABLES.iter().map(|variable| {
            let default = if variable.default.is_empty() { String::new() } else { format!(" [{}]", variable.default) };
            format!("  {:<23} {}{default}\n", variable.name, variable.meaning)
        });
        lines.collect::<String>().replace('`', "")
    }
}

/// Ports under the service's own names, unless they are there.
fn with_own_ports(mut variables: Variables, service: &str) -> Variables {
    for name in ["PORT", "MANAGEMENT_PORT"] {
        if let Some(port) = variables.remove(name) {
            variables.entry(own_name(service, name)).or_insert(port);
        }
    }
    variables
}

/// The name under which a variable is for that service alone: `MICRO_1_PORT`. It wins over the plain one.
pub(crate) fn own_name(service: &str, name: &str) -> String {
    format!("{}_{name}", service.to_uppercase().replace('-', "_"))
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

fn filled(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

fn filter(text: &str) -> Option<String> {
    tracing_subscriber::EnvFilter::try_new(text).is_ok().then(|| text.to_owned())
}

fn brokers(text: &str) -> Option<String> {
    let valid = |broker: &str| {
        let broker = broker.trim();
        let broker = broker.split_once("://").map_or(broker, |(_, rest)| rest);
        broker.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    text.split(',').all(valid).then(|| text.to_owned())
}

/// Reads variables and collects what is wrong with them.
struct Reader {
    service: &'static str,
    shared: bool,
    variables: Variables,
    problems: Vec<String>,
}

impl Reader {
    /// The value under the service's own name or, where `common`, the plain one. An empty value counts as not set.
    fn value(&self, name: &str, common: bool) -> Option<(String, String)> {
        let own = own_name(self.service, name);
        let names = [Some(own), common.then(|| name.to_owned())];
        names.into_iter().flatten().find_map(|name| {
            let value = self.variables.get(&name).filter(|value| !value.is_empty())?.clone();
            Some((name, value))
        })
    }

    fn read<T>(&mut self, name: &str, common: bool, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (name, value) = self.value(name, common)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.problems.push(format!("{name}={value:?} is not allowed: {allowed}"));
        }
        parsed
    }

    fn optional<T>(&mut self, name: &str, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(name, true, allowed, parse)
    }

    fn or<T>(&mut self, name: &str, default: T, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        self.read(name, true, allowed, parse).unwrap_or(default)
    }

    fn number<T>(&mut self, name: &str, common: bool, default: T, least: T, most: T) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        let allowed = format!("a number, {least} to {most}");
        let within = |number: &T| *number >= least && *number <= most;
        self.read(name, common, &allowed, |text| text.parse().ok().filter(within)).unwrap_or(default)
    }

    fn within<T: FromStr + PartialOrd + Copy + fmt::Display>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        self.number(name, true, default, least, most)
    }

    /// A number that services of one process cannot share.
    fn own_within(&mut self, name: &str, default: u16, least: u16, most: u16) -> u16 {
        self.number(name, !self.shared, default, least, most)
    }

    fn millis(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.within(name, default, least, most))
    }

    fn maybe_millis(&mut self, name: &str, least: u64, most: u64) -> Option<Duration> {
        let allowed = format!("a number, {least} to {most}");
        let within = |number: &u64| *number >= least && *number <= most;
        self.optional(name, &allowed, |text| text.parse().ok().filter(within)).map(Duration::from_millis)
    }

    fn properties(&mut self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        for (variable, value) in &self.variables {
            let Some(name) = variable.strip_prefix(PROPERTY).filter(|name| !name.is_empty() && !value.is_empty())
            else {
                continue;
            };
            let name = name.to_lowercase().replace('_', ".");
            match property_problem(&name, value) {
                None => drop(properties.insert(name, value.clone())),
                Some(problem) => self.problems.push(format!("{variable} is not allowed: {problem}")),
            }
        }
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults { service: "micro-1", port: 3333, management_port: 4333 };

    fn read(shared: bool, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_variables(DEFAULTS, shared, variables, Vec::new())
    }

    #[test]
    fn without_variables_the_defaults_are_those_of_the_table() {
        let settings = read(false, &[]).unwrap();
        assert_eq!((settings.port, settings.management_port, settings.partitions), (3333, 4333, 8));
        for variable in VARIABLES {
            let default = variable.default.split(" / ").next().unwrap();
            if default.is_empty() || default.starts_with('`') {
                continue;
            }
            let set = read(false, &[(variable.name, default)]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{set:?}"), format!("{settings:?}"), "{}", variable.name);
            assert_eq!((set.retry, set.max_in_flight_bytes), (settings.retry, settings.max_in_flight_bytes));
        }
    }

    #[test]
    fn every_problem_is_listed_with_its_name_and_what_is_allowed() {
        let error = read(
            false,
            &[
                ("PORT", "high"),
                ("KAFKA_PARTITIONS", "0"),
                ("KAFKA_BROKERS", "nowhere"),
                ("LOG_FORMAT", "xml"),
                ("KAFKA_PROPERTY_NO_SUCH", "x"),
                ("KAFKA_PROPERTY_ACKS", "0"),
            ],
        )
        .unwrap_err();
        let text = error.to_string();
        for expected in [
            "PORT=\"high\" is not allowed: a number, 0 to 65535",
            "KAFKA_PARTITIONS=\"0\" is not allowed: a number, 1 to 10000",
            "KAFKA_BROKERS=\"nowhere\" is not allowed: `host:port`",
            "LOG_FORMAT=\"xml\" is not allowed: `text` or `json`",
            "KAFKA_PROPERTY_NO_SUCH is not allowed",
            "KAFKA_PROPERTY_ACKS is not allowed",
        ] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
        assert_eq!(error.problems.len(), 6, "{text}");
    }

    #[test]
    fn services_of_one_process_have_ports_of_their_own() {
        let settings = read(true, &[("PORT", "1"), ("MICRO_1_MANAGEMENT_PORT", "2"), ("HTTP_WORKERS", "3")]).unwrap();
        assert_eq!((settings.port, settings.management_port, settings.http_workers), (3333, 2, 3));
    }

    #[test]
    fn any_librdkafka_property_is_passed_through_and_its_value_is_not_shown() {
        let settings = read(false, &[("KAFKA_PROPERTY_SASL_PASSWORD", "s3cret"), ("KAFKA_PROPERTY_LINGER_MS", "7")]);
        let settings = settings.unwrap();
        assert_eq!(settings.kafka_properties["linger.ms"], "7");
        assert_eq!(settings.kafka_properties["sasl.password"], "s3cret");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
