//! `nightfill demo`: what a newcomer sees first. Packs films, starts a whole CDN, feeds two weeks of (simulated) demand,
//! plans, fills, and tells where to look; with `--once` it plays in a real browser and prints what it saw.

use crate::{
    browser::Browser,
    cli::id_from,
    local::{Layout, LocalCdn, Net, program::binary},
};
use anyhow::{Context, Result, ensure};
use cdn_types::{Bytes, ObjectDigest, OcaId, PlanNumber, plan::Plan, title::TitleManifest};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};

/// Length of a demo title: long enough to look round, short enough to pack six in a minute or two.
const TITLE_SECONDS: u32 = 60;
/// How long `--once` lets each player play.
const WATCH_SECONDS: f64 = 20.0;
/// Most that a player may need for that: start-up and a busy machine included.
const WATCH_LIMIT: Duration = Duration::from_secs(120);
/// Most that filling six short titles may take.
const FILL_LIMIT: Duration = Duration::from_secs(120);
/// Seed of the simulated demand history.
const SEED: &str = "7";
/// The demo's own pictures, made by ffmpeg.
const TEST_SOURCES: &[(&str, &str, &str)] = &[
    ("test-card", "Test card", "testsrc2=size=1280x720:rate=25"),
    (
        "mandelbrot",
        "Mandelbrot",
        "mandelbrot=size=1280x720:rate=25:maxiter=512",
    ),
    (
        "game-of-life",
        "Game of Life",
        "life=size=320x180:rate=25:random_seed=7:ratio=0.2:mold=10:death_color=#203050,scale=1280:720:flags=neighbor",
    ),
];

/// What to show.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Play a title with both players in headless Chromium, print a table, stop everything.
    #[arg(long)]
    pub once: bool,
    /// Your own films instead of the six built-in titles.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub media: Vec<PathBuf>,
    /// Folder for everything that the demo writes; packed titles in it are used again.
    #[arg(long, default_value = "demo")]
    pub dir: PathBuf,
    /// Folder of the players' scripts (npm's node_modules).
    #[arg(long)]
    pub players: PathBuf,
    /// The film clip that three of the six titles are made of.
    #[arg(long)]
    pub clip: PathBuf,
}

/// One film to pack.
struct Film {
    id: String,
    name: String,
    args: Vec<String>,
}

/// Shows the demo.
pub async fn run(args: &DemoArgs) -> Result<()> {
    let films = if args.media.is_empty() {
        built_in(&args.clip)
    } else {
        own(&args.media)?
    };
    let dir = absolute(&args.dir)?;
    let titles = pack_all(&films, &dir.join("media"))?;

    println!("starting origin, control plane, steering and three appliances");
    let run_dir = dir.join("run");
    if run_dir.exists() {
        fs::remove_dir_all(&run_dir).with_context(|| format!("cannot empty {}", run_dir.display()))?;
    }
    let mut layout = Layout::two_sites(Net::DEMO, &run_dir)?;
    layout.players = Some(absolute(&args.players)?);
    for place in layout.places.iter_mut().filter(|p| p.site.as_str() == "south") {
        place.storage = all_but_two(&titles)?; // so that the planner has something to decide
    }
    let mut cdn = LocalCdn::start(layout).await?;
    tokio::select! {
        shown = show(&cdn, args, &titles) => shown?,
        () = told_to_stop() => {}
    }
    println!("stopping");
    cdn.appliances.retain(|_, program| program.is_running()); // the newcomer was told to kill one
    cdn.stop().await
}

/// Room for all titles but two of mean size.
fn all_but_two(titles: &[PathBuf]) -> Result<Bytes> {
    let mut all = 0;
    for title in titles {
        for file in fs::read_dir(title)? {
            all += file?.metadata()?.len();
        }
    }
    let n = titles.len().max(1) as u64;
    Ok(Bytes(all * n.saturating_sub(2).max(1) / n))
}

/// Ctrl-C or SIGTERM.
async fn told_to_stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await, // no handler to be had: Ctrl-C alone then
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

async fn show(cdn: &LocalCdn, args: &DemoArgs, titles: &[PathBuf]) -> Result<()> {
    println!("publishing {} titles", titles.len());
    cdn.publish(titles)?;
    println!("feeding two weeks of simulated demand history");
    let tomorrow = feed_history(cdn).await?;
    println!("planning tomorrow and filling");
    let number = cdn.plan(&day(1)).await?;
    cdn.until_filled(number, FILL_LIMIT).await?;
    let plan = cdn.client.plan(number).await?;
    let checked = verify(cdn, &plan)?;
    println!("replaying tomorrow's simulated demand");
    print!("{}", review(cdn, number, &tomorrow)?);
    if args.once {
        return watch(cdn, titles, &checked).await;
    }
    print!("{}", what_to_try(cdn, &title_id(&titles[0])?, number)?);
    std::future::pending().await
}

