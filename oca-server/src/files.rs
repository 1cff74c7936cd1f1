//! A worker's open files: found paths with their descriptor and the facts of every response, in a bounded `lru`. An
//! object of the store never changes, so its entry holds while it is used; a file of a plain tree is looked at again
//! after [`FRESH`], so that a replaced file is noticed without a system call per request. Files that nobody asks for
//! are closed, so that a dropped object's room on the drive is freed.

use crate::{
    disk::Access,
    drive::Drive,
    metrics::Metrics,
    namespace::{Found, Namespace, Record, heat::Heat},
};
use cdn_types::ObjectDigest;
use lru::LruCache;
use oca_core::{etag, media_type};
use prometheus::Gauge;
use std::{
    fs::{File, Metadata},
    io,
    num::NonZeroUsize,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

/// How long a plain tree's entry is used before the file is looked at again.
const FRESH: Duration = Duration::from_secs(1);
/// How long an entry is kept without a request.
const IDLE: Duration = Duration::from_secs(30);

/// A file open for sending, with everything that a response says of it.
#[derive(Debug)]
pub struct OpenFile {
    /// The descriptor.
    pub file: File,
    /// Size in bytes: of the record, not of what the disk may have become.
    pub size: u64,
    /// Entity tag with its quotes.
    pub etag: String,
    /// Last-Modified in whole seconds since 1970.
    pub modified: u64,
    /// Last-Modified as an HTTP-date.
    pub last_modified: String,
    /// Media type by the file's name.
    pub media_type: &'static str,
    /// The object, if it is one of the store.
    pub digest: Option<ObjectDigest>,
    /// How its bytes are reached.
    pub access: Access,
    /// What the namespace knew of it.
    record: Option<Record>,
    identity: (u64, u64, i64, i64),
}

struct Entry {
    open: Rc<OpenFile>,
    checked: Instant,
    used: Instant,
}

/// The bounded table.
pub struct OpenFiles {
    entries: LruCache<Box<[u8]>, Entry>,
    gauge: Gauge,
}

impl OpenFiles {
    /// An empty table of at most `capacity` files.
    pub fn new(capacity: usize, metrics: &Metrics) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            entries: LruCache::new(capacity),
            gauge: metrics.gauge("oca_open_files", &[]),
        }
    }

    /// The open file of what the namespace found.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file or not as long as its record; [`io::ErrorKind::NotFound`] covers all that a viewer may
    /// take for "there is none".
    pub fn open(&mut self, namespace: &dyn Namespace, found: &Found) -> io::Result<Rc<OpenFile>> {
        let now = Instant::now();
        let key = found.file.as_os_str().as_bytes();
        if let Some(entry) = self.entries.get_mut(key) {
            let trusted = found.digest.is_some() || now.duration_since(entry.checked) < FRESH;
            if trusted && entry.open.is_for(found) {
                entry.used = now;
                return Ok(Rc::clone(&entry.open));
            }
        }
        self.look_again(namespace, found, now)
    }

    fn look_again(
        &mut self,
        namespace: &dyn Namespace,
        found: &Found,
        now: Instant,
    ) -> io::Result<Rc<OpenFile>> {
        let key = found.file.as_os_str().as_bytes();
        let file = namespace.open(found);
        let opened = file.and_then(|file| file.metadata().map(|meta| (file, meta)));
        let (file, meta) = match opened {
            Ok((file, meta)) if meta.is_file() => (file, meta),
            other => {
                self.forget(found);
                return Err(other.err().unwrap_or_else(|| io::ErrorKind::NotFound.into()));
            }
        };
        if let Some(record) = found.record.filter(|r| r.size != meta.size()) {
            self.forget(found);
            let text = format!("it has {} bytes, its record says {}", meta.size(), record.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if let Some(entry) = self.entries.get_mut(key)
            && entry.open.identity == identity(&meta)
            && entry.open.is_for(found)
        {
            (entry.checked, entry.used) = (now, now);
            return Ok(Rc::clone(&entry.open));
        }
        let open = Rc::new(OpenFile::new(
            file,
            &meta,
            found,
            (namespace.heat(found), namespace.drive(found)),
        ));
        let entry = Entry {
            open: Rc::clone(&open),
            checked: now,
            used: now,
        };
        if self.entries.push(key.into(), entry).is_none() {
            self.gauge.inc();
        }
        Ok(open)
    }

    /// Forgets a file whose content proved wrong.
    pub fn forget(&mut self, found: &Found) {
        self.forget_file(found.file.as_os_str().as_bytes());
    }

    fn forget_file(&mut self, key: &[u8]) {
        if self.entries.pop(key).is_some() {
            self.gauge.dec();
        }
    }

    /// Closes what was not asked for lately.
    pub fn close_idle(&mut self) {
        let now = Instant::now();
        while let Some((_, oldest)) = self.entries.peek_lru()
            && now.duration_since(oldest.used) > IDLE
        {
            self.entries.pop_lru();
            self.gauge.dec();
        }
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        self.gauge.sub(self.entries.len() as f64);
    }
}

impl OpenFile {
    /// Whether its facts are those of what was found now.
    fn is_for(&self, found: &Found) -> bool {
        self.digest == found.digest && self.record == found.record
    }

    /// What reads from a pipe, as from a drive that answers when the test wants it.
    #[cfg(test)]
    pub fn of_pipe(pipe: File, size: u64, drive: Option<Arc<Drive>>) -> Self {
        let found = Found {
            file: std::path::Path::new("pipe").into(),
            digest: None,
            media_type: None,
            immutable: false,
            record: None,
        };
        let meta = pipe.metadata().expect("it is open");
        let heat = Heat::new(crate::namespace::heat::Warmth::Hot);
        Self {
            size,
            ..Self::new(pipe, &meta, &found, (Arc::new(heat), drive))
        }
    }

    fn new(
        file: File,
        meta: &Metadata,
        found: &Found,
        (heat, drive): (Arc<Heat>, Option<Arc<Drive>>),
    ) -> Self {
        let modified = meta.modified().unwrap_or(UNIX_EPOCH);
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let size = meta.size();
        let etag = match &found.digest {
            Some(digest) => etag::of_digest(digest),
            None => etag::of_file(size, modified),
        };
        let name = found.file.to_string_lossy();
        let access = Access::new(&file, meta, heat, drive);
        Self {
            file,
            size,
            etag,
            modified: modified.as_secs(),
            last_modified: httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(modified.as_secs())),
            media_type: media_type::of(&name),
            digest: found.digest,
            access,
            record: found.record,
            identity: identity(meta),
        }
    }
}

fn identity(meta: &Metadata) -> (u64, u64, i64, i64) {
    (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec())
}
