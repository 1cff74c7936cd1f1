//! With keys, every address that is given out carries a token; it is good at the appliances, for that title alone.

use super::{
    fixture::fleet,
    program::{PATIENCE, Program},
};
use reqwest::header;
use ring::rand::SystemRandom;
use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use url_signing::{KeySet, Reason, Request, Uri, Verifier, find_in_target};

const KEYS: &str = r#"{"studio":{"renewal_kid":"1","keys":[
    {"kty":"oct","kid":"1","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"},
    {"kty":"oct","kid":"2","k":"fZBpDBNbk2GqhwoB_DGBAsBxqQZVix04rIoLJ7p_RlE"}]}}"#;

/// What an appliance that knows these keys says of an address, in `hours` from now.
fn says(keys: &str, url: &str, hours: i64) -> Result<(), Reason> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, target) = rest.split_at(rest.find('/').unwrap());
    let carried = find_in_target("URISigningPackage", target)?.ok_or(Reason::Missing)?;
    let keys = KeySet::parse(keys, &SystemRandom::new()).unwrap();
    let verifier = Verifier {
        keys: &keys,
        audience: Some("edge"),
    };
    let uri = Uri::new(scheme, host, &carried.target)?;
    let request = Request {
        uri: &uri,
        method: "GET",
        protocol: "h2",
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap() + hours * 3_600_000;
    verifier.open(carried.token)?.check(&request, now)
}

/// Every http address of a text but those of the service itself.
fn addresses(text: &str) -> Vec<String> {
    let starts = text.match_indices("http://").map(|(at, _)| &text[at..]);
    let whole = starts.map(|t| t.split(['"', '<', '\n', ' ', '\r']).next().unwrap().to_owned());
    whole
        .filter(|a| a.contains("/film/") && !a.contains("/v1/"))
        .collect()
}

async fn text(p: &Program, path: &str) -> String {
    p.get(path).await.text().await.unwrap()
}

/// Asks again and again until the text pleases.
async fn until(p: &Program, path: &str, pleases: impl Fn(&str) -> bool) {
    let began = Instant::now();
    while !pleases(&text(p, path).await) {
        assert!(
            began.elapsed() < PATIENCE,
            "{path} still answers {}",
            text(p, path).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_address_carries_a_token_for_its_title() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, KEYS).unwrap();
    let keys = file.to_str().unwrap();
    let args = [
        "--signing-keys",
        keys,
        "--signing-issuer",
        "studio",
        "--signing-audience",
        "edge",
        "--signing-hours",
        "2",
    ];
    let p = Program::offline(&fleet(), &args).await;
    let go = format!("{}/v1/go/film/v720.m3u8?x=1", p.url);
    let go = p.client.get(go).header(header::ACCEPT, "application/json").send();
    let redirect = p.get("/v1/go/film/v720.m3u8").await;
    let location = redirect.headers()[header::LOCATION].to_str().unwrap();
    for (what, answer) in [
        ("HLS", text(&p, "/v1/play/film/master.m3u8").await),
        ("DASH", text(&p, "/v1/play/film/manifest.mpd").await),
        ("JSON", go.await.unwrap().text().await.unwrap()),
        ("302", location.to_owned()),
        ("rank", text(&p, "/v1/rank?asset=film&client=127.0.0.1").await),
    ] {
        // Prefixes and folders are made whole, as a player would.
        let found = addresses(&answer);
        assert!(!found.is_empty(), "{what}");
        for address in found {
            let whole = if address.ends_with(".m3u8") || address.contains('?') {
                address
            } else {
                format!("{address}/v720.mp4")
            };
            let whole = whole.replace("//v720", "/v720");
            assert_eq!(says(KEYS, &whole, 0), Ok(()), "{what}: {whole}");
            assert_eq!(says(KEYS, &whole, 2), Err(Reason::Expired), "{what}: {whole}");
            let other = whole.replace("/film/", "/rare/");
            assert_eq!(says(KEYS, &other, 0), Err(Reason::Address), "{what}: {other}");
        }
    }
}

#[tokio::test]
async fn a_fallback_that_takes_no_tokens_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, KEYS).unwrap();
    let keys = file.to_str().unwrap();
    let args = [
        "--signing-keys",
        keys,
        "--signing-issuer",
        "studio",
        "--unsigned-fallback",
    ];
    let p = Program::offline(&fleet(), &args).await;
    let manifest = text(&p, "/v1/play/film/master.m3u8").await;
    let (plain, signed): (Vec<_>, Vec<_>) = addresses(&manifest)
        .into_iter()
        .partition(|a| a.contains("127.0.0.1:9000"));
    assert!(
        !plain.is_empty() && plain.iter().all(|a| a.contains("/t/film/")),
        "{plain:?}"
    );
    assert!(
        !signed.is_empty() && signed.iter().all(|a| says(KEYS, a, 0).is_ok()),
        "{signed:?}"
    );
}

#[tokio::test]
async fn the_key_that_the_file_names_signs_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, KEYS).unwrap();
    let keys = file.to_str().unwrap();
    let p = Program::offline(&fleet(), &["--signing-keys", keys, "--signing-issuer", "studio"]).await;
    let by_first = addresses(&text(&p, "/v1/play/film/master.m3u8").await).remove(0);
    fs::write(&file, "no keys").unwrap();
    let refused = "steering_signing_key_swaps_total{outcome=\"refused\"} 1";
    until(&p, "/metrics", |metrics| metrics.contains(refused)).await;
    let turned = KEYS.replace(r#""renewal_kid":"1""#, r#""renewal_kid":"2""#);
    let second = turned.replace(
        r#"{"kty":"oct","kid":"1","k":"Kh_RkUMj-fzbD37qBnDf_3e_RvQ3RP9PaSmVEpE24AM"},"#,
        "",
    );
    fs::write(&file, &turned).unwrap();
    let by_second = |manifest: &str| says(&second, &addresses(manifest)[0], 0).is_ok();
    until(&p, "/v1/play/film/master.m3u8", by_second).await;
    assert_eq!(says(&second, &by_first, 0), Err(Reason::UnknownKey));
    assert_eq!(says(&turned, &by_first, 0), Ok(()), "both verify");
}
