//! micro-1's rows, and a witness who looks all the time how many there are.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::runtime::Runtime;

use crate::trouble::Trouble;

/// An instance that restarts after a crash holds the database for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks of the witness.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A notification that micro-1 keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// The order in which they were stored.
    pub(crate) seq: i64,
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) user: i64,
    pub(crate) content: String,
    pub(crate) correlation_id: String,
}

/// What the witness saw: at that time no row above that number was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) at_ms: i64,
    pub(crate) last_seq: i64,
}

/// The database that micro-1 made.
pub(crate) struct Rows {
    runtime: Runtime,
    connection: SqliteConnection,
}

impl Rows {
    pub(crate) fn open(folder: &Path) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = SqliteConnectOptions::new().filename(folder.join("micro-1.db")).busy_timeout(BUSY_TIMEOUT);
        let connection = runtime.block_on(SqliteConnection::connect_with(&options))?;
        Ok(Self { runtime, connection })
    }

    /// All of them, in the order in which they were stored.
    pub(crate) fn all(&mut self) -> Result<Vec<Row>, Trouble> {
        let rows = sqlx::query_as::<_, (i64, String, String, i64, String, String)>(
            "SELECT seq, source, id, user_id, content, correlation_id FROM notifications ORDER BY seq",
        );
        let rows = self.runtime.block_on(rows.fetch_all(&mut self.connection))?;
        let row =
            |(seq, source, id, user, content, correlation_id)| Row { seq, source, id, user, content, correlation_id };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Looks until it is told to stop. Of observations that saw the same, the last is kept: it says the most.
    pub(crate) fn watch(mut self, over: &AtomicBool) -> Result<Vec<Observation>, Trouble> {
        let mut observations: Vec<Observation> = Vec::new();
        while !over.load(Ordering::Relaxed) {
            // Before it looks: what it does not see was not there then.
            let at_ms = now_ms();
            let last = sqlx::query_scalar::<_, i64>("SELECT coalesce(max(seq), 0) FROM notifications");
            let last_seq = self.runtime.block_on(last.fetch_one(&mut self.connection))?;
            match observations.last_mut() {
                Some(last) if last.last_seq == last_seq => last.at_ms = at_ms,
                _ => observations.push(Observation { at_ms, last_seq }),
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(observations)
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
