//! The settings of a service: those that every service has, which are declared here, and its own. All are checked at once.

mod declare;
mod policies;
mod reader;
mod sources;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use delivery::restart_budget::RestartPolicy;
use delivery::worker::breaker::BreakerPolicy;
use delivery::worker::retry::RetryPolicy;

pub use declare::{Variable, united};
pub use reader::{Declare, Declared, Field, Reader, SettingsError};
use sources::Sources;
pub(crate) use sources::own_name;
pub use sources::{Variables, arguments, environment};

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

crate::settings! {
    /// The settings of one service.
    #[derive(Clone)]
    pub struct Settings {
        /// name of the service
        pub service: &'static str = service(),
        /// `host:port`, several separated by commas
        pub brokers: Option<String> = optional("KAFKA_BROKERS", "`host:port`, several separated by commas", brokers),
        /// consumer group
        pub group: String = named("KAFKA_GROUP", |service| format!("{service}-group")),
        /// static membership: a name of this instance within its group, by which it is known again after a restart
        pub group_instance_id: Option<String> = optional("KAFKA_GROUP_INSTANCE_ID", "a name", filled),
        /// `true` creates missing topics, `false` only names them and exits
        pub create_topics: bool = switch("KAFKA_CREATE_TOPICS", true),
        /// partitions of a topic that is created
        pub partitions: i32 = within("KAFKA_PARTITIONS", 8, 1..=10_000),
        /// replicas of a topic that is created, 1 to 10; -1 is the broker's default
        pub replication: i32 = parsed("KAFKA_REPLICATION", -1, "1 to 10, or -1 for the broker's default", replicas),
        /// any librdkafka property: `KAFKA_PROPERTY_SECURITY_PROTOCOL=SASL_SSL`; TLS requires the cargo feature `tls`
        pub kafka_properties: BTreeMap<String, String> = properties(),
        /// address of the API
        pub host: IpAddr = parsed("HOST", Ipv4Addr::LOCALHOST.into(), "an IP address", |text| text.parse().ok()),
        /// port of the API; 0 picks a free one
        pub port: u16 = port("PORT", |defaults| defaults.port),
        /// address of the management listener
        pub management_host: IpAddr =
            parsed("MANAGEMENT_HOST", Ipv4Addr::LOCALHOST.into(), "an IP address", |text| text.parse().ok()),
        /// port of the management listener; 0 picks a free one
        pub management_port: u16 = port("MANAGEMENT_PORT", |defaults| defaults.management_port),
        /// `text` or `json`
        pub log_format: LogFormat = parsed("LOG_FORMAT", LogFormat::Text, "`text` or `json`", |text| text.parse().ok()),
        /// what is logged, as tracing-subscriber's `EnvFilter` reads it; `debug` shows payloads
        pub log_filter: String =
            parsed("RUST_LOG", "info,actix_server=warn".to_owned(), "a filter such as `info,kafka_actors=debug`", filter),
        /// threads that serve HTTP
        pub http_workers: usize = within("HTTP_WORKERS", 2, 1..=64),
        /// until a request to publish is answered
        pub publish_deadline: Duration = millis("PUBLISH_DEADLINE_MS", 5_000, 100..=60_000),
        /// events that the service works on at once, shared by its handlers
        pub max_in_flight: usize = within("MAX_IN_FLIGHT", 1_000, 1..=100_000),
        /// records between poll and settlement
        pub max_in_flight_records: usize = within("MAX_IN_FLIGHT_RECORDS", 65_536, 1..=1_000_000),
        /// bytes between poll and settlement
        pub max_in_flight_bytes: usize = within("MAX_IN_FLIGHT_BYTES", 64 << 20, 1 << 20..=1 << 32),
        /// between commits while there is something to commit
        pub commit_interval: Duration = millis("COMMIT_INTERVAL_MS", 200, 10..=60_000),
        /// a handler that has not answered by then is cancelled, and its events have failed in that attempt
        pub handler_deadline: Duration = millis("HANDLER_DEADLINE_MS", 30_000, 1..=3_600_000),
        /// attempts and backoff
        pub retry: RetryPolicy = nested(),
        /// when a route's breaker opens, and what then
        pub breaker: BreakerPolicy = nested(),
        /// how often and how soon an actor is restarted
        pub restart: RestartPolicy = nested(),
        /// how long partitions that go to another member finish what was started
        pub rebalance_drain_deadline: Duration = millis("REBALANCE_DRAIN_DEADLINE_MS", 2_000, 0..=60_000),
        /// how long a shutdown finishes what was started
        pub drain_deadline: Duration = millis("DRAIN_DEADLINE_MS", 4_000, 0..=60_000),
        /// what the service declares itself
        own: reader::Own = own(),
    }
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

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl Settings {
    /// Reads the settings of a service, its own ones too: the environment wins over `<service>/.env`, and that over `.env`.
    ///
    /// `shared`: several services run in this process, so the ports are read with the service's name only
    /// (`GREETER_PORT`). A name with the service's prefix wins everywhere.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn load(defaults: Defaults, declared: Declared, shared: bool) -> Result<Self, SettingsError> {
        let mut problems = Vec::new();
        let sources = Sources::load(defaults.service, shared, &mut problems);
        Self::read(Reader::new(defaults, declared, shared, sources, problems)).0
    }

    /// Reads the settings from these variables alone.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_variables(
        defaults: Defaults,
        declared: Declared,
        shared: bool,
        variables: Variables,
    ) -> Result<Self, SettingsError> {
        let mut sources = Sources::default();
        sources.add(variables, None);
        Self::read(Reader::new(defaults, declared, shared, sources, Vec::new())).0
    }

    /// Every variable that is read for a service: first the library's, then its own.
    #[must_use]
    pub fn table(defaults: Defaults, declared: Declared) -> Vec<Variable> {
        Self::read(Reader::new(defaults, declared, false, Sources::default(), Vec::new())).1
    }

    fn read(mut reader: Reader) -> (Result<Self, SettingsError>, Vec<Variable>) {
        let settings = Self::declare(&mut reader);
        let Reader { problems, table, .. } = reader;
        let services = settings.service.to_owned();
        (if problems.is_empty() { Ok(settings) } else { Err(SettingsError { services, problems }) }, table)
    }

    /// The service's own settings.
    ///
    /// # Panics
    /// Where the service declares settings of another type.
    #[must_use]
    pub fn own<T: Declare + 'static>(&self) -> &T {
        let wanted = std::any::type_name::<T>();
        self.own.0.downcast_ref().unwrap_or_else(|| panic!("{} does not declare {wanted}", self.service))
    }

    /// The same to change them, where they are of that type and no clone of the settings has them too.
    pub fn own_mut<T: Declare + 'static>(&mut self) -> Option<&mut T> {
        Arc::get_mut(&mut self.own.0)?.downcast_mut()
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn replicas(text: &str) -> Option<i32> {
    text.parse().ok().filter(|replicas| *replicas == -1 || (1..=10).contains(replicas))
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::settings! {
        /// What the greeter is told.
        #[derive(Clone, Debug, PartialEq)]
        struct Own {
            /// how often it
            /// says hello
            greetings: u32 = within("GREETINGS", 1, 1..=10),
            /// whether it is loud
            loud: bool = switch("LOUD", false),
        }
    }

    const DEFAULTS: Defaults = Defaults { service: "greeter", port: 3335, management_port: 4335 };
    const OWN: Declared = Declared::of::<Own>();

    fn read(shared: bool, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::from_variables(DEFAULTS, OWN, shared, variables)
    }

    #[test]
    fn without_variables_the_defaults_are_those_of_the_table() {
        let settings = read(false, &[]).unwrap();
        assert_eq!((settings.port, settings.management_port, settings.partitions), (3335, 4335, 8));
        let table = Settings::table(DEFAULTS, OWN);
        assert!(table.len() > 30, "{table:?}");
        for Variable { name, default, .. } in table.into_iter().filter(|variable| !variable.default.is_empty()) {
            let set = read(false, &[(name, &default)]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{set:?}"), format!("{settings:?}"), "{name}");
            assert_eq!((set.retry, set.max_in_flight_bytes), (settings.retry, settings.max_in_flight_bytes));
            assert_eq!(set.own::<Own>(), settings.own::<Own>(), "{name}");
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
                ("KAFKA_GROUP", " "),
                ("LOG_FORMAT", "xml"),
                ("KAFKA_PROPERTY_NO_SUCH", "x"),
                ("KAFKA_PROPERTY_ACKS", "0"),
                ("GREETINGS", "11"),
                ("GREETER_LOUD", "very"),
            ],
        )
        .unwrap_err();
        let text = error.to_string();
        for expected in [
            "PORT=\"high\" is not allowed: a number, 0 to 65535",
            "KAFKA_PARTITIONS=\"0\" is not allowed: a number, 1 to 10000",
            "KAFKA_BROKERS=\"nowhere\" is not allowed: `host:port`",
            "KAFKA_GROUP=\" \" is not allowed: a name",
            "LOG_FORMAT=\"xml\" is not allowed: `text` or `json`",
            "KAFKA_PROPERTY_NO_SUCH is not allowed",
            "KAFKA_PROPERTY_ACKS is not allowed",
            "GREETINGS=\"11\" is not allowed: a number, 1 to 10",
            "GREETER_LOUD=\"very\" is not allowed: `true` or `false`",
        ] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
        assert_eq!(error.problems.len(), 9, "{text}");
    }

    #[test]
    fn a_services_own_settings_are_typed_and_stand_behind_the_librarys_in_the_table() {
        let mut settings = read(false, &[("GREETER_GREETINGS", "3"), ("GREETINGS", "2"), ("LOUD", "true")]).unwrap();
        assert_eq!(settings.own::<Own>(), &Own { greetings: 3, loud: true });
        assert!(settings.own_mut::<()>().is_none());
        settings.own_mut::<Own>().unwrap().greetings = 4;
        assert_eq!(settings.own::<Own>().greetings, 4);

        let table = Settings::table(DEFAULTS, OWN);
        let own: Vec<String> = table.iter().filter(|variable| variable.own).map(Variable::to_string).collect();
        assert_eq!(own.len(), 2);
        assert!(
            own[0].starts_with("GREETINGS  ") && own[0].ends_with(" how often it says hello, 1 to 10 [1]"),
            "{own:?}"
        );
        assert!(table[..table.len() - 2].iter().all(|variable| !variable.own));
    }

    #[test]
    fn services_of_one_process_have_ports_of_their_own() {
        let settings = read(true, &[("PORT", "1"), ("GREETER_MANAGEMENT_PORT", "2"), ("HTTP_WORKERS", "3")]).unwrap();
        assert_eq!((settings.port, settings.management_port, settings.http_workers), (3335, 2, 3));
    }

    #[test]
    fn what_services_share_is_in_their_common_table_once_with_each_default() {
        let other = Defaults { service: "leaver", port: 3336, management_port: 4335 };
        let table = united([Settings::table(DEFAULTS, OWN), Settings::table(other, Declared::NONE)]);
        let default = |name: &str| {
            let mut found = table.iter().filter(|variable| variable.name == name);
            (found.next().unwrap().default.as_str(), found.count())
        };
        assert_eq!(default("PORT"), ("3335 / 3336", 0));
        assert_eq!(default("MANAGEMENT_PORT"), ("4335", 0));
        assert_eq!(default("LOUD"), ("false", 0));
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
