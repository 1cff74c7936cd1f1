//! A virtual machine with one of Debian's kernels and an initramfs, whose first process is the test's script, and one
//! drive. No KVM is
//! needed: QEMU emulates the processor, and boots in some seconds.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// Longest life of a machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Size of its drive.
const DRIVE: &str = "64M";

/// A kernel that `tools/vm-kernels` unpacked.
pub struct Kernel(PathBuf);

impl Kernel {
    /// Absent, with the reason on standard error, where it or QEMU is not there. In CI that is a failure.
    pub fn find(name: &str, needed: bool) -> Option<Self> {
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")))?;
        let folder = cache.join("nightfill-vm").join(name);
        let lacks = match which("qemu-system-x86_64") {
            None => "qemu-system-x86_64",
            Some(_) if !folder.join("vmlinuz").exists() => "the kernel",
            Some(_) => return Some(Self(folder)),
        };
        let message =
            format!("{lacks} for virtual machines ({name}) is missing: tools/install test brings it");
        assert!(!needed || env::var_os("CI").is_none(), "{message}");
        eprintln!("\n*** SKIPPED, NOTHING WAS TESTED: {message} ***\n");
        None
    }
}

fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|p| p.exists())
}

/// What will be the machine's file system.
pub struct Tree(tempfile::TempDir);

impl Tree {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where a path of the machine is now; its folder is made.
    pub fn at(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// A program of this machine, without its debug symbols, and its libraries.
    pub fn program(&self, from: &Path, to: &str) {
        let to = self.at(to);
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(from).status();
        if !stripped.is_ok_and(|s| s.success()) {
            fs::copy(from, &to).unwrap();
        }
        let out = Command::new("ldd").arg(from).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            fs::copy(library, self.at(library)).unwrap();
        }
    }

    /// A program that is in the PATH here.
    pub fn tool(&self, name: &str, to: &str) {
        let from = which(name).unwrap_or_else(|| panic!("{name} is missing: tools/install test brings it"));
        self.program(&from, to);
    }

    /// Boots with a drive that holds the files of `media`, and answers the console's lines when the machine is off.
    pub fn boot(&self, kernel: &Kernel, media: &Path) -> Vec<String> {
        let modules = self.at("/lib/modules");
        run(Command::new("cp")
            .arg("-r")
            .arg(kernel.0.join("modules"))
            .arg(modules));
        let image = tempfile::NamedTempFile::new().unwrap();
        run(Command::new("sh")
            .args(["-c", "find . | busybox cpio -o -H newc"])
            .current_dir(self.0.path())
            .stdout(image.reopen().unwrap())
            .stderr(Stdio::null()));
        let drive = tempfile::NamedTempFile::new().unwrap();
        run(Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-d"])
            .args([media, drive.path()])
            .arg(DRIVE));
        let mut machine = Command::new("qemu-system-x86_64");
        machine
            .args("-M pc -accel tcg -cpu max -m 768 -smp 1 -nodefaults -no-user-config".split(' '))
            .args("-display none -serial stdio -no-reboot -kernel".split(' '))
            .arg(kernel.0.join("vmlinuz"))
            .arg("-initrd")
            .arg(image.path())
            .arg("-drive")
            .arg(format!("if=virtio,format=raw,file={}", drive.path().display()))
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        console(&mut machine)
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Runs the machine for at most [`PATIENCE`].
fn console(machine: &mut Command) -> Vec<String> {
    let mut machine = machine
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(machine.stdout.take().unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in out.split(b'\n').map_while(Result::ok) {
            let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
    let end = Instant::now() + PATIENCE;
    let mut lines = Vec::new();
    let over = loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    let _ = machine.kill();
    let _ = machine.wait();
    assert!(
        !over,
        "the machine is not off after {PATIENCE:?}:\n{}",
        lines.join("\n")
    );
    lines
}
