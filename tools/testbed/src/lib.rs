//! What the end-to-end tests share: packed media, a filled CDN, a browser that plays. The tests themselves are in
//! `tests/`; they start real programs and pull real cables.

use anyhow::{Context, Result, ensure};
use cdn_types::{
    Bytes, ObjectDigest, PlanNumber,
    api::v1::CatalogueObject,
    plan::{AppliancePlan, FillSource, PLAN_FORMAT, Plan, PlanItem, SourceKind},
};
use nightfill::{
    browser::Browser,
    demo::day,
    local::{Layout, LocalCdn, Net, Place, program::binary},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Most that filling the test titles may take.
pub const FILL_LIMIT: Duration = Duration::from_secs(60);
/// Most that a page may take to reach a state, on a machine that also encodes or compiles.
pub const PAGE_LIMIT: Duration = Duration::from_secs(60);

/// Makes reqwest's TLS usable and log lines of failures visible; call first in every test.
pub fn init() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test of this process did it
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("testbed lies two folders deep")
}

/// Packed titles `film` (90 s) and `short` (12 s), kept in `cache` (a folder that outlives the test).
pub fn media(cache: &Path) -> Result<Vec<PathBuf>> {
    [("film", "90"), ("short", "12")]
        .iter()
        .map(|(id, seconds)| packed(cache, id, &["--min-seconds", seconds]))
        .collect()
}

/// A title packed from the clip with `options`, kept in `cache` and made again when the packer has changed.
pub fn packed(cache: &Path, id: &str, options: &[&str]) -> Result<PathBuf> {
    let root = cache.join("testbed-media");
    fs::create_dir_all(&root)?;
    let lock = File::create(root.join("lock"))?;
    lock.lock()?; // several test processes may want it at once
    let (folder, made) = (root.join(id), root.join(format!("{id}.made")));
    let packer = packer(options)?;
    let is_made = fs::read_to_string(&made).is_ok_and(|by| by == packer);
    if !is_made || !folder.join("title.json").is_file() {
        let out = Command::new(binary("nightfill")?)
            .arg("pack")
            .arg(repository().join("assets/big-buck-bunny.mp4"))
            .args(["--preset", "ultrafast"]) // nobody looks at it
            .args(["--id", id, "--name", id, "--overwrite", "--out"])
            .arg(&root)
            .args(options)
            .output()?;
        ensure!(
            out.status.success(),
            "packing failed:\n{}",
            String::from_utf8_lossy(&out.stderr)
        );
        fs::write(&made, &packer)?;
    }
    Ok(folder)
}

/// What a packed title is made by: the packer's sources and its options, as a digest.
fn packer(options: &[&str]) -> Result<String> {
    let sources = repository().join("tools/nightfill/src");
    let listed = fs::read_dir(sources.join("pack"))?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = listed.into_iter().map(|entry| entry.path()).collect();
    files.push(sources.join("pack.rs"));
    files.sort();
    let mut all = options.join("\0").into_bytes();
    for file in files {
        all.extend(fs::read(file)?);
    }
    Ok(ObjectDigest::of(&all).to_string())
}

/// A CDN of two sites in a folder of its own, with both titles published and nothing planned.
pub async fn published(dir: &Path, cache: &Path, change: impl FnOnce(&mut Layout)) -> Result<LocalCdn> {
    let titles = media(cache)?;
    let mut layout = Layout::two_sites(Net::unique(), dir)?;
    layout.players = Some(repository().join("control-plane/web/node_modules"));
    change(&mut layout);
    let cdn = LocalCdn::start(layout).await?;
    cdn.publish(&titles)?;
    Ok(cdn)
}

/// The same, planned for tomorrow and filled.
pub async fn filled(
    dir: &Path,
    cache: &Path,
    change: impl FnOnce(&mut Layout),
) -> Result<(LocalCdn, PlanNumber)> {
    let cdn = published(dir, cache, change).await?;
    let number = cdn.plan(&day(1)).await?;
    cdn.until_filled(number, FILL_LIMIT).await?;
    Ok((cdn, number))
}

/// Everything everywhere, straight from the origin.
pub async fn fill_everything(cdn: &LocalCdn) -> Result<()> {
    let base_url = cdn.client.origin().await?.url;
    let item = |o: CatalogueObject| PlanItem {
        digest: o.digest,
        size: o.size,
        title: o.title,
        path: o.path,
        media_type: o.media_type,
        from: vec![0],
        expected: Bytes(0),
        kept: false,
    };
    let objects = cdn.client.catalogue().await?.objects;
    let items: Vec<PlanItem> = objects.into_iter().map(item).collect();
    let part = |place: &Place| {
        let site = cdn.layout.sites.iter().find(|s| s.id == place.site);
        let site = site.context("a site of the layout")?;
        Ok(AppliancePlan {
            appliance: place.id.clone(),
            site: site.id.clone(),
            region: site.region.clone(),
            window: site.window.clone(),
            fill_rate: place.fill_rate,
            sources: vec![FillSource {
                kind: SourceKind::Origin,
                appliance: None,
                base_url: base_url.clone(),
            }],
            items: items.clone(),
            drops: vec![],
        })
    };
    let plan = Plan {
        format: PLAN_FORMAT,
        number: PlanNumber(1),
        date: day(1).parse()?,
        seed: 0,
        inputs: ObjectDigest::of(b"everything everywhere"),
        appliances: cdn.layout.places.iter().map(part).collect::<Result<_>>()?,
    };
    let number = replace_plan(cdn, &plan).await?;
    cdn.until_filled(number, FILL_LIMIT).await?;
    Ok(())
}

/// Publishes and activates `plan` under the next number.
pub async fn replace_plan(cdn: &LocalCdn, plan: &Plan) -> Result<PlanNumber> {
    let latest = cdn
        .client
        .plans()
        .await?
        .iter()
        .map(|p| p.number.0)
        .max()
        .unwrap_or(0);
    let number = PlanNumber(latest + 1);
    let plan = Plan {
        number,
        ..plan.clone()
    };
    cdn.client.publish_plan(&plan).await?;
    cdn.client.activate_plan(number).await?;
    Ok(number)
}

/// Opens the player page for `film` and waits until it plays past `seconds`.
pub async fn play(
    cdn: &LocalCdn,
    browser: &Browser,
    player: &str,
    seconds: u32,
) -> Result<serde_json::Value> {
    browser.open(&cdn.player_page("film", player)?).await?;
    until_past(browser, f64::from(seconds)).await
}

/// Waits until the page plays past `seconds`; the page's state then.
pub async fn until_past(browser: &Browser, seconds: f64) -> Result<serde_json::Value> {
    let past = format!("return window.nightfill && window.nightfill.position > {seconds}");
    browser
        .until(&past, PAGE_LIMIT)
        .await
        .with_context(|| format!("not played past {seconds} s"))?;
    browser.run("return window.nightfill").await
}
