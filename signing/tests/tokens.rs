//! A table of tokens, good and bad, and what must be said of each; and that no token ever opens an address outside of
//! what it was made for.

#![allow(clippy::unwrap_used)] // a test

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::{digest, hmac, rand::SystemRandom};
use serde_json::{Value, json};
use std::sync::LazyLock;
use url_signing::{
    Address, KeySet, Life, Reason, Renewal, Request, Uri, Verifier, find_in_target, mint_cat, mint_jwt,
    sign_jwt,
};

/// 2026-11-26T00:00:00Z.
const NOW: i64 = 1_795_651_200;

const KEYS: &str = r#"{
  "studio": {"renewal_kid": "ec", "keys": [
    {"kty":"oct","kid":"old","alg":"HS256","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"},
    {"kty":"EC","crv":"P-256","kid":"ec","x":"be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8",
     "y":"rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA","d":"yaowezrCLTU6yIwUL5RQw67cHgvZeMTLVZXjUGb1A1M"}]},
  "other": {"renewal_kid": "o", "keys": [
    {"kty":"oct","kid":"o","k":"fZBpDBNbk2GqhwoB_DGBAsBxqQZVix04rIoLJ7p_RlE"}]},
  "public": {"keys": [
    {"kty":"EC","crv":"P-256","kid":"p","x":"be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8",
     "y":"rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA"}]}
}"#;

static SET: LazyLock<KeySet> = LazyLock::new(|| KeySet::parse(KEYS, &SystemRandom::new()).unwrap());

fn sign_as(issuer: &str, kid: &str, claims: &Value) -> String {
    let key = SET.issuer(issuer).unwrap().key(kid).unwrap();
    sign_jwt(key, claims, &SystemRandom::new()).unwrap()
}

