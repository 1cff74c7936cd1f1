//! `nightfill publish`: from a packed title on disk to one that the CDN knows.
//!
//! The order matters. First every digest is computed anew: what was damaged since packing must not become the
//! origin's truth. Then the objects go to the origin store under their public paths, and only when all are there is
//! the title registered, so that no plan ever names an object that cannot be fetched. Public paths contain the
//! title's version, so an object that is there with the right size is the right one and is not sent again.

use crate::{
    client::{Client, ClientError},
    digests::digest_file,
    pack::TITLE_FILE,
    progress::Progress,
};
use cdn_types::{
    Bytes, TitleId,
    api::v1::{TitleRegistration, TitleSummary},
    title::{TitleError, TitleManifest, TitleObject},
};
use futures_util::TryStreamExt;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, buffered::BufWriter,
    local::LocalFileSystem, prefix::PrefixStore,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Objects above this go up in parts of this size: S3's least part is 5 MiB, and a part lost is sent again whole.
const PART_SIZE: usize = 8 << 20;

/// Why a title was not published. It is not registered then; what was stored already is skipped the next time.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Not a packed title.
    #[error("{dir}: holds no {TITLE_FILE}: give a folder that `nightfill pack` made")]
    NoTitle {
        /// As given.
        dir: PathBuf,
    },
    /// `title.json` cannot be understood.
    #[error("{file}: {what}")]
    Manifest {
        /// The file.
        file: PathBuf,
        /// Line and fault.
        what: String,
    },
    /// `title.json` contradicts itself.
    #[error("{file}: {source}")]
    Title {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: TitleError,
    },
    /// A file is not what was packed.
    #[error("{file}: {what}: it was changed or damaged since packing. Pack the title anew")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Size or block that differs.
        what: String,
    },
    /// The control plane refused or is away.
    #[error(transparent)]
    Control(#[from] ClientError),
    /// No store can be opened by this address.
    #[error("origin store `{store}`: {what}")]
    Store {
        /// Its address.
        store: String,
        /// What is wrong, and the mend.
        what: String,
    },
    /// A file could not be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// As the control plane knows it now.
    pub summary: TitleSummary,
    /// Objects that were stored.
    pub stored: u64,
    /// Objects that were there already.
    pub skipped: u64,
}

/// Publishes the title in `dir`. `store` is where objects go; the control plane's own origin store if absent.
pub async fn publish(
    dir: &Path,
    client: &Client,
    store: Option<&str>,
    progress: &Progress,
) -> Result<Published, PublishError> {
    let manifest = read_title(dir)?;
    let registration = TitleRegistration {
        hls: read_text(dir, &manifest.hls)?,
        dash: read_text(dir, &manifest.dash)?,
        manifest,
    };
    let title = &registration.manifest;
    // Verifying and storing each pass over all bytes once.
    let mut counted = Counter {
        progress,
        done: 0,
        all: title.size().0 * 2,
    };
    for object in &title.objects {
        verify(dir, object, &mut counted)?;
    }
    let store = match store {
        Some(store) => store.to_owned(),
        None => client.origin().await?.store,
    };
    let origin = open_store(&store)?;
    let (mut stored, mut skipped) = (0, 0);
    for object in &title.objects {
        let to = object_path(title, object);
        if is_there(origin.as_ref(), &to, object.size).await {
            skipped += 1;
        } else {
            let file = dir.join(&object.path);
            put(&origin, &to, &file, &object.media_type)
                .await
                .map_err(|e| PublishError::Store {
                    store: store.clone(),
                    what: format!("{}: {e:#}", object.path),
                })?;
            stored += 1;
        }
        counted.add(object.size.0);
    }
    let summary = client.put_title(&registration).await?;
    Ok(Published {
        summary,
        stored,
        skipped,
    })
}

