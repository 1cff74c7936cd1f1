//! What this machine offers: workers, memory, descriptors, and the hardware profile that the operator named. Read once
//! at start; the arithmetic on it is `oca_core::budget`.

use cdn_types::{Bytes, profile::HardwareProfile};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use oca_core::{
    budget::Machine,
    placement::{Cpu, CpuId, NodeId, Topology},
};
use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

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

/// The processors that this process may use, and how they share cores and memory domains.
pub fn topology() -> Topology {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    topology_in(Path::new("/sys/devices/system"), cpus)
}

/// From the kernel's files below `system`; what they do not tell is one node of single cores.
fn topology_in(system: &Path, allowed: impl Iterator<Item = usize>) -> Topology {
    let list = |file: PathBuf| cpu_list(&fs::read_to_string(file).unwrap_or_default());
    let mut node_of = BTreeMap::new();
    let mut nodes = 0;
    for entry in fs::read_dir(system.join("node")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node"));
        let Some(node) = number.and_then(|n| n.parse().ok()) else {
            continue;
        };
        let cpus = list(entry.path().join("cpulist"));
        nodes += u32::from(!cpus.is_empty());
        node_of.extend(cpus.into_iter().map(|cpu| (cpu, NodeId(node))));
    }
    let cpu = |id| {
        let siblings = system.join(format!("cpu/cpu{id}/topology/thread_siblings_list"));
        Cpu {
            id: CpuId(id),
            node: node_of.get(&id).copied().unwrap_or(NodeId(0)),
            core: CpuId(list(siblings).first().copied().unwrap_or(id)),
        }
    };
    Topology {
        nodes: nodes.max(1),
        cpus: allowed.map(cpu).collect(),
    }
}

/// The kernel's form of a list: `0-3,8`.
fn cpu_list(text: &str) -> Vec<usize> {
    let run = |run: &str| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(run).flatten().collect()
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
    fn the_kernels_files_tell_nodes_and_cores() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (node, cpus) in [(0, "0-1,4-5\n"), (1, "2-3,6-7\n"), (2, "\n")] {
            write(&format!("node/node{node}/cpulist"), cpus);
        }
        write("node/possible", "0-2\n");
        for cpu in 0..8 {
            let siblings = format!("{},{}\n", cpu % 4, cpu % 4 + 4);
            write(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &siblings);
        }
        let told = topology_in(dir.path(), [1, 6].into_iter());
        let cpu = |id, node, core| Cpu {
            id: CpuId(id),
            node: NodeId(node),
            core: CpuId(core),
        };
        assert_eq!(
            (told.nodes, told.cpus),
            (2, vec![cpu(1, 0, 1), cpu(6, 1, 2)]),
            "node 2 has memory alone"
        );
        let silent = topology_in(&dir.path().join("none"), [3].into_iter());
        assert_eq!((silent.nodes, silent.cpus), (1, vec![cpu(3, 0, 3)]));
    }

    #[test]
    fn this_machine_can_be_measured() {
        assert_eq!(topology().cpus.len(), default_workers());
        let m = measure(2);
        assert!(m.memory.0 > 64 << 20 && m.descriptors >= 256, "{m:?}");
    }
}
