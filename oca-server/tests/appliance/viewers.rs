//! What players say of themselves in CMCD, from their requests to the control plane.

use crate::{
    control::FakeControl,
    done,
    world::{Appliance, Media, Source, get, get_with, plan, until},
};
use cdn_types::{
    api::v1::viewers::ViewerBatch,
    viewers::{Network, SessionHash, SidHash, step},
};
use std::time::{Duration, Instant};

fn network() -> Network {
    Network::of("127.0.0.1".parse().unwrap())
}

fn session(sid: &str) -> SessionHash {
    SidHash::of(sid).unwrap().within(network())
}

/// An appliance that holds one file, and the file's address.
fn filled(control: &FakeControl) -> (Appliance, String) {
    let media = Media::new(&[("a.mp4", 100_000)]);
    let source = Source::serve(&media);
    control.know(&media);
    control.publish(plan(1, &[&source], &media, &["a.mp4"]));
    let appliance = Appliance::start(control, "");
    control.report_where("the fill is done", done(1));
    let url = appliance.url(&media.path("a.mp4"));
    (appliance, url)
}

/// A player's request, with CMCD in headers.
fn ask(url: &str, sid: &str, keys: &str) -> u16 {
    let more = format!("CMCD-Session: sid=\"{sid}\"\r\nCMCD-Request: {keys}\r\nCMCD-Object: ot=v\r\n");
    get_with(url, &more).status
}

fn sessions(batches: &[ViewerBatch]) -> (Vec<SessionHash>, Vec<SessionHash>) {
    let began = batches.iter().flat_map(|b| b.seen.began.clone());
    let arrived = batches.iter().flat_map(|b| b.seen.arrived.clone());
    (began.collect(), arrived.collect())
}

fn metrics(appliance: &Appliance) -> String {
    get(&appliance.admin("/metrics"), None).text()
}

#[test]
fn who_begins_and_who_comes_in_play_is_told_within_two_seconds_and_once() {
    let control = FakeControl::start();
    let (appliance, url) = filled(&control);
    assert_eq!(ask(&url, "begins", "bl=0,mtp=500,su"), 200);
    assert_eq!(
        get(
            &format!("{url}?CMCD=bl%3D9000%2Cot%3Dv%2Csid%3D%22comes%22"),
            None
        )
        .status,
        200
    );
    let asked = Instant::now();
    assert_eq!(ask(&url, "starves", "bl=0,bs,su"), 200);
    for _ in 0..50 {
        ask(&url, "begins", "bl=9000,mtp=25400");
        ask(&url, "comes", "bl=9000,mtp=25400");
    }
    assert_eq!(ask(&appliance.url("/t/t/v/none.mp4"), "refused", "bl=9000"), 404);
    get_with(&url, "CMCD-Session: sid=\"init\"\r\nCMCD-Object: ot=i\r\n");
    get_with(&url, "CMCD-Request: bl=9000\r\n");
    until("both are told", || {
        let (began, arrived) = sessions(&control.viewers());
        !began.is_empty() && arrived.len() >= 2
    });
    println!("told {:?} after the last of them", asked.elapsed());
    // Two looks later nothing has come twice, and nobody who was not served.
    let seq = control.last_report().seq;
    control.report_where("two seconds have passed", |r| r.seq > seq + 2);
    let (began, mut arrived) = sessions(&control.viewers());
    arrived.sort();
    let mut expected = [session("comes"), session("starves")];
    expected.sort();
    assert_eq!((began, arrived), (vec![session("begins")], expected.to_vec()));
    let text = metrics(&appliance);
    for line in [
        r#"oca_viewer_sessions_total{event="arrived"} 2"#,
        r#"oca_viewer_sessions_total{event="began"} 1"#,
        "oca_viewers_lost 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn throughput_is_told_by_network_once_in_twenty_seconds_of_a_session() {
    let control = FakeControl::start();
    let (appliance, url) = filled(&control);
    let began = Instant::now();
    let told = || {
        let batches = control.viewers();
        let all: Vec<_> = batches.iter().flat_map(|b| b.seen.throughputs.clone()).collect();
        all
    };
    until("a sample is told", || {
        assert!(
            told().is_empty() || began.elapsed() > Duration::from_secs(18),
            "too early"
        );
        ask(&url, "fast", "bl=9000,mtp=25400");
        ask(&url, "sated", "bl=30000,mtp=15000\r\nCMCD-Status: rtp=16000");
        ask(&url, "mad", "bl=9000,mtp=0");
        told()
            .iter()
            .map(|t| t.steps.len() + t.enough as usize)
            .sum::<usize>()
            >= 2
    });
    assert!(told().iter().all(|t| t.network == network()));
    let steps: Vec<_> = told().into_iter().flat_map(|t| t.steps).collect();
    assert_eq!(steps, [(step(25_400_000), 1)]);
    let text = metrics(&appliance);
    for line in [
        r#"oca_viewer_throughputs_total{outcome="taken"} 2"#,
        r#"oca_viewer_throughputs_total{outcome="bad"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn while_the_control_plane_is_away_old_arrivals_are_dropped_and_a_batch_counts_once() {
    let control = FakeControl::start();
    let (appliance, url) = filled(&control);
    control.lose_answers(1);
    ask(&url, "lost", "bl=9000");
    until("it is told", || !control.viewers().is_empty());
    control.set_away(true);
    ask(&url, "old", "bl=9000");
    until("neither is worth telling any more", || {
        metrics(&appliance).contains("\noca_viewers_lost 2\n")
    });
    control.set_away(false);
    until("the next is told", || {
        ask(&url, &format!("new-{}", control.viewers().len()), "bl=9000");
        sessions(&control.viewers()).1.len() >= 2
    });
    let batches = control.viewers();
    let (_, arrived) = sessions(&batches);
    assert_eq!(arrived[0], session("lost"));
    assert!(!arrived.contains(&session("old")));
    assert!(batches.is_sorted_by(|a, b| a.number <= b.number && a.boot == b.boot));
    let first = batches.iter().filter(|b| b.number == batches[0].number);
    assert_eq!(
        sessions(&first.cloned().collect::<Vec<_>>()).1.len(),
        1,
        "without its sessions"
    );
}
