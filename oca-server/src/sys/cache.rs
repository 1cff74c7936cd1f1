//! What the kernel has of a file in memory, and reads that take nothing but that.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

/// Number of cachestat(2), the same on every architecture; libc does not name it on all of them.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range`.
#[repr(C)]
struct CachedRange {
    offset: u64,
    len: u64,
}

/// `struct cachestat`.
#[repr(C)]
#[derive(Default)]
struct CachedPages {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Bytes of one page.
pub fn page_size() -> u64 {
    // SAFETY: it takes a number and answers one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// How many pages of a range (at least a byte) are in the page cache (cachestat(2), Linux 6.5).
pub fn cached_pages(file: &impl AsFd, offset: u64, len: u64) -> io::Result<u64> {
    let range = CachedRange { offset, len };
    let mut pages = CachedPages::default();
    // SAFETY: both pointers are to live locals of the types that the call reads and writes.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_fd().as_raw_fd(),
            &raw const range,
            &raw mut pages,
            0,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(pages.cached)
}

/// Reads what is in memory without waiting (preadv2(2) with `RWF_NOWAIT`); [`io::ErrorKind::WouldBlock`] = the first byte
/// is not, [`io::ErrorKind::Unsupported`] = this file system cannot say.
pub fn read_without_waiting(
    file: &impl AsFd,
    buffers: &mut [IoSliceMut<'_>],
    offset: i64,
) -> io::Result<usize> {
    let count = i32::try_from(buffers.len()).unwrap_or(i32::MAX);
    // SAFETY: IoSliceMut is an iovec (its documentation promises it), and each describes memory borrowed for writing.
    let read = unsafe {
        libc::preadv2(
            file.as_fd().as_raw_fd(),
            buffers.as_mut_ptr().cast(),
            count,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    if read < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(read as usize)
    }
}

/// The alignment that reads past the page cache need (statx(2) with `STATX_DIOALIGN`, Linux 6.1); absent = not told, 0 = no
/// such reads.
pub fn direct_alignment(file: &File) -> Option<u32> {
    let mut facts = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    // SAFETY: the path is a constant that ends with a zero byte, and the call writes one statx to a live local.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
            libc::STATX_DIOALIGN,
            facts.as_mut_ptr(),
        )
    };
    // SAFETY: it was zeroed, and all fields are integers.
    let facts = unsafe { facts.assume_init() };
    let told = result == 0 && facts.stx_mask & libc::STATX_DIOALIGN != 0;
    told.then(|| match facts.stx_dio_mem_align {
        0 => 0,
        memory => memory.max(facts.stx_dio_offset_align),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_just_written_is_in_memory() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        if let Ok(pages) = cached_pages(&file, 0, 10_000) {
            assert_eq!(pages, 3);
        }
        let mut bytes = [0; 100];
        match read_without_waiting(&file, &mut [IoSliceMut::new(&mut bytes)], 9_950) {
            Ok(n) => assert_eq!((n, bytes[0]), (50, 7)),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::Unsupported),
        }
    }
}
