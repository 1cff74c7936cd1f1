//! `nightfill load` against the real appliance, and against servers that misbehave in one known way each.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use nightfill::local::program::{Program, binary};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
};

/// Bytes in which no block looks like another.
fn content(size: u32) -> Vec<u8> {
    (0..size)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("a.mp4", 3_000_000), ("b.mp4", 1_000_001), ("empty.mp4", 0)] {
        fs::write(dir.path().join(name), content(size)).unwrap();
    }
    dir
}

/// A certificate that is its own authority, and its key.
fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test".split(' '),
        )
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status()
        .expect("the openssl command is installed");
    assert!(made.success());
    (cert, key)
}

/// A running appliance that serves a tree.
struct Server {
    program: Program,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(root: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = certificate(dir.path());
        let text = |p: &Path| p.to_str().unwrap().to_owned();
        let mut args = ["serve", "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec();
        for (name, value) in [("--root", root), ("--cert", &cert), ("--key", &key)] {
            args.extend([name.to_owned(), text(value)]);
        }
        args.extend(["--workers", "1", "--access-log", "off"].map(str::to_owned));
        let program = Program::start("oca", &binary("oca-server").unwrap(), &args, dir.path()).unwrap();
        Self { program, dir }
    }

    fn url(&self, tls: bool, path: &str) -> String {
        let (scheme, name) = if tls { ("https", "tls") } else { ("http", "listen") };
        format!("{scheme}://{}/{path}", self.program.address(name).unwrap())
    }

    fn ca(&self) -> String {
        self.dir.path().join("cert.pem").to_str().unwrap().to_owned()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightfill"));
    command.args(["load", "--json", "-", "--threads", "1"]).args(args);
    command
}

fn load(args: &[&str]) -> (Value, Output) {
    let output = command(args).output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output)
}

#[test]
fn every_byte_is_right_over_every_version() {
    let root = tree();
    let server = Server::start(root.path());
    let (tree, ca) = (root.path().to_str().unwrap(), server.ca());
    for (tls, http, agreed) in [
        (false, "1", "plain"),
        (true, "1", "TLSv1.3 AES_128_GCM_SHA256"),
        (true, "2", "TLSv1.3 AES_128_GCM_SHA256"),
    ] {
        for (more, status, verifies) in [
            (&["--verify"][..], "200", true),
            (&["--range", "70000", "--verify"], "206", true),
            (&["--range", "70000"], "206", false),
        ] {
            let urls = ["a.mp4", "b.mp4"].map(|p| server.url(tls, p));
            let mut args = vec![
                "--http",
                http,
                "-c",
                "3",
                "-m",
                "2",
                "--requests",
                "40",
                "--ca",
                &ca,
            ];
            if verifies {
                args.extend(["--tree", tree]);
            }
            args.extend(more);
            args.extend(urls.iter().map(String::as_str));
            let (report, output) = load(&args);
            assert!(output.status.success(), "{args:?}: {report}");
            assert_eq!(report["requests"], 40, "{args:?}");
            assert_eq!(report["statuses"][status], 40, "{report}");
            assert_eq!(report["handshakes"][agreed], 3, "{report}");
            let times = ["connect", "first_byte", "completion"].map(|t| report[t]["count"].as_u64());
            assert_eq!(times, [Some(3), Some(40), Some(40)], "{report}");
        }
    }
}

#[test]
fn a_wrong_byte_and_a_refusal_are_told_apart() {
    let root = tree();
    let server = Server::start(root.path());
    let other = tree();
    let mut wrong = content(3_000_000);
    wrong[2_000_000] ^= 1;
    fs::write(other.path().join("a.mp4"), wrong).unwrap();
    let tree = [
        "--verify",
        "--tree",
        other.path().to_str().unwrap(),
        "--requests",
        "1",
    ];
    for (tls, http) in [(false, "1"), (true, "1"), (true, "2")] {
        let url = server.url(tls, "a.mp4");
        let (report, output) = load(&[&tree[..], &["--insecure", "--http", http, &url]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["errors"], serde_json::json!({"differs": 1}), "{report}");
        let said = report["first_errors"]["differs"].as_str().unwrap();
        assert_eq!(said, "/a.mp4: byte 2000000 differs from the local file");

        let url = server.url(tls, "none.mp4");
        let (report, output) = load(&["--insecure", "--http", http, "--requests", "3", &url]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["errors"], serde_json::json!({"status": 3}), "{report}");
        assert_eq!(report["statuses"]["404"], 3);
    }
}

/// A server of one answer, which it repeats until it is gone.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    address
}

#[test]
fn short_and_wrong_bodies_are_errors_of_their_own_kind() {
    let root = tree();
    let known = ["--tree", root.path().to_str().unwrap()];
    for (answer, more, kind, said) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"[..],
            &[][..],
            "short",
            "10 of 100",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            &known[..],
            "length",
            "3 bytes instead of 3000000",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
            &[],
            "protocol",
            "1 bytes after",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[],
            "protocol",
            "no Content-Length",
        ),
        (b"SSH-2.0-server\r\n\r\n", &[], "protocol", "not as HTTP says"),
        (b"", &[], "reset", "closed before the response"),
    ] {
        let url = format!("http://{}/a.mp4", answering(answer));
        let (report, output) = load(&[&["--requests", "2", "-c", "1", &url], more].concat());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["errors"], serde_json::json!({kind: 2}), "{report}");
        let first = report["first_errors"][kind].as_str().unwrap();
        assert!(first.contains(said), "{first}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (report, _) = load(&["--requests", "1", "-c", "1", &format!("http://{nobody}/a.mp4")]);
    assert_eq!(report["errors"], serde_json::json!({"connect": 1}), "{report}");
}

