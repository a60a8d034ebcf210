//! Which pages may ask: origins as browsers write them (RFC 6454 §6.2), and one pattern that cannot match a look-alike.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One entry of the list of origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every page, and never with credentials.
    Any,
    /// This very origin.
    Exact(Box<str>),
    /// `https://*.example.com`: exactly one label in the place of the star.
    Below {
        /// Scheme and `://`.
        scheme: Box<str>,
        /// From the dot after the star to the end, the port included.
        rest: Box<str>,
    },
}

/// Why a text is no origin. Each says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `null`: sandboxed frames, files, redirects; anybody can make a page that is one.
    #[error("every page can make itself one whose origin is \"null\"; leave it out")]
    Null,
    /// No scheme.
    #[error("the scheme is missing; write for example \"https://{0}\"")]
    Scheme(Box<str>),
    /// A scheme whose pages have no origin of their own.
    #[error("pages of \"{0}:\" have no origin that could be told from others")]
    Opaque(Box<str>),
    /// More than scheme, host and port.
    #[error("an origin ends after host and port; write \"{0}\"")]
    Path(Box<str>),
    /// Credentials in it.
    #[error("an origin holds no user")]
    User,
    /// Upper case: browsers never send it.
    #[error("browsers write origins in lower case; write \"{0}\"")]
    Case(Box<str>),
    /// The port that the scheme has anyway: browsers leave it out.
    #[error("browsers leave out the port that the scheme has anyway; write \"{0}\"")]
    DefaultPort(Box<str>),
    /// Not a port.
    #[error("\"{0}\" is not a port; every port is an origin of its own and is written out")]
    Port(Box<str>),
    /// A name with letters beyond ASCII.
    #[error("browsers send names with other letters in their form that begins with \"xn--\"")]
    International,
    /// Not the name of a host.
    #[error("\"{0}\" is not the name of a host as browsers write it")]
    Host(Box<str>),
    /// A star that is not the first label.
    #[error("a star stands for one whole label, the first: \"https://*.example.com\"")]
    Star,
    /// A star before less than two labels.
    #[error("everybody can have a name below \"{0}\"; at least two labels follow the star")]
    TooWide(Box<str>),
}

impl OriginPattern {
    /// Whether an `Origin` is meant by it: byte for byte, because a browser knows one spelling only.
    pub(super) fn covers(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, rest } => origin
                .strip_prefix(scheme.as_bytes())
                .and_then(|origin| origin.strip_suffix(rest.as_bytes()))
                .is_some_and(is_label),
        }
    }

    /// Whether what comes from there can be read and changed on its way: `http` from another machine.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(exact) => exact.strip_prefix("http://").is_some_and(|host| !is_loopback(host)),
            Self::Below { scheme, rest } => &**scheme == "http://" && !is_loopback(rest),
        }
    }

    /// The name below which strangers can have hosts of their own, as far as well-known ones go.
    #[must_use]
    pub fn shared_suffix(&self) -> Option<&'static str> {
        const SHARED: [&str; 24] = [
            "amplifyapp.com",
            "appspot.com",
            "azurewebsites.net",
            "blogspot.com",
            "cloudfront.net",
            "co.jp",
            "co.uk",
            "com.au",
            "firebaseapp.com",
            "fly.dev",
            "github.io",
            "gitlab.io",
            "herokuapp.com",
            "netlify.app",
            "ngrok.app",
            "ngrok.io",
            "onrender.com",
            "org.uk",
            "pages.dev",
            "trycloudflare.com",
            "up.railway.app",
            "vercel.app",
            "web.app",
            "workers.dev",
        ];
        let Self::Below { rest, .. } = self else { return None };
        let host = rest.trim_start_matches('.').split(':').next().unwrap_or_default();
        SHARED.into_iter().find(|shared| *shared == host)
    }
}

