//! Rankings: of the whole made-up internet on one core, for growing fleets, and while whole tables are swapped.

use super::{
    feed::{Feed, SIBLINGS},
    lookup::build,
};
use crate::{per_second, rss_mib, status_mib, timed};
use arc_swap::ArcSwap;
use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, FleetSnapshot, Load, Site, TitleView},
};
use std::{
    fs,
    hint::black_box,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use steering_core::{
    Index, Options, Ranking,
    fleet::FleetIndex,
    index::Parts,
    rank_into,
    routes::{RouteBuilder, RouteTable},
};

/// Objects of one title.
const LADDER: usize = 8;

fn id(kind: &str, n: usize) -> String {
    format!("{kind}-{n:05}")
}

/// Sites of five appliances, ten sites a region; every appliance holds nine titles of ten.
fn fleet(sites: usize, titles: usize) -> FleetSnapshot {
    let site_id = |n: usize| SiteId::new(id("site", n)).expect("a valid id");
    let region = |n: usize| RegionId::new(id("region", n)).expect("a valid id");
    let site = |n: usize| Site::new(site_id(n), region(n / 10));
    let capacity = Capacity {
        storage: Bytes(1 << 47),
        egress: BitsPerSecond(100_000_000_000),
        fill_rate: BitsPerSecond(10_000_000_000),
    };
    let appliance = |n: usize| ApplianceView {
        load: Load {
            egress: BitsPerSecond(1_000_000_000 * (n as u64 * 37 % 94)),
            ..Load::default()
        },
        holds: (0..titles)
            .filter(|t| !(t * 7 + n).is_multiple_of(10))
            .flat_map(|t| (t * LADDER) as u32..((t + 1) * LADDER) as u32)
            .collect(),
        ..ApplianceView::serving(Feed::appliance(n), site_id(n / SIBLINGS), capacity)
    };
    let title = |n: usize| TitleView {
        id: TitleId::new(id("title", n)).expect("a valid id"),
        name: String::new(),
        prefix: format!("/t/{n}/0"),
        objects: ((n * LADDER) as u32..((n + 1) * LADDER) as u32).collect(),
        hls_path: "master.m3u8".to_owned(),
        hls: String::new(),
        dash_path: "manifest.mpd".to_owned(),
        dash: String::new(),
        demand: Bytes(1_000_000_000_000 / (n as u64 + 1)),
    };
    let appliances = (0..sites * SIBLINGS).map(appliance).collect();
    FleetSnapshot {
        objects: vec![ObjectDigest::of(b""); titles * LADDER],
        titles: (0..titles).map(title).collect(),
        ..FleetSnapshot::of((0..sites).map(site).collect(), appliances)
    }
}

/// An index whose snapshot is dropped as it is in the service.
pub fn index(sites: usize, titles: usize, routes: RouteTable) -> Index {
    let fleet = {
        let snapshot = fleet(sites, titles);
        timed("index the fleet", || FleetIndex::build(&snapshot)).expect("the fleet above is consistent")
    };
    let parts = Parts {
        fleet: Arc::new(fleet),
        routes: Arc::new(routes),
        policy: Arc::default(),
        measured: Arc::default(),
        circuits: Arc::default(),
    };
    timed("put the index together", || Index::join(parts, vec![]))
}

/// Questions, one after the other in memory, as requests lie in a socket's buffer: to fetch a question is no part of its answer. Each
/// title is asked for as often as Zipf has it.
struct Questions(Vec<(IpAddr, TitleId)>);

impl Questions {
    fn new(feed: &Feed, titles: usize) -> Self {
        let mut random = super::feed::Numbers(3);
        let mut zipf = || {
            let u = random.below(1 << 53) as f64 / (1u64 << 53) as f64;
            ((titles as f64).powf(u) as usize - 1).min(titles - 1)
        };
        let clients = feed.clients(1 << 20).into_iter();
        let question = |client| (client, TitleId::new(id("title", zipf())).expect("a valid id"));
        Self(clients.map(question).collect())
    }
    fn ask(&self, index: &Index, n: usize, ranking: &mut Ranking) {
        let (client, title) = &self.0[n & (self.0.len() - 1)];
        let client = index.client(*client);
        let title = index.title_ix(title.as_str()).expect("the fleet has all titles");
        rank_into(index, client, title, &Options::default(), ranking);
    }
}

pub fn run(feed: &Feed, full: bool) {
    let titles = if full { 5_000 } else { 200 };
    let (builder, table) = build(feed);
    let index = index(feed.sites, titles, table);
    println!("{} titles of {LADDER} objects", index.title_count());
    let questions = Questions::new(feed, titles);
    let mut ranking = Ranking::default();
    per_second("rank", full, |n| {
        questions.ask(&index, n, &mut ranking);
        black_box(&ranking);
    });
    let mut sizes = (0u64, 0u64);
    for n in 0..10_000 {
        questions.ask(&index, n, &mut ranking);
        sizes.0 += ranking.entries.len() as u64;
        sizes.1 += u64::from(ranking.site.is_some());
    }
    println!("of 10000: {} have a site, {} entries in sum", sizes.1, sizes.0);
    println!("RSS with one index and the builder: {} MiB", rss_mib());
    swaps(builder, index, &questions, feed, full);
}

/// One thread asks at a fixed pace; another swaps whole tables in.
fn swaps(mut builder: RouteBuilder, index: Index, questions: &Questions, feed: &Feed, full: bool) {
    let current = ArcSwap::from_pointee(index);
    let seconds = if full { 5.0 } else { 0.2 };
    for swapping in [false, true] {
        let _ = fs::write("/proc/self/clear_refs", "5"); // the peak begins anew
        let stop = AtomicBool::new(false);
        let swapped = std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swapped = 0;
                while swapping && !stop.load(Ordering::Relaxed) {
                    let batch = feed.batch(swapped % feed.appliances());
                    builder.forget(&Feed::appliance(swapped % feed.appliances()));
                    builder
                        .apply(&Feed::appliance(swapped % feed.appliances()), &batch)
                        .expect("a batch of this feed");
                    let mut parts = current.load().parts();
                    parts.routes = Arc::new(builder.publish_anew());
                    current.store(Arc::new(Index::join(parts, vec![])));
                    swapped += 1;
                }
                swapped
            });
            let mut times = asked(&current, questions, seconds);
            stop.store(true, Ordering::Relaxed);
            times.sort_unstable();
            let at = |share: f64| times[(times.len() as f64 * share) as usize].as_nanos();
            println!(
                "{}: {} rankings, p50 {} ns, p99 {} ns, p99.9 {} ns, RSS at most {} MiB",
                if swapping {
                    "while whole tables are swapped"
                } else {
                    "at rest"
                },
                times.len(),
                at(0.5),
                at(0.99),
                at(0.999),
                status_mib("VmHWM:")
            );
            swapper.join().expect("the swapper does not panic")
        });
        println!("{swapped} swaps");
    }
}

