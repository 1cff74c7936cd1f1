//! Who may call what: a table over every call that needs a token, taken from the API document.

use crate::harness::{Control, title};
use cdn_types::api::v1::Role;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn every_write_needs_its_role() {
    let control = Control::start();
    control.site("ams", "nl", "127.0.0.0/8").await;
    let a1 = control.join("a1", "ams").await;
    let other = control.join("a2", "ams").await;
    let tokens = [
        ("admin", control.admin.clone()),
        ("planner", control.token(Role::Planner).await),
        ("service", control.token(Role::Service).await),
        ("appliance", a1),
    ];
    let document: Value = control.get("/v1/openapi.json").await.to();
    let mut calls = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let role = operation["security"][0]["token"][0].as_str();
            assert_eq!(
                role.is_some() || path == "/v1/join",
                method != "get",
                "{method} {path}: writing needs a role, reading none"
            );
            let Some(role) = role else { continue };
            calls += 1;
            let url = path
                .replace("{id}", "a1")
                .replace("{n}", "1")
                .replace("{title}", "t")
                .replace("{site}", "s");
            let call = async |token| {
                let method: Method = method.to_uppercase().parse().unwrap();
                control.call(method, &url, token, Some(json!({}))).await
            };
            assert_eq!(call(None).await.problem(401), "unauthorized", "{method} {path}");
            assert_eq!(call(Some("nf_wrong")).await.problem(401), "unauthorized");
            for (name, token) in &tokens {
                let status = call(Some(token)).await.status;
                let allowed = *name == role || *name == "admin";
                assert_eq!(status != 403, allowed, "{method} {path} as {name}: {status}");
                assert_ne!(status, 401, "{method} {path} as {name}");
            }
        }
    }
    assert!(calls >= 10, "the table is empty");
    let report = crate::harness::report("b", 1, &[]);
    let answer = control.post("/v1/appliances/a1/report", &other, &report).await;
    assert_eq!(answer.problem(403), "forbidden", "another appliance's token");
}

#[tokio::test]
async fn a_malformed_authorization_is_401_and_says_what_to_send() {
    let control = Control::start();
    for (value, word) in [
        ("Basic eDp5", "Bearer <token>"),
        ("Bearer", "Bearer <token>"),
        ("Bearer nf_x", "not known"),
    ] {
        let request = control.client.put(format!("{}/v1/titles/t", control.url));
        let answer =
            crate::harness::answer(request.header("Authorization", value).json(&title("t", "x"))).await;
        assert_eq!(answer.problem(401), "unauthorized");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"nightfill\"");
        assert!(answer.detail().contains(word), "{}", answer.detail());
    }
}

#[tokio::test]
async fn tokens_are_kept_as_hashes_in_files_of_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    let mode = std::fs::metadata(dir.path().join("admin.token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let planner = control.token(Role::Planner).await;
    // `token` works beside the running server.
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .args(["token", "--role", "planner", "--name", "cron", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let offline = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    assert_eq!(
        control
            .post("/v1/plans/9/activate", &offline, &())
            .await
            .problem(404),
        "not_found"
    );

    // In another directory it would be a token that nobody knows.
    let elsewhere = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_control-plane"))
        .args(["token", "--role", "planner", "--name", "cron", "--data"])
        .arg(elsewhere.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && text.contains("no control.db"), "{text}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    let admin = control.admin.clone();
    assert!(control.terminate().await.success());
    let database = std::fs::read(dir.path().join("control.db")).unwrap();
    for secret in [&admin, &planner, &offline] {
        assert_eq!(secret.len(), 46);
        assert!(
            !database.windows(secret.len()).any(|w| w == secret.as_bytes()),
            "a token stands in the database"
        );
    }
}
