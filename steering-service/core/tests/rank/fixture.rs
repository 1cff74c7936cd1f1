//! Small fleets, written short.

use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, FleetSnapshot, Site, TitleView},
};

pub const GBPS: u64 = 1_000_000_000;

pub fn site(id: &str, region: &str, prefixes: &[&str]) -> Site {
    Site {
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        ..Site::new(SiteId::new(id).unwrap(), RegionId::new(region).unwrap())
    }
}

/// A healthy, idle appliance of 10 Gbit/s.
pub fn appliance(id: &str, site: &str, holds: &[u32]) -> ApplianceView {
    let capacity = Capacity {
        storage: Bytes(1 << 40),
        egress: BitsPerSecond(10 * GBPS),
        fill_rate: BitsPerSecond(GBPS),
    };
    ApplianceView {
        base_url: format!("http://{id}.example:8080/"),
        holds: holds.to_vec(),
        ..ApplianceView::serving(OcaId::new(id).unwrap(), SiteId::new(site).unwrap(), capacity)
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
    let sites = vec![
        site("lon", "north", &["192.0.2.0/24", "2001:db8:1::/48"]),
        site("man", "north", &["198.51.100.0/24", "192.0.2.128/25"]),
        site("par", "south", &["203.0.113.0/24", "2001:db8::/32"]),
    ];
    let appliances = vec![
        appliance("lon-1", "lon", &[0, 1]),
        appliance("lon-2", "lon", &[0, 1]),
        appliance("lon-3", "lon", &[0, 1]),
        appliance("man-1", "man", &[0, 1]),
        appliance("par-1", "par", &[0, 1]),
    ];
    FleetSnapshot {
        generation: 7,
        objects: (0u8..4).map(|i| ObjectDigest::of(&[i])).collect(),
        titles: vec![title("film", &[0, 1]), title("rare", &[2, 3])],
        fallback: "http://origin.example:9000/".into(),
        ..FleetSnapshot::of(sites, appliances)
    }
}
