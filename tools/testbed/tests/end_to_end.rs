//! The whole path with real programs and a real browser: pack, publish, plan, fill, steer, play, and then the cables are
//! pulled. Each test has a CDN of its own on loopback addresses of its own.

use anyhow::{Context, Result, ensure};
use cdn_types::{
    BitsPerSecond, Bytes, OcaId, PlanNumber,
    api::v1::{ApplianceState, ApplianceView, FillState},
    plan::{FillSource, Plan, SourceKind},
    time::Timestamp,
};
use nightfill::{
    browser::Browser,
    demo::{day, feed_history, review},
    local::{
        LocalCdn,
        program::{Program, binary},
    },
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use testbed::{
    FILL_LIMIT, PAGE_LIMIT, filled, init, media, play, published, replace_plan, repository, until_past,
};

/// One CDN at a time, also where one process runs all tests.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn id(text: &str) -> OcaId {
    OcaId::new(text).expect("ids of the layout are valid")
}

fn appliance<'a>(all: &'a [ApplianceView], name: &str) -> &'a ApplianceView {
    all.iter()
        .find(|a| a.id.as_str() == name)
        .expect("an appliance of the layout")
}

fn text<'a>(state: &'a Value, key: &str) -> &'a str {
    state[key].as_str().unwrap_or_default()
}

#[tokio::test]
async fn the_plans_page_shows_why_and_that_the_promise_was_kept() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    // The south has not quite enough room for both titles.
    let mut both = 0;
    for file in media(&cache())?.iter().flat_map(fs::read_dir).flatten() {
        both += file?.metadata()?.len();
    }
    let small = |layout: &mut nightfill::local::Layout| {
        for place in layout.places.iter_mut().filter(|p| p.site.as_str() == "south") {
            place.storage = Bytes(both * 9 / 10);
        }
    };
    let cdn = published(dir.path(), &cache(), small).await?;
    let tomorrow = feed_history(&cdn).await?;
    let number = cdn.plan(&day(1)).await?;
    let said = review(&cdn, number, &tomorrow)?;
    ensure!(said.contains("; as promised: "), "{said}");
    let browser = Browser::start().await?;
    let page = format!("{}/plan?n={number}", cdn.control.url()?);
    browser.open(&page).await?;
    let rows = "Array.from(document.querySelectorAll('#sites tbody tr'), r => r.innerText)";
    let all = browser
        .until(&format!("return {rows}.length > 3 && {rows}"), PAGE_LIMIT)
        .await?;
    let row = |words: &[&str]| {
        let all = all.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.filter(|r| words.iter().all(|w| r.contains(w))).count()
    };
    ensure!(
        row(&["film", "north-1", "added", "viewers here are expected to draw"]) == 1,
        "{all}"
    );
    ensure!(
        row(&["left out", "no room"]) == 1,
        "one title has no room in the south: {all}"
    );
    let tiles = browser
        .run("return document.getElementById('tiles').innerText")
        .await?;
    for word in ["as promised", "nine days of ten", "replayed demand"] {
        ensure!(
            tiles.as_str().unwrap_or_default().contains(word),
            "{word}: {tiles}"
        );
    }
    // The search narrows to what is asked for.
    browser
        .run("const t = document.getElementById('text'); t.value = 'shor'; t.dispatchEvent(new Event('input')); return 1")
        .await?;
    let narrowed = browser
        .until(
            &format!("return {rows}.every(r => r.includes('short')) && {rows}.length"),
            PAGE_LIMIT,
        )
        .await?;
    ensure!(narrowed.as_u64() > Some(0), "{narrowed}");
    let console = browser.console().await?;
    ensure!(console.is_empty(), "{console}");
    browser.close().await?;
    cdn.stop().await
}

