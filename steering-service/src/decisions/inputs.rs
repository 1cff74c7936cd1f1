//! What a ranking reads beside fleet, routes and policy, as the log has it: measured throughput and circuits, whenever they
//! have changed, before the first decision that was made under them.
//!
//! A decision brings along what it was made under, so that nothing is written that decided nothing, and the order of
//! lines is that of decisions, whichever thread made them. A replaced table of throughput is kept while the next one is
//! in use, for decisions that wait in the queue; one that has waited longer cannot be told, and is dropped.

use super::record::Decision;
use crate::fleet::FleetState;
use cdn_types::OcaId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};
use steering_core::{
    Index,
    circuit::{Verdict, fleet::Verdicts},
    throughput::{
        Measured,
        told::{Names, Steps},
    },
};

/// Networks and appliances of a line: 256 of the longest names are half of the longest line that is read.
const PER_LINE: usize = 256;

/// One line. docs/formats/decision-log.md describes the keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k")]
pub enum Told {
    /// Throughput: steps of appliances by network.
    #[serde(rename = "m")]
    Throughput {
        /// Milliseconds since 1970, of the decision that follows.
        #[serde(rename = "t")]
        at: i64,
        /// Whether all that was told before is forgotten.
        #[serde(rename = "w", default, skip_serializing_if = "std::ops::Not::not")]
        whole: bool,
        /// All that is known of each network; nothing: it was forgotten.
        #[serde(rename = "v")]
        networks: BTreeMap<IpNet, Steps>,
    },
    /// Circuits: verdicts by appliance.
    #[serde(rename = "c")]
    Circuits {
        /// Milliseconds since 1970, of the decision that follows.
        #[serde(rename = "t")]
        at: i64,
        /// Whether all that was told before is forgotten.
        #[serde(rename = "w", default, skip_serializing_if = "std::ops::Not::not")]
        whole: bool,
        /// What has changed, `closed` told too.
        #[serde(rename = "v")]
        verdicts: BTreeMap<OcaId, Verdict>,
    },
}

/// What a decision was made under.
pub(super) struct Inputs {
    measured: Weak<Measured>,
    circuits: Arc<Verdicts>,
}

impl Inputs {
    pub fn of(index: &Index) -> Self {
        Self {
            measured: Arc::downgrade(index.measured()),
            circuits: Arc::clone(index.circuits()),
        }
    }
}

/// Why a decision cannot be logged: what it was made under is gone.
pub(super) struct Gone;

/// What the file that is being written has been told.
pub(super) struct Teller {
    fleet: Arc<FleetState>,
    names: Names,
    measured: Arc<Measured>,
    circuits: Arc<Verdicts>,
    /// Whether the file is new, or may lack what it was told.
    fresh: bool,
}

impl Teller {
    pub fn new(fleet: Arc<FleetState>) -> Self {
        Self {
            fleet,
            names: Names::default(),
            measured: Arc::default(),
            circuits: Arc::default(),
            fresh: true,
        }
    }

    /// The next line begins a file, or follows one that was lost.
    pub fn begin_anew(&mut self) {
        self.fresh = true;
    }

    /// What has to stand before a decision.
    pub fn tell(&mut self, decision: &Decision, inputs: &Inputs) -> Result<Vec<Told>, Gone> {
        let measured = inputs.measured.upgrade().ok_or(Gone)?;
        let whole = std::mem::take(&mut self.fresh);
        let slower = whole || !Arc::ptr_eq(&measured, &self.measured);
        let failing = whole || !Arc::ptr_eq(&inputs.circuits, &self.circuits);
        let mut lines = Vec::new();
        if !slower && !failing {
            return Ok(lines);
        }
        if let Some(fleet) = self.fleet.current() {
            self.names.learn(&fleet.index);
        }
        if whole {
            (self.measured, self.circuits) = Default::default();
        }
        let at = decision.at;
        if slower {
            let changes = measured.changes(&self.measured, &self.names);
            in_lines(
                changes,
                |(_, steps)| steps.len(),
                whole,
                |whole, networks| {
                    lines.push(Told::Throughput { at, whole, networks });
                },
            );
            self.measured = measured;
        }
        if failing {
            let changes = inputs.circuits.changes(&self.circuits, &self.names);
            let changes = changes.map(|(id, verdict)| (id.clone(), verdict));
            in_lines(
                changes,
                |_| 1,
                whole,
                |whole, verdicts| {
                    lines.push(Told::Circuits { at, whole, verdicts });
                },
            );
            self.circuits = Arc::clone(&inputs.circuits);
        }
        Ok(lines)
    }
}

/// Deals changes out over lines. A whole table is one line at least, if only to say that it is empty.
fn in_lines<K: Ord, V>(
    changes: impl Iterator<Item = (K, V)>,
    size: impl Fn(&(K, V)) -> usize,
    mut whole: bool,
    mut line: impl FnMut(bool, BTreeMap<K, V>),
) {
    let (mut part, mut filled) = (BTreeMap::new(), 0);
    for change in changes {
        filled += size(&change).max(1);
        part.extend([change]);
        if filled >= PER_LINE {
            line(std::mem::take(&mut whole), std::mem::take(&mut part));
            filled = 0;
        }
    }
    if whole || !part.is_empty() {
        line(whole, part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steering_core::circuit::Signal;

    #[test]
    fn lines_are_short_to_read_and_to_write() {
        let id = |text: &str| OcaId::new(text).unwrap();
        let steps = Steps::from([(id("lon-1"), 5)]);
        for (told, text) in [
            (
                Told::Throughput {
                    at: 7,
                    whole: true,
                    networks: BTreeMap::from([("198.51.100.0/24".parse().unwrap(), steps)]),
                },
                r#"{"k":"m","t":7,"w":true,"v":{"198.51.100.0/24":{"lon-1":5}}}"#,
            ),
            (
                Told::Circuits {
                    at: 7,
                    whole: false,
                    verdicts: BTreeMap::from([
                        (id("lon-1"), Verdict::Closed),
                        (
                            id("lon-2"),
                            Verdict::Trial {
                                permille: 50,
                                by: Signal::Probes,
                            },
                        ),
                    ]),
                },
                r#"{"k":"c","t":7,"v":{"lon-1":{"state":"closed"},"lon-2":{"state":"trial","permille":50,"by":"probes"}}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&told).unwrap(), text);
            assert_eq!(serde_json::from_str::<Told>(text).unwrap(), told);
        }
    }

    #[test]
    fn many_changes_are_many_lines_of_the_longest_names() {
        let long = |n: usize| OcaId::new(format!("{n:a>64}")).unwrap();
        let verdict = Verdict::Trial {
            permille: 1000,
            by: Signal::Players,
        };
        let mut parts = Vec::new();
        let all = (0..1000).map(|n| (long(n), verdict));
        in_lines(
            all,
            |_| 1,
            true,
            |whole, verdicts| {
                let told = Told::Circuits {
                    at: i64::MAX,
                    whole,
                    verdicts,
                };
                parts.push(serde_json::to_string(&told).unwrap());
            },
        );
        assert_eq!(parts.len(), 4);
        assert!(parts[0].contains("\"w\":true") && !parts[1].contains("\"w\""));
        assert!(parts.iter().all(|line| line.len() < 48 << 10));
        let mut empty = 0;
        in_lines::<u8, u8>(std::iter::empty(), |_| 1, false, |_, _| empty += 1);
        in_lines::<u8, u8>(std::iter::empty(), |_| 1, true, |_, _| empty += 1);
        assert_eq!(empty, 1, "a whole table that is empty is told");
    }
}
