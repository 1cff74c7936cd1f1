//! Signed addresses (RFC 9246): every address that a viewer is given carries a token for its title, in the path.
//!
//! A media playlist names its segments relative to itself, and a relative reference drops the query (RFC 3986 §5.2.2), so
//! that a token in the query would be gone after the first playlist. As a parameter of the path's first segment
//! (`/t;URISigningPackage=TOKEN/title/version/…`) it stays in every address that a player derives, without cookies and
//! without rewriting anything that the appliances send. It is not in the last segment, which is the one that some players
//! take apart at `;`.

use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use ring::rand::SystemRandom;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use url_signing::{Address, KeyError, KeySet, Life, Millis, mint_jwt};

/// Time between two looks at the key file.
const LOOK: Duration = Duration::from_secs(1);

/// How to sign, checked but not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    /// The key file.
    pub keys: PathBuf,
    /// In whose name.
    pub issuer: String,
    /// Name of the path parameter.
    pub attribute: String,
    /// For whom, if appliances ask for it.
    pub audience: Option<String>,
    /// How long a token lives.
    pub life: Duration,
    /// Whether the fallback takes tokens.
    pub fallback: bool,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file cannot be read.
    #[error("--signing-keys {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// Its content cannot be used.
    #[error("--signing-keys {path}: {cause}", path = path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: KeyError,
    },
    /// Nothing to sign with.
    #[error("--signing-keys {path}: issuer `{issuer}` has no key that signs; name one by renewal_kid", path = path.display())]
    Issuer {
        /// The file.
        path: PathBuf,
        /// Who was to sign.
        issuer: String,
    },
}

/// Signs addresses.
pub struct Signer {
    config: SigningConfig,
    keys: ArcSwap<KeySet>,
    random: SystemRandom,
}

impl Signer {
    /// Reads the keys.
    ///
    /// # Errors
    /// When there is nothing to sign with.
    pub fn load(config: SigningConfig) -> Result<Self, SigningError> {
        let random = SystemRandom::new();
        let keys = parse(&config, &read(&config.keys)?, &random)?;
        Ok(Self {
            config,
            keys: ArcSwap::from_pointee(keys),
            random,
        })
    }

    /// A title's prefix, `/t/{title}/{version}`, with a token for everything below it that lives from `now` on. Absent if
    /// the system gives no random numbers.
    pub fn sign(&self, prefix: &str, now: Millis) -> Option<String> {
        let keys = self.keys.load();
        let life = i64::try_from(self.config.life.as_millis()).unwrap_or(i64::MAX);
        let life = Life {
            end: now.saturating_add(life),
            renewal: None,
        };
        let issuer = keys.issuer(&self.config.issuer)?;
        let audience = self.config.audience.as_deref();
        let token = mint_jwt(issuer, Address::Below(prefix), life, audience, &self.random)?;
        let first_segment = prefix[1..].find('/').map_or(prefix.len(), |at| at + 1);
        let (first, rest) = prefix.split_at(first_segment);
        Some(format!("{first};{}={token}{rest}", self.config.attribute))
    }

    /// Whether addresses of the fallback are signed too.
    pub fn signs_fallback(&self) -> bool {
        self.config.fallback
    }

    /// Takes up the key file whenever it changes, for ever. A file that cannot be used changes nothing.
    pub async fn follow(self: Arc<Self>, metrics: Arc<Metrics>) {
        let mut seen = read(&self.config.keys).unwrap_or_default();
        loop {
            tokio::time::sleep(LOOK).await;
            // A small file, once a second: it holds nobody up.
            let Ok(text) = read(&self.config.keys) else {
                continue;
            };
            if text == seen {
                continue;
            }
            let outcome = match parse(&self.config, &text, &self.random) {
                Ok(keys) => {
                    self.keys.store(Arc::new(keys));
                    tracing::info!("new signing keys are used from now on");
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

fn read(path: &Path) -> Result<String, SigningError> {
    std::fs::read_to_string(path).map_err(|cause| SigningError::Read {
        path: path.to_owned(),
        cause,
    })
}

fn parse(config: &SigningConfig, text: &str, random: &SystemRandom) -> Result<KeySet, SigningError> {
    let path = || config.keys.clone();
    let keys = KeySet::parse(text, random).map_err(|cause| SigningError::Keys { path: path(), cause })?;
    if keys.issuer(&config.issuer).and_then(|i| i.signer()).is_none() {
        let issuer = config.issuer.clone();
        return Err(SigningError::Issuer { path: path(), issuer });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use url_signing::{Request, Uri, Verifier, find_in_target};

    const KEYS: &str = r#"{"studio":{"renewal_kid":"1","keys":[
        {"kty":"oct","kid":"1","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"}]},"mute":{"keys":[
        {"kty":"oct","kid":"1","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"}]}}"#;

    fn config(dir: &tempfile::TempDir, issuer: &str) -> SigningConfig {
        let keys = dir.path().join("keys.json");
        std::fs::write(&keys, KEYS).unwrap();
        SigningConfig {
            keys,
            issuer: issuer.to_owned(),
            attribute: "sig".to_owned(),
            audience: None,
            life: Duration::from_secs(60),
            fallback: true,
        }
    }

    #[test]
    fn a_signed_prefix_is_good_for_all_below_it_and_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::load(config(&dir, "studio")).unwrap();
        let prefix = signer.sign("/t/big.film/0a1b", 1_000_000).unwrap();
        assert!(
            prefix.starts_with("/t;sig=") && prefix.ends_with("/big.film/0a1b"),
            "{prefix}"
        );
        let keys = signer.keys.load();
        let verifier = Verifier {
            keys: &keys,
            audience: None,
        };
        // What a player makes of it: relative to a playlist below the prefix.
        for (target, now, good) in [
            (format!("{prefix}/hls/v1/seg-1.m4s"), 1_059_999, true),
            (format!("{prefix}/master.m3u8?CMCD=x"), 1_000_000, true),
            (format!("{prefix}/master.m3u8"), 1_060_000, false),
            (prefix.replace("0a1b", "0a1c") + "/x", 1_000_000, false),
            (prefix.replace("big.film", "bigxfilm") + "/x", 1_000_000, false),
        ] {
            let carried = find_in_target("sig", &target).unwrap().unwrap();
            let uri = Uri::new("https", "oca-1", &carried.target).unwrap();
            let request = Request {
                uri: &uri,
                method: "GET",
                protocol: "h3",
            };
            let granted = verifier.open(carried.token).unwrap().check(&request, now);
            assert_eq!(granted.is_ok(), good, "{target}: {granted:?}");
        }
    }

    #[test]
    fn an_issuer_that_cannot_sign_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for issuer in ["mute", "nobody"] {
            let error = Signer::load(config(&dir, issuer)).err().unwrap().to_string();
            assert!(
                error.contains(&format!("issuer `{issuer}` has no key that signs")),
                "{error}"
            );
        }
    }
}