async fn plays(player: &str) -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (cdn, _) = filled(dir.path(), &cache(), |_| {}).await?;
    let browser = Browser::start().await?;
    let state = play(&cdn, &browser, player, 12).await?;
    ensure!(
        state["errors"].as_array().is_some_and(Vec::is_empty),
        "errors while playing: {state}"
    );
    ensure!(
        text(&state, "appliance").starts_with("north-"),
        "not served by the viewer's own site: {state}"
    );
    ensure!(
        state["steering"].as_array().is_some_and(|s| !s.is_empty()),
        "steering was not asked: {state}"
    );
    ensure!(
        !text(&state["rendition"], "id").is_empty() || state["rendition"].is_string(),
        "no rendition: {state}"
    );
    let logged = fs::read_to_string(
        dir.path()
            .join("log")
            .join(format!("{}.out", text(&state, "appliance"))),
    )?;
    ensure!(
        logged.contains("/t/film/"),
        "the access log of {} lacks the film",
        text(&state, "appliance")
    );
    browser.close().await?;
    cdn.stop().await
}

#[tokio::test]
async fn plays_hls() -> Result<()> {
    plays("hls").await
}

#[tokio::test]
async fn plays_dash() -> Result<()> {
    plays("dash").await
}

/// kill -9 mid-play: the player goes on within its buffer, from another appliance.
#[tokio::test]
async fn survives_kill_of_serving_appliance() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (mut cdn, _) = filled(dir.path(), &cache(), |_| {}).await?;
    let browser = Browser::start().await?;
    for player in ["hls", "dash"] {
        let before = play(&cdn, &browser, player, 5).await?;
        let serving = id(text(&before, "appliance"));
        browser.run(STALL_CLOCK).await?;
        cdn.appliances
            .remove(&serving)
            .context("a running appliance serves")?
            .kill()?;
        let position = before["position"].as_f64().unwrap_or_default();
        let after = until_past(&browser, position + 20.0).await?;
        ensure!(
            text(&after, "appliance") != serving.as_str(),
            "{player}: still {serving}: {after}"
        );
        let stalled = browser
            .run("return window.stalledFor")
            .await?
            .as_f64()
            .unwrap_or(f64::MAX);
        ensure!(
            stalled < 2.0,
            "{player}: playback stood still for {stalled:.1} s: {after}"
        );
        cdn.start_appliance(&serving)?;
        cdn.until("the appliance is back", FILL_LIMIT, |all| {
            appliance(all, serving.as_str()).state == ApplianceState::Serving
        })
        .await?;
    }
    browser.close().await?;
    cdn.stop().await
}

/// Measures in the page the longest time (s) in which the position did not move.
const STALL_CLOCK: &str = "
    window.stalledFor = 0; let last = window.nightfill.position, since = performance.now();
    setInterval(() => {
        const now = performance.now();
        if (window.nightfill.position !== last) { last = window.nightfill.position; since = now; }
        window.stalledFor = Math.max(window.stalledFor, (now - since) / 1000);
    }, 100);";

/// kill -9 mid-fill: what was verified is not fetched again.
#[tokio::test]
async fn resumes_fill_after_kill() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let mut cdn = published(dir.path(), &cache(), |layout| {
        layout.places.truncate(1);
        layout.places[0].fill_rate = BitsPerSecond(20_000_000);
    })
    .await?;
    let number = cdn.plan(&day(1)).await?;
    let north = id("north-1");
    let some = |all: &[ApplianceView]| {
        let fill = &appliance(all, "north-1").fill;
        fill.bytes_total.0 > 0 && fill.bytes_done.0 * 4 > fill.bytes_total.0
    };
    let before = cdn.until("a quarter is filled", FILL_LIMIT, some).await?;
    let fill = appliance(&before, "north-1").fill.clone();
    cdn.appliances.remove(&north).context("it runs")?.kill()?;
    let restart = Timestamp::now();
    cdn.start_appliance(&north)?;
    cdn.until_filled(number, FILL_LIMIT * 2).await?;
    let fetched = bytes_logged(&cdn, "origin", restart)?;
    let missing = fill.bytes_total.0 - fill.bytes_done.0;
    ensure!(fetched > 0, "nothing was left to resume: the kill came too late");
    ensure!(
        fetched <= missing,
        "{fetched} bytes were fetched after the restart, {missing} were missing"
    );
    let plan = cdn.client.plan(number).await?;
    all_held(&cdn, &plan)?;
    cdn.stop().await
}

