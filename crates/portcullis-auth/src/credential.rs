//! What a request presents to prove who it is.

use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use portcullis_core::Scheme;

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
    /// Something that cannot be judged; the text is for the operator.
    Malformed(&'static str),
}

/// The names of our cookies (T6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    access: &'static str,
    refresh: &'static str,
    secure: bool,
}

impl CookieNames {
    /// Under an https public URL the names have the prefix `__Host-`, which browsers only accept with `Secure`,
    /// `Path=/` and no `Domain`; on http loopback they are plain names for development.
    #[must_use]
    pub const fn new(https: bool) -> Self {
        if https {
            Self { access: "__Host-portcullis_access", refresh: "__Host-portcullis_refresh", secure: true }
        } else {
            Self { access: "portcullis_access", refresh: "portcullis_refresh", secure: false }
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

    /// A `Set-Cookie` value for one of our cookies. `value` must be token characters only; `max_age` is in seconds, zero
    /// takes the cookie back.
    #[must_use]
    pub fn set(&self, name: &str, value: &str, max_age: u64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Max-Age={max_age}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(text).ok()
    }

    /// The `Set-Cookie` value that takes the access token's cookie back.
    #[must_use]
    pub const fn clear_access(&self) -> HeaderValue {
        if self.secure {
            HeaderValue::from_static("__Host-portcullis_access=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure")
        } else {
            HeaderValue::from_static("portcullis_access=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict")
        }
    }

    /// Whether a cookie of this name is ours, in either spelling: a page on plain http must not plant the other one.
    fn owns(name: &str) -> bool {
        let bare = name.strip_prefix("__Host-").or_else(|| name.strip_prefix("__Secure-")).unwrap_or(name);
        matches!(bare, "portcullis_access" | "portcullis_refresh" | "portcullis_admin")
    }
}

/// What the headers present. An explicit credential wins over a cookie, which a browser sends by itself.
#[must_use]
pub fn presented<'a>(headers: &'a HeaderMap, cookies: &CookieNames) -> Presented<'a> {
    let mut explicit = headers.get_all(AUTHORIZATION).iter();
    match (explicit.next(), explicit.next()) {
        (Some(value), None) => bearer(value),
        (Some(_), Some(_)) => Presented::Malformed("several Authorization headers"),
        (None, _) => match cookie(headers, cookies.access) {
            Ok(Some(token)) => Presented::Token { token, scheme: Scheme::Cookie },
            Ok(None) => Presented::Nothing,
            Err(why) => Presented::Malformed(why),
        },
    }
}

/// `Bearer` and a token (RFC 6750 §2.1); the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &HeaderValue) -> Presented<'_> {
    let Ok(text) = value.to_str() else { return Presented::Malformed("Authorization is not ASCII") };
    let Some((scheme, token)) = text.split_once(' ') else {
        return Presented::Malformed("Authorization is not a scheme and a credential");
    };
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Presented::Malformed("the Authorization scheme is not Bearer");
    }
    if token.is_empty() || token.contains([' ', ',']) {
        return Presented::Malformed("Authorization does not hold one token");
    }
    Presented::Token { token, scheme: Scheme::Bearer }
}

