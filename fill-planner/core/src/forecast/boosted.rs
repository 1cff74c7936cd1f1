//! The learnt forecast as a predictor: titles are expected by a [`NightlyModel`], and their bytes are shared out over their files.
//!
//! What no model can know has rules of its own. A title that the calendar announces is expected by its weight. One that
//! nobody has drawn and no calendar names may begin any night: what such titles drew on the nights on which they began is shared out
//! over all that may begin, by size.

use super::{Forecast, Predictor, elsewhere, shares::Shares};
use crate::{
    evaluate::{naive::Expected, panel::Past},
    features::{NAMES, Told},
    history::History,
    nightly::{NightlyModel, Nights, Sampling},
    service::Service,
};
use cdn_types::{ObjectDigest, RegionId};
use std::sync::Arc;

/// A prediction takes no examples.
const NO_SAMPLING: Sampling = Sampling { days: 0, thin: 1 };
/// Newest days that tell how much is drawn of what nobody announced.
const DEBUT_DAYS: usize = 28;

/// A model, and the service that it forecasts for.
#[derive(Debug, Clone)]
pub struct Boosted {
    name: String,
    model: Arc<NightlyModel>,
    service: Arc<Service>,
    basis: ObjectDigest,
}

/// Why a title is expected to draw what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Bytes that the region is expected to draw of all titles.
    pub total: f64,
    /// Bytes of the title by the plain expectation.
    pub plain: f64,
    /// What the trees multiply it by before they look at a feature.
    pub start: f64,
    /// Feature, its value, what the trees multiply by for it; those that change most first.
    pub factors: Vec<(&'static str, f64, f64)>,
    /// What titles of its age and size are multiplied by.
    pub correction: f64,
    /// Bytes that are not told from nothing.
    pub least: f64,
    /// Whether the trees were asked: of the least dense titles the plain expectation is taken.
    pub asked: bool,
    /// Whether it is expected only since it may begin any night.
    pub debut: bool,
    /// Expected bytes of the title.
    pub bytes: f64,
    /// Bytes not exceeded with the probabilities [`LEVELS`](crate::nightly::LEVELS).
    pub quantiles: [f64; 3],
    /// Its files with their shares of its bytes.
    pub files: Vec<(ObjectDigest, f64)>,
}

impl Boosted {
    /// `name` is what reports call it; `basis` a digest over the model.
    pub fn new(name: String, model: Arc<NightlyModel>, service: Arc<Service>, basis: ObjectDigest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(basis.as_bytes());
        hasher.update(service.basis().as_bytes());
        Self {
            name,
            model,
            service,
            basis: ObjectDigest::from_bytes(*hasher.finalize().as_bytes()),
        }
    }

    /// The service that it forecasts for.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Why a title is expected to draw what it is; none where the region has no demand, or nothing is known.
    pub fn explain(&self, history: &History, region: &RegionId, title: usize) -> Option<Explanation> {
        let panel = self.service.panel(history)?;
        let past = panel.past(history.days().len());
        let r = panel.regions.binary_search(region).ok()?;
        let nights = self.nights(past);
        let expected = self.expect(past, &nights)[r][title];
        let outlook = nights.outlook(past, &self.model, r, title, expected);
        let (told, total, least) = nights.told(past, r, title as u32);
        let asked = nights.is_looked_at(past, r, title as u32);
        let (start, factors) = self.factors(&told);
        Some(Explanation {
            total,
            plain: told.base * total,
            start,
            factors,
            correction: self.model.correction(&told),
            least: least * total,
            asked,
            debut: told.base <= 0.0 && expected > 0.0,
            bytes: outlook.bytes,
            quantiles: outlook.quantiles,
            files: self
                .service
                .files(title)
                .iter()
                .map(|f| f.object)
                .zip(Shares::new(&self.service, history).of(region, title))
                .collect(),
        })
    }

