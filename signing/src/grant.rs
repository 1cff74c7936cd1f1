//! From a token to what it grants, and from that to a verdict on one request. The first is costly and may be kept, the
//! second is cheap and looks at the time anew.

use crate::{
    MAX_TOKEN, Millis, Reason, cat,
    claims::Times,
    container::Container,
    jwt,
    keys::{Issuer, KeySet},
    uri::Uri,
};
use ring::rand::SecureRandom;
use serde_json::{Map, Value};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The address without its token.
    pub uri: &'a Uri,
    /// The method's name.
    pub method: &'a str,
    /// The protocol, as ALPN names it (RFC 7301): `http/1.1`, `h2`, `h3`.
    pub protocol: &'a str,
}

/// Opens tokens.
#[derive(Debug, Clone, Copy)]
pub struct Verifier<'a> {
    /// Whom to believe.
    pub keys: &'a KeySet,
    /// Who we are, for tokens that name their audience; absent = such tokens are refused.
    pub audience: Option<&'a str>,
}

impl<'a> Verifier<'a> {
    /// Opens a token of either kind: a JWT has dots, a CWT in base64url has none. Its time is not looked at here.
    ///
    /// # Errors
    /// Why it grants nothing, whatever is asked for and whenever.
    pub fn open(&self, token: &str) -> Result<Grant, Reason> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(Reason::MalformedToken);
        }
        if token.contains('.') {
            jwt::open(self, token)
        } else {
            cat::open(self, token)
        }
    }

    /// Who calls, by a plain JWT (RFC 7519) in a bearer's place: its issuer. The token must be for us and have an end.
    ///
    /// # Errors
    /// Why its bearer is not believed at `now`.
    pub fn caller(&self, token: &str, now: Millis) -> Result<&'a str, Reason> {
        if token.len() > MAX_TOKEN {
            return Err(Reason::MalformedToken);
        }
        jwt::caller(self, token, now)
    }

    /// The issuer that a token names.
    pub(crate) fn issuer(&self, name: Option<&str>) -> Result<&'a Issuer, Reason> {
        name.and_then(|name| self.keys.issuer(name)).ok_or(Reason::Issuer)
    }
}

/// How a token is prolonged (RFC 9246 §3): by a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Seconds that the next token lives (`cdniets`).
    pub seconds: u64,
    /// Leading path segments of the cookie's path (`cdnistd`); 0 = all paths.
    pub depth: usize,
}

/// What a genuine token grants.
#[derive(Debug)]
pub struct Grant {
    pub(crate) issuer: String,
    pub(crate) times: Times,
    pub(crate) container: Container,
    /// Methods (`catm`); absent = GET and HEAD alike.
    pub(crate) methods: Option<Vec<String>>,
    /// Protocols (`catalpn`); absent = any.
    pub(crate) protocols: Option<Vec<Vec<u8>>>,
    pub(crate) renewal: Option<Renewal>,
    /// The claims as sent, for the next token; empty if there will be none.
    pub(crate) claims: Map<String, Value>,
}

impl Grant {
    /// Whether a request is granted now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, request: &Request<'_>, now: Millis) -> Result<(), Reason> {
        self.times.check(now)?;
        let method = |m: &String| m == request.method;
        if self.methods.as_ref().is_some_and(|all| !all.iter().any(method)) {
            return Err(Reason::Method);
        }
        let protocol = |p: &Vec<u8>| p.as_slice() == request.protocol.as_bytes();
        if self
            .protocols
            .as_ref()
            .is_some_and(|all| !all.iter().any(protocol))
        {
            return Err(Reason::Protocol);
        }
        if self.container.covers(request.uri) {
            Ok(())
        } else {
            Err(Reason::Address)
        }
    }

    /// Who made the token.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// First instant at which it grants nothing any more.
    pub fn end(&self) -> Option<Millis> {
        self.times.end
    }

    /// Whether the time has come to renew: less than half of what the next token would have is left.
    pub fn is_due(&self, now: Millis) -> bool {
        let half = |r: Renewal| i64::try_from(r.seconds.saturating_mul(500)).unwrap_or(i64::MAX);
        match (self.renewal, self.times.end) {
            (Some(renewal), Some(end)) => end.saturating_sub(now) < half(renewal),
            _ => false,
        }
    }

    /// The value of a `Set-Cookie` field with the next token (RFC 9246 §3.3), made by the issuer's signing key. It ends
    /// `cdniets` after now, not after the last one's end: nobody can hoard time.
    ///
    /// Absent if the token asks for none, the path has too few segments, or the issuer has no key here that signs.
    pub fn renew(
        &self,
        attribute: &str,
        keys: &KeySet,
        uri: &Uri,
        now: Millis,
        random: &dyn SecureRandom,
    ) -> Option<String> {
        let renewal = self.renewal?;
        let path = cookie_path(uri.path(), renewal.depth)?;
        let signer = keys.issuer(&self.issuer)?.signer()?;
        let mut claims = self.claims.clone();
        let now = u64::try_from(now).ok()? / 1000;
        claims.insert("exp".to_owned(), now.saturating_add(renewal.seconds).into());
        if claims.contains_key("iat") {
            claims.insert("iat".to_owned(), now.into());
        }
        let token = jwt::sign(signer, &claims, random)?;
        let secure = if uri.scheme() == "https" { "; Secure" } else { "" };
        Some(format!("{attribute}={token}; Path={path}{secure}; HttpOnly"))
    }
}

/// The first `depth` segments of a path.
fn cookie_path(path: &str, depth: usize) -> Option<&str> {
    if depth == 0 {
        return Some("/");
    }
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let begun = slashes.nth(depth - 1)?;
    let end = slashes.next().unwrap_or(path.len());
    // A segment that is not there has nothing after its slash.
    (end > begun + 1).then_some(&path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_path_has_as_many_segments_as_asked_for() {
        for (path, depth, wanted) in [
            ("/t/a/1/x", 0, Some("/")),
            ("/t/a/1/x", 1, Some("/t")),
            ("/t/a/1/x", 3, Some("/t/a/1")),
            ("/t/a/1/x", 4, Some("/t/a/1/x")),
            ("/t/a/1/x", 5, None),
            ("/t/", 1, Some("/t")),
            ("/t/", 2, None),
            ("/", 1, None),
        ] {
            assert_eq!(cookie_path(path, depth), wanted, "{path} {depth}");
        }
    }
}
