//! Certificates by name, swapped without a restart when their files change. A new pair that cannot be used is refused and
//! told, and the old one stays: an operator's slip at renewal takes nothing down.

use arc_swap::ArcSwap;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    /// Certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, unreadable or has no PEM section of the wanted kind.
    #[error("cannot read {what} from {path}: {why}", path = path.display())]
    Pem {
        /// "certificates" or "a private key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The pair does not match, or the key's kind is not supported.
    #[error("certificate {cert} with key {key}: {why}", cert = cert.display(), key = key.display())]
    Pair {
        /// Certificate file.
        cert: PathBuf,
        /// Key file.
        key: PathBuf,
        /// What is wrong.
        why: rustls::Error,
    },
    /// No certificate at all.
    #[error("no certificate is given")]
    None,
    /// The crypto provider.
    #[error("TLS cannot be set up: {0}")]
    Provider(rustls::Error),
    /// The file of the ticket keys.
    #[error("the ticket keys in {path}: {why}; remove the file to begin with new ones", path = path.display())]
    Tickets {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the mend.
        why: String,
    },
}

/// Certificates by the names that they are for; the first one where no name fits.
#[derive(Debug)]
struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*`.
    wild: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

/// What tells one state of the files from another: inode, size, seconds and nanoseconds of the last change.
type Marks = Vec<Option<(u64, u64, i64, i64)>>;

/// What is known of the files.
#[derive(Debug)]
struct Seen {
    /// Of the last look.
    marks: Marks,
    /// The last look found a change that was not yet taken in.
    unsettled: bool,
}

/// The certificates that are shown to clients.
#[derive(Debug)]
pub struct Identities {
    pairs: Vec<PairFiles>,
    table: ArcSwap<Table>,
    seen: Mutex<Seen>,
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Swap {
    /// Nothing to do.
    Unchanged,
    /// New handshakes get the new certificates.
    Swapped,
    /// The new files cannot be used; the old certificates stay.
    Refused(TlsError),
}

impl Identities {
    /// Loads every pair.
    ///
    /// # Errors
    /// When a file cannot be read or two do not belong together.
    pub fn load(pairs: &[PairFiles]) -> Result<Self, TlsError> {
        let seen = Seen {
            marks: marks(pairs), // before the files are read: a change in between is found by the next look
            unsettled: false,
        };
        Ok(Self {
            pairs: pairs.to_vec(),
            table: ArcSwap::from_pointee(table(pairs)?),
            seen: Mutex::new(seen),
        })
    }

    /// Looks whether the files changed, and takes them in once they stayed the same for one look: certificate and key
    /// are two files that nobody can replace in one step.
    pub fn look_again(&self) -> Swap {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = marks(&self.pairs);
        if now != seen.marks {
            *seen = Seen {
                marks: now,
                unsettled: true,
            };
            return Swap::Unchanged;
        }
        if !std::mem::take(&mut seen.unsettled) {
            return Swap::Unchanged;
        }
        match table(&self.pairs) {
            Ok(table) => {
                self.table.store(Arc::new(table));
                Swap::Swapped
            }
            Err(error) => Swap::Refused(error),
        }
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        Some(table.find(hello.server_name()))
    }
}

impl Table {
    fn find(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let by_name = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = name.split_once('.').map(|(_, parent)| parent);
            let wild = || parent.and_then(|p| self.wild.get(p));
            self.exact.get(&name).or_else(wild).cloned()
        });
        by_name.unwrap_or_else(|| Arc::clone(&self.first))
    }
}

fn marks(pairs: &[PairFiles]) -> Marks {
    let mark = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    pairs.iter().flat_map(|p| [mark(&p.cert), mark(&p.key)]).collect()
}

fn table(pairs: &[PairFiles]) -> Result<Table, TlsError> {
    let (mut exact, mut wild, mut first) = (HashMap::new(), HashMap::new(), None);
    for pair in pairs {
        let certified = Arc::new(certified(pair)?);
        first.get_or_insert_with(|| Arc::clone(&certified));
        for name in names(&certified) {
            let (table, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut wild, parent.to_owned()),
                None => (&mut exact, name),
            };
            table.entry(name).or_insert_with(|| Arc::clone(&certified));
        }
    }
    Ok(Table {
        exact,
        wild,
        first: first.ok_or(TlsError::None)?,
    })
}

/// DNS names of the leaf, in lower case; none if it cannot be read, which leaves the certificate usable by order.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let leaf = certified.end_entity_cert().ok();
    let leaf = leaf.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
    leaf.map(|l| l.valid_dns_names().map(str::to_ascii_lowercase).collect())
        .unwrap_or_default()
}

fn certified(pair: &PairFiles) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(&pair.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| pem_error("certificates", &pair.cert, &e))?;
    let key =
        PrivateKeyDer::from_pem_file(&pair.key).map_err(|e| pem_error("a private key", &pair.key, &e))?;
    let wrong = |why| TlsError::Pair {
        cert: pair.cert.clone(),
        key: pair.key.clone(),
        why,
    };
    if chain.is_empty() {
        return Err(wrong(rustls::Error::NoCertificatesPresented));
    }
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(wrong)
}

fn pem_error(what: &'static str, path: &Path, why: &rustls::pki_types::pem::Error) -> TlsError {
    TlsError::Pem {
        what,
        path: path.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let pair = PairFiles {
            cert: dir.path().join("c.pem"),
            key: dir.path().join("k.pem"),
        };
        let message = || {
            Identities::load(std::slice::from_ref(&pair))
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(message().contains("c.pem"));
        fs::write(&pair.cert, "").unwrap();
        fs::write(&pair.key, "not a key").unwrap();
        assert!(message().contains("pem"), "an empty chain is refused");
    }
}
