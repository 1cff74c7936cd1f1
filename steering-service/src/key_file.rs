//! A file of keys (docs/formats/signing-keys.md) that is read at the start and again whenever it changes.

use crate::metrics::Metrics;
use arc_swap::{ArcSwap, Guard};
use ring::rand::SystemRandom;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use url_signing::{KeyError, KeySet};

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{option} {path}: {cause}", path = path.display())]
pub struct KeyFileError {
    option: &'static str,
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Read(io::Error),
    #[error(transparent)]
    Keys(KeyError),
    #[error("{0}")]
    Unfit(String),
}

/// The file and what it last said.
pub struct KeyFile {
    place: Place,
    keys: ArcSwap<KeySet>,
    text: String,
}

/// Where the keys are, and what must be true of them.
struct Place {
    option: &'static str,
    path: PathBuf,
    about: String,
    fits: Fits,
    random: SystemRandom,
}

/// What a user needs of the keys, by a name of its own: the answer is what is wrong.
pub type Fits = fn(&KeySet, &str) -> Result<(), String>;

impl Place {
    fn error(&self, cause: Cause) -> KeyFileError {
        KeyFileError {
            option: self.option,
            path: self.path.clone(),
            cause,
        }
    }

    fn parse(&self, text: &str) -> Result<KeySet, KeyFileError> {
        let keys = KeySet::parse(text, &self.random).map_err(|e| self.error(Cause::Keys(e)))?;
        (self.fits)(&keys, &self.about).map_err(|why| self.error(Cause::Unfit(why)))?;
        Ok(keys)
    }
}

impl KeyFile {
    /// Reads the file that `option` names; `fits` is asked about the keys and `about`, now and after every change.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn load(
        option: &'static str,
        path: PathBuf,
        about: String,
        fits: Fits,
    ) -> Result<Self, KeyFileError> {
        let place = Place {
            option,
            path,
            about,
            fits,
            random: SystemRandom::new(),
        };
        let text = read(&place.path).map_err(|e| place.error(Cause::Read(e)))?;
        Ok(Self {
            keys: ArcSwap::from_pointee(place.parse(&text)?),
            place,
            text,
        })
    }

    /// The keys of this moment.
    pub fn keys(&self) -> Guard<Arc<KeySet>> {
        self.keys.load()
    }

    /// For what is signed with them.
    pub fn random(&self) -> &SystemRandom {
        &self.place.random
    }

    /// Takes up the file whenever it changes, for ever. One that cannot be used changes nothing.
    pub async fn follow(&self, metrics: &Metrics) {
        let mut seen = self.text.clone();
        loop {
            tokio::time::sleep(LOOK).await;
            // A small file, once a second: it holds nobody up.
            let Ok(text) = read(&self.place.path) else {
                continue;
            };
            if text == seen {
                continue;
            }
            let outcome = match self.place.parse(&text) {
                Ok(keys) => {
                    self.keys.store(Arc::new(keys));
                    tracing::info!("{}: the new keys are used from now on", self.place.option);
                    "swapped"
                }
                Err(error) => {
                    tracing::warn!("{error}: the old keys stay");
                    "refused"
                }
            };
            metrics.key_swaps.with_label_values(&[outcome]).inc();
            seen = text;
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}
