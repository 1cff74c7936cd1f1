//! A real appliance that is killed: steering's own probes take it out of the first place, and take it back after its restart
//! and a trial, with the control plane and without it.

use anyhow::{Context, Result, ensure};
use cdn_types::OcaId;
use nightfill::{
    local::{Layout, LocalCdn, Net},
    progress::Progress,
    publish::publish,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use testbed::{PAGE_LIMIT, fill_everything, init, media};

/// Most that viewers may still be sent to a dead appliance first.
const DEMOTED_WITHIN: Duration = Duration::from_secs(5);
/// A short back-off, and a trial that is long enough to be seen.
const POLICY: &str = "version = 1\n[circuit]\nback_off_seconds = 2\ntrial_seconds = 3\n";

/// Three appliances that hold everything, probed at the address of viewers.
async fn start(dir: &Path) -> Result<LocalCdn> {
    let policy = dir.join("policy.toml");
    fs::write(&policy, POLICY)?;
    let mut layout = Layout::two_sites(Net::unique(), dir)?;
    let policy = policy.display().to_string();
    layout.steering_more = ["--probe-path", "/healthz", "--policy", &policy]
        .map(String::from)
        .to_vec();
    let titles = media(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")))?;
    let cdn = LocalCdn::start(layout).await?;
    publish(&titles[1], &cdn.client, None, &Progress::Silent).await?;
    fill_everything(&cdn).await?;
    Ok(cdn)
}

/// Asks steering again and again until the ranking of the title pleases; how long that took.
async fn until(cdn: &LocalCdn, what: &str, pleases: impl Fn(&Value) -> bool) -> Result<(Value, Duration)> {
    let rank = format!("{}/v1/rank?asset=short&explain=1", cdn.steering.url()?);
    let began = Instant::now();
    loop {
        let answer: Value = reqwest::get(&rank).await?.json().await?;
        if pleases(&answer) {
            return Ok((answer, began.elapsed()));
        }
        ensure!(
            began.elapsed() < PAGE_LIMIT,
            "{what}: steering still answers {answer:#}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn first(answer: &Value) -> &Value {
    &answer["ranked"][0]["appliance"]
}

/// One sample of steering's metrics.
async fn metric(cdn: &LocalCdn, name: &str) -> Result<f64> {
    let text = reqwest::get(format!("{}/metrics", cdn.steering.url()?))
        .await?
        .text()
        .await?;
    let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    Ok(found.map_or(Ok(0.0), str::parse)?)
}

async fn until_metric(cdn: &LocalCdn, name: &str, wanted: f64) -> Result<()> {
    let began = Instant::now();
    loop {
        let found = metric(cdn, name).await?;
        if found == wanted {
            return Ok(());
        }
        ensure!(began.elapsed() < PAGE_LIMIT, "{name} is {found} and not {wanted}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Kills who is first, sees it demoted, starts it again, sees it taken back, and gets an object at `path` from it.
async fn kill_and_restart(cdn: &mut LocalCdn, path: &str, round: &str) -> Result<()> {
    let (before, _) = until(cdn, "a sibling to flee to", |a| {
        a["ranked"].as_array().is_some_and(|all| all.len() == 4)
    })
    .await?;
    let id = OcaId::new(first(&before).as_str().context("an appliance")?)?;
    cdn.appliances.get_mut(&id).context("it runs")?.kill()?;
    let (_, took) = until(cdn, "demotion", |a| first(a) != id.as_str()).await?;
    println!("{round}: {id} was off the first place {took:?} after kill -9");
    ensure!(took < DEMOTED_WITHIN, "{round}: only after {took:?}");
    until(cdn, "the reason", |a| {
        let dropped = a["explain"]["dropped"].as_array().into_iter().flatten();
        let failing = json!({"reason": "failing", "by": "probes"});
        let by_probes = |d: &&Value| {
            let reasons = d["reasons"].as_array();
            d["appliance"] == id.as_str() && reasons.is_some_and(|all| all.contains(&failing))
        };
        dropped.into_iter().any(|d| by_probes(&d))
    })
    .await?;

    cdn.start_appliance(&id)?;
    let began = Instant::now();
    until_metric(cdn, r#"steering_circuits{state="trial"}"#, 1.0).await?;
    until(cdn, "its return", |a| first(a) == id.as_str()).await?;
    until_metric(cdn, r#"steering_circuits{state="trial"}"#, 0.0).await?;
    until_metric(cdn, r#"steering_circuits{state="open"}"#, 0.0).await?;
    println!(
        "{round}: {id} was back for all {:?} after its restart",
        began.elapsed()
    );
    let (after, _) = until(cdn, "its place", |a| first(a) == id.as_str()).await?;
    let base = after["ranked"][0]["base_url"].as_str().context("an address")?;
    let object = reqwest::get(format!("{base}{path}")).await?;
    ensure!(object.status() == 200, "{round}: it serves {}", object.status());
    Ok(())
}

#[tokio::test]
async fn a_killed_appliance_is_demoted_and_taken_back_also_without_a_control_plane() -> Result<()> {
    init();
    let dir = tempfile::tempdir()?;
    let mut cdn = start(dir.path()).await?;
    let objects = cdn.client.catalogue().await?.objects;
    let path = objects.first().context("an object")?.path.clone();
    kill_and_restart(&mut cdn, &path, "with the control plane").await?;

    cdn.control.kill()?;
    until_metric(&cdn, "steering_control_connected", 0.0).await?;
    kill_and_restart(&mut cdn, &path, "without").await?;
    ensure!(metric(&cdn, "steering_control_connected").await? == 0.0);
    ensure!(metric(&cdn, r#"steering_circuit_openings_total{by="probes"}"#).await? == 2.0);
    Ok(())
}
