//! Time, rates and sums, on a log that is made up.

use super::*;
use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, FleetSnapshot, Site, TitleView},
};
use std::collections::BTreeMap;
use steering_core::Policy;

const HLS: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9000000,AVERAGE-BANDWIDTH=8000000,CODECS=\"avc1.64001f,mp4a.40.2\"\na\n\
    #EXT-X-STREAM-INF:BANDWIDTH=900000\nb\n";

fn appliance(id: &str, site: &str) -> ApplianceView {
    let capacity = Capacity {
        storage: Bytes(1 << 30),
        egress: BitsPerSecond(20_000_000),
        fill_rate: BitsPerSecond(1),
    };
    ApplianceView {
        holds: vec![0],
        ..ApplianceView::serving(OcaId::new(id).unwrap(), SiteId::new(site).unwrap(), capacity)
    }
}

fn snapshot() -> FleetSnapshot {
    let site = |id: &str, prefix: &str| Site {
        prefixes: vec![prefix.parse().unwrap()],
        ..Site::new(SiteId::new(id).unwrap(), RegionId::new("r").unwrap())
    };
    FleetSnapshot {
        objects: vec![ObjectDigest::of(&[1])],
        titles: vec![TitleView {
            id: TitleId::new("film").unwrap(),
            name: "film".into(),
            prefix: "/t/film/1".into(),
            objects: vec![0],
            hls_path: "master.m3u8".into(),
            hls: HLS.into(),
            dash_path: "manifest.mpd".into(),
            dash: String::new(),
            demand: Bytes(0),
        }],
        ..FleetSnapshot::of(
            vec![site("lon", "192.0.2.0/24"), site("par", "203.0.113.0/24")],
            vec![appliance("lon-1", "lon"), appliance("par-1", "par")],
        )
    }
}

fn decision(seconds: i64, session: u64, door: Door) -> Decision {
    let list = ["lon-1", "par-1", "origin"];
    let polls = door == Door::Steer;
    Decision {
        at: seconds * 1000,
        door,
        session: Some(SessionId(session)),
        player_id: None,
        network: "192.0.2.0/24".parse().unwrap(),
        country: None,
        title: TitleId::new("film").unwrap(),
        generation: 1,
        policy: 0,
        arms: BTreeMap::new(),
        declared: list
            .iter()
            .filter(|_| polls)
            .map(|id| OcaId::new(*id).unwrap())
            .collect(),
        used: if polls {
            vec![("lon-1".into(), None)]
        } else {
            vec![]
        },
        fled: None,
        answered: list.map(String::from).to_vec(),
    }
}

/// Two sessions of 10 s that overlap, with a tail each; one alone later.
fn log() -> Vec<Decision> {
    vec![
        decision(0, 1, Door::Play),
        decision(5, 2, Door::Play),
        decision(10, 1, Door::Steer),
        decision(15, 2, Door::Steer),
        decision(100, 3, Door::Play),
    ]
}

fn replay(log: &[Decision], without: &[&str], viewers: f64) -> Report {
    let without = Without {
        appliances: without.iter().map(|id| OcaId::new(*id).unwrap()).collect(),
        ..Without::default()
    };
    let world = World::new(snapshot(), None, Policy::default(), &without, viewers).unwrap();
    let assumed = Assumptions {
        viewers,
        ..Assumptions::default()
    };
    let mut replay = Replay::new(world, assumed);
    log.iter().for_each(|d| replay.take(d));
    replay.finish()
}

fn load<'a>(report: &'a Report, id: &str) -> &'a ApplianceLoad {
    report.appliances.iter().find(|a| a.id == id).unwrap()
}

#[test]
fn loads_are_the_peaks_of_sessions_that_overlap() {
    let report = replay(&log(), &[], 1.0);
    let lon = load(&report, "lon-1");
    assert_eq!(
        (lon.before.sessions, lon.before.bits_per_second),
        (2, 16_000_000),
        "not three"
    );
    assert_eq!(lon.before, lon.after);
    assert_eq!((lon.load_permille, lon.overloaded), (Some(800), false));
    // Two of 10 s and a tail, one of a tail, at 1 MB/s.
    assert_eq!(
        (report.bytes, report.moved_bytes, report.sessions),
        (50_000_000, 0, 3)
    );
}

