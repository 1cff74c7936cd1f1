//! What one decision costs: a range, a request, a look-up in the store's index, a ranking, a night's plan.
//! `cargo bench -p nightfill-benches`.

use cdn_types::{
    BitsPerSecond, Bytes, Digester, Hour, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{
        ApplianceView, Capacity, Catalogue, CatalogueObject, DemandRow, FleetSnapshot, Site, TitleView,
    },
    plan::PlanItem,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use oca_core::{
    cmcd::Wishes,
    decision::{Representation, decide},
    range::select,
    request::{Fields, Method},
    viewers::{Sighting, recent::Recent},
};
use oca_server::{
    namespace::Namespace,
    store::{Budget, Store, partial::Blocks},
};
use std::{hint::black_box, net::IpAddr};

const TITLES: usize = 1_000;
const APPLIANCES: usize = 100;
const SITES: usize = 20;
const PREFIXES: usize = 10_000;

fn digest(n: usize) -> ObjectDigest {
    ObjectDigest::of(&n.to_le_bytes())
}

fn ranges(c: &mut Criterion) {
    let mut group = c.benchmark_group("range");
    for (name, field) in [
        ("single", "bytes=1048576-2097151"),
        ("suffix", "bytes=-65536"),
        (
            "sixteen",
            "bytes=0-9,20-29,40-49,60-69,80-89,100-109,120-129,140-149,160-169,180-189,200-209,220-229,240-249,260-269,280-289,300-309",
        ),
        ("garbage", "bytes=99999999999999999999-x,,"),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| select(black_box(field.as_bytes()), 1 << 32, 16));
        });
    }
    group.finish();
}

/// What a request with CMCD costs: reading it, and the look whether its session is to be told of.
fn viewers(c: &mut Criterion) {
    let said = |n: usize| {
        let mut wishes = Wishes::default();
        wishes.take(&format!(
            "bl=21300,br=3200,mtp=25400,ot=v,rtp=15000,sid=\"6e2fb550-c457-11e9-bb97-{n:012}\""
        ));
        wishes
    };
    let viewer: IpAddr = "192.0.2.7".parse().expect("an address");
    let mut group = c.benchmark_group("cmcd");
    group.throughput(Throughput::Elements(1));
    let text = "bl=21300,br=3200,cid=\"faec5fc2-ac30-11ea-bb37-0242ac130002\",d=4004,dl=21300,mtp=25400,ot=v,rtp=15000,\
        sf=h,sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\",st=v,tb=6000";
    group.bench_function("read", |b| {
        b.iter(|| {
            let mut wishes = Wishes::default();
            wishes.take(black_box(text));
            wishes
        });
    });
    let sessions: Vec<Wishes> = (0..2048).map(said).collect();
    let (mut recent, mut n) = (Recent::default(), 0usize);
    group.bench_function("session looked up, of 2,048", |b| {
        b.iter(|| {
            n = n.wrapping_mul(5).wrapping_add(12_345);
            let seen = Sighting::of(black_box(&sessions[(n >> 8) % 2048]), black_box(viewer));
            seen.is_some_and(|s| recent.is_due(s.session, 1))
        });
    });
    group.finish();
}

fn decisions(c: &mut Criterion) {
    let file = Representation {
        size: 1 << 32,
        etag: "\"c0ffee\"",
        modified: 1_700_000_000,
        last_modified: "Tue, 14 Nov 2023 22:13:20 GMT",
        media_type: "video/mp4",
        immutable: true,
    };
    let mut group = c.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    for (name, lines) in [
        ("range", vec![("Range", "bytes=1048576-2097151")]),
        (
            "range, if-range",
            vec![("Range", "bytes=1048576-2097151"), ("If-Range", "\"c0ffee\"")],
        ),
        (
            "if-none-match",
            vec![("If-None-Match", "\"a\", \"b\", \"c0ffee\"")],
        ),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut fields = Fields::default();
                for (name, value) in &lines {
                    fields.take(name, black_box(value.as_bytes()));
                }
                decide(Method::Get, &fields, Some(file), 16, 1).status
            });
        });
    }
    group.finish();
}

/// Objects in the store, and how many of them are filled.
const OBJECTS: usize = 20_000;
const FILLED: usize = 200;

fn look_ups(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let budget = Budget {
        storage: Bytes(1 << 40),
        min_free: Bytes(0),
    };
    let store = Store::open(dir.path(), budget, 1).expect("an empty store");
    let made = |n: usize| {
        let data = n.to_le_bytes();
        let mut digester = Digester::new();
        digester.update(&data);
        let (size, digest, blocks) = digester.finish();
        let item = PlanItem {
            digest,
            size,
            title: TitleId::new("title").expect("a valid id"),
            path: format!("/t/title-{n}/0123456789abcdef/v-1080.mp4"),
            media_type: "video/mp4".to_owned(),
            from: vec![0],
            expected: Bytes(0),
            kept: false,
        };
        (data, item, Blocks { size, blocks })
    };
    let items: Vec<_> = (0..OBJECTS).map(|n| made(n).1).collect();
    store.adopt(&items, &[]).expect("room for the index");
    for n in 0..FILLED {
        let (data, item, blocks) = made(n);
        let partial = store.open_partial(item.digest, &blocks).expect("room");
        partial.write_block(0, &data).expect("the object's bytes");
        store.seal(&partial).expect("a whole object");
    }
    let mut group = c.benchmark_group("look up");
    group.throughput(Throughput::Elements(1));
    for (name, path) in [
        ("held", items[FILLED / 2].path.as_str()),
        ("planned, not held", items[OBJECTS / 2].path.as_str()),
        ("unknown", "/t/title-7/0123456789abcdef/v-none.mp4"),
    ] {
        let expected = name == "held";
        assert_eq!(store.find(path).is_some(), expected, "{name}");
        group.bench_function(name, |b| b.iter(|| store.find(black_box(path)).is_some()));
    }
    group.finish();
}