fn base64(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// What an appliance does, at `NOW`: find, remove, normalise, open, check.
fn ask(target: &str) -> Result<(), Reason> {
    let carried = find_in_target("URISigningPackage", target)?.ok_or(Reason::Missing)?;
    let uri = Uri::new("http", "oca-1.example:8080", &carried.target)?;
    check(carried.token, &uri)
}

fn check(token: &str, uri: &Uri) -> Result<(), Reason> {
    let verifier = Verifier {
        keys: &SET,
        audience: Some("nightfill"),
    };
    let request = Request {
        uri,
        method: "GET",
        protocol: "h2",
    };
    verifier.open(token)?.check(&request, NOW * 1000)
}

/// Claims for `/t/a/1/`, with `changes` over them; null takes a claim away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "studio", "exp": NOW + 60, "cdniv": 1,
        "cdniuc": "regex:[^:]*://[^/?#]*/t/a/1/.*",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[test]
fn claims_are_enforced_one_by_one() {
    let hash = |uri: &str| {
        format!(
            "hash:sha-256;{}",
            base64(digest::digest(&digest::SHA256, uri.as_bytes()))
        )
    };
    let table: Vec<(Value, Result<(), Reason>)> = vec![
        (json!({}), Ok(())),
        (json!({"exp": NOW + 1}), Ok(())),
        (json!({"exp": NOW}), Err(Reason::Expired)),
        (json!({"exp": NOW - 1}), Err(Reason::Expired)),
        (json!({"exp": NOW as f64 + 0.5}), Ok(())),
        (json!({"exp": 0}), Err(Reason::Expired)),
        (json!({"exp": -1}), Err(Reason::Expired)),
        (json!({"exp": "tomorrow"}), Err(Reason::Expired)),
        (json!({"exp": null}), Ok(())),
        (json!({"nbf": NOW}), Ok(())),
        (json!({"nbf": NOW + 1}), Err(Reason::NotBefore)),
        (json!({"nbf": "now"}), Err(Reason::NotBefore)),
        (json!({"iat": NOW + 500}), Ok(())),
        (json!({"iss": "nobody"}), Err(Reason::Issuer)),
        (json!({"iss": null}), Err(Reason::Issuer)),
        (json!({"iss": ["studio"]}), Err(Reason::Issuer)),
        (json!({"aud": "nightfill"}), Ok(())),
        (json!({"aud": ["x", "nightfill"]}), Ok(())),
        (json!({"aud": "Nightfill"}), Err(Reason::Audience)),
        (json!({"aud": []}), Err(Reason::Audience)),
        (json!({"aud": [1]}), Err(Reason::Audience)),
        (json!({"aud": 1}), Err(Reason::Audience)),
        (json!({"cdniv": null}), Ok(())),
        (json!({"cdniv": 2}), Err(Reason::Version)),
        (json!({"cdniv": "1"}), Err(Reason::Version)),
        (json!({"cdnicrit": "new", "new": 1}), Err(Reason::Critical)),
        (json!({"cdnicrit": ""}), Err(Reason::Critical)),
        (json!({"cdnicrit": "exp"}), Err(Reason::Critical)),
        (json!({"new": 1}), Ok(())),
        (json!({"cdniip": "ey.."}), Err(Reason::ClientIp)),
        (json!({"jti": "once"}), Err(Reason::OneTime)),
        (json!({"cdniuc": null}), Err(Reason::Address)),
        (json!({"cdniuc": 1}), Err(Reason::Address)),
        (json!({"cdniuc": ""}), Err(Reason::Address)),
        (
            json!({"cdniuc": "uri:http://oca-1.example:8080/t/a/1/v.mp4"}),
            Err(Reason::Address),
        ),
        (
            json!({"cdniuc": "regex:http://oca-1\\.example:8080/t/a/1/v\\.mp4"}),
            Ok(()),
        ),
        (
            json!({"cdniuc": "regex:http://oca-1\\.example/t/a/1/v\\.mp4"}),
            Err(Reason::Address),
        ),
        (json!({"cdniuc": "regex:/t/a/1/.*"}), Err(Reason::Address)),
        (json!({"cdniuc": "regex:.*/t/a/1/v"}), Err(Reason::Address)),
        (json!({"cdniuc": "regex:.*(/t/a/1"}), Err(Reason::Address)),
        (json!({"cdniuc": "regex:x)|(.*"}), Err(Reason::Address)),
        (
            json!({"cdniuc": format!("regex:{}", "(a{99}){999}")}),
            Err(Reason::Address),
        ),
        (
            json!({"cdniuc": hash("http://oca-1.example:8080/t/a/1/v.mp4")}),
            Ok(()),
        ),
        (
            json!({"cdniuc": hash("http://oca-1.example:8080/t/a/1/w.mp4")}),
            Err(Reason::Address),
        ),
        (json!({"cdniuc": "hash:sha-512;AAAA"}), Err(Reason::Address)),
        (json!({"cdnistt": 1, "cdniets": 30}), Ok(())),
        (json!({"cdnistt": 1}), Err(Reason::Renewal)),
        (json!({"cdniets": 30}), Err(Reason::Renewal)),
        (json!({"cdnistt": 3, "cdniets": 30}), Err(Reason::Renewal)),
        (json!({"cdnistt": 1, "cdniets": "30"}), Err(Reason::Renewal)),
        (
            json!({"cdnistt": 1, "cdniets": 30, "cdnistd": -1}),
            Err(Reason::Renewal),
        ),
        (json!({"cdnistt": 0, "cdniets": 30}), Ok(())),
    ];
    assert!(table.len() >= 40);
    for (changes, wanted) in table {
        for kid in ["ec", "old"] {
            let token = sign_as("studio", kid, &claims(&changes));
            let got = ask(&format!("/t/a/1/v.mp4?URISigningPackage={token}"));
            assert_eq!(got, wanted, "{kid}: {changes}");
        }
    }
}

#[test]
fn addresses_cannot_be_dressed_up() {
    let token = sign_as("studio", "ec", &claims(&json!({})));
    let package = format!("URISigningPackage={token}");
    for (target, wanted) in [
        (format!("/t/a/1/v.mp4?{package}"), Ok(())),
        (format!("/t;{package}/a/1/v.mp4"), Ok(())),
        (format!("/t/a/1/v.mp4;{package}"), Ok(())),
        (format!("/t/a/1/v.mp4?x=1&{package}&y=2"), Ok(())),
        (format!("/t/a/1/d/../v.mp4?{package}"), Ok(())),
        (format!("/t/%61/1/v.mp4?{package}"), Ok(())),
        (format!("http://h/t/a/1/v.mp4?{package}"), Ok(())),
        ("/t/a/1/v.mp4".to_owned(), Err(Reason::Missing)),
        (format!("/t/b/1/v.mp4?{package}"), Err(Reason::Address)),
        (format!("/t/a/1?{package}"), Err(Reason::Address)),
        (format!("/t/a/11/v.mp4?{package}"), Err(Reason::Address)),
        (format!("/T/a/1/v.mp4?{package}"), Err(Reason::Address)),
        (format!("/t/a/1/../2/v.mp4?{package}"), Err(Reason::Address)),
        (format!("/t/a/1/%2e%2e/2/v.mp4?{package}"), Err(Reason::Address)),
        (format!("/t/a/1/%2E./2/v.mp4?{package}"), Err(Reason::Address)),
        // A file of that odd name below the folder, for whoever serves it.
        (format!("/t/a/1/%252e%252e/2/v.mp4?{package}"), Ok(())),
        (
            format!("/t/a/1/..%2F2/v.mp4?{package}"),
            Err(Reason::MalformedUri),
        ),
        (format!("/t/a/1%2Fv.mp4?{package}"), Err(Reason::MalformedUri)),
        (
            format!("/t/a/1//../../b/v.mp4?{package}"),
            Err(Reason::MalformedUri),
        ),
        (format!("//t/a/1/v.mp4?{package}"), Err(Reason::MalformedUri)),
        (format!("/t/a/1/v.mp4%00?{package}"), Err(Reason::MalformedUri)),
        (format!("/../t/a/1/v.mp4?{package}"), Err(Reason::MalformedUri)),
        (format!("/t/a/1/v.mp4#?{package}"), Err(Reason::MalformedUri)),
        (format!("/secret?x=/t/a/1/v.mp4&{package}"), Err(Reason::Address)),
        (format!("/x/t/a/1/v.mp4?{package}"), Err(Reason::Address)),
        (format!("http://h?/t/a/1/v.mp4&{package}"), Err(Reason::Address)),
        (
            format!("/t;{package}/a/1/v.mp4?{package}"),
            Err(Reason::TwoTokens),
        ),
        (
            format!("/t/a/1/v.mp4?{package}&URISigningPackage=x"),
            Err(Reason::TwoTokens),
        ),
        (
            format!("/t/a/1/v.mp4?urisigningpackage={token}"),
            Err(Reason::Missing),
        ),
    ] {
        assert_eq!(ask(&target), wanted, "{target}");
    }
}

#[test]
fn signatures_cannot_be_forged_or_confused() {
    let good = claims(&json!({}));
    let payload = base64(good.to_string());
    let with_header =
        |header: Value, signature: &str| format!("{}.{payload}.{signature}", base64(header.to_string()));
    let es256 = sign_as("studio", "ec", &good);
    let parts: Vec<&str> = es256.split('.').collect();
    let point = [
        &[4][..],
        &URL_SAFE_NO_PAD
            .decode("be807S4O7dzB6I4hTiCUvmxCI6FuxWba1xYBlLSSsZ8")
            .unwrap(),
        &URL_SAFE_NO_PAD
            .decode("rOGC4vI69g-WF9AGEVI37sNNwbjIzBxSjLvIL7f3RBA")
            .unwrap(),
    ]
    .concat();
    // The classic: a public key taken for a secret.
    let confused = |kid: Option<&str>, issuer: &str| {
        let header = kid.map_or(json!({"alg": "HS256"}), |kid| json!({"alg": "HS256", "kid": kid}));
        let payload = base64(claims(&json!({"iss": issuer})).to_string());
        let signed = format!("{}.{payload}", base64(header.to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &point);
        format!("{signed}.{}", base64(hmac::sign(&key, signed.as_bytes())))
    };
    let by_other = sign_as("other", "o", &good);
    for (token, wanted) in [
        (es256.clone(), Ok(())),
        (with_header(json!({"alg": "none"}), ""), Err(Reason::Algorithm)),
        (
            with_header(json!({"alg": "none", "kid": "ec"}), ""),
            Err(Reason::Algorithm),
        ),
        (
            with_header(json!({"alg": "NONE", "kid": "ec"}), parts[2]),
            Err(Reason::Algorithm),
        ),
        (
            with_header(json!({"kid": "ec"}), parts[2]),
            Err(Reason::Algorithm),
        ),
        (
            with_header(json!({"alg": "RS256", "kid": "ec"}), parts[2]),
            Err(Reason::Algorithm),
        ),
        (
            with_header(json!({"alg": "ES256", "kid": "gone"}), parts[2]),
            Err(Reason::UnknownKey),
        ),
        (
            with_header(json!({"alg": "ES256", "kid": 1}), parts[2]),
            Err(Reason::MalformedToken),
        ),
        (
            with_header(
                json!({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": false}),
                parts[2],
            ),
            Err(Reason::Critical),
        ),
        (
            with_header(json!({"alg": "ES256", "kid": "ec", "typ": "JWT"}), parts[2]),
            Err(Reason::Signature),
        ),
        (confused(Some("ec"), "studio"), Err(Reason::Algorithm)),
        (confused(None, "studio"), Err(Reason::Signature)),
        (confused(None, "public"), Err(Reason::Algorithm)),
        (by_other, Err(Reason::UnknownKey)),
        (format!("{}.{}.", parts[0], parts[1]), Err(Reason::Signature)),
        (format!("{}.{}", parts[0], parts[1]), Err(Reason::MalformedToken)),
        (format!("{es256}.x"), Err(Reason::MalformedToken)),
        (es256[..es256.len() - 6].to_owned(), Err(Reason::Signature)),
        (
            format!("{}.{}.{}", parts[0], base64("[]"), parts[2]),
            Err(Reason::MalformedToken),
        ),
        ("..".to_owned(), Err(Reason::MalformedToken)),
        (String::new(), Err(Reason::MalformedToken)),
        ("x".to_owned(), Err(Reason::MalformedToken)),
        (
            format!("{es256}{}", "x".repeat(5000)),
            Err(Reason::MalformedToken),
        ),
    ] {
        assert_eq!(
            ask(&format!("/t/a/1/v.mp4?URISigningPackage={token}")),
            wanted,
            "{token}"
        );
    }
}

#[test]
fn every_altered_character_is_refused() {
    let uri = Uri::new("http", "h", "/t/a/1/v").unwrap();
    let end = (NOW + 9) * 1000;
    let random = SystemRandom::new();
    let life = Life { end, renewal: None };
    for issuer in ["studio", "other"].map(|name| SET.issuer(name).unwrap()) {
        for token in [
            mint_jwt(issuer, Address::Below("/t/a/1"), life, None, &random).unwrap(),
            mint_cat(issuer, "/t/a/1", end, Some("nightfill"), &random).unwrap(),
        ] {
            assert_eq!(check(&token, &uri), Ok(()), "{token}");
            assert_eq!(
                check(&token, &Uri::new("http", "h", "/t/a/2/v").unwrap()),
                Err(Reason::Address)
            );
            for at in 0..token.len() {
                let mut altered = token.clone().into_bytes();
                altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
                assert!(
                    check(std::str::from_utf8(&altered).unwrap(), &uri).is_err(),
                    "character {at} of {token}"
                );
                assert!(check(&token[..at], &uri).is_err(), "the first {at} of {token}");
            }
        }
    }
}

#[test]
fn a_renewed_token_lives_from_now_and_is_good_for_the_same_addresses() {
    let uri = Uri::new("https", "h", "/t/a/1/v.mp4?x").unwrap();
    let random = SystemRandom::new();
    let verifier = Verifier {
        keys: &SET,
        audience: None,
    };
    let issuer = SET.issuer("studio").unwrap();
    let renewal = Renewal {
        seconds: 100,
        depth: 3,
    };
    let life = Life {
        end: (NOW + 60) * 1000,
        renewal: Some(renewal),
    };
    let token = mint_jwt(issuer, Address::Below("/t/a/1"), life, None, &random).unwrap();
    let grant = verifier.open(&token).unwrap();
    assert!(!grant.is_due(NOW * 1000) && grant.is_due((NOW + 11) * 1000));
    let later = (NOW + 50) * 1000;
    let cookie = grant.renew("P", &SET, &uri, later, &random).unwrap();
    let (next, attributes) = cookie.strip_prefix("P=").unwrap().split_once(';').unwrap();
    assert_eq!(attributes, " Path=/t/a/1; Secure; HttpOnly");
    let next = verifier.open(next).unwrap();
    assert_eq!(next.end(), Some((NOW + 150) * 1000));
    let request = Request {
        uri: &uri,
        method: "GET",
        protocol: "h3",
    };
    assert_eq!(next.check(&request, (NOW + 149) * 1000), Ok(()));
    assert_eq!(next.check(&request, (NOW + 150) * 1000), Err(Reason::Expired));

    let short = Uri::new("https", "h", "/t/a").unwrap();
    assert!(
        grant.renew("P", &SET, &short, later, &random).is_none(),
        "fewer segments than cdnistd"
    );
    let without = verifier
        .open(&sign_as("studio", "ec", &claims(&json!({}))))
        .unwrap();
    assert!(without.renew("P", &SET, &uri, later, &random).is_none() && !without.is_due(later));
}

#[test]
fn codes_and_names_are_told_apart() {
    let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Reason::ALL.len());
    assert!(
        Reason::ALL
            .iter()
            .all(|r| r.code().len() == 3 && r.code() != Reason::VERIFIED)
    );
}

proptest! {
    /// Whatever is asked for: what is granted is below the folder, however a server decodes it.
    #[test]
    fn no_path_outside_the_folder_is_ever_granted(
        target in "(/t/a/1)?(/|%2[eEfF]|\\.|\\.\\.|%5c|%25|;|\\?|#|[at1b]){0,16}"
    ) {
        let end = (NOW + 60) * 1000;
        let issuer = SET.issuer("other").unwrap();
        let random = SystemRandom::new();
        let jwt = mint_jwt(issuer, Address::Below("/t/a/1"), Life { end, renewal: None }, None, &random).unwrap();
        let cat = mint_cat(issuer, "/t/a/1", end, None, &random).unwrap();
        for token in [jwt, cat] {
            let Ok(uri) = Uri::new("http", "h", &target) else { continue };
            if check(&token, &uri).is_ok() {
                let path = target.split(['?', '#']).next().unwrap();
                let decoded = path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/");
                let mut kept = Vec::new();
                for segment in decoded.split('/') {
                    match segment {
                        "" | "." => {}
                        ".." => { prop_assert!(kept.pop().is_some()); }
                        name => kept.push(name),
                    }
                }
                prop_assert!(kept.starts_with(&["t", "a", "1"]), "{target} by {token}");
            }
        }
    }
}
