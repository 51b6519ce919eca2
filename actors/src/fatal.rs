//! Fatal errors: a part that cannot go on says why, once, and the service ends in order and with its own exit code.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Raised by the part that cannot go on, awaited by the service. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub struct Fatal {
    raised: CancellationToken,
    error: Arc<Mutex<Option<FatalError>>>,
}

/// Why a service cannot go on. Its `source` is the error that it comes from, where there is one.
#[derive(Clone, Debug)]
pub struct FatalError {
    /// What happened.
    pub message: String,
    /// Exit code for the process: [`EXIT_SOFTWARE`] or [`EXIT_CONFIG`].
    pub exit_code: u8,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for FatalError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Exit code when a part of the service failed for good (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_SOFTWARE: u8 = 70;
/// Exit code when the settings or the cluster's set-up are wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

impl Fatal {
    /// Says why; the first error is the one that counts.
    pub fn raise(&self, message: &str) {
        self.raise_with(message, EXIT_SOFTWARE);
    }

    /// [`raise`](Self::raise) with an exit code of its own.
    pub fn raise_with(&self, message: &str, exit_code: u8) {
        self.keep_first(FatalError { message: message.to_owned(), exit_code, source: None });
    }

    /// [`raise_with`](Self::raise_with) for an error, which is kept as the source.
    pub fn raise_for(&self, error: impl Error + Send + Sync + 'static, exit_code: u8) {
        self.keep_first(FatalError { message: error.to_string(), exit_code, source: Some(Arc::new(error)) });
    }

    fn keep_first(&self, error: FatalError) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.raised.cancel();
    }

    /// Waits until it is raised. Cancel-safe.
    pub async fn wait(&self) -> FatalError {
        self.raised.cancelled().await;
        let unknown = || FatalError { message: "unknown".to_owned(), exit_code: EXIT_SOFTWARE, source: None };
        self.error().unwrap_or_else(unknown)
    }

    /// The error, where it was raised.
    #[must_use]
    pub fn error(&self) -> Option<FatalError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
