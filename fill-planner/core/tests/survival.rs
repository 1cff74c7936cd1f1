//! Copies by heat: the loss of an appliance, fast and large appliances, the pieces of titles, and what operators ask.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "support/small_fleet.rs"]
mod small_fleet;

use cdn_types::{BitsPerSecond, Bytes, RegionId};
use fill_core::{
    InputError,
    assemble::Decided,
    bundle::Grouping,
    place::{Choice, Refusal},
    policy::{Blackout, Link, Over, Pin, PolicyError},
    worth,
};
use small_fleet::SmallFleet;
use std::collections::{BTreeMap, BTreeSet};

/// Appliances of a site that hold each bundle.
fn holders(decided: &Decided<'_>, site: usize) -> BTreeMap<u32, Vec<usize>> {
    let mut holders: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (a, got) in decided.placement.sites[site].appliances.iter().enumerate() {
        for placed in &got.chosen {
            holders.entry(placed.bundle).or_default().push(a);
        }
    }
    holders
}

/// Bits a second of `peaks` (with who could send each) that fit into the egress of each: the hottest first, each on those
/// that have most left.
fn sent(mut peaks: Vec<(f64, Vec<usize>)>, mut egress: Vec<f64>) -> f64 {
    peaks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut sent = 0.0;
    for (mut peak, mut at) in peaks {
        at.sort_by(|a, b| egress[*b].total_cmp(&egress[*a]));
        for a in at {
            let part = peak.min(egress[a]);
            egress[a] -= part;
            peak -= part;
            sent += part;
        }
    }
    sent
}

#[test]
fn the_hot_set_survives_the_loss_of_any_one_appliance() {
    let mut tried = 0;
    for seed in (0..60).map(|n| 4 * n) {
        let mut fleet = SmallFleet::new(seed);
        fleet.rules.guard_share = 0.5;
        for a in &mut fleet.fleet.appliances {
            a.capacity.fill_rate = BitsPerSecond(u64::MAX);
        }
        fleet.decide(|decided, problems| {
            for (s, problem) in problems.iter().enumerate() {
                let n = problem.limits.len();
                // Room for the hot set twice, which is what is asked for.
                let hot: Vec<_> = problem
                    .candidates
                    .iter()
                    .filter(|c| problem.worth.second(c.bundle) >= 1.0)
                    .collect();
                let room: u64 = problem.limits.iter().map(|l| l.storage).sum();
                if n < 2 || hot.iter().map(|c| 3 * c.size).sum::<u64>() > room {
                    continue;
                }
                tried += 1;
                let holders = holders(decided, s);
                let share: f64 =
                    hot.iter().map(|c| problem.worth.drawn(c.bundle)).sum::<f64>() / problem.worth.total();
                assert!(share >= 0.5, "{share}");
                for lost in 0..n {
                    let left = |b: u32| {
                        holders[&b]
                            .iter()
                            .copied()
                            .filter(|a| *a != lost)
                            .collect::<Vec<_>>()
                    };
                    let peaks: Vec<_> = hot
                        .iter()
                        .map(|c| (problem.worth.peak(c.bundle), left(c.bundle)))
                        .collect();
                    assert!(
                        peaks.iter().all(|(_, at)| !at.is_empty()),
                        "fleet {seed}: gone with {lost}"
                    );
                    let all: f64 = peaks.iter().map(|(p, _)| p).sum();
                    let egress: Vec<f64> = problem.site.appliances.iter().map(|a| a.egress as f64).collect();
                    let others: f64 = egress.iter().sum::<f64>() - egress[lost];
                    let sent = sent(peaks, egress);
                    assert!(
                        sent >= 0.95 * all.min(others),
                        "fleet {seed}: {sent} of {all} without {lost}"
                    );
                }
                let survives = decided.placement.sites[s].survives.unwrap();
                assert!(
                    survives >= 0.5
                        || survives * problem.worth.total()
                            >= 0.99
                                * worth::bytes_of_peak(
                                    problem.site.egress() as f64 / n as f64,
                                    problem.world.rules
                                ),
                    "{survives}"
                );
            }
        });
    }
    assert!(tried >= 20, "{tried}");
}

