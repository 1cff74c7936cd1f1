//! The order of the keys, and what policy says of them.

use super::{
    fixture::{GBPS, appliance, fleet, site, title},
    routes::{announce, attributes},
};
use cdn_types::{
    BitsPerSecond, ObjectDigest, OcaId, TitleId,
    api::v1::{ApplianceState, FleetSnapshot, SteeringOutcome},
};
use std::{net::IpAddr, sync::Arc};
use steering_core::{
    DropReason, Index, Options, Policy, Ranking, Tier,
    circuit::fleet::Verdicts,
    explain,
    fleet::FleetIndex,
    index::{Parts, cover},
    policy::{Location, raw::RawPolicy},
    rank,
    routes::{Attributes, RouteBuilder, SiteClass},
    throughput::Throughput,
};

/// A client in no site's networks.
pub const CLIENT: &str = "100.64.9.9";

pub fn film() -> TitleId {
    TitleId::new("film").unwrap()
}

pub fn all() -> Options<'static> {
    Options {
        limit: usize::MAX,
        complete: true,
        ..Options::default()
    }
}

/// What an index is made of, to be changed.
pub struct World {
    pub fleet: FleetSnapshot,
    pub routes: RouteBuilder,
    pub policy: Policy,
    pub throughput: Throughput,
    pub circuits: Verdicts,
}

impl World {
    pub fn new(fleet: FleetSnapshot) -> Self {
        Self {
            fleet,
            routes: RouteBuilder::new(),
            policy: Policy::default(),
            throughput: Throughput::new(100),
            circuits: Verdicts::default(),
        }
    }
    pub fn route(&mut self, appliance: &str, prefix: &str, with: Attributes) {
        let id = OcaId::new(appliance).unwrap();
        self.routes.apply(&id, &announce(&[prefix], with)).unwrap();
    }
    pub fn index(&mut self) -> Index {
        let fleet = Arc::new(FleetIndex::build(&self.fleet).unwrap());
        let contested = cover(&mut self.routes, &fleet);
        let parts = Parts {
            fleet,
            routes: Arc::new(self.routes.publish()),
            policy: Arc::new(self.policy.clone()),
            measured: Arc::new(self.throughput.measured(0.0)),
            circuits: Arc::new(self.circuits.clone()),
        };
        Index::join(parts, contested)
    }
    pub fn rank(&mut self, options: &Options) -> (Index, Ranking) {
        let index = self.index();
        let ranking = rank(&index, CLIENT.parse().unwrap(), &film(), options).unwrap();
        (index, ranking)
    }
    pub fn order(&mut self, options: &Options) -> Vec<String> {
        let (index, ranking) = self.rank(options);
        let id = |e: &steering_core::Ranked| index.appliance(e.appliance).id.to_string();
        ranking.entries.iter().map(id).collect()
    }
}

pub fn policy(toml: &str) -> Result<Policy, String> {
    let raw: RawPolicy = toml::from_str(toml).map_err(|e| e.message().to_owned())?;
    Policy::try_from(raw).map_err(|e| e.to_string())
}

/// Four sites of one appliance each, of which nothing tells one from another.
fn four() -> World {
    let mut snapshot = fleet();
    snapshot.sites = ["a", "b", "c", "d"].map(|s| site(s, "r", &[])).to_vec();
    snapshot.appliances = ["a", "b", "c", "d"].map(|s| appliance(s, s, &[0, 1])).to_vec();
    World::new(snapshot)
}

fn private(path: u16, neighbour: u32, med: u32) -> Attributes {
    attributes(SiteClass::Private, path, neighbour, med)
}

