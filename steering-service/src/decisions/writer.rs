//! Writes decisions: one JSON object a line, lines gathered into gzip members (RFC 1952), members appended to a file, files
//! turned over by size.
//!
//! A member is whole in itself, and is written at the latest a second after its first decision. A process that is killed
//! therefore loses that second, and what was written before reads as ever. A start begins a new file: nothing is ever
//! appended behind a cut. Each file begins with all of throughput and circuits, and can be replayed alone.

use super::{
    DecisionLogConfig,
    inputs::{Inputs, Teller},
    reader,
    record::Decision,
};
use crate::metrics::Metrics;
use cdn_types::time::Timestamp;
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
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
    teller: Teller,
    file: File,
    written: u64,
    lines: Vec<u8>,
    decisions: u64,
    due: Option<Instant>,
    failing: bool,
}

impl Writer {
    pub fn open(config: DecisionLogConfig, teller: Teller, metrics: Arc<Metrics>) -> io::Result<Self> {
        fs::create_dir_all(&config.dir)?;
        let file = begin(&config.dir)?;
        prune(&config)?;
        Ok(Self {
            config,
            metrics,
            teller,
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

    pub fn take(&mut self, decision: &Decision, inputs: &Inputs) {
        let Ok(told) = self.teller.tell(decision, inputs) else {
            return self.count("dropped", 1);
        };
        for line in &told {
            self.line(line);
            // Of a whole table there may be megabytes.
            if self.lines.len() >= MEMBER_BYTES && !self.write(false) {
                return self.count("failed", 1);
            }
        }
        self.line(decision);
        self.decisions += 1;
        self.due.get_or_insert_with(|| Instant::now() + MEMBER_TIME);
        if self.wait().is_zero() || self.lines.len() >= MEMBER_BYTES {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        self.write(true);
    }

    fn line(&mut self, line: &impl Serialize) {
        serde_json::to_writer(&mut self.lines, line).expect("numbers and texts have a JSON form");
        self.lines.push(b'\n');
    }

    fn count(&self, outcome: &str, decisions: u64) {
        let counter = self.metrics.decisions.with_label_values(&[outcome]);
        counter.inc_by(decisions);
    }

    /// Writes the lines that there are; whether the drive took them. Tables do not fill a file (`fills`), or one with
    /// large tables would hold little else.
    fn write(&mut self, fills: bool) -> bool {
        self.due = None;
        if self.lines.is_empty() {
            return true;
        }
        let done = self.write_member(fills);
        self.lines.clear();
        let decisions = std::mem::take(&mut self.decisions);
        self.count(if done.is_ok() { "written" } else { "failed" }, decisions);
        if let Err(error) = &done {
            self.teller.begin_anew();
            if !self.failing {
                let dir = self.config.dir.display();
                tracing::error!(
                    "--decision-log {dir}: {error}; decisions are dropped and counted until it can be written"
                );
            }
        }
        self.failing = done.is_err();
        done.is_ok()
    }

    fn write_member(&mut self, fills: bool) -> io::Result<()> {
        if self.failing {
            // Half a member may stand at the end of the old file.
            self.turn_over()?;
        }
        let mut member = GzEncoder::new(Vec::with_capacity(MEMBER_BYTES / 4), Compression::new(4));
        member.write_all(&self.lines)?;
        let member = member.finish()?;
        self.file.write_all(&member)?;
        if fills {
            self.written += member.len() as u64;
            if self.written >= self.config.file_bytes {
                self.turn_over()?;
                self.teller.begin_anew();
            }
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
