//! HTTPS: certificate and key from PEM files, TLS 1.2 and 1.3 by rustls with ring, tickets shared by all workers so
//! that a viewer resumes whichever worker it meets. Every failure names the file and what to do.

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used.
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
}

/// Two acceptors of the same identity.
#[derive(Clone)]
pub struct Acceptors {
    /// For viewers: HTTP/2 and HTTP/1.1.
    pub full: TlsAcceptor,
    /// For connections that only get a 429: HTTP/1.1.
    pub shed: TlsAcceptor,
}

impl Acceptors {
    /// Loads a chain and its key.
    ///
    /// # Errors
    /// When a file cannot be read or the two do not belong together.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| pem_error("certificates", cert, &e))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| pem_error("a private key", key, &e))?;
        let pair = |why| TlsError::Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            why,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(chain, private))
            .map_err(pair)?;
        config.ticketer = ring::Ticketer::new().map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shed = Arc::new(config.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            full: TlsAcceptor::from(Arc::new(config)),
            shed: TlsAcceptor::from(shed),
        })
    }
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
        let (cert, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let message = |r: Result<Acceptors, TlsError>| r.map(|_| ()).unwrap_err().to_string();
        assert!(message(Acceptors::load(&cert, &key)).contains("c.pem"));
        std::fs::write(&cert, "").unwrap();
        std::fs::write(&key, "not a key").unwrap();
        assert!(
            message(Acceptors::load(&cert, &key)).contains("pem"),
            "an empty chain is refused"
        );
    }
}
