//! Fleets that are made up: what planners, simulations, benches and tests leave as it is, so that they write only what they
//! are about. Addresses are below `.invalid`, which nobody has (RFC 2606 §2).

use super::{ApplianceState, ApplianceView, Capacity, FillStatus, FleetSnapshot, Load, Site};
use crate::{FillWindow, OcaId, RegionId, SiteId, time::Timestamp};

impl Site {
    /// A site that serves no network yet and fills at all hours.
    pub fn new(id: SiteId, region: RegionId) -> Self {
        Self {
            id,
            region,
            prefixes: vec![],
            window: FillWindow::always(),
        }
    }
}

impl ApplianceView {
    /// An appliance that has said nothing but that it serves: idle, well and empty, at `http://{id}.invalid`.
    pub fn serving(id: OcaId, site: SiteId, capacity: Capacity) -> Self {
        Self {
            base_url: format!("http://{id}.invalid"),
            id,
            site,
            profile: String::new(),
            state: ApplianceState::Serving,
            conditions: vec![],
            capacity,
            load: Load::default(),
            fill: FillStatus::default(),
            plan: None,
            holds: vec![],
            held: 0,
            last_report: None,
        }
    }
}

impl FleetSnapshot {
    /// A fleet without titles and objects, generation 1, taken at the epoch; the origin is `http://origin.invalid`.
    pub fn of(sites: Vec<Site>, appliances: Vec<ApplianceView>) -> Self {
        Self {
            generation: 1,
            taken_at: Timestamp::UNIX_EPOCH,
            sites,
            objects: vec![],
            appliances,
            titles: vec![],
            fallback: "http://origin.invalid".to_owned(),
        }
    }
}
