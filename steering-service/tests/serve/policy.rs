//! The policy file and the routes, in the running service.

use super::{
    fixture::{self, fleet, with_state},
    program::{PATIENCE, Program, sample},
};
use cdn_types::{
    OcaId,
    api::v1::{
        ApplianceState,
        routes::{ApplianceRoutes, PeeringClass, RouteAttributes, RouteChanges, RouteGroup},
    },
    time::Timestamp,
};
use reqwest::header;
use serde_json::Value;
use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Instant};
use steering_core::{
    Options, Policy, rank,
    routes::{Attributes, RouteBatch, SiteClass},
};
use steering_service::{fleet::FleetState, metrics::Metrics};
use tokio::process::Command;

const RANK: &str = "/v1/rank?client=127.0.0.1&asset=film&explain=1";

fn write(path: &PathBuf, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

async fn with_policy(text: &str, args: &[&str]) -> (Program, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, policy) = (dir.path().join("fleet.json"), dir.path().join("policy.toml"));
    fixture::write(&snapshot, &fleet());
    write(&policy, text);
    let files = [
        "--snapshot",
        snapshot.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
    ];
    (Program::start(dir, &[&files, args].concat()).await, policy)
}

fn first(answer: &Value) -> &str {
    answer["ranked"][0]["appliance"].as_str().unwrap()
}

fn pin(version: u32, appliance: &str) -> String {
    format!(
        "version = {version}\n[[rule]]\nprefix = \"127.0.0.0/8\"\npin = true\nappliance = \"{appliance}\"\n"
    )
}

