//! Second opinions on signed addresses: Apache Traffic Server's `uri_signing` plugin and @eyevinn/cat. What they make is
//! taken here, what we make is taken there, and what one refuses the other refuses.

use crate::support::{PATIENCE, Server, get, tree, until, write};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};
use url_signing::{Address, KeySet, Life, Renewal, mint_cat, mint_jwt, sign_jwt};

const SECRET: &str = "Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM";

fn pair() -> Value {
    json!({
        "x": "be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8",
        "y": "rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA",
        "d": "yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M",
    })
}

/// The same file for both programs.
fn keys(signer: &str) -> String {
    let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": SECRET});
    let mut ec = json!({"kty": "EC", "crv": "P-256", "kid": "e", "alg": "ES256"});
    ec.as_object_mut()
        .unwrap()
        .extend(pair().as_object().unwrap().clone());
    let set = json!({"renewal_kid": signer, "id": "us", "strip_token": true, "keys": [secret, ec]});
    json!({"a": set}).to_string()
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .cast_signed()
}

fn served() -> tempfile::TempDir {
    let root = tree();
    for folder in ["t/a/1", "t/b/1"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
        write(&root.path().join(folder).join("f.mp4"), b"0123456789");
    }
    root
}

/// Traffic Server in a folder of its own, killed when dropped.
struct TrafficServer {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl TrafficServer {
    fn start(keys: &str, origin: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let [etc, cache, log, run] = ["etc", "cache", "log", "run"].map(at);
        for folder in [&etc, &cache, &log, &run] {
            fs::create_dir(folder).unwrap();
        }
        let pid = std::process::id();
        let host = format!("127.{}.{}.9", 77 + pid % 100, pid / 100 % 250);
        let root = dir.path().display();
        let (etc_text, cache_text) = (etc.display(), cache.display());
        let layout = format!(
            "prefix: {root}\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\nsysconfdir: {etc_text}\n\
             datadir: {cache_text}\nincludedir: /usr/include\nlibdir: /usr/lib/trafficserver\n\
             libexecdir: /usr/lib/trafficserver/modules\nlocalstatedir: {root}\nruntimedir: {run}\nlogdir: {log}\n\
             cachedir: {cache_text}\n",
            run = run.display(),
            log = log.display(),
        );
        fs::write(at("runroot.yaml"), layout).unwrap();
        let records = format!(
            "CONFIG proxy.config.http.server_ports STRING 18099:ip-in={host}\n\
             CONFIG proxy.config.admin.user_id STRING #-1\nCONFIG proxy.config.exec_thread.autoconfig INT 0\n\
             CONFIG proxy.config.exec_thread.limit INT 1\nCONFIG proxy.config.http.cache.http INT 0\n\
             CONFIG proxy.config.log.logging_enabled INT 0\n"
        );
        let allow = "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n";
        let plugin = format!("map / http://{origin}/ @plugin=uri_signing.so @pparam={etc_text}/keys.json\n");
        for (name, text) in [
            ("records.config", records.as_str()),
            ("keys.json", keys),
            ("remap.config", &plugin),
            ("storage.config", &format!("{cache_text} 16M\n")),
            ("ip_allow.yaml", allow),
        ] {
            fs::write(etc.join(name), text).unwrap();
        }
        for name in [
            "plugin.config",
            "hosting.config",
            "volume.config",
            "parent.config",
        ] {
            fs::write(etc.join(name), "").unwrap();
        }
        let out = fs::File::create(at("out")).unwrap();
        let child = Command::new("traffic_server")
            .arg(format!("--run-root={}", at("runroot.yaml").display()))
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect("traffic_server is installed (tools/install test)");
        let mut server = Self {
            child,
            addr: format!("{host}:18099").parse().unwrap(),
            _dir: dir,
        };
        until("Traffic Server listens", || {
            assert!(server.child.try_wait().unwrap().is_none(), "it ended");
            TcpStream::connect_timeout(&server.addr, PATIENCE).is_ok()
        });
        server
    }
}

impl Drop for TrafficServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our server that asks for tokens, by the same keys.
fn ours(root: &Path, keys: &str) -> (Server, PathBuf) {
    let file = root.join("keys.json");
    fs::write(&file, keys).unwrap();
    let args = [
        "--signing-keys",
        file.to_str().unwrap(),
        "--signing-audience",
        "us",
    ];
    (Server::start(root, &args), file)
}

#[test]
fn traffic_server_and_we_agree_on_tokens() {
    let root = served();
    let keys_text = keys("s");
    let set = KeySet::parse(&keys_text, &SystemRandom::new()).unwrap();
    let origin = Server::start(root.path(), &[]);
    let theirs = TrafficServer::start(&keys_text, origin.http());
    let (ours, _) = ours(root.path(), &keys_text);
    let base = json!({"iss": "a", "exp": now() + 60, "cdniv": 1, "cdniuc": "regex:[^:]*://[^/?#]*/t/a/1/.*"});
    let table = [
        (json!({}), "/t/a/1/f.mp4", 200),
        (json!({}), "/t/a/1/../1/f.mp4", 200),
        (json!({}), "/t/b/1/f.mp4", 403),
        (json!({}), "/t/a/1/../../b/1/f.mp4", 403),
        (json!({}), "/t/a/1/%2e%2e/%2e%2e/b/1/f.mp4", 403),
        (json!({"exp": now() - 1}), "/t/a/1/f.mp4", 403),
        (json!({"nbf": now() + 60}), "/t/a/1/f.mp4", 403),
        (json!({"nbf": now() - 60}), "/t/a/1/f.mp4", 200),
        (json!({"iss": "b"}), "/t/a/1/f.mp4", 403),
        (json!({"aud": "us"}), "/t/a/1/f.mp4", 200),
        (json!({"aud": ["them", "us"]}), "/t/a/1/f.mp4", 200),
        (json!({"aud": "them"}), "/t/a/1/f.mp4", 403),
        (json!({"cdniv": 2}), "/t/a/1/f.mp4", 403),
        (json!({"cdnicrit": "x", "x": 1}), "/t/a/1/f.mp4", 403),
        (json!({"jti": "once"}), "/t/a/1/f.mp4", 403),
        (json!({"cdniip": "x"}), "/t/a/1/f.mp4", 403),
        (json!({"cdniuc": "regex:(unbalanced"}), "/t/a/1/f.mp4", 403),
        (json!({"cdniuc": "regex:/t/a/1/.*"}), "/t/a/1/f.mp4", 403),
        (
            json!({"cdniuc": r"regex:http://[^/]*/t/(a|b)/[0-9]{1,3}/f\.mp4"}),
            "/t/b/1/f.mp4",
            200,
        ),
    ];
    for (changes, path, status) in table {
        let mut claims = base.clone();
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        for key in set.issuer("a").unwrap().keys() {
            let token = sign_jwt(key, &claims, &SystemRandom::new()).unwrap();
            let (first, rest) = path.split_at(2);
            for target in [
                format!("{path}?URISigningPackage={token}"),
                format!("{first};URISigningPackage={token}{rest}"),
            ] {
                let by_them = get(theirs.addr, &target, "").status;
                let by_us = get(ours.http(), &target, "").status;
                assert_eq!((by_them, by_us), (status, status), "{path} {changes} by {key:?}");
            }
        }
    }
    // One made by the key of another, and none at all.
    let unsigned = get(theirs.addr, "/t/a/1/f.mp4", "").status;
    assert_eq!(
        (unsigned, get(ours.http(), "/t/a/1/f.mp4", "").status),
        (403, 403)
    );
}

#[test]
fn traffic_server_and_we_take_each_others_tokens_and_renewals() {
    let root = served();
    for signer in ["s", "e"] {
        let keys_text = keys(signer);
        let set = KeySet::parse(&keys_text, &SystemRandom::new()).unwrap();
        let origin = Server::start(root.path(), &[]);
        let theirs = TrafficServer::start(&keys_text, origin.http());
        let (ours, _) = ours(root.path(), &keys_text);
        let life = Life {
            end: (now() + 60) * 1000,
            renewal: Some(Renewal {
                seconds: 600,
                depth: 3,
            }),
        };
        let issuer = set.issuer("a").unwrap();
        let token = mint_jwt(
            issuer,
            Address::Below("/t/a/1"),
            life,
            Some("us"),
            &SystemRandom::new(),
        )
        .unwrap();
        let target = format!("/t;URISigningPackage={token}/a/1/f.mp4");
        for (renewed_by, taken_by) in [(theirs.addr, ours.http()), (ours.http(), theirs.addr)] {
            let response = get(renewed_by, &target, "");
            assert_eq!(response.status, 200, "{signer}");
            let cookie = response.field("set-cookie").expect("a renewed token");
            assert!(cookie.contains("; Path=/t/a/1"), "{cookie}");
            let line = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
            assert_eq!(get(taken_by, "/t/a/1/f.mp4", &line).status, 200, "{cookie}");
            assert_eq!(get(taken_by, "/t/b/1/f.mp4", &line).status, 403, "{cookie}");
        }
    }
}

/// What @eyevinn/cat answers to a list of questions.
fn eyevinn(questions: &[Value]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/testbed/oracles");
    assert!(
        folder.join("node_modules/@eyevinn/cat").is_dir(),
        "@eyevinn/cat is not installed: run tools/install test"
    );
    let mut all = vec![json!({"secret": SECRET, "pair": pair()})];
    all.extend_from_slice(questions);
    let mut child = Command::new("node")
        .arg("cat.cjs")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(json!(all).to_string().as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stdout)))
}

