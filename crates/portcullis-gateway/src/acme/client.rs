//! Requests to the authority: one connection each, over TLS only, bounded in time and size.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::upstream_tls::{UpstreamTls, advice, host, tls_error};

/// For one request, its connection included.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is larger; a chain of certificates has some KiB.
const LARGEST: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {why}")]
pub(super) struct Unreachable {
    address: Box<str>,
    why: String,
}

/// Asks the authority.
#[derive(Clone, Debug)]
pub(super) struct Client {
    tls: UpstreamTls,
    /// For how long it told us last to stay away.
    told_to_wait: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    pub(super) fn new(tls: UpstreamTls) -> Self {
        Self { tls, told_to_wait: Arc::default() }
    }

    /// For how long the authority wants not to be asked, where it refused with such a word.
    pub(super) fn told_to_wait(&self) -> Option<Duration> {
        *self.told_to_wait.lock()
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Unreachable> {
        let uri = request.uri().clone();
        let port = uri.port_u16().unwrap_or(443);
        let address = format!("{}:{port}", uri.host().unwrap_or_default());
        let failed = |why: String| Unreachable { address: address.as_str().into(), why };
        if uri.scheme_str() != Some("https") {
            return Err(failed("the authority names an address that is not https".to_owned()));
        }
        match tokio::time::timeout(PATIENCE, self.exchange(request, &uri, &address)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn exchange(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
        uri: &Uri,
        address: &str,
    ) -> Result<Response<Bytes>, String> {
        let name = self.tls.name(address).ok_or_else(|| format!("{} is no name of a host", host(address)))?;
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(self.tls.client()).connect(name, stream).await.map_err(|error| {
            let advice = tls_error(&error).map(|fault| format!(" ({})", advice(fault))).unwrap_or_default();
            format!("{error}{advice}")
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority = HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, authority);
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        let answered = async {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            self.listen_to(&answer);
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(|error| error.to_string())?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::pin!(answered, connection);
        // The connection is driven for as long as its answer is waited for, and goes with it.
        tokio::select! {
            answer = &mut answered => answer,
            ended = &mut connection => match ended {
                Ok(()) => answered.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// A refusal may say for how long it stands (RFC 8555 §6.6).
    fn listen_to(&self, answer: &Response<Incoming>) {
        if matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            *self.told_to_wait.lock() = seconds.map(Duration::from_secs);
        }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let answer = this.send(request).await.map_err(|error| Error::Other(Box::new(error)))?;
            let (parts, body) = answer.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}
