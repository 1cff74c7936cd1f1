//! An object being filled: a file at its full length, a journal of the blocks that are verified and written, and the
//! block digests that they are verified by.
//!
//! The journal is a hint, never a proof: when a partial is opened again every block that the journal names is read
//! and verified anew, and the whole object is verified before it is put in place. So neither a crash between a
//! block and its journal bit nor a lost page can let a wrong byte count.

use super::layout::{self, Layout};
use crate::drive::Drive;
use cdn_types::{BLOCK_SIZE, Bytes, Digester, ObjectDigest};
use nix::fcntl::{FallocateFlags, fallocate};
use oca_core::{
    fill::{Sealed, block_count, byte_range},
    fill_blocks::BlockSet,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Block digests of an object, as kept beside its partial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocks {
    /// Size of the object in bytes.
    pub size: Bytes,
    /// BLAKE3 of each 1 MiB block in order.
    pub blocks: Vec<ObjectDigest>,
}

impl Blocks {
    /// Whether the list fits an object of this size and digest.
    pub fn fits(&self, digest: &ObjectDigest, size: Bytes) -> bool {
        let one_block = self.blocks.len() != 1 || self.blocks[0] == *digest;
        self.size == size && self.blocks.len() == block_count(size.0) as usize && one_block
    }

    /// The list of an object that needs none beyond its own digest: it is empty or one block long.
    pub fn of_small(digest: &ObjectDigest, size: Bytes) -> Option<Self> {
        let blocks = match block_count(size.0) {
            0 => vec![],
            1 => vec![*digest],
            _ => return None,
        };
        Some(Self { size, blocks })
    }

    /// What was kept beside a partial, if it is whole and fits.
    pub fn load(layout: &Layout, digest: &ObjectDigest, size: Bytes) -> Option<Self> {
        let text = fs::read(layout.info(digest)).ok()?;
        let blocks: Self = serde_json::from_slice(&text).ok()?;
        blocks.fits(digest, size).then_some(blocks)
    }
}

/// Why a block was not taken.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The bytes do not match the block's digest: the source is at fault.
    #[error("block does not match its digest")]
    Wrong,
    /// The disk is at fault.
    #[error(transparent)]
    Disk(#[from] io::Error),
}

/// An open partial object. Blocks may be written from several threads.
#[derive(Debug)]
pub struct Partial {
    digest: ObjectDigest,
    blocks: Blocks,
    /// Told of writes that fail.
    drive: Arc<Drive>,
    data: File,
    journal: Mutex<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    verified: BlockSet,
}

impl Partial {
    /// Opens or makes the partial on a drive and takes its room at once, so that a full disk is met here.
    pub fn open(
        layout: &Layout,
        drive: &Arc<Drive>,
        digest: ObjectDigest,
        blocks: Blocks,
    ) -> io::Result<Self> {
        let opened = Self::try_open(layout, drive, digest, blocks).inspect_err(|e| drive.write_failed(e));
        if opened.as_ref().is_err_and(layout::is_full) {
            remove(layout, &digest)?;
        }
        opened
    }

    fn try_open(
        layout: &Layout,
        drive: &Arc<Drive>,
        digest: ObjectDigest,
        blocks: Blocks,
    ) -> io::Result<Self> {
        let data = open_file(&layout.partial(&digest))?;
        reserve(&data, blocks.size)?;
        let info = serde_json::to_vec(&blocks).map_err(io::Error::other)?;
        if fs::read(layout.info(&digest)).ok().as_deref() != Some(&info) {
            layout::replace(&layout.info(&digest), &info, 0o644)?;
        }
        let mut file = open_file(&layout.journal(&digest))?;
        let mut claimed = Vec::new();
        file.read_to_end(&mut claimed)?;
        let mut verified = BlockSet::from_journal(&claimed, block_count(blocks.size.0));
        forget_unproven(&data, &blocks, &mut verified)?;
        file.set_len(verified.journal().len() as u64)?;
        file.write_all_at(verified.journal(), 0)?;
        Ok(Self {
            digest,
            blocks,
            drive: Arc::clone(drive),
            data,
            journal: Mutex::new(Journal { file, verified }),
        })
    }

    /// The object that it will be.
    pub fn digest(&self) -> &ObjectDigest {
        &self.digest
    }

    /// Its size.
    pub fn size(&self) -> Bytes {
        self.blocks.size
    }

    /// Blocks that are verified and written.
    pub fn verified(&self) -> BlockSet {
        self.lock().verified.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies a block and writes it; only then it counts.
    pub fn write_block(&self, block: u32, bytes: &[u8]) -> Result<(), BlockError> {
        let expected = self.blocks.blocks.get(block as usize).ok_or(BlockError::Wrong)?;
        if ObjectDigest::of(bytes) != *expected {
            return Err(BlockError::Wrong);
        }
        let kept = self.keep_block(block, bytes);
        Ok(kept.inspect_err(|e| self.drive.write_failed(e))?)
    }

    fn keep_block(&self, block: u32, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all_at(bytes, u64::from(block) * BLOCK_SIZE)?;
        let mut journal = self.lock();
        journal.verified.insert(block);
        let at = (block / 8) as usize;
        let byte = journal.verified.journal()[at];
        journal.file.write_all_at(&[byte], at as u64)?;
        Ok(())
    }

    /// Verifies the whole, syncs it and puts it in place.
    pub fn seal(&self, layout: &Layout) -> io::Result<Sealed> {
        self.try_seal(layout).inspect_err(|e| self.drive.write_failed(e))
    }

    fn try_seal(&self, layout: &Layout) -> io::Result<Sealed> {
        let (size, whole, blocks) = digest_file(&layout.partial(&self.digest))?;
        if whole != self.digest || size != self.blocks.size {
            return self.damage(layout, &blocks);
        }
        if let Err(e) = self.data.sync_all() {
            // The kernel forgets which pages it could not write, and the next sync would succeed: start anew.
            remove(layout, &self.digest)?;
            return Err(e);
        }
        let to = layout.object(&self.digest);
        if let Some(folder) = to.parent()
            && !folder.exists()
        {
            fs::create_dir_all(folder)?;
            layout::sync_folder_of(folder)?;
        }
        fs::rename(layout.partial(&self.digest), &to)?;
        layout::sync_folder_of(&to)?;
        layout::remove_if_there(&layout.journal(&self.digest))?;
        layout::remove_if_there(&layout.info(&self.digest))?;
        Ok(Sealed::Held)
    }

    /// Which blocks went wrong on the disk. If none did, the block digests were not this object's: start anew.
    fn damage(&self, layout: &Layout, found: &[ObjectDigest]) -> io::Result<Sealed> {
        let wrong: Vec<u32> = (0..)
            .zip(&self.blocks.blocks)
            .filter(|(i, expected)| found.get(*i as usize) != Some(expected))
            .map(|(i, _)| i)
            .collect();
        if wrong.is_empty() {
            remove(layout, &self.digest)?;
            return Ok(Sealed::Foreign);
        }
        let mut journal = self.lock();
        wrong.iter().for_each(|b| journal.verified.remove(*b));
        journal.file.write_all_at(journal.verified.journal(), 0)?;
        Ok(Sealed::Damaged(wrong))
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

/// Gives the file its length and its room on the disk.
fn reserve(file: &File, size: Bytes) -> io::Result<()> {
    use nix::errno::Errno;
    if file.metadata()?.len() != size.0 {
        file.set_len(size.0)?;
    }
    // Always: the length alone, which a crash may have left, takes no room.
    let length = i64::try_from(size.0).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        // A file system without it: a full disk is then met while writing.
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Takes out every claimed block whose bytes do not match its digest.
fn forget_unproven(data: &File, blocks: &Blocks, claimed: &mut BlockSet) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK_SIZE as usize];
    for block in claimed.clone().iter() {
        let range = byte_range(&(block..block + 1), blocks.size.0);
        let piece = &mut buffer[..(range.end - range.start) as usize];
        data.read_exact_at(piece, range.start)?;
        if ObjectDigest::of(piece) != blocks.blocks[block as usize] {
            claimed.remove(block);
        }
    }
    Ok(())
}

/// Removes a partial with all that belongs to it.
pub fn remove(layout: &Layout, digest: &ObjectDigest) -> io::Result<()> {
    layout::remove_if_there(&layout.partial(digest))?;
    layout::remove_if_there(&layout.journal(digest))?;
    layout::remove_if_there(&layout.info(digest))
}

/// Size, digest and block digests of a file's bytes.
pub fn digest_file(path: &Path) -> io::Result<(Bytes, ObjectDigest, Vec<ObjectDigest>)> {
    let mut file = File::open(path)?;
    let mut digester = Digester::new();
    let mut buffer = vec![0; BLOCK_SIZE as usize];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            n => digester.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(size: usize) -> (Vec<u8>, ObjectDigest, Blocks) {
        let data: Vec<u8> = (0..size).map(|i| (i / 7 % 251) as u8).collect();
        let mut d = Digester::new();
        d.update(&data);
        let (size, digest, blocks) = d.finish();
        (data, digest, Blocks { size, blocks })
    }

    fn layout() -> (tempfile::TempDir, Layout, layout::RootLock) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let lock = layout.prepare().unwrap();
        (dir, layout, lock)
    }

    fn drive() -> Arc<Drive> {
        Arc::new(Drive::new(0))
    }

    fn block_of(data: &[u8], block: u32) -> &[u8] {
        let r = byte_range(&(block..block + 1), data.len() as u64);
        &data[r.start as usize..r.end as usize]
    }

    #[test]
    fn only_right_blocks_count_and_a_restart_keeps_them() {
        let (_dir, layout, _lock) = layout();
        let (data, digest, blocks) = object(2 * BLOCK_SIZE as usize + 10);
        let p = Partial::open(&layout, &drive(), digest, blocks.clone()).unwrap();
        assert!(matches!(
            p.write_block(0, block_of(&data, 1)),
            Err(BlockError::Wrong)
        ));
        assert!(matches!(
            p.write_block(7, block_of(&data, 1)),
            Err(BlockError::Wrong)
        ));
        p.write_block(2, block_of(&data, 2)).unwrap();
        p.write_block(0, block_of(&data, 0)).unwrap();
        drop(p);
        assert_eq!(Blocks::load(&layout, &digest, blocks.size), Some(blocks.clone()));
        let p = Partial::open(&layout, &drive(), digest, blocks).unwrap();
        assert_eq!(p.verified().iter().collect::<Vec<_>>(), [0, 2]);
        p.write_block(1, block_of(&data, 1)).unwrap();
        assert_eq!(p.seal(&layout).unwrap(), Sealed::Held);
        assert_eq!(fs::read(layout.object(&digest)).unwrap(), data);
        assert_eq!(fs::read_dir(layout.partials()).unwrap().count(), 0);
    }

    #[test]
    fn a_block_that_the_journal_names_and_the_disk_lost_is_fetched_again() {
        let (_dir, layout, _lock) = layout();
        let (data, digest, blocks) = object(3 * BLOCK_SIZE as usize);
        let p = Partial::open(&layout, &drive(), digest, blocks.clone()).unwrap();
        (0..3).for_each(|b| p.write_block(b, block_of(&data, b)).unwrap());
        p.data.write_all_at(b"lost", BLOCK_SIZE + 5).unwrap();
        assert_eq!(p.seal(&layout).unwrap(), Sealed::Damaged(vec![1]));
        assert!(!layout.object(&digest).exists());
        fs::write(layout.journal(&digest), [0xff]).unwrap();
        let p = Partial::open(&layout, &drive(), digest, blocks).unwrap();
        assert_eq!(p.verified().iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn blocks_that_are_right_but_not_of_this_object_are_never_put_in_place() {
        let (_dir, layout, _lock) = layout();
        let (data, _, blocks) = object(2 * BLOCK_SIZE as usize);
        let digest = ObjectDigest::of(b"something else");
        let p = Partial::open(&layout, &drive(), digest, blocks.clone()).unwrap();
        (0..2).for_each(|b| p.write_block(b, block_of(&data, b)).unwrap());
        assert_eq!(p.seal(&layout).unwrap(), Sealed::Foreign);
        assert!(!layout.object(&digest).exists() && !layout.partial(&digest).exists());
    }

    #[test]
    fn a_small_object_is_its_own_block() {
        let (_, digest, blocks) = object(5);
        assert_eq!(Blocks::of_small(&digest, Bytes(5)), Some(blocks.clone()));
        assert!(blocks.fits(&digest, Bytes(5)));
        assert!(!blocks.fits(&digest, Bytes(6)));
        assert!(!blocks.fits(&ObjectDigest::of(b"other"), Bytes(5)));
        assert_eq!(Blocks::of_small(&digest, Bytes(BLOCK_SIZE + 1)), None);
    }

    #[test]
    fn an_empty_object_is_sealed_at_once() {
        let (_dir, layout, _lock) = layout();
        let (_, digest, blocks) = object(0);
        let p = Partial::open(&layout, &drive(), digest, blocks).unwrap();
        assert!(p.verified().is_full());
        assert_eq!(p.seal(&layout).unwrap(), Sealed::Held);
        assert_eq!(fs::metadata(layout.object(&digest)).unwrap().len(), 0);
    }
}