#[test]
fn routes_order_by_class_then_length_then_path_then_med_within_a_neighbour() {
    let mut w = four();
    let net = "100.64.0.0/16";
    w.route("a", net, attributes(SiteClass::Transit, 1, 1, 0));
    w.route("b", net, attributes(SiteClass::Exchange, 1, 1, 0));
    w.route("c", net, attributes(SiteClass::Private, 9, 1, 0));
    w.route("d", net, attributes(SiteClass::Embedded, 9, 1, 0));
    assert_eq!(w.order(&all()), ["d", "c", "b", "a"], "class");

    let mut w = four();
    for (id, net) in [
        ("a", "100.0.0.0/8"),
        ("b", "100.64.0.0/10"),
        ("c", "100.64.8.0/21"),
        ("d", "100.64.9.0/24"),
    ] {
        w.route(id, net, private(1, 1, 0));
    }
    assert_eq!(
        w.order(&all()),
        ["d", "c", "b", "a"],
        "each its own longest match"
    );

    let mut w = four();
    for (id, path) in [("a", 4), ("b", 3), ("c", 2), ("d", 1)] {
        w.route(id, net, private(path, 1, 0));
    }
    assert_eq!(w.order(&all()), ["d", "c", "b", "a"], "AS path");

    let mut w = four();
    for (id, neighbour, med) in [("a", 1, 70), ("b", 1, 60), ("c", 1, 50), ("d", 2, 900)] {
        w.route(id, net, private(1, neighbour, med));
    }
    let order = w.order(&all());
    assert_eq!(order[2..], ["b", "a"], "MED within one neighbour");
    assert!(
        order[..2].contains(&"d".to_owned()),
        "the other neighbour's 900 is its own lowest"
    );
    w.policy = policy("version = 1\nmed = \"always\"").unwrap();
    assert_eq!(w.order(&all()), ["c", "b", "a", "d"]);
    w.policy = policy("version = 1\nmed = \"never\"").unwrap();
    let (_, r) = w.rank(&all());
    assert!(r.entries.iter().all(|e| !e.key.better_route(r.entries[0].key)));
}

#[test]
fn an_appliance_with_a_route_of_its_own_and_its_sites_is_ranked_once_by_the_better() {
    let mut w = four();
    w.fleet.sites[0].prefixes = vec!["100.64.0.0/10".parse().unwrap()];
    w.fleet.appliances[1].site = "a".parse().unwrap();
    w.route("b", "100.64.9.0/24", attributes(SiteClass::Embedded, 1, 1, 0));
    w.route("b", "100.64.0.0/16", attributes(SiteClass::Transit, 1, 1, 0));
    let (index, r) = w.rank(&all());
    let tiers: Vec<_> = r.entries.iter().map(|e| e.tier).collect();
    assert_eq!(
        tiers,
        [Tier::OwnSite, Tier::OwnSite, Tier::SameRegion, Tier::SameRegion]
    );
    assert_eq!(index.appliance(r.entries[0].appliance).id.as_str(), "b");
    assert_eq!(r.site.unwrap().1, "100.64.9.0/24".parse().unwrap());
    w.policy = policy("version = 1\n[class_order]\nembedded = 5").unwrap();
    assert_eq!(
        w.order(&all())[..2],
        ["b", "a"],
        "the longer match within an equal class"
    );
}

#[test]
fn routes_of_appliances_that_are_not_in_the_fleet_count_for_nothing() {
    let mut w = four();
    w.route("gone", "100.64.9.0/24", private(1, 1, 0));
    let (_, r) = w.rank(&all());
    assert_eq!((r.site, r.outcome), (None, SteeringOutcome::NoSite));
    w.route("c", "100.64.0.0/16", private(1, 1, 0));
    assert_eq!(w.order(&all())[0], "c");
}

#[test]
fn measured_throughput_demotes_and_the_unknown_gets_its_chance() {
    let mut w = four();
    for id in ["a", "b", "c", "d"] {
        w.route(id, "100.64.0.0/16", private(1, 1, 0));
    }
    let client = CLIENT.parse().unwrap();
    for (id, mbps) in [("a", 80), ("b", 40), ("c", 2)] {
        for _ in 0..5 {
            w.throughput
                .sample(client, &id.parse().unwrap(), mbps * 1_000_000, 0.0);
        }
    }
    let mut unknown = w.order(&all());
    assert_eq!(unknown.pop().unwrap(), "c", "of 2 Mbit/s");
    assert_eq!(unknown.len(), 3, "enough is enough, and not known is worth a try");
    let c = w.index().appliance_ix(&"c".parse().unwrap());
    let r = w.rank(&Options { current: c, ..all() }).1;
    assert!(!r.entries[0].kept, "more than a step worse: moved away");
}

