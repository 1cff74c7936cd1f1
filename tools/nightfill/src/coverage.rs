//! Coverage files: which networks a site serves, for sites that hear no BGP. Two forms are read: lines of
//! `network,site`, and the coverage zone file of Apache Traffic Control's Traffic Router, whose zones are taken for sites.
//! Everything is checked before anything is changed.

use cdn_types::{SiteId, api::v1::Site};
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The networks of each site in the file.
pub type Coverage = BTreeMap<SiteId, BTreeSet<IpNet>>;

/// Why a coverage file is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoverageError {
    /// A line of CSV.
    #[error("line {line}: {what}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong and how to mend it.
        what: String,
    },
    /// A zone of JSON.
    #[error("coverageZones.{zone}: {what}")]
    Zone {
        /// Its name.
        zone: String,
        /// What is wrong and how to mend it.
        what: String,
    },
    /// Neither form.
    #[error("it is no coverage zone file: {0}")]
    Json(String),
    /// One network twice.
    #[error("{net} is both {one}'s and {other}'s; a network has one site")]
    Twice {
        /// The network.
        net: IpNet,
        /// The site that has it first.
        one: SiteId,
        /// The other.
        other: SiteId,
    },
    /// Sites that do not exist.
    #[error("no such sites: {0}; make them with `nightfill site put`")]
    Unknown(String),
    /// Nothing at all.
    #[error("it names no network")]
    Empty,
}

/// Traffic Router's file; coordinates and revision say nothing of who is served.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ZoneFile {
    coverage_zones: BTreeMap<String, Zone>,
}

#[derive(Deserialize)]
struct Zone {
    #[serde(default)]
    network: Vec<String>,
    #[serde(default)]
    network6: Vec<String>,
}

/// Reads a file of either form.
///
/// # Errors
/// The first place that is wrong, with its mend.
pub fn parse(text: &str) -> Result<Coverage, CoverageError> {
    let mut owners = BTreeMap::new();
    if text.trim_start().starts_with('{') {
        zones(text, &mut owners)?;
    } else {
        lines(text, &mut owners)?;
    }
    let mut coverage = Coverage::new();
    for (net, site) in owners {
        coverage.entry(site).or_default().insert(net);
    }
    if coverage.is_empty() {
        return Err(CoverageError::Empty);
    }
    Ok(coverage)
}

fn lines(text: &str, owners: &mut BTreeMap<IpNet, SiteId>) -> Result<(), CoverageError> {
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let heading = at == 0 && line.eq_ignore_ascii_case("network,site");
        if line.is_empty() || line.starts_with('#') || heading {
            continue;
        }
        let wrong = |what: String| CoverageError::Line { line: at + 1, what };
        let (net, site) = line
            .split_once(',')
            .ok_or_else(|| wrong(format!("`{line}` is not network,site")))?;
        let site = SiteId::new(site.trim()).map_err(|e| wrong(e.to_string()))?;
        own(owners, network(net.trim()).map_err(wrong)?, site)?;
    }
    Ok(())
}

fn zones(text: &str, owners: &mut BTreeMap<IpNet, SiteId>) -> Result<(), CoverageError> {
    let file: ZoneFile = serde_json::from_str(text).map_err(|e| CoverageError::Json(e.to_string()))?;
    for (zone, networks) in file.coverage_zones {
        let wrong = |what: String| CoverageError::Zone {
            zone: zone.clone(),
            what,
        };
        let site = SiteId::new(zone.clone()).map_err(|e| wrong(e.to_string()))?;
        for net in networks.network.iter().chain(&networks.network6) {
            own(owners, network(net).map_err(wrong)?, site.clone())?;
        }
    }
    Ok(())
}

fn network(text: &str) -> Result<IpNet, String> {
    let net: IpNet = text
        .parse()
        .map_err(|_| format!("`{text}` is no network such as 192.0.2.0/24 or 2001:db8::/32"))?;
    match net.trunc() == net {
        true => Ok(net),
        false => Err(format!(
            "{net} has bits set behind /{}; write {}",
            net.prefix_len(),
            net.trunc()
        )),
    }
}

