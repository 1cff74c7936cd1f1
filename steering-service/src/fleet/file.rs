//! Takes the fleet from a file, and again whenever the file changes: for work without a control plane, for tests, and
//! for replaying what a fleet looked like.

use super::{FleetState, SnapshotError};
use crate::metrics::Metrics;
use cdn_types::time::Timestamp;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often the file's time and size are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not readable.
    #[error("{path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Not usable.
    #[error("{path}: {cause}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: SnapshotError,
    },
}

type Stamp = (SystemTime, u64);

fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = std::fs::metadata(path)?;
    Ok((meta.modified()?, meta.len()))
}

/// Reads the file and puts it in use.
pub fn load(path: &Path, state: &FleetState) -> Result<(), FileError> {
    let text = std::fs::read(path).map_err(|cause| FileError::Read {
        path: path.to_owned(),
        cause,
    })?;
    match state.install(&text, |_| Timestamp::now()) {
        Ok(_) => Ok(()),
        Err(cause) => Err(FileError::Snapshot {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Reads the file again whenever it changes, for ever.
pub async fn follow(path: PathBuf, state: Arc<FleetState>, metrics: Arc<Metrics>) {
    let mut seen = stamp(&path).ok();
    state.connected(true, &"");
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match stamp(&path) {
            Ok(now) if Some(now) == seen => state.confirm(Timestamp::now()),
            Ok(now) => {
                seen = Some(now);
                let (path, state_) = (path.clone(), Arc::clone(&state));
                match tokio::task::spawn_blocking(move || load(&path, &state_)).await {
                    Ok(Ok(())) => state.connected(true, &""),
                    Ok(Err(error)) => {
                        metrics.snapshot_errors.with_label_values(&["refused"]).inc();
                        state.connected(false, &error);
                    }
                    Err(error) => state.connected(false, &error),
                }
            }
            Err(error) => {
                seen = None;
                metrics.snapshot_errors.with_label_values(&["unreachable"]).inc();
                state.connected(false, &error);
            }
        }
    }
}
