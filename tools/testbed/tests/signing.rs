//! A CDN whose addresses are signed, with real programs and a real browser: it fills itself although every appliance and
//! the origin ask for tokens, players play without knowing of any, and nobody gets a byte without one.

use anyhow::{Context, Result, ensure};
use nightfill::{
    browser::Browser,
    local::{FLEET, LocalCdn, STUDIO},
};
use serde_json::Value;
use std::{fs, path::PathBuf};
use testbed::{filled, init, play};

/// Viewers' addresses by a pair of keys, of which appliances could do with the public half; fetches by a secret.
const KEYS: &str = r#"{
  "STUDIO": {"renewal_kid": "1", "keys": [{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256",
    "x":"be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8","y":"rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA",
    "d":"yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M"}]},
  "FLEET": {"renewal_kid": "1", "keys": [{"kty":"oct","kid":"1","alg":"HS256",
    "k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"}]}
}"#;

/// One CDN at a time, also where one process runs all tests.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What an appliance or the origin logged of requests for objects, by `uri_signing`.
fn logged(cdn: &LocalCdn, program: &str, code: &str) -> Result<Vec<Value>> {
    let log = fs::read_to_string(cdn.layout.dir.join(format!("log/{program}.out")))?;
    let lines = log.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    Ok(lines.filter(|l| l["uri_signing"] == code).collect())
}

async fn plays_signed(player: &str) -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let keys = dir.path().join("keys.json");
    fs::write(&keys, KEYS.replace("STUDIO", STUDIO).replace("FLEET", FLEET))?;
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (cdn, _) = filled(dir.path(), &cache, |layout| layout.signing = Some(keys)).await?;
    let fetched = logged(&cdn, "origin", "200")?;
    ensure!(!fetched.is_empty(), "the fill did not ask the origin by tokens");
    let programs = cdn.layout.places.iter().map(|p| p.id.as_str()).chain(["origin"]);
    for program in programs {
        let refused = logged(&cdn, program, "000")?;
        ensure!(
            refused.is_empty(),
            "{program} was asked without a token: {refused:?}"
        );
    }

    let browser = Browser::start().await?;
    let state = play(&cdn, &browser, player, 8).await?;
    ensure!(
        state["errors"].as_array().is_some_and(Vec::is_empty),
        "errors while playing: {state}"
    );
    let appliance = state["appliance"].as_str().context("an appliance")?;
    ensure!(
        appliance.starts_with("north-"),
        "not by the viewer's own site: {state}"
    );
    let served = logged(&cdn, appliance, "200")?;
    let films = served
        .iter()
        .filter(|l| l["path"].as_str().is_some_and(|p| p.starts_with("/t/film/")));
    ensure!(films.count() > 3, "playlists and segments by token: {served:?}");
    browser.close().await?;

    // The same file without its token.
    let path = served[0]["path"].as_str().context("a path")?;
    let host = served[0]["host"].as_str().context("a host")?;
    let bare = reqwest::get(format!("http://{host}{path}")).await?;
    ensure!(bare.status() == 403, "{path} without a token: {}", bare.status());
    // Redirects carry one; it is good for this title alone.
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let go = format!("{}/v1/go/film/index.m3u8", cdn.steering.url()?);
    let response = client.get(&go).send().await?;
    let location = response.headers()["location"].to_str()?.to_owned();
    let own = client.get(&location).send().await?;
    ensure!(own.status() == 200, "{location}: {}", own.status());
    let other = client.get(location.replace("/film/", "/short/")).send().await?;
    ensure!(
        other.status() == 403,
        "{location} for another title: {}",
        other.status()
    );
    cdn.stop().await
}

#[tokio::test]
async fn plays_signed_hls() -> Result<()> {
    plays_signed("hls").await
}

#[tokio::test]
async fn plays_signed_dash() -> Result<()> {
    plays_signed("dash").await
}
