//! What operators and contracts ask of a plan: titles that must be somewhere, titles that must not, links that several
//! sites or appliances share, and how titles are cut. A policy that names what does not exist is an error, so that a
//! slip of the pen does not pass for obedience.

mod calendar;

use crate::{
    bundle::{Bundles, Grouping},
    fleet::Fleet,
};
use cdn_types::{Bytes, OcaId, RegionId, SiteId, TitleId, time::Date};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How titles are cut into what is placed.
    pub grouping: Grouping,
    /// Titles that must be at sites.
    pub pins: Vec<Pin>,
    /// Titles that must not be at sites.
    pub blackouts: Vec<Blackout>,
    /// Links with a cap a night.
    pub links: Vec<Link>,
}

/// A title that must be at every site, or at some, whatever it is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The title.
    pub title: TitleId,
    /// At this region's sites only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// At this site only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// Copies at each site.
    #[serde(default = "one")]
    pub copies: u8,
    /// The last day; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// A title that must not be at any site, or at some: its licence ends or begins, or does not cover the place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    /// The title.
    pub title: TitleId,
    /// At this region's sites only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// At this site only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// The first day; since ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// The last day; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// A link that several fills share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Name in reports.
    pub name: String,
    /// Most bytes of a night.
    pub cap: Bytes,
    /// What goes over it.
    pub over: Over,
}

/// What goes over a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// Everything that is fetched from the origin.
    Origin,
    /// Everything that these sites fetch from outside of themselves.
    Sites(Vec<SiteId>),
    /// Everything that these appliances fetch.
    Appliances(Vec<OcaId>),
}

/// Why a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A title that the catalogue does not have.
    #[error("{what} of {title}: the catalogue has no such title")]
    UnknownTitle {
        /// Pin or blackout.
        what: &'static str,
        /// The title.
        title: TitleId,
    },
    /// A site or region that the fleet does not have.
    #[error("{what}: the fleet has no {place}")]
    UnknownPlace {
        /// Who names it.
        what: String,
        /// The place.
        place: String,
    },
    /// An appliance that the fleet does not have.
    #[error("link `{link}`: the fleet has no appliance {appliance}")]
    UnknownAppliance {
        /// The link.
        link: String,
        /// The appliance.
        appliance: OcaId,
    },
    /// A title that must and must not be at a site.
    #[error("title {title} is pinned and blacked out at site {site} on the planned day")]
    Contradiction {
        /// The title.
        title: TitleId,
        /// The site.
        site: SiteId,
    },
    /// Pins that do not fit.
    #[error("site {site}: {title} is pinned, but {why}")]
    PinTooLarge {
        /// The title.
        title: TitleId,
        /// The site.
        site: SiteId,
        /// What lacks.
        why: &'static str,
    },
    /// Two links of one name.
    #[error("link `{0}` stands twice")]
    DuplicateLink(String),
}

/// What a policy means for each bundle at one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// That many copies must be there.
    Pinned(u8),
    /// None may be there.
    Barred,
}

/// A policy in force on one day, by the indices of fleet and bundles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// By site: bundles with a term, rising.
    pub sites: Vec<Vec<(u32, Term)>>,
    /// Links in the policy's order.
    pub links: Vec<Shared>,
}

/// A link by indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Name in reports.
    pub name: String,
    /// Most bytes of a night.
    pub cap: u64,
    /// Whether it carries only what comes from the origin.
    pub origin: bool,
    /// By site: whether what it fetches from outside goes over it.
    pub sites: Vec<bool>,
    /// Appliances, by site and place in it, whose whole fill goes over it, rising.
    pub appliances: Vec<(u32, u32)>,
}

fn one() -> u8 {
    1
}

impl Terms {
    /// Resolves and checks a policy for the planned day.
    pub fn new(
        policy: &Policy,
        day: Date,
        fleet: &Fleet,
        bundles: &Bundles<'_>,
    ) -> Result<Self, PolicyError> {
        let mut sites = vec![BTreeMap::new(); fleet.sites.len()];
        for pin in &policy.pins {
            let range = known(bundles, "pin", &pin.title)?;
            let what = format!("pin of {}", pin.title);
            let places = places(fleet, pin.region.as_ref(), pin.site.as_ref(), &what)?;
            for site in places.into_iter().filter(|_| pin.until.is_none_or(|u| day <= u)) {
                for b in range.clone() {
                    // The calendar may pin what the policy pins: the more copies hold.
                    let copies = match sites[site].get(&b) {
                        Some(Term::Pinned(copies)) => pin.copies.max(*copies),
                        _ => pin.copies.max(1),
                    };
                    sites[site].insert(b, Term::Pinned(copies));
                }
            }
        }
        for blackout in &policy.blackouts {
            let range = known(bundles, "blackout", &blackout.title)?;
            let what = format!("blackout of {}", blackout.title);
            let places = places(fleet, blackout.region.as_ref(), blackout.site.as_ref(), &what)?;
            let from = blackout.from.is_none_or(|f| f <= day);
            let runs = from && blackout.until.is_none_or(|u| day <= u);
            for site in places.into_iter().filter(|_| runs) {
                for b in range.clone() {
                    if matches!(sites[site].insert(b, Term::Barred), Some(Term::Pinned(_))) {
                        return Err(PolicyError::Contradiction {
                            title: blackout.title.clone(),
                            site: fleet.sites[site].id.clone(),
                        });
                    }
                }
            }
        }
        let sites: Vec<Vec<_>> = sites.into_iter().map(|s| s.into_iter().collect()).collect();
        for (site, terms) in sites.iter().enumerate() {
            check_room(fleet, site, terms, bundles)?;
        }
        Ok(Self {
            sites,
            links: links(policy, fleet)?,
        })
    }

