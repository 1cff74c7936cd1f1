//! What this machine offers: workers, memory, descriptors, and the hardware profile that the operator named. Read once
//! at start; the arithmetic on it is `oca_core::budget`.

use cdn_types::{Bytes, profile::HardwareProfile};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use oca_core::budget::Machine;
use std::{fs, num::NonZeroUsize, path::Path, sync::Arc, thread};

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileArgError {
    /// Neither a built-in name nor a file.
    #[error("no hardware profile `{name}`: give one of {known}, or a file of the same form")]
    Unknown {
        /// As given.
        name: String,
        /// Built-in names.
        known: String,
    },
    /// A file that is not a profile.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
}

/// The profile of a built-in name or of a file.
///
/// # Errors
/// When it is neither, or the file is not a profile.
pub fn profile(name_or_file: &str) -> Result<HardwareProfile, ProfileArgError> {
    if let Some(profile) = HardwareProfile::builtin(name_or_file) {
        return Ok(profile);
    }
    let path = Path::new(name_or_file);
    if !path.exists() {
        return Err(ProfileArgError::Unknown {
            name: name_or_file.to_owned(),
            known: HardwareProfile::names().collect::<Vec<_>>().join(", "),
        });
    }
    let wrong = |why: String| ProfileArgError::File {
        file: name_or_file.to_owned(),
        why,
    };
    let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    HardwareProfile::parse(&text).map_err(|e| wrong(e.to_string()))
}

/// The machine's name, as far as it is letters, digits and the like.
pub fn name() -> Arc<str> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-._".contains(*c);
    name.trim().chars().filter(plain).collect::<String>().into()
}

/// As many workers as this process may use cores.
pub fn default_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Measures the machine, after raising the soft descriptor limit to the hard one.
pub fn measure(workers: usize) -> Machine {
    Machine {
        memory: Bytes(memory()),
        descriptors: raise_descriptors(),
        workers: u32::try_from(workers).unwrap_or(u32::MAX),
    }
}

/// What POSIX guarantees when even asking fails.
const LEAST_DESCRIPTORS: u64 = 256;

fn raise_descriptors() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return LEAST_DESCRIPTORS;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// The smaller of the machine's memory and the control group's limit.
fn memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo
        .lines()
        .find_map(|l| {
            l.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .map_or(u64::MAX, |kib| kib << 10);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    total.min(group.trim().parse().unwrap_or(u64::MAX)) // "max" = no limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_a_name_or_a_file_and_errors_say_which_names_exist() {
        assert_eq!(profile("laptop").unwrap().name, "laptop");
        let e = profile("lapdog").unwrap_err().to_string();
        assert!(e.contains("lapdog") && e.contains("small-10g"), "{e}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "cores = 2").unwrap();
        assert!(
            profile(file.path().to_str().unwrap())
                .unwrap_err()
                .to_string()
                .contains("name")
        );
    }

    #[test]
    fn this_machine_can_be_measured() {
        let m = measure(2);
        assert!(m.memory.0 > 64 << 20 && m.descriptors >= 256, "{m:?}");
    }
}
