//! The folder of an appliance: what lies where, and how a file is replaced so that a crash leaves the old or the new.
//!
//! | path | what |
//! |---|---|
//! | `lock` | held by the running process |
//! | `identity.json` | this appliance's token and site (mode 0600) |
//! | `plan.json` | the newest plan part that was taken |
//! | `index.json` | public path → digest, size, media type |
//! | `drives.json` | the drives, and which were given up |
//! | `objects/ab/<digest>` | whole, verified objects; `ab` = first two hex digits |
//! | `partial/<digest>` | an object being filled, at its full length |
//! | `partial/<digest>.blocks` | its journal: one bit for each block that was verified and written |
//! | `partial/<digest>.json` | its block digests, so that the fill goes on without the control plane |
//! | `demand/<boot>.json` | what viewers drew from a process that was replaced, until its successor reports it |
//! | `quarantine/<digest>` | an object that read badly, until it was verified anew; emptied at start |
//!
//! With drives of their own, objects, partials and quarantine lie on each of them, the rest at the root.

use cdn_types::{Bytes, ObjectDigest};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Suffix of a file that is being written and not yet in place.
const TEMPORARY: &str = ".tmp";

/// Where things lie below the root.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

/// The hold on a root, given back when dropped.
#[derive(Debug)]
pub struct RootLock {
    _file: Flock<File>,
}

impl Layout {
    /// Of a root that need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Folder of whole objects.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }
    /// A whole object.
    pub fn object(&self, digest: &ObjectDigest) -> PathBuf {
        let name = digest.to_string();
        self.objects().join(&name[..2]).join(name)
    }
    /// Folder of objects being filled.
    pub fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }
    /// An object being filled.
    pub fn partial(&self, digest: &ObjectDigest) -> PathBuf {
        self.partials().join(digest.to_string())
    }
    /// Its journal of verified blocks.
    pub fn journal(&self, digest: &ObjectDigest) -> PathBuf {
        self.partials().join(format!("{digest}.blocks"))
    }
    /// Its block digests.
    pub fn info(&self, digest: &ObjectDigest) -> PathBuf {
        self.partials().join(format!("{digest}.json"))
    }
    /// Folder of objects that read badly.
    pub fn quarantines(&self) -> PathBuf {
        self.root.join("quarantine")
    }
    /// An object that read badly.
    pub fn quarantine(&self, digest: &ObjectDigest) -> PathBuf {
        self.quarantines().join(digest.to_string())
    }
    /// The path index.
    pub fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }
    /// The newest plan part.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }
    /// The appliance's identity.
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.json")
    }

    /// Folder of counts that former processes left to be reported.
    pub fn left_demand(&self) -> PathBuf {
        self.root.join("demand")
    }

    /// What is remembered of drives.
    pub fn drives(&self) -> PathBuf {
        self.root.join("drives.json")
    }

    /// Makes the folders of objects.
    pub fn make_folders(&self) -> io::Result<()> {
        for folder in [self.objects(), self.partials(), self.quarantines()] {
            fs::create_dir_all(folder)?;
        }
        Ok(())
    }

    /// Takes the lock without making anything else; fails if another process has it.
    pub fn lock(&self) -> io::Result<RootLock> {
        fs::create_dir_all(&self.root)?;
        self.take_lock()
    }

    /// Makes the folders and takes the lock; fails if another process has it.
    pub fn prepare(&self) -> io::Result<RootLock> {
        self.make_folders()?;
        self.take_lock()
    }

    fn take_lock(&self) -> io::Result<RootLock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(RootLock { _file: file }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another oca-server runs on this folder; stop it or give this one its own root",
            )),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

/// Replaces a file: written beside it, synced, renamed over it, and the folder synced.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&temporary)?;
    let written = file.write_all(text).and_then(|()| file.sync_all());
    if let Err(e) = written {
        let _ = fs::remove_file(&temporary); // it would only take room
        return Err(e);
    }
    fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

/// Makes a rename or removal in a file's folder last.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file; that it was not there is fine.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The digest that a file is named by, if it is.
pub fn digest_of_name(path: &Path) -> Option<ObjectDigest> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Whether an error means that the disk (or a quota) is full.
pub fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Bytes that this process may still write to a file system.
pub fn free_space(path: &Path) -> io::Result<Bytes> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(Bytes(stat.blocks_available() * stat.fragment_size()))
}

/// Bytes of a file system.
pub fn total_space(path: &Path) -> io::Result<Bytes> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(Bytes(stat.blocks() * stat.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("deep/root"));
        let lock = layout.prepare().unwrap();
        let second = layout.prepare().unwrap_err().to_string();
        assert!(second.contains("another oca-server"), "{second}");
        drop(lock);
        layout.prepare().unwrap();
    }

    #[test]
    fn a_replaced_file_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
