//! One neighbour's task: its connection, its session, its clock. All octets pass here; what they mean is decided in
//! `oca_core::bgp`.

use super::{
    Shown, Speaker,
    codec::{self, Local},
    config::NeighborConfig,
};
use crate::drain::Drain;
use bytes::BytesMut;
use oca_core::bgp::{
    frame::{self, HEADER, Kind},
    message::{Notification, Outgoing},
    rib::NeighborIndex,
    session::{Action, Admission, Session},
    update::{self, Rules, Update},
};
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

/// Octets that are read at once: sixteen of the largest messages.
pub(super) const READ: usize = 64 << 10;
/// Longest time for a message of ours, which is small: a neighbour that does not even take that is dead.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// What a task is told.
#[derive(Debug)]
pub(super) enum Event {
    /// The neighbour has connected.
    Connection(TcpStream),
    /// Its routes are wanted anew.
    Refresh,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// How UPDATEs are read, once the session is up.
    rules: Option<Rules>,
}

/// A neighbour's task.
#[derive(Debug)]
pub(super) struct Task {
    speaker: Arc<Speaker>,
    index: NeighborIndex,
    session: Session,
    connection: Option<Connection>,
}

impl Task {
    /// The task of the neighbour at this place of the configuration.
    pub(super) fn new(speaker: Arc<Speaker>, index: usize) -> Self {
        let session = Session::new(speaker.config.local.asn, speaker.config.neighbors[index].asn);
        Self {
            speaker,
            index: index as NeighborIndex, // MOST_NEIGHBORS is far below
            session,
            connection: None,
        }
    }

