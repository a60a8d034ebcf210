//! gRPC with TLS on both sides of the gate: a real client, a real server, and what goes over the wire between them (H6).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::grpc::{Echo, Raw, unary};
use crate::support::process::{Gateway, Setup};
use crate::support::tls::Authority;

/// A connection as the server of gRPC takes it.
struct Secured(server::TlsStream<TcpStream>);

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The server, which speaks nothing but HTTP/2 over TLS.
async fn serve(authority: &Authority) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(authority.issue("localhost").server(None, &["h2"]));
    let (hand_over, accepted) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            if hand_over.send(Ok::<_, io::Error>(Secured(stream))).await.is_err() {
                return;
            }
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(accepted);
    tokio::spawn(tonic::transport::Server::builder().add_service(Echo).serve_with_incoming(incoming));
    address
}

/// How the client of gRPC gets its connections.
#[derive(Clone)]
struct Dial {
    gate: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Dial {
    async fn connect(self) -> io::Result<client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.gate).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(self.config).connect(name, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Ok(stream)
    }
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<client::TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.connect().await.map(TokioIo::new) })
    }
}

/// A gate that speaks TLS with both, and everything that they need.
struct Scene {
    dial: Dial,
    _gateway: Gateway,
    _files: tempfile::TempDir,
}

async fn scene() -> Scene {
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let at = |name: &str| files.path().join(name);
    std::fs::write(at("ca.pem"), &authority.pem).unwrap();
    authority.issue("localhost").write(&at("gate.pem"), &at("gate.key"));
    let upstream = serve(&authority).await;
    let gateway = Setup::upstream("http://127.0.0.1:9")
        .identity("enabled = false")
        .public_url("https://localhost")
        .with(&format!(
            "[limits]\npreset = \"none\"\n\n[tls]\ncertificates = [{{ cert = {:?}, key = {:?} }}]\n\n\
             [[upstreams]]\nname = \"grpc\"\naddresses = [\"localhost:{}\"]\nhttp2 = true\ntls = {{ ca = {:?} }}\n\n\
             [[route]]\nmatch = \"POST /test.Echo/**\"\naccess = \"public\"\nbody = {{ max = \"16MiB\" }}\nupstream = \"grpc\"\n\n\
             [[route]]\nmatch = \"POST /test.Closed/**\"\naccess = \"authenticated\"\nupstream = \"grpc\"\n",
            at("gate.pem"),
            at("gate.key"),
            upstream.port(),
            at("ca.pem"),
        ))
        .start();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let dial = Dial { gate: gateway.listen, config: Arc::new(config) };
    Scene { dial, _gateway: gateway, _files: files }
}

async fn client(scene: &Scene) -> tonic::client::Grpc<Channel> {
    // The connection is secured by us; to the library it is a connection.
    let endpoint = Endpoint::from_static("http://localhost").origin(Uri::from_static("https://localhost"));
    let channel = endpoint.connect_with_connector(scene.dial.clone()).await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_grpc_crosses_a_gate_with_tls_on_both_sides_with_its_trailers() {
    let scene = scene().await;
    let mut client = client(&scene).await;
    let reply = unary(&mut client, "/test.Echo/Unary", "hello").await.unwrap();
    assert_eq!(reply.get_ref().as_ref(), b"hello");
    let metadata = reply.metadata();
    assert!(
        metadata.contains_key("x-request-id") && metadata.contains_key("strict-transport-security"),
        "{metadata:?}"
    );
    // An error with all that belongs to it: a status, a message, details in binary.
    let status = unary(&mut client, "/test.Echo/Unary", "refuse").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not today"));
    assert_eq!(status.details(), b"\x00why\xff");
    assert_eq!(unary(&mut client, "/test.Echo/Nothing", "").await.unwrap_err().code(), Code::Unimplemented);
    // What the gate refuses by itself is one as well.
    assert_eq!(unary(&mut client, "/test.Closed/Unary", "x").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(unary(&mut client, "/test.Nowhere/Unary", "x").await.unwrap_err().code(), Code::Unimplemented);

    let (speak, heard) = tokio::sync::mpsc::channel(1);
    let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(heard));
    speak.send(Bytes::from_static(b"first")).await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Stream");
    client.ready().await.unwrap();
    let mut replies = client.streaming(request, path, Raw).await.unwrap().into_inner();
    let in_time = Duration::from_secs(5);
    let mut next = async || tokio::time::timeout(in_time, replies.message()).await.expect("nothing is held back");
    assert_eq!(next().await.unwrap().unwrap().as_ref(), b"FIRST");
    // More than any window, each way.
    speak.send(Bytes::from(vec![b'x'; 3 << 20])).await.unwrap();
    assert_eq!(next().await.unwrap().unwrap().len(), 3 << 20);
    speak.send(Bytes::from_static(b"stop")).await.unwrap();
    let status: Status = next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "as you wish"));
}

/// One call, as it goes over the wire: its head, its messages' bytes and its trailers, and whether the head was all.
async fn call(scene: &Scene, path: &str, message: &[u8]) -> (http::HeaderMap, Vec<u8>, http::HeaderMap, bool) {
    let stream = scene.dial.clone().connect().await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request = http::Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut to) = sender.ready().await.unwrap().send_request(request, false).unwrap();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    to.send_data([&[0], &length[..], message].concat().into(), true).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an answer in time").unwrap();
    assert_eq!(answer.status(), 200);
    let (head, mut from) = answer.into_parts();
    let bare = from.is_end_stream();
    let mut body = Vec::new();
    while let Some(piece) = from.data().await {
        body.extend_from_slice(&piece.unwrap());
    }
    (head.headers, body, from.trailers().await.unwrap().unwrap_or_default(), bare)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_a_status_of_grpc_stands_behind_its_messages_or_alone_in_the_head_as_the_server_put_it() {
    let scene = scene().await;
    let (head, body, trailers, bare) = call(&scene, "/test.Echo/Unary", b"hello").await;
    assert_eq!((body.as_slice(), bare), (&b"\0\0\0\0\x05hello"[..], false));
    assert_eq!((head.get("grpc-status"), trailers.get("grpc-status")), (None, Some(&"0".parse().unwrap())));
    // Trailers-Only: one head that ends the stream, from the server or from the gate.
    for (path, message, status) in [
        ("/test.Echo/Unary", &b"refuse"[..], "9"),
        ("/test.Echo/Nothing", b"", "12"),
        ("/test.Closed/Unary", b"x", "16"),
    ] {
        let (head, body, trailers, bare) = call(&scene, path, message).await;
        assert!(bare && body.is_empty() && trailers.is_empty(), "{path}: {head:?} {body:?} {trailers:?}");
        assert_eq!(head.get("grpc-status"), Some(&status.parse().unwrap()), "{path}: {head:?}");
        assert_eq!(head.get("content-type"), Some(&"application/grpc".parse().unwrap()), "{path}: {head:?}");
        assert!(
            head.contains_key("x-request-id") && head.contains_key("strict-transport-security"),
            "{path}: {head:?}"
        );
    }
}
