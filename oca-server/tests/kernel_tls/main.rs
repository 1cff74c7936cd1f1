//! Kernel TLS, where there is a kernel that has it: in a virtual machine. The machine's script (guest.sh) starts the
//! server under strace, asks it with curl and openssl, and says what came; what must have come stands here.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail by panicking, like the tests"
)]

#[path = "../serve/support.rs"]
#[expect(dead_code, reason = "a part of the other tests' support is enough")]
mod support;
mod vm;

use ring::digest::{SHA256, digest};
use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt, path::Path};
use vm::{Kernel, Tree};

/// `film.mp4`.
const FILM: usize = 4 << 20;
/// `short.mp4`.
const SHORT: usize = 1 << 20;
/// Where `cut.mp4` is cut while it is sent.
const CUT: usize = 3_000_000;
/// What one `sendfile` takes from its file at a time (the 16 pages of a pipe), and still sends where the file is cut meanwhile.
const TAKEN: usize = 16 * 4096;
/// A body that is asked for before and after a change of keys.
const ASKED: usize = 1_500_000;
/// First of the Linux versions that take new keys for a connection.
const NEW_KEYS: (u32, u32) = (6, 14);
/// Least size of a `write` that would carry a body rather than a head or a handshake.
const LARGE: u64 = 4 << 10;

const AES: [&str; 4] = [
    "1.3:TLS_AES_128_GCM_SHA256",
    "1.3:TLS_AES_256_GCM_SHA384",
    "1.2:ECDHE-ECDSA-AES128-GCM-SHA256",
    "1.2:ECDHE-ECDSA-AES256-GCM-SHA384",
];
const CHACHA: [&str; 2] = [
    "1.3:TLS_CHACHA20_POLY1305_SHA256",
    "1.2:ECDHE-ECDSA-CHACHA20-POLY1305",
];

/// What the machine said.
struct Facts(Vec<String>);

impl Facts {
    fn from(kernel: &Kernel) -> Self {
        let tree = Tree::new();
        tree.tool("busybox", "/bin/busybox");
        for tool in ["curl", "openssl", "strace"] {
            tree.tool(tool, &format!("/usr/bin/{tool}"));
        }
        tree.program(Path::new(env!("CARGO_BIN_EXE_oca-server")), "/oca-server");
        let init = tree.at("/init");
        fs::write(&init, include_str!("guest.sh")).unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        support::certificate(init.parent().unwrap());
        let media = tempfile::tempdir().unwrap();
        for (name, size) in [("film", FILM), ("short", SHORT), ("cut", FILM), ("empty", 0)] {
            let path = media.path().join(format!("{name}.mp4"));
            support::write(&path, &support::content(size));
        }
        tree.at("/srv/here");
        let console = tree.boot(kernel, media.path());
        for line in &console {
            println!("{line}");
        }
        let facts = console
            .iter()
            .filter_map(|l| Some(l.split_once("@@ ")?.1.to_owned()));
        let facts = Self(facts.collect());
        assert!(facts.0.iter().any(|l| l == "end"), "the script did not end");
        facts
    }

    /// The rest of every line that begins with `what`, in order.
    fn all(&self, what: &str) -> Vec<&str> {
        let rest = |l: &'_ String| l.starts_with(&format!("{what} ")).then_some(what.len() + 1);
        self.0.iter().filter_map(|l| Some(&l[rest(l)?..])).collect()
    }

    fn one(&self, what: &str) -> &str {
        let all = self.all(what);
        assert_eq!(all.len(), 1, "{what}");
        all[0]
    }

    /// Whether the kernel takes new keys, by its version.
    fn changes_keys(&self) -> bool {
        let mut numbers = self.one("kernel").split(['.', '-', '+']).map(str::parse);
        let mut next = || numbers.next().unwrap().unwrap();
        (next(), next()) >= NEW_KEYS
    }
}

/// The value of `name=` in a line.
fn value<'l>(line: &'l str, name: &str) -> &'l str {
    let values = line.split(' ').filter_map(|word| word.split_once('='));
    let found = values.into_iter().find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("no {name} in {line}")).1
}

fn number(line: &str, name: &str) -> u64 {
    let value = value(line, name);
    value.parse().unwrap_or_else(|e| panic!("{name} in {line}: {e}"))
}

fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A whole file and a range of it on one connection, with every cipher and version.
fn every_cipher_gives_the_same_bytes(facts: &Facts) {
    let film = support::content(FILM);
    let short = support::content(SHORT);
    let sent = (FILM + 2_000_000) as u64;
    for suite in AES.iter().chain(&CHACHA) {
        for (http, file, range) in [
            ("1.1", &film, 1_000_001..=3_000_000),
            ("2", &short, 100_001..=500_000),
        ] {
            let name = format!("{suite}:{http}");
            let runs = facts.all(&format!("get {name}"));
            // TLS 1.3 with ChaCha20 also while the kernel did not have it.
            let without = runs.len() - 1;
            assert_eq!(without, usize::from(*suite == CHACHA[0]), "{name}");
            for (i, run) in runs.iter().enumerate() {
                let by_kernel = i == without;
                assert_eq!(
                    value(run, "said"),
                    format!("200/{http}/1,206/{http}/0,"),
                    "{name} {run}"
                );
                assert_eq!(number(run, "tx"), u64::from(by_kernel), "{name} {run}");
                if by_kernel && http == "1.1" {
                    assert_eq!(number(run, "sendfile"), sent, "{name} {run}");
                    assert!(number(run, "largest_copy") < LARGE, "{name} {run}");
                } else {
                    assert_eq!(number(run, "sendfile"), 0, "{name} {run}");
                }
            }
            let bodies = facts.all(&format!("body {name}"));
            let want = [format!("b1 {}", sum(file)), format!("b2 {}", sum(&file[range]))];
            assert!(bodies.chunks(2).all(|pair| pair == want), "{name} {bodies:?}");
            assert_eq!(bodies.len(), 2 * runs.len(), "{name}");
        }
    }
}

/// Counted as such, and by the kernel: a cipher that it does not have is sealed in the process.
fn sessions_are_counted_by_who_seals(facts: &Facts) {
    let sessions = |when: &str| {
        let line = facts.one(&format!("sessions {when}"));
        (number(line, "kernel"), number(line, "process"))
    };
    assert_eq!(facts.one("module"), "1", "the server loads the module itself");
    assert_eq!(sessions("before"), (8, 0));
    assert_eq!(sessions("without"), (8, 2));
    assert_eq!(sessions("with"), (12, 2));
}

/// Answers that no file follows, bytes from the drive, a slow reader, and a file that ends too early.
fn nothing_waits_and_nothing_is_short(facts: &Facts) {
    let film = support::content(FILM);
    let small = facts.one("get small");
    let codes = "404/1.1/1,200/1.1/0,200/1.1/0,206/1.1/0,200/1.1/0,";
    assert_eq!((value(small, "said"), number(small, "tx")), (codes, 1), "{small}");
    let slow = facts.one("get slow");
    assert_eq!((value(slow, "rc"), number(slow, "tx")), ("0", 1), "{slow}");
    let cold = facts.one("get cold");
    assert_eq!(
        (value(cold, "said"), number(cold, "tx")),
        ("200/1.1/1,", 1),
        "{cold}"
    );
    for body in ["small b5", "cold b1", "slow b1", "after b1"] {
        assert_eq!(facts.one(&format!("body {body}")), sum(&film), "{body}");
    }
    let cut = facts.one("get cut");
    assert_ne!(value(cut, "rc"), "0", "{cut}");
    // What is not in memory comes from the worker's buffers instead.
    assert_eq!(number(cut, "tx"), 1, "{cut}");
    assert!(number(cut, "sendfile") < (CUT + TAKEN) as u64, "{cut}");
    assert!(facts.one("error cut").contains("reset"));
}

/// openssl asks for new keys twice between two requests.
fn new_keys_or_a_clean_end(facts: &Facts) {
    let keys = facts.one("keys");
    assert_eq!((value(keys, "rc"), number(keys, "tx")), ("0", 1), "{keys}");
    let body = sum(&support::content(ASKED));
    let line = facts.one("bodies");
    let bodies: Vec<&str> = line.split(' ').collect();
    if facts.changes_keys() {
        assert!(number(keys, "rekeys") > 0, "{keys}");
        assert_eq!(bodies[1..], [&body, &body], "{keys}");
    } else {
        let received: usize = bodies[0].parse().unwrap();
        assert!(received < ASKED + 1000, "one head and body alone: {keys}");
        assert_eq!(bodies[2], body, "{keys}");
        assert!(!value(keys, "said").contains("unexpected_eof"), "{keys}");
    }
}

fn check(facts: &Facts) {
    every_cipher_gives_the_same_bytes(facts);
    sessions_are_counted_by_who_seals(facts);
    nothing_waits_and_nothing_is_short(facts);
    new_keys_or_a_clean_end(facts);
}

#[test]
fn kernel_tls_on_this_debians_kernel() {
    if let Some(kernel) = Kernel::find("stock", true) {
        check(&Facts::from(&kernel));
    }
}

#[test]
fn kernel_tls_on_a_kernel_that_changes_keys() {
    if let Some(kernel) = Kernel::find("newer", false) {
        let facts = Facts::from(&kernel);
        assert!(facts.changes_keys(), "a kernel for this was asked for");
        check(&facts);
    }
}
