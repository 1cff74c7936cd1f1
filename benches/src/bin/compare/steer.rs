//! Steering against a fixed answer: `/v1/steer` of a running session, decided anew at every request in a fleet of 1,000 appliances,
//! beside nginx that returns as many bytes from its configuration.

use crate::{
    cases::{Bench, Case, Contestant},
    load::Load,
    process::Tree,
    result::CaseResult,
    server::{Nginx, pinned},
};
use anyhow::Context;
use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, FleetSnapshot, Site, TitleView},
    time::Timestamp,
};
use nightfill::local::program::{Program, binary};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

const SITES: u32 = 100;
const APPLIANCES_A_SITE: u32 = 10;
const TITLES: u32 = 100;
const OBJECTS_A_TITLE: u32 = 12;
const OURS: &str = "127.0.71.4:8188";
const THEIRS: &str = "127.0.71.5:8188";
/// As players poll: where they are and how fast it went.
const REPORT: &str = "?_HLS_pathway=s000-a0&_HLS_throughput=8123456";
const LOAD: &str = "-c 8";

const PLAYLIST: &str = "#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=2800000,CODECS=\"avc1.64001f\"
v720.m3u8
";

/// Runs the case.
pub(crate) fn steer(bench: &Bench, case: &Case) -> anyhow::Result<CaseResult> {
    let snapshot = bench.work().join("fleet.json");
    fs::write(&snapshot, serde_json::to_vec(&fleet()?)?)?;
    let ours = service(&snapshot, bench.work())?;
    let manifest = body(&get(OURS, "/v1/play/t0/master.m3u8")?)?.to_owned();
    let session = manifest
        .split("SERVER-URI=\"")
        .nth(1)
        .and_then(|m| m.split('"').next());
    let session = session
        .context("the manifest names no steering server")?
        .to_owned();
    let path = &session[session
        .find("/v1/")
        .context("a steering address of another form")?..];
    let list = body(&get(OURS, &format!("{path}{REPORT}"))?)?.to_owned();
    let theirs = Nginx::answering(&bench.site(None), THEIRS, &list)?;
    let load = |address: &str| Load::of(&[format!("http://{address}{path}{REPORT}")], LOAD);
    let contestants = [
        Contestant {
            name: "steering-service",
            tree: Tree(ours.id()),
            load: load(OURS),
        },
        Contestant {
            name: "nginx",
            tree: theirs.tree(),
            load: load(THEIRS),
        },
    ];
    let turns = bench.turns(&contestants, |used, o| o.requests() / used)?;
    let asked = turns.outcomes.each_ref().map(|all| {
        let rate = all.iter().map(|o| o.requests() / bench.seconds() as f64 / 1000.0);
        rate.collect::<Vec<_>>()
    });
    let result = turns.judge(case, "requests/CPU s", &contestants);
    Ok(result
        .with("steering-service, 1000 requests/s", &asked[0])
        .with("nginx, 1000 requests/s", &asked[1])
        .note(format!("{} bytes an answer", list.len())))
}

fn service(snapshot: &Path, work: &Path) -> anyhow::Result<Program> {
    let program = binary("steering-service")?;
    let mut words = pinned(None);
    let own = [
        "serve",
        "--log",
        "warn",
        "--ttl",
        "20",
        "--listen",
        OURS,
        "--snapshot",
    ];
    words.push(program.display().to_string());
    words.extend(own.map(str::to_owned));
    words.push(snapshot.display().to_string());
    Program::start("steering-service", Path::new(&words[0]), &words[1..], work)
}

/// One answer, head and body.
fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn body(answer: &str) -> anyhow::Result<&str> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "the answer was {answer}");
    Ok(body)
}

/// Every appliance holds everything; the load's own network is the first site's.
fn fleet() -> anyhow::Result<FleetSnapshot> {
    let site = |s: u32| SiteId::new(format!("s{s:03}"));
    let mut sites = vec![];
    let mut appliances = vec![];
    let objects = TITLES * OBJECTS_A_TITLE;
    let capacity = Capacity {
        storage: Bytes(1 << 40),
        egress: BitsPerSecond(10_000_000_000),
        fill_rate: BitsPerSecond(1_000_000_000),
    };
    for s in 0..SITES {
        let network = if s == 0 {
            "127.0.0.0/8".to_owned()
        } else {
            format!("10.{s}.0.0/16")
        };
        sites.push(Site {
            prefixes: vec![network.parse()?],
            ..Site::new(site(s)?, RegionId::new(format!("r{}", s / 10))?)
        });
        for a in 0..APPLIANCES_A_SITE {
            appliances.push(ApplianceView {
                base_url: format!("http://10.{s}.0.{}:8080", a + 1),
                holds: (0..objects).collect(),
                ..ApplianceView::serving(OcaId::new(format!("s{s:03}-a{a}"))?, site(s)?, capacity)
            });
        }
    }
    let title = |t: u32| -> anyhow::Result<TitleView> {
        Ok(TitleView {
            id: TitleId::new(format!("t{t}"))?,
            name: format!("t{t}"),
            prefix: format!("/t/t{t}/0123456789ab"),
            objects: (t * OBJECTS_A_TITLE..(t + 1) * OBJECTS_A_TITLE).collect(),
            hls_path: "master.m3u8".to_owned(),
            hls: PLAYLIST.to_owned(),
            dash_path: "manifest.mpd".to_owned(),
            dash: "<MPD/>".to_owned(),
            demand: Bytes(u64::from(TITLES - t) << 30),
        })
    };
    let mut titles = (0..TITLES).map(title).collect::<Result<Vec<_>, _>>()?;
    titles.sort_by(|a, b| a.id.cmp(&b.id));
    let mut digests: Vec<_> = (0..objects).map(|o| ObjectDigest::of(&o.to_le_bytes())).collect();
    digests.sort();
    Ok(FleetSnapshot {
        taken_at: Timestamp::now(),
        objects: digests,
        titles,
        fallback: "http://10.255.0.1:9000".to_owned(),
        ..FleetSnapshot::of(sites, appliances)
    })
}
