//! Why a run did not pass: the product broke a promise, or the run itself is worth nothing.

use std::io;
use std::time::{Duration, Instant};

/// Why a run did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The product did what it must not.
    #[error("FAILED: {0}")]
    Failed(String),
    /// Nothing is shown about the product.
    #[error("INVALID: {0}")]
    Invalid(String),
    /// Nor here: the system refused something.
    #[error("INVALID: {0}")]
    System(#[from] io::Error),
    /// Nor here: there is no client to ask the services with.
    #[error("INVALID: no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// Nor here: micro-1's database cannot be read.
    #[error("INVALID: micro-1's database: {0}")]
    Database(#[from] sqlx::Error),
    /// Nor here: a broker cannot be killed.
    #[error("INVALID: broker {broker} cannot be killed: {error}")]
    Kill {
        broker: usize,
        #[source]
        error: io::Error,
    },
}

pub(crate) fn invalid<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Invalid(why.into()))
}

pub(crate) fn failed<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Failed(why.into()))
}

/// Between two looks at something that is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Looks again and again until there is something; `None` at the deadline.
pub(crate) fn wait_for<T>(
    deadline: Duration,
    mut look: impl FnMut() -> Result<Option<T>, Trouble>,
) -> Result<Option<T>, Trouble> {
    let until = Instant::now() + deadline;
    loop {
        // Late or not: who was not scheduled for a while looks once more.
        let late = Instant::now() >= until;
        let found = look()?;
        if found.is_some() || late {
            return Ok(found);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
