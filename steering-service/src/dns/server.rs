//! The sockets of the DNS door: UDP, and TCP for what did not fit (RFC 7766), on one port.

use super::{
    DnsConfig,
    query::{Query, Unread},
    rate::{Limiter, Verdict},
    reply::{Reply, unread},
    wire::rcode,
    zone::{self, Sent},
};
use crate::{
    decisions::{
        DecisionLog,
        record::{Decision, Door},
    },
    fleet::{Fleet, FleetState},
    metrics::Metrics,
};
use cdn_types::time::Timestamp;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// TCP connections at once.
const MAX_CONNECTIONS: usize = 1000;
/// How long a TCP connection may say nothing, or take to take an answer (RFC 7766 §6.2.3: in the order of seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Largest query over UDP that is read: far more than a question and its options need.
const MAX_QUERY: usize = 4096;
/// How often a free port is looked for that is free for both protocols.
const PORT_TRIES: usize = 16;
/// Pause after a socket failed: out of descriptors or memory, which the next moment may mend.
const PAUSE: Duration = Duration::from_millis(50);

/// The door, ready to open.
pub struct Server {
    answers: Answers,
    udp: UdpSocket,
    tcp: TcpListener,
}

#[derive(Clone)]
struct Answers {
    config: Arc<DnsConfig>,
    fleet: Arc<FleetState>,
    metrics: Arc<Metrics>,
    decisions: Arc<DecisionLog>,
}

impl Server {
    /// Takes the sockets.
    pub async fn bind(
        config: DnsConfig,
        fleet: Arc<FleetState>,
        metrics: Arc<Metrics>,
        decisions: Arc<DecisionLog>,
    ) -> io::Result<Self> {
        let (udp, tcp) = sockets(config.listen).await?;
        Ok(Self {
            answers: Answers {
                config: Arc::new(config),
                fleet,
                metrics,
                decisions,
            },
            udp,
            tcp,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Answers for ever.
    pub async fn serve(self) {
        let Self { answers, udp, tcp } = self;
        tokio::join!(answers.udp(&udp), answers.tcp(&tcp));
    }
}

async fn sockets(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if listen.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        let udp = UdpSocket::bind(listen).await?;
        tries -= 1;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// The question back with TC, and no more.
fn cut(message: &[u8]) -> Option<Vec<u8>> {
    match Query::read(message) {
        Err(Unread::Silence) => None,
        Err(Unread::Code(code)) => Some(unread(message, code)),
        Ok(query) => Some(Reply::default().write(message, &query, 0)),
    }
}

impl Answers {
    async fn udp(&self, socket: &UdpSocket) {
        let mut message = [0; MAX_QUERY];
        let limited = &self.metrics.dns_limited;
        let limited = ["cut", "dropped"].map(|outcome| limited.with_label_values(&[outcome]));
        let mut limiter = (self.config.rate > 0).then(|| Limiter::new(self.config.rate));
        let began = Instant::now();
        loop {
            let (len, peer) = match socket.recv_from(&mut message).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!("dns: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let message = &message[..len];
            let take = |limiter: &mut Limiter| limiter.take(peer.ip(), began.elapsed().as_secs_f64());
            let answer = match limiter.as_mut().map_or(Verdict::Answer, take) {
                Verdict::Answer => self.answer(message, peer.ip(), "udp"),
                Verdict::Cut => {
                    limited[0].inc();
                    cut(message)
                }
                Verdict::Drop => {
                    limited[1].inc();
                    None
                }
            };
            if let Some(answer) = answer
                && let Err(error) = socket.send_to(&answer, peer).await
            {
                tracing::debug!(%peer, "dns: {error}");
            }
        }
    }

    async fn tcp(&self, listener: &TcpListener) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new(); // ends them when the door is closed
        loop {
            let permit = Arc::clone(&room).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let answers = self.clone();
                    connections.spawn(async move {
                        if let Err(error) = answers.connection(stream, peer.ip()).await {
                            tracing::debug!(%peer, "dns: {error}");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("dns accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// Queries with their lengths before them, answered in order.
    async fn connection(&self, mut stream: TcpStream, peer: IpAddr) -> io::Result<()> {
        let _ = stream.set_nodelay(true); // without it only latency suffers
        let mut message = Vec::new();
        while let Ok(len) = timeout(IDLE, stream.read_u16()).await? {
            message.resize(len.into(), 0);
            timeout(IDLE, stream.read_exact(&mut message)).await??;
            let Some(mut answer) = self.answer(&message, peer, "tcp") else {
                return Ok(());
            };
            let len = (answer.len() as u16).to_be_bytes(); // `answer` keeps to the room given
            answer.splice(0..0, len);
            timeout(IDLE, stream.write_all(&answer)).await??;
        }
        Ok(())
    }

    fn answer(&self, message: &[u8], peer: IpAddr, transport: &str) -> Option<Vec<u8>> {
        let (code, bytes) = match Query::read(message) {
            Err(Unread::Silence) => return None,
            Err(Unread::Code(code)) => (code, unread(message, code)),
            Ok(query) => {
                let fleet = self.fleet.current();
                let zone::Answer { reply, sent } = zone::answer(&self.config, fleet.as_deref(), &query, peer);
                if let (Some(fleet), Some(sent)) = (&fleet, sent) {
                    self.log(fleet, sent);
                }
                let room = if transport == "udp" {
                    query.udp_room()
                } else {
                    usize::from(u16::MAX)
                };
                (reply.code, reply.write(message, &query, room))
            }
        };
        let labels = [transport, rcode::name(code)];
        self.metrics.dns_answers.with_label_values(&labels).inc();
        Some(bytes)
    }

    /// Logs whom somebody was sent to. The guards of experiments have no use for it: DNS has no sessions.
    fn log(&self, fleet: &Fleet, sent: Sent<'_>) {
        if self.decisions.writes() {
            let (now, index) = (Timestamp::now().as_millisecond(), &fleet.index);
            let title = &index.title(sent.title).id;
            let mut decision = Decision::new(Door::Dns, now, index, sent.network, title);
            decision.answered.push(sent.to.to_owned());
            self.decisions.push(decision, index);
        }
    }
}
