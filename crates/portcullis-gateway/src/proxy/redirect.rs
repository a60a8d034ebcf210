//! The plain listener beside TLS: it shows the way to https and serves nothing.
//!
//! The way leads to a host that this gate is known by, never to any that a request names: an open redirect would lend our name
//! to whoever writes a `Host`. Only what carries nothing is shown the way. A credential, or a body, that came in the clear
//! has been read by others already; a redirect would make its sender believe that all is well, again and again.

use http::header::{AUTHORIZATION, HOST, PROXY_AUTHORIZATION};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request};
use portcullis_core::Reason;

use crate::tls::Names;

/// The way to https.
#[derive(Debug)]
pub(crate) struct ToHttps {
    /// The host of the public URL with its port, where that is https.
    public: Option<Box<str>>,
    /// What stands behind another host: `:port`, or nothing for 443.
    port: Box<str>,
}

const SENT_IN_THE_CLEAR: &str =
    "this request was sent in the clear: send it to https://, and change what was secret in it";

impl ToHttps {
    /// By the public URL, and the port at which TLS is spoken.
    pub(crate) fn new(public_url: &str, port: u16) -> Self {
        let public = public_url.strip_prefix("https://").map(Box::from);
        // Behind a port that is mapped, clients know another one than we do; the public URL says it.
        let known = public.as_deref().map(|authority: &str| split_port(authority).1);
        let port = known.unwrap_or(if port == 443 { String::new() } else { format!(":{port}") });
        Self { public, port: port.into() }
    }

    /// Where a request is sent on to.
    ///
    /// # Errors
    /// The reason why it is not.
    pub(crate) fn location<B>(&self, request: &Request<B>, names: &Names) -> Result<HeaderValue, Reason> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) || carries_a_credential(request.headers()) {
            return Err(Reason::Malformed(SENT_IN_THE_CLEAR));
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(|host| split_port(host).0);
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let location = match (host.filter(|host| names.covers(host)), &self.public) {
            (Some(host), _) => format!("https://{}{}{target}", host.to_ascii_lowercase(), self.port),
            (None, Some(public)) => format!("https://{public}{target}"),
            (None, None) => return Err(Reason::Misdirected),
        };
        HeaderValue::try_from(location).map_err(|_| Reason::Malformed("the request target is not valid"))
    }
}

/// Browsers send cookies to http by themselves as long as these do not say `Secure`, and ours do; what a program sends by
/// hand is another matter.
fn carries_a_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION)
        || headers.contains_key(PROXY_AUTHORIZATION)
        || headers.contains_key("x-api-key")
}

/// A host, and its port with the colon.
fn split_port(authority: &str) -> (&str, String) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, format!(":{port}")),
        _ => (authority, String::new()),
    }
}
