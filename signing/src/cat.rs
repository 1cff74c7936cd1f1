//! The Common Access Token (CTA-5007-B): a CWT (RFC 8392) in a COSE_Mac0 or COSE_Sign1 (RFC 9052), in base64url.
//!
//! A claim that restricts and is not understood must not be passed over, so the claims that may be passed over are
//! listed here, and every other one is refused.

use crate::{
    Millis, Reason,
    claims::{Times, check_audience, millis},
    container::{Container, Part, Test},
    grant::{Grant, Verifier},
    keys::{Algorithm, Issuer, Key},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ciborium::Value;
use coset::{
    CborSerializable, CoseMac0, CoseMac0Builder, CoseSign1, CoseSign1Builder, Header, HeaderBuilder,
    RegisteredLabelWithPrivate, TaggedCborSerializable, iana,
};
use ring::rand::SecureRandom;

/// Tag of a CWT (RFC 8392 §6).
const CWT_TAG: &[u8] = &[0xd8, 61];

const ISS: i128 = 1;
const SUB: i128 = 2;
const AUD: i128 = 3;
const EXP: i128 = 4;
const NBF: i128 = 5;
const IAT: i128 = 6;
const CTI: i128 = 7;
const CATREPLAY: i128 = 308;
const CATV: i128 = 310;
const CATNIP: i128 = 311;
const CATU: i128 = 312;
const CATM: i128 = 313;
const CATALPN: i128 = 314;
const CATIF: i128 = 322;
const CATR: i128 = 323;

/// Either frame, after its tag.
enum Frame {
    Mac(CoseMac0),
    Sign(CoseSign1),
}

impl Frame {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(CWT_TAG).unwrap_or(bytes);
        // 0xd1 is tag 17, 0xd2 tag 18 (RFC 9052 §2); without a tag nothing says which of the two it is.
        match bytes.first()? {
            0xd1 => CoseMac0::from_tagged_slice(bytes).ok().map(Self::Mac),
            0xd2 => CoseSign1::from_tagged_slice(bytes).ok().map(Self::Sign),
            _ => None,
        }
    }

    fn headers(&self) -> (&Header, &Header) {
        match self {
            Self::Mac(mac) => (&mac.protected.header, &mac.unprotected),
            Self::Sign(sign) => (&sign.protected.header, &sign.unprotected),
        }
    }

    fn payload(&self) -> Option<&[u8]> {
        match self {
            Self::Mac(mac) => mac.payload.as_deref(),
            Self::Sign(sign) => sign.payload.as_deref(),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Mac(_) => Algorithm::Hs256,
            Self::Sign(_) => Algorithm::Es256,
        }
    }

    fn is_signed_by(&self, key: &Key) -> bool {
        let verify = |signature: &[u8], message: &[u8]| {
            if key.verifies(message, signature) {
                Ok(())
            } else {
                Err(())
            }
        };
        match self {
            Self::Mac(mac) => mac.verify_payload_tag(&[], || (), verify).is_ok(),
            Self::Sign(sign) => sign.verify_signature(&[], verify).is_ok(),
        }
    }
}

/// Verifies and reads a token.
pub(crate) fn open(verifier: &Verifier<'_>, token: &str) -> Result<Grant, Reason> {
    let bytes = URL_SAFE_NO_PAD
        .decode(token.trim_end_matches('='))
        .map_err(|_| Reason::MalformedToken)?;
    let frame = Frame::parse(&bytes).ok_or(Reason::MalformedToken)?;
    // Without a payload coset's verification would panic.
    let payload = frame.payload().ok_or(Reason::MalformedToken)?;
    let claims = Claims::parse(payload)?;
    let issuer = verifier.issuer(claims.get(ISS).and_then(Value::as_text))?;
    check_signature(&frame, issuer)?;
    claims.check_known()?;
    check_audience(claims.audience()?.as_deref(), verifier.audience)?;
    Ok(Grant {
        issuer: issuer.name().to_owned(),
        times: Times {
            end: claims.time(EXP, false, Reason::Expired)?,
            start: claims.time(NBF, true, Reason::NotBefore)?,
        },
        container: claims.container()?,
        methods: claims.methods()?,
        protocols: claims.protocols()?,
        renewal: None,
        claims: serde_json::Map::new(),
    })
}

