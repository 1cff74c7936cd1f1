//! One small fleet, with packed manifests as the packer writes them.

use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceState, ApplianceView, Capacity, FleetSnapshot, Site, TitleView},
};
use std::path::Path;

pub const HLS: &str = r#"#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a128.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2800000,AVERAGE-BANDWIDTH=2400000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO="audio",STABLE-VARIANT-ID="v720"
v720.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,AVERAGE-BANDWIDTH=800000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,FRAME-RATE=25.000,AUDIO="audio",STABLE-VARIANT-ID="v360"
v360.m3u8
"#;

pub const DASH: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" type="static" mediaPresentationDuration="PT24S" minBufferTime="PT2S">
  <Period id="0">
    <AdaptationSet contentType="video" segmentAlignment="true">
      <Representation id="v720" bandwidth="2800000" codecs="avc1.64001f" width="1280" height="720">
        <BaseURL>v720.mp4</BaseURL>
        <SegmentBase indexRange="838-1021"><Initialization range="0-837"/></SegmentBase>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
"#;

fn site(id: &str, region: &str, prefixes: &[&str]) -> Site {
    Site {
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        ..Site::new(SiteId::new(id).unwrap(), RegionId::new(region).unwrap())
    }
}

fn appliance(id: &str, site: &str, host: u8) -> ApplianceView {
    let capacity = Capacity {
        storage: Bytes(1 << 30),
        egress: BitsPerSecond(1_000_000_000),
        fill_rate: BitsPerSecond(100_000_000),
    };
    ApplianceView {
        base_url: format!("http://127.0.0.{host}:8080"),
        holds: vec![0, 1],
        ..ApplianceView::serving(OcaId::new(id).unwrap(), SiteId::new(site).unwrap(), capacity)
    }
}

fn title(id: &str, objects: &[u32]) -> TitleView {
    TitleView {
        id: TitleId::new(id).unwrap(),
        name: id.into(),
        prefix: format!("/t/{id}/0123456789ab"),
        objects: objects.to_vec(),
        hls_path: "master.m3u8".into(),
        hls: HLS.into(),
        dash_path: "manifest.mpd".into(),
        dash: DASH.into(),
        demand: Bytes(0),
    }
}

/// Loopback clients are in site `lon` (lon-1, lon-2); `par` (par-1) is in another region. Everybody holds `film`,
/// nobody `rare`.
pub fn fleet() -> FleetSnapshot {
    let sites = vec![
        site("lon", "north", &["127.0.0.0/8"]),
        site("par", "south", &["203.0.113.0/24", "2001:db8::/32"]),
    ];
    let appliances = vec![
        appliance("lon-1", "lon", 2),
        appliance("lon-2", "lon", 3),
        appliance("par-1", "par", 4),
    ];
    FleetSnapshot {
        taken_at: "2026-11-23T14:00:00Z".parse().unwrap(),
        objects: (0u8..3).map(|i| ObjectDigest::of(&[i])).collect(),
        titles: vec![title("film", &[0, 1]), title("rare", &[2])],
        fallback: "http://127.0.0.1:9000".into(),
        ..FleetSnapshot::of(sites, appliances)
    }
}

/// Sets one appliance's state, as a new generation.
pub fn with_state(fleet: &FleetSnapshot, id: &str, state: ApplianceState) -> FleetSnapshot {
    let mut next = fleet.clone();
    next.generation += 1;
    let appliance = next.appliances.iter_mut().find(|a| a.id.as_str() == id);
    appliance.expect("the fixture has it").state = state;
    next
}

/// Writes a snapshot in one step, so that the program never reads half of it.
pub fn write(path: &Path, fleet: &FleetSnapshot) {
    let new = path.with_extension("new");
    std::fs::write(&new, serde_json::to_vec(fleet).unwrap()).unwrap();
    std::fs::rename(&new, path).unwrap();
}
