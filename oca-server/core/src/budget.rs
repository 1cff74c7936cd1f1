//! How much of everything this appliance may use, computed once at start from its hardware profile and from what the
//! machine really has. Memory and descriptors under load are then a budget and not an outcome: the connection limit is
//! what fits, not what was hoped for.

use cdn_types::{BitsPerSecond, Bytes, profile::HardwareProfile};

/// What the machine offers this process, as measured at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// RAM that the process may use (the smaller of the machine's and the control group's).
    pub memory: Bytes,
    /// File descriptors that it may open (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Workers that it runs.
    pub workers: u32,
}

/// What the appliance may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Viewer connections at once, all workers together.
    pub connections: u32,
    /// Files that one worker holds open between requests.
    pub open_files_per_worker: u32,
    /// RAM for the hot set.
    pub ram_hot: Bytes,
    /// RAM set aside for connections at their limit, kernel buffers included.
    pub connection_memory: Bytes,
    /// RAM of one worker for what comes from drives on its way to viewers.
    pub cold_per_worker: Bytes,
    /// Rate cap of the fill.
    pub fill_rate: BitsPerSecond,
    /// Most that is sent to viewers.
    pub egress: BitsPerSecond,
}

/// Why a machine cannot be an appliance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Too few descriptors.
    #[error(
        "{have} file descriptors are too few: raise the limit (ulimit -n, LimitNOFILE=) to at least {need}"
    )]
    Descriptors {
        /// What the process may open.
        have: u64,
        /// The least it needs.
        need: u64,
    },
    /// Too little memory.
    #[error("{have} of memory is too little: an appliance needs at least {need}")]
    Memory {
        /// What the process may use.
        have: Bytes,
        /// The least it needs.
        need: Bytes,
    },
}

/// RAM of one connection at its worst: a TLS session and its records (about 40 KiB), the request head, and the unsent
/// and unacknowledged bytes in the kernel's send buffer ([`unsent`], of which file pages count once).
const CONNECTION: u64 = 96 << 10;
/// RAM kept for the kernel, the code, the index and the fill.
const KEPT: u64 = 192 << 20;
/// RAM for reads from drives: at most what saturates an NVMe drive twice over, at least one read for each of some viewers.
const MOST_COLD: u64 = 64 << 20;
const LEAST_COLD: u64 = 4 << 20;
/// Least memory of a machine.
const LEAST_MEMORY: u64 = 256 << 20;
/// Descriptors for logs, listeners, the fill and the runtime.
const KEPT_DESCRIPTORS: u64 = 128;
/// Least number of connections worth starting for.
const LEAST_CONNECTIONS: u64 = 64;
/// Descriptors of an open file: one through the page cache, one past it.
const FILE_DESCRIPTORS: u64 = 2;
/// Least open files a worker.
const LEAST_OPEN_FILES: u64 = 16;
/// Most open files a worker: beyond it the look-up table costs more than opening again.
const MOST_OPEN_FILES: u64 = 8192;

/// Computes the budgets of a `profile` on a `machine`.
///
/// # Errors
/// When the machine has fewer descriptors or less memory than any appliance needs.
pub fn budgets(profile: &HardwareProfile, machine: Machine) -> Result<Budgets, BudgetError> {
    let workers = u64::from(machine.workers.max(1));
    let memory = profile.memory.0.min(machine.memory.0);
    if memory < LEAST_MEMORY {
        return Err(BudgetError::Memory {
            have: Bytes(memory),
            need: Bytes(LEAST_MEMORY),
        });
    }
    let need = KEPT_DESCRIPTORS + LEAST_CONNECTIONS + FILE_DESCRIPTORS * LEAST_OPEN_FILES * workers;
    if machine.descriptors < need {
        return Err(BudgetError::Descriptors {
            have: machine.descriptors,
            need,
        });
    }
    let free_memory = memory - KEPT.min(memory / 2);
    let free_descriptors = machine.descriptors - KEPT_DESCRIPTORS;
    let open_files =
        (free_descriptors / 4 / FILE_DESCRIPTORS / workers).clamp(LEAST_OPEN_FILES, MOST_OPEN_FILES);
    let connections = u64::from(profile.connections)
        .min(free_descriptors - FILE_DESCRIPTORS * open_files * workers)
        .min(free_memory / 2 / CONNECTION);
    let connection_memory = connections * CONNECTION;
    let rest = free_memory - connection_memory;
    let cold = (rest / 8 / workers).clamp(LEAST_COLD, MOST_COLD);
    Ok(Budgets {
        connections: u32::try_from(connections).unwrap_or(u32::MAX),
        open_files_per_worker: u32::try_from(open_files).unwrap_or(u32::MAX),
        ram_hot: Bytes(profile.ram_hot.0.min(rest.saturating_sub(cold * workers))),
        connection_memory: Bytes(connection_memory),
        cold_per_worker: Bytes(cold),
        fill_rate: profile.fill_rate,
        egress: profile.max_egress,
    })
}

