//! The supervisor: it keeps actors, threads and clients alive. What panics is caught and made anew, at once or after a
//! pause, within its restart budget; beyond that it escalates, and in the end the service.

mod actor;
mod care;
mod commands;
mod orders;
mod pulse;
mod ward;

pub(crate) use actor::supervise;
pub(crate) use care::{Care, random, seed};
pub(crate) use commands::{Commands, Requester};
pub(crate) use orders::{Order, Orders, Report, Verb};
pub(crate) use pulse::Pulses;
pub(crate) use ward::Ward;
