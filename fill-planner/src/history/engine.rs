//! Who runs the SQL over a history: DataFusion in this process, or a Ballista cluster (cargo feature `ballista`) when a history has
//! outgrown one machine. The statements are the same, and so are the answers: sums are of whole numbers, and every answer is sorted.

use super::HistoryError;
use datafusion::prelude::{SessionConfig, SessionContext};

/// An engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// In this process.
    Local,
    /// A cluster, by the address of its scheduler. Its executors must see the history's folder under the same path.
    Ballista(String),
}

impl Engine {
    /// A session on it.
    pub(super) async fn session(&self) -> Result<SessionContext, HistoryError> {
        match self {
            Self::Local => Ok(SessionContext::new_with_config(SessionConfig::new())),
            Self::Ballista(scheduler) => remote(scheduler).await,
        }
    }
}

#[cfg(feature = "ballista")]
async fn remote(scheduler: &str) -> Result<SessionContext, HistoryError> {
    use ballista::prelude::SessionContextExt;
    SessionContext::remote(scheduler)
        .await
        .map_err(|e| HistoryError::Engine(format!("the Ballista scheduler {scheduler} cannot be used: {e}")))
}

#[cfg(not(feature = "ballista"))]
async fn remote(scheduler: &str) -> Result<SessionContext, HistoryError> {
    Err(HistoryError::Engine(format!(
        "this build cannot ask the Ballista scheduler {scheduler}; build with `cargo build --features fill-planner/ballista`"
    )))
}