/// The value of the one cookie with this name.
///
/// # Errors
/// Several cookies of the name: somebody on a neighbouring domain may have planted one, and nobody can tell which.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        let Ok(text) = header.to_str() else { continue };
        for pair in text.split(';') {
            let Some((held, value)) = pair.trim_matches([' ', '\t']).split_once('=') else { continue };
            if held == name {
                if found.is_some() {
                    return Err("several cookies of one name");
                }
                found = Some(value);
            }
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

/// Takes our own cookies out of a request's `Cookie` headers; what nobody else set stays as it is.
pub fn strip_cookies(headers: &mut HeaderMap) {
    let ours = |pair: &str| pair.trim().split_once('=').is_some_and(|(name, _)| CookieNames::owns(name.trim()));
    let held: Vec<HeaderValue> = headers.get_all(COOKIE).iter().cloned().collect();
    if !held.iter().any(|value| value.to_str().is_ok_and(|text| text.split(';').any(ours))) {
        return;
    }
    headers.remove(COOKIE);
    for value in held {
        let Ok(text) = value.to_str() else {
            headers.append(COOKIE, value);
            continue;
        };
        let left: Vec<&str> = text.split(';').map(str::trim).filter(|pair| !pair.is_empty() && !ours(pair)).collect();
        if !left.is_empty()
            && let Ok(value) = HeaderValue::try_from(left.join("; "))
        {
            headers.append(COOKIE, value);
        }
    }
}

/// Drops an upstream's attempts to set cookies under our names.
pub fn drop_set_cookies(headers: &mut HeaderMap) {
    let ours = |value: &HeaderValue| {
        let name = value.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        std::str::from_utf8(name).is_ok_and(|name| CookieNames::owns(name.trim()))
    };
    if !headers.get_all(SET_COOKIE).iter().any(ours) {
        return;
    }
    let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !ours(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for value in kept {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
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
            Presented::Malformed(_) => "malformed".into(),
        }
    }

    #[test]
    fn t8_nothing_something_and_nonsense_are_three_answers() {
        for (pairs, expected) in [
            (&[][..], "nothing"),
            (&[("authorization", "Bearer abc")], "bearer abc"),
            (&[("authorization", "bEARER  abc")], "bearer abc"),
            (&[("authorization", "Basic YTpi")], "malformed"),
            (&[("authorization", "Bearer")], "malformed"),
            (&[("authorization", "Bearer ")], "malformed"),
            (&[("authorization", "Bearer a b")], "malformed"),
            (&[("authorization", "")], "malformed"),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], "malformed"),
            (&[("cookie", "a=b; __Host-portcullis_access=tok")], "cookie tok"),
            (&[("cookie", "portcullis_access=tok")], "nothing"),
            (&[("cookie", "__Host-portcullis_access=")], "nothing"),
            (&[("cookie", "__Host-portcullis_access=a; __Host-portcullis_access=b")], "malformed"),
            (&[("cookie", "__Host-portcullis_access=a"), ("cookie", "__Host-portcullis_access=b")], "malformed"),
            (&[("cookie", "__Host-portcullis_access=a"), ("authorization", "Bearer b")], "bearer b"),
            (&[("cookie", "__Host-portcullis_access=a"), ("authorization", "Basic b")], "malformed"),
        ] {
            assert_eq!(what(pairs), expected, "{pairs:?}");
        }
    }

    #[test]
    fn t6_our_cookies_are_stripped_and_others_stay() {
        let mut map =
            headers(&[("cookie", "a=1; portcullis_refresh=x;  __Host-portcullis_access=y; b=2"), ("cookie", "c=3")]);
        strip_cookies(&mut map);
        let left: Vec<_> = map.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["a=1; b=2", "c=3"]);
        let mut only = headers(&[("cookie", "portcullis_access=x")]);
        strip_cookies(&mut only);
        assert!(only.is_empty());
    }

    #[test]
    fn t6_an_upstream_cannot_set_our_cookies() {
        let mut map = headers(&[("set-cookie", "portcullis_access=evil; Path=/"), ("set-cookie", "own=1")]);
        drop_set_cookies(&mut map);
        assert_eq!(map.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["own=1"]);
    }

    #[test]
    fn t6_cookies_are_http_only_secure_and_same_site() {
        let https = CookieNames::new(true);
        let value = https.set(https.access(), "tok", 900).unwrap();
        assert_eq!(value, "__Host-portcullis_access=tok; Max-Age=900; Path=/; HttpOnly; SameSite=Strict; Secure");
        assert_eq!(https.set(https.access(), "", 0).unwrap(), https.clear_access());
        let http = CookieNames::new(false);
        assert_eq!(http.set(http.access(), "", 0).unwrap(), http.clear_access());
    }
}
