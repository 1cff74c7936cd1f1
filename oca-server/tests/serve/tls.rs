//! HTTPS, read by curl.

use crate::support::{SIZE, Server, certificate, content, tree, until, write};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Size of a file that no socket's buffer holds.
const BIG: usize = 48 << 20;

fn start(root: &Path, more: &[&str]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let args = [
        "--tls-listen",
        "127.0.0.1:0",
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let server = Server::start(root, &[&args, more].concat());
    (server, dir)
}

fn curl(server: &Server, certs: &Path, args: &[&str], target: &str) -> (String, Vec<u8>) {
    let body = certs.join("body");
    let _ = fs::remove_file(&body);
    let out = Command::new("curl")
        .args(["-sS", "--cacert"])
        .arg(certs.join("cert.pem"))
        .args(["-o", body.to_str().unwrap(), "-w", "%{http_code} %{http_version}"])
        .args(args)
        .arg(format!("https://{}{target}", server.tls()))
        .output()
        .expect("curl is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (
        String::from_utf8(out.stdout).unwrap(),
        fs::read(&body).unwrap_or_default(),
    )
}

#[test]
fn serves_http1_and_http2_over_tls() {
    let root = tree();
    let (server, certs) = start(root.path(), &[]);
    let file = content(SIZE);
    for (version, name) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for tls in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            let args = [&[version], tls].concat();
            let (status, body) = curl(&server, certs.path(), &args, "/f.mp4");
            assert_eq!(status, format!("200 {name}"));
            assert!(body == file, "{args:?}");
        }
        let ranged = |range: &'static str| curl(&server, certs.path(), &[version, "-r", range], "/f.mp4");
        assert_eq!(
            ranged("1000000-1999999"),
            (format!("206 {name}"), file[1_000_000..2_000_000].to_vec())
        );
        let (status, many) = ranged("0-9,70000-200000");
        assert_eq!(status, format!("206 {name}"));
        assert!(many.windows(100).any(|w| w == &file[70_000..70_100]));
        assert_eq!(ranged("9999999-").0, format!("416 {name}"));
        let status =
            |args: &[&str], target| curl(&server, certs.path(), &[&[version], args].concat(), target).0;
        assert_eq!(status(&["-I"], "/f.mp4"), format!("200 {name}"));
        assert_eq!(status(&["-X", "OPTIONS"], "/f.mp4"), format!("204 {name}"));
        assert_eq!(status(&["-X", "DELETE"], "/f.mp4"), format!("405 {name}"));
        assert_eq!(status(&[], "/none"), format!("404 {name}"));
        assert_eq!(status(&[], "/empty.mp4"), format!("200 {name}"));
        assert_eq!(status(&["--path-as-is"], "/../x"), format!("400 {name}"));
    }
    // Workers' lines come in any order.
    let line = server.logged("HTTP/2 over TLS 1.3", |l| {
        l["protocol"] == "HTTP/2" && l["tls"] == "TLSv1.3" && l["path"] == "/f.mp4" && l["method"] == "GET"
    });
    assert_eq!(line["end"], "complete");
}

#[test]
fn one_http2_connection_carries_many_streams() {
    let root = tree();
    let (server, certs) = start(root.path(), &["--admin-listen", "127.0.0.1:0", "--workers", "1"]);
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--http2", "--parallel", "--parallel-max", "20", "--cacert"])
        .arg(certs.path().join("cert.pem"));
    for i in 0..40 {
        command
            .arg("-o")
            .arg(certs.path().join(format!("b{i}")))
            .arg(format!("https://{}/f.mp4", server.tls()));
    }
    assert!(command.status().unwrap().success());
    let file = content(SIZE);
    for i in 0..40 {
        assert!(
            fs::read(certs.path().join(format!("b{i}"))).unwrap() == file,
            "{i}"
        );
    }
    until("all are counted", || {
        server.metric("oca_requests_total{protocol=\"HTTP/2\",status=\"200\"}") == 40.0
    });
}

