//! Files whose bytes are sent from where they lie in memory. A file that is cut short under its mapping, or a drive that fails
//! when a page is fetched, raises SIGBUS, which would end the process: here the page reads as zeros from then on and the mapping
//! is [broken](Mapping::is_broken), which whoever sends from it asks before anything leaves the machine.

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::AsRawFd,
    ptr::{self, NonNull},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

/// Most mappings of a process at once.
const MOST: usize = 4096;

/// Where a mapping lies, as the signal's handler looks it up: it may take no lock and no memory.
struct Slot {
    /// 0 = free.
    start: AtomicUsize,
    end: AtomicUsize,
    broken: AtomicBool,
}

static SLOTS: [Slot; MOST] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    }
}; MOST];
static BROKEN: AtomicU64 = AtomicU64::new(0);
/// Size of a page, and who handled the signal before.
static SET_UP: OnceLock<Option<(usize, libc::sigaction)>> = OnceLock::new();

/// How many pages of all mappings have been found missing so far.
pub fn broken_pages() -> u64 {
    BROKEN.load(SeqCst)
}

/// A whole file in memory, read-only.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<libc::c_void>,
    len: usize,
    slot: usize,
}

// SAFETY: read-only memory and atomics, which any thread may use.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes (at least one). With `hold` each page stays in memory once it was read.
    ///
    /// # Errors
    /// When there are too many, the limit on locked memory (`RLIMIT_MEMLOCK`) forbids it, or the system refuses.
    pub fn new(file: &File, len: u64, hold: bool) -> io::Result<Self> {
        SET_UP.get_or_init(set_up).ok_or(io::ErrorKind::Unsupported)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // 1 is nobody's address: the slot is taken and covers nothing yet.
        let free = |slot: &Slot| slot.start.compare_exchange(0, 1, SeqCst, SeqCst).is_ok();
        let slot = SLOTS.iter().position(free).ok_or(io::ErrorKind::QuotaExceeded)?;
        // SAFETY: a new mapping at an address that the kernel picks touches nothing that exists.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        let Some(start) = NonNull::new(start).filter(|s| s.as_ptr() != libc::MAP_FAILED) else {
            let error = io::Error::last_os_error();
            SLOTS[slot].start.store(0, SeqCst);
            return Err(error);
        };
        SLOTS[slot].broken.store(false, SeqCst);
        SLOTS[slot].end.store(start.as_ptr() as usize + len, SeqCst);
        SLOTS[slot].start.store(start.as_ptr() as usize, SeqCst);
        let mapping = Self { start, len, slot };
        // SAFETY: the range is the mapping just made.
        if hold && unsafe { libc::mlock2(start.as_ptr(), len, libc::MLOCK_ONFAULT) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    /// Whether a page of it was missing when it was read: what was read there is not the file's.
    pub fn is_broken(&self) -> bool {
        SLOTS[self.slot].broken.load(SeqCst)
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is `new`'s and lives as long as `self`; pages that are missing are replaced by the handler. Nightfill
        // never writes to a file that it serves; if somebody else does, the bytes read are his old or his new ones, as with sendfile.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is `new`'s, and nobody else has its address. Unmapping unlocks.
        unsafe { libc::munmap(self.start.as_ptr(), self.len) };
        SLOTS[self.slot].start.store(0, SeqCst);
    }
}

/// Takes the signal over; absent if the system refuses.
fn set_up() -> Option<(usize, libc::sigaction)> {
    let page = usize::try_from(super::cache::page_size()).ok()?;
    let mut before = MaybeUninit::zeroed();
    // SAFETY: all-zero is a valid sigaction, of which the fields that matter are set; the handler is async-signal-safe; both
    // structures live through the calls.
    unsafe {
        if libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) != 0 {
            return None;
        }
        let mut ours: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_missing_page;
        ours.sa_sigaction = handler as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) != 0 {
            return None;
        }
        Some((page, before.assume_init()))
    }
}

/// Puts a page of zeros where a mapping's page is missing. Any other SIGBUS goes to whom it went before: the instruction is
/// tried again, and fails again.
extern "C" fn on_missing_page(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo of a memory fault, which has an address. Everything called is async-signal-safe: atomics
    // and system calls. The page replaced lies in a mapping of ours, whose owner is the interrupted code.
    unsafe {
        let address = (*info).si_addr() as usize;
        let set_up = SET_UP.get().and_then(Option::as_ref);
        let covers = |slot: &&Slot| {
            let start = slot.start.load(SeqCst);
            start > 1 && start <= address && address < slot.end.load(SeqCst)
        };
        if let (Some((page, _)), Some(slot)) = (set_up, SLOTS.iter().find(covers)) {
            let zeros = libc::mmap(
                (address & !(page - 1)) as *mut libc::c_void,
                *page,
                libc::PROT_READ,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if zeros != libc::MAP_FAILED {
                slot.broken.store(true, SeqCst);
                BROKEN.fetch_add(1, SeqCst);
                return;
            }
        }
        match set_up {
            Some((_, before)) => libc::sigaction(libc::SIGBUS, before, ptr::null_mut()),
            None => libc::raise(libc::SIGABRT), // cannot be: the handler is installed by the set-up
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_cut_under_its_mapping_reads_as_zeros_and_is_known_for_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 40_000]).unwrap();
        let mapping = Mapping::new(&file, 40_000, false).unwrap();
        let other = Mapping::new(&file, 40_000, false).unwrap();
        assert!(mapping.as_ref().iter().all(|b| *b == 7));
        assert!(!mapping.is_broken());
        let before = broken_pages();
        file.set_len(10_000).unwrap();
        let sum: u64 = mapping.as_ref().iter().map(|b| u64::from(*b)).sum();
        assert_eq!(sum, 70_000);
        assert!(mapping.is_broken() && broken_pages() > before);
        assert!(!other.is_broken(), "nobody has read it since");
        drop(mapping);
        let again = Mapping::new(&file, 10_000, false).unwrap();
        assert!(again.as_ref()[9_999] == 7 && !again.is_broken());
    }

    #[test]
    fn a_bus_error_elsewhere_still_ends_the_process() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        // SAFETY: the child only reads from its own mapping, which the set-up knows nothing of.
        unsafe {
            let ours = Mapping::new(&file, 4096, false).unwrap();
            let child = libc::fork();
            if child == 0 {
                let fd = file.as_raw_fd();
                let at = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, fd, 0);
                libc::ftruncate(fd, 0);
                let byte = ptr::read_volatile(at.cast::<u8>());
                libc::_exit(i32::from(byte));
            }
            let mut status = 0;
            libc::waitpid(child, &mut status, 0);
            assert!(libc::WIFSIGNALED(status), "status {status}");
            drop(ours);
        }
    }
}
