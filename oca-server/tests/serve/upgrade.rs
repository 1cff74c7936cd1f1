//! Hot restarts: one process after another, the same sockets, and no request lost.

use crate::{
    h3_client::{Viewer, tls, whole},
    support::{Client, Server, certificate, content, get, pause, request, tree, until, write},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_oca-server");
/// Sizes of a segment, and of a download that lasts longer than an upgrade.
const SEGMENT: usize = 1 << 20;
const BIG: usize = 12 << 20;

/// Processes that follow each other; all are ended with it.
struct Line {
    server: Server,
    later: Vec<i32>,
    _certs: tempfile::TempDir,
}

impl Line {
    fn start(root: &Path, more: &[&str]) -> Self {
        let certs = tempfile::tempdir().unwrap();
        let (cert, key) = certificate(certs.path());
        let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
        let any = "127.0.0.1:0";
        let listen = ["--tls-listen", any, "--quic-listen", any, "--admin-listen", any];
        let args = [&listen[..], &["--cert", cert, "--key", key], more].concat();
        Self {
            server: Server::start(root, &args),
            later: Vec::new(),
            _certs: certs,
        }
    }

    fn upgrade(&mut self) -> i32 {
        let answer = request(self.server.admin(), "POST", "/v1/upgrade", "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let pid = answer["pid"].as_i64().unwrap().try_into().unwrap();
        self.later.push(pid);
        pid
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for pid in &self.later {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL); // it may have ended
        }
    }
}

fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

/// What the clients of a test share.
struct Load {
    segment: Vec<u8>,
    big: Vec<u8>,
    stop: AtomicBool,
    /// Whole and right answers over HTTP/1.1, 2 and 3, and connections that were left for new ones.
    right: [AtomicU64; 3],
    moves: [AtomicU64; 3],
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn check(&self, which: usize, path: &str, body: &[u8]) {
        let expected = if path == "/big.mp4" {
            &self.big
        } else {
            &self.segment
        };
        assert!(
            body == expected,
            "HTTP/{}: {} bytes of {path}",
            which + 1,
            body.len()
        );
        self.right[which].fetch_add(1, Relaxed);
    }

    fn moved(&self, which: usize) {
        self.moves[which].fetch_add(1, Relaxed);
    }
}

/// Keeps a connection until it is told that a response was the last one.
fn http1(load: &Load, addr: SocketAddr, path: &str) {
    let mut client = Client::connect(addr);
    while load.goes_on() {
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let response = client.response("GET").expect("HTTP/1.1: a request was lost");
        load.check(0, path, &response.body);
        if response.field("connection") == Some("close") {
            load.moved(0);
            client = Client::connect(addr);
        }
        if path == "/segment.mp4" {
            pause(); // idle when an upgrade comes, now and then
        }
    }
}

async fn connect_http2(addr: SocketAddr) -> http2::SendRequest<Empty<Bytes>> {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls("h2")));
    let stream = connector
        .connect(name, stream)
        .await
        .expect("HTTP/2: a handshake was lost");
    let (requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    requests
}

/// Keeps a connection until its server says good-bye.
async fn http2(load: &Load, addr: SocketAddr, path: &str) {
    let mut requests = connect_http2(addr).await;
    while load.goes_on() {
        if requests.ready().await.is_err() {
            load.moved(1);
            requests = connect_http2(addr).await;
            continue;
        }
        let request = http::Request::get(format!("https://localhost{path}")).body(Empty::new());
        match requests.send_request(request.unwrap()).await {
            Ok(response) => {
                let body = response
                    .into_body()
                    .collect()
                    .await
                    .expect("HTTP/2: a response was cut");
                load.check(1, path, &body.to_bytes());
            }
            // The client had heard the good-bye before it sent anything.
            Err(error) if error.is_canceled() || error.is_closed() => {}
            Err(error) => panic!("HTTP/2: a request was lost: {error:?}"),
        }
    }
}

/// The same.
async fn http3(load: &Load, addr: SocketAddr, path: &str) {
    let connect = || async { Viewer::connect(addr).await };
    let mut viewer = connect().await;
    while load.goes_on() {
        let request = http::Request::get(format!("https://localhost{path}"))
            .body(())
            .unwrap();
        match viewer.requests.send_request(request).await {
            Ok(mut streams) => {
                streams.finish().await.unwrap();
                let response = whole(&mut streams).await.expect("HTTP/3: a response was lost");
                load.check(2, path, &response.body);
            }
            // As above; what was sent would have been answered.
            Err(error) => {
                assert!(
                    error.is_h3_no_error() || is_going_away(&error),
                    "HTTP/3: {error:?}"
                );
                load.moved(2);
                viewer = connect().await;
            }
        }
    }
    viewer.close().await;
}

fn is_going_away(error: &h3::error::StreamError) -> bool {
    matches!(error, h3::error::StreamError::RemoteClosing { .. })
}

