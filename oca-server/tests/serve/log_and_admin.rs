//! The access log and the admin listener.

use crate::support::{Server, get, request, tree, until};
use std::fs;

#[test]
fn access_log_has_the_request_and_its_cmcd_keys_as_sent() {
    let root = tree();
    let server = Server::start(root.path(), &[]);
    let lines = "Range: bytes=0-9\r\nUser-Agent: player \"1\"\r\nReferer: https://p.example/\r\n\
                 CMCD-Session: sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\",v=2\r\nCMCD-Request: bl=(0),su\r\n";
    assert_eq!(get(server.http(), "/f.mp4?token=secret", lines).status, 206);
    let line = server.logged("206", |l| l["status"] == 206);
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("method", "GET"),
        ("path", "/f.mp4"),
        ("host", "test"),
        ("range", "bytes=0-9"),
        ("user_agent", "player \"1\""),
        ("referer", "https://p.example/"),
        ("sid", "6e2fb550-c457-11e9-bb97-0800200c9a66"),
        ("end", "complete"),
    ] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    assert_eq!(line["bytes"], 10);
    assert_eq!(line["cmcd"]["request"], "bl=(0),su");
    assert!(line["cmcd"]["session"].as_str().unwrap().ends_with("v=2"));
    assert!(!line.to_string().contains("secret"), "queries may carry tokens");
    let time: jiff::Timestamp = line["time"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(time).as_secs().abs() < 60);

    get(server.http(), "/small.mp4?CMCD=bs%2Csid%3D%22q-1%22", "");
    let line = server.logged("CMCD in the query", |l| l["path"] == "/small.mp4");
    assert_eq!(
        (&line["sid"], &line["cmcd"]["query"]),
        (&"q-1".into(), &"bs,sid=\"q-1\"".into())
    );
}

#[test]
fn access_log_goes_where_it_is_told() {
    let root = tree();
    let log = tempfile::NamedTempFile::new().unwrap();
    let server = Server::start(root.path(), &["--access-log", log.path().to_str().unwrap()]);
    get(server.http(), "/none", "");
    until("the line is in the file", || {
        fs::read_to_string(log.path()).unwrap().contains("\"status\":404")
    });
    assert!(server.log().is_empty(), "and not on standard output");
}

#[test]
fn admin_shows_metrics_health_and_switches_drain() {
    let root = tree();
    let server = Server::start(root.path(), &["--admin-listen", "127.0.0.1:0"]);
    let admin = server.admin();
    assert_eq!(get(server.http(), "/f.mp4", "Range: bytes=0-999\r\n").status, 206);
    until("it is counted", || {
        server.metric("oca_requests_total{protocol=\"HTTP/1.1\",status=\"206\"}") == 1.0
    });
    assert_eq!(
        server.metric("oca_sent_bytes_total{protocol=\"HTTP/1.1\"}"),
        1000.0
    );
    assert_eq!(server.metric("oca_open_files"), 1.0);
    assert_eq!(get(admin, "/healthz", "").text(), "ok\n");
    assert_eq!(get(admin, "/readyz", "").status, 200);

    let json = |r: crate::support::Response| serde_json::from_slice::<serde_json::Value>(&r.body).unwrap();
    assert_eq!(
        json(request(admin, "POST", "/v1/drain", "Content-Length: 0\r\n"))["draining"],
        true
    );
    let ready = get(admin, "/readyz", "");
    assert_eq!(ready.status, 503);
    assert_eq!(json(ready)["draining"], true);
    assert_eq!(server.metric("oca_draining"), 1.0);
    assert_eq!(
        get(server.http(), "/small.mp4", "").status,
        200,
        "draining still serves"
    );
    assert_eq!(
        json(request(admin, "POST", "/v1/undrain", "Content-Length: 0\r\n"))["draining"],
        false
    );
    assert_eq!(get(admin, "/readyz", "").status, 200);

    assert_eq!(get(admin, "/v1/drain", "").field("allow"), Some("POST"));
    assert_eq!(get(admin, "/none", "").status, 404);
    assert_eq!(
        get(server.http(), "/metrics", "").status,
        404,
        "viewers do not see the admin listener"
    );
}

#[test]
fn doctor_measures_this_machine_and_names_a_wrong_folder() {
    let run = |args: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_oca-server"))
            .arg("doctor")
            .args(args)
            .output()
            .unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let out = run(&["--json", "--root", dir.path().to_str().unwrap()]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    let found = |what: &str| findings.iter().find(|f| f["what"] == what).unwrap()["found"].to_string();
    assert!(found("sealing AES-128-GCM").contains("GB/s a core"));
    assert!(found("cores").contains("for this process"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    let out = run(&["--root", "/nonexistent"]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text.starts_with("error: --root /nonexistent:") && text.lines().count() == 1,
        "{text}"
    );
}
