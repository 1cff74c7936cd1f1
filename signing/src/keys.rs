//! Key sets: which issuers are known, and by which keys. A file is a JSON object from issuer to a JWK set (RFC 7517 §5)
//! with, if it signs, the id of the key that does: the file that Apache Traffic Server's `uri_signing` takes.
//!
//! A key has one algorithm and is used with no other, so that a public key can never be taken for a secret. Several
//! keys of an issuer verify at the same time, one signs: that is how keys are rotated without a gap.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SecureRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

/// Most keys of an issuer: without a key id every one is tried.
const MAX_KEYS: usize = 16;
/// Shortest secret in bytes (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Bytes of a coordinate of P-256, and of its private key.
const COORDINATE: usize = 32;

/// How a key signs (RFC 7518 §3.1, RFC 9053 §2.1 and §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

impl Algorithm {
    /// Its name in JOSE.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
        }
    }
}

enum Material {
    Secret(hmac::Key),
    Public(UnparsedPublicKey<Vec<u8>>),
    Pair(UnparsedPublicKey<Vec<u8>>, Box<EcdsaKeyPair>),
}

/// A key with its id.
pub struct Key {
    id: String,
    material: Material,
}

impl fmt::Debug for Key {
    /// Names the key and tells no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.id, self.algorithm().name())
    }
}

impl Key {
    /// Its id (`kid`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its one algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Public(_) | Material::Pair(..) => Algorithm::Es256,
        }
    }

    /// Whether it can sign.
    pub fn signs(&self) -> bool {
        !matches!(self.material, Material::Public(_))
    }

    /// Whether `signature` is this key's over `message`, compared in constant time.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) | Material::Pair(key, _) => key.verify(message, signature).is_ok(),
        }
    }

    /// The signature over `message`; absent if the key only verifies or `random` fails.
    pub(crate) fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Option<Vec<u8>> {
        match &self.material {
            Material::Secret(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Material::Public(_) => None,
            Material::Pair(_, pair) => Some(pair.sign(random, message).ok()?.as_ref().to_vec()),
        }
    }
}

/// An issuer with its keys.
#[derive(Debug)]
pub struct Issuer {
    name: String,
    keys: Vec<Key>,
    signer: Option<usize>,
}

impl Issuer {
    /// Its name (`iss`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its keys.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key of that id.
    pub fn key(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|k| k.id == id)
    }

    /// The key that signs: the one that `renewal_kid` names.
    pub fn signer(&self) -> Option<&Key> {
        self.signer.map(|at| &self.keys[at])
    }
}

/// What is wrong with a key file: where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct KeyError {
    place: String,
    what: String,
}

fn wrong<T>(place: impl Into<String>, what: impl Into<String>) -> Result<T, KeyError> {
    Err(KeyError {
        place: place.into(),
        what: what.into(),
    })
}

/// The issuers of a file.
#[derive(Debug)]
pub struct KeySet {
    issuers: Vec<Issuer>,
}

#[derive(Deserialize)]
struct RawIssuer {
    renewal_kid: Option<String>,
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    k: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<String>,
}

impl KeySet {
    /// Reads a file's text. `random` is used to check private keys.
    ///
    /// # Errors
    /// The first thing that is wrong; a set is taken whole or not at all.
    pub fn parse(text: &str, random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let raw: BTreeMap<String, RawIssuer> = match serde_json::from_str(text) {
            Ok(raw) => raw,
            Err(e) => {
                return wrong(
                    format!("line {}", e.line()),
                    format!("{e}; give {{\"ISSUER\": {{\"renewal_kid\": \"ID\", \"keys\": [JWK, …]}}}}"),
                );
            }
        };
        if raw.is_empty() {
            return wrong(
                "the whole file",
                "there is no issuer; give at least one with one key",
            );
        }
        let issuers = raw
            .into_iter()
            .map(|(name, raw)| issuer(name, &raw, random))
            .collect::<Result<_, _>>()?;
        Ok(Self { issuers })
    }

    /// The issuer of that name.
    pub fn issuer(&self, name: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|i| i.name == name)
    }

    /// All issuers, by name.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }
}

