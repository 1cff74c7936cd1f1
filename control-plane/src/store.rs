//! What must outlive the process: one SQLite file, `DIR/control.db`.
//!
//! One connection writes, several read (WAL), so a write never waits for another and never fails for a busy lock in
//! its middle. A write that was answered has been synced to disk (`synchronous = FULL`): a power cut cannot take back
//! a plan number or a token. Each idea has a file of its own below; all methods are plain calls, and no other module
//! writes SQL. The statements keep to what PostgreSQL understands too.

mod appliances;
mod codec;
mod demand;
mod plans;
mod sites;
mod titles;
mod tokens;

pub use appliances::{ApplianceRow, ReportRow, ReportWrite, Status};
pub use titles::{KnownObject, TitleRow};
pub use tokens::{JoinTokenRow, TokenRow, role_name};

use cdn_types::time::Timestamp;
use sqlx::{
    SqlSafeStr, Sqlite, SqlitePool, Transaction,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// How long one process waits for another's write (`control-plane token` beside a running server).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read at the same time; more would only compete for the same disk.
const READERS: u32 = 4;

/// Rows that one statement writes: far below the engine's 32,766 values, and more would not be faster.
const BATCH: usize = 500;

/// A statement that is put together from our own text and bound values.
type QueryBuilder = sqlx::QueryBuilder<Sqlite>;

/// The present, to the millisecond: all that a column keeps, so that memory and database agree.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A write that takes effect as a whole or not at all.
type Tx = Transaction<'static, Sqlite>;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused or failed: disk full, file damaged, no permission.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The file is from a later release, or no control-plane database.
    #[error("database schema: {0}")]
    Schema(#[from] MigrateError),
    /// A row that this release did not write and cannot read.
    #[error("the database holds {what} that this release cannot read: {detail}")]
    Unreadable {
        /// Which column.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// The open database.
#[derive(Clone)]
pub struct Store {
    write: SqlitePool,
    read: SqlitePool,
}

impl Store {
    /// Opens the file, makes it if it is missing, and brings its schema up to this release.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        migrator().run(&write).await?;
        let read = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { write, read })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.read).await?;
        Ok(())
    }

    /// Writes what is open and lets go of the file.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// A write transaction; it takes the lock at once, so that nothing can come between its reads and its writes.
    async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn migrator() -> Migrator {
    let steps = [
        ("first schema", include_str!("store/schema.sql")),
        ("notes of plans", include_str!("store/plan_notes.sql")),
    ];
    let migrations = steps.iter().zip(1..).map(|((name, sql), version)| {
        Migration::new(
            version,
            (*name).into(),
            MigrationType::Simple,
            (*sql).into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}
