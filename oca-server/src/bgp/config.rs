//! The table `[bgp]` of the appliance's configuration (docs/formats/appliance-config.md).

use super::codec::Local;
use crate::config::reader::Reader;
use cdn_types::api::v1::routes::PeeringClass;
use oca_core::bgp::{bmp::View, filter::Filter};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Routes that a neighbour may send unless the file says otherwise: an access network announces thousands.
const PREFIX_LIMIT: u64 = 200_000;
/// Most of that: two tables of the whole Internet.
const MOST_PREFIX_LIMIT: u64 = 4_000_000;
/// Most neighbours: each has a task and a place in the table.
const MOST_NEIGHBORS: usize = 256;

/// A checked `[bgp]`.
#[derive(Debug, Clone, PartialEq)]
pub struct BgpConfig {
    /// Address of the listener.
    pub listen: SocketAddr,
    /// Where routers tell by BMP.
    pub bmp_listen: Option<SocketAddr>,
    /// Who this speaker is.
    pub local: Local,
    /// Which routes count.
    pub filter: Filter,
    /// Who may connect.
    pub neighbors: Vec<NeighborConfig>,
}

/// A neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighborConfig {
    /// Where it connects from.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
    /// How it is joined.
    pub class: PeeringClass,
    /// File with the secret of RFC 2385.
    pub md5_file: Option<PathBuf>,
    /// Routes that it may send.
    pub prefix_limit: usize,
    /// It is a router that tells this view by BMP, instead of a BGP neighbour.
    pub bmp: Option<View>,
}

impl BgpConfig {
    /// Reads the table, if it is there; problems are noted in `r`.
    pub(crate) fn read(r: &mut Reader<'_>, folder: &Path) -> Option<Self> {
        let mut table = r.table("bgp")?;
        let listen = table.required("listen", "give an address and port, e.g. 0.0.0.0:179");
        let asn = table.number("local_as", 1, u32::MAX.into());
        if asn.is_none() {
            table.missing("local_as", "give the AS number of this speaker");
        }
        let id: Option<Ipv4Addr> = table.required(
            "router_id",
            "give the BGP identifier, an IPv4 address, e.g. 192.0.2.7",
        );
        if id.is_some_and(|id| id.is_unspecified()) {
            table.problem("router_id", "0.0.0.0 is no BGP identifier".to_owned());
        }
        let usual = Filter::default();
        let filter = Filter {
            longest_v4: table
                .number("longest_v4", 1, 32)
                .map_or(usual.longest_v4, |n| n as u8),
            longest_v6: table
                .number("longest_v6", 1, 128)
                .map_or(usual.longest_v6, |n| n as u8),
            allow_bogons: table.flag("private_space").unwrap_or(false),
        };
        let bmp_listen: Option<SocketAddr> = table.parsed("bmp_listen");
        let neighbors = neighbors(&mut table, folder);
        if bmp_listen.is_none() && neighbors.iter().any(|n| n.bmp.is_some()) {
            table.missing(
                "bmp_listen",
                "give the address that routers tell by BMP at, e.g. 0.0.0.0:11019",
            );
        }
        r.end(table);
        Some(Self {
            listen: listen?,
            bmp_listen,
            local: Local {
                asn: u32::try_from(asn?).ok()?,
                id: id?,
            },
            filter,
            neighbors,
        })
    }
}

fn neighbors(table: &mut Reader<'_>, folder: &Path) -> Vec<NeighborConfig> {
    let mut all: Vec<NeighborConfig> = Vec::new();
    let tables = table.tables("neighbors").unwrap_or_default();
    if tables.is_empty() || tables.len() > MOST_NEIGHBORS {
        let mend = format!("give 1 to {MOST_NEIGHBORS} [[bgp.neighbors]]");
        table.missing("neighbors", &mend);
    }
    for mut one in tables {
        let neighbor = neighbor(&mut one, folder);
        if let Some(n) = &neighbor
            && all
                .iter()
                .any(|o| o.address == n.address && o.bmp.is_some() == n.bmp.is_some())
        {
            one.problem("address", format!("{} is another neighbour's already", n.address));
        }
        table.end(one);
        all.extend(neighbor);
    }
    all
}