fn issuer(name: String, raw: &RawIssuer, random: &dyn SecureRandom) -> Result<Issuer, KeyError> {
    if raw.keys.is_empty() || raw.keys.len() > MAX_KEYS {
        return wrong(
            format!("{name}.keys"),
            format!("{} keys; give 1 to {MAX_KEYS}", raw.keys.len()),
        );
    }
    let mut keys: Vec<Key> = Vec::with_capacity(raw.keys.len());
    for (at, jwk) in raw.keys.iter().enumerate() {
        let place = format!("{name}.keys[{at}]");
        let key = key(&place, jwk, random)?;
        if keys.iter().any(|k| k.id == key.id) {
            return wrong(format!("{place}.kid"), format!("`{}` stands there twice", key.id));
        }
        keys.push(key);
    }
    let signer = match &raw.renewal_kid {
        None => None,
        Some(id) => match keys.iter().position(|k| k.id == *id) {
            Some(at) if keys[at].signs() => Some(at),
            Some(_) => {
                return wrong(
                    format!("{name}.renewal_kid"),
                    format!("key `{id}` is public and cannot sign; add its d, or leave renewal_kid out"),
                );
            }
            None => {
                return wrong(
                    format!("{name}.renewal_kid"),
                    format!("there is no key `{id}` in the set"),
                );
            }
        },
    };
    Ok(Issuer { name, keys, signer })
}

fn key(place: &str, jwk: &Jwk, random: &dyn SecureRandom) -> Result<Key, KeyError> {
    let Some(id) = jwk.kid.clone().filter(|id| !id.is_empty()) else {
        return wrong(
            format!("{place}.kid"),
            "is missing; give the key an id that no other key has",
        );
    };
    let algorithm = |wanted: &str| match jwk.alg.as_deref() {
        None => Ok(()),
        Some(alg) if alg == wanted => Ok(()),
        Some(alg) => wrong(
            format!("{place}.alg"),
            format!("`{alg}` does not go with this key; give {wanted}"),
        ),
    };
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("oct", _) => {
            algorithm("HS256")?;
            let secret = bytes(place, "k", jwk.k.as_deref())?;
            if secret.len() < MIN_SECRET {
                return wrong(
                    format!("{place}.k"),
                    format!("{} bytes; HS256 needs {MIN_SECRET} or more", secret.len()),
                );
            }
            Material::Secret(hmac::Key::new(hmac::HMAC_SHA256, &secret))
        }
        ("EC", Some("P-256")) => {
            algorithm("ES256")?;
            elliptic(place, jwk, random)?
        }
        (kty, crv) => {
            let what = format!(
                "`{kty}{}` is not supported; give oct, or EC with crv P-256",
                crv.unwrap_or_default()
            );
            return wrong(format!("{place}.kty"), what);
        }
    };
    Ok(Key { id, material })
}

fn elliptic(place: &str, jwk: &Jwk, random: &dyn SecureRandom) -> Result<Material, KeyError> {
    let mut point = vec![4]; // uncompressed (SEC 1 §2.3.3)
    point.extend(coordinate(place, "x", jwk.x.as_deref())?);
    point.extend(coordinate(place, "y", jwk.y.as_deref())?);
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.clone());
    let Some(d) = jwk.d.as_deref() else {
        return Ok(Material::Public(public));
    };
    let private = coordinate(place, "d", Some(d))?;
    match EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &private,
        &point,
        random,
    ) {
        Ok(pair) => Ok(Material::Pair(public, Box::new(pair))),
        Err(e) => wrong(format!("{place}.d"), format!("does not belong to x and y ({e})")),
    }
}

fn coordinate(place: &str, name: &str, value: Option<&str>) -> Result<Vec<u8>, KeyError> {
    let bytes = bytes(place, name, value)?;
    if bytes.len() == COORDINATE {
        Ok(bytes)
    } else {
        wrong(
            format!("{place}.{name}"),
            format!("{} bytes; P-256 has {COORDINATE}", bytes.len()),
        )
    }
}

