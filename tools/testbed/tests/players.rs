//! Real players in a real browser, and what they do when the appliance that they play from is drained, killed, or answers with an
//! error. A part of the matrix runs with the other tests; `whole_matrix` runs all of it and prints the table of docs/steering-players.md:
//! `cargo test --package testbed --test players -- --ignored --nocapture`.

use anyhow::{Context, Result, bail, ensure};
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
use steering_service::{
    decisions::{
        reader::{Line, LogReader},
        record::Door,
    },
    steering_list::DEFAULT_TTL,
};
use testbed::{FILL_LIMIT, fill_everything, init, packed, published, until_past};

/// Seconds within which players shall follow steering, in the tests that CI runs: the least, so that they are over soon.
const SOON: u64 = 5;
/// The same in the whole matrix: what it is unless configured.
const TTL: u64 = DEFAULT_TTL as u64;
/// Most seconds that the picture may stand still; the page buffers 8 s ahead.
const MOST_STALLED: f64 = 2.0;
/// Seconds that are played on after the move.
const AFTER: f64 = 12.0;
/// Most that is waited for a move: three times what it shall take by default.
const MOVE_LIMIT: Duration = Duration::from_secs(3 * TTL);

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

/// When a player left the appliance, in seconds since another one was ranked first, or since it failed.
struct Move {
    /// The player took the first answer of steering, if it took one before it left.
    polled: Option<f64>,
    /// Its answers of steering until it left.
    polls: usize,
    /// The first segment from elsewhere was there.
    left: f64,
}

/// What one run showed.
struct Run {
    moved: Option<Move>,
    stalled: f64,
    failed_over: bool,
}

