//! The decision log of the real program: what is in it, and what a kill leaves of it.

use super::{
    circuits::{metric, until_metric, with_appliances},
    dns::{ZONE, ask},
    feedback::{EXPLAIN, report},
    fixture::{self, fleet, with_state},
    manifests::read_hls,
    program::{PATIENCE, Program, sample},
    steering::{begin, poll},
};
use cdn_types::{OcaId, api::v1::ApplianceState};
use std::{path::Path, time::Instant};
use steering_service::decisions::{
    inputs::Told,
    reader::{Line, LogReader},
    record::{Decision, Door},
};
use steering_service::replay::{Assumptions, Replay, Report, Without, World};
use tokio::process::Command;

fn lines(dir: &Path) -> Vec<Line> {
    LogReader::open(dir).unwrap().map(Result::unwrap).collect()
}

fn read(dir: &Path) -> Vec<Decision> {
    lines(dir).into_iter().filter_map(Line::decision).collect()
}

/// Reads the log again and again until it has so many decisions.
async fn decisions(dir: &Path, count: usize) -> Vec<Decision> {
    let began = Instant::now();
    loop {
        let read = read(dir);
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
    assert_eq!(
        read(log.path()).len(),
        25,
        "without a wait: a stop writes what is queued"
    );
    assert_eq!(std::fs::read_dir(log.path()).unwrap().count(), 2);
}

fn replay(log: &[Line], without: &Without) -> Report {
    let world = World::new(fleet(), None, steering_core::Policy::default(), without, 1.0).unwrap();
    let mut replay = Replay::new(world, Assumptions::default());
    for line in log {
        match line {
            Line::Decision(decision) => replay.take(decision),
            Line::Told(told) => replay.told(told),
        }
    }
    replay.finish()
}

fn decided(log: &[Line]) -> impl Iterator<Item = Decision> {
    log.iter().cloned().filter_map(Line::decision)
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
    let log = lines(log.path());
    assert_eq!(decided(&log).count(), 180);

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
    let gone = decided(&log).filter(|d| d.answered[0] == busiest.id).count() as u64;
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

/// A network whose viewers measured little from one appliance, and another appliance that is dead.
#[tokio::test]
async fn decisions_under_throughput_and_opened_circuits_are_replayed_alike() {
    let log = tempfile::tempdir().unwrap();
    let args = [
        "--decision-log",
        log.path().to_str().unwrap(),
        "--probe-path",
        "/healthz",
        "--ttl",
        "4",
    ];
    let (p, mut running) = with_appliances(&args).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(begin(&p).await);
    }
    let slow = sessions[0].declared[0].clone();
    for session in &sessions {
        report(
            &p,
            session,
            &format!("?_HLS_pathway={slow}&_HLS_throughput=1200000"),
        )
        .await;
    }
    p.until(EXPLAIN, |a| a["explain"]["ranked"][0]["appliance"] != slow)
        .await;
    let second = begin(&p).await.declared[0].clone();
    assert_ne!(second, slow);
    let victim = running.iter_mut().find(|(id, _)| *id == second);
    victim.unwrap().1.kill().await;
    until_metric(&p, r#"steering_circuits{state="open"}"#, |n| n == 1.0).await;
    for n in 0..20 {
        let session = begin(&p).await;
        assert_ne!(session.declared[0], second);
        poll(
            &p,
            &session,
            &format!("?_HLS_pathway={}", session.declared[n % 2]),
        )
        .await;
    }
    assert!(p.stop().await.0.success());

    let log = lines(log.path());
    let same = replay(&log, &Without::default());
    assert_eq!((same.changed_first, same.moved_sessions, same.untold), (0, 0, 0));
    let only = |wanted: fn(&Told) -> bool| {
        let known = |line: &&Line| !matches!(line, Line::Told(told) if !wanted(told));
        let log: Vec<_> = log.iter().filter(known).cloned().collect();
        replay(&log, &Without::default()).changed_first
    };
    assert!(
        only(|told| matches!(told, Told::Throughput { .. })) > 0,
        "without circuits"
    );
    assert!(
        only(|told| matches!(told, Told::Circuits { .. })) > 0,
        "without throughput"
    );
    assert!(only(|_| false) > 0);
}

/// A limit of file sizes stands in for a full drive: a write beyond it fails after a part of it was done, as it does there.
#[tokio::test]
async fn a_full_drive_costs_lines_and_no_answers_and_room_again_is_used() {
    let (dir, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let snapshot = dir.path().join("fleet.json");
    fixture::write(&snapshot, &fleet());
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_steering-service"),
        ])
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"])
        .args(["--snapshot", snapshot.to_str().unwrap()])
        .args(["--decision-log", log.path().to_str().unwrap()])
        .kill_on_drop(true);
    let p = Program::run(dir, command).await;
    let limit = async |bytes: &str| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &p.pid(), &format!("--fsize={bytes}")]);
        assert!(prlimit.status().await.unwrap().success());
    };
    let outcome = |outcome: &str| format!(r#"steering_decisions_logged_total{{outcome="{outcome}"}}"#);
    let mut made = 0;
    let mut decide = async |name: &str, pleases: fn(f64) -> bool| {
        let began = Instant::now();
        while !pleases(metric(&p, name).await) {
            assert!(began.elapsed() < PATIENCE, "{name}");
            for _ in 0..20 {
                begin(&p).await;
                made += 1;
            }
        }
    };
    decide(&outcome("written"), |n| n > 0.0).await;
    // The next member's first bytes go in, and no more.
    let file = std::fs::read_dir(log.path()).unwrap().next().unwrap().unwrap();
    limit(&format!("{}:unlimited", file.metadata().unwrap().len() + 50)).await;
    decide(&outcome("failed"), |n| n > 0.0).await;
    limit("unlimited").await;
    let before = metric(&p, &outcome("written")).await;
    begin(&p).await;
    until_metric(&p, &outcome("written"), |n| n > before).await;
    let failed = metric(&p, &outcome("failed")).await;
    assert!(p.stop().await.0.success());
    let log = lines(log.path());
    assert_eq!(decided(&log).count() as f64, f64::from(made) + 1.0 - failed);
    assert_eq!(replay(&log, &Without::default()).untold, 0);
}

