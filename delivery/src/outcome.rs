//! What does a handler answer for an event, and how did an attempt end?

use std::fmt;

/// A handler's answer for one event.
pub type HandlerResult = Result<Done, HandlerError>;

/// The event needs nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Its effect took place now.
    Handled,
    /// Its effect had taken place before: a repeat, recognised by the event's id.
    Duplicate,
}

/// Whether another attempt can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Worth another attempt: a timeout, a broken connection, a lock.
    Transient,
    /// The same event fails the same way each time.
    Permanent,
    /// What the handler needs is away (its store, a service): no one's event is at fault, so no attempt is used up.
    Unavailable,
    /// The handler panicked; treated like a transient error.
    Panic,
    /// The handler did not answer within its deadline and was cancelled; treated like a transient error.
    Timeout,
    /// The bytes are no event of the contract.
    Undecodable,
    /// An event of the contract whose values break its rules.
    Invalid,
}

impl ErrorKind {
    /// Whether another attempt can help.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Transient | Self::Unavailable | Self::Panic | Self::Timeout)
    }

    /// The word for it in logs, metrics and dead letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Unavailable => "unavailable",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
        }
    }
}

/// Why a handler could not handle an event.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct HandlerError {
    /// Whether another attempt can help.
    pub kind: ErrorKind,
    /// What went wrong, with its causes, for the log and the dead letter.
    pub message: String,
}

impl HandlerError {
    /// Worth another attempt.
    pub fn transient(cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Transient, cause)
    }

    /// What the handler needs is away, and is named: its store, or a service behind it. No attempt is used up, and the
    /// route's breaker opens at once: its topic is paused, and one event at a time is tried until one is handled.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unavailable, what)
    }

    /// No attempt can help: the event becomes a dead letter at once.
    pub fn permanent(cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Permanent, cause)
    }

    /// An error of that kind.
    pub fn new(kind: ErrorKind, cause: impl fmt::Display) -> Self {
        Self { kind, message: cause.to_string() }
    }
}

/// How one attempt at a routed message ended; the word in the log, the metrics and the inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handler did it.
    Handled,
    /// The handler recognised a repeat.
    Duplicate,
    /// It failed and waits for its next attempt.
    Retry,
    /// It is in the dead-letter topic, acknowledged by the broker.
    DeadLettered,
}

impl Outcome {
    /// Every outcome, for metrics that start at zero and for help texts.
    pub const ALL: [Self; 4] = [Self::Handled, Self::Duplicate, Self::Retry, Self::DeadLettered];

    /// The word for it in logs, metrics and queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Duplicate => "duplicate",
            Self::Retry => "retry",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

impl From<Done> for Outcome {
    fn from(done: Done) -> Self {
        match done {
            Done::Handled => Self::Handled,
            Done::Duplicate => Self::Duplicate,
        }
    }
}