/// Takes the title out of the catalogue, then its files, of every version, out of the store: nobody is sent to a file
/// that is gone. With `keep_objects` the store is not touched. Returns how many files were removed.
pub async fn unpublish(
    id: &TitleId,
    client: &Client,
    store: Option<&str>,
    keep_objects: bool,
) -> Result<u64, PublishError> {
    if keep_objects {
        client.remove_title(id).await?;
        return Ok(0);
    }
    let store = match store {
        Some(store) => store.to_owned(),
        None => client.origin().await?.store,
    };
    // A store that cannot be opened is told while the title is still there.
    let origin = open_store(&store)?;
    client.remove_title(id).await?;
    let folder = object_store::path::Path::from(format!("t/{id}"));
    remove_all(origin.as_ref(), &folder)
        .await
        .map_err(|e| PublishError::Store {
            store,
            what: format!(
                "{id} is no longer registered, but its files remain: {e}. Remove {folder}/ by hand"
            ),
        })
}

async fn remove_all(store: &dyn ObjectStore, folder: &object_store::path::Path) -> object_store::Result<u64> {
    let mut removed = 0;
    let mut files = store.list(Some(folder));
    while let Some(file) = files.try_next().await? {
        store.delete(&file.location).await?;
        removed += 1;
    }
    Ok(removed)
}

struct Counter<'a> {
    progress: &'a Progress,
    done: u64,
    all: u64,
}

impl Counter<'_> {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.progress.fraction(self.done as f64 / self.all.max(1) as f64);
    }
}

/// Reads and checks `title.json` of a packed title.
pub fn read_title(dir: &Path) -> Result<TitleManifest, PublishError> {
    let file = dir.join(TITLE_FILE);
    let text = fs::read_to_string(&file).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            PublishError::NoTitle { dir: dir.to_owned() }
        }
        _ => PublishError::Io {
            file: file.clone(),
            source,
        },
    })?;
    let manifest: TitleManifest = serde_json::from_str(&text).map_err(|e| PublishError::Manifest {
        file: file.clone(),
        what: e.to_string(),
    })?;
    manifest
        .check()
        .map_err(|source| PublishError::Title { file, source })?;
    Ok(manifest)
}

fn read_text(dir: &Path, name: &str) -> Result<String, PublishError> {
    let file = dir.join(name);
    fs::read_to_string(&file).map_err(|source| PublishError::Io { file, source })
}

fn verify(dir: &Path, object: &TitleObject, counted: &mut Counter<'_>) -> Result<(), PublishError> {
    let file = dir.join(&object.path);
    let found = digest_file(&file, |n| counted.add(n)).map_err(|source| PublishError::Io {
        file: file.clone(),
        source,
    })?;
    let damaged = |what: String| {
        Err(PublishError::Damaged {
            file: file.clone(),
            what,
        })
    };
    if found.size != object.size {
        return damaged(format!("has {} bytes, not {}", found.size.0, object.size.0));
    }
    let wrong = found.blocks.iter().zip(&object.blocks).position(|(a, b)| a != b);
    if let Some(block) = wrong {
        return damaged(format!(
            "block {block} (1 MiB from byte {}) has another digest",
            block as u64 * cdn_types::BLOCK_SIZE
        ));
    }
    if found.digest != object.digest {
        return damaged("the digest of the whole differs".to_owned());
    }
    Ok(())
}

/// Opens `file:///path` (made if absent) or `s3://bucket/prefix` (credentials and endpoint from `AWS_…`).
pub fn open_store(address: &str) -> Result<Arc<dyn ObjectStore>, PublishError> {
    let wrong = |what: String| PublishError::Store {
        store: address.to_owned(),
        what,
    };
    if let Some(path) = address.strip_prefix("file://") {
        if !path.starts_with('/') {
            return Err(wrong("must be file:///absolute/path".to_owned()));
        }
        fs::create_dir_all(path).map_err(|e| wrong(format!("cannot make the folder: {e}")))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|e| wrong(e.to_string()))?;
        // Folders go with the last file in them.
        return Ok(Arc::new(store.with_automatic_cleanup(true)));
    }
    if let Some(rest) = address.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(|e| {
                wrong(format!(
                    "{e}; set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION or AWS_ENDPOINT"
                ))
            })?;
        return Ok(Arc::new(PrefixStore::new(store, prefix)));
    }
    Err(wrong("must be file:///path or s3://bucket/prefix".to_owned()))
}

/// Key of an object in the store: its public path without the leading slash.
fn object_path(title: &TitleManifest, object: &TitleObject) -> object_store::path::Path {
    let public = format!("{}/{}", title.public_prefix(), object.path);
    object_store::path::Path::from(public.trim_start_matches('/'))
}