/// Body bytes of every answer to a request that a program got at or after `since`, by its access log.
fn bytes_logged(cdn: &LocalCdn, program: &str, since: Timestamp) -> Result<u64> {
    let log = fs::read_to_string(cdn.layout.dir.join(format!("log/{program}.out")))?;
    let (whole_lines, _) = log.rsplit_once('\n').unwrap_or_default();
    let mut bytes = 0;
    for line in whole_lines.lines() {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("in the log of {program}: {line}"))?;
        if let Some(time) = line["time"].as_str() {
            let time: Timestamp = time.parse()?;
            bytes += if time >= since {
                line["bytes"].as_u64().unwrap_or_default()
            } else {
                0
            };
        }
    }
    Ok(bytes)
}

fn all_held(cdn: &LocalCdn, plan: &Plan) -> Result<()> {
    for part in &plan.appliances {
        for object in nightfill::verify::planned_objects(&cdn.appliance_root(&part.appliance), part)? {
            ensure!(
                object.fault.is_empty(),
                "{}: {} {}",
                part.appliance,
                object.path,
                object.fault
            );
        }
    }
    Ok(())
}

/// A source that flips one byte of one file: the object comes from elsewhere and the wrong bytes are never served.
#[tokio::test]
async fn rejects_corrupt_source() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let cdn = published(dir.path(), &cache(), |layout| layout.places.truncate(1)).await?;
    let number = cdn.plan(&day(1)).await?;
    cdn.until_filled(number, FILL_LIMIT).await?;
    let plan = cdn.client.plan(number).await?;

    // Empty the appliance by a plan without items, then give it one whose best source is corrupt.
    let mut empty = plan.clone();
    empty.appliances[0].items.clear();
    let number = replace_plan(&cdn, &empty).await?;
    cdn.until_filled(number, FILL_LIMIT).await?;
    let store = dir.path().join("control/origin");
    let bad_store = dir.path().join("bad-origin");
    copy_with_flips(&store, &bad_store)?;
    let (at, bad) = (
        format!(
            "{}:8080",
            cdn.origin.address("listen")?.replace(".250:8080", ".251")
        ),
        bad_store.display().to_string(),
    );
    let args = ["serve", "--root", &bad, "--listen", &at, "--workers", "1"];
    let corrupt = Program::start("corrupt", &binary("oca-server")?, &args, &dir.path().join("log"))?;

    let mut poisoned = plan.clone();
    let part = &mut poisoned.appliances[0];
    part.sources.insert(
        0,
        FillSource {
            kind: SourceKind::Site,
            appliance: None,
            base_url: corrupt.url()?,
        },
    );
    for item in &mut part.items {
        item.from = std::iter::once(0)
            .chain(item.from.iter().map(|i| i + 1))
            .collect();
    }
    let number = replace_plan(&cdn, &poisoned).await?;
    cdn.until_filled(number, FILL_LIMIT).await?;
    all_held(&cdn, &cdn.client.plan(number).await?)?;
    ensure!(
        bytes_logged(&cdn, "corrupt", Timestamp::UNIX_EPOCH)? > 0,
        "the corrupt source was never asked"
    );
    let condition = cdn
        .until("the corrupt source is reported", FILL_LIMIT, |all| {
            appliance(all, "north-1")
                .conditions
                .iter()
                .any(|c| c.kind == "source_corrupt")
        })
        .await;
    condition?;
    let item = poisoned.appliances[0]
        .items
        .iter()
        .max_by_key(|i| i.size)
        .context("items")?;
    let served = reqwest::get(format!("{}{}", cdn.appliances[&id("north-1")].url()?, item.path))
        .await?
        .bytes()
        .await?;
    ensure!(
        cdn_types::ObjectDigest::of(&served) == item.digest,
        "{} was served with wrong bytes",
        item.path
    );
    cdn.stop().await
}

/// Copies a tree and flips one bit in the middle of every file.
fn copy_with_flips(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_with_flips(&entry.path(), &target)?;
            continue;
        }
        let mut bytes = fs::read(entry.path())?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 1;
        }
        fs::write(target, bytes)?;
    }
    Ok(())
}

