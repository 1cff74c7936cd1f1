//! More clients than there is room for: what is beyond the limits waits or is told so, and the others notice nothing.

use crate::{
    h3_client::Anyone,
    support::{Client, SIZE, Server, certificate, command, content, get, pause, tree, until, write},
};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, Socket, Type};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

const BIG: usize = 64 << 20;
const ASK: &str = "GET /big.mp4 HTTP/1.1\r\nHost: h\r\n\r\n";

/// A server that may open at most `descriptors` files.
fn confined(root: &Path, descriptors: usize, more: &[&str]) -> Server {
    let inner = command(root, more);
    let mut outer = Command::new("sh");
    outer
        .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")])
        .arg(inner.get_program())
        .args(inner.get_args());
    Server::spawn(outer)
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count()
}

fn with_big() -> (tempfile::TempDir, Vec<u8>) {
    let (root, big) = (tree(), content(BIG));
    write(&root.path().join("big.mp4"), &big);
    (root, big)
}

#[test]
fn at_the_descriptor_limit_running_downloads_finish_and_new_ones_wait() {
    let (root, big) = with_big();
    // A connection limit that the descriptors cannot keep: else it never comes to that.
    let server = confined(
        root.path(),
        256,
        &[
            "--workers",
            "1",
            "--max-connections",
            "100000",
            "--header-seconds",
            "60",
            "--access-log",
            "off",
        ],
    );
    let mut running = Client::connect(server.http());
    running.send(ASK);
    assert_eq!(running.head().unwrap().status, 200);
    let mut kept = Client::connect(server.http());
    kept.send("GET /f.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(kept.response("GET").unwrap().body == content(SIZE));
    let mut crowd: Vec<Client> = (0..400).map(|_| Client::connect(server.http())).collect();
    until("all descriptors are used", || descriptors(&server) >= 255);
    let mut body = vec![0; BIG];
    running.stream.read_exact(&mut body).unwrap();
    assert!(body == big, "the running download came whole");
    // What is open can be served, what is not is refused in a way that players understand.
    kept.send("GET /f.mp4 HTTP/1.1\r\nHost: h\r\n\r\nGET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    let again = kept.response("GET").unwrap();
    assert!(
        again.status == 429 || again.body == content(SIZE),
        "{}",
        again.status
    );
    let other = kept.response("GET").unwrap();
    assert!(
        other.status == 429 || other.body == content(100),
        "{}",
        other.status
    );
    // Who waited in the kernel's queue is served when others have left.
    let mut last = crowd.split_off(390);
    drop(crowd);
    for client in &mut last {
        client.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.response("GET").unwrap().status, 200);
    }
    assert!(get(server.http(), "/f.mp4", "").body == content(SIZE));
}

#[test]
fn the_connection_limit_leaves_descriptors_for_files() {
    let (root, big) = with_big();
    let server = confined(
        root.path(),
        256,
        &["--workers", "1", "--access-log", "off", "--header-seconds", "60"],
    );
    let crowd: Vec<Client> = (0..100).map(|_| Client::connect(server.http())).collect();
    until("a further one is told to go elsewhere", || {
        get(server.http(), "/small.mp4", "").status == 429
    });
    assert!(descriptors(&server) < 200, "there is room");
    drop(crowd);
    until("there is room again", || {
        get(server.http(), "/small.mp4", "").status == 200
    });
    assert!(get(server.http(), "/big.mp4", "").body == big);
}

/// A connection whose side of the kernel takes in next to nothing by itself.
fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    TcpStream::from(socket)
}

/// A client of TLS that trusts everyone.
pub fn tls_client() -> Arc<ClientConfig> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    Arc::new(config)
}

/// Asks for the big file over TLS and leaves what comes sealed.
pub fn ask_sealed(config: &Arc<ClientConfig>, addr: SocketAddr) -> TcpStream {
    let mut stream = narrow(addr);
    let mut tls = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    tls.writer().write_all(ASK.as_bytes()).unwrap();
    tls.write_tls(&mut stream).unwrap();
    stream
}

/// Bytes of memory that the process holds (RSS).
fn memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Clients of each kind, plain and over TLS.
const SLOW: usize = 1000;
/// What they may cost the process all together.
const SLOW_MEMORY: u64 = 128 << 20;

#[test]
fn two_thousand_slow_readers_hold_little_and_hold_up_nobody() {
    let (root, big) = with_big();
    let certs = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(certs.path());
    let (cert_arg, key_arg) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let server = Server::start(
        root.path(),
        &[
            "--tls-listen",
            "127.0.0.1:0",
            "--cert",
            cert_arg,
            "--key",
            key_arg,
            "--access-log",
            "off",
        ],
    );
    let config = tls_client();
    assert!(get(server.http(), "/f.mp4", "").body == content(SIZE));
    let before = memory(&server);
    let mut plain: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    let mut sealed: Vec<(TcpStream, usize)> = Vec::new();
    for _ in 0..SLOW {
        let mut stream = narrow(server.http());
        stream.write_all(ASK.as_bytes()).unwrap();
        plain.push((stream, Vec::new()));
        sealed.push((ask_sealed(&config, server.tls()), 0));
    }
    for stream in plain.iter().map(|(s, _)| s).chain(sealed.iter().map(|(s, _)| s)) {
        stream.set_nonblocking(true).unwrap();
    }
    // Meanwhile others are served as if nothing were: whole objects over and over.
    let (addr, tls) = (server.http(), server.tls());
    let others = std::thread::spawn(move || {
        let file = content(SIZE);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert", cert.to_str().unwrap()])
            .arg(format!("https://{tls}/f.mp4"));
        for _ in 0..5 {
            assert!(get(addr, "/f.mp4", "").body == file);
            assert!(curl.output().unwrap().stdout == file);
        }
    });
    let (mut most, end) = (0, Instant::now() + Duration::from_secs(2));
    let mut buffer = [0; 1024];
    let mut take = |stream: &mut TcpStream| match stream.read(&mut buffer) {
        Ok(0) => panic!("a clean end in the middle of a body"),
        Ok(n) => buffer[..n].to_vec(),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Vec::new(),
        Err(e) => panic!("a slow reader was cut too early: {e}"),
    };
    while Instant::now() < end || !others.is_finished() {
        for (stream, got) in &mut plain {
            got.extend(take(stream));
        }
        for (stream, got) in &mut sealed {
            *got += take(stream).len();
        }
        most = most.max(memory(&server));
        pause();
    }
    others.join().unwrap();
    let growth = most.saturating_sub(before);
    println!("{} MiB for {} slow readers", growth >> 20, 2 * SLOW);
    assert!(growth < SLOW_MEMORY, "{} MiB for slow readers", growth >> 20);
    assert!(sealed.iter().all(|(_, got)| *got > 0));
    for (_, got) in &plain {
        let head = got
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head came")
            + 4;
        assert!(got[head..] == big[..got.len() - head]);
    }
    drop((plain, sealed));
    assert!(get(server.http(), "/big.mp4", "").body == big);
}
