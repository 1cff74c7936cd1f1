//! What `/proc` tells of a running server: processor time and memory, those of its children included.

use anyhow::Context;
use std::{fs, time::Duration};

/// Clock ticks a second in `/proc`, which Linux has fixed for programs.
const TICKS: f64 = 100.0;

/// A server's processes: the one that was started and its children.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree(pub u32);

impl Tree {
    /// User and system time of all, in seconds.
    pub(crate) fn cpu_seconds(self) -> anyhow::Result<f64> {
        let mut ticks = 0;
        for id in self.ids()? {
            let text = read(id, "stat")?;
            let after_name = text.rsplit_once(')').context("/proc/PID/stat has no name")?.1;
            let fields: Vec<_> = after_name.split_whitespace().collect();
            for field in [11, 12] {
                ticks += fields.get(field).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Ok(ticks as f64 / TICKS)
    }

    /// Resident memory in MiB: of the children, where there are any, since a master process serves nobody.
    pub(crate) fn resident_mib(self) -> anyhow::Result<f64> {
        let ids = self.ids()?;
        let serving = if ids.len() > 1 { &ids[1..] } else { &ids[..] };
        let mut kib = 0.0;
        for &id in serving {
            let text = read(id, "status")?;
            let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            let number = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
            kib += number.context("/proc/PID/status has no VmRSS")?;
        }
        Ok(kib / 1024.0)
    }

    fn ids(self) -> anyhow::Result<Vec<u32>> {
        let mut ids = vec![self.0];
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            ids.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
        Ok(ids)
    }
}

fn read(id: u32, what: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{id}/{what}");
    fs::read_to_string(&path).with_context(|| format!("{path}: has the server ended?"))
}

/// Processor time that the whole machine has used, in seconds.
pub(crate) fn machine_cpu_seconds() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let numbers = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = numbers.filter_map(|n| n.parse().ok()).collect();
    // Neither idle nor waiting for a disk.
    let busy = ticks.iter().enumerate().filter(|(n, _)| !matches!(n, 3 | 4));
    Ok(busy.map(|(_, ticks)| *ticks).sum::<u64>() as f64 / TICKS)
}

/// Lets time pass.
#[expect(
    clippy::disallowed_methods,
    reason = "samples are taken at times, and polls end by themselves"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
