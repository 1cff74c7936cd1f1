//! Makes tokens. Of what the standards allow only what every verifier understands is used: for URI signing what Apache
//! Traffic Server takes, for the Common Access Token an address and an end.

use crate::{
    Millis, cat,
    container::{ANY_HOST, SPECIAL},
    grant::Renewal,
    jwt,
    keys::{Issuer, Key},
};
use ring::rand::SecureRandom;
use serde_json::{Map, Value};

/// The addresses that a token is made for. The host is left open: one token is good at every appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// Everything below a folder, given without its last slash: `/t/title/version`.
    Below(&'a str),
    /// One path, with any query.
    Path(&'a str),
}

impl Address<'_> {
    /// As a `regex:` that means the same as a whole match and as one that is only anchored at its start (as ATS does it).
    fn container(self) -> String {
        let (path, rest) = match self {
            Self::Below(path) => (path, "/.*"),
            Self::Path(path) => (path, "(\\?.*)?$"),
        };
        let mut container = format!("regex:{ANY_HOST}");
        for c in path.chars() {
            if SPECIAL.contains(&c) {
                container.push('\\');
            }
            container.push(c);
        }
        container + rest
    }
}

/// How long a token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// First instant at which it is no longer valid; written in whole seconds, rounded down.
    pub end: Millis,
    /// How it is prolonged.
    pub renewal: Option<Renewal>,
}

/// A token by the issuer's signing key (RFC 9246). Absent if the issuer has none, or `random` fails.
pub fn mint_jwt(
    issuer: &Issuer,
    address: Address<'_>,
    life: Life,
    audience: Option<&str>,
    random: &dyn SecureRandom,
) -> Option<String> {
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), issuer.name().into());
    claims.insert("exp".to_owned(), (life.end / 1000).into());
    claims.insert("cdniv".to_owned(), 1.into());
    claims.insert("cdniuc".to_owned(), address.container().into());
    if let Some(audience) = audience {
        claims.insert("aud".to_owned(), audience.into());
    }
    if let Some(renewal) = life.renewal {
        claims.insert("cdnistt".to_owned(), 1.into());
        claims.insert("cdniets".to_owned(), renewal.seconds.into());
        claims.insert("cdnistd".to_owned(), renewal.depth.into());
    }
    jwt::sign(issuer.signer()?, &claims, random)
}

/// A JWT of any claims, by any key: for tools and tests. Absent if `claims` is no object, the key only verifies, or
/// `random` fails.
pub fn sign_jwt(key: &Key, claims: &Value, random: &dyn SecureRandom) -> Option<String> {
    jwt::sign(key, claims.as_object()?, random)
}

/// A Common Access Token for everything below a folder, by the issuer's signing key, in base64url. Absent as in
/// [`mint_jwt`].
pub fn mint_cat(
    issuer: &Issuer,
    below: &str,
    end: Millis,
    audience: Option<&str>,
    random: &dyn SecureRandom,
) -> Option<String> {
    let claims = cat::prefix_claims(issuer.name(), &format!("{below}/"), end / 1000, audience);
    cat::sign(issuer.signer()?, claims, random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_an_expression() {
        let below = Address::Below("/t/big.buck_bunny/1a+").container();
        assert_eq!(below, r"regex:[^:]*://[^/?#]*/t/big\.buck_bunny/1a\+/.*");
        assert_eq!(
            Address::Path("/a").container(),
            r"regex:[^:]*://[^/?#]*/a(\?.*)?$"
        );
    }
}
