//! What a process finds open when it starts: sockets that the service manager listens on for it (`LISTEN_FDS`,
//! sd_listen_fds(3)), or everything that the process before it hands over. Both come the same way, as descriptors left
//! open and an environment variable that tells what they are; [`crate::upgrade`] is the giving side.

use crate::{quic, sys::inherit::Legacy};
use serde::{Deserialize, Serialize};
use socket2::{Socket, Type};
use std::{
    env, fmt, io,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::net::UnixStream as StdUnixStream,
    },
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// The variable in which the process before says what it hands over.
pub const LETTER: &str = "OCA_HANDOVER";
/// The line by which the new process asks for the folder, and the answer.
pub const STORE: &str = "store";
/// First descriptor of the service manager (sd_listen_fds(3)).
const FIRST: RawFd = 3;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// HTTP without TLS.
    Http,
    /// HTTPS over TCP.
    Https,
    /// HTTP/3.
    Quic,
    /// The operator's listener.
    Admin,
    /// Where BGP neighbours connect.
    Bgp,
    /// Where routers tell by BMP.
    Bmp,
}

impl Role {
    const ALL: [Self; 6] = [
        Self::Http,
        Self::Https,
        Self::Quic,
        Self::Admin,
        Self::Bgp,
        Self::Bmp,
    ];

    /// Its name, as `FileDescriptorName=` gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Quic => "quic",
            Self::Admin => "admin",
            Self::Bgp => "bgp",
            Self::Bmp => "bmp",
        }
    }

    fn is_type(self, kind: Type) -> bool {
        kind == if self == Self::Quic {
            Type::DGRAM
        } else {
            Type::STREAM
        }
    }
}

/// The process before, as it writes of itself and what it hands over: numbers of descriptors that it left open.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter {
    /// Its process id: a variable that merely leaked into a grandchild is not for it.
    pub parent: u32,
    /// The generation that its successor is to have.
    pub generation: u8,
    /// A Unix stream socket on which both agree on the moment.
    pub channel: RawFd,
    /// Sockets, those of one role in the order of their lanes.
    pub sockets: Vec<(Role, RawFd)>,
    /// Ways to processes that still have QUIC connections: the parent's, and those of its own predecessors.
    pub links: Vec<Links<RawFd>>,
}

/// Ways to an older process, one for each QUIC socket, in their order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Links<Fd> {
    /// Its generation.
    pub generation: u8,
    /// Where its packets go.
    pub lanes: Vec<Fd>,
}

impl Links<OwnedFd> {
    /// The same ways once more.
    ///
    /// # Errors
    /// When no more descriptors are to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        let lanes: io::Result<_> = self.lanes.iter().map(OwnedFd::try_clone).collect();
        Ok(Self {
            generation: self.generation,
            lanes: lanes?,
        })
    }
}

/// Why what was left open cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandedError {
    /// The text.
    #[error("{variable} cannot be read: {why}; it is set by the process before or the service manager alone")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A descriptor.
    #[error("{variable} names descriptors that are no use")]
    Descriptor {
        /// Where.
        variable: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The process before.
    #[error("the process before did not hand over")]
    Channel(#[source] io::Error),
}

struct Given {
    role: Option<Role>,
    socket: Socket,
    kind: Type,
    addr: SocketAddr,
}

impl Given {
    fn new(role: Option<Role>, fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?.as_socket();
        Ok(Self {
            role,
            kind: socket.r#type()?,
            addr: addr.ok_or_else(|| io::Error::other("a socket of no IP family"))?,
            socket,
        })
    }

    /// Whether it is what `role` wants to listen on. A name decides where there is one; a port of 0 takes any.
    fn fits(&self, role: Role, wanted: SocketAddr) -> bool {
        let port = self.addr.port() == wanted.port() || (wanted.port() == 0 && self.role.is_some());
        let name = self.role.is_none_or(|own| own == role);
        name && role.is_type(self.kind) && port && self.addr.ip() == wanted.ip()
    }
}

/// What was left open for this process.
#[derive(Default)]
pub struct Handed {
    given: Vec<Given>,
    predecessor: Option<Predecessor>,
}

impl fmt::Debug for Handed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handed").finish_non_exhaustive()
    }
}

struct Predecessor {
    generation: u8,
    channel: Option<StdUnixStream>,
    links: Vec<Links<OwnedFd>>,
}

