//! Small fleets, written short.

use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, ObjectDigest, OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceState, ApplianceView, Capacity, FillStatus, FleetSnapshot, Load, Site, TitleView},
};

pub const GBPS: u64 = 1_000_000_000;

pub fn site(id: &str, region: &str, prefixes: &[&str]) -> Site {
    Site {
        id: SiteId::new(id).unwrap(),
        region: RegionId::new(region).unwrap(),
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        window: FillWindow::new("02:00", "14:00", "Europe/London").unwrap(),
    }
}

/// A healthy, idle appliance of 10 Gbit/s.
pub fn appliance(id: &str, site: &str, holds: &[u32]) -> ApplianceView {
    ApplianceView {
        id: OcaId::new(id).unwrap(),
        site: SiteId::new(site).unwrap(),
        base_url: format!("http://{id}.example:8080/"),
        profile: "small-10g".into(),
        state: ApplianceState::Serving,
        conditions: vec![],
        capacity: Capacity {
            storage: Bytes(1 << 40),
            egress: BitsPerSecond(10 * GBPS),
            fill_rate: BitsPerSecond(GBPS),
        },
        load: Load::default(),
        fill: FillStatus::default(),
        plan: None,
        holds: holds.to_vec(),
        held: holds.len() as u64,
        last_report: None,
    }
}

pub fn title(id: &str, objects: &[u32]) -> TitleView {
    TitleView {
        id: TitleId::new(id).unwrap(),
        name: id.into(),
        prefix: format!("/t/{id}/0123456789ab"),
        objects: objects.to_vec(),
        hls_path: "master.m3u8".into(),
        hls: String::new(),
        dash_path: "manifest.mpd".into(),
        dash: String::new(),
        demand: Bytes(0),
    }
}

/// Two sites in region north, one in south; two titles of two objects: everybody holds `film`, nobody holds `rare`.
pub fn fleet() -> FleetSnapshot {
    FleetSnapshot {
        generation: 7,
        taken_at: "2026-11-23T14:00:00Z".parse().unwrap(),
        sites: vec![
            site("lon", "north", &["192.0.2.0/24", "2001:db8:1::/48"]),
            site("man", "north", &["198.51.100.0/24", "192.0.2.128/25"]),
            site("par", "south", &["203.0.113.0/24", "2001:db8::/32"]),
        ],
        objects: (0u8..4).map(|i| ObjectDigest::of(&[i])).collect(),
        appliances: vec![
            appliance("lon-1", "lon", &[0, 1]),
            appliance("lon-2", "lon", &[0, 1]),
            appliance("lon-3", "lon", &[0, 1]),
            appliance("man-1", "man", &[0, 1]),
            appliance("par-1", "par", &[0, 1]),
        ],
        titles: vec![title("film", &[0, 1]), title("rare", &[2, 3])],
        fallback: "http://origin.example:9000/".into(),
    }
}
