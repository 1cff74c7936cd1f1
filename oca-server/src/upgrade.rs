//! Hot restart: the running process starts the program anew, gives it its sockets, and leaves once the new process says
//! that it is ready. Until then the old one serves as before, so that a program that does not start costs nothing.
//!
//! The talk, in lines over a Unix socket: the new process says `store` when it wants the folder (an appliance; the old
//! one then stops filling and answers `store`), and its ready line when it could serve. The old one stops taking clients,
//! and says `go`. Exactly one of them reads the QUIC sockets at any time; see `quic/link.rs` for packets of connections
//! that the old one still has.

use crate::{
    drain::Drain,
    handover::{Channel, Estate, Held, LETTER, Letter, Links, Role, STORE},
    metrics::Metrics,
    notify,
    quic::{self, FromNewerEnds},
    server::Server,
    sys::inherit,
};
use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// The line after which the new process alone takes clients.
const GO: &str = "go";
/// Longest wait for the own accept loops to stop.
const STOP_TIME: Duration = Duration::from_secs(5);
/// Idle connections are closed so long before the drain's limit, or a quarter of it.
const LAST: Duration = Duration::from_secs(1);
/// How long the answer of an upgrade has to get out of a process that ends.
const ANSWERED: Duration = Duration::from_millis(100);
/// Longest wait of the command for an answer: longer than any process is given to start.
const ANSWER_TIME: Duration = Duration::from_secs(600);

/// Why an upgrade did not come about. The process that was asked goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The program, or what it needs.
    #[error("cannot start {program}: {why}", program = .program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// The system's reason.
        why: io::Error,
    },
    /// It ended.
    #[error("the new process ended before it was ready ({0}); its log says why")]
    Ended(String),
    /// It did not get ready.
    #[error("the new process was not ready within {} s and was ended", .0.as_secs())]
    Late(Duration),
    /// The talk failed.
    #[error("the new process does not talk as expected: {0}")]
    Talk(String),
    /// The old process ends.
    #[error("this process is ending")]
    Leaving,
}

/// The way to ask for an upgrade.
#[derive(Debug, Clone)]
pub struct Upgrades(mpsc::Sender<oneshot::Sender<Result<u32, UpgradeError>>>);

/// Where upgrades are asked for.
pub type Inbox = mpsc::Receiver<oneshot::Sender<Result<u32, UpgradeError>>>;

/// A way to ask, and where it leads.
pub fn channel() -> (Upgrades, Inbox) {
    let (sender, inbox) = mpsc::channel(8);
    (Upgrades(sender), inbox)
}

impl Upgrades {
    /// Asks for an upgrade and waits for what becomes of it: the new process's id.
    ///
    /// # Errors
    /// When this process goes on instead.
    pub async fn ask(&self) -> Result<u32, UpgradeError> {
        let (answer, outcome) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| UpgradeError::Leaving)?;
        outcome.await.unwrap_or(Err(UpgradeError::Leaving))
    }
}

/// The program that this process runs, as it was started: its path, so that a file that was replaced is the new one.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// Asked for at the start, while the working directory is the starter's.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of_this_process() -> io::Result<Self> {
        let mut args = env::args_os();
        let named = args.next().map(PathBuf::from);
        // A name with a folder may be a link that is switched; one that was found in PATH is asked of the kernel.
        let path = match named.filter(|name| name.components().count() > 1) {
            Some(name) => std::path::absolute(name)?,
            None => env::current_exe()?,
        };
        Ok(Self {
            path,
            args: args.collect(),
        })
    }
}

/// The half of an appliance that writes its folder: one process at a time.
pub trait Writer: Send {
    /// Stops writing and lets the folder go.
    fn pause(&mut self) -> impl Future<Output = ()> + Send;
    /// Takes the folder again and goes on.
    fn resume(&mut self) -> impl Future<Output = ()> + Send;
}

/// Nothing is written.
#[derive(Debug, Clone, Copy)]
pub struct ReadOnly;

impl Writer for ReadOnly {
    async fn pause(&mut self) {}
    async fn resume(&mut self) {}
}

/// Carries upgrades out.
#[derive(Debug)]
pub struct Upgrader<W> {
    /// What is started.
    pub program: Program,
    /// The drain switch.
    pub drain: Drain,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
    /// Longest time for the new process to get ready.
    pub limit: Duration,
    /// The drain's limit.
    pub drain_time: Duration,
    /// Who must stop writing before the new process can open the folder.
    pub writer: W,
    own: Own,
}

/// What is known of the server that is to be handed over.
#[derive(Debug)]
pub struct Own {
    held: Held,
    generation: u8,
    from_newer: FromNewerEnds,
    busy: mpsc::Receiver<()>,
}

