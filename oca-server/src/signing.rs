//! Signed addresses: whose tokens are asked for on which paths, and the keys that verify them. The keys are one value
//! that is swapped whole when the file changes; a file that cannot be used changes nothing. [`gate`] asks.
//!
//! With a fill issuer the appliance also signs its own fetches, so that peers that ask for tokens serve it. It does so
//! with what everybody uses, a token for that one path in a cookie: there is no second way in that could be left open,
//! and no name or address that a viewer could borrow. docs/decisions/signing.md has what else was weighed.

pub mod gate;
pub mod watch;

use arc_swap::ArcSwap;
use ring::rand::SystemRandom;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use url_signing::{Address, KeyError, KeySet, Life, Millis, mint_jwt};

/// How long the token of a fetch lives. It is looked at when the request comes, so that seconds would do; minutes bear
/// with clocks that differ.
const FILL_LIFE: Millis = 5 * 60 * 1000;

/// What to verify, checked but not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    /// The key file.
    pub keys: PathBuf,
    /// Name of query parameter, path parameter and cookie.
    pub attribute: String,
    /// Who we are to tokens with an audience.
    pub audience: Option<String>,
    /// Beginnings of the paths that ask for a token.
    pub paths: Vec<String>,
    /// The issuer in whose name fetches from peers are signed.
    pub fill_issuer: Option<String>,
}

/// Why signing cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file cannot be read.
    #[error("cannot read the signing keys {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// Its content cannot be used.
    #[error("signing keys {path}: {cause}", path = path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: KeyError,
    },
    /// Fetches cannot be signed.
    #[error("signing keys {path}: issuer `{issuer}` has no key that signs; name one by renewal_kid", path = path.display())]
    FillIssuer {
        /// The file.
        path: PathBuf,
        /// Who was to sign.
        issuer: String,
    },
}

/// What a look at the key file came to.
#[derive(Debug)]
pub enum Swap {
    /// As it was.
    Unchanged,
    /// New keys are used.
    Swapped,
    /// It cannot be used: the old ones stay.
    Refused(SigningError),
}

/// What all workers and the fill share.
#[derive(Debug)]
pub struct Signing {
    config: SigningConfig,
    keys: ArcSwap<KeySet>,
    /// The text that was looked at last, whatever came of it.
    seen: Mutex<String>,
    random: SystemRandom,
}

impl Signing {
    /// Reads the keys.
    ///
    /// # Errors
    /// When there are none to start with.
    pub fn load(config: SigningConfig) -> Result<Self, SigningError> {
        let random = SystemRandom::new();
        let text = read(&config.keys)?;
        let keys = parse(&config, &text, &random)?;
        Ok(Self {
            config,
            keys: ArcSwap::from_pointee(keys),
            seen: Mutex::new(text),
            random,
        })
    }

    /// Takes up the file if it has changed.
    pub fn look_again(&self) -> Swap {
        let text = match read(&self.config.keys) {
            Ok(text) => text,
            // Renamed away for a moment: the next look will tell.
            Err(SigningError::Read { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                return Swap::Unchanged;
            }
            Err(error) => return Swap::Refused(error),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == text {
            return Swap::Unchanged;
        }
        let parsed = parse(&self.config, &text, &self.random);
        *seen = text;
        match parsed {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                Swap::Swapped
            }
            Err(error) => Swap::Refused(error),
        }
    }

    /// The cookie by which a fetch of that path is let in, if fetches are signed.
    pub fn fill_cookie(&self, path: &str) -> Option<String> {
        let keys = self.keys.load();
        let issuer = keys.issuer(self.config.fill_issuer.as_deref()?)?;
        let life = Life {
            end: now() + FILL_LIFE,
            renewal: None,
        };
        let audience = self.config.audience.as_deref();
        let token = mint_jwt(issuer, Address::Path(path), life, audience, &self.random)?;
        Some(format!("{}={token}", self.config.attribute))
    }
}

fn read(path: &Path) -> Result<String, SigningError> {
    fs::read_to_string(path).map_err(|cause| SigningError::Read {
        path: path.to_owned(),
        cause,
    })
}

fn parse(config: &SigningConfig, text: &str, random: &SystemRandom) -> Result<KeySet, SigningError> {
    let path = || config.keys.clone();
    let keys = KeySet::parse(text, random).map_err(|cause| SigningError::Keys { path: path(), cause })?;
    match &config.fill_issuer {
        Some(issuer) if keys.issuer(issuer).and_then(|i| i.signer()).is_none() => {
            let issuer = issuer.clone();
            Err(SigningError::FillIssuer { path: path(), issuer })
        }
        _ => Ok(keys),
    }
}

/// Milliseconds since 1970.
fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(now.as_millis()).unwrap_or(Millis::MAX)
}