#[test]
fn fast_appliances_get_the_hottest_and_nobody_more_than_it_can_send() {
    let mut fleet = SmallFleet::new(0);
    let storage: u64 = fleet.catalogue.objects.iter().map(|o| o.size.0).sum::<u64>() / 4;
    let demand: f64 = fleet.demand.0.values().flatten().map(|b| f64::from(*b)).sum();
    fleet.fleet.sites.truncate(1);
    fleet.demand.0.retain(|r, _| *r == RegionId::new("r0").unwrap());
    fleet.fleet.appliances = (0..4)
        .map(|a| {
            // The last has less than half of the storage and most of the egress.
            let (part, egress) = if a == 3 { (0.4, 0.5) } else { (1.0, 0.2) };
            let mut view = small_fleet::appliance(0, a, storage as f64 * part, 1e15);
            view.capacity.egress = BitsPerSecond((worth::peak(demand, &fleet.rules) * egress) as u64);
            view
        })
        .collect();
    fleet.decide(|decided, problems| {
        let p = &problems[0];
        assert_eq!(p.is_fast, [false, false, false, true]);
        let heat = |a: usize| {
            let got = &decided.placement.sites[0].appliances[a].chosen;
            let (drawn, size) = got.iter().fold((0.0, 0.0), |(d, s), c| {
                (
                    d + p.worth.drawn(c.bundle),
                    s + decided.bundles.size(c.bundle) as f64,
                )
            });
            drawn / size
        };
        let large = (0..3).map(heat).fold(0.0, f64::max);
        assert!(heat(3) > 1.5 * large, "{} and {large}", heat(3));
        // All that the site holds can be sent at the peak, which no even split could: the large ones would lack egress.
        let holders = holders(decided, 0);
        let peaks: Vec<_> = holders
            .iter()
            .map(|(b, at)| (p.worth.peak(*b), at.clone()))
            .collect();
        let all: f64 = peaks.iter().map(|(p, _)| p).sum();
        let egress: Vec<f64> = p.site.appliances.iter().map(|a| a.egress as f64).collect();
        let by_heat = sent(peaks.clone(), egress.clone());
        let one = |n: usize| vec![n % 4];
        let evenly = peaks.iter().enumerate().map(|(n, (p, _))| (*p, one(n))).collect();
        let evenly = sent(evenly, egress);
        assert!(
            by_heat > 0.9 * all && by_heat > 1.05 * evenly,
            "{by_heat} of {all}, evenly {evenly}"
        );
    });
}

/// Six renditions a title, of which the larger ones are drawn more.
fn renditions(fleet: &mut SmallFleet, grouping: Grouping) {
    fleet.policy.grouping = grouping;
    let titles = fleet.catalogue.objects.clone();
    let part = |object: &cdn_types::api::v1::CatalogueObject, n: u64| {
        let mut part = object.clone();
        part.path = object.path.replace("f.mp4", &format!("f{n}.mp4"));
        part.digest = cdn_types::ObjectDigest::of(part.path.as_bytes());
        part.size = Bytes(object.size.0 * (n + 1) / 21);
        part
    };
    fleet.catalogue.objects = titles
        .iter()
        .flat_map(|o| (0..6).map(move |n| part(o, n)))
        .collect();
    for list in fleet.demand.0.values_mut() {
        let shares = [0.02, 0.08, 0.2, 0.3, 0.3, 0.1];
        *list = list.iter().flat_map(|b| shares.map(|s| s * *b)).collect();
    }
}

#[test]
fn a_larger_rendition_is_only_beside_the_smaller_one() {
    let mut better = 0;
    for seed in [0, 2, 4, 6, 8, 10] {
        let hits_of = |grouping| {
            let mut fleet = SmallFleet::new(seed);
            renditions(&mut fleet, grouping);
            // One copy of each: a finer cut would guard other pieces.
            fleet.rules.guard_share = 0.0;
            fleet.rules.survival_share = 0.0;
            for a in &mut fleet.fleet.appliances {
                a.capacity.fill_rate = BitsPerSecond(u64::MAX);
            }
            fleet.decide(|decided, problems| {
                small_fleet::check(decided, problems);
                for placed in &decided.placement.sites {
                    for got in &placed.appliances {
                        let here: BTreeSet<u32> = got.chosen.iter().map(|c| c.bundle).collect();
                        let needs = |b: &&u32| decided.bundles.list[**b as usize].needs_previous;
                        assert!(here.iter().filter(needs).all(|b| here.contains(&(b - 1))));
                    }
                }
                let sites = decided.placement.sites.iter();
                assert!(
                    sites
                        .flat_map(|s| &s.refused.listed)
                        .all(|(b, r)| *r != Refusal::NoBase
                            || decided.bundles.list[*b as usize].needs_previous)
                );
                let hits = |s: usize| {
                    let report = decided.site(s).site_report();
                    report.hit_share.unwrap() * report.expected.0 as f64
                };
                let hits: f64 = (0..problems.len()).map(hits).sum();
                (hits, decided.placement.score.gap())
            })
        };
        let (title, ladder, file) = (
            hits_of(Grouping::Title),
            hits_of(Grouping::Ladder),
            hits_of(Grouping::File),
        );
        assert!(ladder.1 < 0.03 && file.1 < 0.03, "{ladder:?} {file:?}");
        // The finer the pieces, the more fits.
        assert!(
            ladder.0 >= 0.998 * title.0 && file.0 >= 0.998 * ladder.0,
            "{title:?} {ladder:?} {file:?}"
        );
        better += usize::from(ladder.0 > title.0);
    }
    assert!(better >= 4, "{better}");
}

