//! TLS: where this process seals, records from the file's pages, several a call; where the kernel seals, the plain path.
//! A batch is as large as the socket has room for, so that next to nothing is sealed that must wait.

use super::{
    COLD, HOLD, SendError,
    pace::{Pace, writable},
    plain,
};
use crate::{
    disk::{ColdStream, Disk, ReadError},
    files::OpenFile,
    tls::session::Session,
};
use oca_core::range::Slice;
use std::{future::poll_fn, io, rc::Rc};
use tokio::time::{timeout, timeout_at};

/// Most bytes that were held back and still share the first record with the file.
const MAX_HEAD: usize = 8 << 10;
/// Sends what was held back and a slice of a file.
pub async fn send_file(
    session: &mut Session,
    mut head: Vec<u8>,
    file: &Rc<OpenFile>,
    slice: Slice,
    (disk, pace): (&Rc<Disk>, &mut Pace),
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    if session.settled().kernel || head.len() > MAX_HEAD {
        send(session, &std::mem::take(&mut head), slice.len > 0, pace).await?;
    }
    if session.settled().kernel {
        plain::send_file(session.tcp(), file, slice, (disk, pace), sent).await?;
        session.count(slice.len);
        return Ok(());
    }
    let (mut left, mut turn) = (slice, 0);
    while left.len > 0 {
        ready(session, pace).await?;
        let most = (session.room() - head.len()).min(usize::try_from(left.len).unwrap_or(usize::MAX));
        let now = Slice {
            len: most as u64,
            ..left
        };
        let batch = match disk.lend(file, now) {
            Some(lent) => session.send_from(&head, &lent, || match file.access.is_broken() {
                true => Err(ReadError::Short.into()),
                false => Ok(()),
            }),
            None => session.send_batch(&head, most, |spaces| {
                disk.read_now(file, spaces, left.offset)?.ok_or(Stop::Cold)
            }),
        };
        let done = match batch {
            Ok(n) => {
                sent(n as u64);
                pace.given += n as u64;
                n as u64
            }
            Err(Stop::Cold) => {
                let len = left.len.min(COLD);
                let cold = disk.stream(file, Slice { len, ..left });
                send_cold(session, &mut head, cold, pace, &mut sent).await?
            }
            Err(Stop::Failed(error)) => return Err(error),
        };
        head.clear();
        left.offset += done;
        left.len -= done;
        turn += done;
        if turn >= pace.turn() {
            tokio::task::yield_now().await;
            turn = 0;
        }
    }
    Ok(())
}

/// Why a batch was not filled.
enum Stop {
    /// The next bytes are on the drive.
    Cold,
    Failed(SendError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(SendError::Client(error))
    }
}

/// Sends what comes from the drive; answers how much. What the client does not take within [`HOLD`] is read again when
/// it takes more: no client keeps memory that others need.
async fn send_cold(
    session: &mut Session,
    head: &mut Vec<u8>,
    mut cold: ColdStream,
    pace: &mut Pace,
    sent: &mut impl FnMut(u64),
) -> Result<u64, SendError> {
    let mut done = 0;
    while let Some(piece) = cold.next().await {
        let piece = piece?;
        let mut left = &piece[..];
        while !left.is_empty() {
            match timeout(HOLD, ready(session, pace)).await {
                Ok(result) => result?,
                Err(_) => return Ok(done),
            }
            let n = send_some(session, head, left)?;
            head.clear();
            left = &left[n..];
            sent(n as u64);
            pace.given += n as u64;
            done += n as u64;
        }
    }
    Ok(done)
}

/// Sends bytes that are in memory. With `more` the kernel that seals may keep them for a record with what comes next:
/// without an end, if nothing does.
pub async fn send(
    session: &mut Session,
    mut bytes: &[u8],
    more: bool,
    pace: &mut Pace,
) -> Result<(), SendError> {
    if session.settled().kernel {
        while session.owes_keys() {
            writable(session.tcp(), pace).await?;
            session.try_keys().map_err(SendError::Client)?;
        }
        session.count(bytes.len() as u64);
        return plain::send(session.tcp(), bytes, more, pace).await;
    }
    while !bytes.is_empty() {
        ready(session, pace).await?;
        bytes = &bytes[send_some(session, &[], bytes)?..];
    }
    Ok(())
}

/// Seals and sends `head` and as much of `bytes` as the socket has room for; answers how much of `bytes`.
fn send_some(session: &mut Session, head: &[u8], bytes: &[u8]) -> Result<usize, SendError> {
    let most = (session.room() - head.len()).min(bytes.len());
    session
        .send_from(head, &bytes[..most], || Ok::<_, io::Error>(()))
        .map_err(SendError::Client)
}

/// Waits until the socket took what was sealed before and has room for more.
async fn ready(session: &mut Session, pace: &mut Pace) -> Result<(), SendError> {
    loop {
        writable(session.tcp(), pace).await?;
        if session.held() == 0 {
            return Ok(());
        }
        session.try_flush().map_err(SendError::Client)?;
    }
}

/// Gives everything to the kernel.
pub async fn flush(session: &mut Session, pace: &mut Pace) -> Result<(), SendError> {
    while session.held() > 0 {
        ready(session, pace).await?;
    }
    loop {
        let gone = timeout_at(pace.next_look, poll_fn(|cx| session.poll_gone(cx))).await;
        pace.look(session.tcp())?;
        if let Ok(result) = gone {
            return result.map_err(SendError::Client);
        }
    }
}
