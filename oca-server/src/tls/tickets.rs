//! Session tickets (RFC 8446 §4.6.1, RFC 5077): sealed state that a client brings back, so that any worker, and the same
//! appliance after a restart, resumes its session. Keys are changed twice a day and kept until the last ticket that they
//! sealed has expired; in a file, if there is one, that only its owner may read.

use super::identity::TlsError;
use arc_swap::ArcSwap;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Seconds that a ticket is good for.
const LIFETIME: u32 = 12 * 3600;
/// Seconds for which a key seals.
const TURN: u64 = 12 * 3600;
/// Bytes of a key's name, which a ticket begins with.
const NAME: usize = 16;

/// A key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    name: [u8; NAME],
    key: [u8; 32],
    /// Seconds since 1970.
    made: u64,
}

struct TicketKey {
    record: Record,
    key: LessSafeKey,
}

/// The keys, newest first.
pub struct Tickets {
    file: Option<PathBuf>,
    keys: ArcSwap<Vec<TicketKey>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Tickets {
    /// Reads the keys from the file, or begins with new ones. Without a file they live as long as the process.
    ///
    /// # Errors
    /// When the file cannot be read, used or written.
    pub fn open(file: Option<&Path>) -> Result<Self, TlsError> {
        let wrong = |why: String| TlsError::Tickets {
            path: file.map(Path::to_owned).unwrap_or_default(),
            why,
        };
        let records = match file.map(fs::read) {
            Some(Ok(text)) => serde_json::from_slice(&text)
                .map_err(|e| wrong(format!("{e}; remove the file to begin with new ones")))?,
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => return Err(wrong(e.to_string())),
            Some(Err(_)) | None => Vec::new(),
        };
        let tickets = Self {
            file: file.map(Path::to_owned),
            keys: ArcSwap::from_pointee(records.into_iter().filter_map(TicketKey::new).collect()),
        };
        tickets
            .turn(now())
            .map_err(|e| wrong(format!("{e}; give a file in a folder that can be written")))?;
        Ok(tickets)
    }

    /// Changes the key if it is time, and forgets those that no ticket needs.
    ///
    /// # Errors
    /// When the file cannot be written; the new keys are used all the same.
    pub fn turn(&self, now: u64) -> io::Result<()> {
        let before = self.keys.load();
        // A key from the future is one of a clock that was wrong: it is replaced too.
        if before
            .first()
            .is_some_and(|k| k.record.made <= now && now - k.record.made < TURN)
        {
            return Ok(());
        }
        let mut records: Vec<Record> = before.iter().map(|k| k.record.clone()).collect();
        records.retain(|r| r.made <= now && now - r.made < TURN + u64::from(LIFETIME));
        records.insert(0, Record::random(now)?);
        let saved = self.file.as_deref().map_or(Ok(()), |file| save(file, &records));
        self.keys
            .store(Arc::new(records.into_iter().filter_map(TicketKey::new).collect()));
        saved
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn save(file: &Path, records: &[Record]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut out = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    out.write_all(&serde_json::to_vec(records)?)?;
    out.sync_all()?;
    fs::rename(&new, file)
}

impl Record {
    fn random(made: u64) -> io::Result<Self> {
        let (mut name, mut key) = ([0; NAME], [0; 32]);
        getrandom::fill(&mut name).map_err(io::Error::other)?;
        getrandom::fill(&mut key).map_err(io::Error::other)?;
        Ok(Self { name, key, made })
    }
}

impl TicketKey {
    fn new(record: Record) -> Option<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &record.key).ok()?;
        Some(Self {
            record,
            key: LessSafeKey::new(key),
        })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let newest = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut ticket = [&newest.record.name, &nonce[..], state].concat();
        let text = NAME + NONCE_LEN;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(newest.record.name);
        let tag = newest
            .key
            .seal_in_place_separate_tag(nonce, aad, &mut ticket[text..])
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|k| k.record.name == *name)?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = key
            .key
            .open_in_place(nonce, Aad::from(*name), &mut text)
            .ok()?
            .len();
        text.truncate(len);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn tickets_outlive_the_process_by_the_file_and_not_without() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tickets.key");
        let ticket = Tickets::open(Some(&file)).unwrap().encrypt(b"state").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Tickets::open(Some(&file)).unwrap();
        assert_eq!(again.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(Tickets::open(None).unwrap().decrypt(&ticket), None);
    }

    #[test]
    fn a_key_opens_until_the_last_of_its_tickets_is_over() {
        let tickets = Tickets::open(None).unwrap();
        let begun = now();
        let old = tickets.encrypt(b"old").unwrap();
        tickets.turn(begun + TURN + 1).unwrap();
        let new = tickets.encrypt(b"new").unwrap();
        assert_ne!(old[..NAME], new[..NAME], "the key has changed");
        assert!(tickets.decrypt(&old).is_some() && tickets.decrypt(&new).is_some());
        tickets.turn(begun + 2 * TURN + 2).unwrap();
        assert_eq!(tickets.decrypt(&old), None);
        assert!(tickets.decrypt(&new).is_some());
    }

    #[test]
    fn what_was_tampered_with_is_no_ticket() {
        let tickets = Tickets::open(None).unwrap();
        let ticket = tickets.encrypt(b"state").unwrap();
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(tickets.decrypt(&other), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tickets.key");
        fs::write(&file, "{").unwrap();
        let message = Tickets::open(Some(&file)).unwrap_err().to_string();
        let nowhere = dir.path().join("none/tickets.key");
        let unwritable = Tickets::open(Some(&nowhere)).unwrap_err().to_string();
        assert!(
            unwritable.contains("none/tickets.key") && unwritable.contains("can be written"),
            "{unwritable}"
        );
        assert!(
            message.contains("tickets.key") && message.contains("remove the file"),
            "{message}"
        );
    }
}
