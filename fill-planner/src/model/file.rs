//! The model's file: JSON with a format number, what it was trained on and how well it did on what it had not seen.

use crate::output::{self, OutputError};
use cdn_types::time::Date;
use fill_core::{
    nightly::NightlyModel,
    trees::{Ensemble, TreeError},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The format that this release writes and reads.
pub const FORMAT: u32 = 2;

/// What a model has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First period of its targets.
    pub from: String,
    /// Last period of its targets.
    pub to: String,
}

/// What such a file can hold.
pub trait Kept: Serialize + DeserializeOwned {
    /// Checks a model that was read.
    ///
    /// # Errors
    /// When it contradicts itself.
    fn check(&self) -> Result<(), TreeError>;
}

impl Kept for Ensemble {
    fn check(&self) -> Result<(), TreeError> {
        self.check()
    }
}

impl Kept for NightlyModel {
    fn check(&self) -> Result<(), TreeError> {
        self.check()
    }
}

/// One night that nobody had learnt from, and what densest-first stores would have served of its day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NightScore {
    /// The day.
    pub date: Date,
    /// Bytes drawn.
    pub bytes: f64,
    /// Bytes of them served, by method.
    pub served: BTreeMap<String, f64>,
}

/// A model that was grown of less, to be judged by what came after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "M: Kept")]
pub struct Earlier<M> {
    /// Last period of its targets.
    pub to: String,
    /// The model. Its trees have seen no later period; where it has a spread of errors, that was learnt from them.
    pub model: M,
}

/// A model with its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound = "M: Kept")]
pub struct ModelFile<M = Ensemble> {
    /// [`FORMAT`].
    pub format: u32,
    /// What it forecasts: `halves`, `lists`, `nights`.
    pub kind: String,
    /// What it has seen.
    pub trained: Window,
    /// The seed it was grown with.
    pub seed: u64,
    /// Scores by name on what it has not seen.
    pub scores: BTreeMap<String, f64>,
    /// The nights that the scores are of, where it forecasts nights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nights: Vec<NightScore>,
    /// The model that those nights judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Earlier<M>>,
    /// The model.
    pub model: M,
}

/// Why a model file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no model.
    #[error("{}: no model file: {problem}; train a new one", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// Another release wrote it.
    #[error("{}: the model has format {found}, this release reads format {FORMAT}; train a new one", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It forecasts something else.
    #[error("{}: a model of `{found}`, not of `{asked}`; give the file that was trained on {asked}", .file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// What it forecasts.
        found: String,
        /// What was to be forecast.
        asked: String,
    },
}

impl<M: Kept> ModelFile<M> {
    /// Its bytes.
    pub fn json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("plain data with text keys is always JSON");
        text.push(b'\n');
        text
    }
    /// Writes it, whole or not at all.
    pub fn write(&self, file: &Path) -> Result<(), OutputError> {
        output::replace(file, &self.json())
    }
    /// Reads a model of `kind`. The format is looked at first: what another release wrote need not look like a model of this one.
    pub fn read(file: &Path, kind: &str) -> Result<Self, ModelError> {
        let text = std::fs::read(file).map_err(|source| ModelError::Read {
            file: file.to_owned(),
            source,
        })?;
        let broken = |problem: String| ModelError::Json {
            file: file.to_owned(),
            problem,
        };
        #[derive(Deserialize)]
        struct Numbered {
            format: u64,
        }
        let Numbered { format } = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        if format != u64::from(FORMAT) {
            return Err(ModelError::Format {
                file: file.to_owned(),
                found: format,
            });
        }
        #[derive(Deserialize)]
        struct OfKind {
            kind: String,
        }
        let OfKind { kind: found } = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        if found != kind {
            return Err(ModelError::Kind {
                file: file.to_owned(),
                found,
                asked: kind.to_owned(),
            });
        }
        let model: Self = serde_json::from_slice(&text).map_err(|e| broken(e.to_string()))?;
        for model in [&model.model]
            .into_iter()
            .chain(model.earlier.as_ref().map(|e| &e.model))
        {
            model.check().map_err(|e| broken(e.to_string()))?;
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fill_core::trees::{Booster, Member, Scale, Tree};

    fn model() -> ModelFile {
        let leaf = Tree {
            feature: vec![0],
            split: vec![0.0],
            left: vec![0],
            right: vec![0],
            missing: vec![0],
            weight: vec![0.1],
        };
        let boosters = vec![Booster {
            base: 1.0 / 3.0,
            trees: vec![leaf],
        }];
        ModelFile {
            format: FORMAT,
            kind: "halves".into(),
            trained: Window {
                from: "2023Jan-Jun".into(),
                to: "2024Jan-Jun".into(),
            },
            seed: 1,
            scores: BTreeMap::from([("ratio at 20 %".to_owned(), 0.5)]),
            nights: vec![],
            earlier: None,
            model: Ensemble {
                features: vec!["a".into()],
                members: vec![Member {
                    scale: Scale::Log(5e4),
                    boosters,
                }],
                ..Ensemble::default()
            },
        }
    }
    /// What reading says of a model file with one text replaced.
    fn refusal(from: &str, to: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.json");
        model().write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replace(from, to)).unwrap();
        ModelFile::<Ensemble>::read(&file, "halves")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_model_comes_back_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.json");
        model().write(&file).unwrap();
        assert_eq!(ModelFile::read(&file, "halves").unwrap(), model());
    }

    #[test]
    fn what_is_no_model_of_this_kind_and_format_is_refused() {
        assert!(
            refusal("\"format\":2", "\"format\":1")
                .contains("format 1, this release reads format 2; train a new one")
        );
        assert!(refusal("halves", "nights").contains("a model of `nights`, not of `halves`"));
        assert!(refusal("\"seed\":1", "\"seed\":-1").contains("no model file"));
        assert!(
            refusal("\"left\":[0]", "\"left\":[7]").contains("a child stands before its parent, or outside")
        );
        assert!(refusal("{\"format\"", "[\"format\"").contains("no model file"));
    }
}
