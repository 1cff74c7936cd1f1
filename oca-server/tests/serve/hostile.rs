//! Clients that mean ill: heads that grow in memory, and all ways of holding a connection by doing next to nothing. Each
//! ends in a bounded time, and a neighbour is served meanwhile. (A TCP client that never acknowledges cannot be made on one
//! machine without rights over its packets: to the server it is one that never reads. Over QUIC it is one that falls silent.)

use crate::{
    h3_client::{self, Viewer, run},
    overload::{ask_sealed, tls_client},
    support::{Client, SIZE, Server, certificate, content, get, pause, tree, until, write},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];
/// When all that is limited to a second or two must have ended, on a busy machine.
const BOUND: Duration = Duration::from_secs(10);

fn secure(root: &std::path::Path, more: &[&str]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let args = ["--tls-listen", "127.0.0.1:0", "--cert", cert, "--key", key];
    let server = Server::start(root, &[&args, &ADMIN[..], more].concat());
    (server, dir)
}

/// Sends `drop` again and again until the server ends the connection; how long it held.
fn drip(mut stream: impl Write, mut ended: impl FnMut() -> bool, drop: &[u8]) -> Duration {
    let started = Instant::now();
    while started.elapsed() < BOUND && !ended() {
        if stream.write_all(drop).and_then(|()| stream.flush()).is_err() {
            break;
        }
        pause();
    }
    started.elapsed()
}

/// Whether nothing more will come from the server.
fn is_over(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match (&*stream).read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn heads_that_are_bombs_get_431_over_http1() {
    let root = tree();
    let server = Server::start(root.path(), &["--workers", "1"]);
    let mut neighbour = Client::connect(server.http());
    let many = "A: b\r\n".repeat(1000);
    let long = format!("A: {}\r\n", "b".repeat(100_000));
    let names = format!("{}: b\r\n", "A".repeat(100_000));
    let target = "x".repeat(100_000);
    for (what, head) in [
        ("many", format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n")),
        ("long", format!("GET / HTTP/1.1\r\nHost: h\r\n{long}\r\n")),
        ("long name", format!("GET / HTTP/1.1\r\nHost: h\r\n{names}\r\n")),
        (
            "long target",
            format!("GET /{target} HTTP/1.1\r\nHost: h\r\n\r\n"),
        ),
    ] {
        let mut client = Client::connect(server.http());
        let _ = client.stream.get_mut().write_all(head.as_bytes()); // it may be cut before the end
        assert_eq!(client.response("GET").unwrap().status, 431, "{what}");
        assert!(client.at_end(), "{what}");
        neighbour.send("GET /small.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(neighbour.response("GET").unwrap().status, 200);
    }
}

/// HTTP/2 by hand through the openssl command, which brings the TLS.
struct Frames {
    client: Child,
    input: ChildStdin,
    output: Arc<Mutex<Vec<u8>>>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// GET https /f.mp4, authority h (RFC 7541).
const GET: &[u8] = b"\x82\x87\x04\x06/f.mp4\x01\x01h";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Frames {
    fn connect(server: &Server, settings: &[u8]) -> Self {
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &server.tls().to_string()])
            .args(["-alpn", "h2", "-quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = client.stdin.take().unwrap();
        input
            .write_all(&[PREFACE, &frame(4, 0, 0, settings)].concat())
            .unwrap();
        let (mut out, output) = (client.stdout.take().unwrap(), Arc::default());
        let sink: Arc<Mutex<Vec<u8>>> = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self {
            client,
            input,
            output,
        }
    }

    /// Kind, stream and payload of what came.
    fn came(&self) -> Vec<(u8, u32, Vec<u8>)> {
        let output = self.output.lock().unwrap();
        let (mut rest, mut frames) = (&output[..], Vec::new());
        while let Some((head, more)) = rest.split_first_chunk::<9>() {
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, more)) = more.split_at_checked(len) else {
                break;
            };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            frames.push((head[3], stream, payload.to_vec()));
            rest = more;
        }
        frames
    }

    fn is_over(&mut self) -> bool {
        self.client.try_wait().unwrap().is_some()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn heads_that_are_bombs_are_refused_over_http2_alone() {
    let root = tree();
    let (server, certs) = secure(root.path(), &["--workers", "1"]);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http2", "--cacert"])
        .arg(certs.path().join("cert.pem"))
        .args(["-o", "/dev/null", "-w", "%{http_code} "]);
    let url = format!("https://{}/small.mp4", server.tls());
    let (mut many, mut long) = (Vec::new(), vec!["-H".to_owned()]);
    for i in 0..500 {
        many.extend(["-H".to_owned(), format!("x-{i}: {i}")]);
    }
    long.push(format!("x: {}", "y".repeat(30_000)));
    for fields in [many, long] {
        let mut one = Command::new(curl.get_program());
        let out = one
            .args(curl.get_args())
            .args(&fields)
            .arg(&url)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), "431 ");
    }
    // Small on the wire: a long field put into the table once, and then named again and again.
    let mut frames = Frames::connect(&server, &[]);
    let field = [&[0x40, 1, b'x', 0x7f, 0x81, 0x1d][..], &[b'y'; 3840]].concat();
    let bomb = [GET, &field, &[0xbe; 10_000]].concat();
    let ping = frame(6, 0, 0, b"all well");
    frames
        .input
        .write_all(&[frame(1, 5, 1, &bomb), ping].concat())
        .unwrap();
    until("it is answered, and the connection goes on", || {
        let came = frames.came();
        came.iter()
            .any(|(kind, _, text)| *kind == 6 && text == b"all well")
            && came
                .iter()
                .any(|(kind, stream, _)| *stream == 1 && matches!(kind, 1 | 3))
            || frames.is_over()
    });
    let served = frames.came().iter().any(|(kind, ..)| *kind == 0);
    assert!(!served, "a request that was never whole was served");
    let out = curl.arg(&url).output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "200 ");
}

#[test]
fn heads_that_are_bombs_get_431_over_http3() {
    let root = tree();
    let (server, _certs) = h3_client::start(root.path(), &["--workers", "1"]);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let method_path = b"\0\0\xd1\xd7\xc1\x50\x01h"; // GET https /, authority h (RFC 9204)
        let many = [&method_path[..], &[0xc6; 1000]].concat(); // if-modified-since, as often as it fits
        let long = [&method_path[..], &[0x21, b'x', 0x7f, 0x81, 0x7f], &[b'y'; 16_384]].concat();
        for section in [many, long] {
            let (mut send, mut recv) = viewer.quic.open_bi().await.unwrap();
            let len = 0x8000_0000 | u32::try_from(section.len()).unwrap();
            send.write_all(&[&[1][..], &len.to_be_bytes(), &section].concat())
                .await
                .unwrap();
            let _ = send.finish();
            let answer = recv.read_to_end(10_000).await.unwrap();
            assert!(answer.windows(3).any(|w| w == b"431"), "{answer:?}");
        }
        assert!(viewer.get("/f.mp4", &[]).await.body == content(SIZE));
    });
}

