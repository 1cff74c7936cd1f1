//! Real players in a real browser, and what they do when the appliance that they play from is drained, killed, or answers with an
//! error. A part of the matrix runs with the other tests; `whole_matrix` runs all of it and prints the table of docs/steering-players.md:
//! `cargo test --package testbed --test players -- --ignored --nocapture`.

use anyhow::{Context, Result, ensure};
use cdn_types::{OcaId, api::v1::ApplianceState};
use nightfill::{browser::Browser, local::LocalCdn};
use serde_json::Value;
use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use steering_service::decisions::{
    reader::{Line, LogReader},
    record::Door,
};
use testbed::{FILL_LIMIT, PAGE_LIMIT, fill_everything, init, packed, published, until_past};

/// Seconds between two polls of steering.
const TTL: u64 = 5;
/// Most seconds that the picture may stand still; the page buffers 8 s ahead.
const MOST_STALLED: f64 = 2.0;
/// Seconds that are played on after the move.
const AFTER: f64 = 12.0;
/// A move by steering: the poll, the segment that is under way, and a busy machine.
const MOVES_WITHIN: Duration = Duration::from_secs(3 * TTL);

/// What happens to the appliance that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Drained,
    Killed,
    Answers(&'static str),
}

const EVENTS: [Event; 4] = [
    Event::Drained,
    Event::Killed,
    Event::Answers("404 Not Found"),
    Event::Answers("429 Too Many Requests"),
];
/// Titles and players. `pieces` has a file for each segment, the others one for each rendition; the MPD of `listed` lists its segments.
const PLAYERS: [(&str, &str); 8] = [
    ("film", "hls.js"),
    ("film", "dash.js"),
    ("film", "shaka"),
    ("film", "shaka-dash"),
    ("listed", "shaka-dash"),
    ("pieces", "shaka-dash"),
    ("listed", "dash.js"),
    ("film", "video.js"),
];

impl Event {
    fn name(self) -> String {
        match self {
            Self::Drained => "drained".to_owned(),
            Self::Killed => "killed".to_owned(),
            Self::Answers(status) => format!("answers {}", &status[..3]),
        }
    }
}

/// Answers everything at an appliance's address with one status, until it is dropped.
struct Refusal {
    ends: Arc<AtomicBool>,
    at: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Refusal {
    fn start(at: SocketAddr, status: &'static str) -> Result<Self> {
        let listener = TcpListener::bind(at).with_context(|| format!("{at} is not free yet"))?;
        let ends = Arc::<AtomicBool>::default();
        let over = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // One thread each: a browser opens connections that it does not use.
                std::thread::spawn(move || refuse(stream, status));
            }
        });
        Ok(Self {
            ends,
            at,
            thread: Some(thread),
        })
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.at); // wakes it
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn refuse(mut stream: TcpStream, status: &str) {
    let (mut head, mut piece) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(n) => head.extend_from_slice(&piece[..n]),
        }
    }
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: 0\r\naccess-control-allow-origin: *\r\nconnection: close\r\n\r\n"
    );
}

/// What one run showed.
struct Run {
    moved_after: Option<Duration>,
    stalled: f64,
    failed_over: bool,
}

impl Run {
    fn cell(&self) -> String {
        match (self.moved_after, self.failed_over) {
            (None, _) => format!("does not move; stands still {:.1} s", self.stalled),
            (Some(after), failed) => format!(
                "{} after {:.1} s; stands still {:.1} s",
                if failed { "fails over" } else { "moves" },
                after.as_secs_f64(),
                self.stalled
            ),
        }
    }
}

/// Measures in the page the longest time (s) in which the position did not move.
const STALL_CLOCK: &str = "
    window.stalledFor = 0; let last = window.nightfill.position, since = performance.now();
    setInterval(() => {
        const now = performance.now();
        if (window.nightfill.position !== last) { last = window.nightfill.position; since = now; }
        window.stalledFor = Math.max(window.stalledFor, (now - since) / 1000);
    }, 100); return 1";

/// Plays, makes the event happen to the appliance that serves, plays on, and puts everything back.
async fn run(
    cdn: &mut LocalCdn,
    browser: &Browser,
    (title, player): (&str, &str),
    event: Event,
) -> Result<Run> {
    browser.open(&cdn.player_page(title, player)?).await?;
    let before = until_past(browser, 5.0).await?;
    let first = before["appliance"].as_str().unwrap_or_default().to_owned();
    let expected = first_ranked(cdn, title).await?;
    ensure!(
        first == expected,
        "{player} began at {first}, {expected} is first: {before}"
    );
    let serving = OcaId::new(first.as_str())?;
    browser.run(STALL_CLOCK).await?;
    let control = cdn.control.url()?;
    let mut refusal = None;
    match event {
        Event::Drained => drop(cdn.run("nightfill", &["drain", &first, "--control", &control])?),
        Event::Killed | Event::Answers(_) => {
            let program = cdn.appliances.remove(&serving);
            let mut program = program.context("a running appliance serves")?;
            let at = program.address("listen")?.parse()?;
            program.kill()?;
            if let Event::Answers(status) = event {
                refusal = Some(Refusal::start(at, status)?);
            }
        }
    }
    let shown = watch(browser, &first, event).await;

    drop(refusal);
    if event == Event::Drained {
        cdn.run("nightfill", &["undrain", &first, "--control", &control])?;
    } else {
        cdn.start_appliance(&serving)?;
    }
    cdn.until("the appliance is back", FILL_LIMIT, |all| {
        all.iter()
            .any(|a| a.id == serving && a.state == ApplianceState::Serving)
    })
    .await?;
    until_first(cdn, title, &first).await?;
    shown.with_context(|| format!("{player} on {title}, {}", event.name()))
}

