//! What the tests are made of: media, sources, appliances as processes, and an HTTP client of a few lines.

use crate::control::{FakeControl, JOIN_TOKEN};
use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::PlanPart,
    plan::{AppliancePlan, FillSource, PlanItem, SourceKind},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_oca-server");
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(40);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(30);

/// Waits until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::park_timeout(LOOK);
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The files of one title.
#[derive(Clone)]
pub struct Media(BTreeMap<String, Vec<u8>>);

impl Media {
    pub fn new(files: &[(&str, u64)]) -> Self {
        let file = |(name, size): &(&str, u64)| {
            let mut state = size.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ u64::from(ObjectDigest::of(name.as_bytes()).as_bytes()[0]);
            let byte = |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            ((*name).to_owned(), (0..*size).map(byte).collect())
        };
        Self(files.iter().map(file).collect())
    }
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.0[name]
    }
    pub fn path(&self, name: &str) -> String {
        format!("/t/t/v/{name}")
    }
    pub fn digest(&self, name: &str) -> ObjectDigest {
        ObjectDigest::of(self.bytes(name))
    }
    pub fn digests(&self, names: &[&str]) -> BTreeSet<ObjectDigest> {
        names.iter().map(|n| self.digest(n)).collect()
    }
    pub fn media_type(&self, name: &str) -> &'static str {
        match name.rsplit_once('.') {
            Some((_, "mp4")) => "video/mp4",
            Some((_, "m3u8")) => "application/vnd.apple.mpegurl",
            _ => "application/x-nothing-known",
        }
    }
    pub fn flip(&mut self, name: &str, at: u64) {
        self.0.get_mut(name).unwrap()[at as usize] ^= 1;
    }
}

/// A plan part: every item from every source, in order; window always open, rate unlimited.
pub fn plan(number: u64, sources: &[&Source], media: &Media, names: &[&str]) -> PlanPart {
    let item = |name: &&str| PlanItem {
        digest: media.digest(name),
        size: Bytes(media.bytes(name).len() as u64),
        title: TitleId::new("t").unwrap(),
        path: media.path(name),
        media_type: media.media_type(name).into(),
        from: (0..sources.len() as u16).collect(),
        expected: Bytes(1),
        kept: false,
    };
    let source = |s: &&Source| FillSource {
        kind: SourceKind::Origin,
        appliance: None,
        base_url: s.url(""),
    };
    PlanPart {
        number: PlanNumber(number),
        date: "2026-11-24".parse().unwrap(),
        part: Some(AppliancePlan {
            appliance: OcaId::new("oca-1").unwrap(),
            site: SiteId::new("s").unwrap(),
            region: RegionId::new("r").unwrap(),
            window: FillWindow::always(),
            fill_rate: BitsPerSecond(100_000_000_000),
            sources: sources.iter().map(source).collect(),
            items: names.iter().map(item).collect(),
            drops: vec![],
        }),
    }
}

/// A process that is ready, with its addresses.
struct Running {
    child: Child,
    ready: serde_json::Value,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("no ready line: {e}: {line:?}"));
        // The pipe stays open, so that nothing written later can fail.
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Self { child, ready }
    }

    fn url(&self, which: &str, path: &str) -> String {
        format!("http://{}{path}", self.ready[which].as_str().expect("an address"))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may be dead already
        let _ = self.child.wait();
    }
}

/// A fill source: `oca-server serve` on a folder.
pub struct Source {
    running: Running,
    dir: tempfile::TempDir,
}

