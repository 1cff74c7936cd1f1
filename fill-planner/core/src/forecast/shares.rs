//! How a title's bytes divide over its files in a region: as they were drawn there lately; of a title that is new there, as elsewhere;
//! of one that is new everywhere, as files of the same rung are drawn, by size.

use crate::{history::History, service::Service};
use cdn_types::RegionId;
use std::collections::BTreeMap;

/// Days after which what was drawn counts half.
const HALF_LIFE_DAYS: f64 = 7.0;

/// What was drawn of files.
#[derive(Debug)]
pub(super) struct Shares<'a> {
    service: &'a Service,
    /// By region, place (title, file): decayed bytes.
    regions: BTreeMap<RegionId, BTreeMap<(u32, u32), f64>>,
    /// The same of all regions.
    everywhere: BTreeMap<(u32, u32), f64>,
    /// Bytes drawn a byte of size, by rung; none of which nothing was drawn.
    rungs: Vec<Option<f64>>,
    /// The same of all files.
    any: f64,
}

impl<'a> Shares<'a> {
    /// Learns from a history.
    pub(super) fn new(service: &'a Service, history: &History) -> Self {
        let weights: Vec<f64> = (0..history.days().len())
            .map(|day| (-(day as f64) / HALF_LIFE_DAYS).exp2())
            .collect();
        let mut shares = Self {
            service,
            regions: BTreeMap::new(),
            everywhere: BTreeMap::new(),
            rungs: vec![None; service.rungs()],
            any: 1.0,
        };
        for region in history.regions() {
            let mut drawn = BTreeMap::new();
            for (object, series) in history.objects(region) {
                let bytes: f64 = series.iter().zip(&weights).map(|(b, w)| *b as f64 * w).sum();
                for (_, t, f) in service.places(object) {
                    *drawn.entry((*t, *f)).or_insert(0.0) += bytes;
                    *shares.everywhere.entry((*t, *f)).or_insert(0.0) += bytes;
                }
            }
            shares.regions.insert(region.clone(), drawn);
        }
        shares.learn_rungs();
        shares
    }

    /// Of titles that were drawn, all files count, also those that nobody wanted.
    fn learn_rungs(&mut self) {
        let mut sums = vec![[0.0; 2]; self.rungs.len()];
        for t in 0..self.service.titles().len() {
            let files = self.service.files(t);
            let drawn = |f: usize| self.everywhere.get(&(t as u32, f as u32)).copied();
            if !(0..files.len()).any(|f| drawn(f).is_some()) {
                continue;
            }
            for (f, file) in files.iter().enumerate() {
                sums[file.rung][0] += drawn(f).unwrap_or(0.0);
                sums[file.rung][1] += file.size as f64;
            }
        }
        let all = sums.iter().fold([0.0; 2], |a, s| [a[0] + s[0], a[1] + s[1]]);
        if all[0] > 0.0 {
            self.any = all[0] / all[1];
        }
        self.rungs = sums
            .into_iter()
            .map(|[bytes, size]| (size > 0.0).then(|| bytes / size))
            .collect();
    }

    /// Parts of a title's bytes that its files have, summing to 1, in the order of [`Service::files`].
    pub(super) fn of(&self, region: &RegionId, title: usize) -> Vec<f64> {
        let files = self.service.files(title);
        let drawn = |of: &BTreeMap<(u32, u32), f64>| -> Vec<f64> {
            let keys = (0..files.len()).map(|f| (title as u32, f as u32));
            keys.map(|key| of.get(&key).copied().unwrap_or(0.0)).collect()
        };
        let here = self.regions.get(region).map(drawn).unwrap_or_default();
        let by_rung = || {
            let density = |rung: usize| self.rungs[rung].unwrap_or(self.any);
            files.iter().map(|f| density(f.rung) * f.size as f64).collect()
        };
        let by_size = || files.iter().map(|f| f.size as f64).collect();
        normed(here)
            .or_else(|| normed(drawn(&self.everywhere)))
            .or_else(|| normed(by_rung()))
            .or_else(|| normed(by_size()))
            .unwrap_or_default()
    }
}

fn normed(weights: Vec<f64>) -> Option<Vec<f64>> {
    let sum: f64 = weights.iter().sum();
    (sum > 0.0).then(|| weights.into_iter().map(|w| w / sum).collect())
}