    fn factors(&self, told: &Told) -> (f64, Vec<(&'static str, f64, f64)>) {
        let why = self.model.trees.contributions(&told.features);
        let mut factors: Vec<(&'static str, f64, f64)> = NAMES
            .iter()
            .zip(told.features)
            .zip(&why.features)
            .map(|((name, value), log)| (*name, value, *log))
            .collect();
        factors.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
        for factor in &mut factors {
            factor.2 = factor.2.exp();
        }
        (why.base.exp(), factors)
    }

    fn nights(&self, past: Past<'_>) -> Nights {
        let mut nights = Nights::new(self.model.calendar, NO_SAMPLING);
        nights.remember(past);
        nights
    }

    /// By region and title.
    fn expect(&self, past: Past<'_>, nights: &Nights) -> Expected {
        let mut expected = nights.expect(past, Some(&self.model));
        add_debuts(past, &mut expected);
        expected
    }
}

impl Predictor for Boosted {
    fn name(&self) -> &str {
        &self.name
    }

    fn predict(&self, history: &History) -> Forecast {
        let mut forecast = Forecast::default();
        let Some(panel) = self.service.panel(history) else {
            return forecast;
        };
        let past = panel.past(history.days().len());
        forecast.set_elsewhere(elsewhere::share(past, self.model.calendar));
        let nights = self.nights(past);
        let shares = Shares::new(&self.service, history);
        let mut parts: Vec<(ObjectDigest, f64, [f64; 3])> = Vec::new();
        for (r, expected) in self.expect(past, &nights).iter().enumerate() {
            let region = &panel.regions[r];
            parts.clear();
            for (t, bytes) in expected.iter().enumerate().filter(|(_, b)| **b > 0.0) {
                let outlook = nights.outlook(past, &self.model, r, t, *bytes);
                let files = self.service.files(t);
                for (file, part) in files.iter().zip(shares.of(region, t)) {
                    let quantiles = outlook.quantiles.map(|q| q * part);
                    parts.push((file.object, outlook.bytes * part, quantiles));
                }
            }
            // An object of several titles is drawn for each of them.
            parts.sort_by_key(|part| part.0);
            for same in parts.chunk_by(|a, b| a.0 == b.0) {
                let quantiles = std::array::from_fn(|q| same.iter().map(|p| p.2[q]).sum());
                forecast.set_doubted(region, same[0].0, same.iter().map(|p| p.1).sum(), quantiles);
            }
        }
        forecast
    }

    fn basis(&self) -> Option<ObjectDigest> {
        Some(self.basis)
    }
}

/// Adds what may begin without having been announced, as the newest weeks had it.
fn add_debuts(past: Past<'_>, expected: &mut Expected) {
    let (titles, regions) = (past.titles(), past.regions().len());
    let days = past.days();
    let first_drawn = |t: usize| {
        let drawn = |back: usize| (0..regions).any(|r| past.known(back, r).is_some_and(|b| b[t] > 0.0));
        (1..=days).rev().find(|back| drawn(*back))
    };
    let announced = |t: usize| titles[t].expected > 0.0;
    // What was drawn on the oldest day may have begun at any time.
    let window = DEBUT_DAYS.min(days.saturating_sub(1));
    let (mut unseen, mut begun) = (Vec::new(), Vec::new());
    for t in (0..titles.len()).filter(|t| !announced(*t)) {
        match first_drawn(t) {
            None => unseen.push(t),
            Some(back) if back <= window => begun.push((t, back)),
            Some(_) => {}
        }
    }
    let size = |t: usize| titles[t].size as f64;
    let pool: f64 = unseen
        .iter()
        .copied()
        .chain(begun.iter().map(|b| b.0))
        .map(size)
        .sum();
    if unseen.is_empty() || begun.is_empty() || pool <= 0.0 {
        return;
    }
    for (r, expected) in expected.iter_mut().enumerate() {
        let bytes = |(t, back): &(usize, usize)| past.known(*back, r).map_or(0.0, |b| f64::from(b[*t]));
        let a_night = begun.iter().map(bytes).sum::<f64>() / window as f64;
        for t in &unseen {
            expected[*t] = (a_night * size(*t) / pool) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nightly::{Doubt, GROUPS, SIZE_GROUPS},
        service::Launch,
        trees::{Booster, Ensemble, Member, Scale},
    };
    use cdn_types::{
        Bytes, Hour, TitleId,
        api::v1::{Catalogue, CatalogueObject, DemandRow},
        time::Date,
    };

    /// A model that leaves the plain expectation as it is.
    fn plain() -> NightlyModel {
        let booster = Booster {
            base: 0.0,
            trees: vec![],
        };
        NightlyModel {
            calendar: true,
            lead: 1,
            corrections: [[1.0; SIZE_GROUPS]; GROUPS],
            doubt: Doubt::default(),
            trees: Ensemble {
                features: NAMES.map(str::to_owned).to_vec(),
                members: vec![Member {
                    scale: Scale::Ratio,
                    boosters: vec![booster],
                }],
                ..Ensemble::default()
            },
        }
    }
    fn title(name: &str) -> TitleId {
        TitleId::new(name).unwrap()
    }
    fn region() -> RegionId {
        RegionId::new("r").unwrap()
    }
    fn object(t: &str, file: &str) -> ObjectDigest {
        ObjectDigest::of(format!("{t}/{file}").as_bytes())
    }
    fn planned() -> Date {
        "2026-11-23".parse().unwrap()
    }
    const GB: u64 = 1_000_000_000;

    /// Titles of a large and a small file, of which the small one draws a tenth.
    fn predict(titles: &[&str], rows: &[(&str, i64, u64)], launches: &[(&str, f64, i64)]) -> Forecast {
        let objects = titles.iter().flat_map(|t| {
            [("large", 80 * GB), ("small", 20 * GB)].map(|(file, size)| CatalogueObject {
                digest: object(t, file),
                size: Bytes(size),
                title: title(t),
                path: format!("/t/{t}/v1/{file}.mp4"),
                media_type: "video/mp4".into(),
                rendition: Some(file.into()),
            })
        });
        let catalogue = Catalogue {
            objects: objects.collect(),
        };
        let launches: Vec<Launch> = launches
            .iter()
            .map(|(t, expected, before)| Launch {
                title: title(t),
                region: region(),
                instant: Hour(Hour::start_of(planned()).0 - 24 * before),
                expected: *expected,
                pinned_until: None,
            })
            .collect();
        let rows: Vec<DemandRow> = rows
            .iter()
            .flat_map(|(t, before, bytes)| {
                [("large", 9), ("small", 1)].map(|(file, part)| DemandRow {
                    hour: Hour(Hour::start_of(planned()).0 - 24 * before + 23),
                    region: region(),
                    object: object(t, file),
                    requests: 1,
                    bytes: Bytes(bytes * part / 10),
                })
            })
            .collect();
        let service = Arc::new(Service::new(&catalogue, &[], &launches));
        let boosted = Boosted::new("plain".into(), Arc::new(plain()), service, object("", ""));
        boosted.predict(&History::before(planned(), &rows))
    }

    /// Three weeks of a title that draws 900 GB a day.
    fn steady() -> Vec<(&'static str, i64, u64)> {
        (1..=21).map(|before| ("old", before, 900 * GB)).collect()
    }

    fn close(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 0.02
    }

    #[test]
    fn a_launch_is_expected_by_its_weight_and_its_files_as_files_like_them() {
        let mut rows = steady();
        // A launch of weight 2 drew 100 GB on its first day, ten days ago.
        rows.push(("former", 10, 100 * GB));
        let forecast = predict(
            &["old", "former", "new"],
            &rows,
            &[("former", 2.0, 10), ("new", 4.0, 0)],
        );
        let of = |t: &str, file: &str| forecast.get(&region(), &object(t, file));
        assert!(close(of("old", "large"), 810e9), "{}", of("old", "large"));
        let new = of("new", "large") + of("new", "small");
        assert!((150e9..250e9).contains(&new), "{new}");
        assert!(close(of("new", "large") / new, 0.9));
    }

    #[test]
    fn what_nobody_announced_may_begin_any_night() {
        let mut rows = steady();
        rows.extend([("came", 7, 40 * GB), ("came", 6, 20 * GB)]);
        let forecast = predict(&["old", "came", "unseen", "also"], &rows, &[]);
        let of = |t: &str| forecast.get(&region(), &object(t, "large")) / 0.9;
        // The oldest day is known by an hour, and what began on the one after it may have been there before. In the 19 nights since then one
        // began, with 40 GB; three titles of like size share that.
        assert!(close(of("unseen"), 40e9 / 19.0 / 3.0), "{}", of("unseen"));
        assert_eq!(of("unseen"), of("also"));
        // Without such a beginning nothing is expected of them, and the plan has its own rule for what nobody has drawn.
        let none = predict(&["old", "unseen"], &steady(), &[]);
        assert_eq!(none.get(&region(), &object("unseen", "large")), 0.0);
        assert_eq!(predict(&["old"], &[], &[]), Forecast::default());
    }
}