fn spawn_load(line: &Line, load: &Arc<Load>) -> Vec<thread::JoinHandle<()>> {
    let (plain, secure, quic) = (line.server.http(), line.server.tls(), line.server.quic());
    let mut threads = Vec::new();
    for path in ["/segment.mp4", "/segment.mp4", "/big.mp4"] {
        let load = Arc::clone(load);
        threads.push(thread::spawn(move || http1(&load, plain, path)));
    }
    for (index, path) in ["/segment.mp4", "/big.mp4", "/segment.mp4", "/big.mp4"]
        .into_iter()
        .enumerate()
    {
        let load = Arc::clone(load);
        let client = async move {
            match index {
                0 | 1 => http2(&load, secure, path).await,
                _ => http3(&load, quic, path).await,
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        threads.push(thread::spawn(move || runtime.unwrap().block_on(client)));
    }
    threads
}

#[test]
fn ten_upgrades_in_a_row_lose_no_request() {
    let root = tree();
    write(&root.path().join("big.mp4"), &content(BIG));
    write(&root.path().join("segment.mp4"), &content(SEGMENT));
    let mut line = Line::start(root.path(), &["--access-log", "off"]);
    let load = Arc::new(Load {
        segment: content(SEGMENT),
        big: content(BIG),
        stop: AtomicBool::new(false),
        right: Default::default(),
        moves: Default::default(),
    });
    let clients = spawn_load(&line, &load);
    let answers = || load.right.each_ref().map(|n| n.load(Relaxed));
    let more = |since: [u64; 3]| {
        until("all protocols have gone on, or a client has failed", || {
            let all = answers().iter().zip(since).all(|(now, before)| now - before >= 3);
            all || clients.iter().any(thread::JoinHandle::is_finished)
        });
    };
    let mut passed_on = 0.0;
    for _ in 0..10 {
        let before = answers();
        line.upgrade();
        more(before);
        for _ in 0..15 {
            passed_on += line.server.metric("oca_quic_passed_on_total");
            if passed_on > 0.0 {
                break;
            }
            pause(); // workers tell a few times a second
        }
        assert_eq!(
            line.server.metric("oca_upgrades_total{outcome=\"taken_over\"}"),
            1.0
        );
    }
    load.stop.store(true, Relaxed);
    for client in clients {
        client.join().expect("a client lost something");
    }
    let moves = load.moves.each_ref().map(|n| n.load(Relaxed));
    println!(
        "answers {:?}, moves {moves:?}, datagrams passed on {passed_on}",
        answers()
    );
    assert!(moves.iter().all(|n| *n >= 5), "{moves:?}");
    assert!(
        passed_on > 0.0,
        "packets of old connections reached the old process"
    );
    assert_eq!(line.server.wait().code(), Some(0));
    let last = line.later.pop().unwrap();
    until("all processes but the last have ended", || {
        !line.later.iter().any(|pid| is_alive(*pid))
    });
    line.later.push(last);
    assert!(is_alive(last));
}

#[test]
fn an_idle_connection_may_ask_once_more_after_an_upgrade() {
    let root = tree();
    let mut line = Line::start(root.path(), &[]);
    let mut used = Client::connect(line.server.http());
    used.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(used.response("GET").unwrap().field("connection"), None);
    let mut fresh = Client::connect(line.server.http());
    until("it is accepted", || line.server.metric("oca_connections") == 2.0);
    line.upgrade();
    for client in [&mut used, &mut fresh] {
        client.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = client.response("GET").unwrap();
        assert_eq!(
            (response.status, response.field("connection")),
            (200, Some("close"))
        );
        assert!(client.at_end());
    }
    assert_eq!(line.server.wait().code(), Some(0));
    assert_eq!(get(line.server.http(), "/small.mp4", "").status, 200);
}

#[test]
fn a_new_program_that_fails_leaves_the_old_one_serving() {
    let root = tree();
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("oca-server");
    let switch_to = |program: &Path| {
        let new = dir.path().join("new");
        std::os::unix::fs::symlink(program, &new).unwrap();
        std::fs::rename(new, &link).unwrap();
    };
    let script = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    switch_to(Path::new(PROGRAM));
    let mut command = Command::new(&link);
    command.args([
        "--log",
        "off",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
    ]);
    command.args([
        "127.0.0.1:0",
        "--workers",
        "2",
        "--upgrade-seconds",
        "1",
        "--root",
    ]);
    command.arg(root.path());
    let server = Server::spawn(command);
    let mut client = Client::connect(server.http());
    let mut ask = || {
        client.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        client.response("GET").unwrap()
    };
    let hangs = "#!/bin/sh\nexec sleep 100\n";
    let says = "ended before it was ready (exit status: 3)";
    let failures = [
        (script("fails", "#!/bin/sh\nexit 3\n"), says),
        (script("hangs", hangs), "not ready within 1 s"),
        (dir.path().join("none"), "No such file"),
    ];
    for (count, (program, why)) in failures.iter().enumerate() {
        switch_to(program);
        let answer = request(server.admin(), "POST", "/v1/upgrade", "");
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains(why), "{}", answer.text());
        assert_eq!(ask().field("connection"), None, "it goes on as before");
        assert_eq!(get(server.http(), "/small.mp4", "").status, 200);
        let failed = server.metric("oca_upgrades_total{outcome=\"failed\"}");
        assert_eq!(failed, count as f64 + 1.0);
    }
    let out = Command::new(PROGRAM)
        .args(["upgrade", "--admin", &server.admin().to_string()])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    switch_to(Path::new(PROGRAM));
    let out = Command::new(PROGRAM)
        .args(["upgrade", "--admin", &server.admin().to_string()])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let _line = Later(told["pid"].as_i64().unwrap().try_into().unwrap());
    assert_eq!(ask().field("connection"), Some("close"));
    assert_eq!(server.metric("oca_upgrades_total{outcome=\"taken_over\"}"), 1.0);
}

/// A process that is ended with it.
struct Later(i32);

impl Drop for Later {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0), Signal::SIGKILL); // it may have ended
    }
}