fn what_to_try(cdn: &LocalCdn, title: &str, plan: PlanNumber) -> Result<String> {
    let (control, steering) = (cdn.control.url()?, cdn.steering.url()?);
    let (nightfill, server) = (shown(&binary("nightfill")?), shown(&binary("oca-server")?));
    let run = shown(&cdn.layout.dir);
    let pids: Vec<_> = cdn
        .appliances
        .iter()
        .map(|(id, program)| format!("{id} is {}", program.id()))
        .collect();
    let pids = pids.join(", ");
    Ok(format!(
        "\nA whole CDN runs on this machine. Ctrl-C stops it.\n\n\
         operator page   {control}/\n\
         the plan's page {control}/plan?n={plan}   (what it promised, what came, and why each title is where it is)\n\
         player page     {control}/player\n\
         API             {control}/v1/openapi.json\n\n\
         Things to try, while a title plays:\n\n\
         why this appliance?        {nightfill} explain --steering {steering} --client 127.0.0.1 --asset {title}\n\
         a viewer of another site   {nightfill} explain --steering {steering} --client 10.2.0.9 --asset {title}\n\
         drain an appliance         {nightfill} drain north-1 --control {control} --token-file {run}/control/admin.token\n\
         pull a cable               kill -9 PID        # {pids}\n\
         plug it in again           {server} run --config {run}/north-1.toml\n\
         what is where, and why     {nightfill} plan show {plan} --control {control}; cat {run}/plan/report-{plan}.md\n\
         logs of every program      ls {run}/log\n",
    ))
}

/// A path as one types it: relative to the current folder where it lies below.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// Packs what is not packed yet, as many at once as there are cores: an encoder keeps its threads few so that the same
/// film gives the same bytes. The folders in the films' order.
fn pack_all(films: &[Film], media: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(media).with_context(|| format!("cannot make {}", media.display()))?;
    let missing: Vec<_> = films
        .iter()
        .filter(|f| !media.join(&f.id).join("title.json").is_file())
        .collect();
    if !missing.is_empty() {
        println!("packing (once; kept in {}):", media.display());
    }
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(film) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            println!("  {}", pack_one(film, media)?);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once.min(missing.len()))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().expect("a panic in a worker is a bug"))
    })?;
    Ok(films.iter().map(|f| media.join(&f.id)).collect())
}

/// Packs one film; the line that tells what it became.
fn pack_one(film: &Film, media: &Path) -> Result<String> {
    let out = Command::new("setpriv") // ends the packer, and it its encoder, if the demo is killed
        .args(["--pdeathsig", "INT", "--"])
        .arg(binary("nightfill")?)
        .arg("pack")
        .args(&film.args)
        .args(["--id", &film.id, "--name", &film.name, "--overwrite", "--out"])
        .arg(media)
        .output()?;
    let told = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "packing {} failed:\n{}",
        film.name,
        errors.trim_end()
    );
    Ok(told
        .lines()
        .last()
        .unwrap_or(&film.name)
        .trim_start_matches(&format!("{}/", media.display()))
        .to_owned())
}

fn built_in(clip: &Path) -> Vec<Film> {
    let seconds = TITLE_SECONDS.to_string();
    let mut films = Vec::new();
    for n in 1..=3 {
        let name = format!("Big Buck Bunny {n}");
        let args = [
            clip.display().to_string(),
            "--min-seconds".into(),
            seconds.clone(),
            "--burn".into(),
            name.clone(),
        ];
        films.push(Film {
            id: format!("bunny-{n}"),
            name,
            args: args.to_vec(),
        });
    }
    for (id, name, source) in TEST_SOURCES {
        let args = [
            format!("lavfi:{source}"),
            "--min-seconds".into(),
            seconds.clone(),
            "--burn".into(),
            name.to_string(),
        ];
        films.push(Film {
            id: id.to_string(),
            name: name.to_string(),
            args: args.to_vec(),
        });
    }
    films
}

/// The user's films. The id tells one state of one file, so that a packed title is used again only for the same film.
fn own(media: &[PathBuf]) -> Result<Vec<Film>> {
    let film = |path: &PathBuf| -> Result<Film> {
        let path = absolute(path)?;
        let about = fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(about.is_file(), "{} is not a file", path.display());
        let state = format!("{} {} {:?}", path.display(), about.len(), about.modified()?);
        let state = ObjectDigest::of(state.as_bytes()).short();
        let name = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        let stem: String = id_from(&name)
            .map_or_else(|_| "own".to_owned(), String::from)
            .chars()
            .take(40)
            .collect();
        let args = vec![path.display().to_string(), "--silent-audio".to_owned()];
        Ok(Film {
            id: format!("{stem}-{state}"),
            name,
            args,
        })
    };
    media.iter().map(film).collect()
}

