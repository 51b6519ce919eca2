//! Escalation: an actor or thread that cannot go on says why, once, and the service ends in order and with its own exit code.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Raised by whoever cannot go on, awaited by the service. A clone is the same escalation.
#[derive(Clone, Debug, Default)]
pub struct Escalation {
    raised: CancellationToken,
    cause: Arc<Mutex<Option<Cause>>>,
}

/// Why a service cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What happened.
    pub message: String,
    /// Exit code of the process: [`EXIT_SOFTWARE`] or [`EXIT_CONFIG`].
    pub exit_code: u8,
}

/// Exit code when a part of the service failed for good (`EX_SOFTWARE` of sysexits.h).
pub const EXIT_SOFTWARE: u8 = 70;
/// Exit code when the settings or the cluster's set-up are wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

impl Escalation {
    /// Says why; the first cause is the one that counts.
    pub fn raise(&self, message: &str) {
        self.raise_with(message, EXIT_SOFTWARE);
    }

    /// [`raise`](Self::raise) with an exit code of its own.
    pub fn raise_with(&self, message: &str, exit_code: u8) {
        let cause = || Cause { message: message.to_owned(), exit_code };
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(cause);
        self.raised.cancel();
    }

    /// Waits until it is raised. Cancel-safe.
    pub async fn wait(&self) -> Cause {
        self.raised.cancelled().await;
        self.cause().unwrap_or(Cause { message: "unknown".to_owned(), exit_code: EXIT_SOFTWARE })
    }

    /// The cause, where it was raised.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
