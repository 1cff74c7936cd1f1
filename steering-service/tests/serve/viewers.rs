//! What appliances see of their viewers, from the control plane to the answers: sessions that flee, and throughput.

use super::{
    circuits::{metric, poll_from, rounds, until_metric},
    control::Control,
    feedback::{EXPLAIN, of},
    fixture::fleet,
    manifests::read_hls,
    program::{PATIENCE, Program, sample},
    steering::Session,
};
use cdn_types::{
    api::v1::viewers::{NetworkThroughput, Sightings},
    viewers::{Network, SessionHash, SidHash, step},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// Arrivals by what they meant.
fn arrivals(outcome: &str) -> String {
    format!(r#"steering_arrivals_total{{outcome="{outcome}"}}"#)
}

async fn start(control: &Control, ttl: &str) -> Program {
    let args = [
        "--control",
        &control.url,
        "--trusted-proxy",
        "127.0.0.0/8",
        "--ttl",
        ttl,
    ];
    let p = Program::start(tempfile::tempdir().unwrap(), &args).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    p
}

fn viewer(n: usize) -> String {
    format!("127.5.{n}.9")
}

fn sid(n: usize) -> String {
    format!("6e2fb550-c457-11e9-bb97-0800200c{n:04}")
}

/// As an appliance knows the session of viewer `n`.
fn hash(n: usize) -> SessionHash {
    let network = Network::of(viewer(n).parse().unwrap());
    SidHash::of(&sid(n)).unwrap().within(network)
}

/// Viewer `n` begins with a manifest, as a player with CMCD does.
async fn begin(p: &Program, n: usize) -> Session {
    let url = format!(
        "{}/v1/play/film/master.m3u8?CMCD=ot%3Dm%2Csid%3D%22{}%22%2Csu",
        p.url,
        sid(n)
    );
    let request = p.client.get(url).header("x-forwarded-for", viewer(n));
    let text = request.send().await.unwrap().text().await.unwrap();
    let (declared, uri, _) = read_hls(&text);
    Session { uri, declared }
}

/// Twelve viewers of twelve networks from `first` on, who have begun, and polled.
async fn twelve(p: &Program, first: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for n in first..first + 12 {
        let session = begin(p, n).await;
        poll_from(p, &session, n, &format!("?_HLS_pathway={}", session.declared[0])).await;
        sessions.push(session);
    }
    // What is heard now was seen a second ago, and who polled after that has said where it is.
    rounds(p, 12.0).await;
    sessions
}

fn arrived(viewers: std::ops::Range<usize>) -> Sightings {
    Sightings {
        arrived: viewers.map(hash).collect(),
        ..Sightings::default()
    }
}

#[tokio::test]
async fn sessions_that_appliances_meet_elsewhere_take_theirs_out() {
    let control = Control::start(fleet()).await;
    let p = start(&control, "4").await;
    let sessions = twelve(&p, 0).await;
    let (first, second) = (&sessions[0].declared[0], &sessions[0].declared[1]);
    let met = Instant::now();
    control.see(second, arrived(0..12));
    let answer = p
        .until(EXPLAIN, |a| a["explain"]["ranked"][0]["appliance"] == **second)
        .await;
    println!(
        "out of answers {:?} after sessions were met elsewhere",
        met.elapsed()
    );
    assert!(met.elapsed() < Duration::from_secs(5));
    let dropped = answer["explain"]["dropped"].as_array().unwrap();
    let dropped = dropped.iter().find(|d| d["appliance"] == **first).unwrap();
    assert_eq!(
        dropped["reasons"],
        json!([{ "reason": "failing", "by": "players" }])
    );
    assert_eq!(metric(&p, &arrivals("fled")).await, 12.0);
    assert_eq!(metric(&p, "steering_failovers_total").await, 12.0);
    // Their TTL over, they say it themselves: that is no second failover.
    let reports = r#"steering_player_reports_total{outcome="taken"}"#;
    let due = Instant::now();
    while metric(&p, reports).await < 12.0 {
        assert!(due.elapsed() < PATIENCE, "their reports are not taken");
        for (n, session) in sessions.iter().enumerate() {
            let query = format!("?_HLS_pathway={second}&_HLS_throughput=20000000");
            assert_eq!(&poll_from(&p, session, n, &query).await[0], second);
        }
        rounds(&p, 1.0).await;
    }
    rounds(&p, 2.0).await; // one that has begun since
    assert_eq!(metric(&p, "steering_failovers_total").await, 12.0);
}

#[tokio::test]
async fn an_appliances_word_counts_for_sessions_of_this_service_that_have_left_where_they_were_sent() {
    let control = Control::start(fleet()).await;
    let p = start(&control, "20").await;
    let sessions = twelve(&p, 0).await;
    let [first, second, third] = [0, 1, 2].map(|at| sessions[0].declared[at].as_str());
    let own = begin(&p, 15).await; // and plays from the third, whatever it is told
    poll_from(&p, &own, 15, "").await;
    begin(&p, 12).await; // and never polls
    begin(&p, 13).await;
    begin(&p, 13).await; // a player that gives all sessions one id
    control.see(first, arrived(0..12)); // as after its restart
    until_metric(&p, &arrivals("expected"), |n| n == 12.0).await;
    control.see(second, arrived(12..15));
    until_metric(&p, &arrivals("silent"), |n| n == 1.0).await;
    until_metric(&p, &arrivals("shared"), |n| n == 1.0).await;
    until_metric(&p, &arrivals("unknown"), |n| n == 1.0).await;
    let began = Sightings {
        began: vec![hash(15)],
        ..Sightings::default()
    };
    control.see(third, began);
    until_metric(&p, "steering_beginnings_total", |n| n == 1.0).await;
    rounds(&p, 12.0).await;
    control.see(second, arrived(15..16));
    until_metric(&p, &arrivals("expected"), |n| n == 13.0).await;
    control.see("nobody", arrived(0..12)); // not of the fleet
    let late = cdn_types::api::v1::viewers::ViewerReport {
        appliance: second.parse().unwrap(),
        age_ms: 20_000,
        seen: arrived(0..12),
    };
    control.viewers.send_modify(|told| told.push(late));
    until_metric(&p, &arrivals("late"), |n| n == 12.0).await;
    assert_eq!(metric(&p, "steering_failovers_total").await, 0.0);
    // One session runs about: it counts once in its TTL.
    for appliance in [second, first, third, first, second] {
        control.see(appliance, arrived(0..1));
        rounds(&p, 3.0).await;
    }
    until_metric(&p, "steering_failovers_total", |n| n == 1.0).await;
    let list = poll_from(&p, &sessions[0], 0, "").await;
    assert_eq!(
        list.last().unwrap(),
        first,
        "is not sent back to where it fled from"
    );
    assert_eq!(metric(&p, r#"steering_circuits{state="open"}"#).await, 0.0);
}

#[tokio::test]
async fn if_both_of_a_site_seem_to_fail_by_appliances_words_neither_is_taken_out() {
    let control = Control::start(fleet()).await;
    let p = start(&control, "4").await;
    let sessions = twelve(&p, 0).await;
    let [first, second, third] = [0, 1, 2].map(|at| sessions[0].declared[at].as_str());
    assert!(first.starts_with("lon") && second.starts_with("lon"));
    control.see(second, arrived(0..12));
    until_metric(&p, r#"steering_circuits{state="open"}"#, |n| n == 1.0).await;
    // Others begin where the site has left, and flee from there too.
    for session in twelve(&p, 12).await {
        assert_eq!(session.declared[0], second);
    }
    control.see(third, arrived(12..24));
    until_metric(&p, "steering_distrusted_sites", |n| n == 1.0).await;
    let answer = p.json(EXPLAIN).await;
    assert_eq!(answer["explain"]["distrusted"], json!(["lon"]));
    assert_eq!(metric(&p, r#"steering_circuits{state="open"}"#).await, 0.0);
}

#[tokio::test]
async fn throughput_that_appliances_hear_of_is_ranked_by() {
    let control = Control::start(fleet()).await;
    let p = start(&control, "20").await;
    let first = begin(&p, 0).await.declared[0].clone();
    let told = |viewer: &str, steps: Vec<(u8, u32)>, enough| Sightings {
        throughputs: vec![NetworkThroughput {
            network: Network::of(viewer.parse().unwrap()),
            steps,
            enough,
        }],
        ..Sightings::default()
    };
    // What is enough for its player says nothing against an appliance.
    control.see(&first, told("127.0.3.1", vec![(step(1_200_000), 1)], 4));
    control.see(
        &first,
        told("127.0.0.1", vec![(step(1_200_000), 3), (step(30_000_000), 2)], 0),
    );
    let answer = p
        .until(EXPLAIN, |a| a["explain"]["ranked"][0]["appliance"] != *first)
        .await;
    let slow = of(&answer, &first);
    assert_eq!(
        (&slow["throughput_from"], &slow["throughput_short"]),
        (&1_000_000.into(), &4.into())
    );
    let other = p.json("/v1/rank?asset=film&client=127.0.3.9&explain=1").await;
    assert_eq!(other["explain"]["ranked"][0]["appliance"], *first);
    assert_eq!(of(&other, &first)["throughput_short"], 0);
    assert_eq!(metric(&p, "steering_viewer_throughputs_total").await, 10.0);
}

#[tokio::test]
async fn after_a_restart_on_either_side_only_what_is_new_counts() {
    let control = Control::start(fleet()).await;
    let p = start(&control, "20").await;
    let sessions = twelve(&p, 0).await;
    let second = sessions[0].declared[1].clone();
    control.see(&second, arrived(0..1));
    control.see(&second, arrived(20..30));
    until_metric(&p, &arrivals("fled"), |n| n == 1.0).await;
    until_metric(&p, &arrivals("unknown"), |n| n == 10.0).await;
    // The control plane has restarted: it numbers anew, and says that something is missed.
    control.viewers.send_modify(Vec::clear);
    until_metric(&p, "steering_viewer_gaps_total", |n| n == 1.0).await;
    control.see(&second, arrived(1..3));
    until_metric(&p, &arrivals("fled"), |n| n == 3.0).await;
    // Another run of this service knows no session of the first, and blames nobody.
    p.stop().await;
    let p = start(&control, "20").await;
    until_metric(&p, &arrivals("unknown"), |n| n == 2.0).await;
    let text = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(sample(&text, "steering_failovers_total"), Some(0.0));
    assert_eq!(sample(&text, "steering_viewer_gaps_total"), Some(0.0));
}
