//! Opening an object for filling: is it on the disk already, what are its block digests, is there room.

use crate::{
    control::{Control, ControlError},
    store::{
        RoomError, Store,
        partial::{Blocks, Partial},
    },
};
use cdn_types::{Bytes, ObjectDigest};
use oca_core::fill::OpenError;
use std::{io, sync::Arc};

/// An opened object.
#[derive(Debug)]
pub enum Opened {
    /// It was on the disk without a path, and is verified and offered now.
    Held,
    /// Ready to take blocks.
    Partial(Arc<Partial>),
}

/// Why an object could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// No room.
    #[error("{0}")]
    Full(String),
    /// The disk.
    #[error("{0}")]
    Disk(#[from] io::Error),
    /// No block digests.
    #[error("no block digests: {0}")]
    NoBlocks(#[from] ControlError),
    /// Block digests that do not fit.
    #[error("the control plane's block digests do not fit object {0} of {1} bytes")]
    Mismatch(ObjectDigest, u64),
}

impl Unopened {
    /// In the terms of the fill.
    pub fn kind(&self) -> OpenError {
        match self {
            Self::Full(_) => OpenError::Full,
            _ => OpenError::Failed,
        }
    }
}

/// Opens an object; reading and hashing are done off the runtime.
pub async fn open(
    store: &Arc<Store>,
    control: &Control,
    digest: ObjectDigest,
    size: Bytes,
) -> Result<Opened, Unopened> {
    if store.is_unverified(&digest) && off_runtime(store, move |s| s.verify(&digest)).await? {
        return Ok(Opened::Held);
    }
    let blocks = blocks(store, control, digest, size).await?;
    let opened = off_runtime(store, move |s| match s.open_partial(digest, &blocks) {
        Err(RoomError::Disk(e)) => Err(e),
        other => Ok(other),
    });
    match opened.await? {
        Ok(partial) => Ok(Opened::Partial(Arc::new(partial))),
        Err(full) => Err(Unopened::Full(full.to_string())),
    }
}

/// The block digests: of a small object its own, else what was kept, else what the control plane says.
async fn blocks(
    store: &Arc<Store>,
    control: &Control,
    digest: ObjectDigest,
    size: Bytes,
) -> Result<Blocks, Unopened> {
    let known = Blocks::of_small(&digest, size);
    if let Some(blocks) = known.or_else(|| Blocks::load(store.layout_of(&digest), &digest, size)) {
        return Ok(blocks);
    }
    let info = control.object(&digest).await?;
    let blocks = Blocks {
        size: info.size,
        blocks: info.blocks,
    };
    if info.digest == digest && blocks.fits(&digest, size) {
        Ok(blocks)
    } else {
        Err(Unopened::Mismatch(digest, size.0))
    }
}

/// Runs disk work where waiting is allowed.
pub async fn off_runtime<T: Send + 'static>(
    store: &Arc<Store>,
    work: impl FnOnce(&Store) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store));
    done.await.unwrap_or_else(|e| Err(io::Error::other(e)))
}
