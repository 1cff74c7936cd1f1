//! Files that are not what they were recorded as.

use crate::support::{Client, SIZE, Server, certificate, get, tree};
use std::{fs::File, process::Command};

#[test]
fn truncated_file_resets_the_connection() {
    let root = tree();
    let server = Server::start(root.path(), &["--admin-listen", "127.0.0.1:0"]);
    let path = root.path().join("f.mp4");
    let mut client = Client::connect(server.http());
    client.send("GET /f.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!(head.field("content-length"), Some(SIZE.to_string().as_str()));
    // The rest does not fit the socket's buffers (the client reads no further), so the server meets the new end.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let mut rest = Vec::new();
    let end = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(
        end.is_err() && rest.len() < SIZE,
        "reset, not a clean end: {end:?} after {}",
        rest.len()
    );
    let line = server.logged("fault", |l| l["end"] == "fault");
    assert_eq!(line["status"], 200);
    crate::support::until("it is counted", || {
        server.metric("oca_body_faults_total{cause=\"short\"}") >= 1.0
    });
    assert_eq!(
        get(server.http(), "/f.mp4", "").body.len(),
        1000,
        "then it is what it is now"
    );
}

#[test]
fn truncated_file_resets_the_http2_stream_and_the_tls_connection() {
    let root = tree();
    let (cert, key) = certificate(root.path());
    // Recorded as 4 MiB by a first request, then truncated within the second that the record is trusted.
    for version in ["--http2", "--http1.1"] {
        let path = root.path().join(format!("{}.mp4", version.trim_matches('-')));
        let server = Server::start(
            root.path(),
            &[
                "--tls-listen",
                "127.0.0.1:0",
                "--cert",
                cert.to_str().unwrap(),
                "--key",
                key.to_str().unwrap(),
                "--workers",
                "1",
            ],
        );
        crate::support::write(&path, &crate::support::content(SIZE));
        let url = format!(
            "https://{}/{}",
            server.tls(),
            path.file_name().unwrap().to_str().unwrap()
        );
        let mut curl = Command::new("curl");
        curl.args([
            "-sk",
            version,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_download}",
            "--limit-rate",
            "1M",
        ]);
        let child = curl
            .arg(&url)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        crate::support::until("the server has opened the file", || {
            let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
            open.flatten()
                .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target == path))
        });
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1000)
            .unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(
            !out.status.success(),
            "curl must see an error: {:?}",
            String::from_utf8_lossy(&out.stdout)
        );
        server.logged("fault", |l| l["end"] == "fault");
    }
}
