//! A small service for tests of learnt forecasts: titles of steady demand, and a launch a day that the calendar names and that
//! fades fast, which no mean of past days can know.

use cdn_types::{
    BitsPerSecond, Bytes, Hour, ObjectDigest, OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, DemandRow, FleetSnapshot, Site},
    time::Date,
};
use fill_core::rendezvous::{key, mix};
use std::fmt::Write;

pub const REGIONS: [&str; 2] = ["north", "south"];
/// Titles that were there before.
const STEADY: u64 = 170;
/// Known days; the oldest is known by one hour and does not count.
const DAYS: i64 = 44;
/// What of a launch's demand is left a day later.
const FADES: f64 = 0.55;
/// Files of a title: name, bytes, part of its demand.
const FILES: [(&str, u64, f64); 2] = [("v1080", 6_400_000_000, 0.75), ("v360", 1_600_000_000, 0.25)];

pub struct Service {
    pub catalogue: Catalogue,
    pub fleet: FleetSnapshot,
    pub demand: Vec<DemandRow>,
    pub launches: String,
    pub titles: String,
    /// The day to plan; the last launch is on it.
    pub date: Date,
}

pub fn steady(n: u64) -> TitleId {
    TitleId::new(format!("steady-{n:03}")).unwrap()
}

/// The launch so many days before the planned day.
pub fn launch(days_before: i64) -> TitleId {
    TitleId::new(format!("launch-{days_before:02}")).unwrap()
}

pub fn file(title: &TitleId, name: &str) -> ObjectDigest {
    ObjectDigest::of(format!("{title}/{name}").as_bytes())
}

/// A number from 0 to 1 that is the same for the same words.
fn chance(seed: u64, what: &str, of: &str) -> f64 {
    (mix(key(seed, what, of)) >> 11) as f64 / (1u64 << 53) as f64
}

impl Service {
    pub fn new(date: &str) -> Self {
        let date: Date = date.parse().unwrap();
        let mut service = Self {
            catalogue: Catalogue { objects: vec![] },
            fleet: fleet(),
            demand: vec![],
            launches: "title,region,instant,expected\n".to_owned(),
            titles: "title,kind,franchise,season,episode,runtime_min,original,global,home,release,bytes\n"
                .to_owned(),
            date,
        };
        for n in 0..STEADY {
            service.add(&steady(n), n as u32);
            for (r, region) in REGIONS.iter().enumerate() {
                // Each region has its favourites.
                let rank = 1 + (n * 37 + 60 * r as u64) % STEADY;
                for back in 1..=DAYS {
                    service.draw(region, &steady(n), back, 2e12 / rank as f64);
                }
            }
        }
        for before in 0..DAYS {
            let title = launch(before);
            service.add(&title, 1000 + before as u32);
            let weight = 0.3 + 1.4 * chance(1, "weight", title.as_str());
            let shown = Hour(Hour::start_of(date).0 - 24 * before);
            for region in REGIONS {
                writeln!(service.launches, "{title},{region},{shown},{weight}").unwrap();
                for age in 0..before {
                    let bytes = 1.5e12 * weight * FADES.powi(age as i32);
                    service.draw(region, &title, before - age, bytes);
                }
            }
        }
        service
    }

    fn add(&mut self, title: &TitleId, franchise: u32) {
        for (name, size, _) in FILES {
            self.catalogue.objects.push(CatalogueObject {
                digest: file(title, name),
                size: Bytes(size),
                title: title.clone(),
                path: format!("/t/{title}/v1/{name}.mp4"),
                media_type: "video/mp4".into(),
                rendition: Some(name.into()),
            });
        }
        writeln!(self.titles, "{title},film,{franchise},0,0,100,false,true,north,,").unwrap();
    }

    /// A title's bytes of the day so many before the planned one, more or less.
    fn draw(&mut self, region: &str, title: &TitleId, back: i64, bytes: f64) {
        let hour = Hour(Hour::start_of(self.date).0 - 24 * back + 23);
        let wobble = 0.85 + 0.3 * chance(back as u64, region, title.as_str());
        for (name, _, part) in FILES {
            self.demand.push(DemandRow {
                hour,
                region: RegionId::new(region).unwrap(),
                object: file(title, name),
                requests: 1,
                bytes: Bytes((bytes * wobble * part) as u64),
            });
        }
    }
}

/// A site a region, with one appliance that stores a tenth of the catalogue.
fn fleet() -> FleetSnapshot {
    let titles = STEADY + DAYS.unsigned_abs();
    let storage = titles * FILES.iter().map(|f| f.1).sum::<u64>() / 10;
    let capacity = Capacity {
        storage: Bytes(storage),
        egress: BitsPerSecond(100_000_000_000),
        fill_rate: BitsPerSecond(100_000_000_000),
    };
    let site_id = |region: &str| SiteId::new(region).unwrap();
    let site = |region: &str| Site::new(site_id(region), RegionId::new(region).unwrap());
    let appliance = |region: &str| {
        let id = OcaId::new(format!("oca-{region}")).unwrap();
        ApplianceView::serving(id, site_id(region), capacity)
    };
    FleetSnapshot::of(REGIONS.map(site).to_vec(), REGIONS.map(appliance).to_vec())
}
