//! The end of the process.

use crate::support::{Client, Server, command, content, get, tree};
use std::{
    io::Read,
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

const BIG: usize = 64 << 20;

fn big() -> tempfile::TempDir {
    let root = tree();
    crate::support::write(&root.path().join("big.mp4"), &content(BIG));
    root
}

/// A download of which only the head was read.
fn begun(server: &Server) -> Client {
    let mut client = Client::connect(server.http());
    client.send("GET /big.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    client
}

#[test]
fn sigterm_finishes_running_downloads_and_accepts_nothing_new() {
    let root = big();
    let mut server = Server::start(root.path(), &[]);
    let mut running = begun(&server);
    let mut idle = Client::connect(server.http());
    idle.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.response("GET").unwrap().status, 200);
    server.signal();
    assert!(idle.at_end(), "an idle connection is closed");
    crate::support::until("no connection is accepted", || {
        TcpStream::connect(server.http()).is_err()
    });
    let mut body = Vec::new();
    running.stream.read_to_end(&mut body).unwrap();
    assert!(body == content(BIG), "{} bytes", body.len());
    assert_eq!(server.wait().code(), Some(0));
    assert!(
        server
            .log()
            .iter()
            .any(|l| l["path"] == "/big.mp4" && l["end"] == "complete"),
        "the log is written out"
    );
}

#[test]
fn what_runs_too_long_is_reset_and_the_exit_is_still_clean() {
    let root = big();
    let mut server = Server::start(root.path(), &["--drain-seconds", "1"]);
    let mut running = begun(&server);
    let started = Instant::now();
    server.signal();
    assert_eq!(server.wait().code(), Some(0));
    assert!(started.elapsed() >= Duration::from_secs(1));
    let mut body = Vec::new();
    assert!(
        running.stream.read_to_end(&mut body).is_err(),
        "reset, not a clean end: {} bytes",
        body.len()
    );
    assert!(server.log().iter().any(|l| l["end"] == "cut"));
}

#[test]
fn second_sigterm_ends_at_once() {
    let root = big();
    let mut server = Server::start(root.path(), &["--drain-seconds", "600"]);
    let _running = begun(&server);
    server.signal();
    crate::support::until("the first signal is handled", || {
        TcpStream::connect(server.http()).is_err()
    });
    server.signal();
    let status = server.wait();
    assert!(
        status.code() == Some(143) || status.signal().is_some(),
        "{status}"
    );
}

#[test]
fn wrong_starts_are_one_clear_line() {
    let root = tree();
    let server = Server::start(root.path(), &[]);
    let taken = server.http().to_string();
    let (cert, key) = crate::support::certificate(root.path());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    for (args, code, says) in [
        (
            vec!["--quic-listen", "127.0.0.1:0", "--cert", cert, "--key", "/no/key"],
            1,
            "/no/key",
        ),
        (vec!["--quic-listen", "127.0.0.1:0"], 2, "--cert"),
        (vec!["--profile", "mainframe"], 1, "mainframe"),
        (vec!["--admin-listen", &taken], 1, "--admin-listen"),
        (
            vec!["--tls-listen", &taken, "--cert", cert, "--key", key],
            1,
            &format!("cannot listen on {taken}: Address"),
        ),
        (vec!["--access-log", "/no/such/dir/log"], 1, "/no/such/dir/log"),
        (vec!["--tls-listen", "127.0.0.1:0"], 2, "--cert"),
        (vec!["--workers", "0"], 2, "--workers"),
    ] {
        let out = command(root.path(), &args).output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {text}");
        assert!(
            text.contains("error: ") && text.contains(says),
            "{args:?}: {text}"
        );
        assert!(code == 2 || text.lines().count() == 1, "{args:?}: {text}");
    }
    let out = command(&root.path().join("none"), &[]).output().unwrap();
    assert!(String::from_utf8(out.stderr).unwrap().contains("--root"));
    assert_eq!(get(server.http(), "/small.mp4", "").status, 200);
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_the_end() {
    let root = tree();
    let mut child = command(root.path(), &["--drain-seconds", "1"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    std::io::BufRead::read_line(&mut out, &mut ready).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let addr = ready["listen"].as_str().unwrap().parse().unwrap();
    // 300 lines of more than 1 KiB: the pipe holds 64 KiB.
    let target = format!("/none?{}", "x".repeat(10));
    let long = format!("User-Agent: {}\r\n", "x".repeat(1500));
    let mut client = Client::connect(addr);
    for _ in 0..300 {
        client.send(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n{long}\r\n"));
        assert_eq!(client.response("GET").unwrap().status, 404);
    }
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut status = None;
    crate::support::until("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}