/// Most unsent bytes that a socket may hold: enough for a fast client to be served by few large sends.
const MOST_UNSENT: u64 = 512 << 10;
/// Least of them: a slow client's link stays busy between two turns of the worker.
const LEAST_UNSENT: u64 = 64 << 10;

/// Unsent bytes that the socket of a new connection may hold when `open` others are there: with few of them many,
/// with as many as fit little, so that all together stay within half of their memory.
pub fn unsent(connection_memory: Bytes, open: u64) -> u32 {
    let share = connection_memory.0 / 2 / open.max(1);
    share.clamp(LEAST_UNSENT, MOST_UNSENT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(name: &str) -> HardwareProfile {
        HardwareProfile::builtin(name).unwrap()
    }

    #[test]
    fn a_machine_that_fits_gets_what_its_profile_says() {
        let p = profile("small-10g");
        let machine = Machine {
            memory: Bytes(32_000_000_000),
            descriptors: 1 << 20,
            workers: 4,
        };
        let b = budgets(&p, machine).unwrap();
        assert_eq!((b.connections, b.ram_hot), (p.connections, p.ram_hot));
        assert_eq!((b.fill_rate, b.egress), (p.fill_rate, p.max_egress));
    }

    #[test]
    fn few_descriptors_and_little_memory_shrink_the_connections() {
        let p = profile("small-10g");
        let machine = |memory, descriptors| Machine {
            memory: Bytes(memory),
            descriptors,
            workers: 2,
        };
        let few = budgets(&p, machine(32_000_000_000, 1024)).unwrap();
        assert!(few.connections < 800, "{few:?}");
        let little = budgets(&p, machine(512 << 20, 1 << 20)).unwrap();
        assert!(little.connections < 2_000, "{little:?}");
        assert!(matches!(
            budgets(&p, machine(1 << 30, 100)),
            Err(BudgetError::Descriptors { .. })
        ));
        assert!(matches!(
            budgets(&p, machine(1 << 20, 1 << 20)),
            Err(BudgetError::Memory { .. })
        ));
    }

    #[test]
    fn few_connections_get_large_sends_and_many_stay_within_their_memory() {
        let memory = Bytes(2_000 * CONNECTION);
        assert_eq!(u64::from(unsent(memory, 0)), MOST_UNSENT);
        assert_eq!(u64::from(unsent(memory, 1_000)), CONNECTION);
        assert_eq!(u64::from(unsent(memory, 2_000_000)), LEAST_UNSENT);
    }

    proptest! {
        #[test]
        fn budgets_never_exceed_the_machine(memory in 0u64..1 << 40, descriptors in 0u64..1 << 22, workers in 0u32..256) {
            let machine = Machine { memory: Bytes(memory), descriptors, workers };
            for name in HardwareProfile::names() {
                if let Ok(b) = budgets(&profile(name), machine) {
                    let files = u64::from(b.open_files_per_worker) * u64::from(workers.max(1));
                    prop_assert!(u64::from(b.connections) + 2 * files < descriptors);
                    prop_assert!(b.connection_memory.0 + b.ram_hot.0 < memory);
                    prop_assert!(b.connections > 0);
                }
            }
        }
    }
}
