//! The head of a request, from its bytes to what the gate is asked.

use std::sync::LazyLock;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Request, Version};
use http_body_util::Empty;
use portcullis_auth::{CookieNames, credential};
use portcullis_core::NormalizedPath;
use portcullis_gateway::config::{Source, TransportSettings};
use portcullis_gateway::proxy;

use crate::config::Nowhere;

/// The bounds of a gate that was told nothing.
static BOUNDS: LazyLock<TransportSettings> = LazyLock::new(|| {
    let loaded = Source::upstream("http://127.0.0.1:3000").load_with(&Nowhere).expect("the plain configuration");
    loaded.settings.transport
});

/// A head that is accepted has one reading: one host, one length, a target that begins with `/`.
///
/// # Panics
/// Where that is not so.
pub fn head(data: &[u8]) {
    let Some(mut request) = read(data) else { return };
    let written = request.headers().clone();
    if proxy::check_head(&mut request, &BOUNDS).is_err() {
        return;
    }
    let one = |name| written.get_all(name).iter().count() == 1;
    assert!(one(HOST) || (request.version() == Version::HTTP_10 && !written.contains_key(HOST)), "{written:?}");
    if written.contains_key(TRANSFER_ENCODING) {
        assert!(one(TRANSFER_ENCODING) && written[TRANSFER_ENCODING].as_bytes().eq_ignore_ascii_case(b"chunked"));
        assert_eq!(request.version(), Version::HTTP_11, "{written:?}");
    }
    if written.contains_key(CONTENT_LENGTH) {
        let length = written[CONTENT_LENGTH].as_bytes();
        assert!(one(CONTENT_LENGTH) && length.iter().all(u8::is_ascii_digit) && !length.is_empty(), "{written:?}");
    }
    let target = request.uri();
    assert!(target.scheme().is_none() && target.authority().is_none() && target.path().starts_with('/'), "{target}");
    // Both must answer, whatever they answer.
    let _ = NormalizedPath::parse(target.path());
    let _ = credential::presented(request.headers(), &CookieNames::new(true));
}

/// Reads a head with the parser that the server uses.
fn read(data: &[u8]) -> Option<Request<Empty<&'static [u8]>>> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut fields);
    if !head.parse(data).ok()?.is_complete() {
        return None;
    }
    let mut builder = Request::builder().method(head.method?).uri(head.path?);
    builder = builder.version(if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 });
    for field in head.headers {
        builder = builder.header(field.name, field.value);
    }
    builder.body(Empty::new()).ok()
}