fn check_signature(frame: &Frame, issuer: &Issuer) -> Result<(), Reason> {
    let (protected, unprotected) = frame.headers();
    if !protected.crit.is_empty() || !unprotected.crit.is_empty() {
        return Err(Reason::Critical);
    }
    if protected.alg
        != Some(RegisteredLabelWithPrivate::Assigned(cose_algorithm(
            frame.algorithm(),
        )))
    {
        return Err(Reason::Algorithm);
    }
    let id = [protected, unprotected]
        .into_iter()
        .map(|h| &h.key_id)
        .find(|id| !id.is_empty());
    let good = match id {
        Some(id) => {
            let id = std::str::from_utf8(id).map_err(|_| Reason::UnknownKey)?;
            let key = issuer.key(id).ok_or(Reason::UnknownKey)?;
            if key.algorithm() != frame.algorithm() {
                return Err(Reason::Algorithm);
            }
            frame.is_signed_by(key)
        }
        None => {
            let mut keys = issuer
                .keys()
                .iter()
                .filter(|k| k.algorithm() == frame.algorithm());
            keys.any(|key| frame.is_signed_by(key))
        }
    };
    if good { Ok(()) } else { Err(Reason::Signature) }
}

fn cose_algorithm(algorithm: Algorithm) -> iana::Algorithm {
    match algorithm {
        Algorithm::Hs256 => iana::Algorithm::HMAC_256_256,
        Algorithm::Es256 => iana::Algorithm::ES256,
    }
}

/// The claims by their numbers.
struct Claims(Vec<(Value, Value)>);

impl Claims {
    fn parse(payload: &[u8]) -> Result<Self, Reason> {
        let value = Value::from_slice(payload).map_err(|_| Reason::MalformedToken)?;
        Ok(Self(value.into_map().map_err(|_| Reason::MalformedToken)?))
    }

    fn get(&self, claim: i128) -> Option<&Value> {
        self.0
            .iter()
            .find(|(key, _)| number(key) == Some(claim))
            .map(|(_, value)| value)
    }

    /// Refuses every claim that restricts in a way that is not understood, and every claim that stands there twice.
    fn check_known(&self) -> Result<(), Reason> {
        for (at, (key, value)) in self.0.iter().enumerate() {
            if self.0[..at].iter().any(|(before, _)| before == key) {
                return Err(Reason::MalformedToken);
            }
            match number(key).ok_or(Reason::Critical)? {
                ISS | AUD | EXP | NBF | CATU | CATM | CATALPN => {}
                // These restrict nothing: who and when it was made for, its name, what to answer if it is refused,
                // how its issuer would prolong it.
                SUB | IAT | CTI | CATIF | CATR => {}
                CATV if number(value) == Some(1) => {}
                CATV => return Err(Reason::Version),
                CATREPLAY if number(value) == Some(0) => {}
                CATREPLAY => return Err(Reason::OneTime),
                CATNIP => return Err(Reason::ClientIp),
                _ => return Err(Reason::Critical),
            }
        }
        Ok(())
    }

    fn time(&self, claim: i128, round_up: bool, reason: Reason) -> Result<Option<Millis>, Reason> {
        let Some(value) = self.get(claim) else {
            return Ok(None);
        };
        let seconds = match value {
            Value::Float(seconds) => Some(*seconds),
            value => number(value).map(|n| n as f64),
        };
        seconds.and_then(|s| millis(s, round_up)).map(Some).ok_or(reason)
    }

    fn audience(&self) -> Result<Option<Vec<&str>>, Reason> {
        match self.get(AUD) {
            None => Ok(None),
            Some(Value::Text(name)) => Ok(Some(vec![name])),
            Some(Value::Array(names)) => {
                let names = names.iter().map(Value::as_text).collect::<Option<_>>();
                names.map(Some).ok_or(Reason::Audience)
            }
            Some(_) => Err(Reason::Audience),
        }
    }

    /// `catu`, which is asked for: a token for everything is no token for an address.
    fn container(&self) -> Result<Container, Reason> {
        let parts = self.get(CATU).and_then(Value::as_map).ok_or(Reason::Address)?;
        let mut tests = Vec::new();
        for (part, matches) in parts {
            let part = number(part).and_then(Part::from_number).ok_or(Reason::Address)?;
            for (kind, value) in matches.as_map().ok_or(Reason::Address)? {
                tests.push((part, test(kind, value).ok_or(Reason::Address)?));
            }
        }
        if tests.is_empty() {
            return Err(Reason::Address);
        }
        Ok(Container::Parts(tests))
    }

    fn methods(&self) -> Result<Option<Vec<String>>, Reason> {
        self.list(CATM, Reason::Method, |v| v.as_text().map(str::to_owned))
    }

    fn protocols(&self) -> Result<Option<Vec<Vec<u8>>>, Reason> {
        self.list(CATALPN, Reason::Protocol, |v| match v {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Text(text) => Some(text.clone().into_bytes()),
            _ => None,
        })
    }

