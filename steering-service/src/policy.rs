//! The operator's policy file: read at start, again when it changes, and on SIGHUP. A file that does not hold is refused
//! with one clear error, and the policy in use stays.

use crate::{fleet::FleetState, metrics::Metrics};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use steering_core::{
    Policy,
    policy::raw::{PolicyError, RawPolicy},
};
use tokio::signal::unix::Signal;

/// How often the file's time and size are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Largest policy in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Why a file is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// Not readable.
    #[error("{0}: {1}")]
    Read(PathBuf, io::Error),
    /// Larger than this service takes.
    #[error("{0}: larger than {MAX_BYTES} bytes; that is no policy")]
    TooLarge(PathBuf),
    /// Not TOML, or keys and values that a policy does not have.
    #[error("{0}: {1}")]
    Toml(PathBuf, toml::de::Error),
    /// Values that contradict each other.
    #[error("{0}: {1}")]
    Policy(PathBuf, PolicyError),
}

/// Reads a policy.
pub fn read(path: &Path) -> Result<Policy, PolicyFileError> {
    let unreadable = |e| PolicyFileError::Read(path.to_owned(), e);
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(PolicyFileError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let raw: RawPolicy = toml::from_str(&text).map_err(|e| PolicyFileError::Toml(path.to_owned(), e))?;
    Policy::try_from(raw).map_err(|e| PolicyFileError::Policy(path.to_owned(), e))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

/// Reads the file again whenever it changes or the process gets SIGHUP, for ever.
pub async fn follow(path: PathBuf, mut hangup: Signal, state: Arc<FleetState>, metrics: Arc<Metrics>) {
    let mut seen = stamp(&path);
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            told = hangup.recv() => told.is_some(),
        };
        let now = stamp(&path);
        if now == seen && !told {
            continue;
        }
        seen = now;
        let (path, state_) = (path.clone(), Arc::clone(&state));
        let taken = tokio::task::spawn_blocking(move || read(&path).map(|policy| state_.set_policy(policy)));
        match taken.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                metrics.policy_errors.inc();
                tracing::error!("--policy refused, going on with the last one: {error}");
            }
            Err(error) => tracing::error!("reading the policy ended early: {error}"),
        }
    }
}
