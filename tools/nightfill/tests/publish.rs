//! `nightfill publish` against a control plane that keeps what it is told: what is stored, what is registered, and in
//! which order.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::{get, put},
};
use cdn_types::{
    TitleId,
    api::v1::{OriginInfo, Problem, TitleRegistration, TitleSummary},
    digest::Digester,
    title::{ObjectRole, TITLE_FORMAT, TitleManifest, TitleObject},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
};

/// A control plane of one test: its store, and every registration with whether all objects were stored by then.
#[derive(Clone)]
struct Control {
    store: PathBuf,
    registered: Arc<Mutex<Vec<(TitleRegistration, bool)>>>,
}

async fn put_title(
    State(control): State<Control>,
    UrlPath(id): UrlPath<String>,
    headers: HeaderMap,
    Json(title): Json<TitleRegistration>,
) -> axum::response::Response {
    if headers.get("authorization").is_none_or(|t| t != "Bearer secret") {
        let problem = Problem {
            kind: "urn:nightfill:forbidden".into(),
            title: "forbidden".into(),
            status: 403,
            detail: "titles are registered by admin".into(),
        };
        return (StatusCode::FORBIDDEN, Json(problem)).into_response();
    }
    assert_eq!(id, title.manifest.id.as_str());
    let m = &title.manifest;
    let complete = m.objects.iter().all(|o| {
        let stored = control.store.join(&m.public_prefix()[1..]).join(&o.path);
        fs::metadata(stored).is_ok_and(|f| f.len() == o.size.0)
    });
    let summary = TitleSummary {
        id: m.id.clone(),
        name: m.name.clone(),
        version: m.version(),
        duration_ms: m.duration_ms,
        objects: m.objects.len() as u64,
        size: m.size(),
    };
    control.registered.lock().unwrap().push((title, complete));
    Json(summary).into_response()
}

async fn remove_title(
    State(control): State<Control>,
    UrlPath(id): UrlPath<String>,
) -> axum::response::Response {
    let mut registered = control.registered.lock().unwrap();
    let Some(at) = registered.iter().position(|(t, _)| t.manifest.id.as_str() == id) else {
        let problem = Problem {
            kind: "urn:nightfill:not_found".into(),
            title: "not found".into(),
            status: 404,
            detail: format!("title {id} is not registered"),
        };
        return (StatusCode::NOT_FOUND, Json(problem)).into_response();
    };
    let prefix = registered[at].0.manifest.public_prefix();
    assert!(
        control.store.join(&prefix[1..]).join("v720.mp4").exists(),
        "files go last"
    );
    registered.remove(at);
    StatusCode::NO_CONTENT.into_response()
}

