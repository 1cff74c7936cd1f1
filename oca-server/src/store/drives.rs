//! The drives that objects lie on, each a folder with a file system of its own; an object lies whole on one. Which drives there
//! are, and which were given up, is remembered beside the store's other state. Each carries a mark with its name: a folder
//! whose mark is missing is a mount point without its drive, and is not written to.

use super::layout::{self, Layout};
use crate::drive::Drive;
use cdn_types::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The mark on a drive.
const MARK: &str = "nightfill-drive";

/// What is remembered of one drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its folder.
    pub path: PathBuf,
    /// Its lasting name, as on its mark.
    pub id: String,
    /// Why it was given up, and when; absent = it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected: Option<Ejected>,
    /// Whether what lies on it must be verified before it is offered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubted: bool,
}

/// The end of a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ejected {
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of all drives, also of those that the configuration no longer names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// In the order in which they were first seen.
    pub drives: Vec<Known>,
}

impl Memory {
    /// What was remembered; nothing if nothing was.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| {
                let text = format!("{e}; remove the file to start with all drives in use");
                io::Error::new(io::ErrorKind::InvalidData, text)
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        layout::replace(path, &text, 0o644)
    }

    /// The drive in this folder.
    pub fn get_mut(&mut self, path: &Path) -> Option<&mut Known> {
        self.drives.iter_mut().find(|d| d.path == path)
    }
}

/// A drive of the store.
#[derive(Debug)]
pub struct Place {
    /// Where things lie on it.
    pub layout: Layout,
    /// Its lasting name.
    pub id: String,
    /// How it does.
    pub drive: Arc<Drive>,
    /// Whether what lies on it must be verified before it is offered.
    pub doubted: bool,
    /// Why it is not used; absent = it is.
    out: Mutex<Option<String>>,
}

impl Place {
    /// The root as the only drive: it has no mark and is never given up.
    pub fn root(layout: Layout) -> Self {
        Self {
            layout,
            id: "root".to_owned(),
            drive: Arc::new(Drive::new(0)),
            doubted: false,
            out: Mutex::default(),
        }
    }

    /// Why it is not used, if it is not.
    pub fn out(&self) -> Option<String> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing more is read from it or written to it.
    pub fn leave(&self, why: String) {
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.drive.give_up();
    }

    /// Takes up the drive in a folder, marking it if it is new. One that cannot be used is out, and says why.
    pub fn take_up(index: usize, path: &Path, memory: &mut Memory) -> Self {
        let (known, id) = match memory.get_mut(path) {
            Some(known) => (true, known.id.clone()),
            None => (false, new_id()),
        };
        let mut out = memory
            .get_mut(path)
            .and_then(|k| k.ejected.as_ref().map(|e| e.why.clone()));
        if out.is_none() {
            out = prepare(path, &id, known).err().map(|e| e.to_string());
        }
        if !known {
            let id = id.clone();
            memory.drives.push(Known {
                path: path.to_owned(),
                id,
                ejected: None,
                doubted: false,
            });
        }
        let doubted = memory.get_mut(path).is_some_and(|k| k.doubted);
        let drive = Arc::new(Drive::new(index));
        if out.is_some() {
            drive.give_up();
        }
        Self {
            layout: Layout::new(path),
            id,
            drive,
            doubted,
            out: Mutex::new(out),
        }
    }
}

fn new_id() -> String {
    format!(
        "{:016x}",
        getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
    )
}

/// Makes sure that the folder is the drive that it was, and has what objects need.
fn prepare(path: &Path, id: &str, known: bool) -> io::Result<()> {
    let mark = path.join(MARK);
    match fs::read_to_string(&mark) {
        Ok(text) if text.trim() == id => {}
        Ok(_) if known => return Err(io::Error::other("another drive is mounted there")),
        Ok(_) => {
            return Err(io::Error::other(
                "it is marked as another appliance's drive; remove its mark",
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound && known => {
            return Err(io::Error::other("it is not mounted: its mark is missing"));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path)?;
            layout::replace(&mark, id.as_bytes(), 0o644)?;
        }
        Err(e) => return Err(e),
    }
    Layout::new(path).make_folders()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_its_drive_or_with_another_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut memory = Memory::default();
        assert_eq!(Place::take_up(0, &a, &mut memory).out(), None);
        assert_eq!(Place::take_up(1, &b, &mut memory).out(), None);
        assert_eq!(Place::take_up(0, &a, &mut memory).out(), None, "as it was");
        fs::rename(&a, dir.path().join("away")).unwrap();
        fs::create_dir(&a).unwrap();
        let out = Place::take_up(0, &a, &mut memory);
        assert!(out.out().unwrap().contains("not mounted") && out.drive.is_given_up());
        assert_eq!(
            fs::read_dir(&a).unwrap().count(),
            0,
            "nothing is written to a bare mount point"
        );
        fs::remove_dir(&a).unwrap();
        fs::rename(&b, &a).unwrap();
        assert!(
            Place::take_up(0, &a, &mut memory)
                .out()
                .unwrap()
                .contains("another drive")
        );
        let file = dir.path().join("drives.json");
        memory.save(&file).unwrap();
        assert_eq!(Memory::load(&file).unwrap(), memory);
        fs::write(&file, "{").unwrap();
        assert!(
            Memory::load(&file)
                .unwrap_err()
                .to_string()
                .contains("remove the file")
        );
    }
}
