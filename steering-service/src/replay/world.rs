//! The fleet, routes and policy that a log is ranked under, with what is taken away from them.

use super::tally::Member;
use crate::{
    decisions::{inputs::Told, record::Decision},
    experiments::{ArmIndexes, Exposure},
};
use cdn_types::{
    BitsPerSecond, OcaId, SiteId, TitleId,
    api::v1::{FleetSnapshot, TitleView, routes::RouteChanges},
};
use std::{collections::HashMap, sync::Arc};
use steering_core::{
    Index, IndexError, Policy,
    circuit::fleet::Verdicts,
    fleet::FleetIndex,
    index::{Parts, cover},
    routes::{RouteBatch, RouteBuilder, RouteError},
    throughput::Measured,
};

/// What is taken out of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Without {
    /// Sites: their appliances go, their networks stay their viewers'.
    pub sites: Vec<SiteId>,
    /// Appliances.
    pub appliances: Vec<OcaId>,
}

/// Why there is nothing to rank under.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A name that the fleet does not have.
    #[error("--without-{kind} {name}: the fleet has no such {kind}; it has {known}")]
    Unknown {
        /// `site` or `appliance`.
        kind: &'static str,
        /// What was given.
        name: String,
        /// The names there are, some of them.
        known: String,
    },
    /// The snapshot contradicts itself.
    #[error("the snapshot contradicts itself: {0}; take one from GET /v1/fleet as it stands")]
    Index(#[from] IndexError),
    /// The routes contradict themselves.
    #[error("routes of appliance `{0}`: {1}; take them from GET /v1/routes?since=0 as they stand")]
    Routes(OcaId, RouteError),
}

/// What a log is ranked under.
#[derive(Debug)]
pub struct World {
    /// For ranking.
    pub index: Index,
    arms: ArmIndexes,
    /// Throughput and circuits as the log has told them, absent until it has, and whether the index lacks them yet.
    inputs: Option<(Arc<Measured>, Arc<Verdicts>)>,
    stale: bool,
    /// All appliances, also those that are taken away.
    pub(super) appliances: Vec<Member>,
    rates: HashMap<TitleId, u64>,
}

impl World {
    /// Puts it together. `viewers` also multiplies the load that the snapshot's appliances have.
    pub fn new(
        mut snapshot: FleetSnapshot,
        routes: Option<&RouteChanges>,
        policy: Policy,
        without: &Without,
        viewers: f64,
    ) -> Result<Self, WorldError> {
        let member = |view: &cdn_types::api::v1::ApplianceView| Member {
            id: view.id.clone(),
            site: view.site.clone(),
            egress: view.capacity.egress.0,
        };
        let appliances: Vec<_> = snapshot.appliances.iter().map(member).collect();
        known("site", &without.sites, snapshot.sites.iter().map(|s| &s.id))?;
        known("appliance", &without.appliances, appliances.iter().map(|a| &a.id))?;
        snapshot
            .appliances
            .retain(|a| !without.sites.contains(&a.site) && !without.appliances.contains(&a.id));
        for appliance in &mut snapshot.appliances {
            let load = &mut appliance.load.egress;
            *load = BitsPerSecond((load.0 as f64 * viewers) as u64);
        }
        let fleet = Arc::new(FleetIndex::build(&snapshot)?);
        let mut builder = RouteBuilder::new();
        for told in routes.iter().flat_map(|r| &r.appliances) {
            let taken = builder.apply(&told.appliance, &RouteBatch::told(told, true));
            taken.map_err(|e| WorldError::Routes(told.appliance.clone(), e))?;
        }
        let contested = cover(&mut builder, &fleet);
        let parts = Parts {
            fleet,
            routes: Arc::new(builder.publish()),
            policy: Arc::new(policy),
            measured: Arc::default(),
            circuits: Arc::default(),
        };
        let rates = snapshot.titles.iter();
        let index = Index::join(parts, contested);
        Ok(Self {
            arms: ArmIndexes::new(&index),
            index,
            inputs: None,
            stale: false,
            appliances,
            rates: rates
                .filter_map(|t| Some((t.id.clone(), best_rate(t)?)))
                .collect(),
        })
    }

