//! A TLS connection after its handshake. Text is sealed several records at a time in one buffer that all connections of
//! the worker share, and given to the kernel by one call; where the kernel seals, it gets the text as it is. What the
//! peer sends is opened in place.
//!
//! Only what the kernel did not take is kept for a connection: a slow reader holds a record, not a batch.

use super::{
    Sealing, kernel,
    record::{Content, KEY_LIFE, MAX_PLAIN, Opener, RecordError, Sealer, record_len},
};
use crate::sys;
use rustls::{ExtractedSecrets, ProtocolVersion, kernel::KernelConnection, server::ServerConnectionData};
use socket2::SockRef;
use std::{
    cell::RefCell,
    fmt,
    future::Future,
    io::{self, IoSlice, IoSliceMut},
    ops::Range,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// Most records of one batch: half a megabyte of text; by measurement, twice as many bring nothing more.
pub const BATCH: usize = 32;
/// Most bytes around the text of a record: its header, a nonce, its type and its tag.
const AROUND: usize = 30;
/// First size of the buffer for what the peer sends: most requests fit.
const RECEIVE: usize = 1 << 10;

/// Held bytes above which a peer that asks for new keys is let go: its own doing, since it takes nothing.
const MOST_HELD: usize = 2 * BATCH * MAX_PLAIN;

/// Where the kernel seals: room in the socket's queue for every record that can lie above it.
const ROOM_FOR_REST: u64 = 2 * (MAX_PLAIN + AROUND) as u64;
/// Wait between two looks for it.
const LOOK: Duration = Duration::from_millis(10);
/// Least text of a record that the kernel makes while there is more, as it is counted here: not every one is full.
const KERNEL_RECORD: u64 = 4 << 10;

/// KeyUpdate that asks for none in return (RFC 8446 §4.6.3).
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// Warning, close_notify (RFC 8446 §6.1).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// What the sessions of a worker share.
pub struct LocalTls {
    /// Buffer for a batch of records. Whoever uses it leaves it empty before the next wait.
    batch: RefCell<Box<[u8]>>,
    sealing: Sealing,
}

impl LocalTls {
    /// Nothing sealed yet.
    pub fn new(sealing: Sealing) -> Self {
        Self {
            batch: RefCell::new(vec![0; BATCH * (MAX_PLAIN + AROUND)].into_boxed_slice()),
            sealing,
        }
    }
}

/// What the handshake settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether HTTP/2 was agreed on.
    pub http2: bool,
    /// Protocol version.
    pub version: ProtocolVersion,
    /// Whether the kernel seals.
    pub kernel: bool,
}

enum Tx {
    Sealer(Box<Sealer>),
    Kernel(InKernel),
}

fn seals_elsewhere() -> io::Error {
    io::Error::other("the kernel seals this connection")
}

/// What is known here of a direction that the kernel seals.
#[derive(Default)]
struct InKernel {
    /// Records that our keys have sealed: at least as many as the kernel made.
    records: u64,
    /// New keys are to be told and taken before the next text.
    owes_keys: bool,
    /// Our keys should be changed and this kernel cannot: nothing more may be begun.
    must_end: bool,
    /// Whether the reader of HTTP/1 was told so, by an end.
    told: bool,
    /// Until the next look at the socket's queue.
    look: Option<Pin<Box<Sleep>>>,
}

/// The connection.
pub struct Session {
    tcp: TcpStream,
    settled: Settled,
    /// Unsent bytes that the socket may hold.
    unsent: u32,
    tx: Tx,
    opener: Box<Opener>,
    keys: Box<KernelConnection<ServerConnectionData>>,
    local: Rc<LocalTls>,
    /// Text in the shared batch, in the poll that runs.
    pending: usize,
    /// Most text that the socket has room for in this poll; whole records.
    space: usize,
    /// Sealed, and not yet taken by the kernel.
    held: Vec<u8>,
    said_goodbye: bool,
    received: Received,
}

