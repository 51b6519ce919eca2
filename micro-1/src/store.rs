//! The notifications in SQLite: each event's effect once, a batch per transaction, read by pages.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use contracts::Notification;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// Wait for the write lock: another process may hold it for the length of its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between attempts to open a database that another instance just makes.
const OPEN_INTERVAL: Duration = Duration::from_millis(20);
/// SQLite's code for a lock that another process holds; the higher bits of a code say more.
const SQLITE_BUSY: i32 = 5;
/// One writes and some read.
const MAX_CONNECTIONS: u32 = 4;

// `source` and `id` together are an event's identity (CloudEvents). `seq` is the order in which they were handled.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS notifications (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        user_id INTEGER NOT NULL,
        kind TEXT NOT NULL,
        content TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        handled_at_us INTEGER NOT NULL,
        UNIQUE (source, id)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS notifications_by_user ON notifications (user_id, seq);
";

/// The database could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the folder {} cannot be made: {error}", .folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the database {} cannot be opened: {error}", .file.display())]
    Open {
        file: PathBuf,
        #[source]
        error: sqlx::Error,
    },
    #[error("the database failed: {0}")]
    Query(#[from] sqlx::Error),
}

/// A notification that came.
pub(crate) struct NewNotification<'a> {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) correlation_id: String,
    pub(crate) notification: &'a Notification,
}

/// A notification that is kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeptNotification {
    id: String,
    user_id: i64,
    #[serde(rename = "type")]
    kind: String,
    content: String,
    correlation_id: String,
    handled_at: String,
}

/// Some notifications, newest first.
pub(crate) struct Page {
    pub(crate) notifications: Vec<KeptNotification>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<i64>,
}

/// A row as it lies in the table.
type Row = (i64, String, i64, String, String, String, i64);

/// The database; a clone is the same one.
#[derive(Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database, and makes it where it is missing.
    pub(crate) async fn open(file: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::Folder { folder: folder.to_owned(), error })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is answered as handled survives a loss of power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let until = Instant::now() + BUSY_TIMEOUT;
        loop {
            let open = async {
                let pool =
                    SqlitePoolOptions::new().max_connections(MAX_CONNECTIONS).connect_with(options.clone()).await?;
                sqlx::raw_sql(SCHEMA).execute(&pool).await?;
                Ok(Self { pool })
            };
            match open.await {
                // The one thing for which SQLite itself does not wait is turning a new database to WAL.
                Err(error) if is_busy(&error) && Instant::now() < until => sleep(OPEN_INTERVAL).await,
                opened => return opened.map_err(|error| StoreError::Open { file: file.to_owned(), error }),
            }
        }
    }

    /// Keeps notifications in one transaction; says of each whether it is new.
    pub(crate) async fn keep(
        &self,
        notifications: impl Iterator<Item = NewNotification<'_>>,
    ) -> Result<Vec<bool>, StoreError> {
        let now = Timestamp::now().as_microsecond();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut new = Vec::new();
        for NewNotification { source, id, correlation_id, notification } in notifications {
            let inserted = sqlx::query(
                "INSERT INTO notifications (source, id, user_id, kind, content, correlation_id, handled_at_us)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source, id) DO NOTHING",
            )
            .bind(source)
            .bind(id)
            // The contract keeps user ids far below 2^63.
            .bind(i64::try_from(notification.user_id).unwrap_or(i64::MAX))
            .bind(&notification.kind)
            .bind(&notification.content)
            .bind(correlation_id)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
            new.push(inserted.rows_affected() == 1);
        }
        transaction.commit().await?;
        Ok(new)
    }

    /// The notifications of a user, newest first, older than `before`.
    pub(crate) async fn page(&self, user: i64, before: Option<i64>, limit: u32) -> Result<Page, StoreError> {
        let mut rows: Vec<Row> = sqlx::query_as(
            "SELECT seq, id, user_id, kind, content, correlation_id, handled_at_us FROM notifications
             WHERE user_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
        )
        .bind(user)
        .bind(before.unwrap_or(i64::MAX))
        // One more than asked for tells whether there is another page.
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.pool)
        .await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = if more { rows.last().map(|row| row.0) } else { None };
        let notifications = rows
            .into_iter()
            .map(|(_, id, user_id, kind, content, correlation_id, handled_at_us)| KeptNotification {
                id,
                user_id,
                kind,
                content,
                correlation_id,
                handled_at: format!("{:.6}", Timestamp::from_microsecond(handled_at_us).unwrap_or_default()),
            })
            .collect();
        Ok(Page { notifications, next })
    }
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Barrier;
    use std::thread;

    use sqlx::Connection as _;
    use sqlx::sqlite::SqliteConnection;

    use super::*;

    /// Instances of the service that share the database.
    const INSTANCES: usize = 4;
    const EVENTS: usize = 10;

    /// Opens the database and keeps the events, as an instance does that was handed them: how many were new.
    async fn open_and_keep(file: &Path) -> Result<usize, StoreError> {
        let store = Store::open(file).await?;
        let notification = Notification { user_id: 1, kind: "info".to_owned(), content: "c".to_owned() };
        let event = |number: usize| NewNotification {
            source: "s".to_owned(),
            id: number.to_string(),
            correlation_id: "c".to_owned(),
            notification: &notification,
        };
        let mut new = 0;
        for number in 0..EVENTS {
            let kept = loop {
                // SQLite's queue for the lock is not fair: on a slow disk one may wait for longer than it has patience.
                // Its event is tried again, as any is.
                match store.keep([event(number)].into_iter()).await {
                    Err(StoreError::Query(error)) if is_busy(&error) => {}
                    kept => break kept?,
                }
            };
            new += kept.into_iter().filter(|new| *new).count();
        }
        Ok(new)
    }

    #[test]
    fn instances_that_share_a_new_database_start_at_once_and_keep_each_event_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("micro-1.db");
        let barrier = Barrier::new(INSTANCES);
        let new: usize = thread::scope(|scope| {
            let instances: Vec<_> = (0..INSTANCES)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        runtime().block_on(open_and_keep(&file)).unwrap()
                    })
                })
                .collect();
            instances.into_iter().map(|instance| instance.join().unwrap()).sum()
        });
        assert_eq!(new, EVENTS);
    }

    #[test]
    fn an_instance_that_starts_while_another_makes_the_database_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("micro-1.db");
        runtime().block_on(async {
            let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
            let mut other = SqliteConnection::connect_with(&options).await.unwrap();
            // It writes, and the database is not in WAL yet.
            sqlx::raw_sql("CREATE TABLE other (x); BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
            let mut opening = pin!(Store::open(&file));
            tokio::select! {
                biased;
                opened = &mut opening => panic!("it did not wait: {:?}", opened.err()),
                () = sleep(OPEN_INTERVAL * 10) => {}
            }
            sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
            opening.await.unwrap();
        });
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }
}
