//! The way to the origin store.

use crate::harness::Control;
use cdn_types::api::v1::OriginInfo;
use reqwest::Method;

#[tokio::test]
async fn a_served_store_is_redirected_to() {
    let control = Control::with(&["--origin-url", "http://origin.example:81/"]);
    let film = control.title("film", "bytes").await;
    let path = format!("{}/v720.mp4", film.manifest.public_prefix());
    let info: OriginInfo = control.get("/v1/origin").await.to();
    assert_eq!(info.url, "http://origin.example:81");
    assert!(
        info.store.starts_with("file:///") && info.store.ends_with("/origin"),
        "{}",
        info.store
    );
    let answer = control.get(&format!("/v1/origin{path}")).await.is(307);
    assert_eq!(
        answer.headers["location"],
        format!("http://origin.example:81{path}")
    );
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(control.fleet().await.fallback, "http://origin.example:81");
}

#[tokio::test]
async fn a_directory_that_nobody_serves_is_said_to_be_so() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    let answer = control
        .get(&format!("/v1/origin{}/v720.mp4", film.manifest.public_prefix()))
        .await;
    assert_eq!(answer.problem(503), "origin_not_served");
    assert!(answer.detail().contains("--origin-url"), "{}", answer.detail());
    let info: OriginInfo = control.get("/v1/origin").await.to();
    assert_eq!(info.url, format!("{}/v1/origin", control.url));
}

#[tokio::test]
async fn a_bucket_is_reached_by_presigned_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT", "http://127.0.0.1:9"),
    ];
    let control = Control::start_env(dir.path(), &["--origin-store", "s3://films/cdn/"], &env);
    let film = control.title("film", "bytes").await;
    let path = format!("{}/v720.mp4", film.manifest.public_prefix());
    let info: OriginInfo = control.get("/v1/origin").await.to();
    assert_eq!(
        (info.store.as_str(), info.url),
        ("s3://films/cdn", format!("{}/v1/origin", control.url))
    );
    let mut signatures = Vec::new();
    for method in [Method::GET, Method::HEAD] {
        let answer = control
            .call(method, &format!("/v1/origin{path}"), None, None)
            .await
            .is(307);
        let location = answer.headers["location"].to_str().unwrap().to_owned();
        assert!(
            location.starts_with(&format!("http://127.0.0.1:9/films/cdn{path}?")),
            "{location}"
        );
        assert!(
            location.contains("X-Amz-Expires=3600") && location.contains("X-Amz-Signature="),
            "{location}"
        );
        assert_eq!(answer.headers["cache-control"], "no-store");
        signatures.push(location);
    }
    assert_ne!(signatures[0], signatures[1], "HEAD is signed as HEAD");
}