async fn is_there(store: &dyn ObjectStore, path: &object_store::path::Path, size: Bytes) -> bool {
    store.head(path).await.is_ok_and(|found| found.size == size.0)
}

/// Sends one file; large ones in parts. An unfinished upload is aborted, so nothing torn is left under the path.
async fn put(
    store: &Arc<dyn ObjectStore>,
    to: &object_store::path::Path,
    file: &Path,
    media_type: &str,
) -> anyhow::Result<()> {
    let mut input = tokio::fs::File::open(file).await?;
    let mut output = BufWriter::with_capacity(Arc::clone(store), to.clone(), PART_SIZE);
    if !to_file_system(store) {
        let attributes = Attributes::from_iter([(Attribute::ContentType, media_type.to_owned())]);
        output = output.with_attributes(attributes);
    }
    let mut buffer = vec![0; PART_SIZE];
    loop {
        let n = input.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        if let Err(e) = output.write_all(&buffer[..n]).await {
            let _ = output.abort().await; // the first error is the one to tell
            return Err(e.into());
        }
    }
    Ok(output.shutdown().await?)
}

/// Folders cannot keep a media type; the store refuses attributes then.
fn to_file_system(store: &Arc<dyn ObjectStore>) -> bool {
    store.to_string().starts_with("LocalFileSystem")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{ObjectDigest, TitleId, digest::Digester, title::ObjectRole};

    fn object(dir: &Path, path: &str, body: &[u8]) -> TitleObject {
        fs::write(dir.join(path), body).unwrap();
        let mut d = Digester::new();
        d.update(body);
        let (size, digest, blocks) = d.finish();
        TitleObject {
            path: path.into(),
            role: ObjectRole::Media,
            rendition: None,
            media_type: "video/mp4".into(),
            size,
            digest,
            blocks,
        }
    }

    #[test]
    fn a_damaged_file_is_named_with_its_block() {
        let dir = tempfile::tempdir().unwrap();
        let mut body = vec![7; 3 << 20];
        let object = object(dir.path(), "v.mp4", &body);
        let progress = Progress::Silent;
        let mut counted = Counter {
            progress: &progress,
            done: 0,
            all: 1,
        };
        assert!(verify(dir.path(), &object, &mut counted).is_ok());
        body[(2 << 20) + 5] ^= 1;
        fs::write(dir.path().join("v.mp4"), &body).unwrap();
        let e = verify(dir.path(), &object, &mut counted).unwrap_err().to_string();
        assert!(e.contains("v.mp4: block 2 (1 MiB from byte 2097152)"), "{e}");
        fs::write(dir.path().join("v.mp4"), b"short").unwrap();
        let e = verify(dir.path(), &object, &mut counted).unwrap_err().to_string();
        assert!(e.contains("has 5 bytes, not 3145728"), "{e}");
    }

    #[tokio::test]
    async fn objects_lie_in_the_store_under_their_public_paths() {
        let (dir, origin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let big = vec![3; PART_SIZE + 100];
        let object = object(dir.path(), "v.mp4", &big);
        let title = TitleManifest {
            format: cdn_types::title::TITLE_FORMAT,
            id: TitleId::new("film").unwrap(),
            name: String::new(),
            duration_ms: 0,
            hls: String::new(),
            dash: String::new(),
            renditions: vec![],
            objects: vec![object.clone()],
        };
        let store = open_store(&format!("file://{}/new", origin.path().display())).unwrap();
        let to = object_path(&title, &object);
        assert!(!is_there(store.as_ref(), &to, object.size).await);
        put(&store, &to, &dir.path().join("v.mp4"), "video/mp4")
            .await
            .unwrap();
        assert!(is_there(store.as_ref(), &to, object.size).await);
        let stored = origin.path().join(format!("new{}/v.mp4", title.public_prefix()));
        assert_eq!(ObjectDigest::of(&fs::read(stored).unwrap()), object.digest);
    }

    #[test]
    fn store_addresses_are_checked() {
        for bad in ["/tmp/x", "file://relative", "gs://b"] {
            let e = open_store(bad).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(e.contains("must be"), "{bad}: {e}");
        }
    }
}