/// What the peer sent: opened text, then records.
#[derive(Default)]
struct Received {
    raw: Vec<u8>,
    /// Text that nobody read yet.
    text: Range<usize>,
    /// Where the first unopened record begins.
    next: usize,
    closed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("settled", &self.settled)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// After a handshake; `rest` is what the client sent behind it.
    pub(super) fn new(
        tcp: TcpStream,
        (secrets, keys): (ExtractedSecrets, KernelConnection<ServerConnectionData>),
        (resumed, http2): (bool, bool),
        rest: Vec<u8>,
        local: Rc<LocalTls>,
    ) -> Result<Self, RecordError> {
        let version = keys.protocol_version();
        let (tx, rx) = (&secrets.tx, &secrets.rx);
        let kernel = local.sealing.kernel.is_some() && kernel::enable(&tcp, version, (tx.0, &tx.1));
        let tx = if kernel {
            Tx::Kernel(InKernel::default())
        } else {
            Tx::Sealer(Box::new(Sealer::new(
                local.sealing.provider,
                version,
                (tx.0, &tx.1),
            )?))
        };
        let unsent = SockRef::from(&tcp).tcp_notsent_lowat().unwrap_or(u32::MAX);
        Ok(Self {
            tcp,
            unsent,
            settled: Settled {
                resumed,
                http2,
                version,
                kernel,
            },
            tx,
            opener: Box::new(Opener::new(version, (rx.0, &rx.1))?),
            keys: Box::new(keys),
            local,
            pending: 0,
            space: 0,
            held: Vec::new(),
            said_goodbye: false,
            received: Received {
                raw: rest,
                ..Received::default()
            },
        })
    }

    /// What the handshake settled.
    pub fn settled(&self) -> Settled {
        self.settled
    }

    /// The socket below. With a kernel that seals, what is written to it is text.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Sealed bytes that the kernel has not taken yet.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Bytes of text that fill the records that the socket has room for: from one record to a batch.
    pub fn room(&self) -> usize {
        let room = sys::send_room(&self.tcp, self.unsent).unwrap_or(0) as usize;
        (room / MAX_PLAIN).clamp(1, BATCH) * MAX_PLAIN
    }

