//! Commands of operators: who may be told what, and what became of the last ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{PendingCommand, PendingCommands, Report, Verb};
use crate::journal::{CommandEnded, CommandGiven, Journal};
use crate::status::Vitals;

/// Commands that are remembered. An operator gives some in an hour.
pub(crate) const KEPT_COMMANDS: usize = 100;

/// Where commands are given and asked for. A clone is the same.
#[derive(Clone)]
pub(crate) struct Commands(Arc<Inner>);

struct Inner {
    journal: Journal,
    /// By path.
    actors: Mutex<BTreeMap<String, Obeys>>,
    history: Mutex<VecDeque<Command>>,
}

/// Where the commands to an actor go.
#[derive(Clone)]
struct Obeys {
    /// To be restarted.
    restarts: mpsc::Sender<PendingCommand>,
    /// To stop, and to start.
    stops: mpsc::Sender<PendingCommand>,
}

/// A command, as it is shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Command {
    pub(crate) id: String,
    /// Path of the actor.
    actor: String,
    verb: Verb,
    state: CommandState,
    requested_by: Requester,
    requested_at: Timestamp,
    finished_at: Option<Timestamp>,
    result: Option<String>,
    error: Option<String>,
    links: Links,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CommandState {
    Pending,
    Done,
    Failed,
}

/// Who gave a command.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Requester {
    /// Address of the other end of the connection.
    pub(crate) address: Option<String>,
    /// The name that was given; no one checked it.
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Links {
    #[serde(rename = "self")]
    own: String,
}

impl Commands {
    pub(crate) fn new(journal: Journal) -> Self {
        Self(Arc::new(Inner { journal, actors: Mutex::default(), history: Mutex::default() }))
    }

    /// From now on that actor finds its commands here.
    pub(crate) fn obeyed_by(&self, actor: &Vitals) -> PendingCommands {
        // One command at a time is pending to each path, and two paths may lead here.
        let (sender, pending) = mpsc::channel(2);
        self.actors().insert(actor.path().to_owned(), Obeys { restarts: sender.clone(), stops: sender });
        pending
    }

    /// A stop or start of `actor` goes to `other`, which obeys already, and which stops and starts both.
    pub(crate) fn stops_with(&self, actor: &Vitals, other: &Vitals) {
        let mut actors = self.actors();
        let stops = actors.get(other.path()).map(|obeys| obeys.stops.clone());
        if let (Some(obeys), Some(stops)) = (actors.get_mut(actor.path()), stops) {
            obeys.stops = stops;
        }
    }

    /// Gives a command, or says why it was not taken.
    pub(crate) fn give(&self, actor: &Vitals, verb: Verb, by: Requester) -> Result<Command, String> {
        let (path, word) = (actor.path(), verb.as_str());
        if let Some(why) = verb.refused_in(actor.state()) {
            return Err(format!("{path}: {why}"));
        }
        let Some(Obeys { restarts, stops }) = self.actors().get(path).cloned() else {
            return Err(format!("{path}: it takes no commands"));
        };
        let sender = if verb == Verb::Restart { restarts } else { stops };
        let id = Uuid::now_v7().to_string();
        let command = Command {
            id: id.clone(),
            actor: path.to_owned(),
            verb,
            state: CommandState::Pending,
            requested_by: by,
            requested_at: Timestamp::now(),
            finished_at: None,
            result: None,
            error: None,
            links: Links { own: format!("/commands/{id}") },
        };
        {
            let mut history = self.history();
            if let Some(pending) = history.iter().find(|known| known.is_pending() && known.actor == path) {
                let (word, id) = (pending.verb.as_str(), &pending.id);
                return Err(format!("{path}: a command to {word} is pending, /commands/{id}"));
            }
            if history.len() == KEPT_COMMANDS {
                // One that is pending is asked for again.
                let oldest = history.iter().position(|known| !known.is_pending()).unwrap_or(0);
                history.remove(oldest);
            }
            history.push_back(command.clone());
        }
        let Requester { address, name } = &command.requested_by;
        let (address, name) = (address.as_deref(), name.as_deref());
        self.0.journal.write(CommandGiven { id: &id, actor: path, verb: word, address, name });
        // An actor that is gone does not get it: the report, dropped, tells so.
        let _ = sender.try_send(PendingCommand { verb, report: Report::new(self.clone(), id) });
        Ok(command)
    }

