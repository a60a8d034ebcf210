//! A command as an operator of the running gate: a request to its admin listener, with the operator's token.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Failure;
use crate::admin::OperatorToken;
use crate::config::Settings;

/// A gate that does not answer an operator within this time hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// No answer is longer.
const LONGEST: usize = 16 << 20;

/// Whom the admin listener knows as the operator.
pub(super) struct Operator {
    at: SocketAddr,
    token: OperatorToken,
}

impl Operator {
    /// The operator of the gate that runs with these settings.
    ///
    /// # Errors
    /// A [`Failure`] where there is no admin listener, or no token that it would know.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failure> {
        let at = settings.admin.listen.ok_or_else(|| {
            Failure::Usage("the admin listener is turned off, and only it can be asked: [admin] listen".to_owned())
        })?;
        if settings.admin.token.is_none() && !settings.state_dir.join("admin-token").exists() {
            let directory = settings.state_dir.display();
            return Err(Failure::run(format!("no gate has been started yet with its state in {directory}")));
        }
        let token = OperatorToken::resolve(&settings.admin, &settings.state_dir).map_err(Failure::run)?;
        Ok(Self { at, token })
    }

    pub(super) async fn get(&self, target: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, target, Bytes::new()).await
    }

    pub(super) async fn post(&self, target: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, target, body.to_string().into()).await
    }

    async fn ask(&self, method: Method, target: &str, body: Bytes) -> Result<Value, Failure> {
        let exchange = tokio::time::timeout(PATIENCE, self.exchange(method, target, body)).await;
        let (status, text) = exchange
            .map_err(|_| Failure::run(format!("the gate did not answer at {} within 10 s", self.at)))?
            .map_err(|error| {
                Failure::run(format!("no gate answers at {}: {error}; it must run to be asked", self.at))
            })?;
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let told = answer["detail"].as_str().or_else(|| answer["error"].as_str());
        let told = told.map_or_else(|| status.to_string(), str::to_owned);
        Err(if status == StatusCode::BAD_REQUEST { Failure::Usage(told) } else { Failure::run(told) })
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.at).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.at.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let text = Limited::new(body, LONGEST).collect().await?.to_bytes();
        connection.abort();
        Ok((head.status, text))
    }
}
