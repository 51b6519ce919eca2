//! The journal: every observable thing is one struct, and writing it makes its log line and its metric, here and nowhere else.

mod actors;
mod clients;
mod commands;
mod consumer;
mod messages;
mod service;
mod supervision;

use std::sync::Arc;

pub use actors::*;
pub use clients::*;
pub use commands::*;
pub use consumer::*;
pub use messages::*;
pub use service::*;
pub use supervision::*;

/// Writes entries in the name of one service; a clone writes to the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    service: Arc<str>,
}

/// One observable thing.
pub trait Entry {
    /// Makes its log line and moves its metric.
    fn write(&self, service: &Arc<str>);
}

impl Journal {
    /// The journal of a service.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self { service: service.into() }
    }

    /// Name of the service.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Writes an entry: its log line and its metric.
    // Entries are made for the call and of no use after it; taking them by value keeps the `&` out of every caller.
    #[allow(clippy::needless_pass_by_value)]
    pub fn write(&self, entry: impl Entry) {
        entry.write(&self.service);
    }
}