    /// A command that is remembered.
    pub(crate) fn find(&self, id: &str) -> Option<Command> {
        self.history().iter().find(|command| command.id == id).cloned()
    }

    pub(super) fn ended(&self, id: &str, ended: Result<&str, &str>) {
        let mut history = self.history();
        let Some(command) = history.iter_mut().find(|command| command.id == id) else { return };
        command.finished_at = Some(Timestamp::now());
        command.state = if ended.is_ok() { CommandState::Done } else { CommandState::Failed };
        command.result = ended.ok().map(str::to_owned);
        command.error = ended.err().map(str::to_owned);
        let (actor, verb) = (&command.actor, command.verb.as_str());
        self.0.journal.write(CommandEnded { id, actor, verb, ended });
    }

    fn actors(&self) -> MutexGuard<'_, BTreeMap<String, Obeys>> {
        self.0.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Command {
    fn is_pending(&self) -> bool {
        self.state == CommandState::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::ActorState;

    fn actor(path: &str) -> Vitals {
        let vitals = Vitals::new(path.to_owned(), Duration::ZERO);
        vitals.set_state(ActorState::Running);
        vitals
    }

    fn by() -> Requester {
        Requester { address: None, name: None }
    }

    #[test]
    fn an_actor_gets_one_command_at_a_time_and_what_became_of_it_is_told() {
        let commands = Commands::new(Journal::new("test"));
        let actor = actor("a");
        let mut pending = commands.obeyed_by(&actor);
        assert_eq!(commands.give(&actor, Verb::Start, by()).unwrap_err(), "a: it is not stopped");

        let first = commands.give(&actor, Verb::Restart, by()).unwrap();
        assert!(commands.give(&actor, Verb::Restart, by()).unwrap_err().contains("is pending"));
        pending.try_recv().unwrap().report.done("well");
        let second = commands.give(&actor, Verb::Restart, by()).unwrap();
        // An actor that takes the command and ends tells nothing.
        drop(pending.try_recv());
        drop(pending);
        let third = commands.give(&actor, Verb::Restart, by()).unwrap();
        let ends = [first, second, third].map(|command| {
            let Command { state, result, error, .. } = commands.find(&command.id).unwrap();
            (state, result, error)
        });
        let gone = || (CommandState::Failed, None, Some("the actor ended before it was done".to_owned()));
        assert_eq!(ends, [(CommandState::Done, Some("well".to_owned()), None), gone(), gone()]);
    }

    #[test]
    fn who_stops_with_another_passes_on_what_stops_and_starts_it_and_is_restarted_itself() {
        let commands = Commands::new(Journal::new("test"));
        let (one, other) = (actor("one"), actor("other"));
        let (mut of_one, mut of_other) = (commands.obeyed_by(&one), commands.obeyed_by(&other));
        commands.stops_with(&one, &other);
        commands.give(&one, Verb::Stop, by()).unwrap();
        // One to each path has room, however late they are taken.
        commands.give(&other, Verb::Restart, by()).unwrap();
        let command = of_other.try_recv().unwrap();
        assert_eq!((command.verb, of_one.try_recv().is_err()), (Verb::Stop, true));
        command.report.done("");
        of_other.try_recv().unwrap().report.done("");
        commands.give(&one, Verb::Restart, by()).unwrap();
        assert_eq!(of_one.try_recv().unwrap().verb, Verb::Restart);
        assert!(of_other.try_recv().is_err());
    }

    #[test]
    fn the_last_hundred_are_remembered_and_one_that_is_pending_is_not_forgotten_for_others() {
        let commands = Commands::new(Journal::new("test"));
        let (slow, quick) = (actor("slow"), actor("quick"));
        let (_never_read, mut pending_of_quick) = (commands.obeyed_by(&slow), commands.obeyed_by(&quick));
        let pending = commands.give(&slow, Verb::Stop, by()).unwrap().id;
        let ids: Vec<String> = (0..KEPT_COMMANDS + 10)
            .map(|_| {
                let id = commands.give(&quick, Verb::Restart, by()).unwrap().id;
                pending_of_quick.try_recv().unwrap().report.done("");
                id
            })
            .collect();
        assert!(commands.find(&pending).is_some());
        let kept: Vec<bool> = ids.iter().map(|id| commands.find(id).is_some()).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), KEPT_COMMANDS - 1);
        assert!(kept[11..].iter().all(|kept| *kept), "the oldest go first");
    }
}
