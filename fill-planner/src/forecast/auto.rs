//! `--method auto`: the learnt forecast, if over the last two weeks it did no worse than the baseline. A model that is missing or two
//! weeks old is trained anew. What it cost of the night is bounded: a model grows of so many examples at most.
//!
//! Only nights that the forecasting model had not seen judge it: those that were held back when it was trained, by the model that
//! was grown without them, and those that came after.

use super::{Chosen, KIND, learnt, model_age};
use crate::{
    cli::MethodArgs,
    error::PlannerError,
    forecast::days_between,
    model::{ModelFile, NightScore},
    nightly::walk::{self, BASELINE, BOOSTED, JUDGED, Storage},
    output,
    state::State,
    train::grow,
};
use cdn_types::{RegionId, SiteId, api::v1::FleetSnapshot};
use fill_core::{DecayedMean, History, evaluate::panel::Panel, nightly::NightlyModel, service::Service};
use std::{collections::BTreeMap, sync::Arc};

/// Days after which a model is trained anew.
const MODEL_DAYS: i64 = 14;
/// What two scores differ by at least in order to differ.
const EXACT: f64 = 1e-9;

/// Chooses, and trains where that is due.
pub(super) fn choose(
    args: &MethodArgs,
    state: &State,
    service: Arc<Service>,
    history: &History,
    fleet: &FleetSnapshot,
) -> Result<Chosen, PlannerError> {
    // A stale night is planned from what was kept, or as well as can be: nothing is learnt from it.
    let panel = match service.panel(history) {
        Some(panel) if !history.is_stale() => panel,
        _ => return Ok(Chosen::simple(DecayedMean::default())),
    };
    let storage = storage(&panel, fleet);
    let calendar = args.service.launches.is_some();
    let model = match kept(state, history, calendar) {
        Some(model) => model,
        None => match grow(&panel, calendar, &storage, args.seed) {
            Ok(model) => {
                output::make_folder(state.dir())?;
                model.write(&state.model())?;
                tracing::info!("a forecast was trained on demand until {}", model.trained.to);
                model
            }
            Err(error) => return Ok(Chosen::baseline(&error.to_string())),
        },
    };
    let nights = judged(&panel, &model, &storage);
    let scores = walk::scores(&nights);
    let [boosted, baseline] = [BOOSTED, BASELINE].map(|m| scores.get(m).copied().unwrap_or(0.0));
    let said = format!(
        "of the last {} nights' bytes {:.1} % would have been served by the boosted forecast, {:.1} % by the {BASELINE}",
        nights.len(),
        100.0 * boosted,
        100.0 * baseline
    );
    tracing::info!("{said}");
    let age = model_age(&model, history);
    let mut chosen = if boosted + EXACT >= baseline {
        learnt(model, service, history)
    } else {
        Chosen::baseline(&said)
    };
    chosen.figures.scores = Some([boosted, baseline]);
    chosen.figures.model_age_days = age;
    Ok(chosen)
}

/// The kept model, if it is of use: young, not from the future of this history, told as much as now, and with the one before it.
fn kept(state: &State, history: &History, calendar: bool) -> Option<ModelFile<NightlyModel>> {
    let file = state.model();
    if !file.exists() {
        return None;
    }
    let model = match ModelFile::read(&file, KIND) {
        Ok(model) => model,
        Err(error) => {
            tracing::warn!("{error}; this run trains it");
            return None;
        }
    };
    let young = model_age(&model, history).is_some_and(|age| (0..=MODEL_DAYS).contains(&age));
    (young && model.model.calendar == calendar && model.earlier.is_some()).then_some(model)
}

/// The newest nights that the model was judged by, and is.
fn judged(panel: &Panel, model: &ModelFile<NightlyModel>, storage: &Storage) -> Vec<NightScore> {
    let mut nights = model.nights.clone();
    if let Ok(to) = model.trained.to.parse() {
        let first = usize::try_from(days_between(panel.first, to) + 1).unwrap_or(0);
        nights.extend(walk::judge(panel, first, &model.model, storage, None));
    }
    nights.split_off(nights.len().saturating_sub(JUDGED))
}

/// What a region's sites store, in the mean, of the catalogue.
fn storage(panel: &Panel, fleet: &FleetSnapshot) -> Storage {
    let mut of_site: BTreeMap<&SiteId, f64> = fleet.sites.iter().map(|s| (&s.id, 0.0)).collect();
    for appliance in &fleet.appliances {
        if let Some(bytes) = of_site.get_mut(&appliance.site) {
            *bytes += appliance.capacity.storage.0 as f64;
        }
    }
    let mut of_region: BTreeMap<&RegionId, (f64, f64)> = BTreeMap::new();
    for site in &fleet.sites {
        let (bytes, sites) = of_region.entry(&site.region).or_default();
        *bytes += of_site[&site.id];
        *sites += 1.0;
    }
    let catalogue = panel.catalogue_bytes();
    let share = |region| {
        of_region
            .get(region)
            .map_or(0.0, |(bytes, sites)| bytes / sites / catalogue)
    };
    Storage(panel.regions.iter().map(share).collect())
}
