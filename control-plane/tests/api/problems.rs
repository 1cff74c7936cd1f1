//! Every wrong request gets one problem that names the place.

use crate::harness::{Control, answer, site, title};
use reqwest::Method;
use serde_json::json;
use std::process::Command;

#[tokio::test]
async fn wrong_requests_are_problems_that_name_the_place() {
    let control = Control::start();
    control.title("film", "bytes").await;
    let long = "x".repeat(65);
    let table = [
        ("GET", "/v1/nope".to_owned(), 404, "unknown_route", "/v1/nope"),
        ("DELETE", "/v1/titles".into(), 405, "wrong_method", "DELETE"),
        ("POST", "/v1/titles/film".into(), 405, "wrong_method", "POST"),
        ("GET", "/v1/titles/none".into(), 404, "not_found", "none"),
        ("GET", "/v1/titles/-film".into(), 400, "bad_path", "`-film`"),
        (
            "GET",
            format!("/v1/titles/{long}"),
            400,
            "bad_path",
            "1 to 64 characters",
        ),
        ("GET", "/v1/titles/%ff".into(), 400, "bad_path", "UTF-8"),
        ("GET", "/v1/objects/abc".into(), 400, "bad_path", "`abc`"),
        (
            "GET",
            format!("/v1/objects/{}", "0".repeat(64)),
            404,
            "not_found",
            "no registered title",
        ),
        ("GET", "/v1/plans/one".into(), 400, "bad_path", "`one`"),
        ("GET", "/v1/plans/1".into(), 404, "not_found", "plan 1"),
        ("GET", "/v1/fleet?wait=-1".into(), 400, "bad_query", "wait"),
        ("GET", "/v1/fleet?wiat=1".into(), 400, "bad_query", "wiat"),
        ("GET", "/v1/demand".into(), 400, "bad_query", "from"),
        (
            "GET",
            "/v1/demand?from=2026-11-23&to=2026-11-24T00Z".into(),
            400,
            "bad_query",
            "2026-11-23T14Z",
        ),
        (
            "GET",
            "/v1/appliances/a1/plan".into(),
            404,
            "not_found",
            "a1 has not joined",
        ),
        (
            "POST",
            "/v1/appliances/a1/drain".into(),
            404,
            "not_found",
            "a1 has not joined",
        ),
        (
            "GET",
            "/v1/origin/t/film/x/y.mp4".into(),
            404,
            "not_found",
            "/t/film/x/y.mp4",
        ),
    ];
    for (method, path, status, name, word) in table {
        let method: Method = method.parse().unwrap();
        let got = control
            .call(method.clone(), &path, Some(&control.admin), None)
            .await;
        assert_eq!(got.problem(status), name, "{method} {path}");
        assert!(got.detail().contains(word), "{method} {path}: {}", got.detail());
    }
    let allow = control.call(Method::PATCH, "/v1/titles/film", None, None).await;
    let allow = allow.headers["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("PUT"), "{allow}");
}

#[tokio::test]
async fn wrong_bodies_are_problems_that_name_the_field() {
    let control = Control::start();
    let film = serde_json::to_value(title("film", "bytes")).unwrap();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut body = film.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string()
    };
    let site = |prefix: &str| {
        let mut body = serde_json::to_value(site("ams", "nl", "10.0.0.0/8")).unwrap();
        body["prefixes"][0] = json!(prefix);
        body.to_string()
    };
    let table = [
        ("titles/film", String::new(), 400, "bad_body", "EOF"),
        (
            "titles/film",
            "{\n  \"manifest\": nope".into(),
            400,
            "bad_body",
            "line 2 column 1",
        ),
        ("titles/film", "[]".into(), 400, "bad_body", "line 1"),
        (
            "titles/film",
            format!("{film} {film}"),
            400,
            "bad_body",
            "trailing",
        ),
        (
            "titles/film",
            with("/manifest/objects/1/size", json!(-1)),
            400,
            "bad_body",
            "`manifest.objects[1].size`",
        ),
        (
            "titles/film",
            with("/manifest/objects/1/size", json!(-1)),
            400,
            "bad_body",
            "negative",
        ),
        (
            "titles/film",
            with("/manifest/objects/2/digest", json!("xyz")),
            400,
            "bad_body",
            "64 lower-case hex",
        ),
        (
            "titles/film",
            with("/manifest/id", json!("../x")),
            400,
            "bad_body",
            "`manifest.id`",
        ),
        (
            "titles/film",
            with("/manifest/format", json!(2)),
            422,
            "invalid",
            "format 2",
        ),
        ("sites/ams", site("10.0.0.0/99"), 400, "bad_body", "`prefixes[0]`"),
        (
            "sites/ams",
            site("10.0.0.1/8"),
            422,
            "invalid",
            "write 10.0.0.0/8",
        ),
        (
            "sites/lon",
            site("10.0.0.0/8"),
            422,
            "invalid",
            "must be the same",
        ),
        (
            "sites/ams",
            "x".repeat(2 << 20),
            413,
            "too_large",
            "1048576 bytes",
        ),
    ];
    for (path, body, status, name, word) in table {
        let request = control
            .client
            .put(format!("{}/v1/{path}", control.url))
            .bearer_auth(&control.admin)
            .header("Content-Type", "application/json");
        let shown = body.chars().take(80).collect::<String>();
        let got = answer(request.body(body)).await;
        assert_eq!(got.problem(status), name, "{path} {shown}");
        assert!(got.detail().contains(word), "{path} {shown}: {}", got.detail());
    }
    let request = control
        .client
        .put(format!("{}/v1/titles/film", control.url))
        .bearer_auth(&control.admin);
    let got = answer(
        request
            .header("Content-Type", "text/plain")
            .body(film.to_string()),
    )
    .await;
    assert_eq!(got.problem(415), "not_json");
}

