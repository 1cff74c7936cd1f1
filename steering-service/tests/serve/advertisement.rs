//! What upstream networks are told, and who is told.

use super::{
    fixture::{fleet, with_state},
    program::Program,
};
use cdn_types::api::v1::{ApplianceState, FleetSnapshot};
use reqwest::{Response, header};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};
use url_signing::{KeySet, sign_jwt};

const KEYS: &str = r#"{"upstream.example":{"renewal_kid":"1","keys":[
    {"kty":"oct","kid":"1","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"}]},
    "stranger.example":{"renewal_kid":"1","keys":[
    {"kty":"oct","kid":"1","k":"fZBpDBNbk2GqhwoB_DGBAsBxqQZVix04rIoLJ7p_RlE"}]}}"#;
const PATH: &str = "/OC/FCI/advertisement";

async fn start(fleet: &FleetSnapshot) -> Program {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    // The service knows one of the two.
    let mut known: Value = serde_json::from_str(KEYS).unwrap();
    known.as_object_mut().unwrap().remove("stranger.example");
    fs::write(&file, known.to_string()).unwrap();
    let args = [
        "--cdni-keys",
        file.to_str().unwrap(),
        "--cdni-name",
        "isp.example",
    ];
    Program::offline(fleet, &args).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token by one issuer's key, whoever it claims to be from.
fn token(by: &str, claims: &Value) -> String {
    let random = SystemRandom::new();
    let keys = KeySet::parse(KEYS, &random).unwrap();
    let key = keys.issuer(by).unwrap().signer().unwrap();
    sign_jwt(key, claims, &random).unwrap()
}

async fn ask(p: &Program, authorization: &str) -> Response {
    let request = p.client.get(format!("{}{PATH}", p.url));
    request
        .header(header::AUTHORIZATION, authorization)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_upstream_network_learns_networks_egress_and_how_to_redirect() {
    let mut fleet = fleet();
    let p = start(&fleet).await;
    let claims = json!({"iss": "upstream.example", "aud": "isp.example", "exp": now() + 60});
    let bearer = format!("Bearer {}", token("upstream.example", &claims));
    let answer = ask(&p, &bearer).await;
    let tag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    let told: Value = answer.json().await.unwrap();
    let lon = json!([{"footprint-type": "ipv4cidr", "footprint-value": ["127.0.0.0/8"]}]);
    let par = json!([
        {"footprint-type": "ipv4cidr", "footprint-value": ["203.0.113.0/24"]},
        {"footprint-type": "ipv6cidr", "footprint-value": ["2001:db8::/32"]},
    ]);
    let both = json!([
        {"footprint-type": "ipv4cidr", "footprint-value": ["127.0.0.0/8", "203.0.113.0/24"]},
        {"footprint-type": "ipv6cidr", "footprint-value": ["2001:db8::/32"]},
    ]);
    let limits = |site: &str, gigabits: u64| {
        json!({"limits": [{
            "id": site,
            "limit-type": "egress",
            "maximum-hard": gigabits * 950_000_000,
            "maximum-soft": gigabits * 850_000_000,
        }]})
    };
    let expected = |lon_gigabits: u64| {
        json!({"capabilities": [
            {"capability-type": "FCI.DeliveryProtocol", "capability-value": {"delivery-protocols": ["http/1.1"]}, "footprints": both},
            {"capability-type": "FCI.RedirectionMode", "capability-value": {"redirection-modes": ["HTTP-I"]}, "footprints": both},
            {"capability-type": "FCI.CapacityLimits", "capability-value": limits("lon", lon_gigabits), "footprints": lon},
            {"capability-type": "FCI.CapacityLimits", "capability-value": limits("par", 1), "footprints": par},
        ]})
    };
    assert_eq!(told, expected(2));

    // Unchanged: no body.
    let again = p.client.get(format!("{}{PATH}", p.url));
    let again = again
        .header(header::AUTHORIZATION, &bearer)
        .header(header::IF_NONE_MATCH, &tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    // What is not in service offers nothing.
    fleet = with_state(&fleet, "lon-2", ApplianceState::Draining);
    p.replace(&fleet).await;
    let told: Value = ask(&p, &bearer).await.json().await.unwrap();
    assert_eq!(told, expected(1));
    p.stop().await;
}

#[tokio::test]
async fn only_a_known_network_is_told_and_only_while_its_token_lives() {
    let p = start(&fleet()).await;
    let good = json!({"iss": "upstream.example", "aud": ["isp.example", "x"], "exp": now() + 60});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let by = |claims: &Value| format!("Bearer {}", token("upstream.example", claims));
    assert_eq!(ask(&p, &by(&good)).await.status(), 200);
    for (what, bearer, told) in [
        ("nothing", String::new(), "Send Authorization"),
        ("another scheme", "Basic YTpi".to_owned(), "Send Authorization"),
        ("no token", "Bearer x".to_owned(), "cut or garbled"),
        ("expired", by(&with("exp", json!(now()))), "expired"),
        ("endless", by(&without("exp")), "expired"),
        ("not yet", by(&with("nbf", json!(now() + 60))), "not valid yet"),
        (
            "another's",
            by(&with("aud", json!("other.example"))),
            "another audience",
        ),
        ("anybody's", by(&without("aud")), "another audience"),
        ("nobody", by(&without("iss")), "issuer is unknown"),
        (
            "unknown",
            by(&with("iss", json!("stranger.example"))),
            "issuer is unknown",
        ),
        (
            "a stranger",
            format!("Bearer {}", token("stranger.example", &good)),
            "signature is wrong",
        ),
    ] {
        let answer = ask(&p, &bearer).await;
        assert_eq!(answer.status(), 401, "{what}");
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let text = answer.text().await.unwrap();
        assert!(text.contains(told), "{what}: {text}");
    }
    p.stop().await;
    let closed = Program::offline(&fleet(), &[]).await;
    assert_eq!(closed.get(PATH).await.status(), 404);
    closed.stop().await;
}
