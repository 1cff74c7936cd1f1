//! What is served: two hot objects, and for the cold cases a set that lies on a disk.

use crate::nginx::cache;
use anyhow::{Context, ensure};
use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

const MIB: u64 = 1 << 20;
/// The hot objects.
const HOT: [(&str, u64); 2] = [("4m.mp4", 4 * MIB), ("64m.mp4", 64 * MIB)];
/// The cold set: files and their size.
const COLD_FILES: usize = 8;
const COLD_SIZE: u64 = 1024 * MIB;

/// The folder that is served, with everything that any case asks for.
#[derive(Debug)]
pub(crate) struct Files {
    /// The folder.
    pub root: PathBuf,
    /// A certificate and its key.
    pub cert: PathBuf,
    /// See above.
    pub key: PathBuf,
}

impl Files {
    /// Makes the hot objects and a certificate, where they are missing.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        let cache = cache()?;
        let root = cache.join("tree");
        fs::create_dir_all(&root)?;
        for (name, size) in HOT {
            fill(&root.join(name), size)?;
        }
        let (cert, key) = (cache.join("cert.pem"), cache.join("key.pem"));
        if !cert.is_file() {
            let made = Command::new("openssl")
                .args(
                    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=bench"
                        .split(' '),
                )
                .arg("-keyout")
                .arg(&key)
                .arg("-out")
                .arg(&cert)
                .output()
                .context("openssl is missing (apt-get install openssl)")?;
            ensure!(
                made.status.success(),
                "openssl: {}",
                String::from_utf8_lossy(&made.stderr)
            );
        }
        Ok(Self { root, cert, key })
    }

    /// The cold set, made if it is missing.
    pub(crate) fn cold(&self) -> anyhow::Result<Vec<PathBuf>> {
        let path = |n| self.root.join(format!("cold-{n}.mp4"));
        let all: Vec<_> = (0..COLD_FILES).map(path).collect();
        for file in &all {
            fill(file, COLD_SIZE)?;
        }
        Ok(all)
    }
}

/// Writes a file of random bytes, unless it is there whole.
fn fill(path: &Path, size: u64) -> anyhow::Result<()> {
    if fs::metadata(path).is_ok_and(|m| m.len() == size) {
        return Ok(());
    }
    let write = || {
        let mut random = File::open("/dev/urandom")?;
        let mut file = File::create(path)?;
        let mut block = vec![0; MIB as usize];
        random.read_exact(&mut block)?;
        for n in 0..size / MIB {
            // Each block its own, at the cost of a few bytes.
            block[..8].copy_from_slice(&n.to_le_bytes());
            file.write_all(&block)?;
        }
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {} ({} MiB)", path.display(), size / MIB))
}

/// Empties the page cache.
pub(crate) fn drop_page_cache() -> anyhow::Result<()> {
    let synced = Command::new("sync").status()?;
    ensure!(synced.success(), "sync failed");
    fs::write("/proc/sys/vm/drop_caches", "1")
        .context("only root may empty the page cache: run this case as root")
}

/// MB/s of random 1 MiB reads, `depth` at a time, past the page cache.
pub(crate) fn fio(files: &[PathBuf], depth: usize, seconds: u64) -> anyhow::Result<f64> {
    let names: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
    let output = Command::new("fio")
        .args(
            "--name=cold --rw=randread --bs=1M --direct=1 --ioengine=io_uring --output-format=json"
                .split(' '),
        )
        .arg(format!("--iodepth={depth}"))
        .arg(format!("--runtime={seconds}"))
        .arg("--time_based=1")
        .arg(format!("--filename={}", names.join(":")))
        .output()
        .context("fio is missing (apt-get install fio)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json = text.find('{').map_or("", |at| &text[at..]);
    let report: serde_json::Value = serde_json::from_str(json)
        .with_context(|| format!("fio: {}", String::from_utf8_lossy(&output.stderr)))?;
    let bytes = report["jobs"][0]["read"]["bw_bytes"]
        .as_f64()
        .context("fio told no bandwidth")?;
    Ok(bytes / 1e6)
}
