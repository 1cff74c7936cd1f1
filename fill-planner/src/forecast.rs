//! Which forecast a plan is made from: the one that was asked for, or with `auto` the learnt one as long as it does no worse than
//! the baseline.

mod auto;

use crate::{
    cli::{Method, MethodArgs, PastArgs},
    error::PlannerError,
    history::HistoryStore,
    load,
    model::ModelFile,
    state::State,
    textfile::ForecastFigures,
};
use cdn_types::{
    Hour, ObjectDigest,
    api::v1::{Catalogue, FleetSnapshot},
    time::Date,
};
use fill_core::{
    Boosted, DecayedMean, Forecast, History, Predictor, SeasonalNaive, nightly::NightlyModel,
    service::Service,
};
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// What a nightly model's file says that it forecasts.
pub const KIND: &str = "nights";

/// A predictor, and what is to be said of the choice.
pub struct Chosen {
    /// The predictor.
    pub predictor: Box<dyn Predictor + Send>,
    /// What it would have forecast for days that it has learnt from, where it has.
    unseen: Option<Unseen>,
    /// What the plan's report is to warn of.
    pub warnings: Vec<String>,
    /// For monitoring.
    pub figures: ForecastFigures,
}

impl Chosen {
    fn simple(predictor: impl Predictor + Send + 'static) -> Self {
        Self {
            predictor: Box::new(predictor),
            unseen: None,
            warnings: vec![],
            figures: ForecastFigures::default(),
        }
    }
    /// The predictor for days that are over: it has seen nothing of the day that it is asked for.
    pub fn for_the_past(&self) -> &dyn Predictor {
        match &self.unseen {
            Some(unseen) => unseen,
            None => self.predictor.as_ref(),
        }
    }
    /// The baseline, with the reason why it is no learnt forecast.
    fn baseline(why: &str) -> Self {
        let baseline = DecayedMean::default();
        let warning = format!("{why}: the forecast is the {}", baseline.name());
        Self {
            warnings: vec![warning],
            ..Self::simple(baseline)
        }
    }
}

/// The predictor for a plan. `state` is the folder that runs share, if any.
///
/// # Errors
/// When the arguments contradict each other, or a file is wrong.
pub fn choose(
    args: &MethodArgs,
    state: Option<&State>,
    history: &History,
    catalogue: &Catalogue,
    fleet: &FleetSnapshot,
) -> Result<Chosen, PlannerError> {
    let method = args.method.unwrap_or(match (&args.model, state) {
        (Some(_), _) => Method::Boosted,
        (None, Some(_)) => Method::Auto,
        (None, None) => Method::DecayedMean,
    });
    if args.model.is_some() && method != Method::Boosted {
        return Err(PlannerError::Usage(
            "--model is for --method boosted; leave one of them out".into(),
        ));
    }
    let service = || args.service.service(catalogue).map(Arc::new);
    match (method, state) {
        (Method::DecayedMean, _) => Ok(Chosen::simple(DecayedMean::default())),
        (Method::SeasonalNaive, _) => Ok(Chosen::simple(SeasonalNaive)),
        (Method::Boosted, _) => {
            let file = match (&args.model, state.map(State::model)) {
                (Some(file), _) => file.clone(),
                (None, Some(file)) if file.exists() => file,
                _ => {
                    return Err(PlannerError::Usage(
                        "--method boosted needs a model: give --model FILE, which `fill-planner train` writes; `run --state DIR` without --method keeps its own"
                            .into(),
                    ));
                }
            };
            boosted(&file, args, service()?, history)
        }
        (Method::Auto, Some(state)) => auto::choose(args, state, service()?, history, fleet),
        (Method::Auto, None) => Err(PlannerError::Usage(
            "--method auto keeps its model in a folder: it is for `run --state DIR`".into(),
        )),
    }
}

/// The learnt forecast of a model file.
fn boosted(
    file: &Path,
    args: &MethodArgs,
    service: Arc<Service>,
    history: &History,
) -> Result<Chosen, PlannerError> {
    let model: ModelFile<NightlyModel> = ModelFile::read(file, KIND)?;
    let calendar = (model.model.calendar, args.service.launches.is_some());
    let mut chosen = learnt(model, service, history);
    if chosen.figures.model_age_days.is_some_and(|age| age < 0) {
        chosen.warnings.push(format!(
            "{} has learnt from demand that is not over yet: what it forecasts is no forecast",
            file.display()
        ));
    }
    let file = file.display();
    match calendar {
        (true, false) => chosen.warnings.push(format!(
            "{file} was trained with a launch calendar, and --launches gives none: launches are not expected"
        )),
        (false, true) => chosen.warnings.push(format!(
            "{file} was trained without launch calendar: --launches is not looked at"
        )),
        _ => {}
    }
    Ok(chosen)
}

fn learnt(model: ModelFile<NightlyModel>, service: Arc<Service>, history: &History) -> Chosen {
    let figures = ForecastFigures {
        boosted: true,
        scores: None,
        model_age_days: model_age(&model, history),
    };
    let unseen = Unseen::new(&model, &service);
    Chosen {
        figures,
        unseen,
        ..Chosen::simple(predictor(model, service))
    }
}

