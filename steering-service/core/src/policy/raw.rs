//! A policy as written, and the way from there to a [`Policy`]: every check, each with the key and the mend.

mod experiments;

pub use experiments::{RawArm, RawExperiment, RawGuard};

use super::{
    Action, Country, HeadroomSteps, Licence, Location, MedRule, Policy, Rule, Whom, circuit::RawCircuit,
};
use crate::routes::HolderName;
use cdn_types::{OcaId, SiteId, TitleId};
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most rules, licences and locations: bounds what a request may have to look through.
pub const MAX_ENTRIES: usize = 100_000;
/// Largest preference of one rule.
pub const MAX_PREFERENCE: i64 = 1000;

/// The file, as TOML has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawPolicy {
    pub version: Option<u64>,
    #[serde(default)]
    pub class_order: ClassOrder,
    #[serde(default)]
    pub headroom: RawHeadroom,
    pub hysteresis_steps: Option<u8>,
    pub minimum_entries: Option<usize>,
    pub med: Option<RawMed>,
    pub enough_throughput_mbps: Option<f64>,
    #[serde(default)]
    pub circuit: RawCircuit,
    #[serde(default, rename = "rule")]
    pub rules: Vec<RawRule>,
    #[serde(default, rename = "licence")]
    pub licences: Vec<RawLicence>,
    #[serde(default, rename = "location")]
    pub locations: Vec<RawLocation>,
    #[serde(default, rename = "experiment")]
    pub experiments: Vec<RawExperiment>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct ClassOrder {
    pub embedded: Option<u8>,
    pub private: Option<u8>,
    pub exchange: Option<u8>,
    pub transit: Option<u8>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawHeadroom {
    pub busy_from_permille: Option<u32>,
    pub tight_from_permille: Option<u32>,
    pub full_from_permille: Option<u32>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub enum RawMed {
    SameNeighbour,
    Always,
    Never,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawRule {
    pub prefix: Option<IpNet>,
    pub asn: Option<u32>,
    pub country: Option<String>,
    pub prefer: Option<i64>,
    pub avoid: Option<i64>,
    #[serde(default)]
    pub pin: bool,
    #[serde(default)]
    pub block: bool,
    pub site: Option<SiteId>,
    pub appliance: Option<OcaId>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawLicence {
    pub title: TitleId,
    pub only: Option<Vec<String>>,
    pub except: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawLocation {
    pub site: SiteId,
    pub latitude: f64,
    pub longitude: f64,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}; {mend}")]
pub struct PolicyError {
    /// Where.
    pub key: String,
    /// What.
    pub problem: String,
    /// What to write instead.
    pub mend: &'static str,
}

pub(super) fn wrong<T>(
    key: impl Into<String>,
    problem: impl Into<String>,
    mend: &'static str,
) -> Result<T, PolicyError> {
    Err(PolicyError {
        key: key.into(),
        problem: problem.into(),
        mend,
    })
}

impl TryFrom<RawPolicy> for Policy {
    type Error = PolicyError;

    fn try_from(raw: RawPolicy) -> Result<Self, PolicyError> {
        let shipped = Self::default();
        let Some(version) = raw.version.filter(|v| *v > 0) else {
            return wrong(
                "version",
                "is missing or 0",
                "write version = 1, and count up with every change",
            );
        };
        for (key, len) in [
            ("rule", raw.rules.len()),
            ("licence", raw.licences.len()),
            ("location", raw.locations.len()),
        ] {
            if len > MAX_ENTRIES {
                return wrong(key, format!("has {len} entries"), "keep to 100000");
            }
        }
        let mut policy = Self {
            version,
            class_order: class_order("", &raw.class_order, shipped.class_order)?,
            headroom: headroom("", &raw.headroom, shipped.headroom)?,
            hysteresis_steps: match raw.hysteresis_steps {
                None => shipped.hysteresis_steps,
                Some(steps) => hysteresis("hysteresis_steps", steps)?,
            },
            minimum_entries: match raw.minimum_entries.unwrap_or(shipped.minimum_entries) {
                entries @ 1..=8 => entries,
                entries => return wrong("minimum_entries", format!("is {entries}"), "give 1 to 8"),
            },
            med: raw.med.map_or(shipped.med, MedRule::from),
            enough_throughput: match raw.enough_throughput_mbps {
                None => shipped.enough_throughput,
                Some(mbps) => enough("enough_throughput_mbps", mbps)?,
            },
            circuit: (&raw.circuit).try_into()?,
            rules: numbered("rule", &raw.rules, rule)?,
            licences: licences(&raw.licences)?,
            locations: locations(&raw.locations)?,
            experiments: Vec::new(),
        };
        policy.experiments = experiments::experiments(&raw.experiments, &policy)?;
        Ok(policy)
    }
}

/// Converts a list; keys of errors are `name[position]`.
fn numbered<R, T>(
    name: &str,
    raw: &[R],
    convert: impl Fn(&str, &R) -> Result<T, PolicyError>,
) -> Result<Vec<T>, PolicyError> {
    let entries = raw.iter().enumerate();
    entries
        .map(|(at, entry)| convert(&format!("{name}[{at}]"), entry))
        .collect()
}

impl From<RawMed> for MedRule {
    fn from(raw: RawMed) -> Self {
        match raw {
            RawMed::SameNeighbour => Self::SameNeighbour,
            RawMed::Always => Self::Always,
            RawMed::Never => Self::Never,
        }
    }
}

fn hysteresis(key: impl Into<String>, steps: u8) -> Result<u8, PolicyError> {
    match steps {
        0..=3 => Ok(steps),
        _ => wrong(key, format!("is {steps}"), "give 0 to 3"),
    }
}

fn enough(key: impl Into<String>, mbps: f64) -> Result<u64, PolicyError> {
    if (0.1..=100_000.0).contains(&mbps) {
        return Ok((mbps * 1e6) as u64);
    }
    wrong(key, format!("is {mbps}"), "give 0.1 to 100000")
}

/// `under` begins the keys of errors.
fn class_order(under: &str, raw: &ClassOrder, shipped: [u8; 4]) -> Result<[u8; 4], PolicyError> {
    let mut order = shipped;
    let given = [
        ("embedded", raw.embedded),
        ("private", raw.private),
        ("exchange", raw.exchange),
        ("transit", raw.transit),
    ];
    for (place, (name, value)) in order.iter_mut().zip(given) {
        match value {
            Some(value) if value > 13 => {
                return wrong(
                    format!("{under}class_order.{name}"),
                    format!("is {value}"),
                    "give a place from 0 to 13",
                );
            }
            Some(value) => *place = value,
            None => {}
        }
    }
    Ok(order)
}

fn headroom(under: &str, raw: &RawHeadroom, shipped: HeadroomSteps) -> Result<HeadroomSteps, PolicyError> {
    let steps = HeadroomSteps {
        busy_from: raw.busy_from_permille.unwrap_or(shipped.busy_from),
        tight_from: raw.tight_from_permille.unwrap_or(shipped.tight_from),
        full_from: raw.full_from_permille.unwrap_or(shipped.full_from),
    };
    if steps.busy_from > steps.tight_from || steps.tight_from > steps.full_from {
        let problem = format!(
            "has {}, {}, {}",
            steps.busy_from, steps.tight_from, steps.full_from
        );
        return wrong(
            format!("{under}headroom"),
            problem,
            "busy, tight and full must rise",
        );
    }
    if !(1..=1000).contains(&steps.full_from) {
        let problem = format!("is {}", steps.full_from);
        return wrong(
            format!("{under}headroom.full_from_permille"),
            problem,
            "give 1 to 1000 thousandths of capacity",
        );
    }
    Ok(steps)
}

fn rule(key: &str, raw: &RawRule) -> Result<Rule, PolicyError> {
    let whom = match (raw.prefix, raw.asn, &raw.country) {
        (Some(prefix), None, None) => Whom::Prefix(prefix.trunc()),
        (None, Some(asn), None) => Whom::Asn(asn),
        (None, None, Some(text)) => Whom::Country(country(&format!("{key}.country"), text)?),
        _ => {
            return wrong(
                key,
                "must say for whom it is, once",
                "give one of prefix, asn, country",
            );
        }
    };
    let target = match (&raw.site, &raw.appliance) {
        (Some(site), None) => HolderName::Site(site.clone()),
        (None, Some(appliance)) => HolderName::Appliance(appliance.clone()),
        _ => {
            return wrong(
                key,
                "must name what it is about, once",
                "give one of site, appliance",
            );
        }
    };
    let action = match (raw.prefer, raw.avoid, raw.pin, raw.block) {
        (Some(by), None, false, false) => Action::Prefer(preference(&format!("{key}.prefer"), by)?),
        (None, Some(by), false, false) => Action::Prefer(-preference(&format!("{key}.avoid"), by)?),
        (None, None, true, false) => Action::Pin,
        (None, None, false, true) => Action::Block,
        _ => {
            let mend = "give one of prefer = N, avoid = N, pin = true, block = true";
            return wrong(key, "must say what it does, once", mend);
        }
    };
    Ok(Rule { whom, action, target })
}

fn preference(key: &str, by: i64) -> Result<i16, PolicyError> {
    match by {
        1..=MAX_PREFERENCE => Ok(by as i16),
        _ => wrong(key, format!("is {by}"), "give 1 to 1000"),
    }
}

fn country(key: &str, text: &str) -> Result<Country, PolicyError> {
    text.parse()
        .or_else(|mend| wrong(key, format!("is `{text}`"), mend))
}

fn licences(raw: &[RawLicence]) -> Result<BTreeMap<TitleId, Licence>, PolicyError> {
    let licence = |key: &str, raw: &RawLicence| {
        let countries = |name: &str, list: &[String]| -> Result<BTreeSet<Country>, PolicyError> {
            list.iter()
                .map(|text| country(&format!("{key}.{name}"), text))
                .collect()
        };
        Ok(match (&raw.only, &raw.except) {
            (Some(list), None) => Licence::Only(countries("only", list)?),
            (None, Some(list)) => Licence::Except(countries("except", list)?),
            _ => {
                return wrong(
                    key,
                    "must list countries, once",
                    "give one of only = [..], except = [..]",
                );
            }
        })
    };
    let made = numbered("licence", raw, licence)?;
    let mut licences = BTreeMap::new();
    for (at, (raw, made)) in raw.iter().zip(made).enumerate() {
        if licences.insert(raw.title.clone(), made).is_some() {
            let key = format!("licence[{at}].title");
            return wrong(
                key,
                format!("`{}` is there twice", raw.title),
                "join the two entries",
            );
        }
    }
    Ok(licences)
}

fn locations(raw: &[RawLocation]) -> Result<BTreeMap<SiteId, Location>, PolicyError> {
    let mut locations = BTreeMap::new();
    for (at, raw) in raw.iter().enumerate() {
        let Some(location) = Location::new(raw.latitude, raw.longitude) else {
            let problem = format!("is at {}, {}", raw.latitude, raw.longitude);
            let mend = "give degrees: latitude -90 to 90, longitude -180 to 180";
            return wrong(format!("location[{at}]"), problem, mend);
        };
        if locations.insert(raw.site.clone(), location).is_some() {
            let key = format!("location[{at}].site");
            return wrong(key, format!("`{}` is there twice", raw.site), "keep one of them");
        }
    }
    Ok(locations)
}
