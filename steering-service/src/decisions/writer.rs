//! Writes decisions: one JSON object a line, lines gathered into gzip members (RFC 1952), members appended to a file, files
//! turned over by size.
//!
//! A member is whole in itself, and is written at the latest a second after its first decision. A process that is killed
//! therefore loses that second, and what was written before reads as ever. A start begins a new file: nothing is ever
//! appended behind a cut.

use super::{DecisionLogConfig, reader, record::Decision};
use crate::metrics::Metrics;
use cdn_types::time::Timestamp;
use flate2::{Compression, write::GzEncoder};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes of lines that make a member: more compresses little better.
const MEMBER_BYTES: usize = 64 << 10;
/// Longest time that a decision waits for its member.
const MEMBER_TIME: Duration = Duration::from_secs(1);

pub struct Writer {
    config: DecisionLogConfig,
    metrics: Arc<Metrics>,
    file: File,
    written: u64,
    lines: Vec<u8>,
    decisions: u64,
    due: Option<Instant>,
    failing: bool,
}

impl Writer {
    pub fn open(config: DecisionLogConfig, metrics: Arc<Metrics>) -> io::Result<Self> {
        fs::create_dir_all(&config.dir)?;
        let file = begin(&config.dir)?;
        prune(&config)?;
        Ok(Self {
            config,
            metrics,
            file,
            written: 0,
            lines: Vec::with_capacity(MEMBER_BYTES),
            decisions: 0,
            due: None,
            failing: false,
        })
    }

    /// How long it can wait for the next decision.
    pub fn wait(&self) -> Duration {
        self.due
            .map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()))
    }

    pub fn take(&mut self, decision: &Decision) {
        // A decision is made of numbers and texts: it always has a JSON form.
        if serde_json::to_writer(&mut self.lines, decision).is_ok() {
            self.lines.push(b'\n');
            self.decisions += 1;
        }
        self.due.get_or_insert_with(|| Instant::now() + MEMBER_TIME);
        if self.wait().is_zero() || self.lines.len() >= MEMBER_BYTES {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        self.due = None;
        if self.lines.is_empty() {
            return;
        }
        let done = self.write_member();
        self.lines.clear();
        let decisions = std::mem::take(&mut self.decisions);
        let outcome = if done.is_ok() { "written" } else { "failed" };
        self.metrics
            .decisions
            .with_label_values(&[outcome])
            .inc_by(decisions);
        match done {
            Err(error) if !self.failing => {
                let dir = self.config.dir.display();
                tracing::error!(
                    "--decision-log {dir}: {error}; decisions are dropped and counted until it can be written"
                );
                self.failing = true;
            }
            Err(_) => {}
            Ok(()) => self.failing = false,
        }
    }

    fn write_member(&mut self) -> io::Result<()> {
        if self.failing {
            // Half a member may stand at the end of the old file.
            self.turn_over()?;
        }
        let mut member = GzEncoder::new(Vec::with_capacity(MEMBER_BYTES / 4), Compression::new(4));
        member.write_all(&self.lines)?;
        let member = member.finish()?;
        self.file.write_all(&member)?;
        self.written += member.len() as u64;
        if self.written >= self.config.file_bytes {
            self.turn_over()?;
        }
        Ok(())
    }

    fn turn_over(&mut self) -> io::Result<()> {
        self.file = begin(&self.config.dir)?;
        self.written = 0;
        prune(&self.config)
    }
}

/// Begins a file whose name sorts behind those before it.
fn begin(dir: &Path) -> io::Result<File> {
    loop {
        let at = Timestamp::now().strftime("%Y%m%dT%H%M%S.%6fZ");
        let path = dir.join(format!("{}{at}{}", reader::PREFIX, reader::SUFFIX));
        match OpenOptions::new().create_new(true).append(true).open(&path) {
            // Two within a microsecond: the next one is near.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
    }
}

fn prune(config: &DecisionLogConfig) -> io::Result<()> {
    let files = reader::files(&config.dir)?;
    let surplus = files.len().saturating_sub(config.files.max(1));
    files[..surplus].iter().try_for_each(fs::remove_file)
}
