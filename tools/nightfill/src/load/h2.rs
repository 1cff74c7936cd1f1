//! HTTP/2: several requests at a time on one connection, with windows so large that the server never waits for them. Frames
//! are of the size that browsers accept (16 KiB). The layer is its own and thin, for the same reason as that of HTTP/3: bodies
//! are counted where their records were opened, or compared, and copied nowhere else.
//!
//! One task a connection reads, sends and puts what came into the inboxes of the requests; a request gives back the window that it has used.

mod frames;
mod hpack;

use super::{exchange::Exchange, fault::Fault, h1::Scratch, pace::Pace, wire::Wire};
use frames::{Event, Frames};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    mem::take,
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::{sync::Notify, task::JoinHandle};

/// Largest id of a stream.
const LAST_STREAM: u32 = 0x7fff_ffff;
/// Bytes received at once.
const BITE: usize = 256 << 10;

/// A connection.
pub(super) struct H2 {
    shared: Rc<Shared>,
    driver: JoinHandle<Fault>,
    https: bool,
}

/// What the connection's task and its requests share.
struct Shared {
    inboxes: RefCell<HashMap<u32, Rc<Inbox>>>,
    outgoing: RefCell<Vec<u8>>,
    /// Wakes the connection's task when there is something to send.
    driver: RefCell<Option<Waker>>,
    settled: Notify,
    next: Cell<u32>,
    /// Whether the server takes no more requests.
    is_over: Cell<bool>,
    stream_window: u32,
    connection_window: u32,
    /// Bytes of the connection's window to be given back.
    used: Cell<u32>,
}

/// What has come for one request and was not looked at yet.
struct Inbox {
    arrived: RefCell<Arrived>,
    something: Notify,
    /// Whether somebody wants to see the body.
    keeps: bool,
}

#[derive(Default)]
struct Arrived {
    head: Option<(u16, Option<u64>)>,
    bytes: usize,
    kept: Vec<u8>,
    /// Flow that is no body.
    padding: u32,
    ended: bool,
    fault: Option<Fault>,
}

impl H2 {
    /// Over `wire`, whose protocol is agreed on; with windows of a stream and of the connection.
    pub(super) async fn connect(
        wire: Wire,
        scratch: Scratch,
        (stream_window, connection_window): (u32, u32),
    ) -> Result<Self, Fault> {
        let shared = Rc::new(Shared {
            inboxes: RefCell::default(),
            outgoing: RefCell::default(),
            driver: RefCell::default(),
            settled: Notify::new(),
            next: Cell::new(1),
            is_over: Cell::new(false),
            stream_window,
            connection_window,
            used: Cell::new(0),
        });
        frames::preface(
            stream_window,
            connection_window,
            &mut shared.outgoing.borrow_mut(),
        );
        let https = matches!(wire, Wire::Tls(_));
        let mut driver = tokio::task::spawn_local(drive(Rc::clone(&shared), wire, scratch));
        tokio::select! {
            () = shared.settled.notified() => Ok(Self { shared, driver, https }),
            end = &mut driver => Err(Fault::Handshake(end.map_or_else(|e| e.to_string(), |f| f.to_string()))),
        }
    }

