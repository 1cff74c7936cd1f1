//! What a run leaves for the next one: the demand that it fetched, the model that it trained, and the last forecast made of fresh demand. A night whose demand did not come is planned from it,
//! instead of dropping what nobody seems to watch.

use crate::{
    history::HistoryStore,
    load::{self, LoadError},
    output::{self, OutputError},
};
use cdn_types::{ObjectDigest, RegionId, time::Date};
use fill_core::{Forecast, Given, History};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// `format` of the files that this release reads and writes.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    /// The day that it expected.
    date: Date,
    method: String,
    /// Bytes.
    regions: BTreeMap<RegionId, BTreeMap<ObjectDigest, f64>>,
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
        let objects = |region| forecast.forecast.objects(region).map(|(o, b)| (*o, b)).collect();
        let regions = forecast.forecast.regions();
        let document = Document {
            format: FORMAT,
            date: history.planned(),
            method: forecast.name.clone(),
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
        if document.format != FORMAT {
            return Err(LoadError::Format {
                file,
                found: document.format,
                known: FORMAT,
            });
        }
        let mut forecast = Forecast::default();
        for (region, objects) in &document.regions {
            for (object, bytes) in objects {
                forecast.set(region, *object, *bytes);
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
        std::fs::write(state.file(), text.replace("\"format\": 1", "\"format\": 9")).unwrap();
        let error = state.last().unwrap_err().to_string();
        assert!(
            error.contains("format 9") && error.contains("remove it"),
            "{error}"
        );
        std::fs::write(state.file(), "{").unwrap();
        assert!(state.last().unwrap_err().to_string().contains("line 1"));
    }
}
