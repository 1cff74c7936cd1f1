//! What players say in CMCD, from their requests to the rank answer, with real programs: appliances see them, the control plane
//! hands it on, and steering joins it to the sessions that it has sent there.

use anyhow::{Context, Result, bail, ensure};
use nightfill::{
    local::{Layout, LocalCdn, Net},
    progress::Progress,
    publish::publish,
};
use reqwest::Client;
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use testbed::{PAGE_LIMIT, fill_everything, init, media};

/// One CDN at a time, also where one process runs all tests.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A player of a viewer with an address of its own, that says in CMCD what it does.
struct Player {
    client: Client,
    sid: String,
    /// Pathways that its manifest declares, best first, each with the address of a playlist there.
    pathways: Vec<(String, String)>,
    steering: String,
}

impl Player {
    /// Asks for the manifest, and for its first steering list.
    async fn begin(steering: &str, address: Ipv4Addr) -> Result<Self> {
        let client = Client::builder().local_address(Some(address.into())).build()?;
        let sid = format!("6e2fb550-{address}");
        let url = format!("{steering}/v1/play/short/master.m3u8?CMCD=ot%3Dm%2Csid%3D%22{sid}%22%2Csu");
        let text = client.get(url).send().await?.error_for_status()?.text().await?;
        let attribute = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        let (mut pathways, mut lines) = (Vec::<(String, String)>::new(), text.lines());
        while let Some(line) = lines.next() {
            if line.starts_with("#EXT-X-STREAM-INF")
                && let Some(id) = attribute(line, "PATHWAY-ID")
                && pathways.iter().all(|(known, _)| *known != id)
            {
                pathways.push((id, lines.next().context("an address")?.to_owned()));
            }
        }
        let server = text.lines().find_map(|line| attribute(line, "SERVER-URI"));
        let player = Self {
            client,
            sid,
            pathways,
            steering: server.with_context(|| format!("no steering in {text}"))?,
        };
        player.poll(0).await?;
        player.ask(0, "bl=0,mtp=500,su").await?;
        Ok(player)
    }

    async fn poll(&self, at: usize) -> Result<()> {
        let url = format!("{}?_HLS_pathway={}", self.steering, self.pathways[at].0);
        self.client.get(url).send().await?.error_for_status()?;
        Ok(())
    }

    /// Asks a pathway for something that it says is media, with these keys.
    async fn ask(&self, at: usize, keys: &str) -> Result<()> {
        let request = self.client.get(&self.pathways[at].1);
        let request = request
            .header("CMCD-Session", format!("sid=\"{}\"", self.sid))
            .header("CMCD-Object", "ot=v")
            .header("CMCD-Request", keys);
        request.send().await?.error_for_status()?;
        Ok(())
    }
}

/// A filled CDN, as soon as steering ranks all of its appliances, and where to ask for a rank in the viewers' network.
async fn start(dir: &Path, change: impl FnOnce(&mut Layout)) -> Result<(LocalCdn, String)> {
    let titles = media(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")))?;
    let mut layout = Layout::two_sites(Net::unique(), dir)?;
    change(&mut layout);
    let cdn = LocalCdn::start(layout).await?;
    publish(&titles[1], &cdn.client, None, &Progress::Silent).await?;
    fill_everything(&cdn).await?;
    let steering = cdn.steering.url()?;
    let rank = format!("{steering}/v1/rank?asset=short&explain=1&client=127.6.0.9");
    let everybody = |explained: &Value| explained["ranked"].as_array().is_some_and(|all| all.len() == 3);
    until(&rank, everybody).await?;
    Ok((cdn, rank))
}

/// Asks again and again until the explanation pleases.
async fn until(rank: &str, pleases: impl Fn(&Value) -> bool) -> Result<Value> {
    let began = Instant::now();
    loop {
        let explained = explain(rank).await?;
        if pleases(&explained) {
            return Ok(explained);
        }
        if began.elapsed() > PAGE_LIMIT {
            bail!("{rank} still answers {explained:#}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until steering has heard of so many sessions that they play.
async fn until_begun(steering: &str, sessions: usize) -> Result<()> {
    let (began, wanted) = (Instant::now(), format!("steering_beginnings_total {sessions}"));
    loop {
        let text = reqwest::get(format!("{steering}/metrics")).await?.text().await?;
        if text.lines().any(|line| line == wanted) {
            return Ok(());
        }
        ensure!(began.elapsed() < PAGE_LIMIT, "no `{wanted}` in {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn explain(rank: &str) -> Result<Value> {
    let answer: Value = reqwest::get(rank).await?.json().await?;
    Ok(answer["explain"].clone())
}

fn of<'a>(explained: &'a Value, list: &str, appliance: &str) -> Option<&'a Value> {
    let list = explained[list].as_array()?;
    list.iter().find(|entry| entry["appliance"] == appliance)
}

#[tokio::test]
async fn players_that_go_to_the_neighbour_take_an_appliance_out_within_five_seconds() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    // No player polls again in time.
    let (cdn, rank) = start(dir.path(), |layout| layout.steering_ttl = 20).await?;
    let steering = cdn.steering.url()?;
    let mut players = Vec::new();
    for network in 0..12 {
        players.push(Player::begin(&steering, Ipv4Addr::new(127, 5, network, 9)).await?);
    }
    let [first, second] = [0, 1].map(|at| players[0].pathways[at].0.clone());
    let before = explain(&rank).await?;
    ensure!(before["ranked"][0]["appliance"] == *first, "{before:#}");
    until_begun(&steering, players.len()).await?;
    let left = Instant::now();
    for player in &players {
        player.ask(1, "bl=4000,mtp=25400").await?;
    }
    let after = until(&rank, |now| of(now, "dropped", &first).is_some()).await?;
    let took = left.elapsed();
    println!("{first} was out of answers {took:?} after its viewers came to {second}");
    let dropped = of(&after, "dropped", &first).context("as before")?;
    let failing = json!([{ "reason": "failing", "by": "players" }]);
    ensure!(dropped["reasons"] == failing, "{dropped:#}");
    ensure!(after["ranked"][0]["appliance"] == *second, "{after:#}");
    ensure!(took < Duration::from_secs(5), "only after {took:?}");
    cdn.stop().await
}

#[tokio::test]
async fn what_players_measure_is_known_of_their_network() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (cdn, rank) = start(dir.path(), |_| {}).await?;
    let steering = cdn.steering.url()?;
    let mut players = Vec::new();
    for host in 1..5 {
        players.push(Player::begin(&steering, Ipv4Addr::new(127, 6, 0, host)).await?);
    }
    let first = players[0].pathways[0].0.clone();
    let began = Instant::now();
    let slow = loop {
        for player in &players {
            player.ask(0, "bl=9000,mtp=(1200;v)").await?;
        }
        let explained = explain(&rank).await?;
        let found = of(&explained, "ranked", &first).context("it is well")?.clone();
        if !found["throughput_from"].is_null() {
            break found;
        }
        if began.elapsed() > PAGE_LIMIT {
            bail!("no throughput is known: {explained:#}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    println!(
        "throughput was known {:?} after the sessions began",
        began.elapsed()
    );
    ensure!(
        slow["throughput_from"] == 1_000_000 && slow["throughput_short"] == 4,
        "{slow:#}"
    );
    ensure!(slow["lost_at"] == "throughput", "{slow:#}");
    cdn.stop().await
}