/// What the player does once the event has happened to the appliance that it plays from.
async fn watch(browser: &Browser, first: &str, event: Event) -> Result<Run> {
    let begun = Instant::now();
    let moved = format!("return window.nightfill.appliance !== '{first}'");
    let patience = if event == Event::Drained {
        MOVES_WITHIN
    } else {
        PAGE_LIMIT
    };
    let moved_after = browser
        .until(&moved, patience)
        .await
        .ok()
        .map(|_| begun.elapsed());
    let position = browser.run("return window.nightfill.position").await?;
    let after = until_past(browser, position.as_f64().unwrap_or_default() + AFTER).await?;
    let stalled = browser.run("return window.stalledFor").await?;
    let errors = after["errors"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(!errors.iter().any(|e| e["fatal"] == true), "gave up: {after}");
    Ok(Run {
        moved_after,
        stalled: stalled.as_f64().unwrap_or(f64::MAX),
        failed_over: !errors.is_empty(),
    })
}

async fn first_ranked(cdn: &LocalCdn, title: &str) -> Result<String> {
    let steering = cdn.steering.url()?;
    let address = format!("{steering}/v1/rank?client=127.0.0.1&asset={title}");
    let ranked: Value = reqwest::get(address).await?.json().await?;
    Ok(ranked["ranked"][0]["appliance"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Steering hears of it a moment after the control plane.
async fn until_first(cdn: &LocalCdn, title: &str, appliance: &str) -> Result<()> {
    let begun = Instant::now();
    while first_ranked(cdn, title).await? != appliance {
        ensure!(
            begun.elapsed() < FILL_LIMIT,
            "{appliance} does not come first again"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// What must come of a run: it moves, without an error when it was asked to, and the picture does not stand still.
fn check((title, player): (&str, &str), event: Event, run: &Run) -> Result<()> {
    let what = format!("{player} on {title}, {}: {}", event.name(), run.cell());
    // Shaka resolves the addresses of a SegmentBase once; docs/steering-players.md.
    let cannot_move = (title, player) == ("film", "shaka-dash") && event == Event::Drained;
    ensure!(run.moved_after.is_some() != cannot_move, "{what}");
    ensure!(run.stalled < MOST_STALLED, "{what}");
    ensure!(
        event != Event::Drained || !run.failed_over,
        "the move was not clean: {what}"
    );
    Ok(())
}

async fn world() -> Result<(tempfile::TempDir, LocalCdn)> {
    let dir = tempfile::tempdir()?;
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let segments = |id, layout| packed(&cache, id, &["--min-seconds", "60", "--segments", layout]);
    let (listed, pieces) = (segments("listed", "listed")?, segments("pieces", "files")?);
    let cdn = published(dir.path(), &cache, |layout| layout.steering_ttl = TTL).await?;
    cdn.publish(&[listed, pieces])?;
    fill_everything(&cdn).await?;
    Ok((dir, cdn))
}

#[tokio::test]
async fn players_follow_steering_and_survive_errors() -> Result<()> {
    init();
    let (_dir, mut cdn) = world().await?;
    let browser = Browser::start().await?;
    for (player, event) in [
        (("film", "hls.js"), EVENTS[2]),
        (("film", "dash.js"), EVENTS[3]),
        (("film", "shaka"), Event::Drained),
        (("film", "video.js"), Event::Drained),
        (("film", "video.js"), Event::Killed),
    ] {
        let shown = run(&mut cdn, &browser, player, event).await?;
        check(player, event, &shown)?;
    }
    browser.close().await?;
    let decisions = cdn.layout.decisions();
    cdn.stop().await?;
    sessions_are_known_to_their_players(&decisions)
}

#[tokio::test]
async fn shaka_moves_over_dash_where_the_mpd_names_segments() -> Result<()> {
    init();
    let (_dir, mut cdn) = world().await?;
    let browser = Browser::start().await?;
    for title in ["listed", "pieces"] {
        let player = (title, "shaka-dash");
        let shown = run(&mut cdn, &browser, player, Event::Drained).await?;
        println!("{title}: {}", shown.cell());
        check(player, Event::Drained, &shown)?;
    }
    browser.close().await?;
    cdn.stop().await
}

/// Players with CMCD switched on ask for their manifest with the id that they give the session; video.js has none.
fn sessions_are_known_to_their_players(decisions: &Path) -> Result<()> {
    let lines: Vec<_> = LogReader::open(decisions)?.collect::<Result<_, _>>()?;
    let log = lines.into_iter().filter_map(Line::decision);
    let begun: Vec<_> = log.filter(|d| d.door == Door::Play).collect();
    let known: HashSet<_> = begun.iter().filter_map(|d| d.player_id.as_ref()).collect();
    ensure!(
        known.len() == 3,
        "of {} sessions {known:?} are known",
        begun.len()
    );
    Ok(())
}

#[tokio::test]
#[ignore = "takes ten minutes; prints the matrix of docs/steering-players.md"]
async fn whole_matrix() -> Result<()> {
    init();
    let (_dir, mut cdn) = world().await?;
    let browser = Browser::start().await?;
    let head: Vec<_> = EVENTS.iter().map(|e| e.name()).collect();
    println!("| player | {} |", head.join(" | "));
    println!("|---|{}", "---|".repeat(EVENTS.len()));
    let mut wrong = vec![];
    for player in PLAYERS {
        let mut cells = vec![];
        for event in EVENTS {
            let shown = run(&mut cdn, &browser, player, event).await;
            cells.push(shown.as_ref().map_or_else(|e| format!("stops: {e:#}"), Run::cell));
            wrong.extend(shown.and_then(|shown| check(player, event, &shown)).err());
        }
        println!("| {} on {} | {} |", player.1, player.0, cells.join(" | "));
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    browser.close().await?;
    cdn.stop().await
}
