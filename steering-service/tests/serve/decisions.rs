//! The decision log of the real program: what is in it, and what a kill leaves of it.

use super::{
    fixture::{fleet, with_state},
    manifests::read_hls,
    program::{PATIENCE, Program, sample},
};
use cdn_types::{OcaId, api::v1::ApplianceState};
use std::{path::Path, time::Instant};
use steering_service::decisions::{
    reader::LogReader,
    record::{Decision, Door},
};
use steering_service::replay::{Assumptions, Replay, Report, Without, World};

/// Reads the log again and again until it has so many decisions.
async fn decisions(dir: &Path, count: usize) -> Vec<Decision> {
    let began = Instant::now();
    loop {
        let read: Vec<_> = LogReader::open(dir).unwrap().map(Result::unwrap).collect();
        if read.len() >= count {
            assert_eq!(read.len(), count);
            return read;
        }
        assert!(began.elapsed() < PATIENCE, "{} of {count}", read.len());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_decision_is_logged_with_what_was_asked_and_answered() {
    let log = tempfile::tempdir().unwrap();
    let p = Program::offline(&fleet(), &["--decision-log", log.path().to_str().unwrap()]).await;
    let begin = "/v1/play/film/master.m3u8?CMCD=ot%3Dm%2Csid%3D%226e2fb550%22";
    let text = p.get(begin).await.text().await.unwrap();
    let (declared, uri, _) = read_hls(&text);
    let query = format!("?_HLS_pathway={}&_HLS_throughput=7000000", declared[0]);
    p.client.get(format!("{uri}{query}")).send().await.unwrap();
    p.get("/v1/go/film/v720.m3u8").await;
    p.get("/v1/rank?asset=film&client=203.0.113.77").await;
    p.get("/v1/rank?asset=film&client=203.0.113.77&explain=1").await;
    p.get("/v1/play/none/master.m3u8").await;
    let log = decisions(log.path(), 4).await;
    let doors: Vec<_> = log.iter().map(|d| d.door).collect();
    assert_eq!(
        doors,
        [Door::Play, Door::Steer, Door::Go, Door::Rank],
        "no question of operators, no error"
    );
    assert_eq!(log[0].answered, declared);
    assert!(log[0].session.is_some());
    assert_eq!(log[0].player_id.as_deref(), Some("6e2fb550"));
    assert_eq!(log[1].session, log[0].session);
    assert_eq!(
        log[1]
            .declared
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        declared
    );
    assert_eq!(log[1].used, [(declared[0].clone(), Some(7_000_000))]);
    assert_eq!(log[1].answered, declared);
    assert_eq!(log[0].network.to_string(), "127.0.0.0/24");
    assert_eq!(log[3].network.to_string(), "203.0.113.0/24");
    assert_eq!(
        (log[3].generation, log[3].policy, log[3].title.as_str()),
        (1, 0, "film")
    );
    let metrics = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(
        sample(&metrics, r#"steering_decisions_logged_total{outcome="written"}"#),
        Some(4.0)
    );
}

#[tokio::test]
async fn a_killed_service_leaves_a_readable_log_and_a_stopped_one_a_whole_one() {
    let log = tempfile::tempdir().unwrap();
    let args = ["--decision-log", log.path().to_str().unwrap()];
    let p = Program::offline(&fleet(), &args).await;
    for _ in 0..20 {
        p.get("/v1/go/film/v720.m3u8").await;
    }
    decisions(log.path(), 20).await;
    let pid = p.pid();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .status()
        .unwrap();
    assert!(killed.success());
    p.ended().await;
    let p = Program::offline(&fleet(), &args).await;
    for _ in 0..5 {
        p.get("/v1/go/film/v720.m3u8").await;
    }
    assert!(p.stop().await.0.success());
    let read: Result<Vec<_>, _> = LogReader::open(log.path()).unwrap().collect();
    assert_eq!(
        read.unwrap().len(),
        25,
        "without a wait: a stop writes what is queued"
    );
    assert_eq!(std::fs::read_dir(log.path()).unwrap().count(), 2);
}

fn replay(log: &[Decision], without: &Without) -> Report {
    let world = World::new(fleet(), None, steering_core::Policy::default(), without, 1.0).unwrap();
    let mut replay = Replay::new(&world, Assumptions::default());
    log.iter().for_each(|d| replay.take(d));
    replay.finish()
}

/// An evening: viewers of three networks begin, poll, flee and are drained away.
#[tokio::test]
async fn a_replay_with_everything_as_it_was_moves_nothing() {
    let log = tempfile::tempdir().unwrap();
    let args = [
        "--decision-log",
        log.path().to_str().unwrap(),
        "--trusted-proxy",
        "127.0.0.0/8",
    ];
    let p = Program::offline(&fleet(), &args).await;
    let ask = async |uri: String, client: &str| {
        let request = p.client.get(uri).header("x-forwarded-for", client);
        request.send().await.unwrap().text().await.unwrap()
    };
    for n in 0..30 {
        let client = ["127.9.9.9", "203.0.113.7", "198.51.100.7"][n % 3];
        let text = ask(format!("{}/v1/play/film/master.m3u8", p.url), client).await;
        let (declared, uri, _) = read_hls(&text);
        for poll in 0..3 {
            // Every fourth player has fled to the second of its list.
            let at = &declared[usize::from(n % 4 == 0 && poll > 0)];
            ask(format!("{uri}?_HLS_pathway={at}&_HLS_throughput=9000000"), client).await;
        }
        ask(format!("{}/v1/go/film/v720.m3u8", p.url), client).await;
        ask(format!("{}/v1/rank?asset=rare", p.url), client).await;
    }
    assert!(p.stop().await.0.success());
    let log: Vec<_> = LogReader::open(log.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(log.len(), 180);

    let same = replay(&log, &Without::default());
    assert_eq!((same.decisions, same.sessions), (180, 90));
    assert_eq!(
        (same.changed_first, same.moved_sessions, same.moved_bytes),
        (0, 0, 0)
    );
    assert!(same.moves.is_empty() && same.bytes > 0);
    assert_eq!(
        (same.other_generation, same.other_policy, same.unknown_titles),
        (0, 0, 0)
    );
    for appliance in &same.appliances {
        assert_eq!(appliance.before, appliance.after, "{}", appliance.id);
    }

    let busiest = same
        .appliances
        .iter()
        .filter(|a| a.site.is_some())
        .max_by_key(|a| a.before.sessions)
        .unwrap();
    let without = Without {
        appliances: vec![OcaId::new(busiest.id.clone()).unwrap()],
        ..Without::default()
    };
    let less = replay(&log, &without);
    let at = |id: &str| less.appliances.iter().find(|a| a.id == id).unwrap();
    assert_eq!(at(&busiest.id).before, busiest.before);
    assert_eq!(at(&busiest.id).after.sessions, 0);
    let gone = log.iter().filter(|d| d.answered[0] == busiest.id).count() as u64;
    assert!(less.changed_first >= gone && gone > 0);
    assert!(less.moves.iter().all(|m| m.to != busiest.id));
    let from: u64 = less
        .moves
        .iter()
        .filter(|m| m.from == busiest.id)
        .map(|m| m.sessions)
        .sum();
    assert!(from > 0 && less.moved_bytes > 0 && less.moved_bytes <= less.bytes);
}

#[tokio::test]
async fn a_replay_shows_what_has_changed_since() {
    let log = tempfile::tempdir().unwrap();
    let start = fleet();
    let p = Program::offline(&start, &["--decision-log", log.path().to_str().unwrap()]).await;
    let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    let first = read_hls(&text).0[0].clone();
    p.replace(&with_state(&start, &first, ApplianceState::Draining))
        .await;
    p.get("/v1/play/film/master.m3u8").await;
    assert!(p.stop().await.0.success());
    let log: Vec<_> = LogReader::open(log.path()).unwrap().map(Result::unwrap).collect();
    let report = replay(&log, &Without::default());
    assert_eq!(
        (report.changed_first, report.other_generation),
        (1, 1),
        "it drained then and does not now"
    );
    assert_eq!(
        (report.moves.len(), report.moves[0].to.as_str()),
        (1, first.as_str())
    );
}

/// A policy with an arm that is stopped when it is slower.
const EXPERIMENT: &str = r#"version = 5
[[experiment]]
name = "order"
arm = [{ name = "as-is", share = 1 }, { name = "short", share = 1, hysteresis_steps = 0 }]
guard = { throughput_percent = 5, minimum_sessions = 30 }
"#;

#[tokio::test]
async fn a_harmful_arm_is_stopped_and_its_sessions_are_the_controls() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, EXPERIMENT).unwrap();
    let log = dir.path().join("log");
    let args = [
        "--decision-log",
        log.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
    ];
    let p = Program::offline(&fleet(), &args).await;
    let parsed = steering_service::policy::read(&policy).unwrap();
    let session = async |slow: bool| {
        let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
        let (declared, uri, _) = read_hls(&text);
        let token = uri.rsplit('/').next().unwrap().split('.').next().unwrap();
        let text = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token).unwrap();
        let id = String::from_utf8(text)
            .unwrap()
            .split('/')
            .nth(2)
            .unwrap()
            .to_owned();
        let short = parsed.experiments[0].arm(&id).name == "short";
        let bps = if slow && short { 1_000_000 } else { 9_000_000 };
        for _ in 0..2 {
            p.client
                .get(format!(
                    "{uri}?_HLS_pathway={}&_HLS_throughput={bps}",
                    declared[0]
                ))
                .send()
                .await
                .unwrap();
        }
    };
    // One look at the first decision, when nothing is known; the next comes ten seconds later.
    let began = Instant::now();
    let stopped = r#"steering_experiment_arms_stopped_total{arm="short",experiment="order"}"#;
    while sample(&p.get("/metrics").await.text().await.unwrap(), stopped).is_none() {
        assert!(began.elapsed() < PATIENCE);
        session(true).await;
    }
    for _ in 0..20 {
        session(false).await;
    }
    assert!(p.stop().await.0.success());
    let log: Vec<_> = LogReader::open(&log).unwrap().map(Result::unwrap).collect();
    let (late, early) = (&log[log.len() - 60..], &log[..log.len() - 60]);
    assert!(late.iter().all(|d| d.arms["order"] == "as-is"));
    assert!(early.iter().any(|d| d.arms["order"] == "short"));
}

#[tokio::test]
async fn misses_are_counted_by_what_the_site_lacks() {
    let start = fleet();
    let p = Program::offline(&start, &[]).await;
    p.get("/v1/play/rare/master.m3u8").await;
    p.get("/v1/play/film/master.m3u8").await;
    let mut sick = with_state(&start, "lon-1", ApplianceState::Unhealthy);
    sick = with_state(&sick, "lon-2", ApplianceState::Draining);
    p.replace(&sick).await;
    p.get("/v1/play/film/master.m3u8").await;
    sick.generation += 1;
    sick.appliances[1].state = ApplianceState::Serving;
    sick.appliances[1].load.egress = sick.appliances[1].capacity.egress;
    p.replace(&sick).await;
    p.get("/v1/play/film/master.m3u8").await;
    p.get("/v1/play/film/master.m3u8").await;
    let metrics = async || p.get("/metrics").await.text().await.unwrap();
    let text = metrics().await;
    for (class, title, count) in [
        ("content", "rare", 1.0),
        ("health", "film", 1.0),
        ("capacity", "film", 2.0),
    ] {
        let site = format!(r#"steering_site_misses_total{{class="{class}",site="lon"}}"#);
        assert_eq!(sample(&text, &site), Some(count), "{class}");
        let name = format!(r#"steering_title_misses_total{{class="{class}",title="{title}"}}"#);
        assert_eq!(sample(&text, &name), Some(count), "{class}");
    }
    // Twenty others with more demand: the names begin anew, and this one is among the others.
    for n in 0..20 {
        let mut hot = sick.titles[0].clone();
        hot.id = cdn_types::TitleId::new(format!("hot-{n}")).unwrap();
        hot.demand = cdn_types::Bytes(9);
        sick.titles.push(hot);
    }
    sick.generation += 1;
    p.replace(&sick).await;
    p.get("/v1/play/film/master.m3u8").await;
    let text = metrics().await;
    assert_eq!(
        sample(
            &text,
            r#"steering_title_misses_total{class="capacity",title="other"}"#
        ),
        Some(1.0)
    );
    assert!(!text.contains(r#"title="film""#));
    assert_eq!(
        sample(
            &text,
            r#"steering_site_misses_total{class="capacity",site="lon"}"#
        ),
        Some(3.0)
    );
}