/// One label of a host's name as it stands in an origin.
fn is_label(label: &[u8]) -> bool {
    (1..=63).contains(&label.len())
        && label.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

fn is_loopback(host: &str) -> bool {
    let name = if host.ends_with(']') { host } else { host.rsplit_once(':').map_or(host, |(name, _)| name) };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost")
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        if !text.is_ascii() {
            return Err(OriginError::International);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let opaque = text.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| is_opaque(scheme));
            return Err(match opaque {
                Some(scheme) => OriginError::Opaque(scheme.into()),
                None => OriginError::Scheme(text.trim_start_matches('/').into()),
            });
        };
        let lower = text.to_ascii_lowercase();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return Err(OriginError::Scheme(rest.into()));
        }
        if is_opaque(&scheme.to_ascii_lowercase()) {
            return Err(OriginError::Opaque(scheme.into()));
        }
        if let Some(end) = rest.find(['/', '?', '#', '\\']) {
            return Err(OriginError::Path(lower[..scheme.len() + 3 + end].into()));
        }
        if rest.contains('@') {
            return Err(OriginError::User);
        }
        if lower != text {
            return Err(OriginError::Case(lower.into()));
        }
        let host = host_and_port(scheme, rest)?;
        if let Some(below) = host.strip_prefix('*') {
            return Self::below(scheme, rest, below);
        }
        if host.contains('*') {
            return Err(OriginError::Star);
        }
        if is_host(host) { Ok(Self::Exact(text.into())) } else { Err(OriginError::Host(host.into())) }
    }
}

impl OriginPattern {
    fn below(scheme: &str, rest: &str, below: &str) -> Result<Self, OriginError> {
        let Some(name) = below.strip_prefix('.') else { return Err(OriginError::Star) };
        if name.contains('*') {
            return Err(OriginError::Star);
        }
        if !is_host(name) || name.parse::<Ipv4Addr>().is_ok() {
            return Err(OriginError::Host(name.into()));
        }
        if !name.contains('.') && name != "localhost" {
            return Err(OriginError::TooWide(name.into()));
        }
        Ok(Self::Below { scheme: format!("{scheme}://").into(), rest: rest.trim_start_matches('*').into() })
    }
}

/// Schemes whose pages all send `null`.
fn is_opaque(scheme: &str) -> bool {
    matches!(scheme, "about" | "blob" | "data" | "file" | "filesystem" | "javascript")
}

/// The host, where the port is one that a browser would send.
fn host_and_port<'t>(scheme: &str, rest: &'t str) -> Result<&'t str, OriginError> {
    let end_of_host = if rest.starts_with('[') { rest.find(']').map_or(rest.len(), |end| end + 1) } else { 0 };
    let Some(colon) = rest[end_of_host..].find(':').map(|colon| end_of_host + colon) else { return Ok(rest) };
    let (host, port) = (&rest[..colon], &rest[colon + 1..]);
    let number = port.parse::<u16>().ok().filter(|number| *number > 0 && number.to_string() == port);
    let Some(number) = number else { return Err(OriginError::Port(port.into())) };
    if matches!((scheme, number), ("https", 443) | ("http", 80)) {
        return Err(OriginError::DefaultPort(format!("{scheme}://{host}").into()));
    }
    Ok(host)
}

