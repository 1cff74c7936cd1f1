//! Trains a nightly model and judges it on nights that it had not seen.
//!
//! The last two weeks are held back first: a model of all that was known before them forecasts each of their nights, beside the
//! planner's simple methods, from what was known on its eve. What a forecast is worth is what stores would have served that hold the
//! densest titles by it, as much of the catalogue as a site of the region stores. Copies, fill caps and what is held already are left out: they
//! are the same for all methods. Then a model of everything is grown, which takes over what the first one's errors taught.

use super::{EXAMPLE_DAYS, grow, recipe};
use crate::model::{NightScore, TrainError};
use cdn_types::time::Date;
use fill_core::{
    DecayedMean, SeasonalNaive,
    evaluate::{
        naive::{ByPredictor, Expected, Forecaster},
        panel::Panel,
    },
    nightly::{Doubt, FIRST_EXAMPLE, NightlyModel, Nights, Sampling},
    rendezvous::mix,
};
use std::collections::BTreeMap;

/// Nights that are held back, and that a choice between methods looks at.
pub const JUDGED: usize = 14;
/// Days of examples that the held-back nights' model must have.
const LEAST_LEARNT: usize = 7;
/// Examples above which fewer are taken of old titles: growing on them takes some seconds.
const MOST_EXAMPLES: usize = 200_000;
/// Errors above which fewer are kept.
const MOST_ERRORS: usize = 1_000_000;

/// The learnt method's name in scores.
pub const BOOSTED: &str = "boosted";
/// The baseline's.
pub const BASELINE: &str = "decayed mean";
/// The yardstick's.
pub const YARDSTICK: &str = "seasonal naive";

/// What a site of each region stores, as a share of the catalogue's bytes, in the order of the panel's regions.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage(pub Vec<f64>);

impl Storage {
    /// Of a region; its demand counts only where something is stored.
    fn of(&self, region: usize) -> f64 {
        self.0.get(region).copied().unwrap_or(0.0)
    }
}

/// A model, and the nights that judged the one before it.
#[derive(Debug)]
pub struct Trained {
    /// Trained on everything.
    pub model: NightlyModel,
    /// Trained without the held-back nights, but for the spread of its errors, which is theirs.
    pub earlier: NightlyModel,
    /// The last service day that the earlier one has seen.
    pub earlier_to: Date,
    /// The held-back nights.
    pub nights: Vec<NightScore>,
}

/// Days that a history must have.
pub fn least_days(lead: usize) -> usize {
    FIRST_EXAMPLE + LEAST_LEARNT + JUDGED + lead
}

/// Trains on a panel whose last day is the one to plan.
///
/// # Errors
/// When the history is too short, or too little was drawn.
pub fn train(panel: &Panel, calendar: bool, storage: &Storage, seed: u64) -> Result<Trained, TrainError> {
    let (day, least) = (panel.known.days(), least_days(panel.lead));
    if day < least {
        return Err(TrainError::TooShort { days: day, least });
    }
    let sampling = sampling(panel);
    let first = day + 1 - panel.settled - JUDGED;
    let mut nights = Nights::new(calendar, sampling);
    nights.live(panel.past(first));
    let mut earlier = grow(&nights, panel.past(first), &recipe(), seed)?;
    let mut errors = Vec::new();
    let judged = judge(panel, first, &earlier, storage, Some(&mut errors));
    nights.live(panel.past(day));
    let mut model = grow(&nights, panel.past(day), &recipe(), seed)?;
    model.doubt = Doubt::learn(errors.into_iter());
    earlier.doubt = model.doubt.clone();
    Ok(Trained {
        model,
        earlier,
        earlier_to: panel.past(first).known_date(1),
        nights: judged,
    })
}

/// Judges a model on the nights from service day `first` on that are over, beside the simple methods.
pub fn judge(
    panel: &Panel,
    first: usize,
    model: &NightlyModel,
    storage: &Storage,
    mut errors: Option<&mut Vec<(usize, f64, f64)>>,
) -> Vec<NightScore> {
    let mut nights = Nights::new(model.calendar, Sampling { days: 0, thin: 1 });
    let mut simple: [Box<dyn Forecaster>; 2] = [
        Box::new(ByPredictor(DecayedMean::default())),
        Box::new(ByPredictor(SeasonalNaive)),
    ];
    let keep = (JUDGED * panel.titles.len() * panel.regions.len() / MOST_ERRORS) as u64 + 1;
    let mut out = Vec::new();
    let over = (panel.known.days() + 1).saturating_sub(panel.settled);
    for day in first..over.min(panel.served.days()) {
        let past = panel.past(day);
        nights.remember(past);
        let expected = nights.expect(past, Some(model));
        let came = |region: usize| panel.served.of(day, region);
        if let Some(errors) = &mut errors {
            let all = nights.errors(past, &expected, came).into_iter().enumerate();
            let some = all.filter(|(i, _)| mix(*i as u64 ^ (day as u64) << 40).is_multiple_of(keep));
            errors.extend(some.map(|(_, error)| error));
        }
        let [mean, naive] = &mut simple;
        let forecasts = [
            (BOOSTED, expected),
            (BASELINE, mean.forecast(past)),
            (YARDSTICK, naive.forecast(past)),
        ];
        let served = forecasts
            .iter()
            .map(|(name, expected)| ((*name).to_owned(), served(panel, day, expected, storage)));
        out.push(NightScore {
            date: past.date(),
            bytes: (0..panel.regions.len())
                .filter(|r| storage.of(*r) > 0.0)
                .flat_map(came)
                .map(|b| f64::from(*b))
                .sum(),
            served: served.collect(),
        });
    }
    out
}

/// Bytes of a day that stores would have served which hold the densest titles of a forecast.
fn served(panel: &Panel, day: usize, expected: &Expected, storage: &Storage) -> f64 {
    let catalogue = panel.catalogue_bytes();
    let of_region = |(region, expected): (usize, &Vec<f32>)| {
        let density = |t: usize| f64::from(expected[t]) / panel.titles[t].size as f64;
        let mut order: Vec<usize> = (0..expected.len()).filter(|t| expected[*t] > 0.0).collect();
        order.sort_unstable_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
        let mut room = catalogue * storage.of(region);
        let came = panel.served.of(day, region);
        let mut bytes = 0.0;
        for t in order {
            let size = panel.titles[t].size as f64;
            if size <= room {
                room -= size;
                bytes += f64::from(came[t]);
            }
        }
        bytes
    };
    expected.iter().enumerate().map(of_region).sum()
}

/// Examples of everything where there is little, of some of the old titles where there is much.
fn sampling(panel: &Panel) -> Sampling {
    let all = EXAMPLE_DAYS * panel.titles.len() * panel.regions.len() / 2;
    Sampling {
        days: EXAMPLE_DAYS,
        thin: all.div_ceil(MOST_EXAMPLES).max(1) as u64,
    }
}

/// Shares of all bytes that each method served, by name.
pub fn scores(nights: &[NightScore]) -> BTreeMap<String, f64> {
    let all: f64 = nights.iter().map(|n| n.bytes).sum();
    let mut scores: BTreeMap<String, f64> = BTreeMap::new();
    for (name, bytes) in nights.iter().flat_map(|n| &n.served) {
        *scores.entry(name.clone()).or_default() += bytes / all.max(1.0);
    }
    scores
}