    /// Takes what the next decisions were made under. Circuits count where the policy has them.
    pub(super) fn told(&mut self, told: &Told) {
        let (measured, circuits) = self.inputs.get_or_insert_default();
        match told {
            Told::Throughput { whole, networks, .. } => {
                if *whole {
                    *measured = Arc::default();
                }
                let measured = Arc::make_mut(measured);
                networks.iter().for_each(|(net, steps)| measured.set(*net, steps));
            }
            Told::Circuits { whole, verdicts, .. } => {
                if *whole {
                    *circuits = Arc::default();
                }
                let circuits = Arc::make_mut(circuits);
                verdicts
                    .iter()
                    .for_each(|(id, verdict)| circuits.set(id, *verdict));
            }
        }
        self.stale = true;
    }

    /// Brings the index up to what was told.
    pub(super) fn put_together(&mut self) {
        if let Some((measured, circuits)) = self.inputs.as_ref().filter(|_| self.stale) {
            let mut parts = self.index.parts();
            parts.measured = Arc::clone(measured);
            if parts.policy.circuit.enabled {
                parts.circuits = Arc::clone(circuits);
            }
            self.index = Index::join(parts, self.index.contested.clone());
            self.arms = ArmIndexes::new(&self.index);
            self.stale = false;
        }
    }

    /// Whether the log has told anything.
    pub(super) fn is_told(&self) -> bool {
        self.inputs.is_some()
    }

    /// What ranks a decision's session: its arm by the log where the policy still has that arm, else by hash.
    pub(super) fn index_of(&self, decision: &Decision) -> &Index {
        let Some(session) = decision.session else {
            return &self.index;
        };
        let mut exposure = Exposure::new();
        for experiment in &self.index.policy().experiments {
            let logged = decision.arms.get(&experiment.name);
            let logged = logged.filter(|name| experiment.arms.iter().any(|arm| arm.name == **name));
            let arm = logged.unwrap_or_else(|| &experiment.arm(&session.to_string()).name);
            exposure.insert(experiment.name.clone(), arm.clone());
        }
        self.arms.of(&self.index, &exposure)
    }

    /// Bit/s of a title's best rendition, if its manifests tell.
    pub fn rate(&self, title: &TitleId) -> Option<u64> {
        self.rates.get(title).copied()
    }
}

fn known<'a, T: PartialEq + ToString + 'a>(
    kind: &'static str,
    given: &[T],
    all: impl Iterator<Item = &'a T> + Clone,
) -> Result<(), WorldError> {
    match given.iter().find(|name| !all.clone().any(|known| known == *name)) {
        None => Ok(()),
        Some(name) => {
            let mut names: Vec<_> = all.clone().take(8).map(ToString::to_string).collect();
            if all.count() > names.len() {
                names.push("…".to_owned());
            }
            Err(WorldError::Unknown {
                kind,
                name: name.to_string(),
                known: names.join(", "),
            })
        }
    }
}

/// The best rendition by the multivariant playlist (RFC 8216 §4.3.4.2): its average rate, or its peak.
fn best_rate(title: &TitleView) -> Option<u64> {
    let variants = title
        .hls
        .lines()
        .filter_map(|l| l.strip_prefix("#EXT-X-STREAM-INF:"));
    let rate = |attributes: &str| {
        let value = |name: &str| {
            let at = attributes.split(',').find_map(|a| a.trim().strip_prefix(name))?;
            at.parse().ok()
        };
        value("AVERAGE-BANDWIDTH=").or_else(|| value("BANDWIDTH="))
    };
    variants.filter_map(rate).max()
}
