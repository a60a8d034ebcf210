//! gRPC through the gate: a real client before it and a real server behind it (H6).

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use tokio_stream::{Stream, StreamExt as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, NamedService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::process::{Gateway, Setup};

/// Messages as they are: a test of transport needs no protobuf.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;
type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// A service that repeats what it hears.
#[derive(Clone)]
pub(super) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let te = request.metadata().get("te").is_some();
            let subject = request.metadata().contains_key("x-forwarded-for");
            match request.into_inner().as_ref() {
                b"refuse" => {
                    Err(Status::with_details(Code::FailedPrecondition, "not today", Bytes::from_static(b"\x00why\xff")))
                }
                b"slow" => {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    Ok(Response::new(Bytes::new()))
                }
                message if te && subject => Ok(Response::new(Bytes::copy_from_slice(message))),
                _ => Err(Status::internal("TE or X-Forwarded-For is missing")),
            }
        })
    }
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer<Messages>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let messages = request.into_inner().map(|message| match message?.as_ref() {
                b"stop" => Err(Status::aborted("as you wish")),
                message => Ok(Bytes::from(message.to_ascii_uppercase())),
            });
            Ok(Response::new(Box::pin(messages) as Messages))
        })
    }
}

impl ClientStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Answer<Bytes>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let messages: Result<Vec<Bytes>, Status> = request.into_inner().collect().await;
            Ok(Response::new(messages?.concat().into()))
        })
    }
}

impl<B> tower_service::Service<http::Request<B>> for Echo
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw);
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(Self, request).await,
                "/test.Echo/Collect" => grpc.client_streaming(Self, request).await,
                "/test.Echo/Stream" => grpc.streaming(Self, request).await,
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

/// Starts the server on the test's runtime.
async fn server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(Echo).serve_with_incoming(incoming));
    address
}

fn before(address: SocketAddr) -> Gateway {
    start(Setup::open_to("http://127.0.0.1:9"), address, "", "")
}

/// With more keys of `[client]`, and more tables.
fn start(setup: Setup, address: SocketAddr, client: &str, more: &str) -> Gateway {
    setup
        .with(&format!(
            "[client]\nh2c = true\n{client}\n\
             [[upstreams]]\nname = \"grpc\"\naddresses = [\"{address}\"]\nhttp2 = true\nresponse_timeout = \"1s\"\n\n\
             [[route]]\nmatch = \"/test.Echo/**\"\naccess = \"public\"\nbody = {{ max = \"16MiB\" }}\nupstream = \"grpc\"\n\n{more}"
        ))
        .start()
}

async fn client(gateway: &Gateway) -> tonic::client::Grpc<Channel> {
    let channel = Endpoint::from_shared(format!("http://{}", gateway.listen)).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    client
}

