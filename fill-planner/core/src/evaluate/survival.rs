//! What is left of a site's service when any one of its appliances fails.

use super::{
    naive::Expected,
    panel::Panel,
    planned::{PlannedFleet, Room},
    replay::{Cell, Days},
    store::Store,
};
use crate::{InputError, Rules, rendezvous};
use serde::{Deserialize, Serialize};

/// What is left when any one appliance of a site fails.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Survival {
    /// Appliances a site.
    pub appliances: usize,
    /// Served bytes that are left after the worst loss, of those served before: the planner's copies.
    pub planner: f64,
    /// The same of single copies of what a plain swap holds, spread by hashing.
    pub single: f64,
    /// Served over drawn bytes before the loss: what the copies cost.
    pub planner_hit: f64,
    /// See above.
    pub single_hit: f64,
}

/// Nights that are played before the loss.
const NIGHTS: usize = 7;

/// Plays some nights of a site of several appliances, then takes each of them away in turn.
pub fn survival(
    panel: &Panel,
    cell: Cell,
    days: Days,
    forecasts: &[Expected],
    appliances: usize,
) -> Result<Survival, InputError> {
    let sizes: Vec<f64> = panel.titles.iter().map(|t| t.size as f64).collect();
    let storage = cell.storage * panel.catalogue_bytes();
    let mut plain = vec![Store::empty(sizes.len()); panel.regions.len()];
    for (region, store) in plain.iter_mut().enumerate() {
        let newest = panel.past(days.first).known(1, region).unwrap_or_default();
        store.swap(newest, &sizes, storage, f64::INFINITY);
    }
    let mut stores = plain.clone();
    let mut fleet = PlannedFleet::new(
        &stores,
        appliances,
        storage,
        cell.fill,
        Room::Before,
        Rules::default(),
    )
    .with_calendar(true);
    let nights: Vec<_> = days.all().zip(forecasts).take(NIGHTS).collect();
    for (day, expected) in &nights {
        fleet.night(panel.past(*day), expected, &mut stores)?;
        for (store, expected) in plain.iter_mut().zip(*expected) {
            store.swap(expected, &sizes, storage, cell.fill);
        }
    }
    let last = nights.last().map_or(days.first, |(day, _)| *day);
    let single: Vec<Vec<Vec<u32>>> = plain
        .iter()
        .map(|store| {
            let mut of = vec![Vec::new(); appliances];
            for t in (0..sizes.len()).filter(|t| store.held[*t]) {
                of[(rendezvous::mix(t as u64) % appliances.max(1) as u64) as usize].push(t as u32);
            }
            of
        })
        .collect();
    let (planner, planner_hit) = worst_loss(panel, last, &fleet.held);
    let (single, single_hit) = worst_loss(panel, last, &single);
    Ok(Survival {
        appliances,
        planner,
        single,
        planner_hit,
        single_hit,
    })
}

/// Bytes left after each site's worst loss over those served before, and these over what was drawn.
fn worst_loss(panel: &Panel, day: usize, sites: &[Vec<Vec<u32>>]) -> (f64, f64) {
    let (mut drawn, mut served, mut left) = (0.0, 0.0, 0.0);
    for (region, site) in sites.iter().enumerate() {
        let bytes = panel.served.of(day, region);
        let mut holders = vec![0u32; bytes.len()];
        site.iter().flatten().for_each(|t| holders[*t as usize] += 1);
        let only = |held: &Vec<u32>| -> f64 {
            held.iter()
                .filter(|t| holders[**t as usize] == 1)
                .map(|t| f64::from(bytes[*t as usize]))
                .sum()
        };
        let before: f64 = bytes
            .iter()
            .zip(&holders)
            .filter(|(_, n)| **n > 0)
            .map(|(b, _)| f64::from(*b))
            .sum();
        drawn += bytes.iter().map(|b| f64::from(*b)).sum::<f64>();
        served += before;
        left += before - site.iter().map(only).fold(0.0, f64::max);
    }
    let over = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    (over(left, served), over(served, drawn))
}
