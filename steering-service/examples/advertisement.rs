//! What it costs to tell another network all that a fleet of 1,000 appliances hears: 1.2 million networks, made up as for
//! `benches`. Prints size, time and the most memory.
//!
//! `cargo run --release -p steering-service --example advertisement`

#[path = "../../benches/benches/steering/feed.rs"]
#[allow(dead_code, reason = "the benches ask it for more")]
mod feed;

use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, RegionId, SiteId,
    api::v1::{ApplianceState, ApplianceView, Capacity, FillStatus, FleetSnapshot, Load, Site},
    time::Timestamp,
};
use feed::{Feed, SIBLINGS};
use std::{fs, sync::Arc, time::Instant};
use steering_core::{Index, fleet::FleetIndex, index::Parts, routes::RouteBuilder};
use steering_service::http::advertisement::text;

fn site(n: usize) -> SiteId {
    SiteId::new(format!("site-{n:05}")).expect("a valid id")
}

/// Sites of five appliances, without titles.
fn fleet(sites: usize) -> FleetSnapshot {
    let place = |n: usize| Site {
        id: site(n),
        region: RegionId::new("region").expect("a valid id"),
        prefixes: vec![],
        window: FillWindow::always(),
    };
    let appliance = |n: usize| ApplianceView {
        id: Feed::appliance(n),
        site: site(n / SIBLINGS),
        base_url: format!("https://oca-{n}.example"),
        profile: String::new(),
        state: ApplianceState::Serving,
        conditions: vec![],
        capacity: Capacity {
            storage: Bytes(1),
            egress: BitsPerSecond(100_000_000_000),
            fill_rate: BitsPerSecond(1),
        },
        load: Load::default(),
        fill: FillStatus::default(),
        plan: None,
        holds: vec![],
        held: 0,
        last_report: None,
    };
    FleetSnapshot {
        generation: 1,
        taken_at: Timestamp::UNIX_EPOCH,
        sites: (0..sites).map(place).collect(),
        objects: vec![],
        appliances: (0..sites * SIBLINGS).map(appliance).collect(),
        titles: vec![],
        fallback: String::new(),
    }
}

fn index(feed: &Feed) -> Index {
    let mut routes = RouteBuilder::new();
    for n in 0..feed.appliances() {
        let batch = feed.batch(n);
        routes
            .apply(&Feed::appliance(n), &batch)
            .expect("a batch of this feed");
    }
    let fleet = FleetIndex::build(&fleet(feed.sites)).expect("the fleet above is consistent");
    let parts = Parts {
        fleet: Arc::new(fleet),
        routes: Arc::new(routes.publish()),
        policy: Arc::default(),
        measured: Arc::default(),
        circuits: Arc::default(),
    };
    Index::join(parts, vec![])
}

/// A number of /proc/self/status in MiB.
fn mib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn main() {
    let divisor = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let feed = Feed::new(divisor);
    let index = index(&feed);
    println!(
        "{} networks, {} appliances in {} sites",
        feed.networks.len(),
        feed.appliances(),
        feed.sites
    );
    drop(feed);
    for _ in 0..3 {
        let _ = fs::write("/proc/self/clear_refs", "5"); // the peak begins anew; without it the peak is the process's
        let (before, began) = (mib("VmRSS"), Instant::now());
        let text = text(&index, true);
        println!(
            "{} networks told in {:.1} MB: {:.2} s, {} MiB more than the index's {before} at most",
            text.iter().filter(|b| **b == b'/').count(),
            text.len() as f64 / 1e6,
            began.elapsed().as_secs_f64(),
            mib("VmHWM").saturating_sub(before),
        );
    }
}
