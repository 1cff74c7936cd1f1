//! Hourly demand for the objects of a catalogue, as appliances would have reported it.
//!
//! A session opens a title's manifests, draws its sound, and one video rendition for most of its length. Larger regions
//! and smaller ones differ in their number of sessions, and all in their taste.

use crate::{
    day_curve,
    dice::Dice,
    taste::{Taste, TasteSetup},
};
use anyhow::ensure;
use cdn_types::{
    Bytes, Hour, RegionId, TitleId,
    api::v1::{Catalogue, CatalogueObject, DemandRow},
    time::Date,
};
use std::collections::BTreeMap;

/// Mean share of a title that a session watches.
const WATCHED: f64 = 0.7;
/// Part of a title's sessions that take its largest video rendition, of those left the next one, and so on.
const LARGEST: f64 = 0.6;
/// Part of the taste that changes in a week.
const CHURN: f64 = 0.25;
/// Bytes that a player asks for at once.
const REQUEST: u64 = 1 << 20;

/// Who watches, and when.
#[derive(Debug, Clone)]
pub struct Viewers {
    /// Where.
    pub regions: Vec<RegionId>,
    /// Days of history.
    pub days: i64,
    /// The first day that is not in it.
    pub until: Date,
    /// Sessions a day in a region of middle size.
    pub sessions: f64,
    /// Seed.
    pub seed: u64,
}

/// SIMULATED demand, sorted by hour, region and object.
pub fn rows(catalogue: &Catalogue, viewers: &Viewers) -> anyhow::Result<Vec<DemandRow>> {
    ensure!(!catalogue.objects.is_empty(), "the catalogue has no object");
    let titles = titles(catalogue);
    let taste = Taste::new(&TasteSetup {
        seed: viewers.seed,
        titles: titles.len(),
        regions: viewers.regions.len(),
        days: viewers.days,
        churn: CHURN,
        launches: 0.0,
    });
    let mut rows = Vec::new();
    for (r, region) in viewers.regions.iter().enumerate() {
        let mut dice = Dice::new(viewers.seed, &format!("sessions {region}"));
        let sessions = viewers.sessions * (0.6 + 0.8 * dice.even());
        for day in 0..viewers.days {
            let first = Hour(Hour::start_of(viewers.until).0 - 24 * (viewers.days - day));
            let sessions = sessions * day_curve::of_day(first.date());
            let shares = taste.shares(r, day);
            for hour in 0..24 {
                let of_hour = sessions * day_curve::of_hour(hour);
                let hour = Hour(first.0 + i64::from(hour));
                for (title, share) in titles.iter().zip(&shares) {
                    let count = dice.count(of_hour * share);
                    title_rows(title, hour, region, count, &mut rows);
                }
            }
        }
    }
    rows.sort_by(|a, b| (a.hour, &a.region, a.object).cmp(&(b.hour, &b.region, b.object)));
    Ok(rows)
}

/// A title's objects with the mean share of its sessions that draw each, and how much of it.
type Title<'a> = Vec<(&'a CatalogueObject, f64)>;

fn titles(catalogue: &Catalogue) -> Vec<Title<'_>> {
    let mut by_title: BTreeMap<&TitleId, Vec<&CatalogueObject>> = BTreeMap::new();
    for object in &catalogue.objects {
        by_title.entry(&object.title).or_default().push(object);
    }
    by_title.into_values().map(weigh).collect()
}

fn weigh(mut objects: Vec<&CatalogueObject>) -> Title<'_> {
    // Larger first: of the video renditions the largest is the one of highest quality.
    objects.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    let mut left = 1.0;
    let mut renditions: BTreeMap<&str, f64> = BTreeMap::new();
    let mut out = Vec::with_capacity(objects.len());
    for object in objects {
        let video = object.media_type.starts_with("video/");
        let drawn = match (&object.rendition, video) {
            // The files of one rendition (file-per-segment packing) are drawn together.
            (Some(rendition), true) => {
                let part = *renditions.entry(rendition).or_insert_with(|| {
                    let part = LARGEST * left;
                    left -= part;
                    part
                });
                part * WATCHED
            }
            (None, true) => WATCHED,
            (_, false) if object.media_type.starts_with("audio/") => WATCHED,
            _ => 1.0,
        };
        out.push((object, drawn));
    }
    out
}

fn title_rows(title: &Title<'_>, hour: Hour, region: &RegionId, sessions: u64, rows: &mut Vec<DemandRow>) {
    for (object, drawn) in title {
        let bytes = (sessions as f64 * drawn * object.size.0 as f64).round() as u64;
        if bytes > 0 {
            rows.push(DemandRow {
                hour,
                region: region.clone(),
                object: object.digest,
                requests: bytes
                    .div_ceil(REQUEST)
                    .max((sessions as f64 * drawn).ceil() as u64),
                bytes: Bytes(bytes),
            });
        }
    }
}