#[test]
fn distance_decides_between_equal_routes_when_both_ends_are_known() {
    let mut w = four();
    w.policy = policy(
        "version = 1\nlocation = [{ site = \"a\", latitude = 60.2, longitude = 24.9 }, \
         { site = \"b\", latitude = 51.5, longitude = -0.1 }, { site = \"c\", latitude = 48.9, longitude = 2.4 }]",
    )
    .unwrap();
    let paris = Location::new(48.8, 2.3);
    assert_eq!(
        w.order(&Options {
            location: paris,
            ..all()
        }),
        ["c", "b", "a", "d"]
    );
    let (_, r) = w.rank(&all());
    assert_eq!(r.entries.len(), 4);
    let km = Location::new(51.5, -0.1).unwrap().distance_km(paris.unwrap());
    assert!((330.0..360.0).contains(&km), "London to Paris: {km}");
}

#[test]
fn rules_prefer_avoid_pin_and_block_by_prefix_asn_and_country() {
    let mut w = four();
    for id in ["a", "b", "c", "d"] {
        w.route(id, "100.64.0.0/16", private(1, 1, 0));
    }
    w.route("d", "100.64.0.0/16", private(7, 1, 0));
    let mut with = |rules: &str, country: Option<&str>| {
        w.policy = policy(&format!("version = 3\n{rules}")).unwrap();
        let country = country.map(|c| c.parse().unwrap());
        w.order(&Options { country, ..all() })
    };
    let rule = |rule: &str| format!("[[rule]]\n{rule}\n");
    assert_eq!(
        with(
            &rule("prefix = \"100.64.0.0/10\"\nprefer = 5\nsite = \"d\""),
            None
        )[0],
        "d"
    );
    assert_ne!(
        with(
            &rule("prefix = \"100.65.0.0/16\"\nprefer = 5\nsite = \"d\""),
            None
        )[0],
        "d"
    );
    assert_eq!(
        with(&rule("asn = 64500\navoid = 5\nappliance = \"a\""), None)[3],
        "a",
        "after the long path"
    );
    assert_eq!(
        with(
            &rule("country = \"de\"\npin = true\nappliance = \"d\""),
            Some("DE")
        )[0],
        "d"
    );
    assert_eq!(
        with(&rule("country = \"de\"\npin = true\nappliance = \"d\""), None)[3],
        "d"
    );
    let both = rule("asn = 64500\nprefer = 1\nsite = \"d\"") + &rule("asn = 64500\navoid = 2\nsite = \"d\"");
    assert_eq!(with(&both, None)[3], "d", "rules add up");
    let blocked =
        rule("asn = 64500\nblock = true\nappliance = \"b\"") + &rule("asn = 64500\npin = true\nsite = \"b\"");
    let order = with(&blocked, None);
    assert_eq!(
        (order.len(), order.contains(&"b".to_owned())),
        (3, false),
        "blocked is blocked"
    );
    let (index, r) = w.rank(&all());
    assert_eq!(index.appliance(r.dropped[0].appliance).id.as_str(), "b");
    assert_eq!(r.dropped[0].reasons, [DropReason::Blocked]);
}

#[test]
fn a_pin_reaches_beyond_the_routes() {
    let mut w = four();
    w.route("a", "100.64.0.0/16", private(1, 1, 0));
    w.route("b", "100.64.0.0/16", private(1, 1, 0));
    w.policy = policy("version = 1\n[[rule]]\nprefix = \"100.64.9.0/24\"\npin = true\nsite = \"d\"").unwrap();
    let short = Options {
        limit: 2,
        ..Options::default()
    };
    assert_eq!(w.order(&short)[0], "d");
    w.fleet.appliances[3].state = ApplianceState::Lost;
    assert!(!w.order(&short).contains(&"d".to_owned()), "health comes first");
}

