//! One configured neighbour's session: the states of RFC 4271 §8 without Connect, for an appliance never connects. What
//! happens comes in with the time, what is to be done comes out in order.
//!
//! | state | a connection | ends by |
//! |---|---|---|
//! | Idle | is refused | the end of its time: a neighbour that sent too many prefixes shall not fill the table again at once |
//! | Active | is taken, and OPEN sent | |
//! | OpenSent | waits for OPEN | OPEN, a fault, time |
//! | OpenConfirm | waits for KEEPALIVE | KEEPALIVE, a fault, time |
//! | Established | brings routes | a fault, time |
//!
//! Two connections of one neighbour (RFC 4271 §6.8) are both of its making, so there are no identifiers to compare. The
//! newer one wins where nothing is lost by it: before Established, and after, if the neighbour restarts gracefully (RFC
//! 4724 §4.2). Else it is refused until the hold timer says that the older one is dead.

use super::{
    Families, Family,
    attributes::Reading,
    message::{GracefulRestart, Notification, Open, Outgoing},
    update::{Rules, Update},
};
use std::time::Duration;

/// Hold time that is proposed; the lower of both proposals holds.
pub const HOLD_TIME: Duration = Duration::from_secs(90);
/// Least hold time but none (RFC 4271 §4.2).
const LEAST_HOLD: u16 = 3;
/// How long an OPEN may take: RFC 4271 §8.2.2 suggests 4 minutes.
const OPEN_TIME: Duration = Duration::from_secs(240);
/// Time in Idle after too many prefixes: long enough that a table of a million is not taken in and dropped all day.
pub const IDLE_TIME: Duration = Duration::from_secs(300);
/// Longest that stale routes are kept, whatever the neighbour asks for.
const MOST_STALE: Duration = Duration::from_secs(600);
/// How long a neighbour that is back may take to tell its table.
const RETELL_TIME: Duration = Duration::from_secs(300);

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Refuses connections for a while.
    Idle,
    /// Waits for the neighbour to connect.
    Active,
    /// Has sent OPEN.
    OpenSent,
    /// Has the neighbour's OPEN.
    OpenConfirm,
    /// Hears routes.
    Established,
}

impl State {
    /// Its name, as on the admin listener.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
        }
    }
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send it.
    Send(Outgoing),
    /// Close the connection.
    Close,
    /// The session is up; read UPDATEs by these rules from here on.
    Up(Rules),
    /// The session is down: routes of these families become stale, the others go.
    Down {
        /// Families whose routes are kept.
        kept: Families,
        /// Why, for people.
        why: String,
    },
    /// Take these routes in.
    Routes(Update),
    /// Drop what is still stale of a family.
    DropStale(Family),
}

/// Whether a new connection is taken.
#[derive(Debug, PartialEq)]
pub enum Admission {
    /// The old connection, if there is one, is to be dropped, and these actions are for the new one.
    Taken(Vec<Action>),
    /// It is to be sent this, and closed.
    Refused(Notification),
}

/// What both sides know of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The neighbour's OPEN.
    pub open: Open,
    /// The hold time that was agreed on; none = no keepalives.
    pub hold_time: Option<Duration>,
}

/// A neighbour's session.
#[derive(Debug)]
pub struct Session {
    local_as: u32,
    neighbor_as: u32,
    state: State,
    peer: Option<Peer>,
    /// In Idle: its end. With a connection: when the neighbour is taken for dead.
    hold_until: Option<Duration>,
    keepalive_at: Option<Duration>,
    stale: Families,
    stale_until: Duration,
    /// Families whose table was told since the session is up.
    told: Families,
}

