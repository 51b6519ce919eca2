//! A command of an operator on its way to the actor, and the report that comes back.

use serde::Serialize;
use tokio::sync::mpsc;

use super::Commands;
use crate::status::ActorState;

/// What an actor can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    /// Be restarted.
    Restart,
    /// End, and wait to be started.
    Stop,
    /// Begin again.
    Start,
}

impl Verb {
    pub(crate) const ALL: [Self; 3] = [Self::Restart, Self::Stop, Self::Start];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }

    /// Why this cannot be done to an actor in that state, where it cannot.
    pub(crate) fn refused_in(self, state: ActorState) -> Option<&'static str> {
        match (self, state) {
            (_, ActorState::Starting) => Some("it has not begun yet"),
            (_, ActorState::Failed) => Some("it does not come back: the service ends"),
            (Self::Stop, ActorState::StoppedByOperator) => Some("it is stopped already"),
            (Self::Restart, ActorState::StoppedByOperator) => Some("it is stopped: start it"),
            (Self::Start, ActorState::StoppedByOperator) | (Self::Restart | Self::Stop, _) => None,
            (Self::Start, _) => Some("it is not stopped"),
        }
    }
}

/// What an actor is told.
pub(crate) struct PendingCommand {
    pub(crate) verb: Verb,
    pub(crate) report: Report,
}

/// Where an actor, or its supervisor, finds its commands.
pub(crate) type PendingCommands = mpsc::Receiver<PendingCommand>;

/// Tells what became of a command. Dropped before that, it tells that the actor is gone.
pub(crate) struct Report {
    commands: Commands,
    id: Option<String>,
}

impl Report {
    pub(super) fn new(commands: Commands, id: String) -> Self {
        Self { commands, id: Some(id) }
    }

    /// It was done.
    pub(crate) fn done(mut self, result: &str) {
        self.tell(Ok(result));
    }

    /// It was not done, for that reason.
    pub(crate) fn failed(mut self, why: &str) {
        self.tell(Err(why));
    }

    fn tell(&mut self, ended: Result<&str, &str>) {
        if let Some(id) = self.id.take() {
            self.commands.ended(&id, ended);
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.tell(Err("the actor ended before it was done"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_stopped_can_be_restarted_or_stopped_and_only_what_an_operator_stopped_can_be_started() {
        use ActorState::{BackingOff, Failed, OverBudget, Probing, Running, Starting, StoppedByOperator};
        for state in [Running, BackingOff, OverBudget, Probing] {
            let possible = Verb::ALL.map(|verb| verb.refused_in(state).is_none());
            assert_eq!(possible, [true, true, false], "{state:?}");
        }
        assert_eq!(Verb::ALL.map(|verb| verb.refused_in(StoppedByOperator).is_none()), [false, false, true]);
        for state in [Starting, Failed] {
            assert!(Verb::ALL.iter().all(|verb| verb.refused_in(state).is_some()), "{state:?}");
        }
    }
}