fn asked(current: &ArcSwap<Index>, questions: &Questions, seconds: f64) -> Vec<Duration> {
    let mut ranking = Ranking::default();
    let (begin, mut times) = (Instant::now(), Vec::new());
    while begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        questions.ask(&current.load(), times.len(), &mut ranking);
        times.push(start.elapsed());
    }
    times
}

/// The same client networks and fleets from ten to ten thousand appliances.
pub fn growth(full: bool) {
    let (sizes, titles): (&[usize], usize) = if full {
        (&[2, 20, 200, 2000], 1000)
    } else {
        (&[2, 20], 50)
    };
    for sites in sizes.iter().copied() {
        let feed = Feed::with_sites(if full { 10 } else { 100 }, sites);
        let mut builder = RouteBuilder::new();
        for n in 0..feed.appliances() {
            builder
                .apply(&Feed::appliance(n), &feed.batch(n))
                .expect("a batch of this feed");
        }
        let snapshot = fleet(sites, titles);
        let parts = Parts {
            fleet: Arc::new(FleetIndex::build(&snapshot).expect("the fleet above is consistent")),
            routes: Arc::new(builder.publish()),
            policy: Arc::default(),
            measured: Arc::default(),
            circuits: Arc::default(),
        };
        let start = Instant::now();
        let index = Index::join(parts, vec![]);
        println!(
            "{} appliances: put together in {} µs",
            feed.appliances(),
            start.elapsed().as_micros()
        );
        let questions = Questions::new(&feed, titles);
        let mut ranking = Ranking::default();
        per_second("  rank", full, |n| questions.ask(&index, n, &mut ranking));
        // Nobody announces these.
        per_second("  rank, client without a route", full, |n| {
            let title = &questions.0[n & (questions.0.len() - 1)].1;
            let title = index.title_ix(title.as_str()).expect("all titles are there");
            rank_into(
                &index,
                index.client([0, 0, 0, 1].into()),
                title,
                &Options::default(),
                &mut ranking,
            );
        });
    }
}
