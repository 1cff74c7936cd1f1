//! The servers of a comparison: ours and nginx with settings that are as good for it as we know.

use crate::{
    files::Files,
    nginx,
    process::{Tree, pause},
};
use anyhow::{Context, bail};
use nightfill::local::program::{Program, binary};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Core that servers run on.
const CORE: &str = "0";
/// Port of plain connections; TLS and QUIC are at the next.
const PORT: u16 = 8188;
/// Most time until a server listens.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Connections that a server may have: more than any case opens.
const CONNECTIONS: u32 = 15_000;
/// Seconds that idle connections are kept.
const PATIENCE: u32 = 600;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nightfill's.
    Ours,
    /// nginx with `sendfile on`.
    Nginx,
    /// nginx with `aio threads` as well.
    NginxThreads,
}

impl Kind {
    /// Name in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "oca-server",
            Self::Nginx => "nginx",
            Self::NginxThreads => "nginx aio threads",
        }
    }

    fn address(self) -> &'static str {
        match self {
            Self::Ours => "127.0.71.1",
            Self::Nginx => "127.0.71.2",
            Self::NginxThreads => "127.0.71.3",
        }
    }
}

/// What a case needs to start servers.
pub(crate) struct Site<'a> {
    pub files: &'a Files,
    pub nginx: &'a nginx::Nginx,
    /// Folder for configuration and logs.
    pub work: &'a Path,
    /// Whether HTTP/3 is served.
    pub quic: bool,
    /// Network namespace.
    pub namespace: Option<&'a str>,
}

/// A running server on core 0 with one worker.
pub(crate) struct Server {
    /// Which.
    pub kind: Kind,
    running: Running,
}

enum Running {
    Ours(Program),
    Nginx(Nginx),
}

/// A running nginx, stopped when dropped.
pub(crate) struct Nginx(Child);

impl Server {
    /// Starts it.
    pub(crate) fn start(kind: Kind, site: &Site<'_>) -> anyhow::Result<Self> {
        let running = match kind {
            Kind::Ours => Running::Ours(ours(kind.address(), site)?),
            _ => Running::Nginx(nginx(kind, site)?),
        };
        Ok(Self { kind, running })
    }

    /// Its processes.
    pub(crate) fn tree(&self) -> Tree {
        match &self.running {
            Running::Ours(program) => Tree(program.id()),
            Running::Nginx(nginx) => nginx.tree(),
        }
    }

    /// Address of an object.
    pub(crate) fn url(&self, tls: bool, path: &str) -> String {
        let (scheme, port) = if tls { ("https", PORT + 1) } else { ("http", PORT) };
        format!("{scheme}://{}:{port}/{path}", self.kind.address())
    }
}

impl Nginx {
    /// One on core 0 that answers whatever is asked with one text.
    pub(crate) fn answering(site: &Site<'_>, address: &str, text: &str) -> anyhow::Result<Self> {
        let Site { work, .. } = site;
        let work = work.display();
        let temporary = temporary(site);
        let config = format!(
            "daemon off; user root; worker_processes 1; worker_cpu_affinity 1; pid {work}/nginx-text.pid; error_log stderr crit;
events {{ worker_connections {CONNECTIONS}; }}
http {{
    {temporary} access_log off; keepalive_requests 1000000000;
    server {{ listen {address}; location / {{ default_type application/json; return 200 '{text}'; }} }}
}}
"
        );
        start(site, "text", address, &config)
    }

