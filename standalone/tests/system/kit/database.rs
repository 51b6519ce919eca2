//! What micro-1 keeps, read and disturbed from outside.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::GIVE_UP;

/// micro-1's database, while micro-1 runs.
pub(crate) struct Database {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Database {
    /// Opens the one in that folder, which a micro-1 has made.
    #[track_caller]
    pub(crate) fn open(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.join("micro-1.db")).busy_timeout(GIVE_UP);
        let connection = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        Self { runtime, connection }
    }

    #[track_caller]
    pub(crate) fn execute(&mut self, sql: String) {
        // The SQL is the test's own.
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        self.runtime.block_on(sql.execute(&mut self.connection)).unwrap();
    }

    #[track_caller]
    pub(crate) fn count(&mut self) -> usize {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM notifications");
        usize::try_from(self.runtime.block_on(count.fetch_one(&mut self.connection)).unwrap()).unwrap()
    }

    /// By user: what the notifications say, in the order in which they were stored.
    #[track_caller]
    pub(crate) fn contents(&mut self) -> BTreeMap<u64, Vec<String>> {
        let rows = sqlx::query_as::<_, (i64, String)>("SELECT user_id, content FROM notifications ORDER BY seq");
        let mut contents: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (user, content) in self.runtime.block_on(rows.fetch_all(&mut self.connection)).unwrap() {
            contents.entry(u64::try_from(user).unwrap()).or_default().push(content);
        }
        contents
    }
}
