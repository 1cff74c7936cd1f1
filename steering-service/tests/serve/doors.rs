//! Rank, redirect, health, and what all answers have in common.

use super::{
    fixture::{fleet, with_state},
    program::{Program, command, sample},
};
use cdn_types::api::v1::ApplianceState;
use reqwest::{Method, header};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn ids(answer: &Value) -> Vec<&str> {
    answer["ranked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["appliance"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn rank_lists_appliances_with_addresses_and_reasons() {
    let p = Program::offline(&fleet(), &[]).await;
    let answer = p.json("/v1/rank?client=203.0.113.9&asset=film").await;
    assert_eq!(answer["outcome"], "hit");
    assert_eq!(ids(&answer)[0], "par-1");
    assert_eq!(ids(&answer)[3], "origin");
    let first = &answer["ranked"][0];
    assert_eq!(first["url"], "http://127.0.0.4:8080/t/film/0123456789ab");
    assert_eq!(
        (&first["site"], &first["tier"]),
        (&"par".into(), &"own_site".into())
    );
    assert!(answer.get("explain").is_none());
    let v6 = p.json("/v1/rank?client=2001:db8::1&asset=film").await;
    assert_eq!(ids(&v6)[0], "par-1");
    let own = p.json("/v1/rank?asset=film").await;
    assert_eq!(own["client"], "127.0.0.1");
    assert!(ids(&own)[0].starts_with("lon-"));
}

#[tokio::test]
async fn explain_names_every_dropped_appliance_and_its_reason() {
    let p = Program::offline(&with_state(&fleet(), "lon-2", ApplianceState::Draining), &[]).await;
    let answer = p.json("/v1/rank?client=127.0.0.1&asset=film&explain=1").await;
    let why = &answer["explain"];
    assert_eq!(why["prefix"], "127.0.0.0/8");
    assert_eq!(why["dropped"][0]["appliance"], "lon-2");
    assert_eq!(why["dropped"][0]["reasons"][0]["reason"], "draining");
    assert_eq!(why["generation"], 2);
    assert!(answer["stale_seconds"].is_number());
    let rare = p.json("/v1/rank?client=127.0.0.1&asset=rare&explain=1").await;
    assert_eq!(rare["outcome"], "content_miss");
    assert_eq!(ids(&rare), ["origin"]);
    assert_eq!(rare["explain"]["dropped"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn bad_questions_get_one_clear_problem() {
    let p = Program::offline(&fleet(), &[]).await;
    for (path, status, wanted) in [
        ("/v1/rank", 400, "asset"),
        (
            "/v1/rank?asset=film&client=here",
            400,
            "client must be an IPv4 or IPv6 address",
        ),
        ("/v1/rank?asset=film&explain=yes", 400, "explain must be 0 or 1"),
        ("/v1/rank?asset=film&cleint=1", 400, "cleint"),
        ("/v1/rank?asset=..", 400, "is not a title id"),
        ("/v1/steer/%ff%fe", 400, "session"),
        ("/v1/play/%ff/master.m3u8", 400, "asset"),
        (
            "/v1/rank?asset=none",
            404,
            "title `none` is not in the fleet's catalogue",
        ),
        ("/v1/play/none/master.m3u8", 404, "title `none`"),
        ("/v1/play/film/other.txt", 404, "master.m3u8"),
        ("/v1/go/film/%2e%2e%2fb", 400, "path within a title"),
        ("/v1/go/film/a//b", 400, "path within a title"),
        ("/v1/steer/garbage", 403, "no session token"),
        ("/nothing", 404, "nothing at this address"),
    ] {
        let response = p.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status);
        assert!(
            problem["detail"].as_str().unwrap().contains(wanted),
            "{path}: {problem}"
        );
        assert!(problem["type"].as_str().unwrap().starts_with("urn:nightfill:"));
    }
}

#[tokio::test]
async fn go_redirects_or_lists_all_locations() {
    let p = Program::offline(&fleet(), &[]).await;
    let first = p.json("/v1/rank?asset=film").await["ranked"][0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let response = p.get("/v1/go/film/v720.mp4?tok=a%2Fb").await;
    assert_eq!(response.status(), 302);
    assert_eq!(
        response.headers()[header::LOCATION],
        format!("{first}/v720.mp4?tok=a%2Fb")
    );
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let json = p
        .client
        .get(format!("{}/v1/go/film/v720.mp4", p.url))
        .header(header::ACCEPT, "text/html, application/json;q=0.9");
    let response = json.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::VARY], "Accept");
    let list: Value = response.json().await.unwrap();
    let list = list["locations"].as_array().unwrap();
    assert_eq!(list.len(), 4);
    assert_eq!(list[0], format!("{first}/v720.mp4"));
    assert_eq!(list[3], "http://127.0.0.1:9000/t/film/0123456789ab/v720.mp4");
    let refused = p
        .client
        .get(format!("{}/v1/go/film/v720.mp4", p.url))
        .header(header::ACCEPT, "*/*, application/json;q=0.0");
    assert_eq!(refused.send().await.unwrap().status(), 302);
}

#[tokio::test]
async fn every_door_answers_browsers_of_any_origin() {
    let p = Program::offline(&fleet(), &[]).await;
    for path in [
        "/v1/rank?asset=film",
        "/v1/go/film/x",
        "/v1/play/film/master.m3u8",
        "/v1/play/film/manifest.mpd",
        "/v1/steer/x",
    ] {
        let options = p
            .client
            .request(Method::OPTIONS, format!("{}{path}", p.url))
            .send()
            .await
            .unwrap();
        assert_eq!(options.status(), 204, "{path}");
        let allowed = options.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS]
            .to_str()
            .unwrap();
        assert!(allowed.contains("CMCD-Session"));
        assert_eq!(
            options.headers()[header::ACCESS_CONTROL_ALLOW_METHODS],
            "GET, HEAD, OPTIONS"
        );
        let get = p.get(path).await;
        let head = p.client.head(format!("{}{path}", p.url)).send().await.unwrap();
        assert_eq!(get.status(), head.status(), "{path}");
        for response in [&options, &get, &head] {
            assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        }
    }
    let post = p.client.post(format!("{}/v1/rank", p.url)).send().await.unwrap();
    assert_eq!(
        (post.status().as_u16(), &post.headers()[header::ALLOW]),
        (405, &"GET, HEAD, OPTIONS".parse().unwrap())
    );
}

#[tokio::test]
async fn forwarded_addresses_count_from_trusted_proxies_only() {
    let ask = async |p: &Program| {
        let request = p.client.get(format!("{}/v1/rank?asset=film", p.url));
        let answer = request
            .header("X-Forwarded-For", "1.1.1.1, 203.0.113.9")
            .send()
            .await
            .unwrap();
        answer.json::<Value>().await.unwrap()["client"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let p = Program::offline(&fleet(), &[]).await;
    assert_eq!(ask(&p).await, "127.0.0.1");
    let p = Program::offline(&fleet(), &["--trusted-proxy", "127.0.0.0/8"]).await;
    assert_eq!(ask(&p).await, "203.0.113.9");
}

/// What comes back for bytes sent, until the end of the connection.
async fn raw(p: &Program, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(p.url.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    // A connection that is refused with bytes unread ends in a reset.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn the_proxy_protocol_counts_from_its_proxies_only() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x9c\x40\0\x50";
    let get = b"GET /v1/rank?asset=film HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1\r\nConnection: close\r\n\r\n";
    let told = [&header[..], get].concat();
    let client = |ip: &str| format!(r#""client":"{ip}""#);
    let args = [
        "--proxy-protocol",
        "127.0.0.0/8",
        "--trusted-proxy",
        "127.0.0.0/8",
    ];
    let p = Program::offline(&fleet(), &args).await;
    // The header's source is no trusted proxy, so its X-Forwarded-For is a viewer's.
    assert!(raw(&p, &told).await.contains(&client("203.0.113.9")));
    let local = [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], get].concat();
    assert!(raw(&p, &local).await.contains(&client("198.51.100.1")));
    assert_eq!(raw(&p, get).await, "");
    let version_1 = [&b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 80\r\n"[..], get].concat();
    assert_eq!(raw(&p, &version_1).await, "");
    let p = Program::offline(&fleet(), &["--proxy-protocol", "192.0.2.0/24"]).await;
    assert!(raw(&p, get).await.contains(&client("127.0.0.1")));
    assert!(!raw(&p, &told).await.contains("203.0.113.9"));
}

#[tokio::test]
async fn metrics_count_doors_and_sessions() {
    let p = Program::offline(&fleet(), &[]).await;
    for path in [
        "/v1/play/film/master.m3u8",
        "/v1/play/rare/manifest.mpd",
        "/v1/go/film/manifest.mpd",
        "/v1/go/film/v720.mp4",
    ] {
        p.get(path).await;
    }
    p.client
        .head(format!("{}/v1/play/film/master.m3u8", p.url))
        .send()
        .await
        .unwrap();
    let text = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(
        sample(&text, r#"steering_sessions_total{outcome="hit"}"#),
        Some(2.0),
        "{text}"
    );
    assert_eq!(
        sample(&text, r#"steering_sessions_total{outcome="content_miss"}"#),
        Some(1.0)
    );
    assert_eq!(
        sample(&text, r#"steering_requests_total{door="play",status="200"}"#),
        Some(3.0)
    );
    assert_eq!(
        sample(&text, r#"steering_requests_total{door="go",status="302"}"#),
        Some(2.0)
    );
    assert_eq!(sample(&text, "steering_snapshot_generation"), Some(1.0));
    assert!(sample(&text, "steering_snapshot_stale_seconds").unwrap() < 60.0);
    assert_eq!(p.json("/healthz").await["status"], "ok");
}

#[tokio::test]
async fn bad_starts_end_with_one_line_and_good_ones_end_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = file("good.json", &serde_json::to_string(&fleet()).unwrap());
    let mut twice = fleet();
    twice.titles.push(twice.titles[0].clone());
    for (args, wanted) in [
        (
            vec!["--snapshot".to_owned(), file("bad.json", "{}")],
            "no fleet snapshot",
        ),
        (
            vec![
                "--snapshot".to_owned(),
                dir.path().join("none").to_str().unwrap().to_owned(),
            ],
            "No such file",
        ),
        (
            vec![
                "--snapshot".to_owned(),
                file("twice.json", &serde_json::to_string(&twice).unwrap()),
            ],
            "title `film` twice",
        ),
        (
            vec![
                "--snapshot".to_owned(),
                good.clone(),
                "--session-key".to_owned(),
                file("key", "short"),
            ],
            "at least 16 bytes",
        ),
        (
            vec![
                "--snapshot".to_owned(),
                good.clone(),
                "--policy".to_owned(),
                good.clone(),
            ],
            "--policy ",
        ),
        (
            vec![
                "--snapshot".to_owned(),
                good.clone(),
                "--listen".to_owned(),
                "203.0.113.1:1".to_owned(),
            ],
            "cannot listen on 203.0.113.1:1",
        ),
        (
            vec![
                "--control".to_owned(),
                "http://127.0.0.1:1".to_owned(),
                "--token".to_owned(),
                "NO_SUCH_TOKEN".to_owned(),
            ],
            "--token NO_SUCH_TOKEN",
        ),
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = command(&args);
        if args.contains(&"--listen") {
            command = tokio::process::Command::new(env!("CARGO_BIN_EXE_steering-service"));
            command.arg("serve").args(&args);
        }
        let output = command.output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let errors: Vec<_> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(wanted), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    let usage = command(&[]).output().await.unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let p = Program::offline(&fleet(), &[]).await;
    let _open = p.get("/healthz").await; // leaves a kept-alive connection behind
    assert!(p.stop().await.0.success());
}
