//! What a run leaves for the next one: the demand that it fetched, the model that it trained, and the last forecast made of fresh
//! demand. A night whose demand did not come is planned from it, instead of dropping what nobody seems to watch.

use crate::{
    history::HistoryStore,
    load::{self, LoadError},
    output::{self, OutputError},
};
use cdn_types::{ObjectDigest, RegionId, time::Date};
use fill_core::{Forecast, Given, History, nightly::LEVELS};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// `format` of the files that this release writes. Those of format 1, without quantiles, are read too.
const FORMAT: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    /// The day that it expected.
    date: Date,
    method: String,
    /// What regions draw of titles that only others have drawn, if that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    elsewhere: Option<f64>,
    regions: BTreeMap<RegionId, BTreeMap<ObjectDigest, Expected>>,
}

/// Bytes of an object.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum Expected {
    /// Where nothing is known of errors.
    Sure(f64),
    /// Expected, and not exceeded with the probabilities [`LEVELS`].
    Doubted(f64, [f64; LEVELS.len()]),
}

/// A folder that only one run at a time uses.
#[derive(Debug)]
pub struct State(PathBuf);

impl State {
    /// In this folder, which is made when there is something to keep.
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The demand that runs have fetched.
    pub fn history(&self) -> HistoryStore {
        HistoryStore::new(&self.0.join("history"))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The file of the learnt forecast.
    pub fn model(&self) -> PathBuf {
        self.0.join("model.json")
    }

    fn file(&self) -> PathBuf {
        self.0.join("forecast.json")
    }

    /// Keeps a forecast made of fresh demand.
    pub fn keep(&self, history: &History, forecast: &Given) -> Result<(), OutputError> {
        let forecast_of = &forecast.forecast;
        let expected = |region, object, bytes| match forecast_of.quantiles(region, object) {
            quantiles if quantiles == [bytes; LEVELS.len()] => Expected::Sure(bytes),
            quantiles => Expected::Doubted(bytes, quantiles),
        };
        let objects = |region| {
            let objects = forecast_of.objects(region);
            objects
                .map(|(o, bytes)| (*o, expected(region, o, bytes)))
                .collect()
        };
        let regions = forecast_of.regions();
        let document = Document {
            format: FORMAT,
            date: history.planned(),
            method: forecast.name.clone(),
            elsewhere: forecast_of.elsewhere(),
            regions: regions.map(|r| (r.clone(), objects(r))).collect(),
        };
        output::make_folder(&self.0)?;
        output::replace(&self.file(), &output::json(&document))
    }

    /// The forecast that was kept last, if there is one.
    pub fn last(&self) -> Result<Option<Given>, LoadError> {
        let file = self.file();
        if !file.exists() {
            return Ok(None);
        }
        let document: Document = load::json(&file, "a forecast as `fill-planner run --state` keeps it")?;
        if !(1..=FORMAT).contains(&document.format) {
            return Err(LoadError::Format {
                file,
                found: document.format,
                known: FORMAT,
            });
        }
        let mut forecast = Forecast::default();
        forecast.set_elsewhere(document.elsewhere);
        for (region, objects) in &document.regions {
            for (object, expected) in objects {
                match *expected {
                    Expected::Sure(bytes) => forecast.set(region, *object, bytes),
                    Expected::Doubted(bytes, quantiles) => {
                        forecast.set_doubted(region, *object, bytes, quantiles);
                    }
                }
            }
        }
        let name = format!("{}, kept from {}", document.method, document.date);
        Ok(Some(Given {
            name,
            forecast,
            basis: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_what_is_no_forecast_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::new(&dir.path().join("state"));
        assert!(state.last().unwrap().is_none());
        let mut forecast = Forecast::default();
        let (region, object) = (RegionId::new("r").unwrap(), ObjectDigest::of(b"o"));
        forecast.set(&region, object, 12.5);
        forecast.set_elsewhere(Some(0.25));
        forecast.set_doubted(&region, ObjectDigest::of(b"p"), 4.0, [1.0, 3.5, 9.0]);
        let given = Given {
            name: "decayed-mean".into(),
            forecast,
            basis: None,
        };
        let history = History::before("2026-11-23".parse().unwrap(), &[]);
        state.keep(&history, &given).unwrap();
        let last = state.last().unwrap().unwrap();
        assert_eq!(last.forecast, given.forecast);
        assert_eq!(last.name, "decayed-mean, kept from 2026-11-23");
        let text = std::fs::read_to_string(state.file()).unwrap();
        let first = format!(
            r#"{{"format": 1, "date": "2026-11-23", "method": "m", "regions": {{"r": {{"{object}": 12.5}}}}}}"#
        );
        std::fs::write(state.file(), first).unwrap();
        assert_eq!(
            state.last().unwrap().unwrap().forecast.get(&region, &object),
            12.5
        );
        std::fs::write(state.file(), text.replace("\"format\": 2", "\"format\": 9")).unwrap();
        let error = state.last().unwrap_err().to_string();
        assert!(
            error.contains("format 9") && error.contains("remove it"),
            "{error}"
        );
        std::fs::write(state.file(), "{").unwrap();
        assert!(state.last().unwrap_err().to_string().contains("line 1"));
    }
}
