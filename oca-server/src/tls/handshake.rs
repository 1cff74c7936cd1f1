//! The handshake: rustls decides, this module moves its bytes. Records are handed over one at a time, so that the first
//! request, which may come in the same packet as the client's last handshake message, is left for the session.

use super::{
    record::{RecordError, record_len},
    session::{LocalTls, Session},
};
use rustls::{
    HandshakeKind, ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus},
};
use std::{io, rc::Rc, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Most unprocessed bytes of a client's handshake: its largest messages (post-quantum keys, many extensions) fit.
const MOST_INCOMING: usize = 32 << 10;
/// First size of the buffer for it: most Client Hellos fit.
const FIRST_INCOMING: usize = 2 << 10;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client's messages, as rustls judges them; it was told by an alert.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The client's records.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Makes the handshake. The caller bounds its time.
///
/// # Errors
/// When the client goes away or what it sends is no handshake that we accept.
pub async fn accept(
    mut tcp: TcpStream,
    config: Arc<ServerConfig>,
    local: &Rc<LocalTls>,
) -> Result<Session, HandshakeError> {
    let mut server = UnbufferedServerConnection::new(config)?;
    let (mut incoming, mut outgoing) = (Vec::with_capacity(FIRST_INCOMING), Vec::new());
    let mut given = 0; // bytes of `incoming` that rustls has seen
    loop {
        match step(&mut server, &mut incoming[..given], &mut outgoing) {
            (discard, Ok(step)) => {
                incoming.drain(..discard);
                given -= discard;
                match step {
                    Step::Again => continue,
                    Step::Send => {
                        tcp.write_all(&std::mem::take(&mut outgoing)).await?;
                        continue;
                    }
                    Step::Done => break,
                    Step::Read => {}
                }
            }
            (_, Err(error)) => {
                while let (_, Ok(Step::Again)) = step(&mut server, &mut [], &mut outgoing) {}
                let _ = tcp.write_all(&outgoing).await; // the alert, if there is still somebody to tell
                return Err(error.into());
            }
        }
        given = next_record(&mut tcp, &mut incoming, given).await?;
    }
    let resumed = server.handshake_kind() == Some(HandshakeKind::Resumed);
    let http2 = server.alpn_protocol() == Some(b"h2");
    let (secrets, keys) = server.dangerous_into_kernel_connection()?;
    let rest = incoming.split_off(given);
    Ok(Session::new(
        tcp,
        (secrets, keys),
        (resumed, http2),
        rest,
        Rc::clone(local),
    )?)
}

/// What is to be done next.
enum Step {
    Again,
    Send,
    Read,
    Done,
}

/// Runs rustls once. Answers how many bytes from the front of `incoming` are used up.
fn step(
    server: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    outgoing: &mut Vec<u8>,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus { discard, state } = server.process_tls_records(incoming);
    let next = match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(outgoing, |space| data.encode(space));
            Ok(Step::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Send)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::Read),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Done),
        // Data or an end before the handshake's end: early data is not offered, so no honest client does that.
        Ok(_) => Err(rustls::Error::HandshakeNotComplete),
        Err(error) => Err(error),
    };
    (discard, next)
}

/// Appends what `encode` writes, which says itself how much room it needs.
fn encode(outgoing: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match encode(&mut outgoing[start..]) {
            Ok(written) => return outgoing.truncate(start + written),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                room = required_size;
            }
            Err(EncodeError::AlreadyEncoded) => return outgoing.truncate(start),
        }
    }
}

/// Reads until one whole record lies behind the first `given` bytes; answers where it ends.
async fn next_record(
    tcp: &mut TcpStream,
    incoming: &mut Vec<u8>,
    given: usize,
) -> Result<usize, HandshakeError> {
    loop {
        match record_len(&incoming[given..]) {
            Ok(Some(len)) if incoming.len() - given >= len => return Ok(given + len),
            Ok(_) => {}
            Err(_) => return Ok(incoming.len()), // rustls says it better, by an alert
        }
        if incoming.len() >= MOST_INCOMING {
            return Err(RecordError::TooLong.into());
        }
        if tcp.read_buf(incoming).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
