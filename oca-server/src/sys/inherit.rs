//! Descriptors that pass from one program to the next: left open for a child, and taken up by it.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

/// Leaves `fds` open, under their numbers, in the program that `command` starts; here they stay close-on-exec. They live
/// as long as `command`.
pub fn leave_open(command: &mut Command, fds: Vec<OwnedFd>) {
    let clear = move || {
        for fd in &fds {
            // SAFETY: F_SETFD takes an int and touches no memory; the descriptor is open, the closure owns it.
            if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only reads memory that it owns and calls fcntl, which is
    // async-signal-safe; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(clear) };
}

/// What the starter of this process left open for it: asked for once.
#[derive(Debug)]
pub struct Legacy(());

impl Legacy {
    /// The right to take descriptors up; absent the second time.
    pub fn once() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        (!TAKEN.swap(true, Ordering::Relaxed)).then_some(Self(()))
    }

    /// Takes up descriptors that the starter says were left open: each must be open, inherited (not close-on-exec), and
    /// named once. Nobody else in this process may know their numbers, which holds for what was inherited and is looked
    /// at before anything else is opened.
    ///
    /// # Errors
    /// When a number is of no such descriptor; those before it are closed.
    pub fn take(&self, numbers: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
        let mut seen = Vec::new();
        for number in numbers.iter().copied() {
            // SAFETY: F_GETFD touches no memory, whatever the number.
            let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
            if number <= libc::STDERR_FILENO
                || flags < 0
                || flags & libc::FD_CLOEXEC != 0
                || seen.contains(&number)
            {
                let text = format!("descriptor {number} was not left open for this process");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            seen.push(number);
        }
        let adopt = |number: &RawFd| {
            // SAFETY: it is open, and inherited, as every descriptor that Rust code opens is close-on-exec; it is above
            // standard error, in the list once, and a `Legacy` exists once, so it gets its only owner here.
            let fd = unsafe { OwnedFd::from_raw_fd(*number) };
            // SAFETY: F_SETFD takes an int and touches no memory; the descriptor is open.
            match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
                0 => Ok(fd),
                _ => Err(io::Error::last_os_error()),
            }
        };
        numbers.iter().map(adopt).collect()
    }
}