    /// Seals `head` and at most `most` bytes that `fill` puts behind it, and sends as much as the socket takes. `fill` gets
    /// the spaces in order, and answers how many bytes it filled, from the front; that is answered here too.
    ///
    /// # Errors
    /// Those of `fill`, before anything is sealed; or the connection's.
    pub fn send_batch<E: From<io::Error>>(
        &mut self,
        head: &[u8],
        most: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let local = Rc::clone(&self.local);
        let mut batch = local.batch.borrow_mut();
        let (prefix, stride) = self.layout()?;
        let filled = {
            let (mut left, mut skip) = (head.len() + most, head.len());
            let mut chunks = batch.chunks_mut(stride);
            let mut spaces: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| {
                let text = left.min(MAX_PLAIN);
                left -= text;
                let space = match chunks.next() {
                    Some(chunk) => &mut chunk[prefix..prefix + text],
                    None => &mut [],
                };
                let skip = std::mem::take(&mut skip);
                space[..skip].copy_from_slice(&head[..skip]);
                IoSliceMut::new(&mut space[skip..])
            });
            let used = spaces.iter().take_while(|s| !s.is_empty()).count();
            fill(&mut spaces[..used])?
        };
        self.renew_keys()?;
        self.seal_and_send(&mut batch, 0, head.len() + filled)?;
        Ok(filled)
    }

    /// Seals `head` and `text` behind it, at most a batch, and sends as much as the socket takes; answers how many bytes of
    /// `text` were sealed. `check` is asked when they are, before any of it leaves.
    ///
    /// # Errors
    /// Those of `check`, after which the connection must end; or the connection's.
    pub fn send_from<E: From<io::Error>>(
        &mut self,
        head: &[u8],
        text: &[u8],
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<usize, E> {
        let local = Rc::clone(&self.local);
        let mut batch = local.batch.borrow_mut();
        self.renew_keys()?;
        let Tx::Sealer(sealer) = &mut self.tx else {
            return Err(seals_elsewhere().into());
        };
        let most = text.len().min(BATCH * MAX_PLAIN - head.len());
        // The record that has the head is put together where it is sealed; all others are sealed from where they lie.
        let joined = if head.is_empty() {
            0
        } else {
            most.min(MAX_PLAIN - head.len())
        };
        let mut end = 0;
        if !head.is_empty() {
            let prefix = sealer.prefix();
            end = sealer.sealed(head.len() + joined);
            let record = &mut batch[..end];
            record[prefix..prefix + head.len()].copy_from_slice(head);
            record[prefix + head.len()..][..joined].copy_from_slice(&text[..joined]);
            sealer.seal(Content::Data, record).map_err(io::Error::other)?;
        }
        for text in text[joined..most].chunks(MAX_PLAIN) {
            let record = &mut batch[end..end + sealer.sealed(text.len())];
            sealer.seal_from(text, record).map_err(io::Error::other)?;
            end += record.len();
        }
        check()?;
        self.push(&batch[..end])?;
        Ok(most)
    }

    /// Where a record's text begins in the batch, and how far the next record is.
    fn layout(&self) -> io::Result<(usize, usize)> {
        match &self.tx {
            Tx::Sealer(sealer) => Ok((sealer.prefix(), sealer.sealed(MAX_PLAIN))),
            Tx::Kernel(_) => Err(seals_elsewhere()),
        }
    }

    /// Seals the record of the batch's text from `from` to `to`; answers where it ends.
    fn seal_one(&mut self, batch: &mut [u8], from: usize, to: usize) -> io::Result<usize> {
        let Tx::Sealer(sealer) = &mut self.tx else {
            return Err(seals_elsewhere());
        };
        let start = from / MAX_PLAIN * sealer.sealed(MAX_PLAIN);
        let end = start + sealer.sealed(to - from);
        sealer
            .seal(Content::Data, &mut batch[start..end])
            .map_err(io::Error::other)?;
        Ok(end)
    }

    /// Seals the batch's text from the record at `from` to `to`, and sends all of it as far as the socket takes it.
    fn seal_and_send(&mut self, batch: &mut [u8], mut from: usize, to: usize) -> io::Result<()> {
        let (_, stride) = self.layout()?;
        let mut end = from / MAX_PLAIN * stride;
        while from < to {
            let next = to.min(from + MAX_PLAIN);
            end = self.seal_one(batch, from, next)?;
            from = next;
        }
        self.push(&batch[..end])
    }

    /// Changes our keys when they have sealed enough. TLS 1.2 has no such thing: its connection ends at twice that.
    fn renew_keys(&mut self) -> io::Result<()> {
        let old = matches!(&self.tx, Tx::Sealer(sealer) if sealer.is_old());
        if old && self.settled.version == ProtocolVersion::TLSv1_3 {
            self.change_keys()?;
        }
        Ok(())
    }

    fn change_keys(&mut self) -> io::Result<()> {
        if self.held.len() > MOST_HELD {
            return Err(io::Error::other("the peer wants new keys and takes nothing"));
        }
        self.control(Content::Handshake, &KEY_UPDATE)?;
        let (sequence, secrets) = self.keys.update_tx_secret().map_err(io::Error::other)?;
        match &mut self.tx {
            Tx::Sealer(sealer) => {
                let provider = self.local.sealing.provider;
                let new = Sealer::new(provider, self.settled.version, (sequence, &secrets));
                **sealer = new.map_err(io::Error::other)?;
            }
            Tx::Kernel(_) => kernel::renew(&self.tcp, (sequence, &secrets))?,
        }
        Ok(())
    }

    /// Sends an alert or a handshake message; [`io::ErrorKind::WouldBlock`] only where the kernel seals.
    fn control(&mut self, content: Content, message: &[u8]) -> io::Result<()> {
        match &mut self.tx {
            Tx::Kernel(_) => self.tcp.try_io(Interest::WRITABLE, || {
                sys::ktls::send_control(&self.tcp, content.code(), message)
            }),
            Tx::Sealer(sealer) => {
                let mut record = vec![0; sealer.sealed(message.len())];
                let prefix = sealer.prefix();
                record[prefix..prefix + message.len()].copy_from_slice(message);
                sealer.seal(content, &mut record).map_err(io::Error::other)?;
                self.push(&record)
            }
        }
    }

    /// Sends behind what is held, and holds what the socket does not take.
    fn push(&mut self, sealed: &[u8]) -> io::Result<()> {
        let sent = if self.held.is_empty() {
            self.try_send(sealed)?
        } else {
            0
        };
        self.held.extend_from_slice(&sealed[sent..]);
        Ok(())
    }

    /// Gives the socket what is held, as far as it takes it.
    pub fn try_flush(&mut self) -> io::Result<()> {
        let sent = self.try_send(&self.held)?;
        self.held.drain(..sent);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        Ok(())
    }

    /// Bytes that the socket took; fewer than given = it is full, and tokio knows it.
    fn try_send(&self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while !bytes.is_empty() {
            let result = self.tcp.try_io(Interest::WRITABLE, || {
                SockRef::from(&self.tcp).send_with_flags(bytes, libc::MSG_NOSIGNAL)
            });
            match result {
                Ok(n) => (sent, bytes) = (sent + n, &bytes[n..]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(sent)
    }

    /// Sends what this poll gathered and waits until the socket took it. To be called at the end of every poll that
    /// may have written.
    pub fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_pending()?;
        self.poll_held(cx)
    }

    /// Waits until the socket took what is held.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            ready!(self.tcp.poll_write_ready(cx))?;
            self.try_flush()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Puts text behind what this poll gathered, and seals the records that are full while the nearest caches have them;
    /// answers how much found room.
    fn gather(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.pending == 0 {
            self.renew_keys()?;
        }
        let (prefix, stride) = self.layout()?;
        let local = Rc::clone(&self.local);
        let mut batch = local.batch.borrow_mut();
        let before = self.pending;
        for slice in slices {
            let mut bytes = &**slice;
            while !bytes.is_empty() && self.pending < self.space {
                let (record, at) = (self.pending / MAX_PLAIN, self.pending % MAX_PLAIN);
                let n = bytes.len().min(MAX_PLAIN - at);
                let start = record * stride + prefix + at;
                batch[start..start + n].copy_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                self.pending += n;
                if at + n == MAX_PLAIN {
                    self.seal_one(&mut batch, self.pending - MAX_PLAIN, self.pending)?;
                }
            }
        }
        Ok(self.pending - before)
    }

    /// Sends the text that this poll gathered.
    fn send_pending(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending == 0 {
            return Ok(());
        }
        let local = Rc::clone(&self.local);
        let mut batch = local.batch.borrow_mut();
        self.seal_and_send(&mut batch, pending / MAX_PLAIN * MAX_PLAIN, pending)
    }
}

/// Where the kernel seals.
impl Session {
    /// Notes that our keys must be changed, or where that cannot be, that the connection must end.
    fn want_keys(&mut self) {
        let can = self.settled.version == ProtocolVersion::TLSv1_3
            && self.local.sealing.kernel.is_some_and(|kernel| kernel.new_keys);
        if let Tx::Kernel(tx) = &mut self.tx {
            (tx.owes_keys, tx.must_end) = (can, !can);
        }
    }

    /// Counts text that was given to the kernel; keys that have sealed enough are changed before the next.
    pub fn count(&mut self, text: u64) {
        let Tx::Kernel(tx) = &mut self.tx else {
            return;
        };
        tx.records += 1 + text / KERNEL_RECORD;
        if tx.records >= KEY_LIFE {
            self.want_keys();
        }
    }

    /// Whether new keys must be told before the next text: [`try_keys`](Self::try_keys).
    pub fn owes_keys(&self) -> bool {
        matches!(&self.tx, Tx::Kernel(tx) if tx.owes_keys)
    }

    /// Tells the peer of new keys and gives them to the kernel, unless the socket is full.
    pub fn try_keys(&mut self) -> io::Result<()> {
        match self.change_keys() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            result => result?,
        }
        if let Tx::Kernel(tx) = &mut self.tx {
            (tx.owes_keys, tx.records) = (false, 0);
        }
        Ok(())
    }

    fn poll_keys(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.owes_keys() {
            ready!(self.tcp.poll_write_ready(cx))?;
            self.try_keys()?;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether nothing new may be begun: our keys should be changed and cannot be.
    pub fn must_end(&self) -> bool {
        matches!(&self.tx, Tx::Kernel(tx) if tx.must_end)
    }

    /// Once, for HTTP/1, whose next request is not to be read. HTTP/2 goes on reading for what runs.
    fn tells_end(&mut self) -> bool {
        match &mut self.tx {
            Tx::Kernel(tx) if tx.must_end && !self.settled.http2 => !std::mem::replace(&mut tx.told, true),
            _ => false,
        }
    }

    /// Waits until all records are in the socket's queue: the kernel keeps the last ones above a full queue, and
    /// forgets them when the connection is closed or ended.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tx::Kernel(tx) = &mut self.tx else {
            return Poll::Ready(Ok(()));
        };
        while sys::send_room(&self.tcp, self.unsent)? < ROOM_FOR_REST && sys::unacknowledged(&self.tcp)? > 0 {
            let look = tx.look.get_or_insert_with(|| Box::pin(sleep(LOOK)));
            ready!(look.as_mut().poll(cx));
            tx.look = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl Session {
    /// Waits for text; false = the peer closed.
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if !self.received.text.is_empty() {
                return Poll::Ready(Ok(true));
            }
            if self.received.closed || self.tells_end() {
                return Poll::Ready(Ok(false));
            }
            let received = &mut self.received;
            received.raw.drain(..std::mem::take(&mut received.next));
            let len = record_len(&received.raw).map_err(io::Error::other)?;
            match len {
                Some(len) if received.raw.len() >= len => self.open(len)?,
                _ => ready!(self.poll_receive(cx, len.unwrap_or(RECEIVE)))?,
            }
        }
    }

    /// Reads once from the socket into room for a record of `len` bytes.
    fn poll_receive(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<()>> {
        let raw = &mut self.received.raw;
        if raw.is_empty() {
            *raw = Vec::new(); // an idle connection holds no buffer
        }
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            raw.reserve_exact(len.max(RECEIVE).saturating_sub(raw.len()).max(64));
            match self.tcp.try_read_buf(raw) {
                Ok(n) => {
                    // Without a close_notify the end may be forged, but a request is whole or is none.
                    self.received.closed |= n == 0;
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Opens the first record, of `len` bytes.
    fn open(&mut self, len: usize) -> io::Result<()> {
        let received = &mut self.received;
        let record = &mut received.raw[..len];
        let (content, text) = self.opener.open(record).map_err(io::Error::other)?;
        received.next = len;
        match content {
            Content::Data => received.text = text,
            Content::Alert => match received.raw[text.clone()] {
                [_, 0] => received.closed = true,
                [1, 90] => {} // user_canceled: a close_notify follows (RFC 8446 §6.1)
                _ => return Err(io::Error::other("the peer ended TLS by an alert")),
            },
            Content::Handshake => {
                let message: [u8; 5] = received.raw[text]
                    .try_into()
                    .map_err(|_| io::Error::other("a TLS handshake message out of place"))?;
                self.peer_changed_keys(message)?;
            }
        }
        Ok(())
    }

    /// KeyUpdate (RFC 8446 §4.6.3): the peer seals with new keys from here on, and may want new ones of us.
    fn peer_changed_keys(&mut self, message: [u8; 5]) -> io::Result<()> {
        let [24, 0, 0, 1, wanted @ (0 | 1)] = message else {
            return Err(io::Error::other("a TLS handshake message out of place"));
        };
        if self.settled.version != ProtocolVersion::TLSv1_3 {
            return Err(io::Error::other("a TLS handshake message out of place"));
        }
        let (sequence, secrets) = self.keys.update_rx_secret().map_err(io::Error::other)?;
        *self.opener = Opener::new(self.settled.version, (sequence, &secrets)).map_err(io::Error::other)?;
        // What waits in the batch was written before, and is sealed with the old keys.
        self.send_pending()?;
        match self.tx {
            _ if wanted == 0 => Ok(()),
            Tx::Sealer(_) => self.change_keys(),
            Tx::Kernel(_) => {
                self.want_keys();
                Ok(())
            }
        }
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_text(cx))? {
            let received = &mut self.received;
            let n = received.text.len().min(buffer.remaining());
            let start = received.text.start;
            buffer.put_slice(&received.raw[start..start + n]);
            received.text.start += n;
        }
        Poll::Ready(Ok(()))
    }
}

/// For HTTP/2: what is written is gathered in the worker's batch, and sealed and sent by [`Session::poll_sent`] at the end
/// of the poll, or by what is written next when the batch is full: never before the writer knows that it was read.
impl AsyncWrite for Session {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Tx::Kernel(_) = this.tx {
            ready!(this.poll_keys(cx))?;
            let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, slices))?;
            this.count(written as u64);
            return Poll::Ready(Ok(written));
        }
        if this.pending == this.space {
            this.send_pending()?;
        }
        if this.pending == 0 {
            ready!(this.poll_held(cx))?;
            ready!(this.tcp.poll_write_ready(cx))?;
            this.space = this.room();
        }
        Poll::Ready(this.gather(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing waits longer than this poll.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing follows.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_pending()?;
        ready!(self.poll_gone(cx))?;
        while !self.said_goodbye {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.control(Content::Alert, &CLOSE_NOTIFY) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    self.said_goodbye = true;
                    result?;
                }
            }
        }
        ready!(self.poll_held(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
