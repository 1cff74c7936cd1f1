//! What is decided, case by case.

use super::fixture::{GBPS, appliance, fleet, site, title};
use cdn_types::{
    BitsPerSecond, TitleId,
    api::v1::{ApplianceState, FleetSnapshot, SteeringOutcome},
};
use steering_core::{DropReason, Headroom, Index, IndexError, Options, Ranking, Tier, explain, rank};

const LONDON: &str = "192.0.2.7";

fn film() -> TitleId {
    TitleId::new("film").unwrap()
}

fn all() -> Options<'static> {
    Options {
        limit: usize::MAX,
        complete: true,
        ..Options::default()
    }
}

fn ranked(snapshot: &FleetSnapshot, client: &str, options: &Options) -> (Index, Ranking) {
    let index = Index::build(snapshot).unwrap();
    let ranking = rank(&index, client.parse().unwrap(), &film(), options).unwrap();
    (index, ranking)
}

fn ids(index: &Index, ranking: &Ranking) -> Vec<String> {
    ranking
        .entries
        .iter()
        .map(|e| index.appliance(e.appliance).id.to_string())
        .collect()
}

/// Reasons' names by appliance, in the order of `dropped`.
fn dropped(index: &Index, ranking: &Ranking) -> Vec<(String, Vec<&'static str>)> {
    let names = |reasons: &[DropReason]| reasons.iter().map(DropReason::name).collect();
    ranking
        .dropped
        .iter()
        .map(|d| (index.appliance(d.appliance).id.to_string(), names(&d.reasons)))
        .collect()
}

#[test]
fn own_site_first_then_its_region_then_others_then_the_origin() {
    let (index, r) = ranked(&fleet(), LONDON, &all());
    let tiers: Vec<_> = r.entries.iter().map(|e| e.tier).collect();
    use Tier::{Elsewhere, OwnSite, SameRegion};
    assert_eq!(tiers, [OwnSite, OwnSite, OwnSite, SameRegion, Elsewhere]);
    assert_eq!(ids(&index, &r)[3..], ["man-1", "par-1"]);
    assert_eq!(r.outcome, SteeringOutcome::Hit);
    assert_eq!(index.fallback.as_deref(), Some("http://origin.example:9000"));
}

#[test]
fn the_longest_prefix_of_all_sites_decides_for_both_families() {
    let index = Index::build(&fleet()).unwrap();
    for (client, wanted) in [
        ("192.0.2.7", Some("lon")),
        ("192.0.2.200", Some("man")),
        ("::ffff:192.0.2.7", Some("lon")),
        ("2001:db8:1::5", Some("lon")),
        ("2001:db8:2::5", Some("par")),
        ("10.0.0.1", None),
        ("::1", None),
    ] {
        let found = index
            .site_of(client.parse().unwrap())
            .map(|(ix, _)| index.site(ix).id.to_string());
        assert_eq!(found.as_deref(), wanted, "{client}");
    }
}

#[test]
fn without_a_site_everybody_is_a_candidate_of_the_last_tier() {
    let (index, r) = ranked(&fleet(), "10.0.0.1", &all());
    assert_eq!(r.outcome, SteeringOutcome::NoSite);
    assert_eq!(r.site, None);
    assert_eq!(ids(&index, &r).len(), 5);
    assert!(r.entries.iter().all(|e| e.tier == Tier::Elsewhere));
}

#[test]
fn every_state_but_serving_drops_and_says_why() {
    for (state, reason) in [
        (ApplianceState::Joined, "not_reported"),
        (ApplianceState::Draining, "draining"),
        (ApplianceState::Unhealthy, "unhealthy"),
        (ApplianceState::Lost, "lost"),
    ] {
        let mut snapshot = fleet();
        snapshot.appliances[1].state = state;
        let (index, r) = ranked(&snapshot, LONDON, &all());
        assert!(!ids(&index, &r).contains(&"lon-2".to_owned()));
        assert_eq!(dropped(&index, &r), [("lon-2".to_owned(), vec![reason])]);
        assert_eq!(r.outcome, SteeringOutcome::Hit, "the siblings serve");
    }
}

#[test]
fn presence_is_exact_one_missing_object_drops() {
    let mut snapshot = fleet();
    snapshot.appliances[0].holds = vec![0, 2, 3];
    let (index, r) = ranked(&snapshot, LONDON, &all());
    assert_eq!(
        dropped(&index, &r),
        [("lon-1".to_owned(), vec!["content_missing"])]
    );
    assert_eq!(r.dropped[0].reasons, [DropReason::ContentMissing { objects: 1 }]);
}

