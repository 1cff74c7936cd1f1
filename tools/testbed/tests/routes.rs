//! Routes from a router to the rank answer, with real programs: BIRD tells an appliance, this the control plane, steering follows, and
//! viewers are sent elsewhere when a route goes.

use anyhow::{Context, Result, bail, ensure};
use nightfill::{
    coverage,
    local::{Layout, LocalCdn, Net},
    progress::Progress,
    publish::publish,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use testbed::{PAGE_LIMIT, fill_everything, init, media};

/// In the networks that both routers announce, and in no site's.
const VIEWER: &str = "11.2.3.9";
/// How long routes stay when their router is lost.
const RESTART_TIME: Duration = Duration::from_secs(4);

/// One CDN at a time, also where one process runs all tests.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// BIRD 2, which announces one network to one appliance.
struct Bird {
    child: Child,
    dir: tempfile::TempDir,
}

impl Bird {
    /// As AS 64500 behind `address`; `from` is what it adds to routes.
    fn start(address: &str, to: &str, network: &str, from: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        let (to, port) = to.rsplit_once(':').context("an address and a port")?;
        let seconds = RESTART_TIME.as_secs();
        // On loopback the next hop must be given, or BIRD withdraws all.
        let config = format!(
            "router id 192.0.2.1;
             protocol static s4 {{ ipv4; route {network} unreachable; }}
             filter told {{ {from} accept; }}
             protocol bgp oca {{
               local {address} port 17900 as 64500;
               neighbor {to} port {port} as 64999;
               multihop 2; strict bind on; connect delay time 1; connect retry time 1; error wait time 1, 1;
               graceful restart on; graceful restart time {seconds};
               ipv4 {{ import none; export filter told; next hop address 10.0.0.1; }};
             }}"
        );
        fs::write(path("bird.conf"), config)?;
        let child = Command::new("/usr/sbin/bird")
            .args(["-f", "-c"])
            .arg(path("bird.conf"))
            .arg("-s")
            .arg(path("ctl"))
            .arg("-P")
            .arg(path("pid"))
            .stderr(Stdio::null())
            .spawn()
            .context("this test needs /usr/sbin/bird (Debian: apt-get install bird2)")?;
        Ok(Self { child, dir })
    }

    fn command(&self, command: &str) -> Result<()> {
        let control = self.dir.path().join("ctl");
        let mut birdc = Command::new("/usr/sbin/birdc");
        let out = birdc.arg("-s").arg(control).arg(command).output()?;
        ensure!(out.status.success(), "birdc {command}: {out:?}");
        Ok(())
    }

    fn kill(&mut self) {
        let _ = self.child.kill(); // it may be dead already
        let _ = self.child.wait();
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One appliance a site, each with a router of its own.
fn layout(dir: &Path) -> Result<Layout> {
    let mut layout = Layout::two_sites(Net::unique(), dir)?;
    layout.places.retain(|p| p.id.as_str() != "north-2");
    for (place, (listen, router, class)) in layout.places.iter_mut().zip([
        // Addresses of this test's own.
        ("127.78.20.1", "127.78.20.2", "exchange"),
        ("127.78.20.3", "127.78.20.4", "private"),
    ]) {
        place.more = format!(
            "[bgp]\nlisten = \"{listen}:0\"\nlocal_as = 64999\nrouter_id = \"192.0.2.7\"\n\
             [[bgp.neighbors]]\naddress = \"{router}\"\nas = 64500\nclass = \"{class}\"\n"
        );
    }
    Ok(layout)
}

async fn get(url: &str) -> Result<Value> {
    Ok(reqwest::get(url).await?.json().await?)
}

/// Asks again and again until the answer pleases; how long that took.
async fn until(url: &str, pleases: impl Fn(&Value) -> bool) -> Result<(Value, Duration)> {
    let began = Instant::now();
    loop {
        let answer = get(url).await?;
        if pleases(&answer) {
            return Ok((answer, began.elapsed()));
        }
        if began.elapsed() > PAGE_LIMIT {
            bail!("{url} still answers {answer:#}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether this appliance is first, since the best route leads to its site.
fn first_is(id: &str) -> impl Fn(&Value) -> bool {
    move |answer| answer["ranked"][0]["appliance"] == id && answer["ranked"][0]["tier"] == "own_site"
}

/// Restarts the control plane, which then knows no routes until appliances tell them again; meanwhile steering keeps the viewer's.
async fn restart_control(cdn: &mut LocalCdn, rank: &str, prefix: &str) -> Result<Duration> {
    cdn.control.stop().await?;
    cdn.restart_control()?;
    let routes = format!("{}/v1/routes", cdn.control.url()?);
    let began = Instant::now();
    loop {
        let answer = get(rank).await?;
        ensure!(answer["explain"]["prefix"] == prefix, "{answer:#}");
        let told = get(&routes).await?;
        if told["appliances"].as_array().is_some_and(|all| all.len() == 2) {
            let took = began.elapsed();
            // Steering's pauses have grown meanwhile.
            until(rank, |answer| {
                answer["routes"]["generation"] == told["generation"]
            })
            .await?;
            return Ok(took);
        }
        ensure!(began.elapsed() < PAGE_LIMIT, "routes are not told again: {told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A filled CDN, one appliance a site, and where to ask it: a rank for a viewer, ready for an address.
async fn start(dir: &Path) -> Result<(LocalCdn, String)> {
    let titles = media(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")))?;
    let cdn = LocalCdn::start(layout(dir)?).await?;
    publish(&titles[1], &cdn.client, None, &Progress::Silent).await?;
    fill_everything(&cdn).await?;
    let rank = format!("{}/v1/rank?asset=short&explain=1&client=", cdn.steering.url()?);
    Ok((cdn, rank))
}

#[tokio::test]
async fn a_route_withdrawn_in_bird_moves_viewers_and_a_restart_does_not() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (mut cdn, rank) = start(dir.path()).await?;
    let rank = rank + VIEWER;
    let address = |id: &str, which: &str| -> Result<String> {
        let found = cdn.appliances.iter().find(|(key, _)| key.as_str() == id);
        let (_, program) = found.context("an appliance of the layout")?;
        Ok(program.address(which)?.to_owned())
    };
    let status = format!("http://{}/bgp", address("south-1", "admin")?);
    let (north, south) = (first_is("north-1"), first_is("south-1"));
    let wide = Bird::start("127.78.20.2", &address("north-1", "bgp")?, "11.2.0.0/16", "")?;
    until(&rank, &north).await?;
    let add = "bgp_path.prepend(64501); bgp_med = 50;";
    let mut near = Bird::start("127.78.20.4", &address("south-1", "bgp")?, "11.2.3.0/24", add)?;
    let (answer, _) = until(&rank, &south).await?;
    let route = json!({"prefix": "11.2.3.0/24", "class": "private", "origin": "bgp", "as_path_len": 2,
        "neighbour_as": 64500, "origin_as": 64501, "med": 50, "communities": []});
    ensure!(answer["explain"]["ranked"][0]["route"] == route, "{answer:#}");
    ensure!(answer["explain"]["prefix"] == "11.2.3.0/24", "{answer:#}");

    let took = restart_control(&mut cdn, &rank, "11.2.3.0/24").await?;
    println!("a restarted control plane knew all routes after {took:?}");
    // Both count as lost until they have reported.
    until(&rank, |answer| {
        south(answer) && answer["ranked"][1]["appliance"] == "north-1"
    })
    .await?;

    near.command("disable s4")?;
    let (answer, took) = until(&rank, &north).await?;
    println!("a withdrawal in BIRD changed the rank answer after {took:?}");
    ensure!(took < Duration::from_secs(10), "only after {took:?}");
    ensure!(answer["explain"]["prefix"] == "11.2.0.0/16", "{answer:#}");
    near.command("enable s4")?;
    until(&rank, &south).await?;

    let lost = Instant::now();
    near.kill();
    until(&status, |s| s["neighbors"][0]["stale"] == json!(["ipv4"])).await?;
    until(&rank, &north).await?;
    let kept = lost.elapsed();
    println!("the routes of a lost router stayed for {kept:?}; its restart time is {RESTART_TIME:?}");
    ensure!(kept >= RESTART_TIME, "only {kept:?}");
    drop(wide);
    cdn.stop().await
}

#[tokio::test]
async fn a_coverage_file_gives_a_site_without_bgp_its_viewers() -> Result<()> {
    init();
    let _one = ONE_AT_A_TIME.lock().await;
    let dir = tempfile::tempdir()?;
    let (cdn, rank) = start(dir.path()).await?;
    let rank = rank + "11.7.0.9";
    let answer = get(&rank).await?;
    ensure!(answer["explain"]["prefix"].is_null(), "{answer:#}");
    let text = "11.7.0.0/16,south\n10.1.0.0/16,north\n";
    let file = coverage::parse(text)?;
    for site in coverage::changed(&file, &cdn.client.sites().await?)? {
        cdn.client.put_site(&site).await?;
    }
    let (answer, _) = until(&rank, first_is("south-1")).await?;
    ensure!(answer["explain"]["prefix"] == "11.7.0.0/16", "{answer:#}");
    cdn.stop().await
}