impl Session {
    /// A session that waits for the neighbour.
    pub fn new(local_as: u32, neighbor_as: u32) -> Self {
        Self {
            local_as,
            neighbor_as,
            state: State::Active,
            peer: None,
            hold_until: None,
            keepalive_at: None,
            stale: Families::default(),
            stale_until: Duration::ZERO,
            told: Families::default(),
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// The neighbour, once it has sent its OPEN.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Families of which stale routes are kept.
    pub fn stale(&self) -> Families {
        self.stale
    }

    /// Whether the neighbour has told its table of every family.
    pub fn is_told(&self) -> bool {
        let peer = self.peer.as_ref().filter(|_| self.state == State::Established);
        peer.is_some_and(|p| p.open.families.iter().all(|f| self.told.has(f)))
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Option<Duration> {
        let stale = (!self.stale.is_empty()).then_some(self.stale_until);
        [self.hold_until, self.keepalive_at, stale]
            .into_iter()
            .flatten()
            .min()
    }

    /// The neighbour has connected.
    pub fn connected(&mut self, now: Duration) -> Admission {
        let graceful = self.peer.as_ref().is_some_and(|p| p.open.graceful.is_some());
        let mut actions = Vec::new();
        match self.state {
            State::Idle => return Admission::Refused(Notification::new(6, 5)),
            State::Established if !graceful => return Admission::Refused(Notification::new(6, 7)),
            State::Established => {
                let why = "the neighbour has connected anew".to_owned();
                actions.push(self.down(now, true, why));
            }
            State::Active | State::OpenSent | State::OpenConfirm => {}
        }
        self.peer = None;
        self.state = State::OpenSent;
        self.hold_until = Some(now + OPEN_TIME);
        self.keepalive_at = None;
        actions.push(Action::Send(Outgoing::Open));
        Admission::Taken(actions)
    }

    /// OPEN has come.
    pub fn opened(&mut self, open: Open, now: Duration) -> Vec<Action> {
        if self.state != State::OpenSent {
            return self.unexpected(now);
        }
        let hold_time = match self.check(&open) {
            Ok(hold_time) => hold_time,
            Err(notification) => return self.end(notification, now),
        };
        self.peer = Some(Peer { open, hold_time });
        self.state = State::OpenConfirm;
        self.heard(now);
        self.keepalive_at = self.keepalive_time().map(|t| now + t);
        vec![Action::Send(Outgoing::Keepalive)]
    }

    /// RFC 4271 §6.2; answers the hold time.
    fn check(&self, open: &Open) -> Result<Option<Duration>, Notification> {
        if open.version != 4 {
            let data = vec![0, 4];
            return Err(Notification {
                data,
                ..Notification::new(2, 1)
            });
        }
        if open.asn != self.neighbor_as {
            return Err(Notification::new(2, 2));
        }
        if open.id.is_unspecified() {
            return Err(Notification::new(2, 3));
        }
        match open.hold_time {
            0 => Ok(None),
            seconds if seconds < LEAST_HOLD => Err(Notification::new(2, 6)),
            seconds => Ok(Some(HOLD_TIME.min(Duration::from_secs(seconds.into())))),
        }
    }

    /// KEEPALIVE has come.
    pub fn kept_alive(&mut self, now: Duration) -> Vec<Action> {
        match self.state {
            State::OpenConfirm => self.up(now),
            State::Established => {
                self.heard(now);
                Vec::new()
            }
            _ => self.unexpected(now),
        }
    }

    fn up(&mut self, now: Duration) -> Vec<Action> {
        self.heard(now);
        self.state = State::Established;
        self.told = Families::default();
        let Some(peer) = &self.peer else {
            return self.unexpected(now);
        };
        let mut actions = vec![Action::Up(self.rules(&peer.open))];
        if peer.open.graceful.is_some() {
            let end = |family| Action::Send(Outgoing::EndOfRib(family));
            actions.extend(peer.open.families.iter().map(end));
        }
        // RFC 4724 §4.2: what the neighbour did not keep is not kept for it.
        let kept = peer.open.graceful.map_or(Families::default(), |g| g.kept);
        for family in self.stale.iter().filter(|f| !kept.has(*f)).collect::<Vec<_>>() {
            self.stale.remove(family);
            actions.push(Action::DropStale(family));
        }
        self.stale_until = now + RETELL_TIME;
        actions
    }

    fn rules(&self, open: &Open) -> Rules {
        Rules {
            reading: Reading {
                as4: open.as4,
                internal: self.local_as == self.neighbor_as,
            },
            add_path: open.add_path,
        }
    }

    /// UPDATE has come.
    pub fn updated(&mut self, update: Update, now: Duration) -> Vec<Action> {
        if self.state != State::Established {
            return self.unexpected(now);
        }
        self.heard(now);
        let Some(family) = update.end_of_rib else {
            return vec![Action::Routes(update)];
        };
        self.told.add(family);
        if !self.stale.has(family) {
            return Vec::new();
        }
        self.stale.remove(family);
        vec![Action::DropStale(family)]
    }

    /// ROUTE-REFRESH has come: nothing is announced, so nothing is to be told anew.
    pub fn asked_for_refresh(&mut self, now: Duration) -> Vec<Action> {
        if self.state != State::Established {
            return self.unexpected(now);
        }
        self.heard(now);
        Vec::new()
    }

    /// The operator wants the neighbour's routes anew. Empty if the neighbour cannot.
    pub fn refresh(&self) -> Vec<Action> {
        let peer = self.peer.as_ref().filter(|p| p.open.refresh);
        let Some(peer) = peer.filter(|_| self.state == State::Established) else {
            return Vec::new();
        };
        let ask = |family| Action::Send(Outgoing::Refresh(family));
        peer.open.families.iter().map(ask).collect()
    }

    /// NOTIFICATION has come; it ends the session, never gracefully (RFC 4724 §4).
    pub fn notified(&mut self, notification: &Notification, now: Duration) -> Vec<Action> {
        let why = format!("the neighbour says: {notification}");
        let mut actions = vec![Action::Close];
        actions.extend(self.close(now, false, why));
        actions
    }

    /// What came is no message, or a message with a fault that ends the session.
    pub fn failed(&mut self, notification: Notification, now: Duration) -> Vec<Action> {
        self.end(notification, now)
    }

    /// The neighbour has sent more prefixes than it may (RFC 4486): Idle for a while.
    pub fn over_limit(&mut self, now: Duration) -> Vec<Action> {
        let actions = self.end(Notification::new(6, 1), now);
        self.state = State::Idle;
        self.hold_until = Some(now + IDLE_TIME);
        actions
    }

    /// The connection is gone. After the end of the session that says nothing new.
    pub fn closed(&mut self, now: Duration) -> Vec<Action> {
        if matches!(self.state, State::Idle | State::Active) {
            return Vec::new();
        }
        let why = "the connection has ended".to_owned();
        self.close(now, true, why).into_iter().collect()
    }

    /// This process ends, or another takes the neighbour over.
    pub fn stopped(&mut self, now: Duration) -> Vec<Action> {
        match self.state {
            State::Idle | State::Active => Vec::new(),
            _ => self.end(Notification::new(6, 4), now),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.stale.is_empty() && self.stale_until <= now {
            actions.extend(self.stale.iter().map(Action::DropStale));
            self.stale = Families::default();
        }
        if self.hold_until.is_some_and(|at| at <= now) {
            if self.state == State::Idle {
                self.state = State::Active;
                self.hold_until = None;
            } else {
                actions.extend(self.end(Notification::new(4, 0), now));
            }
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.keepalive_at = self.keepalive_time().map(|t| now + t);
            actions.push(Action::Send(Outgoing::Keepalive));
        }
        actions
    }

    fn heard(&mut self, now: Duration) {
        let hold = self.peer.as_ref().and_then(|p| p.hold_time);
        self.hold_until = hold.map(|t| now + t);
    }

    /// A third of the hold time (RFC 4271 §4.4).
    fn keepalive_time(&self) -> Option<Duration> {
        self.peer.as_ref()?.hold_time.map(|t| t / 3)
    }

    /// A message that has no place in this state (RFC 6608).
    fn unexpected(&mut self, now: Duration) -> Vec<Action> {
        let subcode = match self.state {
            State::OpenSent => 1,
            State::OpenConfirm => 2,
            State::Established => 3,
            State::Idle | State::Active => 0,
        };
        self.end(Notification::new(5, subcode), now)
    }

    fn end(&mut self, notification: Notification, now: Duration) -> Vec<Action> {
        let why = notification.to_string();
        let mut actions = vec![Action::Send(Outgoing::Notification(notification)), Action::Close];
        actions.extend(self.close(now, false, why));
        actions
    }

    fn close(&mut self, now: Duration, graceful: bool, why: String) -> Option<Action> {
        let down = (self.state == State::Established).then(|| self.down(now, graceful, why));
        self.state = State::Active;
        self.peer = None;
        self.hold_until = None;
        self.keepalive_at = None;
        down
    }

    /// Leaves Established.
    fn down(&mut self, now: Duration, graceful: bool, why: String) -> Action {
        let restart = self.peer.as_ref().and_then(|p| p.open.graceful);
        let restart = restart.filter(|_| graceful);
        let kept = restart.map_or(Families::default(), |g: GracefulRestart| g.families);
        self.stale = kept;
        let time = restart.map_or(Duration::ZERO, |g| g.time);
        self.stale_until = now + time.min(MOST_STALE);
        Action::Down { kept, why }
    }
}

#[cfg(test)]
mod tests;
