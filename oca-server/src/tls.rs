//! HTTPS over TCP: rustls makes the handshake, then records are sealed in this process from the file's bytes, or by the
//! kernel where it can. One configuration for all workers: tickets are good on each, certificates are swapped under all.
//! Every failure names the file and what to do.

pub mod aead;
pub mod handshake;
pub mod identity;
pub mod kernel;
pub mod record;
pub mod session;
pub mod tickets;
pub mod watch;

use aead::Provider;
use identity::{Identities, PairFiles, TlsError};
use kernel::KernelSeals;
use rustls::{ServerConfig, crypto::ring};
use std::{path::Path, sync::Arc};
use tickets::Tickets;

/// Who seals records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealing {
    /// What the kernel can do, where it may seal and can.
    pub kernel: Option<KernelSeals>,
    /// The library for all that the kernel does not seal.
    pub provider: Provider,
}

/// What the HTTPS listeners of all workers share.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For viewers: HTTP/2 and HTTP/1.1.
    pub full: Arc<ServerConfig>,
    /// For connections that only get a 429: HTTP/1.1.
    pub shed: Arc<ServerConfig>,
    /// Who seals records.
    pub sealing: Sealing,
    /// Certificates by name.
    pub identities: Arc<Identities>,
    /// Keys of session tickets.
    pub tickets: Arc<Tickets>,
}

impl Tls {
    /// Loads the certificates and the ticket keys; `kernel` = the kernel may seal if it can.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(pairs: &[PairFiles], tickets: Option<&Path>, kernel: bool) -> Result<Self, TlsError> {
        let identities = Arc::new(Identities::load(pairs)?);
        let tickets = Arc::new(Tickets::open(tickets)?);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identities) as _);
        config.ticketer = Arc::clone(&tickets) as _;
        config.enable_secret_extraction = true; // records are sealed by us or by the kernel
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shed = Arc::new(config.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            full: Arc::new(config),
            shed,
            sealing: Sealing {
                kernel: if kernel { kernel_seals() } else { None },
                provider: Provider::fastest(),
            },
            identities,
            tickets,
        })
    }
}

fn kernel_seals() -> Option<KernelSeals> {
    match kernel::probe() {
        Ok(seals) => Some(seals),
        Err(error) => {
            tracing::info!(%error, "no TLS in this kernel: records are sealed in this process");
            None
        }
    }
}
