//! A plain directory tree as a namespace: the URL path is the file's path below the root. Nothing outside the root can
//! be reached, by whatever link (`openat2` with `RESOLVE_BENEATH`); names that start with a dot do not exist, nor do
//! directories.

use super::{Found, Namespace};
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::Mode,
};
use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Component, Path},
};

/// A rename below the root can disturb one look-up; a second one settles it.
const TRIES: usize = 3;

/// Serves a directory tree by path.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    beneath: bool,
}

impl Directory {
    /// Opens the root.
    ///
    /// # Errors
    /// When it does not exist or is no directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(root, flags, Mode::empty())?;
        // Kernels before 5.6 and some sandboxes have no openat2.
        let beneath = open_beneath(&root, Path::new(".")).is_ok();
        Ok(Self { root, beneath })
    }
}

impl Namespace for Directory {
    fn find(&self, path: &str) -> Option<Found> {
        let below = path.strip_prefix('/')?;
        let hidden = below
            .split('/')
            .any(|name| name.is_empty() || name.starts_with('.'));
        (!hidden).then(|| Found {
            file: Path::new(below).into(),
            digest: None,
            media_type: None,
            immutable: false,
            record: None,
        })
    }

    fn open(&self, found: &Found) -> io::Result<File> {
        let opened = if self.beneath {
            open_beneath(&self.root, &found.file)
        } else {
            open_without_links(&self.root, &found.file)
        };
        opened.map(File::from).map_err(|errno| match errno {
            // Too long, a file where a directory was named, a link out of the root: for a viewer there is none.
            Errno::ENAMETOOLONG | Errno::ENOTDIR | Errno::EXDEV | Errno::ELOOP | Errno::ENXIO => {
                io::ErrorKind::NotFound.into()
            }
            errno => errno.into(),
        })
    }
}

const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

fn open_beneath(root: &OwnedFd, below: &Path) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(FLAGS).resolve(resolve);
    let mut last = Errno::EAGAIN;
    for _ in 0..TRIES {
        match openat2(root, below, how) {
            Err(Errno::EAGAIN) => last = Errno::EAGAIN,
            other => return other,
        }
    }
    Err(last)
}

/// The equivalent without `openat2`, stricter: no link at all is followed.
fn open_without_links(root: &OwnedFd, below: &Path) -> nix::Result<OwnedFd> {
    let mut dir = root.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut names = below.components().peekable();
    while let Some(Component::Normal(name)) = names.next() {
        if names.peek().is_none() {
            return openat(&dir, name, FLAGS | OFlag::O_NOFOLLOW, Mode::empty());
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        dir = openat(&dir, name, flags, Mode::empty())?;
    }
    Err(Errno::ENOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Read, os::unix::fs::symlink};

    fn read(directory: &Directory, path: &str) -> Option<String> {
        let mut text = String::new();
        let found = directory.find(path)?;
        let mut file = directory.open(&found).ok()?;
        file.read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn tree() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/a.mp4"), "inside").unwrap();
        fs::write(root.join(".hidden"), "hidden").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
        symlink("../secret", root.join("relative")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("sub/a.mp4", root.join("within")).unwrap();
        (dir, root)
    }

    #[test]
    fn nothing_outside_the_root_can_be_reached() {
        let (_dir, root) = tree();
        for beneath in [true, false] {
            let directory = Directory {
                beneath,
                ..Directory::open(&root).unwrap()
            };
            assert_eq!(read(&directory, "/sub/a.mp4").as_deref(), Some("inside"));
            for path in [
                "/absolute",
                "/relative",
                "/up/secret",
                "/.hidden",
                "/sub/../../secret",
                "/sub",
                "/",
                "",
                "/x",
            ] {
                assert_eq!(read(&directory, path), None, "{path} beneath={beneath}");
            }
        }
        let directory = Directory::open(&root).unwrap();
        assert!(directory.beneath, "this kernel has openat2");
        assert_eq!(
            read(&directory, "/within").as_deref(),
            Some("inside"),
            "links within the root are fine"
        );
    }

    #[test]
    fn a_missing_root_is_an_error() {
        assert!(Directory::open(Path::new("/no/such/root")).is_err());
    }
}