fn neighbor(one: &mut Reader<'_>, folder: &Path) -> Option<NeighborConfig> {
    let address: Option<IpAddr> =
        one.required("address", "give the address that the neighbour connects from");
    let asn = one.number("as", 1, u32::MAX.into());
    if asn.is_none() {
        one.missing("as", "give the neighbour's AS number");
    }
    let class = one.required("class", "give embedded, private, exchange or transit");
    let md5_file = one.string("md5_file").map(|file| folder.join(file));
    let bmp = one.parsed("bmp");
    let prefix_limit = one.number("prefix_limit", 1, MOST_PREFIX_LIMIT);
    Some(NeighborConfig {
        address: address?.to_canonical(),
        asn: u32::try_from(asn?).ok()?,
        class: class?,
        md5_file,
        prefix_limit: prefix_limit.unwrap_or(PREFIX_LIMIT) as usize,
        bmp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const BASE: &str = "id = \"a\"\ncontrol = \"http://c\"\nlisten = \"127.0.0.2:0\"\nroot = \"r\"\n";

    fn parse(bgp: &str) -> Result<BgpConfig, Vec<String>> {
        let parsed = Config::parse(&format!("{BASE}{bgp}"), Path::new("/etc/nightfill"));
        let shown = |problems: Vec<crate::config::Problem>| {
            problems.iter().map(|p| p.in_file(Path::new("a.toml"))).collect()
        };
        parsed.map(|c| c.bgp.expect("the table is there")).map_err(shown)
    }

    #[test]
    fn a_short_table_has_the_usual_limits() {
        let text = "[bgp]\nlisten = \"[::]:179\"\nlocal_as = 4200000001\nrouter_id = \"192.0.2.7\"\n\
                    [[bgp.neighbors]]\naddress = \"::ffff:192.0.2.1\"\nas = 64500\nclass = \"embedded\"\n";
        let bgp = parse(text).unwrap();
        assert_eq!((bgp.local.asn, bgp.filter), (4_200_000_001, Filter::default()));
        let n = &bgp.neighbors[0];
        assert_eq!(
            (n.address.to_string().as_str(), n.prefix_limit),
            ("192.0.2.1", 200_000)
        );
        assert_eq!(
            (n.class, &n.md5_file, n.bmp),
            (PeeringClass::Embedded, &None, None)
        );
    }

    #[test]
    fn every_key_is_read() {
        let text = "[bgp]\nlisten = \"[::]:179\"\nlocal_as = 64999\nrouter_id = \"192.0.2.7\"\nlongest_v4 = 28\n\
                    longest_v6 = 56\nprivate_space = true\nbmp_listen = \"[::]:11019\"\n\
                    [[bgp.neighbors]]\naddress = \"2001:db8::1\"\nas = 64500\nclass = \"transit\"\nmd5_file = \"s\"\n\
                    prefix_limit = 9\n[[bgp.neighbors]]\naddress = \"2001:db8::1\"\nas = 64500\nclass = \"exchange\"\n\
                    bmp = \"loc_rib\"\n";
        let bgp = parse(text).unwrap();
        let filter = Filter {
            longest_v4: 28,
            longest_v6: 56,
            allow_bogons: true,
        };
        assert_eq!((bgp.filter, bgp.bmp_listen.unwrap().port()), (filter, 11019));
        let [peer, router] = &bgp.neighbors[..] else {
            panic!("there are two")
        };
        assert_eq!(peer.md5_file.as_deref(), Some(Path::new("/etc/nightfill/s")));
        assert_eq!((peer.prefix_limit, router.bmp), (9, Some(View::LocRib)));
    }

    #[test]
    fn problems_are_named_with_their_place_in_the_table() {
        let text = "[bgp]\nlisten = \"nowhere\"\nrouter_id = \"0.0.0.0\"\nlongest_v4 = 33\nprivate_space = 1\n\
                    [[bgp.neighbors]]\naddress = \"192.0.2.1\"\nas = 0\nclass = \"pni\"\nprefixlimit = 1\n\
                    [[bgp.neighbors]]\naddress = \"192.0.2.2\"\nas = 1\nclass = \"private\"\nbmp = \"all\"\n\
                    [[bgp.neighbors]]\naddress = \"192.0.2.2\"\nas = 1\nclass = \"private\"\n";
        let problems = parse(text).unwrap_err();
        let expected = [
            "a.toml:6: bgp.listen: `nowhere`",
            "a.toml:7: bgp.router_id: 0.0.0.0 is no BGP identifier",
            "a.toml:8: bgp.longest_v4: 33 is not from 1 to 32",
            "a.toml:9: bgp.private_space: is not true or false",
            "a.toml:12: bgp.neighbors.as: 0 is not from 1",
            "a.toml:13: bgp.neighbors.class: `pni` is none of",
            "a.toml:14: bgp.neighbors.prefixlimit: there is no such key; did you mean prefix_limit?",
            "a.toml:19: bgp.neighbors.bmp: `all` is none of",
            "a.toml:21: bgp.neighbors.address: 192.0.2.2 is another neighbour's already",
            "a.toml: bgp.local_as: give the AS number",
        ];
        for e in expected {
            assert!(
                problems.iter().any(|p| p.starts_with(e)),
                "{e} is not in {problems:#?}"
            );
        }
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        let none = parse("[bgp]\nlisten = \"[::]:1\"\nlocal_as = 1\nrouter_id = \"1.1.1.1\"\n").unwrap_err();
        assert!(none[0].contains("bgp.neighbors: give 1 to 256"), "{none:?}");
        let flat = parse("bgp = 1\n").unwrap_err();
        assert!(flat[0].contains("bgp: integer is not a table"), "{flat:?}");
    }
}
