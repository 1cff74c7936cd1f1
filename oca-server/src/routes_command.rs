//! `oca-server routes`: what appliances would hear if their BGP neighbours were the routers of a table dump (MRT), as the control plane
//! would tell it. For `nightfill steer replay --routes`, and to see what a table comes to before a session is set up. Reads files, tells
//! nobody.

use crate::{
    bgp::config::{BgpConfig, NeighborConfig},
    config::Config,
};
use anyhow::{Context, bail, ensure};
use cdn_types::{
    OcaId,
    api::v1::routes::{ApplianceRoutes, RouteBatchAnswer, RouteChanges},
};
use clap::Args;
use oca_core::bgp::{
    feed::Feed,
    mrt::{self, MrtPeer, MrtRecord, MrtRoute},
    rib::{Neighbor, NeighborIndex, Rib},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

/// Arguments of `routes`.
#[derive(Debug, Args)]
pub struct RoutesArgs {
    /// A dump of a table (MRT, TABLE_DUMP_V2), unpacked; repeat it for several routers
    #[arg(long, value_name = "FILE", required = true)]
    pub mrt: Vec<PathBuf>,
    /// Configuration of an appliance with the neighbours whose routes it hears; repeat it for several appliances
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Vec<PathBuf>,
}

/// An appliance, its table, and which of its neighbours were found in a dump.
struct Listener {
    id: OcaId,
    bgp: BgpConfig,
    rib: Rib,
    found: Vec<bool>,
}

/// Prints the routes as JSON.
///
/// # Errors
/// When a file cannot be read, or a neighbour is in none of the dumps.
pub fn run(args: &RoutesArgs) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for path in &args.config {
        let config = Config::load(path)?;
        let Some(bgp) = config.bgp else {
            bail!(
                "{}: there is no [bgp]; name the neighbours whose routes it hears",
                path.display()
            );
        };
        listeners.push(Listener::new(config.id, bgp));
    }
    for path in &args.mrt {
        take_dump(path, &mut listeners).with_context(|| path.display().to_string())?;
    }
    let mut told: BTreeMap<OcaId, ApplianceRoutes> = BTreeMap::new();
    for listener in listeners {
        let routes = listener.told()?;
        if told.insert(routes.appliance.clone(), routes).is_some() {
            bail!("two configurations are of the same appliance; give each its own id");
        }
    }
    let changes = RouteChanges {
        generation: 1,
        reset: true,
        appliances: told.into_values().collect(),
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &changes)?;
    out.write_all(b"\n")?;
    Ok(())
}

impl Listener {
    fn new(id: OcaId, bgp: BgpConfig) -> Self {
        let neighbor = |n: &NeighborConfig| Neighbor {
            asn: n.asn,
            class: n.class,
        };
        Self {
            id,
            rib: Rib::new(
                bgp.local.asn,
                bgp.filter,
                bgp.neighbors.iter().map(neighbor).collect(),
            ),
            found: vec![false; bgp.neighbors.len()],
            bgp,
        }
    }

    /// Which neighbour a peer is.
    fn place(&mut self, peer: &MrtPeer) -> Option<NeighborIndex> {
        let place = self
            .bgp
            .neighbors
            .iter()
            .position(|n| n.address == peer.address.to_canonical())?;
        self.found[place] = true;
        NeighborIndex::try_from(place).ok()
    }

    fn told(mut self) -> anyhow::Result<ApplianceRoutes> {
        for (n, found) in self.bgp.neighbors.iter().zip(&self.found) {
            ensure!(
                found,
                "neighbour {} of appliance `{}` is no peer of a dump; name the peers of the dump by their addresses there",
                n.address,
                self.id
            );
        }
        for (place, n) in self.bgp.neighbors.iter().enumerate() {
            let received = self.rib.received(place as NeighborIndex); // the configuration allows 256
            ensure!(
                received <= n.prefix_limit,
                "neighbour {} of appliance `{}` has {received} routes: its session would be closed; raise prefix_limit ({})",
                n.address,
                self.id,
                n.prefix_limit
            );
        }
        let mut announced = Vec::new();
        let mut feed = Feed::new(String::new());
        while let Some(batch) = feed.batch(&mut self.rib, true) {
            announced.extend(batch.announced.iter().cloned());
            let next = batch.number + 1;
            feed.answered(RouteBatchAnswer { next });
        }
        Ok(ApplianceRoutes {
            appliance: self.id,
            announced,
            withdrawn: Vec::new(),
        })
    }
}

/// Takes a dump's routes into the tables of those who hear its peers.
fn take_dump(path: &Path, listeners: &mut [Listener]) -> anyhow::Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    // For each peer of the dump, whose neighbour it is.
    let mut heard: Vec<Vec<(usize, NeighborIndex)>> = Vec::new();
    let (mut paths, mut malformed) = (0u64, 0u64);
    for number in 1u64.. {
        let Some(record) = next_record(&mut file).with_context(|| format!("record {number}"))? else {
            break;
        };
        match mrt::read(&record).with_context(|| format!("record {number}"))? {
            MrtRecord::Peers(peers) => heard = peers.iter().map(|peer| neighbours(listeners, peer)).collect(),
            MrtRecord::Routes(routes) => {
                for MrtRoute {
                    peer,
                    nlri,
                    attributes,
                } in routes
                {
                    let Some(listening) = heard.get(usize::from(peer)) else {
                        bail!(
                            "record {number}: it names peer {peer}, and the dump has {}",
                            heard.len()
                        );
                    };
                    let Some(attributes) = attributes else {
                        malformed += 1;
                        continue;
                    };
                    paths += 1;
                    for (listener, place) in listening {
                        listeners[*listener].rib.announce(*place, &[nlri], &attributes);
                    }
                }
            }
            MrtRecord::Other => {}
        }
    }
    ensure!(
        !heard.is_empty(),
        "there is no table of peers in it; give a dump of a table (TABLE_DUMP_V2)"
    );
    tracing::info!(dump = %path.display(), peers = heard.len(), paths, malformed, "read");
    Ok(())
}

fn neighbours(listeners: &mut [Listener], peer: &MrtPeer) -> Vec<(usize, NeighborIndex)> {
    let places = listeners.iter_mut().enumerate();
    places
        .filter_map(|(at, listener)| Some((at, listener.place(peer)?)))
        .collect()
}

/// The next record; absent at the file's end.
fn next_record(file: &mut impl Read) -> anyhow::Result<Option<Vec<u8>>> {
    let mut record = Vec::new();
    file.by_ref().take(12).read_to_end(&mut record)?;
    if record.is_empty() {
        return Ok(None);
    }
    let length = mrt::first(&record)?.context("it is cut off; fetch the dump again")?;
    let rest = length - record.len();
    file.by_ref().take(rest as u64).read_to_end(&mut record)?;
    ensure!(record.len() == length, "it is cut off; fetch the dump again");
    Ok(Some(record))
}
