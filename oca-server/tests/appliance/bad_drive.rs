//! A drive that fails when it is told to: a folder seen through a file system of the test's own, which reads only.

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, Request,
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

/// What reads do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    Errs,
    Stalls,
}

struct Shared {
    mood: Mutex<Mood>,
    /// Reads that are not answered.
    stalled: Mutex<Vec<ReplyData>>,
}

/// The mounted drive; unmounted when dropped.
pub struct BadDrive {
    shared: Arc<Shared>,
    _session: BackgroundSession,
}

impl BadDrive {
    /// Shows `folder` at `at`.
    pub fn mount(folder: &Path, at: &Path) -> Self {
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Well),
            stalled: Mutex::default(),
        });
        let view = View {
            shared: Arc::clone(&shared),
            paths: Mutex::new(vec![folder.to_owned()]),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("bad-drive".to_owned())];
        let session = fuser::spawn_mount(view, at, &config);
        let session = session.expect("this test mounts a FUSE: run it as root where mounting is allowed");
        Self {
            shared,
            _session: session,
        }
    }

    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
        if mood != Mood::Stalls {
            for reply in self.shared.stalled.lock().unwrap().drain(..) {
                reply.error(Errno::EIO);
            }
        }
    }
}

impl Drop for BadDrive {
    fn drop(&mut self) {
        self.set(Mood::Errs); // who still waits would hold the unmount up
    }
}

struct View {
    shared: Arc<Shared>,
    /// Paths by inode number, from 1.
    paths: Mutex<Vec<PathBuf>>,
}

const NO_TIME: Duration = Duration::ZERO;

impl View {
    fn path(&self, ino: INodeNo) -> PathBuf {
        self.paths.lock().unwrap()[u64::from(ino) as usize - 1].clone()
    }

    fn inode(&self, path: &Path) -> u64 {
        let mut paths = self.paths.lock().unwrap();
        let known = paths.iter().position(|p| p == path);
        let index = known.unwrap_or_else(|| {
            paths.push(path.to_owned());
            paths.len() - 1
        });
        index as u64 + 1
    }

    fn attributes(&self, path: &Path) -> Option<FileAttr> {
        let meta = fs::metadata(path).ok()?;
        let kind = if meta.is_dir() {
            FileType::Directory
        } else {
            FileType::RegularFile
        };
        let modified = UNIX_EPOCH + Duration::from_secs(meta.mtime() as u64);
        Some(FileAttr {
            ino: INodeNo(self.inode(path)),
            size: meta.len(),
            blocks: meta.blocks(),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind,
            perm: (meta.mode() & 0o777) as u16,
            nlink: 1,
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for View {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(&self.path(parent).join(name)) {
            Some(attributes) => reply.entry(&NO_TIME, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(&self.path(ino)) {
            Some(attributes) => reply.attr(&NO_TIME, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let mood = self.shared.mood.lock().unwrap();
        match *mood {
            Mood::Errs => reply.error(Errno::EIO),
            Mood::Stalls => self.shared.stalled.lock().unwrap().push(reply),
            Mood::Well => match File::open(self.path(ino)).and_then(|f| f.read_at(&mut bytes, offset)) {
                Ok(n) => reply.data(&bytes[..n]),
                Err(_) => reply.error(Errno::EIO),
            },
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let folder = self.path(ino);
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        for (index, path) in names.iter().enumerate().skip(offset as usize) {
            let kind = if path.is_dir() {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            let ino = INodeNo(self.inode(path));
            if reply.add(ino, index as u64 + 1, kind, path.file_name().unwrap()) {
                break;
            }
        }
        reply.ok();
    }
}