fn pin(fleet: &SmallFleet, t: usize) -> Pin {
    Pin {
        title: fleet.catalogue.objects[t].title.clone(),
        region: None,
        site: Some("site0".parse().unwrap()),
        copies: 1,
        until: None,
    }
}

fn blackout(fleet: &SmallFleet, t: usize) -> Blackout {
    Blackout {
        title: fleet.catalogue.objects[t].title.clone(),
        region: None,
        site: Some("site0".parse().unwrap()),
        from: None,
        until: None,
    }
}

/// Bundles of the first site.
fn at_first_site(fleet: &SmallFleet) -> BTreeSet<u32> {
    fleet.decide(|decided, _| holders(decided, 0).into_keys().collect())
}

#[test]
fn pins_and_blackouts_hold_on_their_days() {
    let mut fleet = SmallFleet::new(0);
    let before = at_first_site(&fleet);
    let missing = (0..).find(|b| !before.contains(b)).unwrap();
    let (wanted, unwanted) = (missing, *before.first().unwrap());
    fleet.policy.pins = vec![pin(&fleet, wanted as usize)];
    fleet.policy.blackouts = vec![blackout(&fleet, unwanted as usize)];
    let after = at_first_site(&fleet);
    assert!(after.contains(&wanted) && !after.contains(&unwanted));
    fleet.decide(|decided, _| {
        let report = decided.site(0).site_report();
        let barred = report.left_out.iter().filter(|l| l.reason == Refusal::Barred);
        assert_eq!(barred.count(), 1);
        let titles =
            (0..decided.fleet.sites[0].appliances.len()).flat_map(|a| decided.site(0).appliance(a).1.titles);
        assert_eq!(titles.filter(|t| t.because.starts_with("pinned; ")).count(), 1);
    });
    // The planned day is 2026-11-23.
    let day = |d: &str| Some(d.parse().unwrap());
    fleet.policy.pins[0].until = day("2026-11-22");
    fleet.policy.blackouts[0].from = day("2026-11-24");
    assert_eq!(at_first_site(&fleet), before);
    fleet.policy.pins[0].until = day("2026-11-23");
    fleet.policy.blackouts[0].from = day("2026-11-01");
    fleet.policy.blackouts[0].until = day("2026-11-23");
    assert_eq!(at_first_site(&fleet), after);
}

