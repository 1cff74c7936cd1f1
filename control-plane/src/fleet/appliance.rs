//! One appliance in memory, the state it is in, and whether a change of it matters to steering.

use super::LOAD_STEP;
use crate::store::{ApplianceRow, Status};
use cdn_types::{
    BitsPerSecond,
    api::v1::{ApplianceState, ApplianceView},
};
use std::{collections::BTreeSet, time::Duration};

/// One appliance.
#[derive(Debug, Clone)]
pub struct Appliance {
    /// As it stands in the database.
    pub row: ApplianceRow,
    /// Dictionary indices of what it holds.
    pub held: BTreeSet<u32>,
    /// Uptime of the control plane at the last report, or at the restart.
    pub seen: Duration,
    /// Load that steering was last told.
    told: BitsPerSecond,
}

impl Appliance {
    pub(super) fn new(row: ApplianceRow, held: BTreeSet<u32>, uptime: Duration) -> Self {
        let told = status(&row).load.egress;
        Self {
            row,
            held,
            seen: uptime,
            told,
        }
    }

    /// Replaces the row; true if steering must hear of it.
    pub(super) fn update(&mut self, row: ApplianceRow) -> bool {
        let load = status(&row).load.egress;
        let moved = load.0.abs_diff(self.told.0);
        let told_again = moved > 0 && moved.saturating_mul(LOAD_STEP) >= row.capacity.egress.0;
        let matters = told_again || differs(&self.row, &row);
        self.row = row;
        if matters {
            self.told = load;
        }
        matters
    }

    /// As operators see it, without what it holds.
    pub fn view(&self) -> ApplianceView {
        let status = status(&self.row);
        ApplianceView {
            id: self.row.id.clone(),
            site: self.row.site.clone(),
            base_url: self.row.base_url.clone(),
            profile: self.row.profile.clone(),
            state: state(&self.row),
            conditions: status.health.conditions,
            capacity: self.row.capacity,
            load: status.load,
            fill: status.fill,
            plan: status.plan,
            holds: Vec::new(),
            held: self.held.len() as u64,
            last_report: self.row.report.as_ref().map(|r| r.at),
        }
    }

    /// The state it is in.
    pub fn state(&self) -> ApplianceState {
        state(&self.row)
    }
}

fn status(row: &ApplianceRow) -> Status {
    row.report.as_ref().map(|r| r.status.clone()).unwrap_or_default()
}

/// What is known worst about it wins: an appliance that is lost may well have been draining.
fn state(row: &ApplianceRow) -> ApplianceState {
    let Some(report) = &row.report else {
        return ApplianceState::Joined;
    };
    let health = &report.status.health;
    if row.lost {
        ApplianceState::Lost
    } else if row.drain || health.draining {
        ApplianceState::Draining
    } else if !health.serving {
        ApplianceState::Unhealthy
    } else {
        ApplianceState::Serving
    }
}

fn differs(a: &ApplianceRow, b: &ApplianceRow) -> bool {
    let (x, y) = (status(a), status(b));
    state(a) != state(b)
        || a.site != b.site
        || a.base_url != b.base_url
        || a.profile != b.profile
        || a.capacity != b.capacity
        || x.health.conditions != y.health.conditions
        || x.plan != y.plan
        || x.fill.state != y.fill.state
}
