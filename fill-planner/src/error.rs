//! What can go wrong, by whose fault, with the exit code that tells cron about it.
//!
//! | code | cause |
//! |--:|---|
//! | 0 | done |
//! | 1 | a fault of this program or machine |
//! | 2 | usage: wrong arguments |
//! | 3 | an input is wrong: a file, a row, a contradiction in catalogue, fleet or policy |
//! | 4 | the control plane cannot be reached or fails |
//! | 5 | the control plane refuses: token, role, request |
//! | 6 | the deadline has passed |
//! | 7 | another run is under way |
//! | 8 | the plan's number is stale, or taken by another plan |
//! | 9 | the output cannot be written |

use crate::{
    adapters::{AdapterError, TraceError},
    control::ControlError,
    history::HistoryError,
    load::LoadError,
    model::{ModelError, TrainError},
    output::OutputError,
    rows::RowsError,
};
use std::path::PathBuf;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlannerError {
    /// The runtime could not be started, or the work died.
    #[error("{0}")]
    Internal(String),
    /// Rows of one table with different features.
    #[error(transparent)]
    Table(#[from] fill_core::table::RowError),
    /// Arguments that contradict each other or mean nothing.
    #[error("{0}")]
    Usage(String),
    /// A file is wrong.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A table is wrong.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// There is no plan out of turn.
    #[error(transparent)]
    Urgent(#[from] fill_core::urgent::UrgentError),
    /// The history cannot be kept or read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A published file is wrong.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A trace is wrong.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A model file is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No model grows from the inputs.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The inputs contradict themselves.
    #[error(transparent)]
    Input(#[from] fill_core::InputError),
    /// The control plane could not be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Out of time.
    #[error(
        "the deadline of {0} s has passed; nothing was activated after it. The warnings above say what it waited for; if none does, give a longer --deadline"
    )]
    Deadline(u64),
    /// Another run has the lock.
    #[error("another run holds {}; wait for it to end", .0.display())]
    Locked(PathBuf),
    /// The lock file cannot be used.
    #[error("cannot use the lock file {}: {source}; give another with --lock", .file.display())]
    Lock {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The result cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl PlannerError {
    /// The code of the module's table.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Internal(_) | Self::Table(_) => 1,
            Self::Usage(_) => 2,
            Self::Input(fill_core::InputError::Number { .. }) => 8,
            Self::History(HistoryError::File { .. }) => 9,
            Self::Load(_)
            | Self::Rows(_)
            | Self::Adapter(_)
            | Self::Trace(_)
            | Self::Model(_)
            | Self::Train(_)
            | Self::Input(_)
            | Self::History(_)
            | Self::Urgent(_) => 3,
            Self::Control(ControlError::Stale(_)) => 8,
            Self::Control(ControlError::Refused { .. } | ControlError::Token { .. }) => 5,
            Self::Control(_) => 4,
            Self::Deadline(_) => 6,
            Self::Locked(_) => 7,
            Self::Output(OutputError::Taken(_)) => 8,
            Self::Lock { .. } | Self::Output(_) => 9,
        }
    }
}
