//! How one open file's bytes are reached: past the page cache where the file system lets us, through it where the bytes are
//! worth memory. What a file system refuses is remembered, so that it is asked once.

use crate::{
    drive::Drive,
    namespace::heat::{Heat, Warmth},
    sys::cache,
};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    fs::{File, Metadata, OpenOptions},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    sync::Arc,
};

use super::{lent::Lent, residency::Seen};

/// What O_DIRECT needs where the kernel does not tell.
const ALIGNMENT: u32 = 4096;
/// File systems that do not wait when they are asked not to. Others may promise it and wait all the same: FUSE does, for reads
/// past the page cache. Their reads are left to threads of the kernel.
const PROMPT: [FsType; 5] = [
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    F2FS_SUPER_MAGIC,
    TMPFS_MAGIC,
];
/// File systems without a drive, the second one being ramfs.
const IN_MEMORY: [FsType; 2] = [TMPFS_MAGIC, FsType(0x8584_58f6)];
/// Largest alignment that is worth it.
const MOST_ALIGNMENT: u32 = 64 << 10;

/// How often over a file is brought from the drive before it is worth memory where nobody knows the demand: to fill the page
/// cache costs several times as much as to pass it by.
const DRAWN: u64 = 2;

/// The way that a read takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// O_DIRECT: leaves no trace in the page cache.
    Direct,
    /// Through the page cache, dropped there at once (`RWF_DONTCACHE`, Linux 6.14).
    Passing,
    /// Through the page cache, where it stays.
    Cached,
}

impl Via {
    /// As counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Passing => "passing",
            Self::Cached => "cached",
        }
    }

    /// Flags of the read.
    pub fn flags(self) -> i32 {
        match self {
            Self::Passing => libc::RWF_DONTCACHE,
            Self::Direct | Self::Cached => 0,
        }
    }
}

/// What is known of reading an open file.
#[derive(Debug)]
pub struct Access {
    /// The file system that it is of.
    pub device: u64,
    /// Whether its file system keeps the promise not to wait.
    pub prompt: bool,
    /// Whether it lies in memory alone.
    pub in_memory: bool,
    /// The drive that it lies on, if somebody watches that.
    pub drive: Option<Arc<Drive>>,
    /// What of it was in memory a moment ago.
    pub seen: RefCell<Seen>,
    /// Reads under way that fill the page cache: pages are there then that hold nothing yet.
    pub filling: Cell<u32>,
    /// Whether a read has filled the page cache.
    pub filled: Cell<bool>,
    heat: Arc<Heat>,
    size: u64,
    /// The best way past the page cache that was not refused.
    past: Cell<Via>,
    direct: OnceCell<Option<(File, u32)>>,
    /// Bytes brought from the drive since the file was opened.
    drawn: Cell<u64>,
    /// Its bytes as they are lent.
    pub(super) lent: Lent,
}

impl Access {
    /// Of a file just opened.
    pub fn new(file: &File, meta: &Metadata, heat: Arc<Heat>, drive: Option<Arc<Drive>>) -> Self {
        let kind = fstatfs(file).map(|s| s.filesystem_type());
        Self {
            device: meta.dev(),
            prompt: kind.is_ok_and(|kind| PROMPT.contains(&kind)),
            in_memory: kind.is_ok_and(|kind| IN_MEMORY.contains(&kind)),
            drive,
            heat,
            size: meta.size(),
            seen: RefCell::default(),
            filling: Cell::new(0),
            filled: Cell::new(false),
            past: Cell::new(Via::Direct),
            direct: OnceCell::new(),
            drawn: Cell::new(0),
            lent: Lent::default(),
        }
    }

    /// Whether all of it is held in memory.
    pub fn is_kept(&self) -> bool {
        self.heat.get() == Warmth::Kept
    }

    /// Whether nobody knows how much it is in demand.
    pub fn is_unknown(&self) -> bool {
        self.heat.get() == Warmth::Unknown
    }

    /// Whether bytes that were [lent](super::Disk::lend) are not the file's: it was cut short, or its drive failed.
    pub fn is_broken(&self) -> bool {
        self.lent.is_broken()
    }

    /// Counts bytes that came from the drive.
    pub fn draw(&self, bytes: u64) {
        self.drawn.set(self.drawn.get().saturating_add(bytes));
    }

    /// The way that a read of `file`, this one, takes now. Where nobody knows the demand, a file that was brought from the
    /// drive [`DRAWN`] times over while it was open stays in the page cache from then on.
    pub fn via(&self, file: &File) -> Via {
        let worth_memory = match self.heat.get() {
            Warmth::Hot | Warmth::Kept => true,
            Warmth::Cold => false,
            Warmth::Unknown => self.drawn.get() / DRAWN >= self.size,
        };
        if worth_memory {
            return Via::Cached;
        }
        if self.past.get() == Via::Direct && self.direct(file).is_none() {
            self.past.set(Via::Passing);
        }
        self.past.get()
    }

    fn direct(&self, file: &File) -> Option<&(File, u32)> {
        self.direct.get_or_init(|| open_direct(file)).as_ref()
    }

    /// Alignment of offset and length.
    pub fn alignment(&self, via: Via) -> u64 {
        match (via, self.direct.get()) {
            (Via::Direct, Some(Some((_, alignment)))) => u64::from(*alignment),
            _ => 1,
        }
    }

    /// The descriptor to read by.
    pub fn descriptor<'a>(&'a self, file: &'a File, via: Via) -> BorrowedFd<'a> {
        match (via, self.direct.get()) {
            (Via::Direct, Some(Some((direct, _)))) => direct.as_fd(),
            _ => file.as_fd(),
        }
    }

    /// Remembers that a way was refused; answers the next one, if there is one.
    pub fn refused(&self, via: Via) -> Option<Via> {
        let next = match via {
            Via::Direct => Via::Passing,
            Via::Passing => Via::Cached,
            Via::Cached => return None,
        };
        if self.past.get() == via {
            self.past.set(next);
        }
        Some(next)
    }
}

/// Opens the file anew, whatever name it has by now.
fn open_direct(file: &File) -> Option<(File, u32)> {
    let alignment = cache::direct_alignment(file).unwrap_or(ALIGNMENT);
    if alignment == 0 || alignment > MOST_ALIGNMENT || !alignment.is_power_of_two() {
        return None;
    }
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT | libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Some((opened.ok()?, alignment.max(512)))
}
