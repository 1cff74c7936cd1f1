//! The router alone, without a socket.

use super::*;
use axum::{body::to_bytes, http::Request};
use tower::ServiceExt;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(players: Option<&Path>, request: Request<Body>) -> Answer {
    let response = router(players.map(Path::to_owned))
        .oneshot(request)
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn get_path(players: Option<&Path>, path: &str) -> Answer {
    ask(players, Request::get(path).body(Body::empty()).unwrap()).await
}

/// A `node_modules` with two of the three players, and a secret beside it that nobody may read.
fn installed() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let modules = root.path().join("node_modules");
    let put = |path: &str, text: &str| {
        let path = modules.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("hls.js/dist/hls.min.js", "var Hls = 1;");
    put("hls.js/package.json", r#"{"name":"hls.js","version":"1.7.4"}"#);
    put("dashjs/dist/modern/umd/dash.all.min.js", "var dashjs = 1;");
    std::fs::write(root.path().join("secret"), "top secret").unwrap();
    (root, modules)
}

#[tokio::test]
async fn every_asset_is_served_with_its_type_and_policy() {
    for asset in ASSETS {
        let got = get_path(None, asset.path).await;
        assert_eq!(got.status, StatusCode::OK, "{}", asset.path);
        assert_eq!(
            got.header(header::CONTENT_TYPE),
            asset.media_type,
            "{}",
            asset.path
        );
        assert_eq!(
            got.header(header::CONTENT_SECURITY_POLICY),
            asset.policy,
            "{}",
            asset.path
        );
        assert_eq!(got.header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(got.header(header::CACHE_CONTROL), "no-cache");
        assert_eq!(got.body, asset.body);
    }
}

#[tokio::test]
async fn an_unchanged_page_costs_a_304() {
    let tag = get_path(None, "/").await.header(header::ETAG).to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let cases = [
        (tag.clone(), StatusCode::NOT_MODIFIED),
        (format!("\"x\", W/{tag}"), StatusCode::NOT_MODIFIED),
        ("*".to_owned(), StatusCode::NOT_MODIFIED),
        ("\"x\"".to_owned(), StatusCode::OK),
        (tag.trim_matches('"').to_owned(), StatusCode::OK),
    ];
    for (condition, status) in cases {
        let request = Request::get("/").header(header::IF_NONE_MATCH, &condition);
        let got = ask(None, request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, status, "{condition}");
        assert_eq!(got.header(header::ETAG), tag);
        assert_eq!(
            got.body.is_empty(),
            status == StatusCode::NOT_MODIFIED,
            "{condition}"
        );
    }
}

/// The policies allow scripts and styles of this origin only; inline ones would silently do nothing.
#[test]
fn pages_refer_to_nothing_that_their_policy_refuses() {
    for asset in ASSETS {
        let (path, body) = (asset.path, asset.body);
        if asset.media_type == HTML {
            for refused in [
                "<style",
                " style=",
                " onclick=",
                " onload=",
                "javascript:",
                "<iframe",
            ] {
                assert!(!body.contains(refused), "{path} contains {refused}");
            }
            for tag in body.split("<script").skip(1) {
                assert!(
                    tag.starts_with(" type=\"module\" src=\"/assets/"),
                    "{path}: an inline script"
                );
            }
        }
        for scheme in ["http://", "https://", "url(//", "src=\"//"] {
            for (at, _) in body.match_indices(scheme) {
                let rest = &body[at..];
                let known = rest.starts_with("http://www.w3.org/") || rest.starts_with("http://HOST");
                assert!(
                    known,
                    "{path} names an address of the network: {}",
                    rest.lines().next().unwrap()
                );
            }
        }
    }
}

/// A page that asks for an asset that is not in the table shows unstyled or dead; so does a script's import.
#[test]
fn pages_and_scripts_name_only_assets_that_exist() {
    let mut seen = 0;
    for asset in ASSETS {
        for part in asset.body.split("/assets/").skip(1) {
            let name: String = part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || ".-".contains(*c))
                .collect();
            let path = format!("/assets/{name}");
            assert!(
                ASSETS.iter().any(|a| a.path == path),
                "{} names {path}",
                asset.path
            );
            seen += 1;
        }
    }
    assert!(seen > 5);
}

#[tokio::test]
async fn installed_players_are_served_and_listed() {
    let (_root, modules) = installed();
    let got = get_path(Some(&modules), "/players/hls.js").await;
    assert_eq!((got.status, got.body.as_str()), (StatusCode::OK, "var Hls = 1;"));
    assert_eq!(got.header(header::CONTENT_TYPE), SCRIPT);

    let request = Request::get("/players/hls.js").header(header::IF_NONE_MATCH, got.header(header::ETAG));
    let again = ask(Some(&modules), request.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (again.status, again.body.as_str()),
        (StatusCode::NOT_MODIFIED, "")
    );

    let list = get_path(Some(&modules), "/players").await;
    let list: serde_json::Value = serde_json::from_str(&list.body).unwrap();
    let players = list["players"].as_array().unwrap();
    let installed: Vec<_> = players
        .iter()
        .map(|p| (p["id"].as_str().unwrap(), p["installed"] == true))
        .collect();
    let expected = [
        ("hls.js", true),
        ("dash.js", true),
        ("shaka", false),
        ("shaka-dash", false),
        ("video.js", false),
    ];
    assert_eq!(installed, expected);
    assert_eq!(players[0]["version"], "1.7.4");
    assert!(list["mend"].as_str().unwrap().contains("npm ci"));
}

#[tokio::test]
async fn without_players_the_answer_says_how_to_install_them() {
    let (_root, modules) = installed();
    for (dir, path) in [
        (None, "/players/hls.js"),
        (None, "/players/dash.js"),
        (Some(modules.as_path()), "/players/shaka.js"),
    ] {
        let got = get_path(dir, path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(got.header(header::CONTENT_TYPE), "application/problem+json");
        let problem: Problem = serde_json::from_str(&got.body).unwrap();
        assert!(
            problem.detail.contains("npm ci --prefix control-plane/web"),
            "{}",
            problem.detail
        );
        assert!(problem.detail.contains("--players"), "{}", problem.detail);
        assert!(
            !problem.detail.contains(&*modules.to_string_lossy()),
            "{}",
            problem.detail
        );
    }
    let list = get_path(None, "/players").await;
    assert!(
        list.body.contains("npm ci --prefix control-plane/web"),
        "{}",
        list.body
    );
}

#[tokio::test]
async fn no_path_leads_out_of_the_players_folder() {
    let (_root, modules) = installed();
    for path in [
        "/players/../secret",
        "/players/..%2fsecret",
        "/players/%2e%2e/secret",
        "/players/hls.js/../../secret",
        "/players//secret",
        "/players/hls.js%00",
        "/players/hls.js/dist/hls.min.js",
        "/players/package.json",
        "/assets/../pages.rs",
        "/assets/%2e%2e%2fpages.rs",
    ] {
        let got = get_path(Some(&modules), path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!got.body.contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn a_file_too_large_to_be_a_player_is_refused() {
    let (_root, modules) = installed();
    let file = std::fs::File::create(modules.join("hls.js/dist/hls.min.js")).unwrap();
    file.set_len(MAX_PLAYER_BYTES + 1).unwrap();
    let got = get_path(Some(&modules), "/players/hls.js").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    assert!(got.body.contains("larger than"), "{}", got.body);
}

#[tokio::test]
async fn pages_are_read_only() {
    let got = ask(None, Request::post("/").body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
}
