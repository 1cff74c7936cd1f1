//! What the send path may serve: the seam between "which bytes" (a directory tree, or the appliance's store) and
//! "how they are sent". A namespace answers from memory and file metadata; it never asks another machine.

use crate::drive::Drive;
use cdn_types::ObjectDigest;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

pub mod directory;
pub mod heat;

use heat::{Heat, Warmth};

/// A file that may be sent.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it lies.
    pub file: Arc<Path>,
    /// Digest of its content; the strong ETag is made of it. Absent in a plain directory tree, where the ETag is
    /// made of size and modification time.
    pub digest: Option<ObjectDigest>,
    /// Media type; absent = by the file name's extension.
    pub media_type: Option<Arc<str>>,
    /// Whether the path can never mean other bytes (`Cache-Control: immutable`).
    pub immutable: bool,
    /// What is known of the bytes apart from the file; absent in a plain directory tree.
    pub record: Option<Record>,
}

/// What an object's file must be: one that differs is not served, however it came to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Size in bytes when it was verified.
    pub size: u64,
    /// Changes whenever the object was verified anew: the file may be another one since.
    pub revision: u64,
}

/// Maps URL paths to files and is told what was sent of them.
pub trait Namespace: Send + Sync + 'static {
    /// Finds the file for a percent-decoded, dot-segment-free URL path that starts with `/`.
    fn find(&self, path: &str) -> Option<Found>;

    /// Opens what [`find`](Self::find) found. It must not wait for anything but the file system.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::NotFound`] is answered 404.
    fn open(&self, found: &Found) -> io::Result<File> {
        // O_NONBLOCK: opening a FIFO must not hang the worker; it has no effect on regular files.
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&found.file)
    }

    /// Whether what [`find`](Self::find) found is worth memory; asked once for each time that the file is opened.
    fn heat(&self, found: &Found) -> Arc<Heat> {
        let _ = found;
        Arc::new(Heat::new(Warmth::Unknown))
    }

    /// The drive that what [`find`](Self::find) found lies on, if it has an owner who wants to know how it does; asked as
    /// [`heat`](Self::heat).
    fn drive(&self, found: &Found) -> Option<Arc<Drive>> {
        let _ = found;
        None
    }

    /// Told once a response by the worker with index `worker` (0-based): `bytes` of the body were sent. Must not
    /// block and must not contend between workers.
    fn served(&self, worker: usize, digest: &ObjectDigest, bytes: u64) {
        let _ = (worker, digest, bytes);
    }

    /// Told when reading the object's file failed or came up short while sending: the response was reset, and the
    /// object must not be offered again until it was verified anew.
    fn suspect(&self, digest: &ObjectDigest) {
        let _ = digest;
    }
}
