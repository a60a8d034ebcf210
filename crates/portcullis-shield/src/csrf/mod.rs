//! Whose page makes a browser send its cookies (H2): the origin first, then a token that only pages of the session know.
//!
//! After OWASP's "signed double submit". The token is an HMAC over the session, the moment and random bytes. It is handed over
//! in a cookie that scripts of our own origin can read, and comes back in a header or in a field of a form, where another
//! site cannot put it. It is not compared with the cookie that comes along: who could plant a cookie would win by that, and
//! the signature binds it to the session anyway. So two tabs that hold different tokens of one session both work.

mod form;
mod token;

use std::time::Duration;

use aws_lc_rs::hmac;
use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, Method};
use portcullis_core::{Principal, Reason, Secret, Timestamp};

pub use self::form::FormToken;
pub use self::token::{BoundTo, Good, TOKEN_LENGTH};

/// What is asked of requests that a browser authenticates by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsrfRules {
    /// Whether unsafe methods need a token; without it they need the right origin only.
    pub token: bool,
    /// The header that a token comes in.
    pub header: HeaderName,
    /// The field of a form that a token comes in.
    pub field: Box<str>,
    /// How long a token is good.
    pub life: Duration,
    /// Origins besides our own whose pages may use the cookies of their visitors, as browsers write them.
    pub trusted_origins: Vec<Box<str>>,
    /// The request header by which the upstream is told a token for the forms of its pages.
    pub to_upstream: Option<HeaderName>,
}

impl Default for CsrfRules {
    fn default() -> Self {
        Self {
            token: true,
            header: HeaderName::from_static("x-csrf-token"),
            field: "_csrf".into(),
            life: Duration::from_secs(3_600),
            trusted_origins: Vec::new(),
            to_upstream: None,
        }
    }
}

/// The rules with the key that signs. The key must be the same at every instance, and after a restart.
#[derive(Clone, Debug)]
pub struct Csrf {
    rules: CsrfRules,
    key: hmac::Key,
}

/// What the head of a request says of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InHead {
    /// A good one.
    Good,
    /// None; the body is a form, which may hold it.
    MaybeInForm,
}

impl Csrf {
    /// The rules with the key that signs, of 32 random bytes or what is as good.
    #[must_use]
    pub fn new(rules: CsrfRules, key: &Secret<Vec<u8>>) -> Self {
        Self { rules, key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()) }
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &CsrfRules {
        &self.rules
    }

    /// Whether a browser says that another site's page made it send this request. `public_origin` is our own, as browsers
    /// write it.
    ///
    /// Fetch Metadata is asked first, because pages cannot change it and it tells a neighbouring host (`same-site`) from us;
    /// older browsers and plain http have `Origin` only. A client that sends neither says nothing: it still needs the token.
    #[must_use]
    pub fn is_cross_site(&self, headers: &HeaderMap, public_origin: &str) -> bool {
        let origin = headers.get(ORIGIN);
        let foreign = match headers.get("sec-fetch-site") {
            Some(site) => site != "same-origin" && site != "none",
            None => origin.is_some_and(|origin| origin.as_bytes() != public_origin.as_bytes()),
        };
        foreign && !origin.is_some_and(|origin| self.trusts(origin.as_bytes()))
    }

    /// Whether the pages of an origin that is not ours may use our visitors' cookies.
    #[must_use]
    pub fn trusts(&self, origin: &[u8]) -> bool {
        self.rules.trusted_origins.iter().any(|trusted| trusted.as_bytes() == origin)
    }

    /// A fresh token for a session; `None` where the system has no random bytes to give.
    #[must_use]
    pub fn issue(&self, to: BoundTo<'_>, now: Timestamp) -> Option<String> {
        token::make(&self.key, to, now)
    }

    /// Whether a text is a good token of this session.
    #[must_use]
    pub fn judge(&self, token: &[u8], to: BoundTo<'_>, now: Timestamp) -> Option<Good> {
        token::judge(&self.key, token, to, self.rules.life, now)
    }

    /// Whether a token that a client holds is to be replaced by a fresh one: it is none, or past half of its life.
    #[must_use]
    pub fn is_due(&self, held: Option<Good>) -> bool {
        held.is_none_or(|good| good.age >= self.rules.life / 2)
    }

    /// Looks for a token in the head of an unsafe request. One that is `known` was found to be good for this session and this
    /// moment before, as that in the cookie is, which most pages send back as it is: it is not reckoned out twice.
    ///
    /// # Errors
    /// [`Reason::InvalidCsrfToken`] for one that is not of this session or too old, and for two of them, of which two readers
    /// could take different ones; [`Reason::MissingCsrfToken`] where there is none and the body is no form.
    pub fn check_head(
        &self,
        headers: &HeaderMap,
        known: Option<&str>,
        to: BoundTo<'_>,
        now: Timestamp,
    ) -> Result<InHead, Reason> {
        let mut held = headers.get_all(&self.rules.header).iter().filter(|value| !value.is_empty());
        match (held.next(), held.next()) {
            (Some(token), None) if known.is_some_and(|known| known == token) => Ok(InHead::Good),
            (Some(token), None) => {
                self.judge(token.as_bytes(), to, now).map(|_| InHead::Good).ok_or(Reason::InvalidCsrfToken)
            }
            (Some(_), Some(_)) => Err(Reason::InvalidCsrfToken),
            (None, _) if form::Kind::of(headers).is_some() => Ok(InHead::MaybeInForm),
            (None, _) => Err(Reason::MissingCsrfToken),
        }
    }

    /// Looks for a token in the form that is the body of an unsafe request.
    ///
    /// # Errors
    /// As [`Csrf::check_head`].
    pub fn check_form(&self, headers: &HeaderMap, body: &[u8], to: BoundTo<'_>, now: Timestamp) -> Result<(), Reason> {
        let kind = form::Kind::of(headers).ok_or(Reason::MissingCsrfToken)?;
        match kind.field(body, &self.rules.field) {
            form::Held::One(token) => self.judge(&token, to, now).map(drop).ok_or(Reason::InvalidCsrfToken),
            form::Held::Several => Err(Reason::InvalidCsrfToken),
            form::Held::Nothing => Err(Reason::MissingCsrfToken),
        }
    }
}

/// Safe methods of RFC 9110 §9.2.1: who makes a browser send one has changed nothing by it.
#[must_use]
pub const fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether somebody was known by what a browser sends by itself, whoever's page makes it.
#[must_use]
pub fn is_ambient(principal: Option<&Principal>) -> bool {
    principal.is_some_and(|principal| principal.parts().scheme.is_ambient())
}

#[cfg(test)]
mod tests;
