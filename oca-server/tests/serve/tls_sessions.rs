//! What happens to TLS sessions and certificates over time: new keys, new certificates, restarts.

use crate::support::{SIZE, Server, content, tree, until, write};
use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// A self-signed pair for one name.
fn pair(dir: &Path, file: &str, name: &str) -> (PathBuf, PathBuf) {
    let (cert, key) = (dir.join(format!("{file}.pem")), dir.join(format!("{file}.key")));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=x", "-addext"])
        .arg(format!("subjectAltName=DNS:{name}"))
        .args(["-keyout", key.to_str().unwrap(), "-out", cert.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (cert, key)
}

fn tls_args<'a>(pairs: &'a [(PathBuf, PathBuf)], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["--tls-listen", "127.0.0.1:0"];
    for (cert, key) in pairs {
        args.extend(["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()]);
    }
    args.extend(more);
    args
}

/// Fetches by name, trusting one certificate; absent = curl does not trust what it is shown.
fn fetch(addr: SocketAddr, name: &str, trusted: &Path, to: &Path) -> Option<Vec<u8>> {
    let out = Command::new("curl")
        .args(["-sS", "--cacert", trusted.to_str().unwrap(), "--resolve"])
        .arg(format!("{name}:{}:127.0.0.1", addr.port()))
        .args(["-o", to.to_str().unwrap()])
        .arg(format!("https://{name}:{}/f.mp4", addr.port()))
        .status()
        .unwrap();
    out.success().then(|| fs::read(to).unwrap())
}

#[test]
fn certificates_are_chosen_by_name_and_swapped_while_it_serves() {
    let (root, dir) = (tree(), tempfile::tempdir().unwrap());
    let dir = dir.path();
    let pairs = [pair(dir, "a", "a.test"), pair(dir, "b", "*.b.test")];
    let args = tls_args(&pairs, &["--admin-listen", "127.0.0.1:0", "--workers", "2"]);
    let server = Server::start(root.path(), &args);
    let (addr, file) = (server.tls(), content(SIZE));
    let trusts =
        |name: &str, cert: &Path| fetch(addr, name, cert, &dir.join("body")).map(|b| assert!(b == file));
    assert!(trusts("a.test", &pairs[0].0).is_some());
    assert!(trusts("x.b.test", &pairs[1].0).is_some());
    assert!(
        trusts("x.b.test", &pairs[0].0).is_none(),
        "the first is for other names"
    );

    // One viewer trusts the old and the new certificate, and never sees anything else.
    let new = pair(dir, "new", "a.test");
    let both = dir.join("both.pem");
    write(
        &both,
        &[fs::read(&pairs[0].0).unwrap(), fs::read(&new.0).unwrap()].concat(),
    );
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let viewer = scope.spawn(|| {
            let mut fetched = 0;
            while !stop.load(Ordering::Relaxed) {
                let body = fetch(addr, "a.test", &both, &dir.join("viewer")).expect("never refused");
                assert!(body == file);
                fetched += 1;
            }
            fetched
        });
        fs::rename(&new.0, &pairs[0].0).unwrap();
        fs::rename(&new.1, &pairs[0].1).unwrap();
        until("the new one is shown", || trusts("a.test", &pairs[0].0).is_some());
        stop.store(true, Ordering::Relaxed);
        assert!(viewer.join().unwrap() > 0);
    });
    assert!(server.metric("oca_tls_certificate_swaps_total{outcome=\"swapped\"}") >= 1.0);

    let good = fs::read(&pairs[0].0).unwrap();
    let (cert, _) = pair(dir, "other", "a.test");
    let shown = dir.join("shown.pem");
    write(&shown, &good);
    fs::rename(cert, &pairs[0].0).unwrap(); // without its key
    until("the mismatch is refused", || {
        server.metric("oca_tls_certificate_swaps_total{outcome=\"refused\"}") >= 1.0
    });
    assert!(trusts("a.test", &shown).is_some(), "the old one stays");
}

#[test]
fn tickets_outlive_a_restart_by_their_file() {
    let (root, dir) = (tree(), tempfile::tempdir().unwrap());
    let pairs = [pair(dir.path(), "a", "a.test")];
    let keys = dir.path().join("tickets.key");
    let args = tls_args(&pairs, &["--ticket-keys", keys.to_str().unwrap()]);
    let session = dir.path().join("session");
    let connect = |server: &Server, flag: &str| {
        let out = Command::new("openssl")
            .args(["s_client", "-connect", &server.tls().to_string(), "-tls1_2", flag])
            .arg(&session)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let mut first = Server::start(root.path(), &args);
    assert!(connect(&first, "-sess_out").contains("New, TLSv1.2"));
    first.signal();
    assert!(first.wait().success());
    let second = Server::start(root.path(), &args);
    assert!(connect(&second, "-sess_in").contains("Reused, TLSv1.2"));
}

/// An interactive `openssl s_client`.
struct Talk {
    child: Child,
}

fn read_until(from: &mut impl Read, wanted: &[u8]) {
    let (mut said, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while !said.windows(wanted.len()).any(|w| w == wanted) {
        let n = from.read(&mut buffer).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..n]);
    }
}

impl Talk {
    fn new(server: &Server, more: &[&str]) -> Self {
        let child = Command::new("openssl")
            .args(["s_client", "-connect", &server.tls().to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    fn say(&mut self, text: &str) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Reads until `wanted` came from the server.
    fn hear(&mut self, wanted: &[u8]) {
        read_until(self.child.stdout.as_mut().unwrap(), wanted);
    }

    /// Reads until the client itself says `wanted`.
    fn notice(&mut self, wanted: &[u8]) {
        read_until(self.child.stderr.as_mut().unwrap(), wanted);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn keys_are_changed_when_a_client_wants_it() {
    let (root, dir) = (tree(), tempfile::tempdir().unwrap());
    let pairs = [pair(dir.path(), "a", "a.test")];
    let server = Server::start(root.path(), &tls_args(&pairs, &[]));
    let file = content(SIZE);
    let request = "GET /f.mp4 HTTP/1.1\r\nHost: a.test\r\nRange: bytes=1000-80000\r\n\r\n";
    let last = &file[79_000..=80_000];
    let mut talk = Talk::new(&server, &["-tls1_3", "-crlf"]);
    let request = request.replace("\r\n", "\n");
    talk.say(&request);
    talk.hear(last);
    for update in ["K\n", "k\n", "K\n"] {
        talk.say(update); // K asks for new keys of ours too
        talk.notice(b"KEYUPDATE");
        talk.say(&request);
        talk.hear(last);
    }
    // TLS 1.2 has renegotiation instead, which is refused: nothing but the end of the connection comes of it.
    let mut old = Talk::new(&server, &["-tls1_2", "-crlf"]);
    old.say(&request);
    old.hear(last);
    old.say("R\n");
    until("the client gives up", || old.child.try_wait().unwrap().is_some());
}
