//! What a request presents to prove who it is.

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::Scheme;

use crate::api_key;

/// The other header that may carry an API key (T9).
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request presents. Nothing, something and something that is no credential at all are three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No credential.
    Nothing,
    /// A token.
    Token {
        /// Its text, not yet judged.
        token: &'a str,
        /// Where it stood.
        scheme: Scheme,
    },
    /// Something that cannot be judged.
    Malformed {
        /// What is wrong with it, for the operator.
        why: &'static str,
        /// Where it stood: a browser sends cookies by itself, an explicit credential is somebody's intention.
        scheme: Scheme,
    },
}

/// The names of our cookies (T6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    access: &'static str,
    refresh: &'static str,
    session: &'static str,
    form: &'static str,
    device: &'static str,
    csrf: &'static str,
    secure: bool,
}

impl CookieNames {
    /// Under an https public URL the names have the prefix `__Host-`, which browsers only accept with `Secure`,
    /// `Path=/` and no `Domain`; on http loopback they are plain names for development.
    #[must_use]
    pub const fn new(https: bool) -> Self {
        if https {
            Self {
                access: "__Host-portcullis_access",
                refresh: "__Host-portcullis_refresh",
                session: "__Host-portcullis_session",
                form: "__Host-portcullis_form",
                device: "__Host-portcullis_device",
                csrf: "__Host-portcullis_csrf",
                secure: true,
            }
        } else {
            Self {
                access: "portcullis_access",
                refresh: "portcullis_refresh",
                session: "portcullis_session",
                form: "portcullis_form",
                device: "portcullis_device",
                csrf: "portcullis_csrf",
                secure: false,
            }
        }
    }

    /// The access token's cookie.
    #[must_use]
    pub const fn access(&self) -> &'static str {
        self.access
    }

    /// The refresh token's cookie.
    #[must_use]
    pub const fn refresh(&self) -> &'static str {
        self.refresh
    }

    /// The server session's cookie (T10).
    #[must_use]
    pub const fn session(&self) -> &'static str {
        self.session
    }

    /// The cookie that the forms of our pages are bound to.
    #[must_use]
    pub const fn form(&self) -> &'static str {
        self.form
    }

    /// The cookie that a known device is told by. It proves nobody.
    #[must_use]
    pub const fn device(&self) -> &'static str {
        self.device
    }

    /// The cookie that hands out tokens against forgery (H2). It proves nobody, and is the only one that scripts can read.
    #[must_use]
    pub const fn csrf(&self) -> &'static str {
        self.csrf
    }

    /// A `Set-Cookie` value for one of our cookies. `value` must be token characters only; `max_age` is in seconds, zero
    /// takes the cookie back.
    #[must_use]
    pub fn set(&self, name: &str, value: &str, max_age: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        // Pages of our own origin must read that one, or they could not send it back where only they can put it.
        let hidden = if name == self.csrf { "" } else { "; HttpOnly" };
        let text = format!("{name}={value}; Max-Age={max_age}; Path=/{hidden}; SameSite=Strict{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// The `Set-Cookie` value that takes back the cookie by which somebody was known: the access token's, or the server
    /// session's; `None` for a scheme without a cookie.
    #[must_use]
    pub fn clear(&self, scheme: Scheme) -> Option<HeaderValue> {
        let name = match scheme {
            Scheme::Cookie => self.access,
            Scheme::Session => self.session,
            Scheme::Bearer | Scheme::ApiKey | Scheme::Certificate => return None,
        };
        self.set(name, "", 0)
    }

    /// Whether a cookie of this name is ours, in either spelling: a page on plain http must not plant the other one.
    fn owns(name: &[u8]) -> bool {
        let bare = name.strip_prefix(b"__Host-").or_else(|| name.strip_prefix(b"__Secure-")).unwrap_or(name);
        bare.starts_with(b"portcullis_")
    }
}

/// What the headers present. An explicit credential wins over a cookie, which a browser sends by itself.
#[must_use]
pub fn presented<'a>(headers: &'a HeaderMap, cookies: &CookieNames) -> Presented<'a> {
    let mut explicit = headers.get_all(AUTHORIZATION).iter();
    let keys = headers.get_all(X_API_KEY).iter().filter_map(own_key).enumerate().last();
    let (found, scheme) = match (explicit.next(), explicit.next(), keys) {
        (Some(value), None, None) => {
            let found = bearer(value);
            let is_key = found.is_ok_and(api_key::is_ours);
            (found.map(Some), if is_key { Scheme::ApiKey } else { Scheme::Bearer })
        }
        (Some(_), Some(_), _) => (Err("several Authorization headers"), Scheme::Bearer),
        // RFC 6750 §2: a client must not use more than one way in one request; who does may be two.
        (Some(_), None, Some(_)) => (Err("an API key beside an Authorization header"), Scheme::ApiKey),
        (None, _, Some((0, key))) => (Ok(Some(key)), Scheme::ApiKey),
        (None, _, Some(_)) => (Err("several API keys"), Scheme::ApiKey),
        (None, _, None) => match cookie(headers, cookies.access) {
            Ok(None) => (cookie(headers, cookies.session), Scheme::Session),
            found => (found, Scheme::Cookie),
        },
    };
    match found {
        Ok(Some(token)) => Presented::Token { token, scheme },
        Ok(None) => Presented::Nothing,
        Err(why) => Presented::Malformed { why, scheme },
    }
}

