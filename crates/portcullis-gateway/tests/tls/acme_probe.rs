//! How an authority looks whether a name is a gate's: over real connections.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Fetches the file of a token at the plain listener (RFC 8555 §8.3).
pub(crate) fn http(gate: SocketAddr, host: &str, token: &str, expected: &str) -> Result<(), String> {
    let mut socket = TcpStream::connect(gate).map_err(|error| format!("connection: {error}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request =
        format!("GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("half an answer")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(format!("not found: {head}"));
    }
    if body == expected { Ok(()) } else { Err(format!("another text: {body}")) }
}

/// Shakes hands by the protocol of the challenge (RFC 8737 §3), and looks at the certificate that is shown.
pub(crate) fn tls(gate: SocketAddr, host: &str, digest: &[u8]) -> Result<(), String> {
    let Seen { shown, protocol, rest } = shake_hands(gate, host, &[b"acme-tls/1"])?;
    if protocol.as_deref() != Some(b"acme-tls/1") {
        return Err("another protocol".to_owned());
    }
    // acmeIdentifier: its OID, that it is critical, and an octet string within an octet string.
    let extension = [
        &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f, 0x01, 0x01, 0xff, 0x04, 0x22, 0x04, 0x20],
        digest,
    ]
    .concat();
    let holds = |bytes: &[u8]| shown.windows(bytes.len()).any(|window| window == bytes);
    if !holds(&extension) {
        return Err("the certificate holds another digest".to_owned());
    }
    let length = u8::try_from(host.len()).unwrap();
    // A list of one name, which is a DNS name.
    let names = [&[0x30, length + 2, 0x82, length][..], host.as_bytes()].concat();
    if !holds(&names) {
        return Err("the certificate has other names".to_owned());
    }
    if !rest.is_empty() {
        return Err("something is spoken by this protocol".to_owned());
    }
    Ok(())
}

/// Begins a handshake by the protocol of the challenge and goes on to nothing; good where the gate ends it within seconds.
pub(crate) fn stall(gate: SocketAddr, host: &str) -> Result<(), String> {
    let mut connection = connection(host, &[b"acme-tls/1"]);
    let mut socket = TcpStream::connect(gate).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    connection.write_tls(&mut socket).map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    match socket.read_to_end(&mut heard) {
        Ok(_) if heard.is_empty() => Err("it was not answered at all".to_owned()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(format!("it is still open: {error}")),
    }
}

/// What a handshake came to.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The certificate that was shown.
    pub(crate) shown: Vec<u8>,
    /// The protocol that was chosen.
    pub(crate) protocol: Option<Vec<u8>>,
    /// What was said then, by the protocol of the challenge.
    pub(crate) rest: Vec<u8>,
}

/// Shakes hands, offering these protocols.
pub(crate) fn shake_hands(gate: SocketAddr, host: &str, protocols: &[&[u8]]) -> Result<Seen, String> {
    let mut connection = connection(host, protocols);
    let mut socket = TcpStream::connect(gate).map_err(|error| format!("connection: {error}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(|error| format!("handshake: {error}"))?;
    }
    let shown = connection.peer_certificates().ok_or("no certificate")?[0].to_vec();
    let protocol = connection.alpn_protocol().map(<[u8]>::to_vec);
    let mut rest = Vec::new();
    if protocol.as_deref() == Some(b"acme-tls/1") {
        StreamOwned::new(connection, socket).read_to_end(&mut rest).map_err(|error| format!("its end: {error}"))?;
    }
    Ok(Seen { shown, protocol, rest })
}

fn connection(host: &str, protocols: &[&[u8]]) -> ClientConnection {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything)).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// Believes every certificate: what it holds is looked at afterwards.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
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
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
