//! Forms: what they hold, and that they come from our own pages.
//!
//! Two defences stand behind each other. A browser says by `Sec-Fetch-Site` or `Origin` whose page sent a form, and one that
//! says neither is no browser that these pages are for. And each form carries a token that is bound to a cookie which only
//! pages of this origin can have caused, so that nobody can send a form for somebody else, not even that of a sign-in.

use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use portcullis_auth::{CookieNames, credential};
use portcullis_core::Timestamp;

use super::Trouble;
use crate::identity_api::Api;

/// How long a form may be open (H2).
const FORM_LIFE: Duration = Duration::from_secs(3_600);
/// How long the cookie lives that forms are bound to, in seconds.
pub(super) const BINDING_LIFE: u64 = 86_400;
/// More members than any form here has.
const MOST_MEMBERS: usize = 16;

/// What a form holds.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`. A member that is there twice is nobody's: two readers could take two
    /// different ones.
    pub(super) fn parse(body: &[u8]) -> Self {
        let mut members: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body).take(MOST_MEMBERS) {
            match members.iter_mut().find(|(held, _)| *held == name) {
                Some((_, held)) => held.clear(),
                None => members.push((name.into_owned(), value.into_owned())),
            }
        }
        Self(members)
    }

    /// A member; empty where it is absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(held, _)| held == name).map_or("", |(_, value)| value)
    }
}

/// A form, and whether it comes from one of our own pages and was filled in within the hour.
pub(super) fn own(api: &Api, headers: &HeaderMap, body: &[u8]) -> (Form, Result<(), Trouble>) {
    let form = Form::parse(body);
    let said = headers.contains_key("sec-fetch-site") || headers.contains_key(ORIGIN);
    let checked = if !said || api.same_site(headers).is_err() {
        Err(Trouble::foreign(&api.origin))
    } else {
        match credential::cookie(headers, api.cookies.form()) {
            Ok(Some(bound)) if api.pages.seal.holds(form.get("csrf"), bound, api.identity.clock_now()) => Ok(()),
            _ => Err(Trouble::too_old()),
        }
    };
    (form, checked)
}

/// The value that this browser's forms are bound to, and whether it is new.
pub(super) fn binding(headers: &HeaderMap, cookies: &CookieNames) -> (String, bool) {
    match credential::cookie(headers, cookies.form()) {
        Ok(Some(held)) if held.len() == 32 && held.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            (held.to_owned(), false)
        }
        _ => (hex::encode(rand::random::<[u8; 16]>()), true),
    }
}

/// Makes and knows the tokens of forms: a time, and its HMAC with what the browser is known by. The key is the same at every
/// instance.
#[derive(Debug)]
pub(super) struct Seal(hmac::Key);

impl Seal {
    pub(super) const fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    pub(super) fn token(&self, binding: &str, now: Timestamp) -> String {
        let until = now.after(FORM_LIFE).as_secs();
        format!("{until:x}.{}", hex::encode(self.sign(binding, until)))
    }

    /// Whether it is a token of ours for this browser, and still good.
    pub(super) fn holds(&self, token: &str, binding: &str, now: Timestamp) -> bool {
        let Some((until, signature)) = token.split_once('.') else { return false };
        let (Ok(until), Ok(signature)) = (u64::from_str_radix(until, 16), hex::decode(signature)) else { return false };
        let good = constant_time::verify_slices_are_equal(self.sign(binding, until).as_ref(), &signature).is_ok();
        good && now.as_secs() < until
    }

    fn sign(&self, binding: &str, until: u64) -> hmac::Tag {
        hmac::sign(&self.0, format!("{until:x}.{binding}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h2_a_token_is_bound_to_its_browser_and_its_hour() {
        let seal = Seal::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
        let now = Timestamp::from_secs(1_800_000_000);
        let token = seal.token("browser", now);
        assert!(seal.holds(&token, "browser", now));
        assert!(seal.holds(&token, "browser", now.after(Duration::from_secs(3_599))));
        assert!(!seal.holds(&token, "browser", now.after(Duration::from_secs(3_600))));
        assert!(!seal.holds(&token, "another", now));
        let (until, signature) = token.split_once('.').unwrap();
        let later = format!("{:x}.{signature}", u64::from_str_radix(until, 16).unwrap() + 1);
        for forged in ["", ".", "x.y", &later, until, &format!("{until}."), &format!("{until}.{}", "0".repeat(64))] {
            assert!(!seal.holds(forged, "browser", now), "{forged}");
        }
        let other = Seal::new(hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]));
        assert!(!other.holds(&token, "browser", now));
    }

    #[test]
    fn a_member_that_is_there_twice_is_nobodys() {
        let form = Form::parse(b"email=a%40b.example&password=x+y%26&email=evil&n=%00%ff");
        assert_eq!((form.get("email"), form.get("password"), form.get("absent")), ("", "x y&", ""));
    }
}
