//! Reads a decision log back: one file, or a folder of them in the order of their names.
//!
//! A line of a kind that is not known is an error and not passed over: it may tell what decided the answers behind it.
//!
//! A file may end in the middle: its process was killed or its drive was full. It is read up to the cut, and the cut is told
//! ([`LogReader::cuts`]). Anything else that does not fit is an error with its place.

use super::{inputs::Told, record::Decision};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// How names of files begin; then comes the time.
pub const PREFIX: &str = "decisions-";
/// How they end.
pub const SUFFIX: &str = ".jsonl.gz";
/// Longest line that is read: a decision of the longest ids is a tenth of it.
const MAX_LINE: u64 = 64 << 10;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not there, not readable.
    #[error("{path}: {cause}; give a file of --decision-log, or its folder")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A folder without files.
    #[error("{0}: holds no {PREFIX}*{SUFFIX}; give the folder that steering-service --decision-log names")]
    Empty(PathBuf),
    /// Not gzip, or damaged.
    #[error(
        "{path}, after line {line}: {cause}; the file is damaged or no decision log: leave it out, or give a copy that is whole"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Lines that were read.
        line: u64,
        /// Why.
        cause: io::Error,
    },
    /// Not a line of the log.
    #[error(
        "{path}, line {line}: no decision: {cause}; see docs/formats/decision-log.md, or leave the file out"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: u64,
        /// What is wrong.
        cause: String,
    },
}

/// Files of a folder, oldest first.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if name.to_str().is_some_and(ours) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A decision.
    Decision(Box<Decision>),
    /// What the decisions that follow were made under.
    Told(Told),
}

impl Line {
    /// The decision, if it is one.
    pub fn decision(self) -> Option<Decision> {
        match self {
            Self::Decision(decision) => Some(*decision),
            Self::Told(_) => None,
        }
    }

    fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(borrow, default)]
            k: Cow<'a, str>,
        }
        let kind: Kind<'_> = serde_json::from_slice(text)?;
        match &*kind.k {
            "m" | "c" => serde_json::from_slice(text).map(Self::Told),
            _ => serde_json::from_slice(text).map(Self::Decision),
        }
    }
}

/// The lines of a log, oldest first. Ends after the first error.
pub struct LogReader {
    files: VecDeque<PathBuf>,
    open: Option<OpenFile>,
    cuts: Vec<String>,
}

struct OpenFile {
    path: PathBuf,
    lines: BufReader<MultiGzDecoder<BufReader<File>>>,
    line: u64,
    empty: bool,
}

impl LogReader {
    /// Of a file, or of all files of a folder.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let unreadable = |cause| LogError::Read {
            path: path.to_owned(),
            cause,
        };
        let files = if fs::metadata(path).map_err(unreadable)?.is_dir() {
            let files = files(path).map_err(unreadable)?;
            if files.is_empty() {
                return Err(LogError::Empty(path.to_owned()));
            }
            files.into()
        } else {
            VecDeque::from([path.to_owned()])
        };
        Ok(Self {
            files,
            open: None,
            cuts: Vec::new(),
        })
    }

    /// Files that ended in the middle so far, and where.
    pub fn cuts(&self) -> &[String] {
        &self.cuts
    }

    fn advance(&mut self) -> Result<Option<Line>, LogError> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.files.pop_front() else {
                    return Ok(None);
                };
                self.open = Some(OpenFile::open(path)?);
            }
            let Some(file) = self.open.as_mut() else {
                return Ok(None);
            };
            match file.next_line()? {
                Found::Line(line) => return Ok(Some(line)),
                Found::Cut => {
                    let (path, line) = (file.path.display(), file.line);
                    self.cuts.push(format!("{path}: cut off after {line} lines"));
                    self.open = None;
                }
                Found::End => self.open = None,
            }
        }
    }
}

impl Iterator for LogReader {
    type Item = Result<Line, LogError>;
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            (self.open, self.files) = (None, VecDeque::new());
        }
        next
    }
}

enum Found {
    Line(Line),
    Cut,
    End,
}

impl OpenFile {
    fn open(path: PathBuf) -> Result<Self, LogError> {
        match File::open(&path) {
            Ok(file) => Ok(Self {
                // One that was only just begun.
                empty: file.metadata().is_ok_and(|meta| meta.len() == 0),
                lines: BufReader::new(MultiGzDecoder::new(BufReader::new(file))),
                line: 0,
                path,
            }),
            Err(cause) => Err(LogError::Read { path, cause }),
        }
    }

    fn next_line(&mut self) -> Result<Found, LogError> {
        if self.empty {
            return Ok(Found::End);
        }
        let mut line = Vec::new();
        match self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(Found::End),
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(Found::Cut),
            Err(cause) => {
                return Err(LogError::Damaged {
                    path: self.path.clone(),
                    line: self.line,
                    cause,
                });
            }
        }
        let wrong = |cause| LogError::Line {
            path: self.path.clone(),
            line: self.line + 1,
            cause,
        };
        if line.pop() != Some(b'\n') {
            return Err(wrong(format!(
                "it does not end, or is longer than {MAX_LINE} bytes"
            )));
        }
        let line = Line::parse(&line).map_err(|e| wrong(e.to_string()))?;
        self.line += 1;
        Ok(Found::Line(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn error(dir: &Path, bytes: &[u8]) -> String {
        let path = dir.join("decisions-1.jsonl.gz");
        fs::write(&path, bytes).unwrap();
        let outcome: Result<Vec<_>, _> = LogReader::open(&path).unwrap().collect();
        outcome.unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_log_is_told_with_place_and_mend() {
        let dir = tempfile::tempdir().unwrap();
        let missing = LogReader::open(&dir.path().join("none"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            missing.contains("none: ") && missing.contains("give a file"),
            "{missing}"
        );
        let empty = LogReader::open(dir.path()).err().unwrap().to_string();
        assert!(empty.contains("holds no decisions-*.jsonl.gz"), "{empty}");
        let plain = error(dir.path(), b"{\"t\":1}\n and more that is no gzip");
        assert!(
            plain.contains("after line 0") && plain.contains("damaged"),
            "{plain}"
        );
        for (line, wanted) in [
            ("{\"t\":1}", "line 1: no decision: missing field"),
            (
                "{\"t\":1,\"k\":\"z\"}",
                "line 1: no decision: unknown variant `z`, expected one of",
            ),
            ("{\"t\":1,\"k\":\"m\"}", "line 1: no decision: missing field `v`"),
        ] {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(format!("{line}\n").as_bytes()).unwrap();
            let wrong = error(dir.path(), &member.finish().unwrap());
            assert!(wrong.contains(wanted), "{wrong}");
        }
    }
}
