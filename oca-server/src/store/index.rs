//! The path index: which public path is which object. It is written before an object of it is put in place, so that
//! an object on the disk always has its paths.

use super::layout;
use cdn_types::{Bytes, ObjectDigest, plan::PlanItem};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::Path};

/// `format` of the index that this release reads and writes.
const INDEX_FORMAT: u32 = 1;

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The object.
    pub digest: ObjectDigest,
    /// Its size.
    pub size: Bytes,
    /// Media type to serve it with.
    pub media_type: String,
}

/// All paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Public path → object.
    pub paths: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    paths: BTreeMap<String, Entry>,
}

/// Why the index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Not an index of this release.
    #[error("it is not an index of format {INDEX_FORMAT}: {0}")]
    Format(String),
}

impl Index {
    /// Reads the index; one that is not there is empty.
    pub fn load(path: &Path) -> Result<Self, IndexError> {
        match std::fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            other => Self::parse(&other?),
        }
    }

    /// Reads a file's text.
    pub fn parse(text: &[u8]) -> Result<Self, IndexError> {
        let file: File = serde_json::from_slice(text).map_err(|e| IndexError::Format(e.to_string()))?;
        if file.format != INDEX_FORMAT {
            return Err(IndexError::Format(format!("it says format {}", file.format)));
        }
        Ok(Self { paths: file.paths })
    }

    /// The file's text.
    pub fn text(&self) -> io::Result<Vec<u8>> {
        let file = File {
            format: INDEX_FORMAT,
            paths: self.paths.clone(),
        };
        serde_json::to_vec(&file).map_err(io::Error::other)
    }

    /// Replaces the file.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        layout::replace(path, &self.text()?, 0o644)
    }

    /// Takes in a plan's items; where a path meant something else the plan is right.
    pub fn merge(&mut self, items: &[PlanItem]) {
        for item in items {
            let entry = Entry {
                digest: item.digest,
                size: item.size,
                media_type: item.media_type.clone(),
            };
            self.paths.insert(item.path.clone(), entry);
        }
    }
}
