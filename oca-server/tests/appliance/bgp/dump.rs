//! Dumps of tables, written by bgpkit and by BIRD 2, as `oca-server routes` tells them.

use super::bird::{BIRD, Bird};
use crate::world::{free_port, until};
use bgpkit_parser::{
    BgpElem,
    encoder::MrtRibEncoder,
    models::{AsPath, MetaCommunity, NetworkPrefix, Origin},
};
use cdn_types::api::v1::routes::{PeeringClass, RouteChanges};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// A path of a peer.
fn path(peer: &str, asn: u32, prefix: &str, path: &[u32], med: Option<u32>) -> BgpElem {
    BgpElem {
        timestamp: 1_795_671_384.0,
        peer_ip: peer.parse().unwrap(),
        peer_asn: asn.into(),
        prefix: NetworkPrefix::new(prefix.parse().unwrap(), None),
        next_hop: Some(peer.parse().unwrap()),
        as_path: Some(AsPath::from_sequence(path)),
        origin: Some(Origin::IGP),
        med,
        communities: Some(vec![MetaCommunity::Plain(
            bgpkit_parser::models::Community::Custom(64500.into(), 7),
        )]),
        ..BgpElem::default()
    }
}

fn config(dir: &Path, id: &str, neighbors: &[(&str, u32, &str)], limit: u32) -> String {
    let mut text = format!(
        "id = \"{id}\"\ncontrol = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:0\"\nroot = \"r\"\n\
         [bgp]\nlisten = \"127.0.0.1:0\"\nlocal_as = 64999\nrouter_id = \"192.0.2.7\"\n"
    );
    for (address, asn, class) in neighbors {
        text += &format!(
            "[[bgp.neighbors]]\naddress = \"{address}\"\nas = {asn}\nclass = \"{class}\"\nprefix_limit = {limit}\n"
        );
    }
    let file = dir.join(format!("{id}-{limit}.toml"));
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn routes(dumps: &[&Path], configs: &[&str]) -> Result<RouteChanges, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oca-server"));
    command.arg("routes");
    dumps.iter().for_each(|d| _ = command.arg("--mrt").arg(d));
    configs.iter().for_each(|c| _ = command.args(["--config", c]));
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn a_table_dump_is_told_as_its_routers_would() {
    let dir = tempfile::tempdir().unwrap();
    let mut dump = MrtRibEncoder::new();
    for elem in [
        path("192.0.2.1", 64500, "198.51.0.0/16", &[64500, 64501], Some(50)),
        path("192.0.2.2", 64510, "198.51.0.0/16", &[64510], None),
        path("192.0.2.1", 64500, "2400:1::/32", &[64500], None),
        path("192.0.2.2", 64510, "10.1.0.0/16", &[64510], None), // a bogon
        path("192.0.2.3", 64520, "203.0.0.0/20", &[64520], None), // nobody's neighbour
    ] {
        dump.process_elem(&elem).unwrap();
    }
    let file = dir.path().join("rib.mrt");
    let octets = dump.export_bytes().unwrap();
    fs::write(&file, &octets).unwrap();
    let near = config(dir.path(), "lon-1", &[("192.0.2.1", 64500, "private")], 10);
    let both = [("192.0.2.1", 64500, "private"), ("192.0.2.2", 64510, "embedded")];
    let both = config(dir.path(), "lon-2", &both, 10);

    let told = routes(&[&file], &[&near, &both]).unwrap();
    assert!(told.reset);
    let [one, two] = &told.appliances[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (one.appliance.as_str(), two.appliance.as_str()),
        ("lon-1", "lon-2")
    );
    let of = |appliance: &cdn_types::api::v1::routes::ApplianceRoutes, prefix: &str| {
        let prefix = prefix.parse().unwrap();
        let group = appliance
            .announced
            .iter()
            .find(|g| g.prefixes.contains(&prefix))?;
        Some(group.attributes.clone())
    };
    let private = of(one, "198.51.0.0/16").unwrap();
    assert_eq!(
        (private.class, private.as_path_len, private.med),
        (PeeringClass::Private, 2, Some(50))
    );
    assert_eq!((private.neighbor_as, private.origin_as), (64500, Some(64501)));
    assert_eq!(private.communities, [64500 << 16 | 7]);
    assert_eq!(
        of(two, "198.51.0.0/16").unwrap().class,
        PeeringClass::Embedded,
        "the better one alone"
    );
    assert!(of(two, "2400:1::/32").is_some(), "IPv6");
    assert!(of(two, "10.1.0.0/16").is_none() && of(two, "203.0.0.0/20").is_none());

    let strange = config(dir.path(), "lon-3", &[("192.0.2.9", 1, "transit")], 10);
    let error = routes(&[&file], &[&strange]).unwrap_err();
    assert!(
        error.contains("neighbour 192.0.2.9 of appliance `lon-3` is no peer of a dump"),
        "{error}"
    );
    let strict = config(dir.path(), "lon-1", &[("192.0.2.1", 64500, "private")], 1);
    let error = routes(&[&file], &[&strict]).unwrap_err();
    assert!(
        error.contains("has 2 routes") && error.contains("raise prefix_limit (1)"),
        "{error}"
    );
    fs::write(&file, &octets[..octets.len() - 1]).unwrap();
    let error = routes(&[&file], &[&near]).unwrap_err();
    assert!(error.contains("it is cut off; fetch the dump again"), "{error}");
    fs::write(&file, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff and more").unwrap();
    let error = routes(&[&file], &[&near]).unwrap_err();
    assert!(error.contains("unpack the file first"), "{error}");
    assert!(
        error.lines().count() == 1 && !error.contains("panicked"),
        "{error}"
    );
}

/// A collector that listens to a router as AS 64999, and writes its tables down.
#[test]
fn a_dump_of_bird_is_told_as_the_session_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().display(), format!("127.78.20.1:{}", free_port()));
    let port = to.rsplit(':').next().unwrap();
    let text = format!(
        "log \"{path}/log\" all; router id 192.0.2.9;
         protocol bgp heard {{
           local 127.78.20.1 port {port} as 64999; neighbor 127.78.20.2 port 17900 as 64500;
           multihop 2; passive on; strict bind on;
           ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }};
         }}"
    );
    fs::write(dir.path().join("bird.conf"), text).unwrap();
    let mut collector = Command::new(BIRD)
        .args(["-f", "-c", "bird.conf", "-s", "ctl", "-P", "pid"])
        .current_dir(dir.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let command = |text: &str| {
        let mut birdc = Command::new("/usr/sbin/birdc");
        let out = birdc.args(["-s", "ctl", text]).current_dir(dir.path()).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    let mut router = Bird::new("127.78.20.2", to.parse().unwrap());
    router.start("");
    until("the collector has the routes of both families", || {
        let shown = command("show route");
        shown.contains("11.2.3.0/24") && shown.contains("2400:1::/32")
    });
    let files = ["master4", "master6"].map(|table| dir.path().join(table));
    for file in &files {
        let (table, file) = (file.file_name().unwrap().display(), file.display());
        command(&format!("mrt dump table \"{table}\" to \"{file}\""));
        until("the dump is there", || {
            fs::metadata(file.to_string()).is_ok_and(|m| m.len() > 0)
        });
    }
    router.kill();
    collector.kill().unwrap();
    collector.wait().unwrap();

    let config = config(dir.path(), "lon-1", &[("127.78.20.2", 64500, "private")], 10);
    let both = routes(&files.each_ref().map(std::path::PathBuf::as_path), &[&config]).unwrap();
    let groups = &both.appliances[0].announced;
    let mut prefixes: Vec<_> = groups
        .iter()
        .flat_map(|g| &g.prefixes)
        .map(ToString::to_string)
        .collect();
    prefixes.sort();
    assert_eq!(
        prefixes,
        ["11.1.0.0/16", "11.2.3.0/24", "2400:1::/32"],
        "as a session counts them"
    );
    let far = groups
        .iter()
        .find(|g| g.prefixes.contains(&"11.2.3.0/24".parse().unwrap()))
        .unwrap();
    let far = &far.attributes;
    assert_eq!(
        (far.as_path_len, far.neighbor_as, far.origin_as),
        (3, 64500, Some(4_200_000_005))
    );
    assert_eq!(
        (far.med, &far.communities[..]),
        (Some(50), &[64500 << 16 | 7][..])
    );
    assert_eq!(far.large_communities, [[64500, 1, 2]]);
}