/// Gives the control plane two weeks of demand; the file with the day after them, which nobody is told of yet.
pub async fn feed_history(cdn: &LocalCdn) -> Result<PathBuf> {
    let dir = &cdn.layout.dir;
    let catalogue = dir.join("catalogue.json");
    let [all, history, tomorrow] = ["demand.csv", "history.csv", "tomorrow.csv"].map(|f| dir.join(f));
    fs::write(&catalogue, serde_json::to_vec(&cdn.client.catalogue().await?)?)?;
    let regions: Vec<_> = cdn.layout.sites.iter().map(|s| s.region.as_str()).collect();
    let (from, to) = (catalogue.display().to_string(), all.display().to_string());
    let (regions, tomorrows, until) = (regions.join(","), day(1), day(2));
    let args = [
        "history",
        "--catalog",
        &from,
        "--regions",
        &regions,
        "--days",
        "15",
        "--until",
        &until,
    ];
    cdn.run(
        "fleet-sim",
        &[&args[..], &["--seed", SEED, "--out", &to]].concat(),
    )?;
    let text = fs::read_to_string(&all)?;
    let is_later = |line: &&str| line.starts_with(&tomorrows);
    fs::write(&history, lines(text.lines().filter(|l| !is_later(l))))?;
    let is_head = |line: &&str| !line.starts_with(|c: char| c.is_ascii_digit());
    fs::write(
        &tomorrow,
        lines(text.lines().filter(|l| is_later(l) || is_head(l))),
    )?;
    cdn.client.import_demand_csv(&history).await?;
    Ok(tomorrow)
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Sets the plan against its day; what is said of it.
pub fn review(cdn: &LocalCdn, number: PlanNumber, demand: &Path) -> Result<String> {
    let (control, demand, number) = (
        cdn.control.url()?,
        demand.display().to_string(),
        number.to_string(),
    );
    let args = [
        "review",
        "--control",
        &control,
        "--plan",
        &number,
        "--demand",
        &demand,
    ];
    cdn.run("fill-planner", &args)
}

/// Every planned object on every appliance's disk, digests computed anew; one row an appliance.
fn verify(cdn: &LocalCdn, plan: &Plan) -> Result<Vec<Held>> {
    let mut rows = Vec::new();
    for part in &plan.appliances {
        let root = cdn.appliance_root(&part.appliance);
        let found = crate::verify::planned_objects(&root, part)?;
        if let Some(bad) = found.iter().find(|o| !o.fault.is_empty()) {
            anyhow::bail!("{}: {} {}", part.appliance, bad.path, bad.fault);
        }
        rows.push(Held {
            appliance: part.appliance.clone(),
            objects: found.len(),
            bytes: part.items.iter().map(|i| i.size).sum(),
        });
    }
    Ok(rows)
}

/// What an appliance was found to hold.
struct Held {
    appliance: OcaId,
    objects: usize,
    bytes: Bytes,
}

async fn watch(cdn: &LocalCdn, titles: &[PathBuf], held: &[Held]) -> Result<()> {
    println!("\ntitles packed: {}", titles.len());
    let all = titles.iter().map(|t| read_title(t)).collect::<Result<Vec<_>>>()?;
    let width = all
        .iter()
        .map(|t| t.id.as_str().len())
        .chain([12])
        .max()
        .unwrap_or_default();
    for title in &all {
        let (objects, size) = (title.objects.len(), title.size().to_string());
        println!(
            "  {:<width$}  {:>3} renditions  {objects:>3} objects  {size:>9}",
            title.id,
            title.renditions.len()
        );
    }
    println!("\nplanned objects present with matching digests:");
    for row in held {
        println!(
            "  {:<width$}  {:>3} objects  {:>9}",
            row.appliance,
            row.objects,
            row.bytes.to_string()
        );
    }
    let browser = Browser::start().await?;
    let title = &all[0];
    let (title, seconds) = (&title.id, WATCH_SECONDS.min(title.duration_ms as f64 * 0.0008)); // a short film, most of it
    let mut shares: BTreeMap<String, u64> = BTreeMap::new();
    println!("\nplayed in headless Chromium:");
    for player in ["hls", "dash"] {
        browser.open(&cdn.player_page(title.as_str(), player)?).await?;
        let past = format!("return window.nightfill && window.nightfill.position > {seconds}");
        browser
            .until(&past, WATCH_LIMIT)
            .await
            .with_context(|| format!("the {player} player did not play"))?;
        let state = browser.run("return window.nightfill").await?;
        let position = state["position"].as_f64().unwrap_or_default();
        let errors = state["errors"].as_array().map_or(0, Vec::len);
        println!("  {player:<width$}  {title} to {position:.1} s, {errors} errors");
        for (appliance, bytes) in state["bytesByAppliance"].as_object().into_iter().flatten() {
            *shares.entry(appliance.clone()).or_default() += bytes.as_u64().unwrap_or_default();
        }
    }
    browser.close().await?;
    let all: u64 = shares.values().sum();
    ensure!(all > 0, "the player page counted no bytes");
    println!("\nshare of the players' bytes by appliance:");
    for (appliance, bytes) in &shares {
        println!(
            "  {appliance:<width$}  {:>9}  {:>5.1} %",
            Bytes(*bytes).to_string(),
            *bytes as f64 * 100.0 / all as f64
        );
    }
    Ok(())
}

fn read_title(folder: &Path) -> Result<TitleManifest> {
    let path = folder.join("title.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a title", path.display()))
}

fn title_id(folder: &Path) -> Result<String> {
    Ok(read_title(folder)?.id.to_string())
}

/// Today's date of universal time plus `offset` days.
pub fn day(offset: i64) -> String {
    let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date();
    today.saturating_add(offset.days()).to_string()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))
}