fn bytes(place: &str, name: &str, value: Option<&str>) -> Result<Vec<u8>, KeyError> {
    match value.map(|v| URL_SAFE_NO_PAD.decode(v)) {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(_)) => wrong(format!("{place}.{name}"), "is not base64url without padding"),
        None => wrong(format!("{place}.{name}"), "is missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;

    fn parse(text: &str) -> Result<KeySet, String> {
        KeySet::parse(text, &SystemRandom::new()).map_err(|e| e.to_string())
    }

    /// The key of RFC 9246's own examples.
    const PAIR: &str = r#""kty":"EC","crv":"P-256","x":"be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8","y":"rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA""#;
    const D: &str = r#""d":"yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M""#;
    const SECRET: &str = r#""kty":"oct","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM""#;

    #[test]
    fn sets_are_read_and_name_their_signer() {
        let text = format!(
            r#"{{"a":{{"renewal_kid":"2","strip_token":true,"keys":[{{{SECRET},"kid":"1","alg":"HS256"}},{{{PAIR},{D},"kid":"2"}}]}},
                "b":{{"keys":[{{{PAIR},"kid":"1","use":"sig"}}]}}}}"#
        );
        let set = parse(&text).unwrap();
        let a = set.issuer("a").unwrap();
        assert_eq!((a.name(), a.keys().len()), ("a", 2));
        assert_eq!(a.signer().unwrap().id(), "2");
        assert_eq!(a.key("1").unwrap().algorithm(), Algorithm::Hs256);
        let b = set.issuer("b").unwrap();
        assert!(b.signer().is_none() && !b.keys()[0].signs());
        assert!(set.issuer("c").is_none() && set.issuers().len() == 2);
        assert!(!format!("{set:?}").contains("Kh_R"), "no secret is shown");
    }

    #[test]
    fn what_one_key_signs_the_same_key_verifies() {
        let text = format!(
            r#"{{"a":{{"keys":[{{{SECRET},"kid":"1"}},{{{PAIR},{D},"kid":"2"}},{{{PAIR},"kid":"3"}}]}}}}"#
        );
        let set = parse(&text).unwrap();
        let [secret, pair, public] = set.issuers()[0].keys() else {
            panic!("three keys")
        };
        let random = SystemRandom::new();
        let (by_secret, by_pair) = (
            secret.sign(b"m", &random).unwrap(),
            pair.sign(b"m", &random).unwrap(),
        );
        assert!(public.sign(b"m", &random).is_none());
        for (key, signature, good) in [
            (secret, &by_secret, true),
            (pair, &by_pair, true),
            (public, &by_pair, true),
            (secret, &by_pair, false),
            (pair, &by_secret, false),
        ] {
            assert_eq!(key.verifies(b"m", signature), good, "{key:?}");
            assert!(!key.verifies(b"n", signature), "{key:?}");
        }
    }

    #[test]
    fn bad_files_are_refused_with_place_and_mend() {
        let one = |jwk: &str| format!(r#"{{"a":{{"keys":[{{{jwk}}}]}}}}"#);
        for (text, wanted) in [
            ("{".to_owned(), "line 1: EOF"),
            ("{}".to_owned(), "the whole file: there is no issuer"),
            (r#"{"a":{"keys":[]}}"#.to_owned(), "a.keys: 0 keys"),
            (one(SECRET), "a.keys[0].kid: is missing"),
            (
                one(&format!(r#"{SECRET},"kid":"1","alg":"ES256""#)),
                "a.keys[0].alg: `ES256`",
            ),
            (
                one(r#""kty":"oct","k":"AAAA","kid":"1""#),
                "a.keys[0].k: 3 bytes; HS256 needs 32",
            ),
            (
                one(r#""kty":"oct","k":"=","kid":"1""#),
                "a.keys[0].k: is not base64url",
            ),
            (one(r#""kty":"oct","kid":"1""#), "a.keys[0].k: is missing"),
            (
                one(r#""kty":"RSA","kid":"1""#),
                "a.keys[0].kty: `RSA` is not supported",
            ),
            (
                one(r#""kty":"EC","crv":"P-384","kid":"1""#),
                "a.keys[0].kty: `ECP-384` is not supported",
            ),
            (
                one(r#""kty":"EC","crv":"P-256","x":"AAAA","kid":"1""#),
                "a.keys[0].x: 3 bytes; P-256 has 32",
            ),
            (
                one(&format!(
                    r#"{PAIR},"d":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM","kid":"1""#
                )),
                "a.keys[0].d: does not belong to x and y",
            ),
            (
                format!(r#"{{"a":{{"keys":[{{{SECRET},"kid":"1"}},{{{SECRET},"kid":"1"}}]}}}}"#),
                "a.keys[1].kid: `1` stands there twice",
            ),
            (
                format!(r#"{{"a":{{"renewal_kid":"2","keys":[{{{SECRET},"kid":"1"}}]}}}}"#),
                "a.renewal_kid: there is no key `2`",
            ),
            (
                format!(r#"{{"a":{{"renewal_kid":"1","keys":[{{{PAIR},"kid":"1"}}]}}}}"#),
                "a.renewal_kid: key `1` is public",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.starts_with(wanted), "{error}\n{wanted}");
        }
    }
}