/// Names asked by dig, of networks that are told and by resolvers that tell none.
#[tokio::test]
async fn dns_answers_are_logged_and_replayed_as_decisions() {
    let log = tempfile::tempdir().unwrap();
    let args = [&["--decision-log", log.path().to_str().unwrap()], &ZONE[..]].concat();
    let p = Program::offline(&fleet(), &args).await;
    for question in [
        "film.cdn.example A",
        "+subnet=203.0.113.9/32 film.cdn.example A",
        "+subnet=127.9.0.0/16 film.cdn.example A",
        "+subnet=2001:db8:7:8::/64 film.cdn.example A",
        "+subnet=::ffff:203.0.113.0/120 film.cdn.example A",
        "+subnet=198.51.100.0/24 rare.cdn.example A",
        // Nobody is sent anywhere.
        "film.cdn.example AAAA",
        "none.cdn.example A",
        "cdn.example NS",
    ] {
        ask(&p, "dig", question).await;
    }
    let own = p.json("/v1/rank?client=127.0.0.0&asset=film").await;
    let own = own["ranked"][0]["appliance"].as_str().unwrap().to_owned();
    assert!(p.stop().await.0.success());
    let log = lines(log.path());
    let answers: Vec<_> = decided(&log)
        .filter(|d| d.door == Door::Dns)
        .map(|d| (d.network.to_string(), d.title.to_string(), d.answered.join(" ")))
        .collect();
    let wanted = [
        ("127.0.0.0/24", "film", own.as_str()),
        ("203.0.113.0/24", "film", "par-1"),
        ("127.9.0.0/16", "film", &own),
        ("2001:db8:7::/48", "film", "par-1"),
        ("203.0.113.0/24", "film", "par-1"),
        ("198.51.100.0/24", "rare", "origin"),
    ];
    let texts = |(n, t, a): (&str, &str, &str)| (n.to_owned(), t.to_owned(), a.to_owned());
    assert_eq!(answers, wanted.map(texts));
    let same = replay(&log, &Without::default());
    assert_eq!((same.dns_answers, same.sessions, same.changed_first), (6, 1, 0));
    let without = Without {
        appliances: vec![OcaId::new("par-1").unwrap()],
        ..Without::default()
    };
    let less = replay(&log, &without);
    assert_eq!((less.changed_first, less.bytes), (3, same.bytes));
    assert_eq!(less.moves.iter().map(|m| m.dns_answers).sum::<u64>(), 3);
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
    let log = lines(log.path());
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
    let log = read(&log);
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
