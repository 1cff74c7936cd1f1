//! The unidirectional streams of a connection: the client's, checked and otherwise ignored, and our control stream.

use oca_core::h3::{
    ErrorCode,
    control::{self, Opened, UniStream},
};
use quinn_proto::{Connection, Dir, ReadError, StreamId, VarInt};
use std::collections::HashMap;

/// They and what is still to be written on ours.
#[derive(Debug, Default)]
pub struct UniStreams {
    opened: Opened,
    theirs: HashMap<StreamId, UniStream>,
    ours: Option<StreamId>,
    unsent: Vec<u8>,
}

impl UniStreams {
    /// Opens our control stream; `most_section` is the largest field section taken.
    pub fn open(&mut self, quic: &mut Connection, most_section: u64) {
        self.ours = quic.streams().open(Dir::Uni);
        self.unsent = control::opening(most_section);
        if let Some(id) = self.ours {
            let _ = quic.send_stream(id).set_priority(i32::MAX); // it is open
        }
        self.flush(quic);
    }

    /// Says that requests from `id` on are not answered.
    pub fn go_away(&mut self, quic: &mut Connection, id: u64) {
        self.unsent.extend(control::go_away(id));
        self.flush(quic);
    }

    /// Whether a stream is ours.
    pub fn is_ours(&self, id: StreamId) -> bool {
        self.ours == Some(id)
    }

    /// Writes what the stream takes.
    pub fn flush(&mut self, quic: &mut Connection) {
        if let Some(id) = self.ours
            && !self.unsent.is_empty()
        {
            let written = quic.send_stream(id).write(&self.unsent).unwrap_or(0); // more when it is writable
            self.unsent.drain(..written);
        }
    }

    /// Reads what the client sent on one of its streams.
    ///
    /// # Errors
    /// Of the connection.
    pub fn read(&mut self, quic: &mut Connection, id: StreamId) -> Result<(), ErrorCode> {
        let mut recv = quic.recv_stream(id);
        let Ok(mut chunks) = recv.read(true) else {
            return Ok(()); // stopped before
        };
        let stream = self.theirs.entry(id).or_default();
        let result = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    if let Err(code) = stream.push(&mut self.opened, &chunk.bytes) {
                        break Err(code);
                    }
                }
                Ok(None) | Err(ReadError::Reset(_)) => break stream.end().map(|()| true),
                Err(ReadError::Blocked) => break Ok(false),
            }
        };
        let _ = chunks.finalize(); // the connection's turn sends what there is to send
        let ended = result?;
        let ignored = stream.is_ignored();
        if ignored && !ended {
            let code = VarInt::from_u32(ErrorCode::StreamCreationError as u32);
            let _ = quic.recv_stream(id).stop(code); // it is open
        }
        if ended || ignored {
            self.theirs.remove(&id);
        }
        Ok(())
    }
}