/// The value of an `X-API-Key` that holds one of ours. An API may have keys of its own in a header of this name: those are
/// its business and go to it as they are.
fn own_key(value: &HeaderValue) -> Option<&str> {
    let text = std::str::from_utf8(value.as_bytes()).ok()?.trim_matches([' ', '\t']);
    api_key::is_ours(text).then_some(text)
}

/// Takes an API key that the gate consumed out of a request's headers.
pub fn strip_api_key(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(X_API_KEY);
}

/// `Bearer` and a token (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &HeaderValue) -> Result<&str, &'static str> {
    let bytes = value.as_bytes();
    let space = bytes.iter().position(|byte| *byte == b' ').ok_or("Authorization is not a scheme and a credential")?;
    let (scheme, mut token) = bytes.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err("the Authorization scheme is not Bearer");
    }
    // Spaces only: the grammar knows no other white space here.
    while let [b' ', rest @ ..] | [rest @ .., b' '] = token {
        token = rest;
    }
    // Every byte is looked at, without a branch for each: a token is long, and this way the compiler takes many at once.
    let one = token.iter().fold(true, |one, byte| one & byte.is_ascii_graphic() & (*byte != b','));
    if token.is_empty() || !one {
        return Err("Authorization does not hold one token");
    }
    std::str::from_utf8(token).map_err(|_| "Authorization does not hold one token")
}

/// The value of the one cookie with this name.
///
/// Read as bytes: one cookie of the API's own that is not ASCII (`name=José`) must not hide ours beside it.
///
/// # Errors
/// Several cookies of the name (somebody on a neighbouring domain may have planted one, and nobody can tell which), or
/// a value that is not ASCII.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut found = None;
    for (held, value) in headers.get_all(COOKIE).iter().flat_map(pairs).filter_map(split) {
        if held == name.as_bytes() && found.replace(value).is_some() {
            return Err("several cookies of one name");
        }
    }
    match found {
        None | Some([]) => Ok(None),
        Some(value) if value.is_ascii() => std::str::from_utf8(value).map(Some).map_err(|_| "our cookie is not ASCII"),
        Some(_) => Err("our cookie is not ASCII"),
    }
}

/// Takes our own cookies, but for the one that is `spared`, out of a request's `Cookie` headers; what nobody else set stays as
/// it is.
pub fn strip_cookies(headers: &mut HeaderMap, spared: Option<&str>) {
    let ours = |pair: &&[u8]| {
        let spares = |name: &[u8]| spared.is_some_and(|spared| spared.as_bytes() == name);
        split(pair).is_some_and(|(name, _)| CookieNames::owns(name.trim_ascii()) && !spares(name))
    };
    if !headers.get_all(COOKIE).iter().flat_map(pairs).any(|pair| ours(&pair)) {
        return;
    }
    let held: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for value in held {
        let left: Vec<&[u8]> = pairs(&value).filter(|pair| !pair.is_empty() && !ours(pair)).collect();
        if !left.is_empty()
            && let Ok(value) = HeaderValue::from_bytes(&left.join(&b"; "[..]))
        {
            headers.append(COOKIE, value);
        }
    }
}