/// What the service manager is told. It reads all the time, as a real one does: the kernel lets few notices wait, and the
/// server waits for no manager.
struct Notices(mpsc::Receiver<String>);

impl Notices {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let (sender, notices) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
                if sender.send(text).is_err() {
                    return; // the test is over
                }
            }
        });
        Self(notices)
    }

    /// The lines up to the notice that begins so.
    fn up_to(&self, wanted: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let next = self.0.recv_timeout(crate::support::PATIENCE);
            let text = next.unwrap_or_else(|e| panic!("{wanted}: {e}; {all:?}"));
            all.extend(text.lines().map(str::to_owned));
            if text.starts_with(wanted) {
                return all;
            }
        }
    }
}

/// Starts the server as a service manager does, with sockets that it has bound.
fn activated(args: &[&str], sockets: &[&dyn AsFd], names: &str, manager: &Path) -> Child {
    let mut redirections = String::new();
    for (index, socket) in sockets.iter().enumerate() {
        let fd = socket.as_fd();
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        redirections += &format!(" {}<&{}", index + 3, fd.as_raw_fd());
    }
    Command::new("bash")
        .arg("-c")
        .arg(format!("export LISTEN_PID=$$; exec \"$0\" \"$@\"{redirections}"))
        .arg(PROGRAM)
        .args(args)
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names)
        .env("NOTIFY_SOCKET", manager)
        .env("WATCHDOG_USEC", "200000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn sockets_of_the_service_manager_are_used_and_it_is_told() {
    let root = tree();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let notices = dir.path().join("notify");
    let manager = Notices::at(&notices);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unknown = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = unknown.local_addr().unwrap();
    // It waits in the queue from before the server is there.
    let mut early = Client::connect(plain.local_addr().unwrap());
    early.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let pid_file = dir.path().join("pid");
    let any = "127.0.0.1:0";
    let (listen, secure) = (["--listen", any, "--admin-listen", any], addr.to_string());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let encrypted = [
        "--tls-listen",
        &secure,
        "--quic-listen",
        any,
        "--cert",
        cert,
        "--key",
        key,
    ];
    let file = [
        "--pid-file",
        pid_file.to_str().unwrap(),
        "--root",
        root.path().to_str().unwrap(),
    ];
    let args = [
        &["--log", "warn", "serve", "--workers", "2"][..],
        &listen,
        &encrypted,
        &file,
    ]
    .concat();
    let sockets: [&dyn AsFd; 4] = [&plain, &admin, &datagrams, &unknown];
    let mut child = activated(&args, &sockets, "http:admin:quic:oca-server.socket", &notices);
    let _first = Later(child.id().try_into().unwrap());
    let mut ready = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut ready).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let at = |addr: SocketAddr| serde_json::Value::from(addr.to_string());
    assert_eq!(ready["listen"], at(plain.local_addr().unwrap()));
    assert_eq!(ready["admin"], at(admin.local_addr().unwrap()));
    assert_eq!(ready["quic"], at(datagrams.local_addr().unwrap()));
    assert_eq!(ready["tls"], at(addr));
    assert_eq!(early.response("GET").unwrap().status, 200);
    manager.up_to("READY=1");
    manager.up_to("WATCHDOG=1");
    // The manager's reload.
    let upgrade = Command::new(PROGRAM)
        .args(["upgrade", "--pid-file"])
        .arg(&pid_file)
        .output();
    assert!(upgrade.unwrap().status.success());
    let pid: i32 = std::fs::read_to_string(&pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let _second = Later(pid);
    let lines = manager.up_to("MAINPID=");
    assert!(lines.contains(&"RELOADING=1".to_owned()), "{lines:?}");
    assert!(lines.contains(&format!("MAINPID={pid}")), "{lines:?}");
    manager.up_to("READY=1");
    assert!(child.wait().unwrap().success());
    assert_eq!(get(plain.local_addr().unwrap(), "/small.mp4", "").status, 200);
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    manager.up_to("STOPPING=1");
    until("it ends", || !is_alive(pid));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(
        rest.lines().count() >= 3,
        "ready line and access log of both: {rest}"
    );
}
