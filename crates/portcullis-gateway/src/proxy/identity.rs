//! The way from a core to the identity endpoints, which live on the service runtime: a bounded queue of whole requests.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use portcullis::Admitted;
use portcullis_core::{ClientAddress, Principal, Reason, RequestId};
use tokio::sync::{mpsc, oneshot};

use super::body::ResponseBody;
use super::client_body::ClientBody;
use super::collect::collect;
use super::exchange::Failed;
use crate::listen::{Late, Link};

/// The largest body that the identity endpoints take, in bytes: they read a few short members of JSON.
pub const MAX_IDENTITY_BODY: usize = 10 * 1024;

/// One admitted request to an identity endpoint, its body collected.
#[derive(Debug)]
pub struct IdentityRequest {
    /// The request; its path is normalised.
    pub request: Request<Bytes>,
    /// Whose it is.
    pub client: ClientAddress,
    /// Its name.
    pub id: RequestId,
    /// Who it is from, where that was proven.
    pub principal: Option<Arc<Principal>>,
    /// Where the answer goes. Dropping it answers 500.
    pub reply: oneshot::Sender<Response<Bytes>>,
}

/// Marks an answer of an identity endpoint, as an extension: a password, a link or another credential was wrong, and the
/// status code does not say so. Limits that count denials count it.
#[derive(Clone, Copy, Debug)]
pub struct Denied;

/// The cores' end of the queue.
#[derive(Clone, Debug)]
pub struct IdentityHandle {
    requests: mpsc::Sender<IdentityRequest>,
    has_pages: bool,
}

/// The service's end of the queue.
#[derive(Debug)]
pub struct IdentityRequests(mpsc::Receiver<IdentityRequest>);

/// A queue of at most `capacity` requests; what does not fit is refused with 503.
#[must_use]
pub fn identity_channel(capacity: usize) -> (IdentityHandle, IdentityRequests) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    (IdentityHandle { requests: sender, has_pages: true }, IdentityRequests(receiver))
}

impl IdentityHandle {
    /// Whether there are pages to sign in at, to which a person who is refused may be sent on.
    #[must_use]
    pub fn with_pages(self, has_pages: bool) -> Self {
        Self { has_pages, ..self }
    }

    pub(super) const fn has_pages(&self) -> bool {
        self.has_pages
    }

    /// Queues a request; gives it back where the queue is full or nobody serves it.
    pub(crate) fn send(&self, request: IdentityRequest) -> Result<(), Box<IdentityRequest>> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(request) | mpsc::error::TrySendError::Closed(request) => Box::new(request),
        })
    }
}

impl IdentityRequests {
    /// The next request; `None` when every core has ended.
    pub async fn next(&mut self) -> Option<IdentityRequest> {
        self.0.recv().await
    }
}

/// Collects the body of an admitted request (its pass is in the link) and asks the identity endpoints.
pub(super) async fn ask(
    link: &Rc<Link>,
    mut request: Request<Admitted<ClientBody>>,
    id: RequestId,
) -> Result<Response<ResponseBody>, Failed> {
    let handle = link.core.shared.identity.as_ref().ok_or(Failed::before(Reason::NotFound))?;
    let (client, principal) = {
        let mut pass = link.pass.borrow_mut();
        let pass = pass.as_mut().ok_or(Failed::before(Reason::Internal))?;
        if let Some(target) = pass.take_rewritten() {
            *request.uri_mut() = Uri::from(target);
        }
        pass.apply_to_request(request.headers_mut());
        (pass.case().client(), pass.principal().cloned())
    };
    let (head, body) = request.into_parts();
    let body = collect(link, body, MAX_IDENTITY_BODY as u64).await.map_err(Failed::before)?;
    let (reply, mut answer) = oneshot::channel();
    let request = IdentityRequest { request: Request::from_parts(head, body), client, id, principal, reply };
    handle.send(request).map_err(|_| Failed::before(Reason::Overloaded))?;
    link.deadlines.set(Late::ResponseHead, ANSWER_TIME);
    let answer = poll_fn(|cx| {
        if link.deadlines.take_missed().is_some() {
            return Poll::Ready(Err(Reason::Overloaded));
        }
        Pin::new(&mut answer).poll(cx).map(|answer| answer.map_err(|_| Reason::Internal))
    })
    .await;
    link.deadlines.clear(Late::ResponseHead);
    let answer = answer.map_err(Failed::after)?;
    Ok(answer.map(|body| ResponseBody::whole(body, Rc::clone(link))))
}

/// How long an identity endpoint may take. Hashing a password waits in a short queue, so this is long.
const ANSWER_TIME: Duration = Duration::from_secs(30);
