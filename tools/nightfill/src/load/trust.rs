//! TLS as the client offers it: AES-128-GCM first, so that every server that is compared with another uses the same cipher;
//! no resumption, so that every handshake is a full one; the server's name checked against a bundle, or not at all.

use anyhow::Context;
use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{path::Path, sync::Arc};

/// Whose certificates are accepted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trust<'a> {
    /// Everybody's: for measuring one's own servers.
    Everybody,
    /// Those that a bundle of PEM certificates vouches for.
    Bundle(&'a Path),
}

/// A client's configuration that offers `alpn`.
pub(super) fn config(trust: Trust<'_>, alpn: &[u8]) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::Everybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider))),
        Trust::Bundle(file) => builder.with_root_certificates(roots(file)?),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(|s| s.suite() != first);
    provider
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let unreadable = || {
        format!(
            "no certificates from {}; give --ca FILE, or --insecure for a server of your own",
            file.display()
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(unreadable)? {
        // A bundle holds what this library does not take; the others count.
        let _ = roots.add(certificate.with_context(unreadable)?);
    }
    anyhow::ensure!(!roots.is_empty(), unreadable());
    Ok(roots)
}

/// Accepts any certificate; that the server has its key is still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