#[test]
fn what_a_policy_gets_wrong_is_named() {
    let refuse = |change: &dyn Fn(&mut SmallFleet)| {
        let mut fleet = SmallFleet::new(0);
        change(&mut fleet);
        match fleet.try_decide(|_, _| ()) {
            Err(InputError::Policy(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let text = |change: &dyn Fn(&mut SmallFleet)| refuse(change).to_string();
    let nowhere = text(&|f| {
        f.policy.pins = vec![Pin {
            site: Some("nowhere".parse().unwrap()),
            ..pin(f, 0)
        }];
    });
    assert!(
        nowhere.contains("pin of title-0000: the fleet has no site nowhere"),
        "{nowhere}"
    );
    let unknown = text(&|f| {
        f.policy.blackouts = vec![Blackout {
            title: "none".parse().unwrap(),
            ..blackout(f, 0)
        }];
    });
    assert!(
        unknown.contains("blackout of none: the catalogue has no such title"),
        "{unknown}"
    );
    let large = text(&|f| {
        f.catalogue.objects[0].size = Bytes(1 << 50);
        f.policy.pins = vec![pin(f, 0)];
    });
    assert!(large.contains("larger than any appliance's storage"), "{large}");
    let all = text(&|f| {
        f.fleet
            .appliances
            .iter_mut()
            .for_each(|a| a.capacity.storage = Bytes(10_000_000_000));
        f.policy.pins = (0..f.catalogue.objects.len()).map(|t| pin(f, t)).collect();
    });
    assert!(
        all.contains("all that is pinned is larger than the site's storage"),
        "{all}"
    );
    let both = refuse(&|f| {
        f.policy.pins = vec![pin(f, 3)];
        f.policy.blackouts = vec![blackout(f, 3)];
    });
    assert!(matches!(both, PolicyError::Contradiction { .. }));
    let link = |over| Link {
        name: "l".into(),
        cap: Bytes(1),
        over,
    };
    let lost = text(&|f| f.policy.links = vec![link(Over::Appliances(vec!["none".parse().unwrap()]))]);
    assert!(
        lost.contains("link `l`: the fleet has no appliance none"),
        "{lost}"
    );
    let twice = refuse(&|f| f.policy.links = vec![link(Over::Origin), link(Over::Origin)]);
    assert!(matches!(twice, PolicyError::DuplicateLink(_)));
}

#[test]
fn a_link_without_a_byte_brings_nothing_and_says_so() {
    let mut fleet = SmallFleet::new(0);
    fleet.policy.links = vec![Link {
        name: "uplink".into(),
        cap: Bytes(0),
        over: Over::Sites(vec!["site0".parse().unwrap()]),
    }];
    fleet.decide(|decided, _| {
        let site = &decided.placement.sites[0];
        assert!(site.appliances.iter().all(|a| a.filled == 0));
        assert!(site.refused.listed.iter().any(|(_, r)| *r == Refusal::NoLinkLeft));
        let link = decided.summary().links.last().unwrap();
        assert_eq!(
            (link.link.as_str(), link.bytes, link.cap),
            ("uplink", Bytes(0), Some(Bytes(0)))
        );
        let rest = &decided.placement.sites[1..];
        assert!(rest.iter().all(|s| s.appliances.iter().any(|a| a.filled > 0)));
    });
}

#[test]
fn one_that_leaves_has_its_share_taken_over_and_no_more() {
    let (mut all_moved, mut fair) = (0.0, 0.0);
    for seed in 0..20 {
        let mut fleet = SmallFleet::new(4 * seed);
        let n = fleet
            .fleet
            .appliances
            .iter()
            .filter(|a| a.site.as_str() == "site0")
            .count();
        if n < 2 {
            continue;
        }
        for a in &mut fleet.fleet.appliances {
            a.capacity.fill_rate = BitsPerSecond(u64::MAX);
            // Room beside what is held, so that the others can take over in one night.
            a.capacity.storage = Bytes(3 * a.capacity.storage.0);
        }
        let bytes = |decided: &Decided<'_>| -> (u64, u64) {
            let got = &decided.placement.sites[0].appliances;
            let size = |b: u32| decided.bundles.size(b);
            let stored = got.iter().flat_map(|a| &a.chosen).map(|c| size(c.bundle)).sum();
            (stored, got.iter().map(|a| a.filled).sum())
        };
        let (stored, holds) = fleet.decide(|decided, _| (bytes(decided).0, fleet.holds(decided)));
        fleet.hold_exactly(&holds);
        let gone = fleet.fleet.appliances.remove(0);
        let share = gone.capacity.storage.0 as f64
            / (fleet.fleet.appliances.iter().chain([&gone]))
                .filter(|a| a.site.as_str() == "site0")
                .map(|a| a.capacity.storage.0 as f64)
                .sum::<f64>();
        all_moved += fleet.decide(|decided, _| bytes(decided).1) as f64;
        fair += share * stored as f64;
    }
    let moved = all_moved / fair;
    println!("bytes moved when one leaves, over its share of the storage: {moved:.2}");
    assert!((0.2..=1.2).contains(&moved), "{moved}");
}

#[test]
fn copies_say_why_they_are_there() {
    let fleet = SmallFleet::new(1);
    fleet.decide(|decided, problems| {
        for (p, placed) in problems.iter().zip(&decided.placement.sites) {
            for (a, got) in placed.appliances.iter().enumerate() {
                for c in &got.chosen {
                    let whole = p.present.bytes(c.bundle, a) >= decided.bundles.size(c.bundle);
                    assert_eq!(whole, !matches!(c.choice, Choice::Added { .. }));
                }
            }
        }
    });
}