/// Bytes that are sent from where they lie in memory are the file's or are not sent: what the client gets is right to the
/// last byte before its connection ends.
#[test]
fn a_file_cut_while_it_is_lent_never_ends_cleanly_over_tls() {
    let all = content(BIG);
    for version in ["--http1.1", "--http2"] {
        for length in [1000, BIG as u64 - 100] {
            let root = tree();
            let big = root.path().join("big.mp4");
            write(&big, &all);
            let more = ["--admin-listen", "127.0.0.1:0", "--workers", "1"];
            let (server, certs) = start(root.path(), &more);
            for _ in 0..3 {
                assert!(curl(&server, certs.path(), &[version], "/big.mp4").1 == all);
            }
            let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
            let kind = statfs(&big).unwrap().filesystem_type();
            if kind == EXT4_SUPER_MAGIC || kind == TMPFS_MAGIC {
                assert!(maps.contains("big.mp4"), "it is lent");
            }
            let mut client = Command::new("curl")
                .args(["-sS", version, "--cacert"])
                .arg(certs.path().join("cert.pem"))
                .arg(format!("https://{}/big.mp4", server.tls()))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut body = client.stdout.take().unwrap();
            let mut got = vec![0; 1000];
            body.read_exact(&mut got).unwrap();
            // The pipe is full, and nothing is read until the file is short.
            let file = fs::File::options().write(true).open(&big).unwrap();
            file.set_len(length).unwrap();
            body.read_to_end(&mut got).unwrap();
            assert!(!client.wait().unwrap().success(), "{version}: a clean end");
            assert!(got.len() < BIG && got == all[..got.len()], "{version}, {length}");
            until("it is counted", || {
                server.metric("oca_body_faults_total{cause=\"short\"}") >= 1.0
            });
            assert_eq!(curl(&server, certs.path(), &[version], "/f.mp4").1, content(SIZE));
        }
    }
}

#[test]
fn sessions_resume_on_any_worker() {
    let root = tree();
    let (server, certs) = start(root.path(), &["--admin-listen", "127.0.0.1:0"]);
    let session = certs.path().join("session");
    let connect = |flag: &str| {
        let out = Command::new("openssl")
            .args(["s_client", "-connect", &server.tls().to_string(), "-tls1_2", flag])
            .arg(&session)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    connect("-sess_out");
    for _ in 0..6 {
        assert!(connect("-sess_in").contains("Reused, TLSv1.2"));
    }
    until("it is counted", || {
        server.metric("oca_tls_handshakes_total{outcome=\"resumed\"}") >= 6.0
    });
}

#[test]
fn a_bad_certificate_is_one_clear_line() {
    let root = tree();
    let bad = root.path().join("bad.pem");
    fs::write(&bad, "hello").unwrap();
    let bad = bad.to_str().unwrap();
    let out = crate::support::command(
        root.path(),
        &["--tls-listen", "127.0.0.1:0", "--cert", bad, "--key", bad],
    )
    .output()
    .unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text.starts_with("error: ") && text.lines().count() == 1 && text.contains("bad.pem"),
        "{text}"
    );
}

/// Frames over a connection of their own, and whether the server ended it.
fn abuse(server: &Server, frames: &[u8]) {
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &server.tls().to_string(),
            "-alpn",
            "h2",
            "-quiet",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut to_server = client.stdin.take().unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let _ = to_server
        .write_all(preface)
        .and_then(|()| to_server.write_all(frames)); // it may be cut before the end
    until("the server ends the connection", || {
        client.try_wait().unwrap().is_some()
    });
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn http2_floods_end_their_own_connection_alone() {
    let root = tree();
    let (server, certs) = start(root.path(), &["--workers", "1"]);
    let head = b"\x82\x87\x04\x0a/small.mp4\x01\x01h"; // GET https /small.mp4, authority h (RFC 7541)
    let rapid_reset = |i: u32| {
        let stream = 2 * i + 1;
        [
            frame(1, 5, stream, head),
            frame(3, 0, stream, &8u32.to_be_bytes()),
        ]
        .concat()
    };
    abuse(&server, &(0..20_000).flat_map(rapid_reset).collect::<Vec<_>>());
    let endless = [
        frame(1, 1, 1, head),
        frame(9, 0, 1, b"\0\x01x\x01y").repeat(50_000),
    ]
    .concat();
    abuse(&server, &endless);
    let (status, body) = curl(&server, certs.path(), &["--http2"], "/f.mp4");
    assert_eq!(status, "200 2");
    assert!(body == content(SIZE));
}
