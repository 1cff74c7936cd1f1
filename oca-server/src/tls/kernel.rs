//! Kernel TLS, sending only (Linux 4.13 and later, module `tls`): the keys of a handshake are given to the socket, and what
//! is written to it from then on, by `sendfile` too, is sealed by the kernel or the network card.

use nix::sys::socket::{
    setsockopt,
    sockopt::{TcpTlsTx, TcpUlp, TlsCryptoInfo},
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};
use std::io;
use std::net::{TcpListener, TcpStream as StdStream};
use tokio::net::TcpStream;

/// What a kernel that seals can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelSeals {
    /// Whether it takes new keys for a connection that has some (TLS 1.3, Linux 6.14 and later).
    pub new_keys: bool,
}

/// What this kernel can do, tried out on a connection of its own with keys that seal nothing. The modules may have to be
/// loaded first, which the attempt itself brings about where the process may.
///
/// # Errors
/// When it has no TLS, or not the most common cipher.
pub fn probe() -> io::Result<KernelSeals> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = StdStream::connect(listener.local_addr()?)?;
    let keys = TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
        info: libc::tls_crypto_info {
            version: libc::TLS_1_3_VERSION,
            cipher_type: libc::TLS_CIPHER_AES_GCM_128,
        },
        iv: [0; 8],
        key: [0; 16],
        salt: [0; 4],
        rec_seq: [0; 8],
    });
    setsockopt(&stream, TcpUlp::default(), b"tls")?;
    setsockopt(&stream, TcpTlsTx, &keys)?;
    Ok(KernelSeals {
        new_keys: setsockopt(&stream, TcpTlsTx, &keys).is_ok(),
    })
}

/// Moves the keys that we seal with into the kernel; false = it does not take them, and nothing has changed.
pub fn enable(tcp: &TcpStream, version: ProtocolVersion, secrets: (u64, &ConnectionTrafficSecrets)) -> bool {
    let Some(info) = crypto_info(version, secrets) else {
        return false;
    };
    // Without keys the ULP passes everything through, so that a refusal of the second step changes nothing.
    let result = setsockopt(tcp, TcpUlp::default(), b"tls").and_then(|()| setsockopt(tcp, TcpTlsTx, &info));
    if let Err(error) = result {
        tracing::debug!(%error, "the kernel does not take the TLS keys");
    }
    result.is_ok()
}

/// Gives the kernel new keys, if it is one that takes them ([`KernelSeals::new_keys`]).
///
/// # Errors
/// When it takes none: the connection must end, since the peer expects the new ones.
pub fn renew(tcp: &TcpStream, secrets: (u64, &ConnectionTrafficSecrets)) -> io::Result<()> {
    let info = crypto_info(ProtocolVersion::TLSv1_3, secrets);
    let info = info.ok_or_else(|| io::Error::other("the kernel does not know the TLS cipher"))?;
    Ok(setsockopt(tcp, TcpTlsTx, &info)?)
}

/// The keys as the kernel wants them (`linux/tls.h`); absent = a cipher that it does not have.
fn crypto_info(
    version: ProtocolVersion,
    (sequence, secrets): (u64, &ConnectionTrafficSecrets),
) -> Option<TlsCryptoInfo> {
    use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
    let (version, v13) = match version {
        ProtocolVersion::TLSv1_3 => (libc::TLS_1_3_VERSION, true),
        ProtocolVersion::TLSv1_2 => (libc::TLS_1_2_VERSION, false),
        _ => return None,
    };
    let info = |cipher_type| libc::tls_crypto_info { version, cipher_type };
    let rec_seq = sequence.to_be_bytes();
    // GCM: four bytes of salt; then what TLS 1.3 mixes with the record's number, as rustls does. For TLS 1.2 the kernel
    // takes it for the next explicit nonce and counts up from it, where rustls mixed: so far only record 0, with the
    // value itself. One more is therefore never used twice.
    let split = |iv: &[u8]| -> Option<([u8; 4], [u8; 8])> {
        let explicit: [u8; 8] = iv.get(4..12)?.try_into().ok()?;
        let explicit = match (v13, sequence) {
            (true, _) => explicit,
            (false, 1) => u64::from_be_bytes(explicit).wrapping_add(1).to_be_bytes(),
            (false, _) => return None,
        };
        Some((iv.get(..4)?.try_into().ok()?, explicit))
    };
    Some(match secrets {
        Aes128Gcm { key, iv } => {
            let (salt, iv) = split(iv.as_ref())?;
            TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
                info: info(libc::TLS_CIPHER_AES_GCM_128),
                iv,
                key: key.as_ref().try_into().ok()?,
                salt,
                rec_seq,
            })
        }
        Aes256Gcm { key, iv } => {
            let (salt, iv) = split(iv.as_ref())?;
            TlsCryptoInfo::Aes256Gcm(libc::tls12_crypto_info_aes_gcm_256 {
                info: info(libc::TLS_CIPHER_AES_GCM_256),
                iv,
                key: key.as_ref().try_into().ok()?,
                salt,
                rec_seq,
            })
        }
        Chacha20Poly1305 { key, iv } => {
            TlsCryptoInfo::Chacha20Poly1305(libc::tls12_crypto_info_chacha20_poly1305 {
                info: info(libc::TLS_CIPHER_CHACHA20_POLY1305),
                iv: iv.as_ref().try_into().ok()?,
                key: key.as_ref().try_into().ok()?,
                salt: [],
                rec_seq,
            })
        }
        _ => return None,
    })
}
