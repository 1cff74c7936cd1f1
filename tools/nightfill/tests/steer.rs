//! `nightfill steer` over a decision log, as an operator types it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on shall fail where it stands"
)]

use cdn_types::{
    FillWindow, OcaId,
    api::v1::{
        FillStatus, Load,
        routes::{ApplianceRoutes, PeeringClass, RouteAttributes, RouteChanges, RouteGroup},
    },
    time::Timestamp,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};
use steering_service::{
    decisions::{DecisionLog, DecisionLogConfig, record::Decision},
    fleet::FleetState,
    metrics::Metrics,
};
use tempfile::TempDir;

fn appliance(id: &str, site: &str) -> Value {
    json!({"id": id, "site": site, "base_url": format!("http://{id}.example"), "profile": "laptop", "state": "serving",
        "conditions": [], "capacity": {"storage": 1000, "egress": 100_000_000, "fill_rate": 1}, "load": Load::default(),
        "fill": FillStatus::default(), "holds": [0], "held": 1})
}

/// A folder with `fleet.json` and `log/`: twenty sessions of lon, each a start and two polls.
async fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let site = |id: &str, prefix: &str| {
        json!({"id": id, "region": "r", "prefixes": [prefix],
            "window": FillWindow::new("02:00", "14:00", "UTC").unwrap()})
    };
    let fleet = json!({"generation": 1, "taken_at": "2026-11-23T14:00:00Z",
        "sites": [site("lon", "192.0.2.0/24"), site("par", "203.0.113.0/24")],
        "objects": ["0".repeat(64)], "appliances": [appliance("lon-1", "lon"), appliance("par-1", "par")],
        "titles": [{"id": "film", "name": "Film", "prefix": "/t/film/1", "objects": [0], "hls_path": "m.m3u8",
            "hls": "#EXT-X-STREAM-INF:BANDWIDTH=4000000\nv\n", "dash_path": "m.mpd", "dash": "", "demand": 0}],
        "fallback": "http://origin.example"});
    fs::write(dir.path().join("fleet.json"), fleet.to_string()).unwrap();
    let config = DecisionLogConfig {
        dir: dir.path().join("log"),
        file_bytes: 1 << 20,
        files: 2,
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    let state = Arc::new(FleetState::new(Arc::clone(&metrics)));
    let text = fleet.to_string();
    let made = state.install(text.as_bytes(), |_| Timestamp::UNIX_EPOCH).unwrap();
    let log = DecisionLog::open(Some(config), None, &state, metrics).unwrap();
    for round in 0..3 {
        for n in 0..20 {
            log.push(decision(round, n), &made.index);
        }
        log.close().await;
    }
    dir
}

fn decision(round: u64, n: u64) -> Decision {
    let list = json!(["lon-1", "par-1", "origin"]);
    let mut decision = json!({"t": 1_795_671_384_000_u64 + round * 10_000 + n, "k": "p", "s": format!("{n:016x}"),
        "n": "192.0.2.0/24", "a": "film", "g": 1, "p": 0, "l": list});
    decision["x"] = json!({"stay": if n.is_multiple_of(2) { "as-is" } else { "leave" }});
    if round > 0 {
        decision["k"] = json!("s");
        decision["d"] = list;
        // The other arm is slower, and one session in ten of it flees.
        let at = if n == 1 && round == 2 { "par-1" } else { "lon-1" };
        decision["u"] = json!([[at, if n.is_multiple_of(2) { 9_000_000 } else { 6_000_000 }]]);
    }
    serde_json::from_value(decision).unwrap()
}

