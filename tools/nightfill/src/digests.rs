//! Digests of files, read once in pieces.

use cdn_types::{Bytes, ObjectDigest, digest::Digester};
use std::{fs::File, io, io::Read, path::Path};

/// Bytes read at once.
const READ_SIZE: usize = 1 << 20;

/// What a file's bytes come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigest {
    /// Bytes.
    pub size: Bytes,
    /// Of the whole.
    pub digest: ObjectDigest,
    /// Of each 1 MiB block.
    pub blocks: Vec<ObjectDigest>,
}

/// Reads `path` to its end and tells `seen` the bytes of every piece.
pub fn digest_file(path: &Path, mut seen: impl FnMut(u64)) -> io::Result<FileDigest> {
    let mut file = File::open(path)?;
    let mut digester = Digester::new();
    let mut buffer = vec![0; READ_SIZE];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                digester.update(&buffer[..n]);
                seen(n as u64);
            }
        }
    }
    let (size, digest, blocks) = digester.finish();
    Ok(FileDigest { size, digest, blocks })
}