/// The control plane dies: viewers notice nothing, new viewers included, and it comes back to where it was.
#[tokio::test]
async fn control_plane_away() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (mut cdn, number) = filled(dir.path(), &cache(), |_| {}).await?;
    let browser = Browser::start().await?;
    play(&cdn, &browser, "hls", 3).await?;
    cdn.control.kill()?;
    let state = until_past(&browser, 20.0).await?;
    ensure!(
        text(&state, "appliance").starts_with("north-"),
        "serving moved: {state}"
    );
    let steering = cdn.steering.url()?;
    let ranked: Value = reqwest::get(format!("{steering}/v1/rank?client=10.2.0.9&asset=film&explain=1"))
        .await?
        .json()
        .await?;
    ensure!(
        ranked.to_string().contains("south-1"),
        "steering forgot the fleet: {ranked}"
    );
    let playlist = reqwest::get(format!("{steering}/v1/play/film/master.m3u8")).await?;
    ensure!(
        playlist.status() == 200,
        "no playlist without the control plane: {}",
        playlist.status()
    );
    cdn.restart_control()?;
    cdn.until("every appliance reports again", FILL_LIMIT, |all| {
        all.len() == 3
            && all
                .iter()
                .all(|a| a.state == ApplianceState::Serving && a.plan == Some(number))
    })
    .await?;
    browser.close().await?;
    cdn.stop().await
}

/// `nightfill drain` moves running viewers away and keeps new ones off, without an error.
#[tokio::test]
async fn drain_moves_viewers() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (cdn, _) = filled(dir.path(), &cache(), |_| {}).await?;
    let browser = Browser::start().await?;
    let before = play(&cdn, &browser, "hls", 4).await?;
    let first = text(&before, "appliance").to_owned();
    cdn.run("nightfill", &["drain", &first, "--control", &cdn.control.url()?])?;
    let moved = format!("return window.nightfill.appliance !== '{first}'");
    browser.until(&moved, PAGE_LIMIT).await?;
    let state = browser.run("return window.nightfill").await?;
    ensure!(
        state["errors"].as_array().is_some_and(Vec::is_empty),
        "the move was not clean: {state}"
    );
    until_past(&browser, state["position"].as_f64().unwrap_or_default() + 5.0).await?;
    let steering = cdn.steering.url()?;
    let ranked: Value = reqwest::get(format!("{steering}/v1/rank?client=127.0.0.1&asset=film"))
        .await?
        .json()
        .await?;
    ensure!(
        !ranked.to_string().contains(&format!("\"{first}\"")),
        "a drained appliance is offered: {ranked}"
    );
    cdn.run(
        "nightfill",
        &["undrain", &first, "--control", &cdn.control.url()?],
    )?;
    cdn.until("it serves again", FILL_LIMIT, |all| {
        appliance(all, &first).state == ApplianceState::Serving
    })
    .await?;
    browser.close().await?;
    cdn.stop().await
}

/// A number that is not above the last is refused by the control plane, and what is held stays.
#[tokio::test]
async fn stale_plan_refused() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (cdn, number) = filled(dir.path(), &cache(), |_| {}).await?;
    let plan = cdn.client.plan(number).await?;
    for stale in [number, PlanNumber(number.0.saturating_sub(1))] {
        let refused = cdn
            .client
            .publish_plan(&Plan {
                number: stale,
                ..plan.clone()
            })
            .await;
        let told = format!("{:#}", refused.err().context("a stale plan was taken")?);
        ensure!(
            told.contains("stale") || told.contains("409"),
            "not told why: {told}"
        );
    }
    let next = replace_plan(&cdn, &plan).await?;
    cdn.until_filled(next, FILL_LIMIT).await?;
    ensure!(
        cdn.client.activate_plan(number).await.is_err(),
        "an older plan was activated"
    );
    all_held(&cdn, &plan)?;
    cdn.stop().await
}