/// The pairs of a `Cookie` header, white space around them removed (RFC 6265 §4.2.1). A token makes a header long, and it is
/// looked through for each cookie of ours: so many bytes at once.
fn pairs(header: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let bytes = header.as_bytes();
    let ends = memchr::memchr_iter(b';', bytes).chain([bytes.len()]);
    ends.scan(0, move |begin, end| Some(bytes[std::mem::replace(begin, end + 1)..end].trim_ascii()))
}

/// The name and the value around the first `=`.
fn split(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..at], &pair[at + 1..]))
}

/// Drops an upstream's attempts to set cookies under our names.
pub fn drop_set_cookies(headers: &mut HeaderMap) {
    if !headers.get_all(SET_COOKIE).iter().any(sets_ours) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(SET_COOKIE).iter().filter(|value| !sets_ours(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

/// Whether a `Set-Cookie` ends up as a cookie of ours. A browser keeps `=name=value` as a cookie without a name and
/// sends it back as `name=value`, which is another way to plant one (RFC 6265bis §5.6).
fn sets_ours(value: &HeaderValue) -> bool {
    let Some((name, value)) = pairs(value).next().and_then(split) else { return false };
    match name.trim_ascii() {
        b"" => split(value).is_some_and(|(name, _)| CookieNames::owns(name.trim_ascii())),
        name => CookieNames::owns(name),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    fn what(pairs: &[(&str, &str)]) -> String {
        match presented(&headers(pairs), &CookieNames::new(true)) {
            Presented::Nothing => "nothing".into(),
            Presented::Token { token, scheme } => format!("{} {token}", scheme.as_str()),
            Presented::Malformed { scheme, .. } => format!("malformed {}", scheme.as_str()),
        }
    }

    #[test]
    fn t8_nothing_something_and_nonsense_are_three_answers() {
        for (pairs, expected) in [
            (&[][..], "nothing"),
            (&[("authorization", "Bearer abc")], "bearer abc"),
            (&[("authorization", "bEARER  abc")], "bearer abc"),
            (&[("authorization", "Basic YTpi")], "malformed bearer"),
            (&[("authorization", "Bearer")], "malformed bearer"),
            (&[("authorization", "Bearer ")], "malformed bearer"),
            (&[("authorization", "Bearer a b")], "malformed bearer"),
            (&[("authorization", "")], "malformed bearer"),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], "malformed bearer"),
            (&[("cookie", "a=b; __Host-portcullis_access=tok")], "cookie tok"),
            (&[("cookie", "portcullis_access=tok")], "nothing"),
            (&[("cookie", "__Host-portcullis_access=")], "nothing"),
            (&[("cookie", "__Host-portcullis_access=a; __Host-portcullis_access=b")], "malformed cookie"),
            (&[("cookie", "__Host-portcullis_access=a"), ("cookie", "__Host-portcullis_access=b")], "malformed cookie"),
            (&[("cookie", "name=José; __Host-portcullis_access=tok")], "cookie tok"),
            (&[("cookie", "__Host-portcullis_access=tök")], "malformed cookie"),
            (&[("cookie", "x__Host-portcullis_access=tok")], "nothing"),
            (&[("cookie", "__host-portcullis_access=tok")], "nothing"),
            (&[("cookie", "__Host-portcullis_access =tok")], "nothing"),
            (&[("cookie", "a=\"; __Host-portcullis_access=tok; b=\"")], "cookie tok"),
            (&[("cookie", ";;; =; =x; __Host-portcullis_access")], "nothing"),
            (&[("authorization", "Bearer tök")], "malformed bearer"),
            (&[("authorization", "Bearer\ttok")], "malformed bearer"),
            (&[("authorization", "Bearer \ttok")], "malformed bearer"),
            (&[("authorization", "Bearer  tok  ")], "bearer tok"),
            (&[("authorization", "Bearer a,b")], "malformed bearer"),
            (&[("authorization", "Bearer ptc_abc")], "api_key ptc_abc"),
            (&[("x-api-key", "ptc_abc")], "api_key ptc_abc"),
            (&[("x-api-key", "somebody-elses"), ("cookie", "__Host-portcullis_access=tok")], "cookie tok"),
            (&[("x-api-key", "ptc_abc"), ("cookie", "__Host-portcullis_access=tok")], "api_key ptc_abc"),
            (&[("x-api-key", "ptc_abc"), ("x-api-key", "ptc_abc")], "malformed api_key"),
            (&[("x-api-key", "other"), ("x-api-key", "ptc_abc")], "api_key ptc_abc"),
            (&[("x-api-key", "ptc_abc"), ("authorization", "Bearer tok")], "malformed api_key"),
            (&[("x-api-key", "ptc_abc"), ("authorization", "Basic YTpi")], "malformed api_key"),
            (&[("cookie", "__Host-portcullis_session=tok")], "session tok"),
            (&[("cookie", "__Host-portcullis_session=tok; __Host-portcullis_access=acc")], "cookie acc"),
            (&[("cookie", "__Host-portcullis_session=a; __Host-portcullis_session=b")], "malformed session"),
            (&[("proxy-authorization", "Bearer a")], "nothing"),
            (&[("cookie", "__Host-portcullis_access=a"), ("authorization", "Bearer b")], "bearer b"),
            (&[("cookie", "__Host-portcullis_access=a"), ("authorization", "Basic b")], "malformed bearer"),
        ] {
            assert_eq!(what(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn t6_our_cookies_are_stripped_and_others_stay() {
        let mut map =
            headers(&[("cookie", "a=1; portcullis_refresh=x;  __Host-portcullis_access=y; b=2"), ("cookie", "c=3")]);
        strip_cookies(&mut map, None);
        let left: Vec<_> = map.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["a=1; b=2", "c=3"]);
        let mut only = headers(&[("cookie", "portcullis_access=x")]);
        strip_cookies(&mut only, None);
        assert!(only.is_empty());
        let mut beside = headers(&[("cookie", "name=José; __Host-portcullis_refresh=secret;b=2")]);
        strip_cookies(&mut beside, None);
        assert_eq!(beside[COOKIE].as_bytes(), "name=José; b=2".as_bytes(), "not ASCII, and still stripped");
        let mut spared = headers(&[("cookie", "__Host-portcullis_access=y; __Host-portcullis_refresh=x; a=1")]);
        strip_cookies(&mut spared, Some("__Host-portcullis_access"));
        assert_eq!(spared[COOKIE], "__Host-portcullis_access=y; a=1");
        let untouched = headers(&[("cookie", "a=1;b=\"x\";  c")]);
        let mut same = untouched.clone();
        strip_cookies(&mut same, None);
        assert_eq!(same, untouched);
    }

    #[test]
    fn t6_an_upstream_cannot_set_our_cookies() {
        let mut map = headers(&[
            ("set-cookie", "portcullis_access=evil; Path=/"),
            ("set-cookie", " __Host-portcullis_refresh =evil"),
            ("set-cookie", "__Secure-portcullis_admin=é"),
            ("set-cookie", "=portcullis_access=evil"),
            ("set-cookie", " = portcullis_access=evil; Path=/"),
            ("set-cookie", "own=portcullis_access=1"),
            ("set-cookie", "name=José"),
            ("set-cookie", "="),
            ("set-cookie", "flag"),
        ]);
        drop_set_cookies(&mut map);
        let left: Vec<&[u8]> = map.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(left, [&b"own=portcullis_access=1"[..], "name=José".as_bytes(), b"=", b"flag"]);
    }

    #[test]
    fn t6_cookies_are_http_only_secure_and_same_site() {
        let https = CookieNames::new(true);
        let value = https.set(https.access(), "tok", 900).unwrap();
        assert_eq!(value, "__Host-portcullis_access=tok; Max-Age=900; Path=/; HttpOnly; SameSite=Strict; Secure");
        let cleared = "__Host-portcullis_session=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(https.clear(Scheme::Session).unwrap(), cleared);
        let cleared = "portcullis_access=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict";
        assert_eq!(CookieNames::new(false).clear(Scheme::Cookie).unwrap(), cleared);
        assert_eq!(https.clear(Scheme::Bearer), None);
        let readable = "__Host-portcullis_csrf=tok; Max-Age=3600; Path=/; SameSite=Strict; Secure";
        assert_eq!(https.set(https.csrf(), "tok", 3_600).unwrap(), readable, "scripts of our own pages read it");
    }
}