    /// What holds for a bundle at a site.
    pub fn of(&self, site: usize, bundle: u32) -> Option<Term> {
        let terms = self.sites.get(site)?;
        let at = terms.binary_search_by_key(&bundle, |(b, _)| *b).ok()?;
        Some(terms[at].1)
    }
}

fn known(
    bundles: &Bundles<'_>,
    what: &'static str,
    title: &TitleId,
) -> Result<std::ops::Range<u32>, PolicyError> {
    let range = bundles.of_title(title);
    if range.is_empty() {
        let title = title.clone();
        return Err(PolicyError::UnknownTitle { what, title });
    }
    Ok(range)
}

/// Sites that get parts among those that are named. A site or region of which all appliances are lost is no slip.
fn places(
    fleet: &Fleet,
    region: Option<&RegionId>,
    site: Option<&SiteId>,
    what: &str,
) -> Result<Vec<usize>, PolicyError> {
    let named = |s: &SiteId, r: &RegionId| site.is_none_or(|id| id == s) && region.is_none_or(|id| id == r);
    let places: Vec<usize> = (0..fleet.sites.len())
        .filter(|s| named(&fleet.sites[*s].id, &fleet.sites[*s].region))
        .collect();
    let idle = || fleet.idle_sites.iter().any(|(s, r)| named(s, r));
    if places.is_empty() && (site.is_some() || region.is_some()) && !idle() {
        let site = site.map(|s| format!("site {s}"));
        let region = region.map(|r| format!("a site of region {r}"));
        let place: Vec<String> = site.into_iter().chain(region).collect();
        return Err(PolicyError::UnknownPlace {
            what: what.to_owned(),
            place: place.join(" and "),
        });
    }
    Ok(places)
}

/// Pins must fit: each into one appliance, as many as its copies, and all into the site.
fn check_room(
    fleet: &Fleet,
    site: usize,
    terms: &[(u32, Term)],
    bundles: &Bundles<'_>,
) -> Result<(), PolicyError> {
    let site = &fleet.sites[site];
    let mut left: u64 = site
        .appliances
        .iter()
        .fold(0, |sum, a| sum.saturating_add(a.storage));
    for (b, term) in terms {
        let Term::Pinned(copies) = term else { continue };
        let size = bundles.size(*b);
        let refuse = |why| PolicyError::PinTooLarge {
            title: bundles.title(*b).clone(),
            site: site.id.clone(),
            why,
        };
        let fits = site.appliances.iter().filter(|a| size <= a.storage).count();
        if fits == 0 {
            return Err(refuse("it is larger than any appliance's storage"));
        }
        if fits < usize::from(*copies) {
            return Err(refuse("fewer appliances than copies have storage for it"));
        }
        left = left
            .checked_sub(size.saturating_mul(u64::from(*copies)))
            .ok_or_else(|| refuse("all that is pinned is larger than the site's storage"))?;
    }
    Ok(())
}

fn links(policy: &Policy, fleet: &Fleet) -> Result<Vec<Shared>, PolicyError> {
    let mut out: Vec<Shared> = Vec::new();
    for link in &policy.links {
        if out.iter().any(|l| l.name == link.name) {
            return Err(PolicyError::DuplicateLink(link.name.clone()));
        }
        let mut shared = Shared {
            name: link.name.clone(),
            cap: link.cap.0,
            origin: link.over == Over::Origin,
            sites: vec![link.over == Over::Origin; fleet.sites.len()],
            appliances: Vec::new(),
        };
        match &link.over {
            Over::Origin => {}
            Over::Sites(ids) => {
                for id in ids {
                    for site in places(fleet, None, Some(id), &format!("link `{}`", link.name))? {
                        shared.sites[site] = true;
                    }
                }
            }
            Over::Appliances(ids) => {
                for id in ids {
                    match fleet.find(id) {
                        Some((site, a)) => shared.appliances.push((site as u32, a as u32)),
                        None if fleet.left_out.iter().any(|(lost, _)| lost == id) => {}
                        None => {
                            return Err(PolicyError::UnknownAppliance {
                                link: link.name.clone(),
                                appliance: id.clone(),
                            });
                        }
                    }
                }
                shared.appliances.sort_unstable();
                shared.appliances.dedup();
            }
        }
        out.push(shared);
    }
    Ok(out)
}