impl Handed {
    /// Looks at the environment; the second time there is nothing.
    ///
    /// # Errors
    /// When it names descriptors that are not there.
    pub fn from_environment() -> Result<Self, HandedError> {
        let Some(legacy) = Legacy::once() else {
            return Ok(Self::default());
        };
        if let Ok(text) = env::var(LETTER) {
            let letter: Letter = serde_json::from_str(&text).map_err(|e| HandedError::Variable {
                variable: LETTER,
                why: e.to_string(),
            })?;
            if letter.parent == std::os::unix::process::parent_id() {
                return from_predecessor(&legacy, &letter).map_err(|source| HandedError::Descriptor {
                    variable: LETTER,
                    source,
                });
            }
        }
        from_manager(&legacy)
    }

    /// This process's generation: one more than that of the process before.
    pub fn generation(&self) -> u8 {
        self.predecessor.as_ref().map_or(0, |p| p.generation)
    }

    /// Whether another process serves until this one is ready.
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Sockets for `role` on `addr`, in the order in which they were given; none = make them.
    pub fn take(&mut self, role: Role, addr: SocketAddr) -> Vec<Socket> {
        let (fit, rest) = std::mem::take(&mut self.given)
            .into_iter()
            .partition(|given: &Given| given.fits(role, addr));
        self.given = rest;
        fit.into_iter().map(|given: Given| given.socket).collect()
    }

    /// Ways to the older processes' QUIC connections.
    pub fn take_links(&mut self) -> Vec<Links<OwnedFd>> {
        let links = self.predecessor.as_mut().map(|p| std::mem::take(&mut p.links));
        links.unwrap_or_default()
    }

    /// Closes what nobody took, and tells of it: the configuration listens elsewhere.
    pub fn close_rest(&mut self) {
        for given in self.given.drain(..) {
            let name = given.role.map_or("without a known name", Role::name);
            tracing::warn!(addr = %given.addr, name, "a socket was handed over that the configuration does not use");
        }
    }

    /// Where to talk with the process before; can be had once.
    ///
    /// # Errors
    /// When the channel cannot be watched.
    pub fn channel(&mut self) -> Result<Option<Channel>, HandedError> {
        let end = self.predecessor.as_mut().and_then(|p| p.channel.take());
        end.map(Channel::new).transpose().map_err(HandedError::Channel)
    }
}

fn from_predecessor(legacy: &Legacy, letter: &Letter) -> io::Result<Handed> {
    let sockets = letter.sockets.iter().map(|(_, fd)| *fd);
    let links = letter.links.iter().flat_map(|l| l.lanes.iter().copied());
    let numbers: Vec<RawFd> = sockets.chain(links).chain([letter.channel]).collect();
    let mut fds = legacy.take(&numbers)?.into_iter();
    let given: io::Result<_> = letter
        .sockets
        .iter()
        .zip(fds.by_ref())
        .map(|((role, _), fd)| Given::new(Some(*role), fd))
        .collect();
    let given = given?;
    let links = letter.links.iter().map(|l| Links {
        generation: l.generation,
        lanes: fds.by_ref().take(l.lanes.len()).collect(),
    });
    let links = links.collect();
    let channel = fds.next().ok_or(io::ErrorKind::NotFound)?;
    Ok(Handed {
        given,
        predecessor: Some(Predecessor {
            generation: letter.generation,
            channel: Some(channel.into()),
            links,
        }),
    })
}

fn from_manager(legacy: &Legacy) -> Result<Handed, HandedError> {
    let own = env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    let Some(count) = env::var("LISTEN_FDS").ok().filter(|_| own) else {
        return Ok(Handed::default());
    };
    let variable = "LISTEN_FDS";
    let count: RawFd = count.parse().map_err(|_| HandedError::Variable {
        variable,
        why: format!("`{count}` is no number"),
    })?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let role = |name: &str| Role::ALL.into_iter().find(|r| r.name() == name);
    let roles = names.split(':').map(role).chain(std::iter::repeat(None));
    let numbers: Vec<RawFd> = (FIRST..FIRST.saturating_add(count)).collect();
    let fds = legacy.take(&numbers);
    let given = fds.and_then(|fds| {
        fds.into_iter()
            .zip(roles)
            .map(|(fd, role)| Given::new(role, fd))
            .collect()
    });
    Ok(Handed {
        given: given.map_err(|source| HandedError::Descriptor { variable, source })?,
        predecessor: None,
    })
}

/// The talk of two processes about who serves, in lines.
#[derive(Debug)]
pub struct Channel(BufReader<UnixStream>);