#[test]
fn eyevinn_cat_and_we_take_each_others_tokens() {
    let root = served();
    let random = SystemRandom::new();
    let mut questions = Vec::new();
    for (signer, alg) in [("s", "HS256"), ("e", "ES256")] {
        let set = KeySet::parse(&keys(signer), &random).unwrap();
        let issuer = set.issuer("a").unwrap();
        for (end, path) in [(60, "/t/a/1/f.mp4"), (60, "/t/b/1/f.mp4"), (-60, "/t/a/1/f.mp4")] {
            let token = mint_cat(issuer, "/t/a/1", (now() + end) * 1000, None, &random).unwrap();
            questions.push(json!({"check": alg, "token": token, "url": format!("http://h{path}")}));
        }
    }
    let answers = eyevinn(&questions);
    let names: Vec<_> = answers.iter().map(|a| a.split(':').next().unwrap()).collect();
    let names: Vec<_> = names.iter().map(|n| *n == "ok").collect();
    assert_eq!(names, [true, false, false, true, false, false], "{answers:?}");

    let below = json!({"path": {"prefix-match": "/t/a/1/"}});
    let table = [
        (json!({"iss": "a", "exp": now() + 60, "catu": below}), 200),
        (
            json!({"iss": "a", "exp": now() + 60, "catu": below, "aud": "us", "catm": ["GET"]}),
            200,
        ),
        (
            json!({"iss": "a", "exp": now() + 60, "catu": {"path": {"exact-match": "/t/a/1/f.mp4"}}}),
            200,
        ),
        (
            json!({"iss": "a", "exp": now() + 60, "catu": {"host": {"exact-match": "example.org"}}}),
            403,
        ),
        (
            json!({"iss": "a", "exp": now() + 60, "catu": {"path": {"prefix-match": "/t/b/"}}}),
            403,
        ),
        (
            json!({"iss": "a", "exp": now() + 60, "catu": below, "catm": ["POST"]}),
            403,
        ),
        (json!({"iss": "a", "exp": now() - 60, "catu": below}), 403),
        (json!({"iss": "a", "nbf": now() + 60, "catu": below}), 403),
        (json!({"iss": "b", "exp": now() + 60, "catu": below}), 403),
        (json!({"iss": "a", "exp": now() + 60}), 403),
    ];
    let wishes: Vec<_> = table
        .iter()
        .map(|(claims, _)| json!({"make": "HS256", "claims": claims}))
        .collect();
    let (server, _) = ours(root.path(), &keys("s"));
    for ((claims, status), token) in table.iter().zip(eyevinn(&wishes)) {
        let line = format!("CTA-Common-Access-Token: {token}\r\n");
        let got = get(server.http(), "/t/a/1/f.mp4", &line).status;
        assert_eq!(got, *status, "{claims}: {token}");
    }
}