#[test]
fn slow_content_and_slow_handshakes_end_in_time() {
    let root = tree();
    let (server, _certs) = secure(
        root.path(),
        &["--header-seconds", "1", "--handshake-seconds", "1"],
    );
    let ask = b"GET /small.mp4 HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
    let mut content = TcpStream::connect(server.http()).unwrap();
    content.write_all(ask).unwrap();
    let held = drip(&content, || is_over(&content), b"x");
    assert!(
        held < BOUND,
        "a body that drips holds its connection for {held:?}"
    );
    let hello = TcpStream::connect(server.tls()).unwrap();
    let held = drip(&hello, || is_over(&hello), b"\x16");
    assert!(
        held < BOUND,
        "a handshake that drips holds its connection for {held:?}"
    );
    let mut record = TcpStream::connect(server.tls()).unwrap();
    record.write_all(b"\x16\x03\x01\x40\x00").unwrap();
    let held = drip(&record, || is_over(&record), b"\x01");
    assert!(
        held < BOUND,
        "a hello that drips holds its connection for {held:?}"
    );
    assert_eq!(get(server.http(), "/small.mp4", "").status, 200);
    until("they are let go", || server.metric("oca_connections") == 0.0);
}

#[test]
fn windows_that_stay_shut_or_drip_end_in_time() {
    let root = tree();
    let (server, certs) = secure(root.path(), &["--slow-read-seconds", "1", "--workers", "1"]);
    let no_window = b"\0\x04\0\0\0\0"; // SETTINGS_INITIAL_WINDOW_SIZE = 0
    let shut = frame(6, 0, 0, b"pingping"); // busy, but taking nothing
    let drips = frame(8, 0, 1, &1u32.to_be_bytes()); // one byte more
    for drop in [shut, drips] {
        let mut frames = Frames::connect(&server, no_window);
        frames.input.write_all(&frame(1, 5, 1, GET)).unwrap();
        let Frames {
            client,
            input,
            output,
            ..
        } = &mut frames;
        let held = drip(input, || client.try_wait().unwrap().is_some(), &drop);
        assert!(held < BOUND, "{drop:?} holds the connection for {held:?}");
        let ended = |whole: &[u8]| whole.windows(6).any(|w| w == [0, 0, 0, 0, 1, 0]); // an empty last DATA frame
        assert!(!ended(&output.lock().unwrap()), "a clean end of a part");
    }
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http2", "--cacert"])
        .arg(certs.path().join("cert.pem"))
        .arg(format!("https://{}/f.mp4", server.tls()));
    assert!(curl.output().unwrap().stdout == content(SIZE));
    until("both are counted", || {
        server.metric("oca_connections_cut_total{reason=\"slow_reader\"}") >= 2.0
    });
}

#[test]
fn a_client_that_never_reads_is_cut_over_tls_too() {
    let root = tree();
    write(&root.path().join("big.mp4"), &content(64 << 20));
    let (server, _certs) = secure(root.path(), &["--slow-read-seconds", "1"]);
    let stopped = ask_sealed(&tls_client(), server.tls());
    let line = server.logged("the one that stopped", |l| l["path"] == "/big.mp4");
    assert_eq!(line["end"], "slow_reader");
    let mut rest = Vec::new();
    let end = (&stopped).read_to_end(&mut rest);
    assert!(end.is_err(), "reset, not a clean end: {} bytes", rest.len());
    assert!(get(server.http(), "/f.mp4", "").body == content(SIZE));
}

#[test]
fn a_quic_client_that_falls_silent_is_let_go() {
    let root = tree();
    write(&root.path().join("big.mp4"), &content(64 << 20));
    let (server, _certs) = h3_client::start(root.path(), &["--slow-read-seconds", "1", ADMIN[0], ADMIN[1]]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gone = runtime.block_on(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let mut streams = viewer.send("GET", "/big.mp4", &[]).await;
        assert_eq!(streams.recv_response().await.unwrap().status(), 200);
        (viewer, streams)
    });
    runtime.shutdown_background(); // nobody says good-bye, and nothing is acknowledged any more
    until("it is let go", || server.metric("oca_connections") == 0.0);
    drop(gone);
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        assert!(viewer.get("/f.mp4", &[]).await.body == content(SIZE));
    });
    let line = server.logged("the silent one", |l| l["path"] == "/big.mp4");
    assert_ne!(line["end"], "complete");
}
