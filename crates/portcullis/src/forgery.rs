//! Stage 9, its first half: what a browser sends by itself must come from our own pages, and by somebody who holds a token
//! of the session (H2). Who sends a bearer token, an API key or a certificate is not asked: no other page can.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue};
use portcullis_auth::credential;
use portcullis_core::{Facts, Reason, Scheme};
use portcullis_shield::csrf::{BoundTo, FormToken, InHead, is_ambient, is_safe};

use crate::case::{Case, cookie_name};
use crate::policy::{Policy, Route};
use crate::trace::{Stage, Trace};

/// The tokens of a session that a cookie proved.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// A fresh one for the browser; `None` while the one that it holds is good for long enough.
    set: Option<HeaderValue>,
    /// One for the forms of the upstream's pages, where it is told any.
    pub(crate) told: Option<HeaderValue>,
    /// Asks the body, where the head held none and it is a form.
    pub(crate) form: Option<FormToken>,
}

/// Refuses what another site's page made a browser send, and what nobody can have sent who holds a token.
///
/// # Errors
/// [`Reason::CrossSite`], [`Reason::MissingCsrfToken`] and [`Reason::InvalidCsrfToken`], in this order.
pub(crate) fn refuse<T: Trace>(
    policy: &Policy,
    route: &Route,
    facts: &Facts<'_>,
    case: &mut Case,
    trace: &mut T,
) -> Result<(), Reason> {
    let Some(principal) = case.principal.as_deref().filter(|principal| is_ambient(Some(principal))) else {
        return Ok(());
    };
    let (csrf, headers) = (&policy.csrf, facts.headers);
    let changes = !is_safe(facts.method);
    // A WebSocket is opened by a GET, and a browser lets every page open one with the cookies of its target. No page can put
    // a token there, but all say where they come from.
    if (changes || headers.contains_key(UPGRADE)) && csrf.is_cross_site(headers, &policy.public_origin) {
        return Err(Reason::CrossSite);
    }
    // A certificate belongs to a connection and has no session that a token could be bound to. Browsers say where their
    // requests come from, and programs are made to do nothing by anybody's page.
    if !csrf.rules().token || principal.parts().scheme == Scheme::Certificate {
        return Ok(());
    }
    let to = BoundTo::of(principal);
    let held = credential::cookie(headers, policy.cookies.csrf()).ok().flatten();
    let good = held.and_then(|held| csrf.judge(held.as_bytes(), to, facts.now));
    let fresh = if csrf.is_due(good) { csrf.issue(to, facts.now) } else { None };
    let lasting = held.filter(|_| good.is_some() && csrf.rules().to_upstream.is_some());
    let told = fresh.as_deref().filter(|_| csrf.rules().to_upstream.is_some()).or(lasting);
    let mut tokens = Tokens {
        told: told.and_then(|token| HeaderValue::from_str(token).ok()),
        set: fresh.and_then(|token| policy.cookies.set(policy.cookies.csrf(), &token, csrf.rules().life.as_secs())),
        form: None,
    };
    let mut judged = Ok(());
    if changes && !route.danger_no_csrf_token {
        match csrf.check_head(headers, held.filter(|_| good.is_some()), to, facts.now) {
            Ok(InHead::Good) => trace.remark(Stage::Permit, || "a token of this session".to_owned()),
            Ok(InHead::MaybeInForm) => {
                trace.remark(Stage::Permit, || "the form must hold a token of this session".to_owned());
                tokens.form = Some(FormToken::new(Arc::clone(csrf), facts.now));
            }
            Err(reason) => judged = Err(reason),
        }
    }
    // Also with a refusal: whoever is told that the token is too old has the next one with the same answer.
    case.tokens = Some(Box::new(tokens));
    judged
}

impl Tokens {
    /// Puts the fresh token into the answer. Not where a shared cache might keep the answer for others, not into the answer
    /// that makes a tunnel, and not where the answer brings another one, as that to a login does.
    pub(crate) fn hand_out(&self, headers: &mut HeaderMap) {
        let Some(set) = &self.set else { return };
        let brings = headers.get_all(SET_COOKIE).iter().any(|other| cookie_name(other) == cookie_name(set));
        if brings || headers.contains_key(UPGRADE) {
            return;
        }
        if !headers.contains_key(CACHE_CONTROL) {
            // Where the upstream says nothing a cache may guess, and would give one visitor's cookie to the next.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        } else if !is_for_one_only(headers) {
            return;
        }
        headers.append(SET_COOKIE, set.clone());
    }
}

/// Whether no shared cache keeps an answer (RFC 9111 §3).
fn is_for_one_only(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut names = directives.flat_map(|list| list.split(',')).map(str::trim);
    // `private="field"` speaks of that field only.
    names.any(|name| name.eq_ignore_ascii_case("private") || name.eq_ignore_ascii_case("no-store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2_no_shared_cache_is_given_a_token() {
        let set = HeaderValue::from_static("__Host-portcullis_csrf=tok; Path=/");
        let tokens = Tokens { set: Some(set), ..Tokens::default() };
        for (pairs, handed, cache) in [
            (&[][..], true, Some("private")),
            (&[("cache-control", "no-store")], true, Some("no-store")),
            (&[("cache-control", "Private, max-age=60")], true, Some("Private, max-age=60")),
            (&[("cache-control", "max-age=60"), ("cache-control", "max-age=1,PRIVATE")], true, Some("max-age=60")),
            (&[("cache-control", "public, max-age=60")], false, Some("public, max-age=60")),
            (&[("cache-control", "no-cache")], false, Some("no-cache")),
            (&[("cache-control", "private=\"set-cookie\"")], false, Some("private=\"set-cookie\"")),
            (&[("cache-control", "")], false, Some("")),
            (&[("upgrade", "websocket")], false, None),
            (&[("set-cookie", "__Host-portcullis_csrf=new")], false, None),
            (&[("set-cookie", "other=1")], true, Some("private")),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            tokens.hand_out(&mut headers);
            let brought = headers.get_all(SET_COOKIE).iter().any(|set| set.as_bytes().contains(&b';'));
            assert_eq!(brought, handed, "{pairs:?}");
            assert_eq!(headers.get(CACHE_CONTROL).map(|value| value.to_str().unwrap()), cache, "{pairs:?}");
        }
        let mut headers = HeaderMap::new();
        Tokens::default().hand_out(&mut headers);
        assert!(headers.is_empty(), "nothing is said while the browser's is good");
    }
}
