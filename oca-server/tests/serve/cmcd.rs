//! What players say of themselves (CMCD) and are told (CMSD), and what is done about it.

use crate::support::{SIZE, Server, certificate, content, get, tree};
use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

#[test]
fn a_player_that_has_enough_is_paced_and_one_that_has_not_is_not() {
    let root = tree();
    let (dir, file) = (tempfile::tempdir().unwrap(), content(SIZE));
    let (cert, key) = certificate(dir.path());
    let [cert, key] = [&cert, &key].map(|p| p.to_str().unwrap());
    let tls = ["--tls-listen", "127.0.0.1:0", "--cert", cert, "--key", key];
    let server = Server::start(root.path(), &tls);
    let fetch = |args: &[&str], url: String| {
        let body = dir.path().join("body");
        let started = Instant::now();
        let out = Command::new("curl")
            .args(["-sS", "--cacert", cert, "-o", body.to_str().unwrap()])
            .args(args)
            .arg(url)
            .status()
            .unwrap();
        assert!(out.success());
        assert!(fs::read(body).unwrap() == file);
        started.elapsed()
    };
    // What a paced response takes at least: its bytes at its rate, but for a burst at the beginning.
    let rate = SIZE as u64 * 8 / 1000; // one second
    let (paced, least) = (format!("CMCD-Status: rtp={rate}"), Duration::from_millis(500));
    let healthy = "CMCD-Request: bl=30000";
    let plain = || format!("http://{}/f.mp4", server.http());
    let secure = || format!("https://{}/f.mp4", server.tls());
    assert!(fetch(&["-H", &paced, "-H", healthy], plain()) >= least);
    assert!(fetch(&["-H", &paced, "-H", healthy, "--http1.1"], secure()) >= least);
    assert!(fetch(&["-H", &paced, "-H", healthy, "--http2"], secure()) >= least);
    let query = format!("?CMCD=bl%3D30000%2Crtp%3D{rate}");
    assert!(fetch(&[], plain() + &query) >= least);
    // A second request of the same connection that needs its bytes at once is not held to the first one's rate.
    let (url, slow) = (plain(), format!("CMCD-Status: rtp={}", rate / 3));
    let paced = &slow;
    let started = Instant::now();
    let out = Command::new("curl")
        .args([
            "-sS",
            "-o",
            "/dev/null",
            "-H",
            paced,
            "-H",
            healthy,
            &url,
            "--next",
        ])
        .args([
            "-sS",
            "-o",
            "/dev/null",
            "-H",
            paced,
            "-H",
            "CMCD-Request: bl=30000,su",
            &url,
        ])
        .status()
        .unwrap();
    assert!(out.success());
    let both_paced = 6 * least * 2;
    assert!(started.elapsed() < both_paced, "{:?}", started.elapsed());
}

#[test]
fn a_player_that_speaks_cmcd_is_told_of_its_path_and_the_log_keeps_it() {
    let root = tree();
    let server = Server::start(root.path(), &[]);
    let response = get(server.http(), "/f.mp4", "CMCD-Session: sid=\"a-1\"\r\n");
    let told = response.field("cmsd-dynamic").unwrap().to_owned();
    let (name, rest) = told[1..].split_once('"').unwrap();
    assert!(!name.is_empty() && rest.contains(";rtt="), "{told}");
    assert_eq!(get(server.http(), "/f.mp4", "").field("cmsd-dynamic"), None);
    let line = server.logged("the request", |l| l["sid"] == "a-1");
    assert!(line["rtt"].as_f64().unwrap() > 0.0, "{line}");
    assert!(line["retransmitted"].is_u64(), "{line}"); // a busy machine makes even loopback send again
    assert!(line["delivery_rate"].is_u64(), "{line}");
}