impl Own {
    /// Of a server; absent the second time.
    pub fn of(server: &mut Server) -> Option<Self> {
        Some(Self {
            busy: server.take_busy()?,
            held: server.held().clone(),
            generation: server.generation(),
            from_newer: server.from_newer(),
        })
    }
}

/// An upgrader at work.
#[derive(Debug)]
pub struct Upgrading(JoinHandle<()>);

impl Upgrading {
    /// Waits, at the end of the process, until the new one has been told to go and who asked for it has the answer: a
    /// process with no connections would be gone before.
    pub async fn finish(self) {
        let _ = tokio::time::timeout(STOP_TIME * 2, self.0).await; // it has ended, or there is nobody to tell
        tokio::time::sleep(ANSWERED).await;
    }
}

/// A process that was started and has yet to get ready.
struct Candidate {
    child: Child,
    channel: Channel,
    ways: Vec<Option<OwnedFd>>,
}

impl<W: Writer> Upgrader<W> {
    /// Of a process.
    pub fn new(
        program: Program,
        own: Own,
        drain: Drain,
        metrics: Arc<Metrics>,
        writer: W,
        times: Times,
    ) -> Self {
        Self {
            program,
            drain,
            metrics,
            limit: times.limit,
            drain_time: times.drain,
            writer,
            own,
        }
    }

    /// Carries out what is asked for, on the current tokio runtime.
    pub fn start_on(self, inbox: Inbox) -> Upgrading
    where
        W: 'static,
    {
        Upgrading(tokio::spawn(self.run(inbox)))
    }

    /// Carries out what is asked for, one after the other, until one succeeds or the process ends.
    async fn run(mut self, mut inbox: Inbox) {
        loop {
            let answer = tokio::select! {
                asked = inbox.recv() => match asked {
                    Some(answer) => answer,
                    None => return,
                },
                () = self.drain.stopped() => return,
            };
            let outcome = self.upgrade().await;
            match &outcome {
                Ok(pid) => tracing::info!(pid, "handed over to a new process; finishing what runs"),
                Err(why) => {
                    self.metrics.counter("oca_upgrades_total", &["failed"]).inc();
                    tracing::error!(%why, "the upgrade failed; this process goes on");
                    notify::notify(&format!(
                        "READY=1\nSTATUS=serving; the last upgrade failed: {why}"
                    ));
                }
            }
            let done = outcome.is_ok();
            let _ = answer.send(outcome); // nobody may wait for it
            if done {
                return;
            }
        }
    }

    async fn upgrade(&mut self) -> Result<u32, UpgradeError> {
        tracing::info!(program = %self.program.path.display(), "upgrading");
        notify::reloading();
        let mut candidate = self.start().map_err(|why| UpgradeError::Start {
            program: self.program.path.clone(),
            why,
        })?;
        let drain = self.drain.clone();
        let mut paused = false;
        let ready = tokio::select! {
            ready = tokio::time::timeout(self.limit, self.await_ready(&mut candidate, &mut paused)) => {
                ready.unwrap_or(Err(UpgradeError::Late(self.limit)))
            }
            () = drain.stopped() => Err(UpgradeError::Leaving),
        };
        match ready {
            Ok(()) => Ok(self.leave(candidate).await),
            Err(why) => {
                let why = end(candidate, why);
                if paused {
                    self.writer.resume().await;
                }
                Err(why)
            }
        }
    }