fn own(owners: &mut BTreeMap<IpNet, SiteId>, net: IpNet, site: SiteId) -> Result<(), CoverageError> {
    match owners.get(&net) {
        Some(one) if *one != site => Err(CoverageError::Twice {
            net,
            one: one.clone(),
            other: site,
        }),
        _ => {
            owners.insert(net, site);
            Ok(())
        }
    }
}

/// The sites that the file changes, as they shall be. Sites that it does not name keep what they have.
///
/// # Errors
/// When it names sites that do not exist.
pub fn changed(coverage: &Coverage, sites: &[Site]) -> Result<Vec<Site>, CoverageError> {
    let known: BTreeSet<&SiteId> = sites.iter().map(|site| &site.id).collect();
    let unknown: Vec<&str> = coverage
        .keys()
        .filter(|id| !known.contains(id))
        .map(SiteId::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(CoverageError::Unknown(unknown.join(", ")));
    }
    let change = |site: &Site| {
        let wanted: Vec<IpNet> = coverage.get(&site.id)?.iter().copied().collect();
        let now: BTreeSet<IpNet> = site.prefixes.iter().copied().collect();
        (now != coverage[&site.id]).then(|| Site {
            prefixes: wanted,
            ..site.clone()
        })
    };
    Ok(sites.iter().filter_map(change).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{FillWindow, RegionId};

    fn shown(coverage: &Coverage) -> Vec<String> {
        let of = |(site, nets): (&SiteId, &BTreeSet<IpNet>)| {
            let nets: Vec<_> = nets.iter().map(ToString::to_string).collect();
            format!("{site}: {}", nets.join(" "))
        };
        coverage.iter().map(of).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let csv =
            "network,site\n# the north\n192.0.2.0/24, north\n2001:db8::/32,north\n\n198.51.100.0/24,south\n";
        let json = r#"{"revision": "5", "coverageZones": {
            "north": {"network": ["192.0.2.0/24"], "network6": ["2001:db8::/32"], "coordinates": {"latitude": 1, "longitude": 2}},
            "south": {"network": ["198.51.100.0/24"]}}}"#;
        let expected = ["north: 192.0.2.0/24 2001:db8::/32", "south: 198.51.100.0/24"];
        assert_eq!(shown(&parse(csv).unwrap()), expected);
        assert_eq!(shown(&parse(json).unwrap()), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, error) in [
            ("192.0.2.0/24\n", "line 1: `192.0.2.0/24` is not network,site"),
            ("a,b\n", "line 1: `a` is no network"),
            (
                "\n192.0.2.1/24,a\n",
                "line 2: 192.0.2.1/24 has bits set behind /24; write 192.0.2.0/24",
            ),
            ("192.0.2.0/24,a b\n", "line 1: `a b` is not a site id"),
            (
                "192.0.2.0/24,a\n192.0.2.0/24,b\n",
                "192.0.2.0/24 is both a's and b's",
            ),
            ("# nothing\n", "it names no network"),
            ("{}", "it is no coverage zone file: missing field `coverageZones`"),
            (
                r#"{"coverageZones": {"a": {"network": ["x"]}}}"#,
                "coverageZones.a: `x` is no network",
            ),
        ] {
            let found = parse(text).unwrap_err().to_string();
            assert!(found.starts_with(error), "{found}");
        }
    }

    #[test]
    fn only_sites_that_change_are_changed_and_unknown_ones_stop_it() {
        let site = |id: &str, prefix: &str| Site {
            id: SiteId::new(id).unwrap(),
            region: RegionId::new("r").unwrap(),
            prefixes: vec![prefix.parse().unwrap()],
            window: FillWindow::always(),
        };
        let sites = [
            site("a", "192.0.2.0/24"),
            site("b", "198.51.100.0/24"),
            site("c", "203.0.113.0/24"),
        ];
        let file = parse("192.0.2.0/24,a\n198.51.100.0/25,b\n").unwrap();
        let changed_sites = changed(&file, &sites).unwrap();
        assert_eq!(changed_sites, [site("b", "198.51.100.0/25")]);
        let unknown = changed(&parse("192.0.2.0/24,x\n").unwrap(), &sites).unwrap_err();
        assert_eq!(unknown, CoverageError::Unknown("x".into()));
    }
}
