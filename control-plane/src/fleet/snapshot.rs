//! The fleet as steering gets it.

use super::Fleet;
use cdn_types::{
    api::v1::{FleetSnapshot, TitleView},
    time::Timestamp,
};

impl Fleet {
    /// The whole fleet at `now`; `fallback` is the origin's address.
    pub fn snapshot(&self, now: Timestamp, fallback: &str) -> FleetSnapshot {
        let appliances = self.appliances.values().map(|appliance| {
            let mut view = appliance.view();
            view.holds = appliance.held.iter().copied().collect();
            view
        });
        let titles = self.titles.values().map(|title| TitleView {
            id: title.row.id.clone(),
            name: title.row.name.clone(),
            prefix: format!("/t/{}/{}", title.row.id, title.row.version),
            objects: title.objects.iter().copied().collect(),
            hls_path: title.row.hls_path.clone(),
            hls: title.row.hls.clone(),
            dash_path: title.row.dash_path.clone(),
            dash: title.row.dash.clone(),
            demand: self.demand.get(&title.row.id).copied().unwrap_or_default(),
        });
        FleetSnapshot {
            generation: self.generation,
            taken_at: now,
            sites: self.sites.values().cloned().collect(),
            objects: self.dictionary.digests().to_vec(),
            appliances: appliances.collect(),
            titles: titles.collect(),
            fallback: fallback.to_owned(),
        }
    }
}