/// Starts a control plane; returns it and its address.
async fn control(store: &Path) -> (Control, String) {
    let control = Control {
        store: store.to_owned(),
        registered: Arc::default(),
    };
    let origin = OriginInfo {
        store: format!("file://{}", store.display()),
        url: "http://127.0.0.1:1".into(),
    };
    let app = Router::new()
        .route("/v1/origin", get(move || async { Json(origin) }))
        .route("/v1/titles/{id}", put(put_title).delete(remove_title))
        .with_state(control.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (control, address)
}

/// Writes a title of three objects, one of them of several blocks.
fn title(dir: &Path) -> TitleManifest {
    let bodies: [(&str, Vec<u8>); 3] = [
        ("index.m3u8", b"#EXTM3U\n".into()),
        ("manifest.mpd", b"<MPD/>".into()),
        (
            "v720.mp4",
            (0..9_500_000_u32).map(|i| i.to_le_bytes()[1]).collect(),
        ),
    ];
    let objects = bodies.map(|(path, body)| {
        fs::write(dir.join(path), &body).unwrap();
        let mut digester = Digester::new();
        digester.update(&body);
        let (size, digest, blocks) = digester.finish();
        TitleObject {
            path: path.into(),
            role: ObjectRole::Media,
            rendition: None,
            media_type: "video/mp4".into(),
            size,
            digest,
            blocks,
        }
    });
    let manifest = TitleManifest {
        format: TITLE_FORMAT,
        id: TitleId::new("film").unwrap(),
        name: "A film".into(),
        duration_ms: 1000,
        hls: "index.m3u8".into(),
        dash: "manifest.mpd".into(),
        renditions: vec![],
        objects: objects.into(),
    };
    fs::write(dir.join("title.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    manifest
}

async fn publish(dir: &Path, control: &str, token: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightfill"));
    command
        .arg("publish")
        .arg(dir)
        .args(["--control", control])
        .env("NIGHTFILL_TOKEN", token);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_stored_before_the_title_is_registered() {
    let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manifest = title(dir.path());
    let (control, address) = control(&store.path().join("origin")).await;
    for (stored, skipped) in [(3, 0), (0, 3)] {
        let done = publish(dir.path(), &address, "secret").await;
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            said.contains(&format!("{stored} objects stored, {skipped} there already")),
            "{said}"
        );
    }
    let registered = control.registered.lock().unwrap();
    assert_eq!(registered.len(), 2);
    for (title, complete) in registered.iter() {
        assert!(complete, "registered before its objects were stored");
        assert_eq!(title.manifest, manifest);
        assert_eq!((title.hls.as_str(), title.dash.as_str()), ("#EXTM3U\n", "<MPD/>"));
    }
    let object = control
        .store
        .join(&manifest.public_prefix()[1..])
        .join("v720.mp4");
    assert_eq!(
        fs::read(object).unwrap(),
        fs::read(dir.path().join("v720.mp4")).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_and_refusals_are_told_and_register_nothing() {
    let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    title(dir.path());
    let (control, address) = control(&store.path().join("origin")).await;
    let refused = publish(dir.path(), &address, "wrong").await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("PUT /v1/titles/film: 403: titles are registered by admin"),
        "{said}"
    );
    assert!(said.contains("--token-file"), "{said}");

    let media = dir.path().join("v720.mp4");
    let mut body = fs::read(&media).unwrap();
    body[5 << 20] ^= 0x40;
    fs::write(&media, body).unwrap();
    let damaged = publish(dir.path(), &address, "secret").await;
    let said = String::from_utf8_lossy(&damaged.stderr).into_owned();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(
        said.contains("v720.mp4: block 5 (1 MiB from byte 5242880) has another digest"),
        "{said}"
    );

    let away = publish(dir.path(), "http://127.0.0.1:1", "secret").await;
    assert!(!away.status.success());
    assert!(control.registered.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpublishing_removes_the_registration_and_then_the_files() {
    let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manifest = title(dir.path());
    let (control, address) = control(&store.path().join("origin")).await;
    let files = control.store.join(&manifest.public_prefix()[1..]);
    let neighbour = control.store.join("t/film-2/1/index.m3u8");
    fs::create_dir_all(neighbour.parent().unwrap()).unwrap();
    fs::write(&neighbour, "of another title").unwrap();
    for (flags, removed) in [(&["--keep-objects"][..], 0), (&[], 3)] {
        assert!(publish(dir.path(), &address, "secret").await.status.success());
        let done = unpublish(&address, flags).await;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(
            said.contains(&format!("no longer registered, {removed} files removed")),
            "{said}"
        );
        assert!(control.registered.lock().unwrap().is_empty());
        assert_eq!(files.join("v720.mp4").exists(), removed == 0);
        assert_eq!(control.store.join("t/film").exists(), removed == 0);
        assert!(neighbour.exists());
    }
    let again = unpublish(&address, &[]).await;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        !again.status.success() && said.contains("title film is not registered"),
        "{said}"
    );

    assert!(publish(dir.path(), &address, "secret").await.status.success());
    let nowhere = unpublish(&address, &["--origin", "gs://x"]).await;
    assert!(!nowhere.status.success());
    assert_eq!(
        control.registered.lock().unwrap().len(),
        1,
        "the title is as it was"
    );
}

async fn unpublish(control: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightfill"));
    command
        .args(["unpublish", "film", "--control", control])
        .args(flags)
        .env("NIGHTFILL_TOKEN", "secret");
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}
