//! One running program: started, known to be ready, stopped by its process id. Every Nightfill program prints one
//! JSON object as its first line once it serves (`{"ready":"oca-server","listen":"127.0.0.1:8080"}`), so nobody has
//! to sleep or to guess a port.

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How long a program may take until its ready line: a debug build on a busy two-core machine, with room.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a program may take to end after SIGTERM before it is killed.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A child process with its log files. Dropping it kills it.
pub struct Program {
    name: String,
    child: Child,
    addresses: BTreeMap<String, String>,
    errors: PathBuf,
}

impl Program {
    /// Starts `binary` with `args`, writes its standard output and error to `logs/{name}.out` and `.err`, and returns
    /// once it is ready. It dies with the thread that started it, even if that one is killed.
    pub fn start<S: AsRef<OsStr>>(name: &str, binary: &Path, args: &[S], logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let errors = logs.join(format!("{name}.err"));
        let stderr = File::options().create(true).append(true).open(&errors)?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binary)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let first = copy_lines(stdout, &logs.join(format!("{name}.out")))?;
        let mut program = Self {
            name: name.to_owned(),
            child,
            addresses: BTreeMap::new(),
            errors,
        };
        program.addresses = program.await_ready(&first)?;
        Ok(program)
    }

    fn await_ready(&mut self, first: &mpsc::Receiver<String>) -> Result<BTreeMap<String, String>> {
        match first.recv_timeout(READY_WITHIN) {
            Ok(line) => serde_json::from_str(&line)
                .with_context(|| format!("{}: `{line}` is not a ready line", self.name)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("{} was not ready within {READY_WITHIN:?}", self.name)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!(
                    "{} ended ({status}) before it was ready:\n{}",
                    self.name,
                    self.last_errors()
                )
            }
        }
    }

    /// Its name as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An address from its ready line, e.g. `listen` or `admin`, as `host:port`.
    pub fn address(&self, which: &str) -> Result<&str> {
        self.addresses
            .get(which)
            .map(String::as_str)
            .with_context(|| format!("{} told no `{which}` address: {:?}", self.name, self.addresses))
    }

    /// `http://` + its `listen` address.
    pub fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.address("listen")?))
    }

    /// The end of what it wrote to its standard error.
    pub fn last_errors(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL: the power cord.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()).context("process id")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// SIGTERM, then waits for the end; killed if it takes too long.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill()?;
        bail!(
            "{} did not end within {END_WITHIN:?} of SIGTERM and was killed:\n{}",
            self.name,
            self.last_errors()
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.kill(); // nothing more can be done while dropping
        }
    }
}

/// Copies a program's output to a file on a thread of its own; the first line also goes to the receiver.
fn copy_lines(from: impl std::io::Read + Send + 'static, to: &Path) -> Result<mpsc::Receiver<String>> {
    let mut file = File::options().create(true).append(true).open(to)?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut first = String::new();
        if matches!(from.read_line(&mut first), Ok(n) if n > 0) {
            let _ = file.write_all(first.as_bytes());
            let _ = send.send(first);
            drop(send);
            let _ = std::io::copy(&mut from, &mut file); // ends with the program
        }
    });
    Ok(receive)
}

/// Where the programs are: `NIGHTFILL_BIN_DIR`, or beside this one (tests run one folder below).
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("NIGHTFILL_BIN_DIR")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let here = std::env::current_exe().context("cannot tell where this program is")?;
    places.extend(here.ancestors().skip(1).take(2).map(Path::to_path_buf));
    places
        .iter()
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
        .with_context(|| {
            format!("`{name}` is not in {places:?}: build all programs first (cargo build --locked --bins)")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_ends_early_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let e = Program::start(
            "sad",
            Path::new("/bin/sh"),
            &["-c", "echo no room >&2; exit 3"],
            dir.path(),
        );
        let text = format!("{:#}", e.err().expect("it must fail"));
        assert!(
            text.contains("no room") && text.contains("exit status: 3"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn ready_line_gives_the_addresses_and_stop_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"trap 'exit 0' TERM; echo '{"ready":"x","listen":"127.0.0.1:9"}'; while :; do sleep 0.05; done"#;
        let mut p = Program::start("x", Path::new("/bin/sh"), &["-c", script], dir.path()).unwrap();
        assert_eq!(p.url().unwrap(), "http://127.0.0.1:9");
        assert!(p.address("admin").is_err());
        assert!(p.stop().await.unwrap().success());
        assert!(!p.is_running());
    }
}