    /// Starts the program with descriptors for all that it is to have.
    fn start(&self) -> io::Result<Candidate> {
        let Estate { sockets, mut links } = self.own.held.copy()?;
        let count = sockets.iter().filter(|(role, _)| *role == Role::Quic).count();
        let (mut ways, mut lanes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (out, into) = quic::pair()?;
            ways.push(Some(out));
            lanes.push(into);
        }
        links.push(Links {
            generation: self.own.generation,
            lanes,
        });
        let (ours, theirs) = UnixStream::pair()?;
        let numbers = |links: &Links<OwnedFd>| Links {
            generation: links.generation,
            lanes: links.lanes.iter().map(AsRawFd::as_raw_fd).collect(),
        };
        let letter = Letter {
            parent: std::process::id(),
            generation: self.own.generation.wrapping_add(1),
            channel: theirs.as_raw_fd(),
            sockets: sockets.iter().map(|(role, fd)| (*role, fd.as_raw_fd())).collect(),
            links: links.iter().map(numbers).collect(),
        };
        let mut command = Command::new(&self.program.path);
        command
            .args(&self.program.args)
            .env(LETTER, serde_json::to_string(&letter)?);
        for of_this_process in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(of_this_process);
        }
        let sockets = sockets.into_iter().map(|(_, fd)| fd);
        let links = links.into_iter().flat_map(|l| l.lanes);
        let fds = sockets.chain(links).chain([theirs.into()]).collect();
        inherit::leave_open(&mut command, fds);
        Ok(Candidate {
            child: command.spawn()?,
            channel: Channel::new(ours)?,
            ways,
        })
    }

    async fn await_ready(
        &mut self,
        candidate: &mut Candidate,
        paused: &mut bool,
    ) -> Result<(), UpgradeError> {
        let failed = |e: io::Error| UpgradeError::Talk(e.to_string());
        loop {
            let line = candidate.channel.hear().await.map_err(failed)?;
            match line.as_deref() {
                None => return Err(UpgradeError::Ended(String::new())),
                Some(STORE) => {
                    *paused = true;
                    self.writer.pause().await;
                    candidate.channel.say(STORE).await.map_err(failed)?;
                }
                Some(line) if line.starts_with('{') => return Ok(()),
                Some(line) => return Err(UpgradeError::Talk(format!("`{line}`"))),
            }
        }
    }

    /// Stops taking clients and lets the new process take them.
    async fn leave(&mut self, mut candidate: Candidate) -> u32 {
        *self.own.from_newer.lock().unwrap_or_else(PoisonError::into_inner) = candidate.ways;
        let grace = self.drain_time.saturating_sub(LAST.min(self.drain_time / 4));
        self.drain.hand_over(Instant::now() + grace);
        if tokio::time::timeout(STOP_TIME, self.own.busy.recv())
            .await
            .is_err()
        {
            tracing::error!("a worker does not stop taking clients");
        }
        let pid = candidate.child.id();
        notify::main_process(pid);
        if let Err(error) = candidate.channel.say(GO).await {
            tracing::error!(%error, "the new process has ended");
        }
        pid
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For the new process to get ready.
    pub limit: Duration,
    /// For the old one to finish what runs.
    pub drain: Duration,
}

/// Ends a process that did not get ready, and says more of it if it ended by itself.
fn end(mut candidate: Candidate, why: UpgradeError) -> UpgradeError {
    if !matches!(why, UpgradeError::Ended(_)) {
        let _ = candidate.child.kill(); // it may just have ended
    }
    drop(candidate.channel);
    match candidate.child.wait() {
        Ok(status) if matches!(why, UpgradeError::Ended(_)) => UpgradeError::Ended(status.to_string()),
        _ => why,
    }
}

/// Arguments of `upgrade`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).args(["pid", "pid_file", "admin"])))]
pub struct UpgradeArgs {
    /// Process to ask, by SIGUSR2; its log tells what becomes of it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// The same, by the file that its --pid-file names; waits until the file names the new process
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Admin listener to ask, e.g. 127.0.0.1:9100; waits for the outcome
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
}

/// Asks a running process to upgrade.
///
/// # Errors
/// When it cannot be asked, or says that it goes on.
pub fn run(args: &UpgradeArgs) -> anyhow::Result<()> {
    match (args.pid, &args.pid_file, args.admin) {
        (Some(pid), ..) => signal(pid),
        (_, Some(file), _) => by_file(file),
        (.., Some(admin)) => by_admin(admin),
        _ => bail!("give --pid, --pid-file or --admin"),
    }
}

fn signal(pid: i32) -> anyhow::Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGUSR2).with_context(|| format!("cannot signal process {pid}"))
}

fn read_pid(file: &Path) -> anyhow::Result<i32> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
    pid.with_context(|| format!("{} holds no process id", file.display()))
}

/// Longest wait for a pid file to name another process, and the time between two looks.
const FILE_TIME: Duration = Duration::from_secs(90);
const FILE_LOOK: Duration = Duration::from_millis(100);

fn by_file(file: &Path) -> anyhow::Result<()> {
    let before = read_pid(file)?;
    signal(before)?;
    let end = Instant::now() + FILE_TIME;
    while Instant::now() < end {
        let now = read_pid(file)?;
        if now != before {
            println!("upgraded: process {now} serves");
            return Ok(());
        }
        std::thread::park_timeout(FILE_LOOK);
    }
    bail!("process {before} still serves: its log says why")
}

fn by_admin(admin: SocketAddr) -> anyhow::Result<()> {
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        write!(
            stream,
            "POST /v1/upgrade HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = ask().with_context(|| format!("cannot ask the admin listener {admin}"))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        println!("{}", body.trim_end());
        return Ok(());
    }
    bail!("{status}: {}", body.trim_end())
}

/// Writes the file that names the process that serves.
///
/// # Errors
/// When it cannot be written.
pub fn write_pid_file(file: &Path) -> anyhow::Result<()> {
    let text = format!("{}\n", std::process::id());
    crate::store::layout::replace(file, text.as_bytes(), 0o644)
        .with_context(|| format!("--pid-file {}", file.display()))
}
