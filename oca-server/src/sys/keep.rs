//! Files held in memory.

use std::{fs::File, io, os::fd::AsRawFd, ptr::NonNull};

/// A whole file that the kernel keeps in memory until this is dropped.
#[derive(Debug)]
pub struct Kept {
    start: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: it is an address that only the kernel is told, by whichever thread drops it.
unsafe impl Send for Kept {}

impl Kept {
    /// Reads in what is missing of the first `len` bytes (at least one) and holds them.
    ///
    /// # Errors
    /// When the limit on locked memory (`RLIMIT_MEMLOCK`) forbids it, or the file cannot be read.
    pub fn new(file: &File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: a new mapping at an address that the kernel picks touches nothing that exists; nobody reads through it, so
        // a file that gets shorter hurts nobody.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        let kept = Self { start, len };
        // SAFETY: the range is the mapping just made.
        if unsafe { libc::mlock(kept.start.as_ptr(), kept.len) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the mapping is `new`'s, and nobody else has its address. Unmapping unlocks.
        unsafe { libc::munmap(self.start.as_ptr(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cache;
    use std::io::Write;

    #[test]
    fn what_is_kept_is_in_memory_whatever_is_advised() {
        let mut file = tempfile::tempfile_in("/var/tmp").unwrap();
        file.write_all(&[1; 40_000]).unwrap();
        file.sync_all().unwrap();
        let Ok(kept) = Kept::new(&file, 40_000) else {
            return; // the limit is lower here
        };
        let drop_it = || {
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            nix::fcntl::posix_fadvise(&file, 0, 0, advice).unwrap();
            cache::cached_pages(&file, 0, 40_000).unwrap_or(10)
        };
        assert_eq!(drop_it(), 10);
        drop(kept);
    }
}