#[test]
fn a_title_is_watched_only_where_it_is_licensed() {
    let mut w = four();
    let mut allowed = |licence: &str, country: Option<&str>| {
        w.policy = policy(&format!("version = 1\n[[licence]]\ntitle = \"film\"\n{licence}")).unwrap();
        let country = country.map(|c| c.parse().unwrap());
        let (index, r) = w.rank(&Options { country, ..all() });
        let why = explain(&index, CLIENT.parse().unwrap(), &r);
        assert_eq!(r.licensed, !r.entries.is_empty());
        assert_eq!(r.licensed, why.fallback.is_some(), "nor from the origin");
        assert!(r.reserve.is_empty());
        assert!(r.dropped.iter().all(|d| d.reasons == [DropReason::NotLicensed]));
        r.licensed
    };
    assert!(allowed("only = [\"DE\", \"at\"]", Some("AT")));
    assert!(!allowed("only = [\"DE\", \"at\"]", Some("CH")));
    assert!(!allowed("only = [\"DE\", \"at\"]", None), "not known where");
    assert!(allowed("except = [\"US\"]", None));
    assert!(!allowed("except = [\"US\"]", Some("us")));
}

#[test]
fn steps_of_load_and_of_staying_are_the_policys() {
    let mut w = four();
    w.fleet.appliances[0].load.egress = BitsPerSecond(5 * GBPS);
    let a = w.index().appliance_ix(&"a".parse().unwrap());
    w.policy = policy("version = 1\n[headroom]\nbusy_from_permille = 400").unwrap();
    assert_eq!(w.order(&all())[3], "a");
    let stay = Options { current: a, ..all() };
    assert_eq!(w.order(&stay)[0], "a", "one step fuller");
    w.policy = policy("version = 1\nhysteresis_steps = 0\n[headroom]\nbusy_from_permille = 400").unwrap();
    assert_eq!(w.order(&stay)[3], "a");
    w.policy = policy("version = 1\n[headroom]\nbusy_from_permille = 300\ntight_from_permille = 400\nfull_from_permille = 500").unwrap();
    assert_eq!(w.order(&all()).len(), 3, "full");
}

#[test]
fn a_session_leaves_for_a_better_route_only() {
    let mut w = four();
    w.route("a", "100.64.0.0/16", private(1, 1, 0));
    w.route("b", "100.64.0.0/16", private(2, 1, 0));
    w.route("c", "100.64.0.0/16", private(1, 1, 0));
    let index = w.index();
    let at = |id: &str| index.appliance_ix(&id.parse().unwrap());
    let mut first = |current| w.order(&Options { current, ..all() })[0].clone();
    assert_eq!((first(at("a")), first(at("c"))), ("a".into(), "c".into()));
    assert_ne!(first(at("b")), "b", "a shorter path leads elsewhere");
    assert_ne!(first(at("d")), "d", "it has no route at all");
}

