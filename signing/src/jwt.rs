//! URI signing (RFC 9246): a JWT in compact form (RFC 7515 §3.1), whose claims say for which addresses it is good.

use crate::{
    Millis, Reason,
    claims::{Times, check_audience, millis},
    container::Container,
    grant::{Grant, Renewal, Verifier},
    keys::{Issuer, Key},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::SecureRandom;
use serde_json::{Map, Value, json};

/// Verifies and reads a token.
pub(crate) fn open(verifier: &Verifier<'_>, token: &str) -> Result<Grant, Reason> {
    let (issuer, claims) = verified(verifier, token)?;
    check_version(&claims)?;
    check_audience(audience(&claims)?.as_deref(), verifier.audience)?;
    let renewal = renewal(&claims)?;
    Ok(Grant {
        issuer: issuer.name().to_owned(),
        times: times(&claims)?,
        container: container(&claims)?,
        methods: None,
        protocols: None,
        renewal,
        claims: if renewal.is_some() { claims } else { Map::new() },
    })
}

/// The issuer of a token that says who calls, and no more.
pub(crate) fn caller<'a>(verifier: &Verifier<'a>, token: &str, now: Millis) -> Result<&'a str, Reason> {
    let (issuer, claims) = verified(verifier, token)?;
    let audience = audience(&claims)?.ok_or(Reason::Audience)?;
    check_audience(Some(&audience), verifier.audience)?;
    let times = times(&claims)?;
    times.end.ok_or(Reason::Expired)?;
    times.check(now)?;
    Ok(issuer.name())
}

/// What an issuer that we know has signed: from here on it speaks, not a stranger.
fn verified<'a>(verifier: &Verifier<'a>, token: &str) -> Result<(&'a Issuer, Map<String, Value>), Reason> {
    let (signed, signature) = token.rsplit_once('.').ok_or(Reason::MalformedToken)?;
    let (header, payload) = signed.split_once('.').ok_or(Reason::MalformedToken)?;
    let header = object(header)?;
    let claims = object(payload)?;
    let signature = decode(signature)?;
    let issuer = verifier.issuer(claims.get("iss").and_then(Value::as_str))?;
    check_signature(issuer, &header, signed.as_bytes(), &signature)?;
    Ok((issuer, claims))
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::MalformedToken)
}

fn object(part: &str) -> Result<Map<String, Value>, Reason> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Reason::MalformedToken)
}

/// The header only chooses among the issuer's keys; the algorithm is the key's, whatever the header says.
fn check_signature(
    issuer: &Issuer,
    header: &Map<String, Value>,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), Reason> {
    if header.contains_key("crit") {
        return Err(Reason::Critical); // RFC 7515 §4.1.11: we know no extension
    }
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let fits = |key: &&Key| key.algorithm().name() == algorithm;
    let good = match header.get("kid") {
        Some(Value::String(id)) => {
            let key = issuer.key(id).ok_or(Reason::UnknownKey)?;
            if !fits(&key) {
                return Err(Reason::Algorithm);
            }
            key.verifies(signed, signature)
        }
        Some(_) => return Err(Reason::MalformedToken),
        None => {
            let mut keys = issuer.keys().iter().filter(fits).peekable();
            if keys.peek().is_none() {
                return Err(Reason::Algorithm);
            }
            keys.any(|key| key.verifies(signed, signature))
        }
    };
    if good { Ok(()) } else { Err(Reason::Signature) }
}

fn check_version(claims: &Map<String, Value>) -> Result<(), Reason> {
    if claims.get("cdniv").is_some_and(|v| v.as_u64() != Some(1)) {
        return Err(Reason::Version);
    }
    // Extensions: we know none, and the RFC's own claims must not be listed (§2.1.9).
    if claims.contains_key("cdnicrit") {
        return Err(Reason::Critical);
    }
    if claims.contains_key("cdniip") {
        return Err(Reason::ClientIp);
    }
    // Appliances have no common memory of what was used.
    if claims.contains_key("jti") {
        return Err(Reason::OneTime);
    }
    Ok(())
}

fn audience(claims: &Map<String, Value>) -> Result<Option<Vec<&str>>, Reason> {
    match claims.get("aud") {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(vec![name])),
        Some(Value::Array(names)) => {
            let names = names.iter().map(Value::as_str).collect::<Option<_>>();
            names.map(Some).ok_or(Reason::Audience)
        }
        Some(_) => Err(Reason::Audience),
    }
}

fn times(claims: &Map<String, Value>) -> Result<Times, Reason> {
    let time = |name: &str, round_up, reason| -> Result<Option<Millis>, Reason> {
        let Some(value) = claims.get(name) else {
            return Ok(None);
        };
        let millis = value.as_f64().and_then(|seconds| millis(seconds, round_up));
        millis.map(Some).ok_or(reason)
    };
    Ok(Times {
        end: time("exp", false, Reason::Expired)?,
        start: time("nbf", true, Reason::NotBefore)?,
    })
}

fn container(claims: &Map<String, Value>) -> Result<Container, Reason> {
    let text = claims.get("cdniuc").and_then(Value::as_str);
    Container::parse(text.ok_or(Reason::Address)?)
}

/// Both claims or none (§3.2.1). Transport 2 is for redirects between CDNs, which are none of ours: no renewal.
fn renewal(claims: &Map<String, Value>) -> Result<Option<Renewal>, Reason> {
    let depth = match claims.get("cdnistd") {
        None => 0,
        Some(depth) => depth.as_u64().ok_or(Reason::Renewal)?,
    };
    match (claims.get("cdnistt"), claims.get("cdniets")) {
        (None, None) => Ok(None),
        (Some(transport), Some(seconds)) => {
            let seconds = seconds.as_f64().filter(|s| *s >= 0.0).ok_or(Reason::Renewal)?;
            match transport.as_u64() {
                Some(0 | 2) => Ok(None),
                Some(1) => Ok((seconds >= 1.0).then_some(Renewal {
                    seconds: seconds as u64,
                    depth: usize::try_from(depth).unwrap_or(usize::MAX),
                })),
                _ => Err(Reason::Renewal),
            }
        }
        // Apache Traffic Server writes 0 for what a token had not; alone it asks for nothing.
        (Some(none), None) | (None, Some(none)) if none.as_f64() == Some(0.0) => Ok(None),
        _ => Err(Reason::Renewal),
    }
}

/// Makes a token of any claims. Absent if the key only verifies, or `random` fails.
pub(crate) fn sign(key: &Key, claims: &Map<String, Value>, random: &dyn SecureRandom) -> Option<String> {
    let header = json!({"alg": key.algorithm().name(), "kid": key.id()});
    let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_string(claims).ok()?, &mut token);
    let signature = key.sign(token.as_bytes(), random)?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}