impl Source {
    pub fn serve(media: &Media) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in media.names() {
            let file = dir.path().join("tree").join(&media.path(name)[1..]);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, media.bytes(name)).unwrap();
        }
        let (tree, log) = (dir.path().join("tree"), dir.path().join("access.json"));
        fs::create_dir_all(&tree).unwrap();
        let (tree, log) = (tree.display().to_string(), log.display().to_string());
        let args = [
            "serve",
            "--root",
            &tree,
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
        ];
        let more = ["--admin-listen", "127.0.0.1:0", "--access-log", &log];
        let running = Running::start(&[&args[..], &more[..]].concat());
        Self { running, dir }
    }

    pub fn url(&self, path: &str) -> String {
        self.running.url("listen", path)
    }

    /// What was asked for up to now, apart from what the test itself asks.
    fn log(&self) -> Vec<serde_json::Value> {
        static MARKS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let mark = format!(
            "/mark-{}",
            MARKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        );
        get(&self.url(&mark), None);
        let file = self.dir.path().join("access.json");
        until("the log is written", || {
            fs::read_to_string(&file).unwrap().contains(&mark)
        });
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines
            .filter(|l| !l["path"].as_str().unwrap().starts_with("/mark-"))
            .collect()
    }

    /// Waits until nobody is connected any more, so that the log is complete.
    pub fn settle(&self) {
        let metrics = self.running.url("admin", "/metrics");
        until("everybody has left the source", || {
            get(&metrics, None).text().contains("\noca_connections 0")
        });
    }

    /// First and last byte of every range asked for.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let range = |line: serde_json::Value| {
            let (from, to) = line["range"].as_str()?.strip_prefix("bytes=")?.split_once('-')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        self.log().into_iter().filter_map(range).collect()
    }

    /// Every path asked for.
    pub fn paths(&self) -> Vec<String> {
        self.log()
            .iter()
            .map(|l| l["path"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// An appliance as a process, with its folder.
pub struct Appliance {
    running: Running,
    control: String,
    root: PathBuf,
    dir: tempfile::TempDir,
    /// Processes that it was upgraded to.
    later: Vec<i32>,
}

impl Drop for Appliance {
    fn drop(&mut self) {
        for pid in &self.later {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL); // it may have ended
        }
    }
}

impl Appliance {
    pub fn start(control: &FakeControl, extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        Self::start_with(dir, root, control, extra)
    }

    pub fn start_in(root: &Path, control: &FakeControl, extra: &str) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), root.to_owned(), control, extra)
    }

    fn start_with(dir: tempfile::TempDir, root: PathBuf, control: &FakeControl, extra: &str) -> Self {
        let control = control.url.clone();
        let running = run(dir.path(), &root, &control, extra);
        Self {
            running,
            control,
            root,
            dir,
            later: Vec::new(),
        }
    }

    pub fn restart(&mut self, extra: &str) {
        self.running = run(self.dir.path(), &self.root, &self.control, extra);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// SIGTERM; answers the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal();
        self.wait()
    }

    /// SIGTERM.
    pub fn signal(&self) {
        kill(Pid::from_raw(self.running.child.id() as i32), Signal::SIGTERM).unwrap();
    }

    /// Asks for an upgrade; answers the new process's id, or what went wrong.
    pub fn upgrade(&mut self) -> Result<i32, String> {
        let admin = self.running.ready["admin"].as_str().unwrap();
        let out = Command::new(PROGRAM)
            .args(["upgrade", "--admin", admin])
            .output()
            .unwrap();
        if !out.status.success() {
            return Err(String::from_utf8(out.stderr).unwrap());
        }
        let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let pid = told["pid"].as_i64().unwrap().try_into().unwrap();
        self.later.push(pid);
        Ok(pid)
    }

    /// Waits for the end; answers the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("it ends after SIGTERM", || {
            status = self.running.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    pub fn url(&self, path: &str) -> String {
        self.running.url("listen", path)
    }

    pub fn admin(&self, path: &str) -> String {
        self.running.url("admin", path)
    }

    /// Where BGP neighbours connect.
    pub fn bgp(&self) -> SocketAddr {
        self.running.ready["bgp"].as_str().unwrap().parse().unwrap()
    }

    /// Where routers tell by BMP.
    pub fn bmp(&self) -> SocketAddr {
        self.running.ready["bmp"].as_str().unwrap().parse().unwrap()
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn object(&self, digest: &ObjectDigest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("objects").join(&name[..2]).join(name)
    }

    pub fn partial(&self, digest: &ObjectDigest) -> PathBuf {
        self.root.join("partial").join(digest.to_string())
    }

    /// Runs a command of the program on its configuration; answers its exit code and all that it wrote.
    pub fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let config = self.dir.path().join("a.toml");
        let out = Command::new(PROGRAM)
            .args(args)
            .arg("--config")
            .arg(config)
            .output()
            .unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(text).unwrap())
    }

    /// Tries to start another; answers its exit code and what it wrote to stderr.
    pub fn second_on_the_same_root(&self) -> (Option<i32>, String) {
        let config = self.dir.path().join("a.toml");
        let out = Command::new(PROGRAM)
            .arg("run")
            .arg("--config")
            .arg(config)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    }
}

fn run(dir: &Path, root: &Path, control: &str, extra: &str) -> Running {
    let config = dir.join("a.toml");
    let min_free = if extra.contains("min_free") {
        ""
    } else {
        "min_free = 0\n"
    };
    let text = format!(
        "id = \"oca-1\"\ncontrol = \"{control}\"\njoin_token = \"{JOIN_TOKEN}\"\nlisten = \"127.0.0.1:0\"\n\
         admin_listen = \"127.0.0.1:0\"\nroot = \"{}\"\nworkers = 1\nreport_seconds = 1\n{min_free}{extra}",
        root.display()
    );
    fs::write(&config, text).unwrap();
    Running::start(&["run", "--config", &config.display().to_string()])
}

/// A file system of its own, so small that it gets full.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub fn mount(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path());
        let mounted = mount.status().is_ok_and(|s| s.success());
        assert!(
            mounted,
            "this test mounts a tmpfs of {size}: run it as root where mounting is allowed"
        );
        Self(dir)
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status(); // the folder is removed in any case
    }
}

/// An HTTP answer.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET; absent if the connection was cut, before or within the answer.
pub fn try_get(url: &str) -> Option<Answer> {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok()?;
    Some(parse(url, &text))
}

/// POST without a body.
pub fn post(url: &str) -> Answer {
    exchange("POST", url, "content-length: 0\r\n")
}

/// GET, perhaps of a range, over a connection of its own.
pub fn get(url: &str, range: Option<&str>) -> Answer {
    get_with(
        url,
        &range.map_or_else(String::new, |r| format!("range: {r}\r\n")),
    )
}

/// GET with these header lines more.
pub fn get_with(url: &str, more: &str) -> Answer {
    exchange("GET", url, more)
}

fn exchange(method: &str, url: &str, more: &str) -> Answer {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    parse(url, &text)
}

fn parse(url: &str, text: &[u8]) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(at) = head.parse(text).unwrap() else {
        panic!("{url}: the answer ends in its head")
    };
    let header = |h: &httparse::Header<'_>| (h.name.to_owned(), String::from_utf8(h.value.to_vec()).unwrap());
    Answer {
        status: head.code.unwrap(),
        headers: head.headers.iter().map(header).collect(),
        body: text[at..].to_vec(),
    }
}
