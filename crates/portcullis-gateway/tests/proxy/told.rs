//! What a request is answered, by either version of HTTP, in the words that most tests ask for.

use bytes::Bytes;
use http::{Request, Response};

use crate::support::client::Reply;
use crate::support::process::Gateway;

/// What was answered: the status, and the member `error` where it is a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told(pub(crate) u16, pub(crate) String);

impl Told {
    pub(crate) fn passed() -> Self {
        Self(200, String::new())
    }

    pub(crate) fn refused(status: u16, error: &str) -> Self {
        Self(status, error.to_owned())
    }

    fn of(status: u16, body: &[u8]) -> Self {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        Self(status, if status < 400 { String::new() } else { json["error"].as_str().unwrap_or_default().to_owned() })
    }
}

impl From<Reply> for Told {
    fn from(reply: Reply) -> Self {
        Self::of(reply.status, &reply.body)
    }
}

/// One connection of HTTP/2.
pub(crate) struct Http2 {
    runtime: tokio::runtime::Runtime,
    sender: h2::client::SendRequest<Bytes>,
}

impl Http2 {
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(gateway.listen).await.unwrap();
            let (sender, connection) = h2::client::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// A POST with this body; its length is declared where that is given.
    pub(crate) fn post(&self, target: &str, kind: &str, declared: Option<usize>, body: &[u8]) -> Told {
        let request = Request::post(target).header("content-type", kind);
        let request = match declared {
            Some(length) => request.header("content-length", length),
            None => request,
        };
        self.ask(request.body(()).unwrap(), Some(body))
    }

    pub(crate) fn ask(&self, request: Request<()>, body: Option<&[u8]>) -> Told {
        let answered = self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await.unwrap();
            let (answer, mut stream) = sender.send_request(request, body.is_none()).unwrap();
            if let Some(body) = body {
                // Whoever is refused early has its stream ended.
                let _ = stream.send_data(Bytes::copy_from_slice(body), true);
            }
            whole(answer).await
        });
        Told::of(answered.status().as_u16(), answered.body())
    }

    /// Begins a POST whose body comes in pieces.
    pub(crate) fn begin(&self, target: &str, more: &[(&str, &str)]) -> Upload<'_> {
        let mut request = Request::post(target);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        let (answer, stream) = self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await.unwrap();
            sender.send_request(request.body(()).unwrap(), false).unwrap()
        });
        Upload { connection: self, answer, stream }
    }
}

/// A request of HTTP/2 whose body is on its way.
pub(crate) struct Upload<'a> {
    connection: &'a Http2,
    answer: h2::client::ResponseFuture,
    stream: h2::SendStream<Bytes>,
}

impl Upload<'_> {
    /// Sends a piece; false where nobody takes it any more.
    pub(crate) fn send(&mut self, piece: &[u8], last: bool) -> bool {
        self.stream.send_data(Bytes::copy_from_slice(piece), last).is_ok()
    }

    pub(crate) fn answer(self) -> Told {
        let answered = self.whole();
        Told::of(answered.status().as_u16(), answered.body())
    }

    /// The answer itself.
    pub(crate) fn whole(self) -> Response<Vec<u8>> {
        self.connection.runtime.block_on(whole(self.answer))
    }
}

async fn whole(answer: h2::client::ResponseFuture) -> Response<Vec<u8>> {
    let work = async {
        let (head, mut stream) = answer.await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(Ok(data)) = stream.data().await {
            let _ = stream.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        Response::from_parts(head, body)
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), work).await.expect("an answer in time")
}
