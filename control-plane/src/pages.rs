//! The operator's page at `/`, a plan's page at `/plan`, the player's page at `/player`, and the players themselves.
//!
//! The pages are plain HTML, CSS and JavaScript compiled into the program, so that one file is all that an operator
//! installs, and nothing is ever fetched from the network at run time. They know no more than any API client: they
//! draw what `GET /v1/overview`, `/v1/plans/{n}/report`, `/v1/titles` and the like answer, hence this router needs no state of the store.
//!
//! The players (hls.js, dash.js, Shaka, video.js) are large, have licences of their own and change more often than this program:
//! npm installs them beside it (`control-plane/web`), and `--players` names that folder. Only the files of [`PLAYERS`]
//! are ever read from it. A request chooses an entry of that table and never contributes a byte to a file name, so no
//! path can lead out of the folder.
//!
//! Every answer is revalidated by `ETag`: a new release shows at once, an unchanged page costs one 304.

use axum::{
    Json, Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use cdn_types::api::v1::Problem;
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::AsyncReadExt;

/// The operator's page talks to its own origin alone.
const OPERATOR_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The player's page fetches manifests and media from steering and from any appliance, whose addresses are known only
/// at run time. Players append media through `blob:` and may run their demuxer in a `blob:` worker.
const PLAYER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src *; media-src blob: *; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// For what is no document: if a browser is made to show it as one, it may do nothing.
const ASSET_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Largest player file that is served, in bytes: ten times the largest of today, so that a wrong folder cannot make
/// one request hold much memory.
const MAX_PLAYER_BYTES: u64 = 8 * 1024 * 1024;

/// Largest `package.json` that is read for its version, in bytes; the largest of today has 15 kB.
const MAX_PACKAGE_BYTES: u64 = 256 * 1024;

const INSTALL_PLAYERS: &str = "run `npm ci --prefix control-plane/web` in the repository, then start the control plane with \
     `--players control-plane/web/node_modules`";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

struct Asset {
    path: &'static str,
    media_type: &'static str,
    policy: &'static str,
    body: &'static str,
}

macro_rules! asset {
    ($path:literal, $media_type:expr, $policy:expr, $file:literal) => {
        Asset {
            path: $path,
            media_type: $media_type,
            policy: $policy,
            body: include_str!(concat!("pages/", $file)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", HTML, OPERATOR_POLICY, "operator.html"),
    asset!("/plan", HTML, OPERATOR_POLICY, "plan.html"),
    asset!("/player", HTML, PLAYER_POLICY, "player.html"),
    asset!("/assets/common.css", CSS, ASSET_POLICY, "common.css"),
    asset!("/assets/operator.css", CSS, ASSET_POLICY, "operator.css"),
    asset!("/assets/plan.css", CSS, ASSET_POLICY, "plan.css"),
    asset!("/assets/player.css", CSS, ASSET_POLICY, "player.css"),
    asset!("/assets/dom.js", SCRIPT, ASSET_POLICY, "dom.js"),
    asset!("/assets/format.js", SCRIPT, ASSET_POLICY, "format.js"),
    asset!("/assets/operator.js", SCRIPT, ASSET_POLICY, "operator.js"),
    asset!("/assets/plan.js", SCRIPT, ASSET_POLICY, "plan.js"),
    asset!("/assets/player.js", SCRIPT, ASSET_POLICY, "player.js"),
    asset!("/assets/engines.js", SCRIPT, ASSET_POLICY, "engines.js"),
    asset!(
        "/assets/shaka-steering.js",
        SCRIPT,
        ASSET_POLICY,
        "shaka-steering.js"
    ),
    asset!("/assets/icon.svg", SVG, ASSET_POLICY, "icon.svg"),
];

struct Player {
    id: &'static str,
    path: &'static str,
    file: &'static str,
    package: &'static str,
}

/// The players, in the order in which the page offers them; `file` and `package` lie below `--players`. Of those that share a
/// script the first serves it.
const PLAYERS: &[Player] = &[
    Player {
        id: "hls.js",
        path: "/players/hls.js",
        file: "hls.js/dist/hls.min.js",
        package: "hls.js/package.json",
    },
    Player {
        id: "dash.js",
        path: "/players/dash.js",
        file: "dashjs/dist/modern/umd/dash.all.min.js",
        package: "dashjs/package.json",
    },
    Player {
        id: "shaka",
        path: "/players/shaka.js",
        file: "shaka-player/dist/shaka-player.compiled.js",
        package: "shaka-player/package.json",
    },
    Player {
        id: "shaka-dash",
        path: "/players/shaka.js",
        file: "shaka-player/dist/shaka-player.compiled.js",
        package: "shaka-player/package.json",
    },
    Player {
        id: "video.js",
        path: "/players/video.js",
        file: "video.js/dist/video.min.js",
        package: "video.js/package.json",
    },
];

/// Answer of `GET /players`: what the player's page can offer.
#[derive(Serialize)]
struct PlayerList {
    players: Vec<PlayerView>,
    /// How to install what is missing, for people; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
}

#[derive(Serialize)]
struct PlayerView {
    id: &'static str,
    /// Where its script is.
    url: &'static str,
    installed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

/// Routes of the pages: `/`, `/player`, `/assets/…`, `/players` and `/players/…`.
///
/// `players_dir` is the `node_modules` in which npm installed the players; without it the player's page says how to
/// install them, and everything else works.
pub fn router(players_dir: Option<PathBuf>) -> Router {
    let mut router = Router::new();
    for asset in ASSETS {
        let tag = entity_tag(asset.body.as_bytes());
        router = router.route(
            asset.path,
            get(move |headers: HeaderMap| async move {
                answer(
                    &headers,
                    &tag,
                    asset.media_type,
                    asset.policy,
                    Body::from(asset.body),
                )
            }),
        );
    }
    let dir: Option<Arc<Path>> = players_dir.map(Into::into);
    let is_first = |at: usize| PLAYERS[..at].iter().all(|other| other.path != PLAYERS[at].path);
    for (_, player) in PLAYERS.iter().enumerate().filter(|(at, _)| is_first(*at)) {
        let dir = dir.clone();
        router = router.route(
            player.path,
            get(
                move |headers: HeaderMap| async move { serve_player(dir.as_deref(), player, &headers).await },
            ),
        );
    }
    router.route(
        "/players",
        get(move || async move { list_players(dir.as_deref()).await }),
    )
}

/// A strong entity tag of these bytes.
fn entity_tag(body: &[u8]) -> HeaderValue {
    let digest = blake3::hash(body).to_hex();
    HeaderValue::try_from(format!("\"{}\"", &digest[..16]))
        .expect("hexadecimal digits in quotes are a header value")
}

/// Whether `If-None-Match` names this tag (RFC 9110 §13.1.2, weak comparison).
fn is_current(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags = request.get_all(header::IF_NONE_MATCH).iter();
    tags.filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

fn answer(
    request: &HeaderMap,
    tag: &HeaderValue,
    media_type: &'static str,
    policy: &'static str,
    body: Body,
) -> Response {
    let mut response = if is_current(request, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(body)
    };
    let headers = response.headers_mut();
    let mut set =
        |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, media_type);
    set(header::CACHE_CONTROL, "no-cache");
    set(header::CONTENT_SECURITY_POLICY, policy);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    headers.insert(header::ETAG, tag.clone());
    response
}

async fn serve_player(dir: Option<&Path>, player: &'static Player, request: &HeaderMap) -> Response {
    let Some(dir) = dir else {
        return not_installed(format!(
            "The control plane runs without --players: {INSTALL_PLAYERS}."
        ));
    };
    match read_limited(&dir.join(player.file), MAX_PLAYER_BYTES).await {
        Ok(body) => {
            let tag = entity_tag(&body);
            answer(request, &tag, SCRIPT, ASSET_POLICY, Body::from(body))
        }
        Err(error) => {
            tracing::warn!(player = player.id, file = player.file, %error, "player not served");
            let file = player.file;
            not_installed(format!(
                "The folder named by --players has no {file} ({error}): {INSTALL_PLAYERS}."
            ))
        }
    }
}

fn not_installed(detail: String) -> Response {
    let problem = Problem {
        kind: "urn:nightfill:player-not-installed".into(),
        title: "The player is not installed".into(),
        status: StatusCode::NOT_FOUND.as_u16(),
        detail,
    };
    let mut response = (StatusCode::NOT_FOUND, Json(problem)).into_response();
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

async fn list_players(dir: Option<&Path>) -> Response {
    let mut players = Vec::with_capacity(PLAYERS.len());
    for player in PLAYERS {
        let version = match dir {
            Some(dir)
                if tokio::fs::try_exists(dir.join(player.file))
                    .await
                    .unwrap_or(false) =>
            {
                Some(installed_version(&dir.join(player.package)).await)
            }
            _ => None,
        };
        players.push(PlayerView {
            id: player.id,
            url: player.path,
            installed: version.is_some(),
            version: version.flatten(),
        });
    }
    let missing = players.iter().any(|player| !player.installed);
    let mend = missing.then_some(INSTALL_PLAYERS);
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (no_store, Json(PlayerList { players, mend })).into_response()
}

/// `version` of a `package.json`; the page shows it, and does without if it cannot be read.
async fn installed_version(package: &Path) -> Option<String> {
    let text = read_limited(package, MAX_PACKAGE_BYTES).await.ok()?;
    let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
    package.get("version")?.as_str().map(str::to_owned)
}

async fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(limit + 1).read_to_end(&mut body).await?;
    if body.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {limit} bytes"),
        ));
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
