//! The same requests to this server and to nginx, on the same files.

use crate::{
    nginx_table::{Expect, Row, TABLE},
    support::{MODIFIED, Response, Server, content, get, http_date, request, tree, until},
};
use std::{
    fmt::Write,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

const PROGRAM: &str = "/usr/sbin/nginx";
/// The boundary that both servers' parts are compared with.
const BOUNDARY: &str = "00000000000000000000";

struct Nginx {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Nginx {
    fn start(root: &Path) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "this test compares with nginx and needs {PROGRAM}: install it (Debian: apt-get install nginx-light)"
        );
        let dir = tempfile::tempdir().unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = dir.path().join("nginx.conf");
        fs::write(&config, configuration(root, dir.path(), addr)).unwrap();
        let child = Command::new(PROGRAM)
            .args(["-e", "stderr", "-p"])
            .arg(dir.path())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("nginx listens", || TcpStream::connect(addr).is_ok());
        Self {
            child,
            addr,
            _dir: dir,
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(root: &Path, dir: &Path, addr: SocketAddr) -> String {
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "{kind}_temp_path {};", dir.join(kind).display());
    }
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log stderr crit; events {{}}
         http {{ access_log off; types {{ video/mp4 mp4; }} {temporary}
         server {{ listen {addr}; root {root}; }} }}",
        dir = dir.display(),
        root = root.display(),
    )
}

/// Sends a row's request with the server's own validators in it.
fn ask(addr: SocketAddr, row: &Row) -> Response {
    let etag = get(addr, "/f.mp4", "Range: bytes=0-0\r\n").fields["etag"].clone();
    let fill = |line: &str| {
        line.replace("{etag}", &etag)
            .replace("{same}", &http_date(MODIFIED))
            .replace("{older}", &http_date(MODIFIED - 1))
            .replace("{newer}", &http_date(MODIFIED + 1))
    };
    let lines: String = row.fields.iter().map(|l| fill(l) + "\r\n").collect();
    normalised(request(addr, row.method, row.target, &lines))
}

/// With the multipart boundary replaced by [`BOUNDARY`]; both are 20 characters long.
fn normalised(mut response: Response) -> Response {
    let boundary = response
        .field("content-type")
        .and_then(|t| t.strip_prefix("multipart/byteranges; boundary="));
    if let Some(boundary) = boundary.map(str::to_owned) {
        assert_eq!(boundary.len(), BOUNDARY.len());
        let mut at = 0;
        while let Some(found) = find(&response.body[at..], boundary.as_bytes()) {
            response.body[at + found..][..BOUNDARY.len()].copy_from_slice(BOUNDARY.as_bytes());
            at += found;
        }
        response
            .fields
            .insert("content-type".to_owned(), "multipart/byteranges".to_owned());
    }
    response
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

fn described(row: &Row) -> String {
    format!("{} {} {}", row.method, row.target, row.fields.join("; "))
}

/// Errors carry a text for people, which is every server's own.
fn assert_same(row: &Row, ours: &Response, theirs: &Response) {
    let what = described(row);
    for field in ["content-range", "last-modified"] {
        assert_eq!(ours.field(field), theirs.field(field), "{field} of {what}");
    }
    if ours.status < 400 {
        for field in ["content-length", "content-type"]
            .iter()
            .filter(|_| ours.status != 304)
        {
            assert_eq!(ours.field(field), theirs.field(field), "{field} of {what}");
        }
        assert!(ours.body == theirs.body, "body of {what}");
    } else {
        assert!(ours.body.len() < 200, "an error's text, not the file: {what}");
    }
}

#[test]
fn same_answers_as_nginx() {
    assert!(TABLE.len() >= 60);
    let root = tree();
    let ours = Server::start(root.path(), &["--access-log", "off"]);
    let nginx = Nginx::start(root.path());
    let mut wrong = Vec::new();
    for row in TABLE {
        let (our, their) = (ask(ours.http(), row), ask(nginx.addr, row));
        let expected = match row.expect {
            Expect::Same(status) => (status, status),
            Expect::Differs(our, their, _) => (our, their),
        };
        if (our.status, their.status) != expected {
            wrong.push(format!(
                "{}: ours {}, nginx {}, expected {expected:?}",
                described(row),
                our.status,
                their.status
            ));
        } else if matches!(row.expect, Expect::Same(_)) {
            assert_same(row, &our, &their);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        TABLE.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_range_body_is_a_piece_of_the_file() {
    let root = tree();
    let ours = Server::start(root.path(), &["--access-log", "off"]);
    let file = content(crate::support::SIZE);
    for (first, last) in [(0, 0), (1, 65_536), (65_535, 1_048_577), (4_000_000, 4_194_303)] {
        let response = get(ours.http(), "/f.mp4", &format!("Range: bytes={first}-{last}\r\n"));
        assert_eq!(response.status, 206);
        assert!(response.body == file[first..=last], "{first}-{last}");
    }
}

#[test]
fn differences_from_nginx_are_written_down() {
    let mut text = String::from(
        "# Differences from nginx\n\nThe answers of `oca-server serve` are compared with nginx's by the test \
         `same_answers_as_nginx`: same status, length and body but\nfor the rows below. Error texts are every server's \
         own. This file is checked by the test `differences_from_nginx_are_written_down`;\nwrite it anew with \
         `UPDATE_DOCS=1`.\n\n| request | ours | nginx | why |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        if let Expect::Differs(ours, theirs, why) = row.expect {
            let mut request = described(row);
            if request.len() > 90 {
                request.truncate(87);
                request.push_str("...");
            }
            let _ = writeln!(text, "| `{request}` | {ours} | {theirs} | {why} |");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences-from-nginx.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{} is not what the table says: run this test with UPDATE_DOCS=1",
        path.display()
    );
}