#[test]
fn idle_connections_are_held_and_slow_ones_are_slow() {
    let root = tree();
    let server = Server::start(root.path());
    let url = server.url(true, "a.mp4");
    for http in ["1", "2"] {
        let idle = [
            "--insecure",
            "--http",
            http,
            "--idle",
            "-c",
            "50",
            "--duration",
            "0.3",
            &url,
        ];
        let (report, output) = load(&idle);
        assert!(output.status.success(), "{report}");
        assert_eq!(
            (&report["connections"], &report["requests"]),
            (&50.into(), &50.into())
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("50 connections are open"), "{said}");

        let slow = [
            "--insecure",
            "--http",
            http,
            "--rate",
            "800000",
            "-c",
            "2",
            "--duration",
            "1",
            &url,
        ];
        let (report, _) = load(&slow);
        let bytes = report["bytes"].as_u64().unwrap();
        assert!(
            (20_000..=300_000).contains(&bytes),
            "2 × 100 kB/s for 1 s: {bytes}"
        );
    }
}

#[test]
fn an_interrupt_prints_the_report_so_far() {
    let root = tree();
    let server = Server::start(root.path());
    let list = root.path().join("paths");
    fs::write(&list, "/a.mp4\n\n/b.mp4\n").unwrap();
    let base = server.url(false, "");
    let args = [
        "--idle",
        "-c",
        "2",
        "--duration",
        "600",
        "--base",
        &base,
        "--paths",
    ];
    let mut child = command(&args)
        .arg(&list)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "2 connections are open\n");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let mut report = String::new();
    child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["requests"], 2, "{report}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (args, said) in [
        (
            &["http://127.0.0.1:1/a", "http://127.0.0.2:1/a"][..],
            "two servers",
        ),
        (
            &["--http", "3", "http://127.0.0.1:1/a"],
            "HTTP/3 needs an https:// address",
        ),
        (
            &["--rebind-after", "1", "http://127.0.0.1:1/a"],
            "--rebind-after is for --http 3",
        ),
        (&["--ca", "/none.pem", "https://127.0.0.1:1/a"], "--insecure"),
        (&["ftp://127.0.0.1:1/a"], "only http and https"),
        (&["--verify", "http://127.0.0.1:1/a"], "--tree"),
    ] {
        let output = command(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && text.contains(said),
            "{args:?}: {text}"
        );
    }
}

/// An HTTP/3 server of one body that says, for each response, whether its client came from another port at the end.
fn http3(body: Vec<u8>, announced: usize) -> (SocketAddr, mpsc::Receiver<bool>) {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let (addresses, address) = mpsc::channel();
    let (moves, moved) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async move {
            let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
            addresses.send(endpoint.local_addr().unwrap()).unwrap();
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else { continue };
                let from = connection.remote_address();
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    receive.read_to_end(10_000).await.unwrap();
                    let length = announced.to_string();
                    // 200, content-length
                    let mut response = vec![1, 5 + length.len() as u8, 0, 0, 0xd9, 0x54, length.len() as u8];
                    response.extend(length.as_bytes());
                    response.push(0);
                    response.extend((body.len() as u32 | 0x8000_0000).to_be_bytes());
                    response.extend(&body);
                    let _ = send.write_all(&response).await;
                    send.finish().unwrap();
                    let _ = send.stopped().await;
                    moves.send(connection.remote_address() != from).unwrap();
                }
            }
        });
    });
    (address.recv().unwrap(), moved)
}

#[test]
fn http3_is_verified_and_moves_to_another_port() {
    let root = tree();
    let tree = root.path().to_str().unwrap();
    let (address, moved) = http3(content(3_000_000), 3_000_000);
    let url = format!("https://{address}/a.mp4");
    let args = [
        "--insecure",
        "--http",
        "3",
        "-c",
        "1",
        "--requests",
        "2",
        "--verify",
        "--tree",
        tree,
        &url,
    ];
    let (report, output) = load(&args);
    assert!(output.status.success(), "{report}");
    assert_eq!(
        (&report["requests"], &report["bytes"]),
        (&2.into(), &6_000_000.into())
    );
    assert_eq!([moved.recv().unwrap(), moved.recv().unwrap()], [false, false]);

    let (report, output) = load(&[&args[..], &["--rebind-after", "1000000"]].concat());
    assert!(output.status.success(), "{report}");
    assert_eq!(
        [moved.recv().unwrap(), moved.recv().unwrap()],
        [true, true],
        "it moves once and stays"
    );

    let (address, _moved) = http3(content(1000), 3_000_000);
    let url = format!("https://{address}/a.mp4");
    let (report, output) = load(&["--insecure", "--http", "3", "--requests", "1", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["errors"], serde_json::json!({"short": 1}), "{report}");
}