/// The learnt forecast of days that are over, each by the newest model that had not learnt from it.
struct Unseen {
    /// The last day that it has learnt from, and the forecast; newest first.
    models: [(Date, Boosted); 2],
}

impl Unseen {
    /// None where the file keeps no earlier model.
    fn new(model: &ModelFile<NightlyModel>, service: &Arc<Service>) -> Option<Self> {
        let earlier = model.earlier.as_ref()?;
        let of = |to: &str, model: &NightlyModel| {
            let name = format!("boosted, trained to {to}");
            let basis = ObjectDigest::of(name.as_bytes()); // of no plan that is published
            let boosted = Boosted::new(name, Arc::new(model.clone()), Arc::clone(service), basis);
            Some((to.parse().ok()?, boosted))
        };
        let newest = of(&model.trained.to, &model.model)?;
        Some(Self {
            models: [newest, of(&earlier.to, &earlier.model)?],
        })
    }

    /// What forecasts a day.
    fn of(&self, day: Date) -> &Boosted {
        let [(newest_to, newest), (_, earlier)] = &self.models;
        if *newest_to < day { newest } else { earlier }
    }
}

impl Predictor for Unseen {
    fn name(&self) -> &str {
        self.models[0].1.name()
    }
    fn predict(&self, history: &History) -> Forecast {
        self.of(history.planned()).predict(history)
    }
}

/// The predictor of a model file.
pub fn predictor(model: ModelFile<NightlyModel>, service: Arc<Service>) -> Boosted {
    let with = if model.model.calendar {
        "with the launch calendar"
    } else {
        "without launch calendar"
    };
    let name = format!("boosted {with}, trained to {}", model.trained.to);
    let basis = ObjectDigest::of(&model.json());
    Boosted::new(name, Arc::new(model.model), service, basis)
}

/// Days from the newest demand that a model has learnt from to the newest that is known; below 0 for a model that has seen what is
/// to be forecast. None if that cannot be told.
fn model_age(model: &ModelFile<NightlyModel>, history: &History) -> Option<i64> {
    let to: Date = model.trained.to.parse().ok()?;
    let newest = history.days().first()?;
    Some(days_between(to, *newest))
}

/// Whole days from one date to another.
fn days_between(from: Date, to: Date) -> i64 {
    (Hour::start_of(to).0 - Hour::start_of(from).0) / 24
}

/// Demand and catalogue as `train`, `predict` and `explain` are given them; the day after the newest demand where no date is given.
///
/// # Errors
/// When a file is wrong, or there is no demand to tell the day by.
pub fn past(args: &PastArgs, date: Option<Date>) -> Result<(History, Catalogue), PlannerError> {
    let catalogue = load::catalogue(&args.catalog)?;
    let after = |newest: Option<Date>| {
        let next = date.or_else(|| newest?.tomorrow().ok());
        next.ok_or_else(|| {
            PlannerError::Usage(
                "there is no demand to learn from; give --demand or --history that holds some".into(),
            )
        })
    };
    let history = match &args.history {
        Some(dir) => {
            let store = HistoryStore::new(dir);
            let newest: BTreeSet<Date> = store.days()?;
            let date = after(newest.last().copied())?;
            crate::run::runtime()?.block_on(store.before(date))?
        }
        None => {
            let mut rows = Vec::new();
            for file in &args.demand {
                rows.append(&mut load::demand(file)?);
            }
            let date = after(rows.iter().map(|r| r.hour.date()).max())?;
            History::before(date, &rows)
        }
    };
    Ok((history, catalogue))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Earlier, FORMAT, Window};
    use fill_core::{
        nightly::{Doubt, GROUPS, SIZE_GROUPS},
        trees::Ensemble,
    };

    #[test]
    fn days_that_are_over_are_forecast_by_models_that_had_not_learnt_from_them() {
        let model = |correction| NightlyModel {
            calendar: false,
            lead: 1,
            corrections: [[correction; SIZE_GROUPS]; GROUPS],
            doubt: Doubt::default(),
            trees: Ensemble::default(),
        };
        let mut file = ModelFile {
            format: FORMAT,
            kind: KIND.to_owned(),
            trained: Window {
                from: "2026-10-01".into(),
                to: "2026-11-21".into(),
            },
            seed: 1,
            scores: Default::default(),
            nights: vec![],
            earlier: Some(Earlier {
                to: "2026-11-07".into(),
                model: model(1.0),
            }),
            model: model(2.0),
        };
        let service = Arc::new(Service::new(&Catalogue { objects: vec![] }, &[], &[]));
        let unseen = Unseen::new(&file, &service).unwrap();
        for (day, by) in [
            ("2026-11-16", "boosted, trained to 2026-11-07"),
            ("2026-11-21", "boosted, trained to 2026-11-07"),
            ("2026-11-22", "boosted, trained to 2026-11-21"),
        ] {
            assert_eq!(unseen.of(day.parse().unwrap()).name(), by, "{day}");
        }
        file.earlier = None; // as releases before this one wrote it
        assert!(Unseen::new(&file, &service).is_none());
    }
}