impl Run {
    fn cell(&self) -> String {
        let what = match &self.moved {
            None => "does not move".to_owned(),
            Some(Move { left, .. }) if self.failed_over => format!("fails over after {left:.1} s"),
            Some(Move {
                left,
                polled: Some(polled),
                ..
            }) => {
                format!("moves after {left:.1} s (polls after {polled:.1} s)")
            }
            Some(Move { left, .. }) => format!("moves after {left:.1} s without a poll"),
        };
        format!("{what}; stands still {:.1} s", self.stalled)
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
    if event == Event::Drained {
        // The most unfortunate moment: a whole TTL goes by until the next poll.
        let polls = "return window.nightfill.steering.length";
        let before = browser.run(polls).await?;
        let again = format!("{polls} > {before}");
        browser.until(&again, MOVE_LIMIT).await?;
    }
    let mut refusal = None;
    let since = match event {
        Event::Drained => {
            cdn.run("nightfill", &["drain", &first, "--control", &control])?;
            until_ranked(cdn, title, |id| id != first).await?
        }
        Event::Killed | Event::Answers(_) => {
            let program = cdn.appliances.remove(&serving);
            let mut program = program.context("a running appliance serves")?;
            let at = program.address("listen")?.parse()?;
            let since = now();
            program.kill()?;
            if let Event::Answers(status) = event {
                refusal = Some(Refusal::start(at, status)?);
            }
            since
        }
    };
    let shown = watch(browser, &first, since).await;

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
    until_ranked(cdn, title, |id| id == first).await?;
    shown.with_context(|| format!("{player} on {title}, {}", event.name()))
}

/// Seconds since 1970, by the clock that the page's facts are stamped with.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

/// What the player does once the appliance that it plays from is no longer the one to play from, at `since`.
async fn watch(browser: &Browser, first: &str, since: f64) -> Result<Run> {
    let moved = format!("return window.nightfill.appliance !== '{first}'");
    let _ = browser.until(&moved, MOVE_LIMIT).await; // one that stays is told by what it shows
    let position = browser.run("return window.nightfill.position").await?;
    let after = until_past(browser, position.as_f64().unwrap_or_default() + AFTER).await?;
    let stalled = browser.run("return window.stalledFor").await?;
    let errors = after["errors"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(!errors.iter().any(|e| e["fatal"] == true), "gave up: {after}");
    Ok(Run {
        moved: moved_from(&after, first, since)?,
        stalled: stalled.as_f64().unwrap_or(f64::MAX),
        failed_over: !errors.is_empty(),
    })
}

/// When the page says that it left `first`, and which answers of steering came before.
fn moved_from(page: &Value, first: &str, since: f64) -> Result<Option<Move>> {
    let list = |name: &str| page[name].as_array().cloned().unwrap_or_default();
    let at = |entry: &Value| -> Result<f64> {
        let stamp: jiff::Timestamp = entry["at"].as_str().unwrap_or_default().parse()?;
        Ok(stamp.as_millisecond() as f64 / 1000.0)
    };
    let Some(switch) = list("switches").into_iter().find(|s| s["from"] == first) else {
        return Ok(None);
    };
    let left = at(&switch)?;
    let answers: Vec<f64> = list("steering").iter().map(at).collect::<Result<_>>()?;
    let polls: Vec<_> = answers
        .into_iter()
        .filter(|t| (since..left).contains(t))
        .collect();
    Ok(Some(Move {
        polled: polls.first().map(|polled| polled - since),
        polls: polls.len(),
        left: left - since,
    }))
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

/// Waits until the appliance that is ranked first is a `wanted` one: steering hears of changes a moment after the control plane. Returns the time.
async fn until_ranked(cdn: &LocalCdn, title: &str, wanted: impl Fn(&str) -> bool) -> Result<f64> {
    let begun = Instant::now();
    loop {
        let first = first_ranked(cdn, title).await?;
        if wanted(&first) {
            return Ok(now());
        }
        ensure!(begun.elapsed() < FILL_LIMIT, "{first} stays first");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What must come of a run: it moves with its first poll, without an error when it was asked to, and the picture does not stand still.
fn check((title, player): (&str, &str), event: Event, run: &Run) -> Result<()> {
    let what = format!("{player} on {title}, {}: {}", event.name(), run.cell());
    let Some(moved) = &run.moved else { bail!(what) };
    ensure!(run.stalled < MOST_STALLED, "{what}");
    if event == Event::Drained {
        ensure!(!run.failed_over, "the move was not clean: {what}");
        ensure!(moved.polls <= 1, "{} polls: {what}", moved.polls);
    }
    Ok(())
}

async fn world(ttl: u64) -> Result<(tempfile::TempDir, LocalCdn)> {
    let dir = tempfile::tempdir()?;
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let segments = |id, layout| packed(&cache, id, &["--min-seconds", "60", "--segments", layout]);
    let (listed, pieces) = (segments("listed", "listed")?, segments("pieces", "files")?);
    let cdn = published(dir.path(), &cache, |layout| layout.steering_ttl = ttl).await?;
    cdn.publish(&[listed, pieces])?;
    fill_everything(&cdn).await?;
    Ok((dir, cdn))
}

#[tokio::test]
async fn players_follow_steering_and_survive_errors() -> Result<()> {
    init();
    let (_dir, mut cdn) = world(SOON).await?;
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
async fn shaka_moves_over_dash_however_a_title_is_packed() -> Result<()> {
    init();
    let (_dir, mut cdn) = world(SOON).await?;
    let browser = Browser::start().await?;
    for title in ["film", "listed", "pieces"] {
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

/// The same, and that it moves in time.
fn held(player: (&str, &str), event: Event, run: &Run) -> Result<()> {
    check(player, event, run)?;
    let within = run.moved.as_ref().map_or(f64::MAX, |m| m.left);
    ensure!(
        within <= TTL as f64,
        "{player:?}, {}: {}",
        event.name(),
        run.cell()
    );
    Ok(())
}

#[tokio::test]
#[ignore = "takes a quarter of an hour; prints the matrix of docs/steering-players.md"]
async fn whole_matrix() -> Result<()> {
    init();
    let (_dir, mut cdn) = world(TTL).await?;
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
            wrong.extend(shown.and_then(|shown| held(player, event, &shown)).err());
        }
        println!("| {} on {} | {} |", player.1, player.0, cells.join(" | "));
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    browser.close().await?;
    cdn.stop().await
}