    /// Its processes.
    pub(crate) fn tree(&self) -> Tree {
        Tree(self.0.id())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

/// Words before a server's own: namespace and core.
pub(crate) fn pinned(namespace: Option<&str>) -> Vec<String> {
    let mut words: Vec<_> = ["taskset", "-c", CORE].map(str::to_owned).to_vec();
    if let Some(namespace) = namespace {
        words.extend(["ip", "netns", "exec", namespace].map(str::to_owned));
    }
    words
}

fn ours(address: &str, site: &Site<'_>) -> anyhow::Result<Program> {
    let program = binary("oca-server")?;
    let (plain, tls) = (format!("{address}:{PORT}"), format!("{address}:{}", PORT + 1));
    let text = |p: &Path| p.display().to_string();
    let mut words = pinned(site.namespace);
    words.push(text(&program));
    words.extend(["--log", "warn", "serve", "--workers", "1", "--access-log", "off"].map(str::to_owned));
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    // As many connections, and as patient, as nginx is told to be.
    add("--max-connections", CONNECTIONS.to_string());
    add("--idle-seconds", PATIENCE.to_string());
    add("--root", text(&site.files.root));
    add("--listen", plain);
    add("--tls-listen", tls.clone());
    add("--cert", text(&site.files.cert));
    add("--key", text(&site.files.key));
    if site.quic {
        add("--quic-listen", tls);
    }
    let first = Path::new(&words[0]);
    Program::start("oca-server", first, &words[1..], site.work)
}

fn nginx(kind: Kind, site: &Site<'_>) -> anyhow::Result<Nginx> {
    let address = format!("{}:{PORT}", kind.address());
    start(site, &format!("{kind:?}"), &address, &configuration(kind, site))
}

/// Starts nginx and waits until it listens.
fn start(site: &Site<'_>, name: &str, address: &str, configuration: &str) -> anyhow::Result<Nginx> {
    let config = site.work.join(format!("nginx-{name}.conf"));
    fs::write(&config, configuration)?;
    let errors = site.work.join(format!("nginx-{name}.err"));
    let mut words = pinned(site.namespace);
    words.extend(site.nginx.command.iter().cloned());
    let child = Command::new(&words[0])
        .args(&words[1..])
        .args(["-e", "stderr", "-p"])
        .arg(site.work)
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors)?)
        .spawn()
        .with_context(|| format!("cannot start {}", words.join(" ")))?;
    let mut nginx = Nginx(child);
    let until = Instant::now() + READY_WITHIN;
    // In a namespace of its own nobody outside can ask: its workers are what tells.
    let is_ready = || match site.namespace {
        None => TcpStream::connect(address).is_ok(),
        Some(name) => Command::new("ip")
            .args(["netns", "exec", name, "bash", "-c"])
            .arg(format!("exec 3<>/dev/tcp/{}", address.replace(':', "/")))
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success()),
    };
    while !is_ready() {
        if nginx.0.try_wait()?.is_some() || Instant::now() > until {
            bail!("nginx does not listen: {}", fs::read_to_string(errors)?.trim());
        }
        pause(Duration::from_millis(50));
    }
    Ok(nginx)
}

/// Folders of nginx's own.
fn temporary(site: &Site<'_>) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind}; ", site.work.display()))
        .concat()
}

/// One worker; no log; connections that are never closed for their number of requests; the one cipher that is compared.
fn configuration(kind: Kind, site: &Site<'_>) -> String {
    let address = kind.address();
    let tls = PORT + 1;
    let threads = if kind == Kind::NginxThreads {
        "aio threads;"
    } else {
        ""
    };
    let quic = if site.quic {
        format!("listen {address}:{tls} quic; quic_gso on;")
    } else {
        String::new()
    };
    let temporary = temporary(site);
    let Files { root, cert, key } = site.files;
    format!(
        "daemon off; user root; worker_processes 1; worker_cpu_affinity 1; worker_rlimit_nofile {nofile};
pid {work}/nginx-{kind:?}.pid; error_log stderr crit;
events {{ worker_connections {CONNECTIONS}; }}
http {{
    {temporary}
    sendfile on; tcp_nopush on; {threads} access_log off; types {{ video/mp4 mp4; }}
    keepalive_requests 1000000; keepalive_timeout {PATIENCE}s; send_timeout {PATIENCE}s;
    ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_certificate {cert}; ssl_certificate_key {key};
    server {{
        root {root};
        listen {address}:{PORT};
        listen {address}:{tls} ssl; http2 on;
        {quic}
    }}
}}
",
        nofile = CONNECTIONS + 1000,
        work = site.work.display(),
        root = root.display(),
        cert = cert.display(),
        key = key.display(),
    )
}

/// A network namespace whose loopback has the frames of a real network; removed when dropped.
pub(crate) struct Namespace(String);

impl Namespace {
    /// Makes one.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let name = format!("nightfill-bench-{}", std::process::id());
        let ip = |args: &[&str]| {
            let output = Command::new("ip").args(args).output();
            let output = output.context("ip is missing (apt-get install iproute2)")?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                bail!("ip {}: {said} (namespaces need root)", args.join(" "));
            }
            Ok(())
        };
        ip(&["netns", "add", &name])?;
        let namespace = Self(name);
        ip(&["-n", &namespace.0, "link", "set", "lo", "mtu", "1500", "up"])?;
        Ok(namespace)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