impl Channel {
    /// One end of a pair; needs a tokio runtime.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn new(end: StdUnixStream) -> io::Result<Self> {
        end.set_nonblocking(true)?;
        Ok(Self(BufReader::new(UnixStream::from_std(end)?)))
    }

    /// Says a line.
    ///
    /// # Errors
    /// When the other has ended.
    pub async fn say(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes()).await
    }

    /// Hears a line; absent when the other has ended.
    ///
    /// # Errors
    /// The system's.
    pub async fn hear(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let n = self.0.read_line(&mut line).await?;
        Ok((n > 0).then(|| line.trim_end().to_owned()))
    }

    /// Asks for what only one process may write, and waits until the other has let it go, or has died.
    pub async fn ask_for_store(&mut self) {
        if self.say(STORE).await.is_err() || !matches!(self.hear().await, Ok(Some(_))) {
            tracing::warn!("the process before ended before it handed over");
        }
    }

    /// Says that this process is ready and waits until the other has stopped, or has died: then there is nobody else.
    pub async fn take_over(mut self, ready: &str) {
        let told = self.say(ready).await;
        if told.is_err() || !matches!(self.hear().await, Ok(Some(_))) {
            tracing::warn!("the process before ended while it handed over");
        }
    }
}

/// What this process could hand over, kept until it leaves: a descriptor of its own for each socket.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<Mutex<Estate>>);

/// Descriptors that can be handed over.
#[derive(Debug, Default)]
pub struct Estate {
    /// Sockets, those of one role in the order of their lanes.
    pub sockets: Vec<(Role, OwnedFd)>,
    /// Ways to older processes.
    pub links: Vec<Links<OwnedFd>>,
}

impl Held {
    fn estate(&self) -> std::sync::MutexGuard<'_, Estate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a descriptor for each of `sockets`.
    ///
    /// # Errors
    /// When no more are to be had.
    pub fn keep<S: AsFd>(&self, role: Role, sockets: &[S]) -> io::Result<()> {
        for socket in sockets {
            let fd = socket.as_fd().try_clone_to_owned()?;
            self.estate().sockets.push((role, fd));
        }
        Ok(())
    }

    /// Keeps ways to older processes.
    pub fn keep_links(&self, links: Vec<Links<OwnedFd>>) {
        self.estate().links = links;
    }

    /// Closes all: a listener is closed for clients when its last descriptor is.
    pub fn let_go(&self) {
        *self.estate() = Estate::default();
    }

    /// All once more, to be handed over.
    ///
    /// # Errors
    /// When no more descriptors are to be had.
    pub fn copy(&self) -> io::Result<Estate> {
        let mut estate = self.estate();
        estate.links.retain(|l| l.lanes.iter().any(quic::is_alive));
        let sockets: io::Result<_> = estate
            .sockets
            .iter()
            .map(|(role, fd)| Ok((*role, fd.try_clone()?)))
            .collect();
        let links: io::Result<_> = estate.links.iter().map(Links::try_clone).collect();
        Ok(Estate {
            sockets: sockets?,
            links: links?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn given(role: Option<Role>, fd: impl Into<OwnedFd>) -> Given {
        Given::new(role, fd.into()).unwrap()
    }

    #[test]
    fn sockets_are_taken_by_name_or_by_address_and_kind() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let named = TcpListener::bind(any).unwrap();
        let unnamed = TcpListener::bind(any).unwrap();
        let datagrams = UdpSocket::bind(unnamed.local_addr().unwrap());
        let (named_addr, addr) = (named.local_addr().unwrap(), unnamed.local_addr().unwrap());
        let mut handed = Handed::default();
        handed.given.push(given(Some(Role::Https), named));
        handed.given.push(given(None, unnamed));
        handed
            .given
            .extend(datagrams.ok().map(|socket| given(None, socket)));
        assert!(
            handed.take(Role::Http, any).is_empty(),
            "any port takes named ones only"
        );
        assert!(
            handed.take(Role::Http, named_addr).is_empty(),
            "it has another name"
        );
        assert_eq!(handed.take(Role::Http, addr).len(), 1, "by its address");
        assert!(handed.take(Role::Http, addr).is_empty(), "once");
        assert_eq!(handed.take(Role::Https, any).len(), 1, "by its name");
        assert!(handed.take(Role::Quic, addr).len() <= 1);
        assert!(handed.given.is_empty());
    }
}