/// The body is refused before it has come; without reading the rest a reset would overtake the answer.
#[tokio::test]
async fn a_refusal_reaches_a_caller_who_still_sends() {
    let control = Control::start();
    for (token, status) in [("nf_wrong", 401), (control.admin.as_str(), 413)] {
        for _ in 0..20 {
            let request = control.client.put(format!("{}/v1/sites/ams", control.url));
            let request = request
                .header("Content-Type", "application/json")
                .bearer_auth(token);
            let got = answer(request.body(vec![b' '; 8 << 20])).await;
            got.problem(status);
        }
    }
}

#[tokio::test]
async fn lists_above_their_limits_are_refused() {
    let control = Control::start();
    let mut many = site("ams", "nl", "10.0.0.0/8");
    many.prefixes = vec![many.prefixes[0]; 20_001];
    let got = control.put("/v1/sites/ams", &many).await;
    assert_eq!(got.problem(422), "too_many");
    assert!(
        got.detail().contains("20001 entries; at most 20000"),
        "{}",
        got.detail()
    );
}

#[test]
fn wrong_arguments_end_with_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        ("--origin-store", "gs://x", 1, "--origin-store `gs://x`"),
        ("--origin-url", "nowhere", 1, "--origin-url `nowhere`"),
        ("--report-seconds", "0", 1, "--report-seconds 0"),
        ("--report-seconds", "x", 2, "--report-seconds"),
        ("--listen", "192.0.2.1:1", 1, "cannot listen on 192.0.2.1:1"),
        ("--log", "a=b=c", 1, "--log `a=b=c`"),
        ("--data", "/dev/null/x", 1, "/dev/null/x"),
    ];
    for (flag, value, code, word) in table {
        let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        command.args(["serve", flag, value]);
        if flag != "--data" {
            command.arg("--data").arg(dir.path());
        }
        let out = command.env("RUST_LOG", "error").output().unwrap();
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{text}");
        assert!(text.contains(word), "{word}: {text}");
        let lines = text.lines().count();
        assert!(text.starts_with("error: ") && (code == 2 || lines == 1), "{text}");
    }
}