    fn list<T>(
        &self,
        claim: i128,
        reason: Reason,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Reason> {
        let Some(value) = self.get(claim) else {
            return Ok(None);
        };
        let items = value.as_array().ok_or(reason)?.iter().map(read);
        items.collect::<Option<_>>().map(Some).ok_or(reason)
    }
}

fn number(value: &Value) -> Option<i128> {
    value.as_integer().map(i128::from)
}

/// Regular expressions (4) and SHA-512/256 (-2) are not taken.
fn test(kind: &Value, value: &Value) -> Option<Test> {
    let text = || value.as_text().map(str::to_owned);
    Some(match number(kind)? {
        0 => Test::Exact(text()?),
        1 => Test::Prefix(text()?),
        2 => Test::Suffix(text()?),
        3 => Test::Contains(text()?),
        -1 => Test::Sha256(value.as_bytes()?.clone()),
        _ => return None,
    })
}

/// The claims of a token for the paths that begin with `prefix`.
pub(crate) fn prefix_claims(issuer: &str, prefix: &str, end: i64, audience: Option<&str>) -> Value {
    let key = |n: i128| Value::Integer(n.try_into().expect("claim numbers are small"));
    let path = Value::Map(vec![(key(1), prefix.into())]);
    let mut claims = vec![
        (key(ISS), issuer.into()),
        (key(EXP), end.into()),
        (key(CATV), 1.into()),
        (key(CATU), Value::Map(vec![(key(3), path)])),
    ];
    if let Some(audience) = audience {
        claims.push((key(AUD), audience.into()));
    }
    Value::Map(claims)
}

/// Frames, signs and encodes claims. Absent if the key only verifies, or `random` fails.
pub(crate) fn sign(key: &Key, claims: Value, random: &dyn SecureRandom) -> Option<String> {
    let payload = claims.to_vec().ok()?;
    let protected = HeaderBuilder::new()
        .algorithm(cose_algorithm(key.algorithm()))
        .key_id(key.id().as_bytes().to_vec())
        .build();
    let by_key = |message: &[u8]| key.sign(message, random).ok_or(());
    let framed = match key.algorithm() {
        Algorithm::Hs256 => {
            let frame = CoseMac0Builder::new().protected(protected).payload(payload);
            frame.try_create_tag(&[], by_key).ok()?.build().to_tagged_vec()
        }
        Algorithm::Es256 => {
            let frame = CoseSign1Builder::new().protected(protected).payload(payload);
            frame
                .try_create_signature(&[], by_key)
                .ok()?
                .build()
                .to_tagged_vec()
        }
    };
    let tagged = [CWT_TAG, &framed.ok()?].concat();
    Some(URL_SAFE_NO_PAD.encode(tagged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeySet, Request, Uri};
    use ring::rand::SystemRandom;

    const KEYS: &str = r#"{"a":{"keys":[
        {"kty":"oct","kid":"s","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"},
        {"kty":"EC","crv":"P-256","kid":"e","x":"be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8",
         "y":"rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA","d":"yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M"}]}}"#;
    const NOW: i64 = 1_000_000;

    fn keys() -> KeySet {
        KeySet::parse(KEYS, &SystemRandom::new()).unwrap()
    }

    fn int(n: i128) -> Value {
        Value::Integer(n.try_into().unwrap())
    }

    fn ask(token: &str) -> Result<(), Reason> {
        let verifier = Verifier {
            keys: &keys(),
            audience: Some("us"),
        };
        let uri = Uri::new("https", "h", "/t/a/1/v.mp4").unwrap();
        let request = Request {
            uri: &uri,
            method: "GET",
            protocol: "h2",
        };
        verifier.open(token)?.check(&request, NOW * 1000)
    }

    #[test]
    fn claims_are_enforced_one_by_one() {
        let catu = |part: i128, kind: i128, value: Value| {
            Value::Map(vec![(int(part), Value::Map(vec![(int(kind), value)]))])
        };
        let texts = |texts: &[&str]| Value::Array(texts.iter().map(|t| Value::from(*t)).collect());
        let table: Vec<(i128, Option<Value>, Result<(), Reason>)> = vec![
            (SUB, Some("someone".into()), Ok(())),
            (EXP, Some(int(NOW.into())), Err(Reason::Expired)),
            (EXP, Some(Value::Float(NOW as f64 + 0.5)), Ok(())),
            (EXP, Some("never".into()), Err(Reason::Expired)),
            (NBF, Some(int(i128::from(NOW) + 1)), Err(Reason::NotBefore)),
            (NBF, Some(int(NOW.into())), Ok(())),
            (ISS, None, Err(Reason::Issuer)),
            (ISS, Some("b".into()), Err(Reason::Issuer)),
            (AUD, Some("us".into()), Ok(())),
            (AUD, Some(texts(&["them", "us"])), Ok(())),
            (AUD, Some("them".into()), Err(Reason::Audience)),
            (AUD, Some(int(1)), Err(Reason::Audience)),
            (CATV, Some(int(2)), Err(Reason::Version)),
            (CATREPLAY, Some(int(0)), Ok(())),
            (CATREPLAY, Some(int(1)), Err(Reason::OneTime)),
            (CATNIP, Some(Value::Array(vec![])), Err(Reason::ClientIp)),
            (CATM, Some(texts(&["HEAD", "GET"])), Ok(())),
            (CATM, Some(texts(&["HEAD"])), Err(Reason::Method)),
            (CATM, Some("GET".into()), Err(Reason::Method)),
            (
                CATALPN,
                Some(Value::Array(vec![Value::Bytes(b"h2".to_vec())])),
                Ok(()),
            ),
            (CATALPN, Some(texts(&["h3"])), Err(Reason::Protocol)),
            (CATR, Some(Value::Map(vec![])), Ok(())),
            (CATIF, Some(Value::Map(vec![])), Ok(())),
            (316, Some(texts(&["SE"])), Err(Reason::Critical)),
            (-70001, Some(int(1)), Err(Reason::Critical)),
            (CATU, None, Err(Reason::Address)),
            (CATU, Some(Value::Map(vec![])), Err(Reason::Address)),
            (CATU, Some(catu(3, 0, "/t/a/1/v.mp4".into())), Ok(())),
            (CATU, Some(catu(3, 1, "/t/b/".into())), Err(Reason::Address)),
            (CATU, Some(catu(8, 2, "mp4".into())), Ok(())),
            (CATU, Some(catu(3, 3, "/a/".into())), Ok(())),
            (CATU, Some(catu(3, 4, texts(&[".*"]))), Err(Reason::Address)),
            (CATU, Some(catu(9, 0, "x".into())), Err(Reason::Address)),
            (
                CATU,
                Some(catu(1, -1, Value::Bytes(vec![0; 32]))),
                Err(Reason::Address),
            ),
        ];
        let keys = keys();
        for (claim, value, wanted) in table {
            for key in keys.issuers()[0].keys() {
                let Value::Map(mut claims) = prefix_claims("a", "/t/a/1/", NOW + 60, None) else {
                    panic!("a map")
                };
                claims.retain(|(k, _)| *k != int(claim));
                claims.extend(value.clone().map(|value| (int(claim), value)));
                let token = sign(key, Value::Map(claims), &SystemRandom::new()).unwrap();
                assert_eq!(ask(&token), wanted, "{claim}: {value:?} by {key:?}");
            }
        }
    }

    #[test]
    fn frames_that_are_odd_are_refused() {
        let keys = keys();
        let [secret, pair] = keys.issuers()[0].keys() else {
            panic!("two keys")
        };
        let claims = || prefix_claims("a", "/t/a/1/", NOW + 60, None);
        let mac = |header: Header, payload: Option<Vec<u8>>| {
            let mut frame = CoseMac0Builder::new().protected(header);
            if let Some(payload) = payload {
                frame = frame.payload(payload);
                frame = frame.create_tag(&[], |m| secret.sign(m, &SystemRandom::new()).unwrap());
            }
            URL_SAFE_NO_PAD.encode(frame.build().to_tagged_vec().unwrap())
        };
        let payload = || Some(claims().to_vec().unwrap());
        let alg = |a| HeaderBuilder::new().algorithm(a);
        let hs256 = || alg(iana::Algorithm::HMAC_256_256);
        let twice = Value::Map(vec![(int(ISS), "a".into()), (int(ISS), "b".into())]);
        for (token, wanted) in [
            (mac(hs256().build(), payload()), Ok(())),
            (mac(hs256().key_id(b"s".to_vec()).build(), payload()), Ok(())),
            (
                mac(hs256().key_id(b"e".to_vec()).build(), payload()),
                Err(Reason::Algorithm),
            ),
            (
                mac(hs256().key_id(b"x".to_vec()).build(), payload()),
                Err(Reason::UnknownKey),
            ),
            (
                mac(alg(iana::Algorithm::ES256).build(), payload()),
                Err(Reason::Algorithm),
            ),
            (
                mac(HeaderBuilder::new().build(), payload()),
                Err(Reason::Algorithm),
            ),
            (
                mac(
                    hs256().add_critical(iana::HeaderParameter::Alg).build(),
                    payload(),
                ),
                Err(Reason::Critical),
            ),
            (mac(hs256().build(), None), Err(Reason::MalformedToken)),
            (
                mac(hs256().build(), Some(vec![0xff])),
                Err(Reason::MalformedToken),
            ),
            (
                mac(hs256().build(), Some(twice.to_vec().unwrap())),
                Err(Reason::MalformedToken),
            ),
            (URL_SAFE_NO_PAD.encode([0xd8, 61]), Err(Reason::MalformedToken)),
            (URL_SAFE_NO_PAD.encode([0xd2, 0x84]), Err(Reason::MalformedToken)),
        ] {
            assert_eq!(ask(&token), wanted, "{token}");
        }
        assert_eq!(ask(&sign(pair, claims(), &SystemRandom::new()).unwrap()), Ok(()));
    }
}
