//! The PROXY protocol, version 2: a load balancer that passes connections on says before the first request whose they are
//! (haproxy's proxy-protocol.txt §2.2).
//!
//! Whether a connection begins so is settled by where it comes from, never guessed from its bytes: a viewer could write
//! such a header as well. Version 1 is refused with its name, since it is what balancers send when nobody chose.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How every header begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Most bytes of addresses and further fields: a balancer's certificates and names, with room.
const MAX_LEN: u16 = 4096;

/// Why a header is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The older form.
    #[error(
        "the PROXY protocol's version 1 is not spoken here: let the proxy send version 2 (haproxy: send-proxy-v2)"
    )]
    Version1,
    /// Something else.
    #[error("no PROXY protocol header: let the proxy send version 2, or take it out of --proxy-protocol")]
    NoHeader,
    /// Not by the specification, or nothing that HTTP over TCP could come from.
    #[error("the PROXY protocol header's {0} is not one of version 2 for TCP")]
    Field(&'static str),
    /// The connection.
    #[error("before the end of the PROXY protocol header: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header, and nothing after it. Absent when the proxy speaks for itself (a health check) or does not know.
pub async fn source(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, ProxyError> {
    let mut signature = [0; 12];
    stream.read_exact(&mut signature).await?;
    if signature.starts_with(b"PROXY ") {
        return Err(ProxyError::Version1);
    }
    if signature != *SIGNATURE {
        return Err(ProxyError::NoHeader);
    }
    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let len = stream.read_u16().await?;
    if len > MAX_LEN {
        return Err(ProxyError::Field("length"));
    }
    let mut rest = vec![0; len.into()];
    stream.read_exact(&mut rest).await?;
    match command {
        0x20 => return Ok(None), // LOCAL: whatever the addresses say
        0x21 => {}
        _ => return Err(ProxyError::Field("version or command")),
    }
    let source = match family {
        0x00 => None,
        0x11 => Some(tcp4(&rest).ok_or(ProxyError::Field("length"))?),
        0x21 => Some(tcp6(&rest).ok_or(ProxyError::Field("length"))?),
        _ => return Err(ProxyError::Field("family or transport")),
    };
    Ok(source)
}

/// Source and destination address, source and destination port.
fn tcp4(fields: &[u8]) -> Option<SocketAddr> {
    let fields: &[u8; 12] = fields.first_chunk()?;
    let ip: [u8; 4] = *fields.first_chunk()?;
    Some((Ipv4Addr::from(ip), u16::from_be_bytes([fields[8], fields[9]])).into())
}

fn tcp6(fields: &[u8]) -> Option<SocketAddr> {
    let fields: &[u8; 36] = fields.first_chunk()?;
    let ip: [u8; 16] = *fields.first_chunk()?;
    Some((Ipv6Addr::from(ip), u16::from_be_bytes([fields[32], fields[33]])).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let len = (fields.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, fields].concat()
    }

    #[tokio::test]
    async fn version_2_tells_the_source_and_all_else_is_refused() {
        let four = [203, 0, 113, 9, 192, 0, 2, 1, 0x9c, 0x40, 0, 80];
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        six[15] = 9;
        six[33] = 7;
        let with_tlv = [&four[..], &[0x04, 0, 1, 0]].concat();
        for (bytes, wanted) in [
            (header(0x21, 0x11, &four), Ok(Some("203.0.113.9:40000"))),
            (header(0x21, 0x11, &with_tlv), Ok(Some("203.0.113.9:40000"))),
            (header(0x21, 0x21, &six), Ok(Some("[2001:db8::9]:7"))),
            (header(0x20, 0x11, &four), Ok(None)),
            (header(0x20, 0x00, &[]), Ok(None)),
            (header(0x21, 0x00, &[]), Ok(None)),
            (header(0x21, 0x11, &four[..11]), Err("length")),
            (header(0x21, 0x21, &four), Err("length")),
            (header(0x21, 0x11, &[0; 5000]), Err("length")),
            (header(0x21, 0x12, &four), Err("family or transport")),
            (header(0x22, 0x11, &four), Err("version or command")),
            (header(0x11, 0x11, &four), Err("version or command")),
            (header(0x21, 0x11, &four)[..20].to_vec(), Err("before the end")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Err("version 1")),
            (
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                Err("no PROXY protocol header"),
            ),
        ] {
            let bytes = [bytes, b"GET".to_vec()].concat();
            let mut stream = &bytes[..];
            let got = source(&mut stream).await.map_err(|e| e.to_string());
            match wanted {
                Ok(wanted) => {
                    let wanted = wanted.map(|a| a.parse().unwrap());
                    assert_eq!(got, Ok(wanted));
                    assert_eq!(stream, b"GET", "nothing after the header is read");
                }
                Err(text) => assert!(got.as_ref().is_err_and(|e| e.contains(text)), "{got:?} {text}"),
            }
        }
    }
}