/// Whether a host is written as a browser would.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address);
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        // A browser reads a name that ends in a number as an address, and writes it in four parts.
        return host.parse::<Ipv4Addr>().is_ok_and(|parsed| parsed.to_string() == host);
    }
    host.len() <= 253 && host.split('.').all(|label| is_label(label.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h3_an_origin_is_written_as_a_browser_writes_it() {
        let text = Box::<str>::from;
        for (written, wrong) in [
            ("null", OriginError::Null),
            ("NULL", OriginError::Null),
            ("app.example.com", OriginError::Scheme(text("app.example.com"))),
            ("//app.example.com", OriginError::Scheme(text("app.example.com"))),
            ("://app.example.com", OriginError::Scheme(text("app.example.com"))),
            ("localhost:3000", OriginError::Scheme(text("localhost:3000"))),
            ("file:///index.html", OriginError::Opaque(text("file"))),
            ("data:text/html", OriginError::Opaque(text("data"))),
            ("https://app.example.com/", OriginError::Path(text("https://app.example.com"))),
            ("https://App.example.com/login", OriginError::Path(text("https://app.example.com"))),
            ("https://app.example.com?x", OriginError::Path(text("https://app.example.com"))),
            ("https://app.example.com#x", OriginError::Path(text("https://app.example.com"))),
            ("https://a@example.com", OriginError::User),
            ("https://App.example.com", OriginError::Case(text("https://app.example.com"))),
            ("HTTPS://app.example.com", OriginError::Case(text("https://app.example.com"))),
            ("https://app.example.com:443", OriginError::DefaultPort(text("https://app.example.com"))),
            ("http://app.example.com:80", OriginError::DefaultPort(text("http://app.example.com"))),
            ("https://app.example.com:", OriginError::Port(text(""))),
            ("https://app.example.com:*", OriginError::Port(text("*"))),
            ("https://app.example.com:0", OriginError::Port(text("0"))),
            ("https://app.example.com:08443", OriginError::Port(text("08443"))),
            ("https://app.example.com:99999", OriginError::Port(text("99999"))),
            ("https://bücher.example", OriginError::International),
            ("https://", OriginError::Host(text(""))),
            ("https://app.example.com.", OriginError::Host(text("app.example.com."))),
            ("https://app..example.com", OriginError::Host(text("app..example.com"))),
            ("https://a b.example.com", OriginError::Host(text("a b.example.com"))),
            ("https://1.2.3", OriginError::Host(text("1.2.3"))),
            ("https://010.0.0.1", OriginError::Host(text("010.0.0.1"))),
            ("https://[0:0:0:0:0:0:0:1]", OriginError::Host(text("[0:0:0:0:0:0:0:1]"))),
            ("https://*", OriginError::Star),
            ("https://*example.com", OriginError::Star),
            ("https://app-*.example.com", OriginError::Star),
            ("https://app.*.example.com", OriginError::Star),
            ("https://*.*.example.com", OriginError::Star),
            ("https://*.com", OriginError::TooWide(text("com"))),
            ("https://*.", OriginError::Host(text(""))),
            ("https://*.10.0.0.1", OriginError::Host(text("10.0.0.1"))),
        ] {
            assert_eq!(written.parse::<OriginPattern>(), Err(wrong), "{written}");
        }
        for right in [
            "*",
            "https://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:3000",
            "http://127.0.0.1:5173",
            "http://[::1]:5173",
            "https://xn--bcher-kva.example",
            "capacitor://localhost",
            "https://*.example.com",
            "https://*.example.com:8443",
            "http://*.localhost:3000",
        ] {
            right.parse::<OriginPattern>().unwrap_or_else(|error| panic!("{right}: {error}"));
        }
    }

    #[test]
    fn h3_no_look_alike_is_taken_for_an_origin_of_the_list() {
        let exact: OriginPattern = "https://example.com".parse().unwrap();
        let below: OriginPattern = "https://*.example.com".parse().unwrap();
        assert!(exact.covers(b"https://example.com") && below.covers(b"https://app.example.com"));
        assert!(below.covers(b"https://pr-17_x.example.com"));
        for origin in [
            "null",
            "",
            "https://evil-example.com",
            "https://evilexample.com",
            "https://example.com.evil",
            "https://example.com.evil.test",
            "https://app.example.com.evil",
            "https://app.evil-example.com",
            "https://app-example.com",
            "https://appxexample.com",
            "http://example.com",
            "http://app.example.com",
            "https://example.com:8443",
            "https://app.example.com:8443",
            "https://example.com:443",
            "https://EXAMPLE.com",
            "https://App.example.com",
            "HTTPS://example.com",
            "https://user@example.com",
            "https://user@app.example.com",
            "https://evil.test@app.example.com",
            "https://evil.test/.example.com",
            "https://evil.test?.example.com",
            "https://evil.test#.example.com",
            "https://evil.test\\.example.com",
            "https://example.com/",
            "https://example.com.",
            "https://app.example.com.",
            "https://.example.com",
            "https://..example.com",
            "https://a.b.example.com",
            "https://*.example.com",
            "https://app.example.com ",
            " https://example.com",
            "https://example.com, https://evil.test",
            "https://app.example.com\0",
            "https://\u{430}pp.example.com",
        ] {
            assert!(!exact.covers(origin.as_bytes()), "{origin}");
            assert!(!below.covers(origin.as_bytes()), "{origin}");
        }
        assert!(!below.covers(b"https://example.com"), "a star is a label, and none is no label");
    }

    #[test]
    fn h3_origins_that_strangers_can_have_or_change_are_known() {
        let of = |text: &str| text.parse::<OriginPattern>().unwrap();
        assert_eq!(of("https://*.github.io").shared_suffix(), Some("github.io"));
        assert_eq!(of("https://*.vercel.app:8443").shared_suffix(), Some("vercel.app"));
        assert_eq!(of("https://*.team.github.io").shared_suffix(), None);
        assert_eq!(of("https://mine.github.io").shared_suffix(), None);
        assert!(of("http://app.example.com").is_in_the_clear() && of("http://*.example.com").is_in_the_clear());
        for safe in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://[::1]:3000",
            "http://[::1]",
            "http://*.localhost:1",
        ] {
            assert!(!of(safe).is_in_the_clear(), "{safe}");
        }
    }
}
