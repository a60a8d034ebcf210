//! The request that `explain` is asked about.

use std::net::IpAddr;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Its target: a path and perhaps a query.
    pub target: Uri,
    /// Its headers, the credential included.
    pub headers: HeaderMap,
    /// The address it comes from.
    pub address: IpAddr,
}

impl Question {
    /// From what was typed.
    ///
    /// # Errors
    /// A text for the person who typed it.
    pub(super) fn parse(
        request: &str,
        token: Option<&str>,
        headers: &[String],
        address: IpAddr,
    ) -> Result<Self, String> {
        let (method, target) = match request.split_once(char::is_whitespace) {
            Some((method, target)) => (method, target.trim_start()),
            None => ("GET", request),
        };
        let capitals = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| capitals);
        let method =
            method.ok_or_else(|| format!("{request:?} does not begin with a method; write 'GET /projects'"))?;
        if !target.starts_with('/') {
            return Err(format!("{target:?} is not a target; write a path, as in 'GET /projects'"));
        }
        let target = target.parse::<Uri>().map_err(|error| format!("{target:?} is not a target: {error}"))?;
        let mut map = HeaderMap::new();
        for line in headers {
            let parts = line.split_once(':').and_then(|(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) = parts.ok_or_else(|| format!("{line:?} is not a header; write 'Name: value'"))?;
            map.append(name, value);
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| "the token has characters that a header cannot carry".to_owned())?;
            value.set_sensitive(true);
            map.append(AUTHORIZATION, value);
        }
        Ok(Self { method, target, headers: map, address })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn parse(request: &str) -> Result<Question, String> {
        Question::parse(request, None, &[], IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    #[test]
    fn a_request_is_a_method_and_a_target() {
        let question = parse("DELETE /projects/7?x=1").unwrap();
        assert_eq!((question.method, question.target.path()), (Method::DELETE, "/projects/7"));
        assert_eq!(parse("/projects").unwrap().method, Method::GET);
        assert!(parse("get /projects").is_err());
        assert!(parse("GET projects").is_err());
        assert!(parse("").is_err());
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let question = Question::parse("/", Some("abc.def.ghi"), &["X-A: b".to_owned()], address).unwrap();
        assert!(!format!("{question:?}").contains("abc.def"));
        assert_eq!(question.headers["x-a"], "b");
        assert!(Question::parse("/", Some("a\nb"), &[], address).is_err());
        assert!(Question::parse("/", None, &["nonsense".to_owned()], address).is_err());
    }
}