/// A drive that is full stops the fill, not the serving, and the operator is told.
#[tokio::test]
async fn full_disk() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let small = SmallDisk::mount(&dir.path().join("small"), 12)?;
    let root = small.0.clone();
    let cdn = published(dir.path(), &cache(), |layout| {
        layout.places.truncate(1);
        layout.places[0].root = Some(root);
    })
    .await?;
    cdn.plan(&day(1)).await?;
    let stopped = cdn
        .until("the fill stops on a full disk", FILL_LIMIT, |all| {
            let a = appliance(all, "north-1");
            a.fill.state == FillState::Stopped && a.conditions.iter().any(|c| c.kind == "disk_full")
        })
        .await?;
    let view = appliance(&stopped, "north-1");
    ensure!(
        view.state == ApplianceState::Serving,
        "serving stopped with the fill: {view:?}"
    );
    ensure!(
        view.held > 0 && view.fill.objects_done < view.fill.objects_total,
        "nothing or all fitted: {view:?}"
    );
    let plan = cdn.client.plan(view.plan.context("it has a plan")?).await?;
    let url = cdn.appliances[&id("north-1")].url()?;
    let mut served = 0;
    for item in &plan.appliances[0].items {
        let answer = reqwest::get(format!("{url}{}", item.path)).await?;
        if answer.status() == 200 {
            ensure!(
                cdn_types::ObjectDigest::of(&answer.bytes().await?) == item.digest,
                "{} is torn",
                item.path
            );
            served += 1;
        }
    }
    ensure!(
        served == view.held,
        "{served} objects are served, {} reported",
        view.held
    );
    cdn.stop().await
}

/// A tmpfs of a few MiB; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(at)?;
        let size = format!("size={mebibytes}m");
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .output()?;
        let told = String::from_utf8_lossy(&mount.stderr).into_owned();
        ensure!(
            mount.status.success(),
            "cannot mount a small tmpfs (the test needs root): {told}"
        );
        Ok(Self(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
    }
}

/// The pages as an operator and a viewer see them, at a desk and on a phone; the pictures of the docs.
#[tokio::test]
async fn pages_look_right() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (cdn, _) = filled(dir.path(), &cache(), |_| {}).await?;
    // `NIGHTFILL_SCREENSHOTS=docs/screenshots tools/test pages_look_right` renews the pictures in the docs.
    let to = std::env::var_os("NIGHTFILL_SCREENSHOTS")
        .map_or_else(|| cache().join("screenshots"), |d| repository().join(d));
    fs::create_dir_all(&to)?;
    let browser = Browser::start().await?;
    for (width, height) in [(1280, 800), (390, 844)] {
        browser.resize(width, height).await?;
        play(&cdn, &browser, "hls", 8).await?;
        fits(&browser, width).await?;
        browser
            .screenshot(&to.join(format!("player-{width}.png")))
            .await?;
    }
    for (width, height) in [(1280, 800), (390, 844)] {
        browser.resize(width, height).await?;
        browser.open(&format!("{}/", cdn.control.url()?)).await?;
        let shown =
            "return ['north-1', 'north-2', 'south-1'].every(a => document.body.innerText.includes(a))";
        browser.until(shown, PAGE_LIMIT).await?;
        fits(&browser, width).await?;
        browser
            .screenshot(&to.join(format!("operator-{width}.png")))
            .await?;
    }
    updates_by_itself(&cdn, &browser).await?;
    browser.close().await?;
    cdn.stop().await
}

/// No sideways scrolling.
async fn fits(browser: &Browser, width: u32) -> Result<()> {
    let wide = browser.run("return document.documentElement.scrollWidth").await?;
    ensure!(
        wide.as_u64().is_some_and(|w| w <= u64::from(width)),
        "the page is {wide} px wide at {width}"
    );
    Ok(())
}

async fn updates_by_itself(cdn: &LocalCdn, browser: &Browser) -> Result<()> {
    cdn.run(
        "nightfill",
        &["drain", "south-1", "--control", &cdn.control.url()?],
    )?;
    browser
        .until("return /draining/i.test(document.body.innerText)", PAGE_LIMIT)
        .await?;
    ensure!(
        Bytes(0) < cdn.client.overview().await?.hours.iter().map(|h| h.bytes).sum(),
        "no bytes were counted"
    );
    Ok(())
}