    /// Whether another request can be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.shared.is_over.get() && self.shared.next.get() < LAST_STREAM
    }

    /// Waits until the connection ends.
    pub(super) async fn closed(&mut self) -> Fault {
        let end = (&mut self.driver).await;
        end.unwrap_or_else(|e| Fault::Reset(e.to_string()))
    }

    /// Sends the request and takes its response.
    pub(super) async fn request(
        &self,
        authority: &str,
        pace: &Pace,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Fault> {
        let range = exchange.range();
        let path = &exchange.target.path;
        let section = hpack::request(exchange.wish.head, self.https, authority, path, range.as_deref());
        let stream = Stream::open(&self.shared, &section, !exchange.discards());
        loop {
            stream.inbox.something.notified().await;
            let arrived = stream.inbox.arrived.take();
            exchange.came();
            if let Some((status, length)) = arrived.head {
                exchange.head(status, length)?;
            }
            if stream.inbox.keeps {
                exchange.body(&arrived.kept)?;
            } else {
                exchange.skipped(arrived.bytes as u64);
            }
            if let Some(fault) = arrived.fault {
                return Err(fault);
            }
            pace.read(arrived.bytes).await;
            // After the wait: what is not given back holds the server up.
            stream.give_back(arrived.bytes as u32 + arrived.padding, arrived.ended);
            if arrived.ended {
                break;
            }
        }
        if exchange.status() == 0 {
            return Err(Fault::Protocol("a stream without a head".to_owned()));
        }
        exchange.end()
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// One request's stream; cancelled when dropped before its end.
struct Stream<'a> {
    shared: &'a Shared,
    id: u32,
    inbox: Rc<Inbox>,
    used: Cell<u32>,
    has_ended: Cell<bool>,
}

impl<'a> Stream<'a> {
    fn open(shared: &'a Shared, section: &[u8], keeps: bool) -> Self {
        let id = shared.next.replace(shared.next.get() + 2);
        let inbox = Rc::new(Inbox {
            arrived: RefCell::default(),
            something: Notify::new(),
            keeps,
        });
        if shared.is_over.get() {
            inbox.fail(Fault::Reset("the connection is closing".to_owned()));
        } else {
            shared.inboxes.borrow_mut().insert(id, Rc::clone(&inbox));
            shared.send(|out| frames::request(id, section, out));
        }
        Self {
            shared,
            id,
            inbox,
            used: Cell::new(0),
            has_ended: Cell::new(false),
        }
    }

    /// Gives `bytes` of both windows back, in large portions.
    fn give_back(&self, bytes: u32, has_ended: bool) {
        self.shared.give_back(bytes);
        self.has_ended.set(has_ended);
        let used = self.used.get() + bytes;
        let is_due = used >= self.shared.stream_window / 2 && !has_ended;
        self.used.set(if is_due { 0 } else { used });
        if is_due {
            self.shared.send(|out| frames::window(self.id, used, out));
        }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.shared.inboxes.borrow_mut().remove(&self.id);
        let unread = self.inbox.arrived.take();
        self.shared.give_back(unread.bytes as u32 + unread.padding);
        if !self.has_ended.get() && !self.shared.is_over.get() {
            self.shared.send(|out| frames::cancel(self.id, out));
        }
    }
}

impl Inbox {
    fn fail(&self, fault: Fault) {
        self.arrived.borrow_mut().fault = Some(fault);
        self.something.notify_one();
    }
}

impl Shared {
    /// Has the connection's task send what `write` appends.
    fn send(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.outgoing.borrow_mut());
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    fn give_back(&self, bytes: u32) {
        let used = self.used.get() + bytes;
        let is_due = used >= self.connection_window / 2;
        self.used.set(if is_due { 0 } else { used });
        if is_due {
            self.send(|out| frames::window(0, used, out));
        }
    }

    /// Puts what a frame says where it belongs.
    fn take(&self, event: Event<'_>) -> Result<(), Fault> {
        let inbox = |id: u32| self.inboxes.borrow().get(&id).cloned();
        match event {
            Event::Data(id, bytes) => match inbox(id) {
                // Of a stream that was given up.
                None => self.give_back(bytes.len() as u32),
                Some(inbox) => {
                    let arrived = &mut *inbox.arrived.borrow_mut();
                    arrived.bytes += bytes.len();
                    if inbox.keeps {
                        arrived.kept.extend_from_slice(bytes);
                    }
                    inbox.something.notify_one();
                }
            },
            Event::Padding(id, bytes) => match inbox(id) {
                None => self.give_back(bytes),
                Some(inbox) => inbox.arrived.borrow_mut().padding += bytes,
            },
            Event::Fields(id, section, ends) => {
                let answer = hpack::response(section);
                if let Some(inbox) = inbox(id) {
                    let arrived = &mut *inbox.arrived.borrow_mut();
                    // A second section is that of trailers, or follows an interim answer.
                    if let Some(head) = answer.filter(|(status, _)| *status >= 200) {
                        arrived.head = Some(head);
                    }
                    arrived.ended |= ends;
                    inbox.something.notify_one();
                }
            }
            Event::End(id) => {
                if let Some(inbox) = inbox(id) {
                    inbox.arrived.borrow_mut().ended = true;
                    inbox.something.notify_one();
                }
            }
            Event::Reset(id, code) => {
                if let Some(inbox) = inbox(id) {
                    inbox.fail(Fault::Reset(format!("stream reset with {code}")));
                }
            }
            Event::Settings => {
                self.send(frames::settings_taken);
                self.settled.notify_one();
            }
            Event::Ping(data) => self.send(|out| frames::pong(data, out)),
            Event::GoAway(last, code) => {
                self.is_over.set(true);
                self.fail_after(last, &format!("the server goes away with {code}"));
            }
        }
        Ok(())
    }

    /// Fails the requests of streams after `last`.
    fn fail_after(&self, last: u32, why: &str) {
        for (_, inbox) in self.inboxes.borrow().iter().filter(|(id, _)| **id > last) {
            inbox.fail(Fault::Reset(why.to_owned()));
        }
    }
}

/// Reads and sends until the connection ends; why it did.
async fn drive(shared: Rc<Shared>, mut wire: Wire, scratch: Scratch) -> Fault {
    let mut frames = Frames::default();
    let why = poll_fn(|cx| poll_drive(&shared, &mut wire, &mut frames, &scratch, cx)).await;
    shared.is_over.set(true);
    shared.fail_after(0, &why.to_string());
    why
}

fn poll_drive(
    shared: &Shared,
    wire: &mut Wire,
    frames: &mut Frames,
    scratch: &Scratch,
    cx: &mut Context<'_>,
) -> Poll<Fault> {
    shared.driver.replace(Some(cx.waker().clone()));
    let mut outgoing = take(&mut *shared.outgoing.borrow_mut());
    let sent = wire.poll_send(cx, &mut outgoing);
    shared.outgoing.borrow_mut().splice(0..0, outgoing);
    if let Poll::Ready(Err(e)) = sent {
        return Poll::Ready(Fault::reset(&e));
    }
    let mut told = Ok(());
    let mut show = |bytes: &[u8]| {
        if told.is_ok() {
            told = frames.push(bytes, &mut |event| shared.take(event));
        }
    };
    let received = wire.poll_receive(cx, BITE, &mut scratch.read.borrow_mut(), &mut show);
    match (told, received) {
        (Err(fault), _) => Poll::Ready(fault),
        (Ok(()), Poll::Pending) => Poll::Pending,
        (Ok(()), Poll::Ready(Ok(0))) => {
            Poll::Ready(Fault::Reset("the server closed the connection".to_owned()))
        }
        (Ok(()), Poll::Ready(Ok(_))) => {
            // The requests' turn, then ours again.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        (Ok(()), Poll::Ready(Err(e))) => Poll::Ready(Fault::reset(&e)),
    }
}
