//! What an appliance's access log (docs/formats/access-log.md) tells of a session: whether its player's buffer had run empty
//! before a request, by the key `bs` of CMCD (CTA-5004 and CTA-5004-B).

use crate::cmcd::members;
use serde::Deserialize;
use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
};

/// Longest line that is read; the access log promises about 24 KiB.
const MAX_LINE: u64 = 64 << 10;

/// A line, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AccessLine {
    /// CMCD's session id.
    pub sid: Option<String>,
    #[serde(default)]
    cmcd: Keys,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Keys {
    #[serde(default)]
    status: String,
    #[serde(default)]
    query: String,
}

/// Why an access log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// Not there, not readable.
    #[error("{path}: {cause}; give an access log of oca-server, unpacked")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Not a line of it.
    #[error(
        "{path}, line {line}: {cause}; give an access log of oca-server (docs/formats/access-log.md), unpacked"
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

impl AccessLine {
    /// Hands every line of a file to `take`; a last one that was cut off is left out.
    pub fn read(path: &Path, mut take: impl FnMut(&Self)) -> Result<(), AccessLogError> {
        let unreadable = |cause| AccessLogError::Read {
            path: path.to_owned(),
            cause,
        };
        let mut file = io::BufReader::new(std::fs::File::open(path).map_err(unreadable)?);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = io::Read::take(&mut file, MAX_LINE).read_until(b'\n', &mut text);
            let length = read.map_err(unreadable)?;
            let whole = text.ends_with(b"\n");
            let cut_off = !whole && line > 1 && (length as u64) < MAX_LINE;
            if length == 0 || cut_off {
                break;
            }
            if !whole {
                let (path, cause) = (path.to_owned(), "it does not end".to_owned());
                return Err(AccessLogError::Line { path, line, cause });
            }
            match serde_json::from_slice(&text) {
                Ok(parsed) => take(&parsed),
                Err(cause) => {
                    let (path, cause) = (path.to_owned(), cause.to_string());
                    return Err(AccessLogError::Line { path, line, cause });
                }
            }
        }
        Ok(())
    }

    /// Whether the buffer had run empty. Where headers were sent the query does not count.
    pub fn starved(&self) -> bool {
        let keys = if self.cmcd.status.is_empty() {
            &self.cmcd.query
        } else {
            &self.cmcd.status
        };
        let mut names = members(keys).map(|m| m.split(';').next().unwrap_or_default());
        names.any(|name| matches!(name, "bs" | "bs=?1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_buffer_is_read_from_every_form() {
        for (status, query, wanted) in [
            ("bs", "", true),
            ("rtp=2200, bs", "", true),
            ("bs;x=1,rtp=2200", "", true),
            ("bs=?0", "bs", false),
            ("rtp=2200", "bs", false),
            ("", "br=800,bs,sid=\"a\"", true),
            ("", "bsd=(12),nor=\"a,bs,b\"", false),
            ("", "", false),
        ] {
            let cmcd = Keys {
                status: status.into(),
                query: query.into(),
            };
            let line = AccessLine { sid: None, cmcd };
            assert_eq!(line.starved(), wanted, "{status} {query}");
        }
    }

    #[test]
    fn a_log_is_read_up_to_its_last_whole_line_and_another_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.jsonl");
        let mut lines = Vec::new();
        let good = "{\"sid\":\"a\",\"status\":206,\"cmcd\":{\"query\":\"bs\"}}\n{\"status\":200}\n";
        std::fs::write(&path, format!("{good}{{\"sid\":")).unwrap();
        AccessLine::read(&path, |line| lines.push(line.clone())).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starved() && lines[0].sid.as_deref() == Some("a"));
        std::fs::write(&path, "[1, 2]").unwrap();
        assert!(
            AccessLine::read(&path, |_| {}).is_err(),
            "no log is one line without an end"
        );
        std::fs::write(&path, format!("{good}no\n")).unwrap();
        let error = AccessLine::read(&path, |_| {}).unwrap_err().to_string();
        assert!(
            error.contains("line 3: ") && error.contains("give an access log of oca-server"),
            "{error}"
        );
    }
}
