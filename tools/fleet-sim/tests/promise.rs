//! What a plan promises is kept as often as it says, on SIMULATED demand that changes its taste by the week.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use cdn_types::{
    BitsPerSecond, Bytes, Hour, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, DemandRow, FleetSnapshot, Site},
    time::Date,
};
use fill_core::{DecayedMean, Forecast, History, Inputs, Policy, Predictor, Rules, promise};
use fleet_sim::history::{self, Viewers};
use std::sync::Mutex;

/// Days of demand before the planned one, as the demonstration has them.
const DAYS: i64 = 14;
/// A title's three files, in bytes.
const FILES: [(&str, u64); 3] = [("v720", 16_000_000), ("v270", 3_000_000), ("a128", 1_000_000)];

fn catalogue(titles: usize) -> Catalogue {
    let object = |t: usize, (file, size): (&str, u64)| CatalogueObject {
        digest: ObjectDigest::of(format!("{t}/{file}").as_bytes()),
        size: Bytes(size),
        title: TitleId::new(format!("title-{t:03}")).unwrap(),
        path: format!("/t/title-{t:03}/v1/{file}.mp4"),
        media_type: if file == "a128" { "audio/mp4" } else { "video/mp4" }.into(),
        rendition: (file != "a128").then(|| file.into()),
    };
    let files = (0..titles).flat_map(|t| FILES.map(|f| object(t, f)));
    Catalogue {
        objects: files.collect(),
    }
}

/// A site in each region, whose appliance stores this share of the catalogue.
fn fleet(regions: &[RegionId], storage: f64, catalogue: &Catalogue) -> FleetSnapshot {
    let all: u64 = catalogue.objects.iter().map(|o| o.size.0).sum();
    let site = |r: &RegionId| SiteId::new(format!("{r}-site")).unwrap();
    let sites = regions.iter().map(|r| Site::new(site(r), r.clone())).collect();
    let appliance = |r: &RegionId| {
        let id = OcaId::new(format!("{r}-1")).unwrap();
        ApplianceView::serving(
            id,
            site(r),
            Capacity {
                storage: Bytes((all as f64 * storage) as u64),
                egress: BitsPerSecond(1_000_000_000),
                fill_rate: BitsPerSecond(1_000_000_000),
            },
        )
    };
    FleetSnapshot {
        objects: catalogue.objects.iter().map(|o| o.digest).collect(),
        ..FleetSnapshot::of(sites, regions.iter().map(appliance).collect())
    }
}

/// The planner's own forecast; keeps what days it was asked for, and the hour after the newest that it was told.
#[derive(Default)]
struct Watched {
    forecast: DecayedMean,
    asked: Mutex<Vec<(Date, Hour)>>,
}

impl Predictor for Watched {
    fn name(&self) -> &str {
        self.forecast.name()
    }
    fn predict(&self, history: &History) -> Forecast {
        let mut asked = self.asked.lock().unwrap();
        asked.push((history.planned(), history.end()));
        self.forecast.predict(history)
    }
}

/// Whether the promise for `date` is kept, made at this hour of the day before; also how wide it is.
fn kept(titles: usize, storage: f64, date: Date, hour: i64, seed: u64) -> (bool, f64) {
    let catalogue = catalogue(titles);
    let regions = ["north", "south"].map(|r| RegionId::new(r).unwrap());
    let fleet = fleet(&regions, storage, &catalogue);
    let start = Hour::start_of(date).0;
    let viewers = Viewers {
        regions: regions.to_vec(),
        days: DAYS + 1,
        until: Hour(start + 24).date(),
        sessions: 400.0,
        seed,
    };
    let all = history::rows(&catalogue, &viewers).unwrap();
    let rows: Vec<DemandRow> = all
        .iter()
        .filter(|r| r.hour.0 < start - 24 + hour)
        .cloned()
        .collect();
    let history = History::before(date, &rows);
    let inputs = Inputs {
        number: PlanNumber(1),
        seed: 1,
        history: &history,
        catalogue: &catalogue,
        fleet: &fleet,
        previous: None,
        rules: Rules::default(),
        policy: &Policy::default(),
    };
    let predictor = Watched::default();
    let planned = fill_core::plan(&inputs, &predictor).unwrap();
    let promise = promise::promise(&inputs, &predictor, &rows, planned.report.hit_share())
        .unwrap()
        .unwrap();
    // Days planned anew are whole, and were told as little as tonight is.
    let asked = predictor.asked.lock().unwrap();
    let unknown = |(planned, end): &(Date, Hour)| Hour::start_of(*planned).0 - end.0;
    assert!(asked.len() > promise.days, "{asked:?}");
    for anew in &asked[1..] {
        assert!(Hour::start_of(anew.0).0 + 24 <= history.end().0, "{asked:?}");
        assert!(unknown(anew) >= unknown(&asked[0]), "{asked:?}");
    }
    let came = promise::review(&planned.plan, &fleet, &Default::default(), Some(promise), &all).unwrap();
    (came.kept.unwrap(), promise.high - promise.low)
}

#[test]
fn promises_are_kept_nine_days_of_ten() {
    let first = Hour::start_of("2026-11-01".parse().unwrap()).0;
    let (mut count, mut width, mut all) = (0, 0.0, 0);
    for (titles, storage) in [(6, 0.7), (200, 0.2)] {
        for hour in [2, 20] {
            for day in 0..50 {
                let (kept, wide) = kept(
                    titles,
                    storage,
                    Hour(first + 24 * day).date(),
                    hour,
                    1 + day.unsigned_abs(),
                );
                count += u32::from(kept);
                width += wide;
                all += 1;
            }
        }
    }
    let (share, width) = (f64::from(count) / f64::from(all), width / f64::from(all));
    assert!(
        (0.85..=0.95).contains(&share) && width < 0.1,
        "{share} kept, {width} wide"
    );
}
