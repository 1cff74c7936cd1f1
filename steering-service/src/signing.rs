//! Signed addresses (RFC 9246): every address that a viewer is given carries a token for its title, in the path.
//!
//! A media playlist names its segments relative to itself, and a relative reference drops the query (RFC 3986 §5.2.2), so
//! that a token in the query would be gone after the first playlist. As a parameter of the path's first segment
//! (`/t;URISigningPackage=TOKEN/title/version/…`) it stays in every address that a player derives, without cookies and
//! without rewriting anything that the appliances send. It is not in the last segment, which is the one that some players
//! take apart at `;`.

use crate::key_file::{KeyFile, KeyFileError};
use std::{path::PathBuf, time::Duration};
use url_signing::{Address, KeySet, Life, Millis, mint_jwt};

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

/// Signs addresses.
pub struct Signer {
    config: SigningConfig,
    /// What it signs with.
    pub keys: KeyFile,
}

impl Signer {
    /// Reads the keys.
    ///
    /// # Errors
    /// When there is nothing to sign with.
    pub fn load(config: SigningConfig) -> Result<Self, KeyFileError> {
        let (path, issuer) = (config.keys.clone(), config.issuer.clone());
        let keys = KeyFile::load("--signing-keys", path, issuer, can_sign)?;
        Ok(Self { config, keys })
    }

    /// A title's prefix, `/t/{title}/{version}`, with a token for everything below it that lives from `now` on. Absent if
    /// the system gives no random numbers.
    pub fn sign(&self, prefix: &str, now: Millis) -> Option<String> {
        let keys = self.keys.keys();
        let life = i64::try_from(self.config.life.as_millis()).unwrap_or(i64::MAX);
        let life = Life {
            end: now.saturating_add(life),
            renewal: None,
        };
        let issuer = keys.issuer(&self.config.issuer)?;
        let audience = self.config.audience.as_deref();
        let token = mint_jwt(issuer, Address::Below(prefix), life, audience, self.keys.random())?;
        let first_segment = prefix[1..].find('/').map_or(prefix.len(), |at| at + 1);
        let (first, rest) = prefix.split_at(first_segment);
        Some(format!("{first};{}={token}{rest}", self.config.attribute))
    }

    /// Whether addresses of the fallback are signed too.
    pub fn signs_fallback(&self) -> bool {
        self.config.fallback
    }
}

fn can_sign(keys: &KeySet, issuer: &str) -> Result<(), String> {
    match keys.issuer(issuer).and_then(|i| i.signer()) {
        Some(_) => Ok(()),
        None => Err(format!(
            "issuer `{issuer}` has no key that signs; name one by renewal_kid"
        )),
    }
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
        let keys = signer.keys.keys();
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
