//! A client of HTTP/3: quinn and h3, which share nothing with the server's loop and framing.

use crate::support::{PATIENCE, Server, certificate};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{future::Future, net::SocketAddr, path::Path, sync::Arc};

pub type Streams = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// A server with HTTP/3 and its certificate's folder.
pub fn start(root: &Path, more: &[&str]) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let args = ["--quic-listen", "127.0.0.1:0", "--cert", cert, "--key", key];
    let server = Server::start(root, &[&args, more].concat());
    (server, dir)
}

/// Runs a test's client, not for ever.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE * 6, test)
            .await
            .expect("it takes too long")
    })
}

/// A connection.
pub struct Viewer {
    pub endpoint: quinn::Endpoint,
    pub quic: quinn::Connection,
    pub requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
    /// Ends with the connection.
    pub end: tokio::task::JoinHandle<h3::error::ConnectionError>,
}

/// A whole response.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub fields: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Whole {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|v| v.to_str().unwrap())
    }
}

impl Viewer {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, quinn::TransportConfig::default())
            .await
            .unwrap()
    }

    pub async fn connect_with(
        addr: SocketAddr,
        transport: quinn::TransportConfig,
    ) -> Result<Self, quinn::ConnectionError> {
        let endpoint = endpoint(transport);
        let quic = endpoint.connect(addr, "localhost").unwrap().await?;
        let (mut connection, requests) = h3::client::new(h3_quinn::Connection::new(quic.clone()))
            .await
            .unwrap();
        let end = tokio::spawn(async move { std::future::poll_fn(|cx| connection.poll_close(cx)).await });
        Ok(Self {
            endpoint,
            quic,
            requests,
            end,
        })
    }

    /// Says good-bye.
    pub async fn close(self) {
        self.quic.close(0x100u32.into(), b"");
        self.endpoint.wait_idle().await;
    }

    /// Sends a request without content.
    pub async fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Streams {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut streams = self
            .requests
            .send_request(request.body(()).unwrap())
            .await
            .unwrap();
        streams.finish().await.unwrap();
        streams
    }

    pub async fn request(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Whole {
        let mut streams = self.send(method, path, fields).await;
        whole(&mut streams).await.unwrap()
    }

    pub async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Whole {
        self.request("GET", path, fields).await
    }
}

/// Reads a response to its end.
pub async fn whole(streams: &mut Streams) -> Result<Whole, h3::error::StreamError> {
    let response = streams.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut piece) = streams.recv_data().await? {
        while piece.has_remaining() {
            body.extend_from_slice(piece.chunk());
            piece.advance(piece.chunk().len());
        }
    }
    Ok(Whole {
        status: response.status().as_u16(),
        fields: response.headers().clone(),
        body,
    })
}

/// TLS of a client that trusts everybody and speaks one protocol.
pub fn tls(protocol: &str) -> rustls::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.into()];
    tls
}

fn endpoint(transport: quinn::TransportConfig) -> quinn::Endpoint {
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls("h3")).unwrap()));
    config.transport_config(Arc::new(transport));
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Trusts every server: these tests are about other things.
#[derive(Debug)]
pub struct Anyone;

impl ServerCertVerifier for Anyone {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
