//! Commands of operators.

use std::sync::Arc;

use metrics::counter;
use tracing::{info, warn};

use super::Entry;

/// An operator gave a command.
pub struct CommandGiven<'a> {
    /// Its id.
    pub id: &'a str,
    /// Path of the actor that it is for.
    pub actor: &'a str,
    /// `restart`, `stop` or `start`.
    pub verb: &'a str,
    /// Address that it came from.
    pub address: Option<&'a str>,
    /// The name that came with it; no one checked it.
    pub name: Option<&'a str>,
}

impl Entry for CommandGiven<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { id, actor, verb, address, name } = self;
        info!(%service, id, actor, verb, address, name, "command given");
    }
}

/// A command was done, or failed.
pub struct CommandEnded<'a> {
    /// Its id.
    pub id: &'a str,
    /// Path of the actor that it was for.
    pub actor: &'a str,
    /// `restart`, `stop` or `start`.
    pub verb: &'a str,
    /// What was done, or why it was not.
    pub ended: Result<&'a str, &'a str>,
}

impl Entry for CommandEnded<'_> {
    fn write(&self, service: &Arc<str>) {
        let Self { id, actor, verb, ended } = self;
        match ended {
            Ok(result) => info!(%service, id, actor, verb, result, "command done"),
            Err(error) => warn!(%service, id, actor, verb, error, "command failed"),
        }
        let state = if ended.is_ok() { "done" } else { "failed" };
        let verb = (*verb).to_owned();
        counter!("commands_total", "service" => service.clone(), "verb" => verb, "state" => state).increment(1);
    }
}
