//! Personalised manifests as players get them.

use super::{
    fixture::{DASH, HLS, fleet, with_state},
    program::{Program, sample},
};
use cdn_types::api::v1::ApplianceState;
use quick_xml::{Reader, events::Event};
use reqwest::header;

/// Pathways in order of their first variant, and the address of the steering list with its first pathway.
pub fn read_hls(text: &str) -> (Vec<String>, String, String) {
    let parsed = m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
    let mut pathways: Vec<String> = Vec::new();
    for variant in &parsed.variants {
        let id = variant.other_attributes.as_ref().unwrap()["PATHWAY-ID"]
            .as_quoted()
            .unwrap()
            .to_owned();
        if pathways.last() != Some(&id) {
            assert!(!pathways.contains(&id), "variants of one pathway stand together");
            pathways.push(id);
        }
    }
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("#EXT-X-CONTENT-STEERING:SERVER-URI=\""))
        .unwrap();
    let (uri, rest) = line.split_once("\",PATHWAY-ID=\"").unwrap();
    (pathways, uri.to_owned(), rest.trim_end_matches('"').to_owned())
}

#[tokio::test]
async fn hls_play_declares_the_top_three_and_the_origin() {
    let p = Program::offline(&fleet(), &["--public-url", "https://steer.example/"]).await;
    let response = p.get("/v1/play/film/master.m3u8").await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/vnd.apple.mpegurl"
    );
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    let text = response.text().await.unwrap();
    let (pathways, uri, first) = read_hls(&text);
    let ranked = p.json("/v1/rank?asset=film").await;
    let wanted: Vec<_> = ranked["ranked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["appliance"].as_str().unwrap())
        .collect();
    assert_eq!(pathways, wanted);
    assert_eq!(first, pathways[0]);
    assert!(uri.starts_with("https://steer.example/v1/steer/"), "{uri}");
    let parsed = m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
    assert_eq!((parsed.variants.len(), parsed.alternatives.len()), (8, 4));
    assert!(text.contains("\nhttp://127.0.0.1:9000/t/film/0123456789ab/v360.m3u8\n"));
    let other = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    assert_ne!(read_hls(&other).1, uri, "every fetch begins a session of its own");
}

#[tokio::test]
async fn dash_play_declares_the_top_three_and_the_origin() {
    let p = Program::offline(&fleet(), &[]).await;
    let response = p.get("/v1/play/film/manifest.mpd").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/dash+xml");
    let text = response.text().await.unwrap();
    let (mut locations, mut default, mut path) = (Vec::new(), None, Vec::new());
    let mut reader = Reader::from_str(&text);
    loop {
        match reader.read_event().unwrap() {
            Event::Start(e) => {
                path.push(e.name().as_ref().to_owned());
                let attribute = |name: &str| e.try_get_attribute(name).unwrap().map(|a| a.value.to_string());
                match path.join("/").as_str() {
                    "MPD/Period/BaseURL" => locations.push(attribute("serviceLocation").unwrap()),
                    "MPD/ContentSteering" => default = attribute("defaultServiceLocation"),
                    _ => {}
                }
            }
            Event::End(_) => drop(path.pop()),
            Event::Eof => break,
            _ => {}
        }
    }
    let hls = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    assert_eq!(locations, read_hls(&hls).0);
    assert_eq!(default.as_ref(), locations.first());
    assert!(
        text.contains(&format!("queryBeforeStart=\"true\">{}/v1/steer/", p.url)),
        "the Host that was asked: {text}"
    );
}

#[tokio::test]
async fn what_nobody_holds_is_played_from_the_origin_alone() {
    let p = Program::offline(&fleet(), &[]).await;
    let text = p.get("/v1/play/rare/master.m3u8").await.text().await.unwrap();
    let (pathways, uri, first) = read_hls(&text);
    assert_eq!((pathways, first.as_str()), (vec!["origin".to_owned()], "origin"));
    let list: serde_json::Value = p.client.get(uri).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["PATHWAY-PRIORITY"], serde_json::json!(["origin"]));
}

#[tokio::test]
async fn dropped_appliances_are_not_declared() {
    let p = Program::offline(&with_state(&fleet(), "lon-1", ApplianceState::Lost), &[]).await;
    let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    assert_eq!(read_hls(&text).0, ["lon-2", "par-1", "origin"]);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_rewritten_is_redirected_to() {
    let mut broken = fleet();
    broken.titles[0].hls = HLS.replace("#EXTM3U", "#EXTM3X");
    broken.titles[0].dash = DASH.replace("</Period>", "");
    let p = Program::offline(&broken, &[]).await;
    for name in ["master.m3u8", "manifest.mpd"] {
        let response = p.get(&format!("/v1/play/film/{name}")).await;
        assert_eq!(response.status(), 302);
        let location = response.headers()[header::LOCATION].to_str().unwrap();
        assert!(
            location.starts_with("http://127.0.0.")
                && location.ends_with(&format!("/t/film/0123456789ab/{name}"))
        );
    }
    let text = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(
        sample(&text, r#"steering_manifest_errors_total{kind="dash"}"#),
        Some(1.0)
    );
}

#[tokio::test]
async fn without_appliances_and_origin_the_answer_is_503() {
    let mut fleet = fleet();
    fleet.fallback.clear();
    let p = Program::offline(&fleet, &[]).await;
    for path in ["/v1/play/rare/master.m3u8", "/v1/go/rare/x"] {
        let response = p.get(path).await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
