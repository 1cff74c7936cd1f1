//! From a request target to an open file: the namespace finds, the worker's table of open files opens, and each way
//! to fail becomes the status that a player reacts to best.

use crate::{files::OpenFile, namespace::Found, worker::Worker};
use nix::errno::Errno;
use oca_core::{decision::Representation, path::Target};
use std::{io, rc::Rc};

/// What a target names.
pub enum LookUp {
    /// A file that is open.
    Found(Rc<OpenFile>, Found),
    /// Nothing that a viewer may see.
    Missing,
    /// Something that cannot be served now: the status to answer.
    Failed(u16),
}

/// Looks a parsed target up.
pub fn look_up(worker: &Worker, target: &Target<'_>) -> LookUp {
    let Some(found) = worker.namespace.find(&target.path) else {
        return LookUp::Missing;
    };
    let opened = worker.files.borrow_mut().open(worker.namespace.as_ref(), &found);
    match opened {
        Ok(open) => LookUp::Found(open, found),
        Err(error) => failed(worker, &found, &error),
    }
}

fn failed(worker: &Worker, found: &Found, error: &io::Error) -> LookUp {
    match (error.raw_os_error().map(Errno::from_raw), &found.digest) {
        (Some(Errno::EMFILE | Errno::ENFILE), _) => LookUp::Failed(429),
        (_, None)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            LookUp::Missing
        }
        (_, digest) => {
            // The catalogue says that it is here, or the drive failed: not an answer that a player should repeat.
            tracing::warn!(file = %found.file.display(), %error, "cannot open");
            if let Some(digest) = digest {
                worker.namespace.suspect(digest);
            }
            LookUp::Failed(if error.kind() == io::ErrorKind::NotFound {
                404
            } else {
                500
            })
        }
    }
}

/// What the decision needs to know of an open file under the path that found it.
pub fn representation<'a>(open: &'a OpenFile, found: &'a Found) -> Representation<'a> {
    Representation {
        size: open.size,
        etag: &open.etag,
        modified: open.modified,
        last_modified: &open.last_modified,
        media_type: found.media_type.as_deref().unwrap_or(open.media_type),
        immutable: found.immutable,
    }
}