#[test]
fn a_title_without_objects_is_held_by_nobody() {
    let mut snapshot = fleet();
    snapshot.titles[0].objects.clear();
    let (_, r) = ranked(&snapshot, LONDON, &all());
    assert_eq!((r.entries.len(), r.outcome), (0, SteeringOutcome::ContentMiss));
}

#[test]
fn headroom_orders_in_coarse_steps_and_full_drops() {
    let mut snapshot = fleet();
    for (appliance, load) in [(0, 9_499_999_999), (1, 9_500_000_000), (2, 7 * GBPS)] {
        snapshot.appliances[appliance].load.egress = BitsPerSecond(load);
    }
    let (index, r) = ranked(&snapshot, LONDON, &all());
    assert_eq!(ids(&index, &r), ["lon-3", "lon-1", "man-1", "par-1"]);
    assert_eq!(
        (r.entries[0].headroom, r.entries[1].headroom),
        (Headroom::Busy, Headroom::Tight)
    );
    assert_eq!(dropped(&index, &r), [("lon-2".to_owned(), vec!["over_capacity"])]);
}

#[test]
fn all_reasons_are_given() {
    let mut snapshot = fleet();
    snapshot.appliances[0].state = ApplianceState::Lost;
    snapshot.appliances[0].holds.clear();
    snapshot.appliances[0].load.egress = BitsPerSecond(11 * GBPS);
    let (index, r) = ranked(&snapshot, LONDON, &all());
    assert_eq!(
        dropped(&index, &r)[0].1,
        ["lost", "content_missing", "over_capacity"]
    );
}

#[test]
fn outcome_tells_content_from_health() {
    let own = |state: ApplianceState, holds: &[u32]| {
        let mut snapshot = fleet();
        for a in &mut snapshot.appliances[..3] {
            a.state = state;
            a.holds = holds.to_vec();
        }
        ranked(&snapshot, LONDON, &Options::default()).1
    };
    assert_eq!(
        own(ApplianceState::Lost, &[0, 1]).outcome,
        SteeringOutcome::HealthMiss
    );
    assert_eq!(
        own(ApplianceState::Serving, &[0]).outcome,
        SteeringOutcome::ContentMiss
    );
    assert_eq!(
        own(ApplianceState::Lost, &[0]).outcome,
        SteeringOutcome::ContentMiss
    );
    assert_eq!(
        own(ApplianceState::Lost, &[0, 1]).entries.len(),
        2,
        "other sites serve"
    );
    let mut snapshot = fleet();
    snapshot.sites.push(site("empty", "north", &["192.0.2.7/32"]));
    assert_eq!(
        ranked(&snapshot, LONDON, &all()).1.outcome,
        SteeringOutcome::ContentMiss
    );
}

#[test]
fn a_session_stays_where_it_is_among_equals_and_one_step_down() {
    let mut snapshot = fleet();
    let (index, free) = ranked(&snapshot, LONDON, &all());
    let third = free.entries[2].appliance;
    let keep = |snapshot: &FleetSnapshot, current| {
        let options = Options {
            current: Some(current),
            ..Options::default()
        };
        let r = ranked(snapshot, LONDON, &options).1;
        (r.entries[0].appliance, r.entries[0].kept)
    };
    assert_eq!(keep(&snapshot, third), (third, true));
    assert_eq!(
        keep(&snapshot, free.entries[0].appliance),
        (free.entries[0].appliance, false)
    );
    snapshot.appliances[third.0 as usize].load.egress = BitsPerSecond(8 * GBPS);
    assert_eq!(keep(&snapshot, third), (third, true), "one step fuller");
    snapshot.appliances[third.0 as usize].load.egress = BitsPerSecond(9 * GBPS);
    assert_eq!(
        keep(&snapshot, third),
        (free.entries[0].appliance, false),
        "two steps fuller"
    );
    let man = index.appliance_ix(&"man-1".parse().unwrap()).unwrap();
    assert_eq!(
        keep(&snapshot, man),
        (free.entries[0].appliance, false),
        "farther away"
    );
}

#[test]
fn only_restricts_to_what_a_session_declares() {
    let index = Index::build(&fleet()).unwrap();
    let declared = ["par-1", "lon-2", "lon-2"].map(|id| index.appliance_ix(&id.parse().unwrap()).unwrap());
    let options = Options {
        only: Some(&declared),
        ..all()
    };
    let r = rank(&index, LONDON.parse().unwrap(), &film(), &options).unwrap();
    assert_eq!(ids(&index, &r), ["lon-2", "par-1"]);
}

