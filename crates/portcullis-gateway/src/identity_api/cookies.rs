//! Tokens in cookies (T6), and whose pages may use them.

use axum::http::header::{ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use portcullis_auth::{CookieNames, credential};
use portcullis_core::Secret;
use portcullis_identity::{ServerSession, Tokens};

use super::Api;
use super::answer::Refused;

impl Api {
    /// Refuses what another site's page made a browser send. Here both words of the browser must be right: these endpoints
    /// are called by one name only.
    pub(super) fn same_site(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let csrf = self.csrf();
        let foreign_origin = headers
            .get(ORIGIN)
            .is_some_and(|origin| origin.as_bytes() != self.origin.as_bytes() && !csrf.trusts(origin.as_bytes()));
        if foreign_origin || csrf.is_cross_site(headers, &self.origin) {
            return Err(Refused::new(StatusCode::FORBIDDEN, "Cross-site request refused", "cross_site"));
        }
        Ok(())
    }

    /// Hands a server session over in its cookie. Tokens from before go: of two identities nobody could say which holds.
    pub(super) fn set_session(&self, response: &mut Response, session: &ServerSession) {
        let name = self.cookies.session();
        append(response, &self.cookies, name, session.secret.expose(), session.life.as_secs());
        for name in [self.cookies.access(), self.cookies.refresh()] {
            append(response, &self.cookies, name, "", 0);
        }
        self.set_csrf(response, &session.id);
    }

    /// Hands both tokens over in cookies.
    pub(super) fn set_cookies(&self, response: &mut Response, tokens: &Tokens) {
        let pairs = [
            (self.cookies.access(), tokens.access.expose(), tokens.expires_in),
            (self.cookies.refresh(), tokens.refresh.expose(), tokens.refresh_expires_in),
        ];
        for (name, token, life) in pairs {
            append(response, &self.cookies, name, token, life.as_secs());
        }
        self.set_csrf(response, &tokens.session);
    }

    /// What a former login left on this device. What another site's page made a browser send is not looked at: it would use
    /// up the owner's own allowance.
    pub(super) fn device<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let held = credential::cookie(headers, self.cookies.device()).ok().flatten();
        held.filter(|_| self.same_site(headers).is_ok())
    }

    /// Makes this browser a known device, where attempts to log in are counted and cookies can be kept. Not for another site's
    /// page: with a link of its own it could put its author's device into the place of the visitor's, who would be a stranger
    /// then.
    pub(super) fn set_device(&self, response: &mut Response, headers: &HeaderMap, device: Option<&Secret<String>>) {
        let allowed = self.cookies_allowed && self.same_site(headers).is_ok();
        if let (Some(device), Some(lockout), true) = (device, self.identity.config().lockout, allowed) {
            append(response, &self.cookies, self.cookies.device(), device.expose(), lockout.device_life.as_secs());
        }
    }

    /// Takes the server session's cookie back.
    pub(super) fn clear_session(&self, response: &mut Response) {
        append(response, &self.cookies, self.cookies.session(), "", 0);
    }

    /// Takes back all our cookies that prove somebody, and the token that is for their session only. The device's stays: it proves nobody, and who signs out here will
    /// sign in here again.
    pub(super) fn clear_cookies(&self, response: &mut Response) {
        for name in [self.cookies.access(), self.cookies.refresh(), self.cookies.session(), self.cookies.csrf()] {
            append(response, &self.cookies, name, "", 0);
        }
    }
}

fn append(response: &mut Response, cookies: &CookieNames, name: &str, value: &str, max_age: u64) {
    if let Some(cookie) = cookies.set(name, value, max_age) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// `scheme://host[:port]` of a URL, as a browser writes it in `Origin`: in lower case, without a default port.
pub(crate) fn origin_of(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_ascii_lowercase() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default).unwrap_or(authority);
    format!("{scheme}://{authority}").to_ascii_lowercase()
}

/// Whether an origin's host is this machine.
pub(super) fn is_loopback(origin: &str) -> bool {
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