#[test]
fn two_entries_where_two_exist_the_draining_before_the_lost() {
    let mut w = four();
    for (at, state) in [
        (0, ApplianceState::Lost),
        (1, ApplianceState::Draining),
        (2, ApplianceState::Unhealthy),
    ] {
        w.fleet.appliances[at].state = state;
    }
    w.fleet.appliances[3].holds.clear();
    let reserve = |w: &mut World| {
        let (index, r) = w.rank(&Options::default());
        assert!(r.entries.is_empty());
        r.reserve
            .iter()
            .map(|ix| index.appliance(*ix).id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(reserve(&mut w), ["b"], "beside the origin");
    w.fleet.fallback.clear();
    assert_eq!(reserve(&mut w), ["b", "c"]);
    w.policy = policy("version = 1\nminimum_entries = 4").unwrap();
    assert_eq!(reserve(&mut w), ["b", "c", "a"], "never who lacks the title");
    w.fleet.appliances[0].state = ApplianceState::Serving;
    w.policy = Policy::default();
    let r = w.rank(&Options::default()).1;
    assert_eq!((r.entries.len(), r.reserve.len()), (1, 1));
}

#[test]
fn an_explanation_tells_routes_steps_and_where_each_lost() {
    let mut w = four();
    w.route("a", "100.64.9.0/24", private(1, 7, 30));
    w.route("b", "100.64.0.0/16", private(1, 7, 0));
    w.fleet.appliances[2].load.egress = BitsPerSecond(8 * GBPS);
    w.fleet.appliances[3].state = ApplianceState::Draining;
    w.policy = policy("version = 9").unwrap();
    let (index, r) = w.rank(&all());
    let why = serde_json::to_value(explain(&index, CLIENT.parse().unwrap(), &r)).unwrap();
    assert_eq!(
        (&why["policy"], &why["prefix"]),
        (&9.into(), &"100.64.9.0/24".into())
    );
    let a = &why["ranked"][0];
    assert_eq!(
        (&a["lost_at"], &a["tier"]),
        (&serde_json::Value::Null, &"own_site".into())
    );
    assert_eq!(a["route"]["prefix"], "100.64.9.0/24");
    assert_eq!(a["route"]["class"], "private");
    assert_eq!(
        (&a["route"]["neighbour_as"], &a["route"]["med"]),
        (&7.into(), &30.into())
    );
    let lost = |at: usize| why["ranked"][at]["lost_at"].as_str().unwrap();
    assert_eq!((lost(1), lost(2)), ("prefix_length", "class"));
    let step = |name: &str| {
        let steps = why["steps"].as_array().unwrap();
        steps.iter().find(|s| s["step"] == name).unwrap()["left"]
            .as_u64()
            .unwrap()
    };
    assert_eq!((step("routes"), step("region"), step("fleet")), (2, 4, 4));
    assert_eq!(
        (step("unhealthy"), step("draining"), step("over_capacity")),
        (4, 3, 3)
    );
}

#[test]
fn a_used_answer_is_as_good_as_a_new_one() {
    let mut w = four();
    w.fleet.titles.push(title("other", &[2]));
    w.fleet.objects = (0u8..4).map(|i| ObjectDigest::of(&[i])).collect();
    w.route("a", "100.64.0.0/16", private(1, 1, 0));
    let index = w.index();
    let mut used = Ranking::default();
    for (asset, client) in [
        ("film", CLIENT),
        ("other", "2001:db8::1"),
        ("film", "192.0.2.1"),
        ("film", CLIENT),
    ] {
        let (asset, client) = (TitleId::new(asset).unwrap(), client.parse().unwrap());
        let title = index.title_ix(asset.as_str()).unwrap();
        steering_core::rank_into(&index, index.client(client), title, &all(), &mut used);
        let new = rank(&index, client, &asset, &all()).unwrap();
        assert_eq!(
            (&used.entries, &used.dropped, used.site),
            (&new.entries, &new.dropped, new.site)
        );
        assert_eq!(
            (used.outcome, used.licensed, &used.reserve),
            (new.outcome, new.licensed, &new.reserve)
        );
    }
}

#[test]
fn a_network_alike_has_the_same_routes_and_rules() {
    let mut world = World::new(fleet());
    world.route("par-1", "100.64.9.0/24", Attributes::coverage());
    world.route("par-1", "100.64.9.8/29", attributes(SiteClass::Private, 1, 1, 0));
    world.policy =
        policy("version = 1\n[[rule]]\nprefix = \"203.0.113.64/26\"\nblock = true\nsite = \"par\"").unwrap();
    let index = world.index();
    for (client, wanted) in [
        (CLIENT, "100.64.9.8/29"),
        ("100.64.9.200", "100.64.9.0/24"),
        ("192.0.2.200", "192.0.2.128/25"), // of man
        ("192.0.2.20", "192.0.2.0/24"),
        ("203.0.113.77", "203.0.113.64/26"),
        ("203.0.113.200", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::ffff:192.0.2.20", "192.0.2.0/24"),
    ] {
        let client: IpAddr = client.parse().unwrap();
        let network = index.network_alike(client);
        assert_eq!(network.to_string(), wanted, "{client}");
        let order = |ip| rank(&index, ip, &film(), &all()).unwrap().entries;
        assert_eq!(order(network.network()), order(client), "{client}");
    }
}
