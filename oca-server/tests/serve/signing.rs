//! Signed addresses: asked for on every protocol, before anything is looked up.

use crate::{
    h3_client::{Viewer, run, start},
    support::{Client, Server, get, tree, until, write},
};
use ring::rand::SystemRandom;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};
use url_signing::{Address, KeySet, Life, Renewal, mint_cat, mint_jwt};

const OLD: &str =
    r#"{"kty":"oct","kid":"old","alg":"HS256","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"}"#;
const NEW: &str = r#"{"kty":"EC","crv":"P-256","kid":"new","x":"be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8",
    "y":"rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA","d":"yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M"}"#;

fn keys(signer: &str, keys: &[&str]) -> String {
    format!(
        r#"{{"studio":{{"renewal_kid":"{signer}","keys":[{}]}}}}"#,
        keys.join(",")
    )
}

fn parse(text: &str) -> KeySet {
    KeySet::parse(text, &SystemRandom::new()).unwrap()
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

fn mint(set: &KeySet, below: &str, seconds: i64, renewal: Option<Renewal>) -> String {
    let life = Life {
        end: now() + seconds * 1000,
        renewal,
    };
    let issuer = set.issuer("studio").unwrap();
    mint_jwt(issuer, Address::Below(below), life, None, &SystemRandom::new()).unwrap()
}

/// `t/a/1/f.mp4` and `t/b/1/f.mp4`, and a key file beside them.
fn signed_tree(text: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tree();
    for title in ["a", "b"] {
        let folder = root.path().join("t").join(title).join("1");
        fs::create_dir_all(&folder).unwrap();
        write(&folder.join("f.mp4"), b"0123456789");
    }
    let file = root.path().join("keys.json");
    fs::write(&file, text).unwrap();
    (root, file)
}

/// A target, a field with a token, and the status that is due.
type Ask = (String, Option<(&'static str, String)>, u16);

/// Status and body over TLS.
fn curl(server: &Server, certs: &Path, args: &[&str], target: &str) -> String {
    let out = Command::new("curl")
        .args(["-sS", "--path-as-is", "--cacert"])
        .arg(certs.join("cert.pem"))
        .args(["-w", " %{http_code}"])
        .args(args)
        .arg(format!("https://{}{target}", server.tls()))
        .output()
        .expect("curl is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn a_token_is_asked_for_on_every_protocol() {
    let text = keys("new", &[OLD, NEW]);
    let (root, file) = signed_tree(&text);
    let args = ["--signing-keys", file.to_str().unwrap(), "--signing-path", "/t/"];
    let listen = ["--tls-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let (server, certs) = start(root.path(), &[&args[..], &listen].concat());
    let set = parse(&text);
    let good = mint(&set, "/t/a/1", 60, None);
    let stale = mint(&set, "/t/a/1", -1, None);
    let issuer = set.issuer("studio").unwrap();
    let cat = mint_cat(issuer, "/t/a/1", now() + 60_000, None, &SystemRandom::new()).unwrap();
    let table: Vec<Ask> = vec![
        ("/t/a/1/f.mp4".into(), None, 403),
        (format!("/t/a/1/f.mp4?URISigningPackage={good}"), None, 200),
        (format!("/t;URISigningPackage={good}/a/1/f.mp4"), None, 200),
        (format!("/t;URISigningPackage={good}/a/1/f.mp4?x=1"), None, 200),
        (format!("/t;URISigningPackage={cat}/a/1/f.mp4"), None, 200),
        (
            "/t/a/1/f.mp4".into(),
            Some(("cookie", format!("a=b; URISigningPackage={good}"))),
            200,
        ),
        (
            "/t/a/1/f.mp4".into(),
            Some(("cta-common-access-token", cat.clone())),
            200,
        ),
        ("/t/b/1/f.mp4".into(), Some(("cta-common-access-token", cat)), 403),
        (format!("/t/b/1/f.mp4?URISigningPackage={good}"), None, 403),
        (
            format!("/t/a/1/%2e%2e/%2e%2e/b/1/f.mp4?URISigningPackage={good}"),
            None,
            403,
        ),
        (
            format!("/t/a/1//../../b/1/f.mp4?URISigningPackage={good}"),
            None,
            403,
        ),
        (format!("/t/a/1/f.mp4?URISigningPackage={stale}"), None, 403),
        (format!("/t/a/1/none.mp4?URISigningPackage={good}"), None, 404),
        ("/t/a/1/none.mp4".into(), None, 403),
        ("/small.mp4".into(), None, 200),
        (format!("/small.mp4?URISigningPackage={stale}"), None, 200),
    ];
    for (target, field, status) in &table {
        let line = field.as_ref().map(|(name, value)| format!("{name}: {value}\r\n"));
        let response = get(server.http(), target, &line.clone().unwrap_or_default());
        assert_eq!(response.status, *status, "HTTP/1.1 {target}");
        let line = line.map(|l| l.trim_end().to_owned());
        let header: Vec<&str> = line.iter().flat_map(|l| ["-H", l.as_str()]).collect();
        for version in ["--http1.1", "--http2"] {
            let got = curl(&server, certs.path(), &[&[version], &header[..]].concat(), target);
            assert!(got.ends_with(&format!(" {status}")), "{version} {target}: {got}");
        }
    }
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        for (target, field, status) in &table {
            let fields: Vec<(&str, &str)> = field.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let got = viewer.get(target, &fields).await;
            assert_eq!(got.status, *status, "HTTP/3 {target}");
        }
        viewer.close().await;
    });
    let refused = get(server.http(), "/t/a/1/f.mp4", "");
    assert_eq!(refused.field("access-control-allow-origin"), Some("*"));
    for (protocol, code, reason) in [
        ("HTTP/1.1", "000", "missing"),
        ("HTTP/2", "404", "expired"),
        ("HTTP/3", "411", "address"),
        ("HTTP/3", "500", "malformed_uri"),
    ] {
        server.logged(reason, |l| {
            l["protocol"] == protocol && l["uri_signing"] == code && l["uri_signing_reason"] == reason
        });
    }
    let line = server.logged("200", |l| l["uri_signing"] == "200");
    assert_eq!(
        (&line["path"], &line["status"]),
        (&"/t/a/1/f.mp4".into(), &200.into())
    );
    assert!(
        !server.log().iter().any(|l| l.to_string().contains(&good)),
        "no token gets into the log"
    );
    until("refusals are counted by reason", || {
        server.metric("oca_signed_requests_total{outcome=\"expired\"}") >= 4.0
            && server.metric("oca_signed_requests_total{outcome=\"verified\"}") >= 4.0
    });
}

#[test]
fn a_token_that_asks_for_it_is_renewed_by_a_cookie() {
    let text = keys("old", &[OLD]);
    let (root, file) = signed_tree(&text);
    let (server, _certs) = start(root.path(), &["--signing-keys", file.to_str().unwrap()]);
    let renewal = Renewal {
        seconds: 600,
        depth: 3,
    };
    let token = mint(&parse(&text), "/t/a/1", 60, Some(renewal));
    let target = format!("/t/a/1/f.mp4?URISigningPackage={token}");
    let response = get(server.http(), &target, "");
    let cookie = response.field("set-cookie").unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/t/a/1; HttpOnly"), "{cookie}");
    let next = cookie.split(';').next().unwrap();
    let response = get(server.http(), "/t/a/1/f.mp4", &format!("Cookie: {next}\r\n"));
    assert_eq!(
        (response.status, response.field("set-cookie")),
        (200, None),
        "fresh enough"
    );
    run(async {
        let mut viewer = Viewer::connect(server.quic()).await;
        let response = viewer.get(&target, &[]).await;
        assert!(
            response
                .field("set-cookie")
                .unwrap()
                .contains("; Secure; HttpOnly")
        );
        viewer.close().await;
    });
    let missing = get(server.http(), &target.replace("f.mp4", "none"), "");
    assert_eq!((missing.status, missing.field("set-cookie")), (404, None));
}

#[test]
fn keys_are_rotated_under_load_without_a_refusal() {
    let (old, both) = (keys("old", &[OLD]), keys("old", &[OLD, NEW]));
    let (turned, new) = (keys("new", &[OLD, NEW]), keys("new", &[NEW]));
    let (root, file) = signed_tree(&old);
    let args = [
        "--signing-keys",
        file.to_str().unwrap(),
        "--signing-path",
        "/t/",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let server = Server::start(root.path(), &args);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let swaps =
        |outcome: &str| server.metric(&format!("oca_signing_key_swaps_total{{outcome=\"{outcome}\"}}"));
    // What steering would sign with: the newest key, once every appliance knows it.
    let minted = std::sync::Mutex::new(mint(&parse(&old), "/t/a/1", 600, None));
    let by_old = minted.lock().unwrap().clone();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::connect(server.http());
                while !stop.load(Relaxed) {
                    let token = minted.lock().unwrap().clone();
                    client.send(&format!(
                        "GET /t;URISigningPackage={token}/a/1/f.mp4 HTTP/1.1\r\nHost: a\r\n\r\n"
                    ));
                    let status = client.response("GET").unwrap().status;
                    assert_eq!(status, 200);
                    asked.fetch_add(1, Relaxed);
                }
            });
        }
        let rotate = |text: &str, outcome: &str| {
            let (before, so_far) = (swaps(outcome), asked.load(Relaxed));
            fs::write(&file, text).unwrap();
            until(outcome, || {
                swaps(outcome) > before && asked.load(Relaxed) > so_far + 100
            });
        };
        rotate(&both, "swapped");
        rotate(&turned, "swapped");
        *minted.lock().unwrap() = mint(&parse(&turned), "/t/a/1", 600, None);
        rotate("{\"studio\": half a file", "refused");
        rotate(&new, "swapped");
        stop.store(true, Relaxed);
    });
    let target = format!("/t;URISigningPackage={by_old}/a/1/f.mp4");
    assert_eq!(get(server.http(), &target, "").status, 403, "the old key is gone");
}

#[test]
fn keys_that_cannot_be_used_are_named_at_the_start() {
    let (root, file) = signed_tree("{}");
    let out = crate::support::command(root.path(), &["--signing-keys", file.to_str().unwrap()])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && error.contains("there is no issuer"),
        "{error}"
    );
    assert!(error.contains("keys.json"), "{error}");
}