    /// Runs until the process leaves.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>, drain: Drain) {
        loop {
            let deadline = self.session.deadline().map(|at| self.speaker.started + at);
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Connection(stream)) => self.admit(stream).await,
                    Some(Event::Refresh) => self.act(self.session.refresh()).await,
                    None => return,
                },
                read = read(&mut self.connection) => self.took(read).await,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let actions = self.session.tick(self.now());
                    self.act(actions).await;
                }
                () = drain.stopped() => {
                    let actions = self.session.stopped(self.now());
                    return self.act(actions).await;
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.speaker.started.elapsed()
    }

    fn config(&self) -> &NeighborConfig {
        &self.speaker.config.neighbors[usize::from(self.index)]
    }

    async fn admit(&mut self, stream: TcpStream) {
        match self.session.connected(self.now()) {
            Admission::Taken(actions) => {
                let _ = stream.set_nodelay(true); // it only costs time
                self.connection = Some(Connection {
                    stream,
                    buffer: BytesMut::with_capacity(READ),
                    rules: None,
                });
                self.act(actions).await;
            }
            Admission::Refused(notification) => {
                tracing::info!(neighbor = %self.config().address, %notification, "a BGP connection is refused");
                let counter = "oca_bgp_connections_refused_total";
                self.speaker.metrics.counter(counter, &["collision"]).inc();
                let message = Outgoing::Notification(notification);
                let mut stream = stream;
                let _ = send(&mut stream, self.speaker.config.local, &message).await; // it is closed anyway
            }
        }
    }

    /// Takes in what was read.
    async fn took(&mut self, read: io::Result<usize>) {
        if !matches!(read, Ok(1..)) {
            self.connection = None;
            let actions = self.session.closed(self.now());
            return self.act(actions).await;
        }
        while let Some(actions) = self.next_message() {
            self.act(actions).await;
        }
    }

    /// What the next whole message leads to; none when there is none.
    fn next_message(&mut self) -> Option<Vec<Action>> {
        let now = self.now();
        let connection = self.connection.as_mut()?;
        let (kind, len) = match frame::first(&connection.buffer) {
            Ok(found) => found?,
            Err(notification) => return Some(self.session.failed(notification, now)),
        };
        let message = connection.buffer.split_to(len);
        let body = &message[HEADER..];
        let result = match kind {
            Kind::Open => codec::read_open(body).map(|open| self.session.opened(open, now)),
            Kind::Keepalive => Ok(self.session.kept_alive(now)),
            Kind::Refresh => Ok(self.session.asked_for_refresh(now)),
            Kind::Notification => Ok(self.session.notified(&codec::read_notification(body), now)),
            Kind::Update => match &connection.rules {
                Some(rules) => update::read(body, rules).map(|update| self.session.updated(update, now)),
                None => Ok(self.session.updated(Update::default(), now)),
            },
        };
        Some(result.unwrap_or_else(|notification: Notification| self.session.failed(notification, now)))
    }

    async fn act(&mut self, actions: Vec<Action>) {
        let mut todo = VecDeque::from(actions);
        while let Some(action) = todo.pop_front() {
            match action {
                Action::Send(message) => {
                    if !self.send(&message).await {
                        self.connection = None; // what else is to be sent goes nowhere; what is to be done is done
                        todo.extend(self.session.closed(self.now()));
                    }
                }
                Action::Close => self.connection = None,
                Action::Up(rules) => {
                    if let Some(connection) = &mut self.connection {
                        connection.rules = Some(rules);
                    }
                    tracing::info!(neighbor = %self.config().address, asn = self.config().asn, "BGP session is up");
                    self.shown(Shown::came_up);
                }
                Action::Down { kept, why } => {
                    tracing::warn!(neighbor = %self.config().address, %why, "BGP session is down");
                    self.speaker.rib().lose(self.index, kept);
                    self.shown(|shown| shown.went_down(why));
                }
                Action::DropStale(family) => self.speaker.rib().drop_stale(self.index, family),
                Action::Routes(update) => {
                    if self.take(&update) {
                        todo.extend(self.session.over_limit(self.now()));
                    }
                }
            }
        }
        self.show();
    }

    /// Takes routes in; answers whether there are too many now.
    fn take(&self, update: &Update) -> bool {
        if let Some(fault) = update.malformed {
            let (attribute, what) = (fault.attribute, fault.what);
            tracing::debug!(neighbor = %self.config().address, attribute, what, "routes are treated as withdrawn");
        }
        let address = self.config().address.to_string();
        let counter = "oca_bgp_updates_total";
        let labels = [address.as_str(), update.outcome()];
        self.speaker.metrics.counter(counter, &labels).inc();
        let mut rib = self.speaker.rib();
        rib.withdraw(self.index, &update.withdrawn);
        if !update.announced.is_empty() {
            rib.announce(self.index, &update.announced, &update.attributes);
        }
        rib.received(self.index) > self.config().prefix_limit
    }

    async fn send(&mut self, message: &Outgoing) -> bool {
        let Some(connection) = &mut self.connection else {
            return true; // the session was over before
        };
        send(&mut connection.stream, self.speaker.config.local, message)
            .await
            .is_ok()
    }

    fn shown(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.speaker.shown()[usize::from(self.index)]);
    }

    /// Shows where the session is, and has what changed published.
    fn show(&self) {
        let told = self.session.is_told();
        self.shown(|shown| {
            shown.state = self.session.state();
            shown.peer = self.session.peer().cloned();
            shown.stale = self.session.stale();
            shown.told |= told;
        });
        self.speaker.changed.notify_one();
    }
}

async fn send(stream: &mut TcpStream, local: Local, message: &Outgoing) -> io::Result<()> {
    let octets = codec::encode(local, message);
    timeout(WRITE_TIME, stream.write_all(&octets)).await?
}

/// Reads more of the connection; waits for ever if there is none.
async fn read(connection: &mut Option<Connection>) -> io::Result<usize> {
    match connection {
        Some(Connection { stream, buffer, .. }) => {
            buffer.reserve(READ);
            stream.read_buf(buffer).await
        }
        None => std::future::pending().await,
    }
}