#[test]
fn more_viewers_overload_and_what_is_taken_away_moves() {
    let report = replay(&log(), &[], 1.5);
    let lon = load(&report, "lon-1");
    assert_eq!(
        (lon.after.sessions, lon.load_permille, lon.overloaded),
        (3, Some(1200), true)
    );
    assert_eq!((report.bytes, report.changed_first), (75_000_000, 0));

    let report = replay(&log(), &["lon-1"], 1.0);
    assert_eq!((report.changed_first, report.moved_sessions), (5, 3));
    assert_eq!(report.moved_bytes, report.bytes);
    let moved = |m: &Move| (m.from.clone(), m.to.clone(), m.sessions);
    assert_eq!(
        report.moves.iter().map(moved).collect::<Vec<_>>(),
        [("lon-1".into(), "par-1".into(), 3)]
    );
    assert_eq!(
        (
            load(&report, "lon-1").after.sessions,
            load(&report, "par-1").after.sessions
        ),
        (0, 2)
    );

    let report = replay(&log(), &["lon-1", "par-1"], 1.0);
    assert_eq!(report.moves[0].to, "origin");
}

#[test]
fn a_slow_player_draws_what_it_measured() {
    let mut log = log();
    log[2].used[0].1 = Some(2_000_000);
    let report = replay(&log, &[], 1.0);
    assert_eq!(report.bytes, 50_000_000 - 7_500_000);
}

#[test]
fn a_player_that_follows_is_followed_and_one_that_fled_stays_fled() {
    // Without lon-1 the session begins at par-1; that its player "is at lon-1" means that it follows.
    let report = replay(&log()[..3], &["lon-1"], 1.0);
    assert_eq!(report.moves[0].to, "par-1");
    let mut fled = log();
    fled[2].used[0].0 = "par-1".into();
    fled[2].answered.swap(0, 1);
    let report = replay(&fled[..3], &[], 1.0);
    // Nothing of the route has changed since, so that a better one leads home whatever was answered.
    assert_eq!((report.changed_first, report.moves.len()), (1, 1));
    assert_eq!(
        (report.moves[0].from.as_str(), report.moves[0].to.as_str()),
        ("par-1", "lon-1")
    );
}

#[test]
fn unknown_titles_are_counted_and_names_of_nobody_refused() {
    let mut log = log();
    log[4].title = TitleId::new("gone").unwrap();
    let report = replay(&log, &[], 1.0);
    assert_eq!(
        (report.unknown_titles, report.sessions, report.changed_first),
        (1, 2, 0)
    );
    let without = Without {
        sites: vec![SiteId::new("rom").unwrap()],
        ..Without::default()
    };
    let error = World::new(snapshot(), None, Policy::default(), &without, 1.0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--without-site rom: the fleet has no such site; it has lon, par"
    );
}

#[test]
fn an_arm_with_weights_of_its_own_ranks_by_them() {
    let mut fleet = snapshot();
    fleet.sites[1].prefixes = vec!["192.0.2.0/24".parse().unwrap()];
    fleet.sites[0].prefixes = vec!["192.0.2.0/25".parse().unwrap()];
    // At 90 % lon-1 takes no new viewers of the careful arm.
    fleet.appliances[0].load.egress = BitsPerSecond(18_000_000);
    let policy: steering_core::policy::raw::RawPolicy = toml::from_str(
        "version = 1\n[[experiment]]\nname = \"x\"\narm = [{ name = \"as-is\", share = 1 }, \
         { name = \"careful\", share = 1, headroom = { full_from_permille = 900 } }]",
    )
    .unwrap();
    let policy = Policy::try_from(policy).unwrap();
    for (arm, first) in [("as-is", "lon-1"), ("careful", "par-1")] {
        let mut asked = decision(0, 1, Door::Play);
        asked.arms.insert("x".into(), arm.into());
        let world = World::new(fleet.clone(), None, policy.clone(), &Without::default(), 1.0).unwrap();
        let replay = Replay::new(world, Assumptions::default());
        let list = replay.answer(&asked, None).unwrap();
        assert_eq!(list[0], first, "{arm}");
    }
}

