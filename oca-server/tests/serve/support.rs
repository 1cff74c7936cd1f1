//! A running server and a small HTTP/1 client that hides nothing.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Longest wait for anything that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Size of `f.mp4`.
pub const SIZE: usize = 4 << 20;
/// Modification time of every file.
pub const MODIFIED: u64 = 1_700_000_000;

/// Bytes in which no position looks like its neighbours.
pub fn content(size: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(size);
    bytes
}

/// A directory with `f.mp4` (4 MiB), `small.mp4` (100 bytes) and `empty.mp4`.
pub fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("f.mp4", SIZE), ("small.mp4", 100), ("empty.mp4", 0)] {
        write(&dir.path().join(name), &content(size));
    }
    dir
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(MODIFIED))
        .unwrap();
}

/// Waits until `what` is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks of a wait that has its own end"
)]
pub fn pause() {
    thread::sleep(Duration::from_millis(20));
}

/// A server; killed when dropped.
pub struct Server {
    child: Child,
    pub ready: serde_json::Value,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves `root` with more arguments, and waits until it is ready.
    pub fn start(root: &Path, more: &[&str]) -> Self {
        Self::spawn(command(root, more))
    }

    /// Starts a command that becomes a server, and waits until it is ready.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built by cargo");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        let ready = serde_json::from_str(&first).unwrap_or_else(|e| panic!("first line {first:?}: {e}"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = Arc::clone(&lines);
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        Self { child, ready, lines }
    }

    fn addr(&self, name: &str) -> SocketAddr {
        self.ready[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {}", self.ready))
            .parse()
            .unwrap()
    }
    pub fn http(&self) -> SocketAddr {
        self.addr("listen")
    }
    pub fn tls(&self) -> SocketAddr {
        self.addr("tls")
    }
    pub fn quic(&self) -> SocketAddr {
        self.addr("quic")
    }
    pub fn admin(&self) -> SocketAddr {
        self.addr("admin")
    }

    /// Access-log lines so far.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l:?}: {e}")))
            .collect()
    }

    /// Waits for the first log line that fits.
    pub fn logged(&self, what: &str, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let mut found = None;
        until(&format!("a log line says {what}"), || {
            found = self.log().into_iter().find(&fits);
            found.is_some()
        });
        found.unwrap()
    }

    /// The value of a metric's line that starts with `name`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(self.admin(), "/metrics", "").text();
        let line = text
            .lines()
            .find(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0.0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's command line on a free port, with two workers unless `more` says otherwise.
pub fn command(root: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oca-server"));
    command
        .args(["--log", "warn", "serve", "--listen", "127.0.0.1:0", "--root"])
        .arg(root)
        .args(more);
    if !more.contains(&"--workers") {
        command.args(["--workers", "2"]);
    }
    command
}

/// A response as it came.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub fields: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that reads responses one after the other.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub fn head(&mut self) -> Option<Response> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("status line {line:?}"))
            .parse()
            .unwrap();
        let mut fields = HashMap::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            let twice = fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            assert_eq!(twice, None, "{name} came twice");
        }
        Some(Response {
            status,
            fields,
            body: Vec::new(),
        })
    }

    /// The next response; absent if the server closed.
    pub fn response(&mut self, method: &str) -> Option<Response> {
        let mut response = self.head()?;
        let length = response.field("content-length").map_or(0, |l| l.parse().unwrap());
        if method != "HEAD" && response.status != 304 {
            response.body = vec![0; length];
            self.stream.read_exact(&mut response.body).ok()?;
        }
        Some(response)
    }

    /// Whether the server has closed.
    pub fn at_end(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok(b) if b.is_empty())
    }
}

/// One request on a connection of its own. `lines` are more header lines, each with its CRLF.
pub fn request(addr: SocketAddr, method: &str, target: &str, lines: &str) -> Response {
    let mut client = Client::connect(addr);
    client.send(&format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{lines}\r\n"
    ));
    let response = client.response(method);
    response.unwrap_or_else(|| panic!("no whole answer to {method} {target} {lines:?}"))
}

pub fn get(addr: SocketAddr, target: &str, lines: &str) -> Response {
    request(addr, "GET", target, lines)
}

/// A self-signed certificate for 127.0.0.1, by the openssl command.
pub fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
                .split(' '),
        )
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status()
        .expect("the openssl command is installed");
    assert!(made.success());
    (cert, key)
}

pub fn http_date(seconds: u64) -> String {
    let at: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds);
    httpdate::fmt_http_date(at)
}