fn log_file(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("log"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

fn replay(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nightfill"))
        .current_dir(dir)
        .args(["steer", "replay"])
        .args(given(args, "--log", "log"))
        .args(given(args, "--fleet", "fleet.json"))
        .args(args)
        .output()
        .unwrap()
}

/// An option, unless it is among the arguments.
fn given<'a>(args: &[&str], option: &'a str, value: &'a str) -> Vec<&'a str> {
    if args.contains(&option) {
        vec![]
    } else {
        vec![option, value]
    }
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(dir: &Path, args: &[&str]) -> String {
    let output = replay(dir, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "one error: {text}");
    text
}

#[tokio::test]
async fn a_replay_tells_loads_and_what_moves() {
    let dir = folder().await;
    let text = said(&replay(dir.path(), &[]));
    for want in [
        "60 decisions of 20 sessions, 2026-11-26T05:36:24Z to 2026-11-26T05:36:44.019Z\n",
        "0 decisions changed their first entry\n",
        "0 sessions move for a time at least",
        "overloaded: nobody\n",
    ] {
        assert!(text.contains(want), "{want}\nin\n{text}");
    }
    let report: Value = serde_json::from_str(&said(&replay(
        dir.path(),
        &["--without-site", "lon", "--viewers", "+30%", "--json"],
    )))
    .unwrap();
    assert_eq!(report["changed_first"], 60);
    // 20 sessions of 30 s at 500 kB/s, and a third more viewers.
    assert_eq!(
        report["moves"],
        json!([{"from": "lon-1", "to": "par-1", "sessions": 26, "bytes": 390_000_000, "dns_answers": 0}])
    );
    assert_eq!(report["appliances"][1]["id"], "par-1");
    assert_eq!(report["appliances"][1]["load_permille"], 1040);
    assert_eq!(report["appliances"][1]["overloaded"], true);
    fs::write(
        dir.path().join("policy.toml"),
        "version = 2\n[[rule]]\nprefix = \"192.0.2.0/24\"\npin = true\nsite = \"par\"\n",
    )
    .unwrap();
    let text = said(&replay(dir.path(), &["--policy", "policy.toml"]));
    assert!(
        text.contains("60 decisions changed")
            && text.contains("note: 60 decisions were made under another version"),
        "{text}"
    );
}

/// What `oca-server routes --mrt` prints: one answer, everything, of the appliances whose configurations it was given.
fn routes(dir: &Path, appliance: &str, prefix: &str) {
    let group = RouteGroup {
        attributes: RouteAttributes {
            class: PeeringClass::Embedded,
            as_path_len: 1,
            neighbor_as: 64_500,
            origin_as: Some(64_500),
            med: None,
            communities: vec![],
            large_communities: vec![],
        },
        prefixes: vec![prefix.parse().unwrap()],
    };
    let told = RouteChanges {
        generation: 1,
        reset: true,
        appliances: vec![ApplianceRoutes {
            appliance: OcaId::new(appliance).unwrap(),
            announced: vec![group],
            withdrawn: vec![],
        }],
    };
    let text = serde_json::to_string(&told).unwrap() + "\n";
    fs::write(dir.join("routes.json"), text).unwrap();
}

#[tokio::test]
async fn routes_of_a_dump_change_who_is_first() {
    let dir = folder().await;
    let told = |prefix: &str| -> Value {
        routes(dir.path(), "par-1", prefix);
        serde_json::from_str(&said(&replay(dir.path(), &["--routes", "routes.json", "--json"]))).unwrap()
    };
    // A route to half of the network beats the site's network for the whole of it; the log has its first address.
    let report = told("192.0.2.0/25");
    assert_eq!(report["changed_first"], 60);
    let moved = &report["moves"][0];
    assert_eq!(
        (&moved["from"], &moved["to"], &moved["sessions"]),
        (&json!("lon-1"), &json!("par-1"), &json!(20))
    );
    for other in ["192.0.2.128/25", "198.51.100.0/24"] {
        assert_eq!(told(other)["changed_first"], 0, "{other}");
    }
    routes(dir.path(), "rom-1", "192.0.2.0/25");
    let text = said(&replay(dir.path(), &["--routes", "routes.json"]));
    assert!(
        text.contains("0 decisions changed"),
        "an appliance of another fleet: {text}"
    );
    let wrong = error(dir.path(), &["--routes", "fleet.json"]);
    assert!(
        wrong.contains("--routes fleet.json: not what GET /v1/routes?since=0 gives"),
        "{wrong}"
    );
}

#[tokio::test]
async fn what_cannot_be_replayed_is_told_once_with_place_and_mend() {
    let dir = folder().await;
    let file = log_file(dir.path());
    let whole = fs::read(&file).unwrap();
    fs::write(dir.path().join("bad.toml"), "version = 1\nhysteresis_steps = 9\n").unwrap();
    for (args, wanted) in [
        (
            &["--policy", "bad.toml"][..],
            "bad.toml: `hysteresis_steps` is 9; give 0 to 3",
        ),
        (&["--policy", "none.toml"], "none.toml: No such file"),
        (
            &["--fleet", "bad.toml"],
            "--fleet bad.toml: not what GET /v1/fleet gives",
        ),
        (
            &["--log", "none"],
            "none: No such file or directory (os error 2); give a file of --decision-log",
        ),
        (
            &["--log", "fleet.json"],
            "fleet.json, after line 0: invalid gzip header",
        ),
        (
            &["--without-site", "rom"],
            "the fleet has no such site; it has lon, par",
        ),
        (
            &["--without-appliance", "rom-1"],
            "the fleet has no such appliance",
        ),
    ] {
        let text = error(dir.path(), args);
        assert!(text.contains(wanted), "{args:?} gave {text}");
    }
    fs::write(&file, &whole[..whole.len() - 9]).unwrap();
    let text = said(&replay(dir.path(), &[]));
    assert!(text.contains(".jsonl.gz: cut off after "), "{text}");
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle] ^= 0xff;
    fs::write(&file, damaged).unwrap();
    let text = error(dir.path(), &[]);
    assert!(text.contains("damaged") || text.contains("no decision"), "{text}");
}

fn report(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nightfill"))
        .current_dir(dir)
        .args(["steer", "report", "--log", "log"])
        .args(args)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_report_compares_arms_with_the_control() {
    let dir = folder().await;
    let line = |n: u64, query: &str| {
        json!({"sid": format!("{n:016x}"), "status": 206, "cmcd": {"query": query}}).to_string()
    };
    let lines: Vec<_> = (0..20)
        .flat_map(|n| [line(n, if n % 2 == 1 { "bs" } else { "br=1" }), line(n, "br=1")])
        .collect();
    fs::write(dir.path().join("access.jsonl"), lines.join("\n") + "\n").unwrap();
    let args = ["--control", "as-is", "--cmcd", "access.jsonl"];
    let text = said(&report(dir.path(), &args));
    assert!(text.starts_with("20 sessions, 0 in two arms"), "{text}");
    assert!(
        text.contains("40 requests of these sessions in access logs, 0 of others"),
        "{text}"
    );
    let told: Value =
        serde_json::from_str(&said(&report(dir.path(), &[&args[..], &["--json"]].concat()))).unwrap();
    let measures = &told["arms"][1]["measures"];
    assert_eq!(
        (&told["arms"][1]["arm"], &told["arms"][1]["sessions"]),
        (&json!("leave"), &json!(10))
    );
    assert_eq!(
        measures[0]["difference"],
        json!({"value": -3e6, "low": -3e6, "high": -3e6})
    );
    assert_eq!(measures[1]["arm"]["value"], 0.1);
    assert_eq!(measures[2]["difference"]["value"], 0.5);
    let no_arm = report(dir.path(), &["--control", "none"]);
    let said = String::from_utf8(no_arm.stderr).unwrap();
    assert!(
        said.contains("--control none: no session of the log is in such an arm; it has as-is, leave"),
        "{said}"
    );
    let no_log = report(dir.path(), &["--cmcd", "fleet.json"]);
    assert!(!no_log.status.success());
}
