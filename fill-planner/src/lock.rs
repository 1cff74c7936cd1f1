//! One planner at a time: an advisory lock on a file, which the system gives back however a run ends.

use crate::error::PlannerError;
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

/// The lock; it lasts as long as this value.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock, or says who has it.
    pub fn take(file: &Path) -> Result<Self, PlannerError> {
        let wrong = |source| PlannerError::Lock {
            file: file.to_owned(),
            source,
        };
        let open = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(file)
            .map_err(wrong)?;
        match open.try_lock() {
            Ok(()) => Ok(Self { _file: open }),
            Err(TryLockError::WouldBlock) => Err(PlannerError::Locked(file.to_owned())),
            Err(TryLockError::Error(source)) => Err(wrong(source)),
        }
    }
}

/// The lock file of a control plane, unless the operator names another.
pub fn default_file(control: &str) -> PathBuf {
    let name = cdn_types::ObjectDigest::of(control.as_bytes()).short();
    std::env::temp_dir().join(format!("nightfill-planner-{name}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lock");
        let first = RunLock::take(&file).unwrap();
        assert!(matches!(RunLock::take(&file), Err(PlannerError::Locked(f)) if f == file));
        drop(first);
        assert!(RunLock::take(&file).is_ok());
        assert!(matches!(
            RunLock::take(&dir.path().join("no/lock")),
            Err(PlannerError::Lock { .. })
        ));
    }
}
