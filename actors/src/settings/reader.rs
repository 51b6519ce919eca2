//! The reader of settings: gives each its value or its default, and collects what is declared and what is wrong.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::Defaults;
use super::declare::Variable;
use super::sources::{Sources, own_name};
use crate::kafka::property_problem;

/// Settings that are declared by being read; [`settings!`](crate::settings!) implements it.
pub trait Declare: Sized {
    /// Reads each of them. What is wrong goes to the reader, and its default takes its place.
    fn declare(reader: &mut Reader) -> Self;
}

/// Nothing.
impl Declare for () {
    fn declare(_: &mut Reader) -> Self {}
}

/// The settings that a service has in addition to the library's.
#[derive(Clone, Copy, Debug)]
pub struct Declared(pub(super) fn(&mut Reader) -> Own);

impl Declared {
    /// None.
    pub const NONE: Self = Self::of::<()>();

    /// Those of that struct; [`Settings::own`](crate::settings::Settings::own) gives it.
    #[must_use]
    pub const fn of<T: Declare + Send + Sync + 'static>() -> Self {
        Self(|reader| Own(Arc::new(T::declare(reader))))
    }
}

/// The values of a service's own settings, of whatever type they are.
#[derive(Clone)]
pub(super) struct Own(pub(super) Arc<dyn Any + Send + Sync>);

/// Starts the names of variables that are passed through to librdkafka.
const PROPERTY: &str = "KAFKA_PROPERTY_";

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{services}: {} of the settings {} wrong:{}", .problems.len(), if .problems.len() == 1 { "is" } else { "are" }, listed(.problems))]
pub struct SettingsError {
    /// Names of the services that they are for.
    pub services: String,
    /// One line each: the variable's name, what is wrong, what is allowed, and the file that it is in.
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

/// Reads the settings of one service.
pub struct Reader {
    defaults: Defaults,
    declared: Declared,
    /// Other services run in this process: they cannot share a port.
    shared: bool,
    sources: Sources,
    /// Whether what is read is the service's own.
    own: bool,
    pub(super) table: Vec<Variable>,
    pub(super) problems: Vec<String>,
}

impl Reader {
    pub(super) fn new(
        defaults: Defaults,
        declared: Declared,
        shared: bool,
        sources: Sources,
        problems: Vec<String>,
    ) -> Self {
        Self { defaults, declared, shared, sources, own: false, table: Vec::new(), problems }
    }

    /// The next setting, and what it means: a few words that begin in lower case. What is allowed is added to them where
    /// it is a range.
    pub fn about(&mut self, meaning: &'static str) -> Field<'_> {
        Field { reader: self, meaning: meaning.trim() }
    }

    /// The value under the service's own name or, where `common`, the plain one, where it is set and allowed.
    fn value<T>(
        &mut self,
        name: &str,
        common: bool,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let names = [Some(own_name(self.defaults.service, name)), common.then(|| name.to_owned())];
        let given = self.sources.first(names.into_iter().flatten())?;
        let parsed = parse(given.value.trim());
        if parsed.is_none() {
            let (name, value, origin) = (&given.name, &given.value, given.origin());
            self.problems.push(format!("{name}={value:?} is not allowed: {allowed}{origin}"));
        }
        parsed
    }
}

/// A setting that is being declared and read: how is said by the method that is called. The first argument is always the
/// variable's name; the service's name before it (`GREETER_HOST`) makes it that service's alone. Numbers and texts are
/// trimmed, and an empty value counts as not set.
#[must_use = "it is declared by one of its methods"]
pub struct Field<'r> {
    reader: &'r mut Reader,
    meaning: &'static str,
}

impl Field<'_> {
    fn declared(&mut self, name: &'static str, default: String, allowed: &str) {
        let separator = if allowed.is_empty() { "" } else { ", " };
        let meaning = format!("{}{separator}{allowed}", self.meaning);
        self.reader.table.push(Variable { name, default, meaning, own: self.reader.own });
    }

    /// A value that may be left out. `parse` gives `None` for what is not allowed.
    pub fn optional<T>(
        mut self,
        name: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.declared(name, String::new(), "");
        self.reader.value(name, true, allowed, parse)
    }

    /// A value with a default. `parse` gives `None` for what is not allowed.
    pub fn parsed<T: fmt::Display>(
        mut self,
        name: &'static str,
        default: T,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> T {
        self.declared(name, default.to_string(), "");
        self.reader.value(name, true, allowed, parse).unwrap_or(default)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn switch(self, name: &'static str, default: bool) -> bool {
        self.parsed(name, default, "`true` or `false`", |text| text.parse().ok())
    }

    /// A number within a range.
    pub fn within<T>(self, name: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        self.number(name, true, default, &range)
    }

    /// A duration, as a number of milliseconds within a range.
    #[must_use]
    pub fn millis(self, name: &'static str, default: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(name, default, range))
    }

    /// Settings that are declared elsewhere, by [`Declare`].
    #[must_use]
    pub fn nested<T: Declare>(self) -> T {
        T::declare(self.reader)
    }

    fn number<T>(mut self, name: &'static str, common: bool, default: T, range: &RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let bounds = format!("{} to {}", range.start(), range.end());
        self.declared(name, default.to_string(), &bounds);
        let parse = |text: &str| text.parse().ok().filter(|number| range.contains(number));
        self.reader.value(name, common, &format!("a number, {bounds}"), parse).unwrap_or(default)
    }

    /// A port of the service's own: services of one process cannot share it.
    pub(super) fn port(mut self, name: &'static str, default: impl FnOnce(&Defaults) -> u16) -> u16 {
        let (default, common) = (default(&self.reader.defaults), !self.reader.shared);
        self.declared(name, default.to_string(), "");
        self.reader.value(name, common, "a number, 0 to 65535", |text| text.parse().ok()).unwrap_or(default)
    }

    /// A name, by default one that is made of the service's.
    pub(super) fn named(self, name: &'static str, default: impl FnOnce(&str) -> String) -> String {
        let default = default(self.reader.defaults.service);
        self.parsed(name, default, "a name", super::filled)
    }

    /// The service's name, which is no setting.
    pub(super) fn service(self) -> &'static str {
        self.reader.defaults.service
    }

    /// What the service declares itself.
    pub(super) fn own(self) -> Own {
        self.reader.own = true;
        let own = self.reader.declared.0(self.reader);
        self.reader.own = false;
        own
    }

    /// Properties of librdkafka by their own names.
    pub(super) fn properties(mut self) -> BTreeMap<String, String> {
        self.declared("KAFKA_PROPERTY_<NAME>", String::new(), "");
        let mut properties = BTreeMap::new();
        for (variable, given) in &self.reader.sources.0 {
            let name = variable.strip_prefix(PROPERTY).filter(|name| !name.is_empty() && !given.value.is_empty());
            let Some(name) = name else { continue };
            let name = name.to_lowercase().replace('_', ".");
            match property_problem(&name, &given.value) {
                None => drop(properties.insert(name, given.value.clone())),
                Some(problem) => {
                    self.reader.problems.push(format!("{variable} is not allowed: {problem}{}", given.origin()));
                }
            }
        }
        properties
    }
}