#[test]
fn an_appliance_that_cannot_be_named_to_a_player_costs_only_itself() {
    for bad in [
        "",
        "oca.example",
        "ftp://x",
        "http://",
        "http:///x",
        "http://a b",
        "http://x/?q",
        "http://x\"\n#EXT",
    ] {
        let mut snapshot = fleet();
        snapshot.appliances[0].base_url = bad.into();
        let (index, r) = ranked(&snapshot, LONDON, &all());
        assert_eq!(
            dropped(&index, &r),
            [("lon-1".to_owned(), vec!["unusable"])],
            "{bad}"
        );
    }
    let mut snapshot = fleet();
    snapshot.appliances.push(appliance("origin", "lon", &[0, 1]));
    let (index, r) = ranked(&snapshot, LONDON, &all());
    assert_eq!(dropped(&index, &r), [("origin".to_owned(), vec!["unusable"])]);
}

#[test]
fn snapshots_that_contradict_themselves_are_refused_with_the_place() {
    type Break = fn(&mut FleetSnapshot);
    let cases: [(Break, &str); 8] = [
        (|s| s.sites.push(site("lon", "x", &[])), "site `lon` twice"),
        (
            |s| s.appliances.push(appliance("lon-1", "lon", &[])),
            "appliance `lon-1` twice",
        ),
        (|s| s.titles.push(title("film", &[])), "title `film` twice"),
        (
            |s| s.appliances.push(appliance("x", "nowhere", &[])),
            "site `nowhere`",
        ),
        (
            |s| s.appliances[0].holds.push(4),
            "appliance `lon-1` points to object 4",
        ),
        (|s| s.titles[0].objects.push(9), "title `film` points to object 9"),
        (
            |s| s.titles[0].prefix = "/t/../x".into(),
            "title `film`: `/t/../x`",
        ),
        (
            |s| s.fallback = "origin.example".into(),
            "`fallback` is `origin.example`",
        ),
    ];
    for (broken, wanted) in cases {
        let mut snapshot = fleet();
        broken(&mut snapshot);
        let error: IndexError = Index::build(&snapshot).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn a_network_that_two_sites_claim_goes_to_the_first_by_id_and_is_listed() {
    let mut snapshot = fleet();
    snapshot.sites[2].prefixes.push("192.0.2.9/24".parse().unwrap());
    let index = Index::build(&snapshot).unwrap();
    assert_eq!(index.contested.len(), 1);
    assert_eq!(
        (
            index.contested[0].kept.as_str(),
            index.contested[0].ignored.as_str()
        ),
        ("lon", "par")
    );
    assert_eq!(
        index
            .site(index.site_of(LONDON.parse().unwrap()).unwrap().0)
            .id
            .as_str(),
        "lon"
    );
}

#[test]
fn an_unknown_title_is_an_error_and_no_origin_is_none() {
    let mut snapshot = fleet();
    snapshot.fallback.clear();
    let index = Index::build(&snapshot).unwrap();
    assert_eq!(index.fallback, None);
    let unknown = TitleId::new("unknown").unwrap();
    let error = rank(&index, LONDON.parse().unwrap(), &unknown, &all()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "title `unknown` is not in the fleet's catalogue"
    );
}

#[test]
fn an_explanation_names_everybody_once_with_keys_or_reasons() {
    let mut snapshot = fleet();
    snapshot.appliances[2].state = ApplianceState::Draining;
    let (index, r) = ranked(&snapshot, LONDON, &all());
    let why = serde_json::to_value(explain(&index, LONDON.parse().unwrap(), &r)).unwrap();
    assert_eq!(
        (&why["site"], &why["region"], &why["prefix"]),
        (&"lon".into(), &"north".into(), &"192.0.2.0/24".into())
    );
    assert_eq!(
        (&why["outcome"], &why["generation"], &why["fallback"]),
        (&"hit".into(), &7.into(), &"origin".into())
    );
    assert_eq!(why["ranked"].as_array().unwrap().len(), 4);
    assert_eq!(why["ranked"][0]["tier"], "own_site");
    assert_eq!(why["ranked"][0]["headroom"], "free");
    assert_eq!(why["dropped"][0]["appliance"], "lon-3");
    assert_eq!(why["dropped"][0]["reasons"][0]["reason"], "draining");
}
