//! How far has holding a partition back gone, and why is it paused?

use std::time::{Duration, Instant};

/// How long a partition is held before it is paused: a queue that moves at all makes room much sooner.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Why a partition is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseCause {
    /// An operator said so, for its topic.
    Operator,
    /// The handler of its topic has used up its restarts, or was stopped.
    Supervisor,
    /// It has too much in flight.
    Backpressure,
}

impl PauseCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Supervisor, Self::Backpressure];

    /// As it is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Supervisor => "supervisor",
            Self::Backpressure => "backpressure",
        }
    }
}

/// How far holding a partition back has gone, and why the source was told to pause it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    stage: Stage,
    paused: Option<PauseCause>,
}

/// How far holding a partition back has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Open,
    Held {
        since: Instant,
    },
    Paused,
}

impl Hold {
    pub(crate) fn new(stage: Stage, paused: Option<PauseCause>) -> Self {
        Self { stage, paused }
    }

    pub(crate) fn stage(self) -> Stage {
        self.stage
    }

    /// Why it is paused at the source, where it is.
    pub(crate) fn paused(self) -> Option<PauseCause> {
        self.paused
    }
}

impl Stage {
    /// `open`: it has room, or holding it would help none. `relieved`: it is down to a part of what it may have.
    pub(crate) fn next(self, open: bool, relieved: bool, now: Instant) -> Self {
        match self {
            Self::Paused if !relieved => Self::Paused,
            _ if open => Self::Open,
            Self::Held { since } if now.saturating_duration_since(since) >= PATIENCE => Self::Paused,
            Self::Held { since } => Self::Held { since },
            Self::Open | Self::Paused => Self::Held { since: now },
        }
    }

    pub(crate) fn is_paused(self) -> bool {
        self == Self::Paused
    }
}
