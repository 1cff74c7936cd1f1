//! HTTP/3's connections: QUIC by quinn-proto, driven by each worker's own loop over a UDP socket of its own, so that a
//! whole batch of datagrams is one system call and nothing is handed between threads. `endpoint` moves datagrams and
//! time, `connection` makes requests and responses of them, `cid` and `socket` keep a connection on its worker.

mod buffers;
mod cid;
mod connection;
mod endpoint;
mod link;
mod socket;
mod uni;

use crate::{handover::Links, limits::Limits};
use cid::WorkerIds;
use link::ToOlder;
use quinn_proto::{
    EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt,
    congestion::{BbrConfig, CubicConfig},
    crypto::rustls::QuicServerConfig,
};
use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use buffers::{BUFFER, Buffers};
pub use endpoint::serve;
pub use link::{is_alive, pair};
pub use socket::{given, sockets};

/// Most workers with a QUIC socket: a connection id has one byte for the worker.
pub const WORKERS: usize = 256;
/// Requests of one connection at once, as in HTTP/2.
const STREAMS: u32 = 64;
/// A client's control and QPACK streams, and some that nobody knows (RFC 9114 §6.2).
const UNI_STREAMS: u32 = 8;
/// Bytes of one request that wait for us at most, and of all requests of a connection.
const STREAM_WINDOW: u32 = 64 << 10;
const WINDOW: u32 = 256 << 10;
/// Largest datagram sent: what fits Ethernet and most tunnels. A loopback's would fit nobody's path.
const LARGEST: u16 = 1452;
/// The transport's own idle limit comes after those of requests, which take leave properly.
const MARGIN: Duration = Duration::from_secs(5);

/// Congestion control of QUIC connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Congestion {
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// BBR, for paths with much loss or deep buffers; costs more CPU.
    Bbr,
}

impl std::str::FromStr for Congestion {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(name, false).map_err(|_| format!("`{name}` is not cubic or bbr"))
    }
}

/// Why QUIC cannot use a TLS configuration.
#[derive(Debug, thiserror::Error)]
#[error("QUIC needs TLS 1.3 with TLS_AES_128_GCM_SHA256")]
pub struct NoSuite;

/// What the endpoints of all workers share: the identity, the limits, and the keys of tokens and resets.
#[derive(Clone)]
pub struct Quic {
    server: Arc<ServerConfig>,
    endpoint: EndpointConfig,
    generations: Arc<Generations>,
}

/// This process among those that have connections on the same sockets.
#[derive(Debug, Default)]
pub struct Generations {
    /// Its own number.
    pub own: u8,
    /// Ways to older processes.
    pub older: Vec<Links<OwnedFd>>,
    /// Where its packets come from once a newer process reads the sockets; by lane.
    pub from_newer: FromNewerEnds,
}

/// Ends of ways, by lane; each is taken once.
pub type FromNewerEnds = Arc<Mutex<Vec<Option<OwnedFd>>>>;

impl Generations {
    /// Ways to the older processes, for the packets of one lane.
    fn ways(&self, lane: u8) -> io::Result<Vec<ToOlder>> {
        let of_lane = |links: &Links<OwnedFd>| {
            let into = links.lanes.get(usize::from(lane))?;
            Some(into.try_clone().map(|into| ToOlder::new(links.generation, into)))
        };
        self.older.iter().filter_map(of_lane).collect()
    }

    /// Where the packets of one lane come from now, if there is a newer process.
    fn way_from_newer(&self, lane: u8) -> Option<OwnedFd> {
        let mut ends = self.from_newer.lock().unwrap_or_else(PoisonError::into_inner);
        ends.get_mut(usize::from(lane))?.take()
    }
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quic").finish_non_exhaustive()
    }
}

impl Quic {
    /// Of the identity and tickets of the TCP side. Early data stays off: it could be replayed.
    ///
    /// # Errors
    /// When it has no suite that QUIC can begin with.
    pub fn new(
        tls: &rustls::ServerConfig,
        congestion: Congestion,
        limits: &Limits,
        generations: Generations,
    ) -> Result<Self, NoSuite> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.max_early_data_size = 0;
        let crypto = QuicServerConfig::try_from(tls).map_err(|_| NoSuite)?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(Arc::new(transport(congestion, limits)));
        Ok(Self {
            server: Arc::new(server),
            endpoint: EndpointConfig::default(),
            generations: Arc::new(generations),
        })
    }

    /// The endpoint of a lane: a socket with the worker that reads it.
    fn endpoint(&self, lane: u8, may_fragment: bool) -> quinn_proto::Endpoint {
        let mut config = self.endpoint.clone();
        let generation = self.generations.own;
        config.cid_generator(move || Box::new(WorkerIds::new(lane, generation)));
        quinn_proto::Endpoint::new(
            Arc::new(config),
            Some(Arc::clone(&self.server)),
            !may_fragment,
            None,
        )
    }
}

fn transport(congestion: Congestion, limits: &Limits) -> TransportConfig {
    let mut config = TransportConfig::default();
    let quiet = limits.idle_time.max(limits.slow_read) + MARGIN;
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(LARGEST);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .max_idle_timeout(IdleTimeout::try_from(quiet).ok())
        .mtu_discovery_config(Some(discovery))
        .datagram_receive_buffer_size(None)
        .send_fairness(false); // the order of responses is ours
    match congestion {
        Congestion::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
        Congestion::Bbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
    };
    config
}