/// A name that DNS answered for a network of lon.
fn dns(seconds: i64) -> Decision {
    Decision {
        session: None,
        answered: vec!["lon-1".into()],
        ..decision(seconds, 0, Door::Dns)
    }
}

#[test]
fn a_dns_answer_is_a_decision_but_no_session() {
    let all = [log(), vec![dns(100), dns(101)]].concat();
    let (with, without) = (replay(&all, &["lon-1"], 1.5), replay(&log(), &["lon-1"], 1.5));
    assert_eq!((with.decisions, with.dns_answers, with.changed_first), (7, 2, 7));
    assert_eq!(
        (with.sessions, with.bytes, with.moved_sessions, with.moved_bytes),
        (
            without.sessions,
            without.bytes,
            without.moved_sessions,
            without.moved_bytes
        )
    );
    let answers = |id: &str| {
        (
            load(&with, id).before.dns_answers,
            load(&with, id).after.dns_answers,
        )
    };
    assert_eq!(
        (answers("lon-1"), answers("par-1")),
        ((2, 0), (0, 2)),
        "whatever the number of viewers"
    );
    assert_eq!(with.moves[0].dns_answers, 2);
    let mut outcomes = crate::experiments::outcome::Outcomes::default();
    all.iter().for_each(|d| outcomes.decision(d));
    assert_eq!(outcomes.report(None, 1).sessions, 3, "nor one of steer report");
}

fn told(json: serde_json::Value) -> Told {
    serde_json::from_value(json).unwrap()
}

#[test]
fn throughput_and_circuits_decide_as_the_log_tells_them() {
    use serde_json::json;
    let first = |replay: &mut Replay, n: i64| {
        let before = replay.report.changed_first;
        replay.take(&decision(n, n as u64, Door::Play));
        replay.report.changed_first - before == 0
    };
    let world = |policy: Policy| {
        let mut fleet = snapshot();
        fleet.appliances[1].site = fleet.appliances[0].site.clone(); // siblings, so that throughput decides
        World::new(fleet, None, policy, &Without::default(), 1.0).unwrap()
    };
    let mut replay = Replay::new(world(Policy::default()), Assumptions::default());
    let lon = first(&mut replay, 0);
    let slow = if lon { "lon-1" } else { "par-1" };
    assert_eq!(replay.report.untold, 1);
    replay.told(&told(
        json!({"k": "m", "t": 1, "w": true, "v": {"192.0.2.0/24": {slow: 0}}}),
    ));
    assert_eq!(first(&mut replay, 1), !lon, "it was slow for this network");
    replay.told(&told(
        json!({"k": "m", "t": 2, "v": {"203.0.113.0/24": {"par-1": 0, "lon-1": 9}}}),
    ));
    assert_eq!(first(&mut replay, 2), !lon, "another network");
    replay.told(&told(json!({"k": "m", "t": 3, "v": {"192.0.2.0/24": {}}})));
    assert_eq!(first(&mut replay, 3), lon, "forgotten");
    let open = json!({"k": "c", "t": 4, "w": true, "v": {slow: {"state": "open", "by": "probes"}}});
    replay.told(&told(open.clone()));
    assert_eq!(first(&mut replay, 4), !lon, "it was out");
    replay.told(&told(json!({"k": "c", "t": 5, "w": true, "v": {}})));
    assert_eq!(first(&mut replay, 5), lon);
    assert_eq!(replay.report.untold, 1);

    let mut none = Policy::default();
    none.circuit.enabled = false;
    let mut replay = Replay::new(world(none), Assumptions::default());
    replay.told(&told(open));
    assert_eq!(first(&mut replay, 6), lon, "a policy without circuits");
}
