//! `oca-server doctor`: what this machine offers the send path, measured now, and what an operator would do about what it
//! lacks. It changes nothing.

use crate::{
    machine,
    sys::{cache, ring::Ring},
    tls::{
        aead::{Algorithm, Provider},
        kernel,
    },
};
use anyhow::Context;
use clap::Args;
use nix::{
    fcntl::OFlag,
    sys::{
        resource::{Resource, getrlimit},
        stat::Mode,
    },
};
use serde::Serialize;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A folder on the drive that objects will lie on
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub root: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    found: String,
    /// What it costs, and the mend; absent = all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
}

impl Finding {
    fn new(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            found: found.into(),
            mend: None,
        }
    }

    fn or(self, well: bool, mend: &'static str) -> Self {
        Self {
            mend: (!well).then_some(mend),
            ..self
        }
    }
}

/// Prints what it found.
///
/// # Errors
/// When the folder cannot be used.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let mut findings = vec![cores(), memory(), descriptors(), locked_memory()];
    findings.extend(sealing());
    findings.extend([
        kernel_tls(),
        io_uring(),
        residency(&args.root)?,
        past_the_cache(&args.root)?,
    ]);
    findings.extend([congestion(), pacing(), udp_buffers()]);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
        return Ok(());
    }
    let width = findings.iter().map(|f| f.what.len()).max().unwrap_or(0);
    for Finding { what, found, mend } in &findings {
        writeln!(out, "{what:width$}  {found}")?;
        if let Some(mend) = mend {
            writeln!(out, "{:width$}  -> {mend}", "")?;
        }
    }
    Ok(())
}

fn cores() -> Finding {
    let nodes = fs::read_dir("/sys/devices/system/node").map_or(1, |entries| {
        let names = entries.flatten().map(|e| e.file_name());
        names
            .filter(|n| {
                n.to_string_lossy()
                    .strip_prefix("node")
                    .is_some_and(|r| r.parse::<u16>().is_ok())
            })
            .count()
    });
    let cores = machine::default_workers();
    Finding::new(
        "cores",
        format!("{cores} for this process, {} memory domain(s)", nodes.max(1)),
    )
}

fn memory() -> Finding {
    let bytes = machine::measure(1).memory;
    Finding::new("memory", bytes.to_string())
}

fn descriptors() -> Finding {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    let mend = "fewer connections than most profiles allow: raise LimitNOFILE= or ulimit -n";
    Finding::new("file descriptors", hard.to_string()).or(hard >= 65_536, mend)
}

fn locked_memory() -> Finding {
    let hard = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(_, hard)| hard);
    let unlimited = hard == u64::MAX;
    let found = if unlimited {
        "unlimited".to_owned()
    } else {
        format!("{hard} bytes")
    };
    let mend = "hot objects are touched from time to time instead of held: set LimitMEMLOCK=infinity";
    Finding::new("lockable memory", found).or(unlimited || hard >= 1 << 30, mend)
}

fn sealing() -> Vec<Finding> {
    let fastest = Provider::fastest();
    let line = |algorithm: Algorithm| {
        let speeds = Provider::ALL.map(|p| format!("{} {:.1} GB/s", p.name(), p.speed(algorithm) / 1e9));
        Finding::new(
            format!("sealing {}", algorithm.name()),
            format!("{} a core", speeds.join(", ")),
        )
    };
    let mut findings: Vec<Finding> = Algorithm::ALL.into_iter().map(line).collect();
    findings.push(Finding::new(
        "sealing by",
        format!("{} where the kernel does not", fastest.name()),
    ));
    findings
}

fn kernel_tls() -> Finding {
    let mend =
        "HTTPS passes through this process: load the module tls (modprobe tls) where the kernel has it";
    match kernel::probe() {
        Ok(seals) if seals.new_keys => Finding::new("TLS in the kernel", "yes, and takes new keys"),
        Ok(_) => Finding::new(
            "TLS in the kernel",
            "yes; a client that asks for new keys has to connect again",
        ),
        Err(error) => Finding::new("TLS in the kernel", format!("no: {error}")).or(false, mend),
    }
}

fn io_uring() -> Finding {
    let mend =
        "cold objects are read by threads: allow io_uring (sysctl kernel.io_uring_disabled=0, seccomp)";
    match Ring::<File>::new(8, 0) {
        Ok(_) => Finding::new("io_uring", "yes"),
        Err(error) => Finding::new("io_uring", format!("no: {error}")).or(false, mend),
    }
}

/// A file of the folder's file system that has no name: nothing is left behind, however this ends.
fn sample(root: &Path) -> anyhow::Result<File> {
    let options = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(root, options, Mode::S_IRUSR | Mode::S_IWUSR);
    let file = opened.with_context(|| format!("--root {}: cannot make a file there", root.display()))?;
    let mut file = File::from(file);
    file.write_all(&[7; 8192])?;
    Ok(file)
}

fn residency(root: &Path) -> anyhow::Result<Finding> {
    let file = sample(root)?;
    let mend = "what is in memory is found out by reading (cachestat is in Linux 6.5 and later)";
    Ok(match cache::cached_pages(&file, 0, 1) {
        Ok(_) => Finding::new("residency of a range", "one call (cachestat)"),
        Err(_) => Finding::new("residency of a range", "by reads that do not wait").or(false, mend),
    })
}

fn past_the_cache(root: &Path) -> anyhow::Result<Finding> {
    let mend = "cold objects push hot ones out of memory: put objects on ext4 or XFS";
    let what = format!("reads past the page cache in {}", root.display());
    Ok(match cache::direct_alignment(&sample(root)?) {
        Some(0) => Finding::new(what, "no").or(false, mend),
        Some(bytes) => Finding::new(what, format!("yes, aligned to {bytes} bytes")),
        None => Finding::new(what, "not told by this kernel; tried at the first cold read"),
    })
}

fn congestion() -> Finding {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let there = fs::read_to_string(path).unwrap_or_default();
    let bbr = there.split_whitespace().any(|name| name == "bbr");
    let mend = "lossy paths carry less: load the module tcp_bbr (modprobe tcp_bbr)";
    Finding::new("TCP congestion control", there.trim()).or(bbr, mend)
}

fn pacing() -> Finding {
    let queue = fs::read_to_string("/proc/sys/net/core/default_qdisc").unwrap_or_default();
    let mend = "pacing works by timers of each connection: sysctl net.core.default_qdisc=fq is cheaper";
    Finding::new("queue discipline", queue.trim()).or(queue.trim() == "fq", mend)
}

/// Bytes that HTTP/3 wants of a socket's buffers (docs/decisions/http3.md).
const UDP_BUFFER: u64 = 4 << 20;

fn udp_buffers() -> Finding {
    let limit = |name: &str| -> u64 {
        let text = fs::read_to_string(format!("/proc/sys/net/core/{name}")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let (send, receive) = (limit("wmem_max"), limit("rmem_max"));
    let mend = "bursts of HTTP/3 are dropped: sysctl net.core.wmem_max=4194304 net.core.rmem_max=4194304";
    let well = send.min(receive) >= UDP_BUFFER;
    Finding::new(
        "UDP buffers",
        format!("at most {send} to send, {receive} to receive"),
    )
    .or(well, mend)
}
