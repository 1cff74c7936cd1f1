//! What the figures were measured on.

use serde::{Deserialize, Serialize};
use std::{fmt, fs, process::Command};

/// Facts of machine and software.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    pub distribution: String,
    pub nginx: String,
    pub commit: String,
    pub date: String,
}

impl Machine {
    /// This machine, now; `nginx` says its own version.
    pub(crate) fn read(nginx: String) -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|l| l.starts_with(name));
            let value = line.and_then(|l| l.split_once([':', '=']));
            value.map_or(String::new(), |(_, v)| v.trim().trim_matches('"').to_owned())
        };
        let memory = field(&file("/proc/meminfo"), "MemTotal");
        let kib = memory.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        Self {
            cpu: model(&file("/proc/cpuinfo"), field),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            distribution: field(&file("/etc/os-release"), "PRETTY_NAME"),
            nginx,
            commit: said("git", &["describe", "--always", "--dirty"]),
            date: said("date", &["-u", "+%Y-%m-%d"]),
        }
    }
}

/// The model's name, and its numbers where the name says little.
fn model(cpuinfo: &str, field: impl Fn(&str, &str) -> String) -> String {
    let numbers = ["cpu family", "model\t"].map(|name| field(cpuinfo, name));
    format!(
        "{} (family {}, model {})",
        field(cpuinfo, "model name"),
        numbers[0],
        numbers[1]
    )
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or(String::new(), |o| {
        String::from_utf8_lossy(&o.stdout).trim().to_owned()
    })
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {} cores, {} MiB, Linux {}, {}; {}; commit {}",
            self.date,
            self.cpu,
            self.cores,
            self.memory_mib,
            self.kernel,
            self.distribution,
            self.nginx,
            self.commit
        )
    }
}