fn fleet() -> FleetSnapshot {
    let site_id = |n: usize| SiteId::new(format!("site-{n}")).expect("a valid id");
    let sites = (0..SITES)
        .map(|n| Site {
            prefixes: (0..PREFIXES / SITES)
                .map(|p| {
                    format!("10.{}.{}.0/24", n * 2 + p / 256, p % 256)
                        .parse()
                        .expect("a valid network")
                })
                .collect(),
            ..Site::new(
                site_id(n),
                RegionId::new(format!("region-{}", n % 4)).expect("a valid id"),
            )
        })
        .collect();
    let capacity = Capacity {
        storage: Bytes(400_000_000_000),
        egress: BitsPerSecond(100_000_000_000),
        fill_rate: BitsPerSecond(1_200_000_000),
    };
    let oca_id = |n: usize| OcaId::new(format!("oca-{n:03}")).expect("a valid id");
    let appliances = (0..APPLIANCES)
        .map(|n| ApplianceView {
            holds: (0..TITLES)
                .filter(|t| (t * 7 + n) % 3 == 0)
                .map(|t| t as u32)
                .collect(),
            ..ApplianceView::serving(oca_id(n), site_id(n % SITES), capacity)
        })
        .collect();
    let titles = (0..TITLES)
        .map(|n| TitleView {
            id: TitleId::new(format!("title-{n:04}")).expect("a valid id"),
            name: String::new(),
            prefix: format!("/t/title-{n:04}/0"),
            objects: vec![n as u32],
            hls_path: "index.m3u8".to_owned(),
            hls: String::new(),
            dash_path: "manifest.mpd".to_owned(),
            dash: String::new(),
            demand: Bytes(0),
        })
        .collect();
    FleetSnapshot {
        objects: (0..TITLES).map(digest).collect(),
        titles,
        ..FleetSnapshot::of(sites, appliances)
    }
}

fn rankings(c: &mut Criterion) {
    let index = steering_core::Index::build(&fleet()).expect("the fleet above is consistent");
    let titles: Vec<_> = (0..TITLES)
        .map(|n| TitleId::new(format!("title-{n:04}")).expect("a valid id"))
        .collect();
    let options = steering_core::Options::default();
    let mut group = c.benchmark_group("rank");
    group.throughput(Throughput::Elements(1));
    group.bench_function("100 appliances, 10,000 prefixes", |b| {
        let mut n = 0usize;
        b.iter(|| {
            n = n.wrapping_add(7919);
            let client = IpAddr::from([10, (n % 40) as u8, (n / 40 % 256) as u8, 9]);
            steering_core::rank(&index, client, &titles[n % TITLES], &options)
        });
    });
    group.finish();
}

fn plans(c: &mut Criterion) {
    let fleet = fleet();
    let catalogue = Catalogue {
        objects: (0..TITLES)
            .map(|n| CatalogueObject {
                digest: digest(n),
                size: Bytes(1_000_000_000 + (n as u64 % 17) * 100_000_000),
                title: TitleId::new(format!("title-{n:04}")).expect("a valid id"),
                path: format!("/t/title-{n:04}/0/v.mp4"),
                media_type: "video/mp4".to_owned(),
                rendition: None,
            })
            .collect(),
    };
    let date: cdn_types::time::Date = "2026-11-24".parse().expect("a date");
    let first = Hour::start_of(date).0 - 14 * 24;
    let rows: Vec<DemandRow> = (0..14 * 4 * TITLES)
        .map(|n| DemandRow {
            hour: Hour(first + (n % 14) as i64 * 24 + 20),
            region: RegionId::new(format!("region-{}", n / 14 % 4)).expect("a valid id"),
            object: digest(n / 56),
            requests: 10,
            bytes: Bytes(1_000_000_000_000 / (1 + n as u64 / 56)),
        })
        .collect();
    let mut group = c.benchmark_group("plan");
    group.sample_size(10);
    group.bench_function("1,000 titles, 100 appliances, 14 days", |b| {
        b.iter_batched(
            || fill_core::History::before(date, &rows),
            |history| {
                let inputs = fill_core::Inputs {
                    number: PlanNumber(1),
                    seed: 1,
                    history: &history,
                    catalogue: &catalogue,
                    fleet: &fleet,
                    previous: None,
                    rules: fill_core::Rules::default(),
                    policy: &fill_core::Policy::default(),
                };
                fill_core::plan(&inputs, &fill_core::DecayedMean::default())
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, ranges, decisions, viewers, look_ups, rankings, plans);
criterion_main!(benches);
