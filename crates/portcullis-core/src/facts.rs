//! What a door knows of a request before anyone has decided anything.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::{Principal, RequestId, Timestamp};

/// The facts of one request, as a door saw them. All of them are claims of a stranger except `peer`, `secure`,
/// `certificate`, `id` and `now`.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The request method.
    pub method: &'a Method,
    /// The request target in origin form (`/path?query`), not yet normalised.
    pub target: &'a Uri,
    /// The request's headers as received.
    pub headers: &'a HeaderMap,
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// Whether the client reached this door over TLS that this process terminated.
    pub secure: bool,
    /// What the certificate of the client proves, where TLS ended here and it presented one: who it is, or why it is nobody's
    /// any more, for the operator.
    pub certificate: Option<&'a Result<Arc<Principal>, &'static str>>,
    /// The name of this request.
    pub id: RequestId,
    /// When the request's head was complete.
    pub now: Timestamp,
}