pub(super) async fn unary(
    client: &mut tonic::client::Grpc<Channel>,
    path: &'static str,
    message: &'static str,
) -> Result<Response<Bytes>, Status> {
    client.ready().await.unwrap();
    client.unary(Request::new(Bytes::from_static(message.as_bytes())), PathAndQuery::from_static(path), Raw).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_grpc_calls_go_through_with_their_trailers() {
    let gateway = before(server().await);
    let mut client = client(&gateway).await;
    let reply = unary(&mut client, "/test.Echo/Unary", "hello").await.unwrap();
    assert_eq!(reply.get_ref().as_ref(), b"hello");
    assert!(reply.metadata().contains_key("x-request-id"), "the gate was asked");
    // An answer of nothing but trailers.
    let status = unary(&mut client, "/test.Echo/Unary", "refuse").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not today"));
    let status = unary(&mut client, "/test.Echo/Nothing", "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    // An empty message, and many at once.
    assert_eq!(unary(&mut client, "/test.Echo/Unary", "").await.unwrap().into_inner().len(), 0);
    let calls = (0..200).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { unary(&mut client, "/test.Echo/Unary", "many").await.unwrap().into_inner() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().as_ref(), b"many");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_grpc_streams_go_both_ways_at_once() {
    let gateway = before(server().await);
    let mut client = client(&gateway).await;
    let (speak, heard) = tokio::sync::mpsc::channel(1);
    let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(heard));
    speak.send(Bytes::from_static(b"first")).await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Stream");
    let mut replies = client.streaming(request, path, Raw).await.unwrap().into_inner();
    let in_time = Duration::from_secs(5);
    let mut next = async || tokio::time::timeout(in_time, replies.message()).await.expect("nothing is held back");
    assert_eq!(next().await.unwrap().unwrap().as_ref(), b"FIRST");
    // Longer than response_timeout: the head of the answer is there, and streams may rest.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for _ in 0..3 {
        speak.send(Bytes::from_static(b"again")).await.unwrap();
        assert_eq!(next().await.unwrap().unwrap().as_ref(), b"AGAIN");
    }
    // A long message in pieces, each way.
    speak.send(Bytes::from(vec![b'x'; 3 << 20])).await.unwrap();
    assert_eq!(next().await.unwrap().unwrap().len(), 3 << 20);
    speak.send(Bytes::from_static(b"stop")).await.unwrap();
    let status = next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "as you wish"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_a_client_of_grpc_that_only_speaks_is_not_stopped_by_answers_that_it_does_not_read() {
    let gateway = before(server().await);
    let mut client = client(&gateway).await;
    let (speak, heard) = tokio::sync::mpsc::channel(1);
    let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(heard));
    speak.send(Bytes::from_static(b"first")).await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Stream");
    let mut replies = client.streaming(request, path, Raw).await.unwrap().into_inner();
    // More than a window of HTTP/2 has room for, less than all windows on the way: nobody reads yet.
    for _ in 0..20 {
        let message = Bytes::from(vec![b'x'; 8 << 10]);
        tokio::time::timeout(Duration::from_secs(5), speak.send(message)).await.expect("the upload goes on").unwrap();
    }
    drop(speak);
    let mut count = 0;
    while replies.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_a_refusal_of_the_gate_is_a_status_of_grpc() {
    let more = "[limits]\npreset = \"none\"\n\n\
                [[limit]]\nname = \"few\"\nmatch = \"/test.Echo/**\"\nkey = \"address\"\nquota = \"2 per 1m\"\n\n\
                [[route]]\nmatch = \"/test.Closed/**\"\naccess = \"authenticated\"\nupstream = \"grpc\"\n";
    let gateway = start(Setup::upstream("http://127.0.0.1:9"), server().await, "", more);
    let mut client = client(&gateway).await;
    let status = unary(&mut client, "/test.Closed/Unary", "x").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "Authentication required"), "{status:?}");
    for _ in 0..2 {
        unary(&mut client, "/test.Echo/Unary", "x").await.unwrap();
    }
    let status = unary(&mut client, "/test.Echo/Unary", "x").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.metadata().contains_key("retry-after"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h6_a_call_that_runs_out_of_time_is_unavailable_and_a_deadline_is_the_clients() {
    let gateway = before(server().await);
    let mut client = client(&gateway).await;
    let status = unary(&mut client, "/test.Echo/Unary", "slow").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let mut request = Request::new(Bytes::from_static(b"slow"));
    request.set_timeout(Duration::from_millis(200));
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Unary");
    let status: Result<Response<Bytes>, Status> = client.unary(request, path, Raw).await;
    let code = status.unwrap_err().code();
    // The server sees the deadline too, and says so first or not.
    assert!(matches!(code, Code::Cancelled | Code::DeadlineExceeded), "{code:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_messages_of_grpc_come_when_there_is_something_to_say() {
    let keys = "body_timeout = \"1s\"\nmin_body_rate = \"1MiB\"";
    let gateway = start(Setup::open_to("http://127.0.0.1:9"), server().await, keys, "");
    let mut client = client(&gateway).await;
    let (speak, heard) = tokio::sync::mpsc::channel(1);
    let path = PathAndQuery::from_static("/test.Echo/Collect");
    let request = Request::new(tokio_stream::wrappers::ReceiverStream::new(heard));
    let call = tokio::spawn(async move { client.client_streaming::<_, _, Bytes, _>(request, path, Raw).await });
    // Slower than any pace, for longer than anything has to begin with; and the answer comes at the end only.
    for _ in 0..5 {
        speak.send(Bytes::from_static(b"x")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    drop(speak);
    assert_eq!(call.await.unwrap().unwrap().into_inner().as_ref(), b"xxxxx");
}