/// Waits for a figure in `/metrics`.
async fn until_sample(p: &Program, name: &str, wanted: f64) {
    let began = Instant::now();
    loop {
        let text = p.get("/metrics").await.text().await.unwrap();
        let found = sample(&text, name);
        if found == Some(wanted) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is {found:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_changed_policy_is_taken_and_a_bad_one_leaves_the_last() {
    let (p, file) = with_policy(&pin(1, "par-1"), &[]).await;
    let answer = p.json(RANK).await;
    assert_eq!(
        (first(&answer), &answer["explain"]["policy"]),
        ("par-1", &1.into())
    );
    assert_eq!(answer["explain"]["ranked"][0]["pinned"], true);
    assert_eq!(answer["explain"]["ranked"][1]["lost_at"], "pin");
    write(&file, &pin(2, "lon-2"));
    let answer = p.until(RANK, |a| a["explain"]["policy"] == 2).await;
    assert_eq!(first(&answer), "lon-2");
    write(&file, "version = 3\nhysteresis_steps = 7\n");
    until_sample(&p, "steering_policy_errors_total", 1.0).await;
    let answer = p.json(RANK).await;
    assert_eq!(
        (first(&answer), &answer["explain"]["policy"]),
        ("lon-2", &2.into())
    );
    until_sample(&p, "steering_policy_version", 2.0).await;
}

#[tokio::test]
async fn sighup_reads_the_policy_again() {
    let (p, file) = with_policy("version = 7", &[]).await;
    until_sample(&p, "steering_policy_version", 7.0).await;
    // As old and as long as the one before: nothing else tells that it has changed.
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let new = file.with_extension("new");
    std::fs::write(&new, "version = 8").unwrap();
    let opened = std::fs::File::options().write(true).open(&new).unwrap();
    opened.set_modified(written).unwrap();
    std::fs::rename(&new, &file).unwrap();
    let kill = Command::new("kill").args(["-HUP", &p.pid()]).status().await;
    assert!(kill.unwrap().success());
    until_sample(&p, "steering_policy_version", 8.0).await;
}

#[tokio::test]
async fn sighup_without_a_policy_is_survived() {
    let p = Program::offline(&fleet(), &[]).await;
    let kill = Command::new("kill").args(["-HUP", &p.pid()]).status().await;
    assert!(kill.unwrap().success());
    let (status, _) = p.stop().await;
    assert!(status.success(), "ended by {status} and not by SIGTERM");
}

#[tokio::test]
async fn a_title_is_refused_with_451_where_it_is_not_licensed() {
    let policy = "version = 1\n[[licence]]\ntitle = \"film\"\nonly = [\"DE\"]\n";
    let args = ["--trusted-proxy", "127.0.0.0/8", "--country-header", "x-country"];
    let (p, _) = with_policy(policy, &args).await;
    for (path, country, status) in [
        ("/v1/play/film/master.m3u8", Some("de"), 200),
        ("/v1/play/film/master.m3u8", Some("FR"), 451),
        ("/v1/play/film/manifest.mpd", None, 451),
        ("/v1/go/film/master.m3u8", Some("FR"), 451),
        ("/v1/go/film/master.m3u8", Some("DE"), 302),
        ("/v1/play/rare/master.m3u8", Some("FR"), 200),
    ] {
        let mut request = p.client.get(format!("{}{path}", p.url));
        if let Some(country) = country {
            request = request.header("X-Country", country);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{path} {country:?}");
        if status == 451 {
            assert_eq!(
                response.headers()[header::CONTENT_TYPE],
                "application/problem+json"
            );
        }
    }
    let answer = p.json(&format!("{RANK}&country=FR")).await;
    assert_eq!(
        answer["ranked"].as_array().unwrap().len(),
        0,
        "nor from the origin"
    );
    assert_eq!(
        answer["explain"]["dropped"][0]["reasons"][0]["reason"],
        "not_licensed"
    );
    assert_eq!(p.get(&format!("{RANK}&country=France")).await.status(), 400);
}

#[tokio::test]
async fn a_manifest_names_a_draining_appliance_after_the_origin_when_nothing_else_is_left() {
    let mut fleet = with_state(&fleet(), "lon-1", ApplianceState::Draining);
    fleet.appliances.truncate(1);
    let p = Program::offline(&fleet, &[]).await;
    let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    let (origin, lon) = (
        text.find("PATHWAY-ID=\"origin\""),
        text.find("PATHWAY-ID=\"lon-1\""),
    );
    assert!(origin.unwrap() < lon.unwrap(), "{text}");
}

fn state() -> FleetState {
    let state = FleetState::new(Arc::new(Metrics::new().unwrap()));
    let text = serde_json::to_vec(&fleet()).unwrap();
    state.install(&text, |_| Timestamp::UNIX_EPOCH).unwrap();
    state
}

fn best(state: &FleetState, client: &str) -> String {
    let fleet = state.current().unwrap();
    let client: IpAddr = client.parse().unwrap();
    let r = rank(
        &fleet.index,
        client,
        &"film".parse().unwrap(),
        &Options::default(),
    )
    .unwrap();
    fleet.index.appliance(r.entries[0].appliance).id.to_string()
}

fn announce(prefix: &str) -> RouteBatch {
    RouteBatch {
        attributes: vec![Attributes {
            class: SiteClass::Private,
            ..Attributes::coverage()
        }],
        changes: vec![(prefix.parse().unwrap(), Some(0))],
        reset: false,
    }
}

#[test]
fn routes_are_put_in_use_and_outlive_snapshots_and_policies() {
    let state = state();
    let par = OcaId::new("par-1").unwrap();
    let answers = state.apply_routes(&[(par.clone(), announce("198.51.100.0/24"))]);
    assert_eq!(answers[0].as_ref().unwrap().announced, 1);
    assert_eq!(best(&state, "198.51.100.9"), "par-1");
    let mut next = fleet();
    next.generation = 2;
    next.appliances.swap(0, 2);
    let text = serde_json::to_vec(&next).unwrap();
    state.install(&text, |_| Timestamp::UNIX_EPOCH).unwrap();
    state.set_policy(Policy::default());
    assert_eq!(
        best(&state, "198.51.100.9"),
        "par-1",
        "places in the snapshot have changed"
    );
    next.sites[0].prefixes.push("198.51.0.0/16".parse().unwrap());
    let text = serde_json::to_vec(&next).unwrap();
    state.install(&text, |_| Timestamp::UNIX_EPOCH).unwrap();
    assert!(
        best(&state, "198.51.100.9").starts_with("lon-"),
        "embedded comes before private"
    );
    next.sites[0].prefixes.pop();
    let text = serde_json::to_vec(&next).unwrap();
    state.install(&text, |_| Timestamp::UNIX_EPOCH).unwrap();
    state.forget_routes(&par);
    let fleet = state.current().unwrap();
    assert_eq!(fleet.index.site_of("198.51.100.9".parse().unwrap()), None);
}

#[test]
fn the_control_planes_routes_are_taken_in_and_a_reset_forgets_what_is_not_told() {
    let state = state();
    let told = |reset: bool, appliance: &str, announced: &[&str], withdrawn: &[&str]| RouteChanges {
        generation: 1,
        reset,
        appliances: vec![ApplianceRoutes {
            appliance: appliance.parse().unwrap(),
            announced: vec![RouteGroup {
                attributes: RouteAttributes {
                    class: PeeringClass::Exchange,
                    as_path_len: 2,
                    neighbor_as: 64500,
                    origin_as: Some(64501),
                    med: Some(7),
                    communities: vec![64500 << 16 | 9],
                    large_communities: vec![[1, 2, 3]],
                },
                prefixes: announced.iter().map(|p| p.parse().unwrap()).collect(),
            }],
            withdrawn: withdrawn.iter().map(|p| p.parse().unwrap()).collect(),
        }],
    };
    let applied = |changes| *state.take_routes(&changes)[0].as_ref().unwrap();
    let both = ["198.51.100.0/24", "203.0.113.0/25"];
    assert_eq!(applied(told(false, "par-1", &both, &[])).announced, 2);
    assert_eq!(best(&state, "198.51.100.9"), "par-1");
    let fleet = state.current().unwrap();
    let client = "198.51.100.9".parse().unwrap();
    let found = fleet.index.routes().covering(client).iter().next().unwrap();
    let attributes = fleet.index.routes().attributes(&found);
    assert_eq!((attributes.class, attributes.med), (SiteClass::Exchange, Some(7)));
    let communities: Vec<_> = attributes.communities.iter().map(ToString::to_string).collect();
    assert_eq!(communities, ["64500:9", "1:2:3"]);
    assert_eq!(applied(told(false, "par-1", &[], &both[1..])).withdrawn, 1);
    let answers = state.take_routes(&told(true, "lon-2", &both[..1], &[]));
    assert_eq!(answers.len(), 2, "lon-2 is told, par-1 is forgotten");
    assert_eq!(best(&state, "198.51.100.9"), "lon-2");
    let fleet = state.current().unwrap();
    assert_eq!(fleet.index.routes().covering(client).iter().count(), 1);
}

#[test]
fn a_refused_batch_costs_the_others_nothing() {
    let state = state();
    let mut bad = announce("198.51.100.0/24");
    bad.changes[0].1 = Some(9);
    let answers = state.apply_routes(&[
        ("lon-1".parse().unwrap(), bad),
        ("par-1".parse().unwrap(), announce("198.51.100.0/24")),
    ]);
    assert!(answers[0].is_err() && answers[1].is_ok());
    assert_eq!(best(&state, "198.51.100.9"), "par-1");
}
