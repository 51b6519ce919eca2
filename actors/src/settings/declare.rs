//! How settings are declared: once, with name, default, meaning and what is allowed. Their values, `--help`, the documents
//! and the errors all come from that.

use std::fmt;

/// A struct of settings, one line each. The doc comment is what `--help` says; the line names the variable, its default and
/// what is allowed, by a method of [`Field`](crate::settings::Field).
///
/// ```
/// use std::time::Duration;
///
/// kafka_actors::settings! {
///     /// What the greeter is told.
///     #[derive(Clone, Debug)]
///     pub struct Own {
///         /// how often it says hello
///         pub greetings: u32 = within("GREETINGS", 1, 1..=10),
///         /// between two of them
///         pub pause: Duration = millis("GREETING_PAUSE_MS", 100, 0..=60_000),
///     }
/// }
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$about:meta])*
        $visible:vis struct $name:ident {
            $(
                $(#[doc = $meaning:literal])+
                $shown:vis $field:ident: $type:ty = $kind:ident($($argument:expr),* $(,)?),
            )+
        }
    ) => {
        $(#[$about])*
        $visible struct $name {
            $($(#[doc = $meaning])+ $shown $field: $type,)+
        }

        impl $crate::settings::Declare for $name {
            fn declare(reader: &mut $crate::settings::Reader) -> Self {
                Self { $($field: reader.about(concat!($($meaning),+)).$kind($($argument),*),)+ }
            }
        }
    };
}

/// A setting as people see it: `--help` and the tables in the documents are made of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name in the environment.
    pub name: &'static str,
    /// Value where it is not set, as text; empty where there is none.
    pub default: String,
    /// What it does and what is allowed.
    pub meaning: String,
    /// Whether the service declares it, and not the library.
    pub own: bool,
}

/// The variables of services that share a process or a document, each once. Where their defaults differ all are there, in
/// the order of the services.
#[must_use]
pub fn united(tables: impl IntoIterator<Item = Vec<Variable>>) -> Vec<Variable> {
    let mut united: Vec<(Variable, Vec<String>)> = Vec::new();
    for variable in tables.into_iter().flatten() {
        match united.iter_mut().find(|(known, _)| known.name == variable.name) {
            Some((_, defaults)) if defaults.contains(&variable.default) => {}
            Some((_, defaults)) => defaults.push(variable.default),
            None => {
                let default = variable.default.clone();
                united.push((variable, vec![default]));
            }
        }
    }
    let joined = |(variable, defaults): (Variable, Vec<String>)| Variable { default: defaults.join(" / "), ..variable };
    united.into_iter().map(joined).collect()
}

/// One line of `--help`.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = if self.default.is_empty() { String::new() } else { format!(" [{}]", self.default) };
        write!(f, "{:<27} {}{default}", self.name, self.meaning.replace('`', ""))
    }
}
