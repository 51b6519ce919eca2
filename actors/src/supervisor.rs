//! The supervisor: it keeps actors, threads and clients alive. What panics is caught and restarted, at once or after a
//! pause, within its restart budget; beyond that what feeds it waits while it is probed, and in the end the service stops.

mod actor;
mod commands;
mod heartbeat;
mod pending;
mod reporter;
mod restarts;

pub(crate) use actor::supervise;
pub(crate) use commands::{Commands, Requester};
pub(crate) use heartbeat::Heartbeats;
pub(crate) use pending::{PendingCommand, PendingCommands, Report, Verb};
pub(crate) use reporter::Reporter;
pub(crate) use restarts::{Restarts, random, random_u64};
