//! The peer: nginx with HTTP/3, which Debian has from release 13 on. On an older machine its packages are unpacked into a cache
//! folder with the libraries that they need, and run by their own loader: nothing is installed.

use anyhow::{Context, ensure};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The release whose nginx is taken, and its packages.
const RELEASE: &str = "trixie";
const PACKAGES: [&str; 7] = [
    "nginx",
    "libc6",
    "libcrypt1",
    "libpcre2-8-0",
    "libssl3t64",
    "libzstd1",
    "zlib1g",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";

/// An nginx that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Nginx {
    /// Program and first arguments.
    pub command: Vec<String>,
    /// What it says of itself.
    pub version: String,
}

impl Nginx {
    /// The given program.
    pub(crate) fn of(program: &Path) -> anyhow::Result<Self> {
        Self::check(vec![program.display().to_string()])
    }

    /// The next release's, downloaded if it is not there yet.
    pub(crate) fn unpacked() -> anyhow::Result<Self> {
        let root = cache()?.join("nginx");
        let libraries = root
            .join("usr/lib")
            .join(format!("{}-linux-gnu", env::consts::ARCH));
        let program = root.join("usr/sbin/nginx");
        if !program.is_file() {
            download(&root).context("cannot get nginx; give one with --nginx PROGRAM")?;
        }
        let loader = fs::read_dir(&libraries)?
            .filter_map(|e| e.ok().map(|e| e.path()))
            .find(|p| {
                p.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with("ld-linux"))
            })
            .with_context(|| format!("no loader in {}", libraries.display()))?;
        let parts = [loader, "--library-path".into(), libraries, program];
        Self::check(parts.iter().map(|p| p.display().to_string()).collect())
    }

    fn check(command: Vec<String>) -> anyhow::Result<Self> {
        let output = Command::new(&command[0]).args(&command[1..]).arg("-V").output();
        let output = output.with_context(|| format!("cannot run {}", command.join(" ")))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = |start: &str| text.lines().find(|l| l.starts_with(start)).unwrap_or_default();
        ensure!(!line("nginx version").is_empty(), "{}: {text}", command.join(" "));
        let library = line("built with OpenSSL").trim_start_matches("built with ");
        let version = line("nginx version").trim_start_matches("nginx version: ");
        Ok(Self {
            command,
            version: format!("{version}, {library}"),
        })
    }
}

/// Where everything that the benches download or generate is kept.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let dir = base
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("nightfill-bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Downloads by an apt that knows only the other release, and unpacks.
fn download(root: &Path) -> anyhow::Result<()> {
    eprintln!("downloading nginx of Debian {RELEASE} into {}", root.display());
    let apt = root.with_extension("apt");
    for folder in ["lists/partial", "archives/partial", "packages"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    let list = format!("deb [signed-by={KEYRING}] {} {RELEASE} main\n", mirror());
    fs::write(apt.join("sources.list"), list)?;
    fs::write(apt.join("status"), "")?;
    let dir = apt.display();
    fs::write(
        apt.join("apt.conf"),
        format!(
            "Dir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"-\";\nDir::State::lists \"{dir}/lists\";\n\
             Dir::State::status \"{dir}/status\";\nDir::Cache::archives \"{dir}/archives\";\n\
             Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\nAPT::Sandbox::User \"root\";\n"
        ),
    )?;
    let packages = apt.join("packages");
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .env("APT_CONFIG", apt.join("apt.conf"))
            .current_dir(&packages)
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {}: {said}", args.join(" "));
        Ok(())
    };
    run("apt-get", &["update", "-qq"])?;
    run("apt-get", &[&["download", "-qq"], &PACKAGES[..]].concat())?;
    // Complete or not there: the folder gets its name at the end.
    let unfinished = root.with_extension("unfinished");
    let to = unfinished.display().to_string();
    for package in fs::read_dir(&packages)? {
        run("dpkg-deb", &["-x", &package?.path().display().to_string(), &to])?;
    }
    fs::rename(&unfinished, root)?;
    Ok(())
}

/// The mirror that this machine gets its own packages from.
fn mirror() -> String {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        texts.extend(parts.filter_map(|p| fs::read_to_string(p.ok()?.path()).ok()));
    }
    let words = texts.iter().flat_map(|t| t.split_whitespace());
    words
        .map(|w| w.trim_end_matches('/'))
        .find(|w| w.starts_with("http") && w.ends_with("/debian"))
        .unwrap_or(DEFAULT_MIRROR)
        .to_owned()
}
