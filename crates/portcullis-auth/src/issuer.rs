//! Whose tokens are believed, and under which rules.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::{Principal, PrincipalParts, Reason, Scheme, Timestamp};

use crate::algorithm::Algorithm;
use crate::claims::{ClaimNames, Claims};
use crate::jws::Unverified;
use crate::key::{KeyMark, KeySet, KeySource};

/// One issuer of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name in the configuration; `None` for our own accounts, whose tokens can be revoked.
    pub name: Option<Arc<str>>,
    /// The exact value of `iss`.
    pub iss: Box<str>,
    /// One of these must be in `aud`.
    pub audiences: Vec<Box<str>>,
    /// The algorithms its keys may be pinned to.
    pub algorithms: Vec<Algorithm>,
    /// By how much its clock may differ from ours.
    pub leeway: Duration,
    /// The `typ` its tokens must have (`at+jwt` for our own, RFC 9068 §4); `None` accepts any.
    pub typ: Option<Box<str>>,
    /// Its keys.
    pub keys: KeySource,
    /// Where it keeps what we need to know.
    pub claims: ClaimNames,
}

impl Issuer {
    /// Judges a token that names this issuer, by this set of its keys: who it is, and which key said so.
    pub(crate) fn judge(
        &self,
        token: &Unverified<'_>,
        claims: &Claims,
        keys: &KeySet,
        scheme: Scheme,
        now: Timestamp,
    ) -> Result<(Principal, KeyMark), Reason> {
        if let Some(expected) = &self.typ {
            // RFC 7515 §4.1.9: the type's name has no case and may leave out "application/".
            let held = token.header.typ.as_deref().unwrap_or_default();
            let held = held.strip_prefix("application/").unwrap_or(held);
            if !held.eq_ignore_ascii_case(expected) {
                return Err(Reason::InvalidToken("the token is of another type"));
            }
        }
        if !self.algorithms.iter().any(|algorithm| token.is_signed_by(*algorithm)) {
            return Err(Reason::InvalidToken("the token's algorithm is not allowed for its issuer"));
        }
        let key = token.verify(keys).map_err(|error| Reason::InvalidToken(error.why()))?;

        // From here on the claims are the issuer's own words.
        if !claims.is_for(&self.audiences) {
            return Err(Reason::InvalidToken("the token is for another audience"));
        }
        let date = |name| claims.date(name).map_err(|bad| Reason::InvalidToken(bad.0));
        let expires = date("exp")?.ok_or(Reason::InvalidToken("the token has no expiry"))?;
        if date("nbf")?.is_some_and(|not_before| not_before > now.after(self.leeway)) {
            return Err(Reason::InvalidToken("the token is not valid yet"));
        }
        if date("iat")?.is_some_and(|issued| issued > now.after(self.leeway)) {
            return Err(Reason::InvalidToken("the token was issued in the future"));
        }
        if self.is_over(expires, now) {
            return Err(Reason::TokenExpired);
        }
        Ok((self.principal(claims, expires, scheme)?, key))
    }

    /// Whether a token with this expiry is over. The moment itself is over already (RFC 7519 §4.1.4: "on or after").
    pub(crate) fn is_over(&self, expires: Timestamp, now: Timestamp) -> bool {
        now >= expires.after(self.leeway)
    }

    fn principal(&self, claims: &Claims, expires: Timestamp, scheme: Scheme) -> Result<Principal, Reason> {
        let names = &self.claims;
        let list = |name: &str, separator| claims.list(name, separator).map_err(|bad| Reason::InvalidToken(bad.0));
        let permissions = match &names.permissions {
            Some(name) => list(name, Some(' '))?.into_vec(),
            None => Vec::new(),
        };
        let own = self.name.is_none();
        let session = claims.text("sid").map(Into::into);
        let token_id = claims.text("jti").map(Into::into);
        let version = claims.number("ver");
        if own && (session.is_none() || token_id.is_none() || version.is_none()) {
            // Without them it could not be revoked.
            return Err(Reason::InvalidToken("one of our tokens lacks sid, jti or ver"));
        }
        Principal::new(PrincipalParts {
            subject: claims.id(&names.user).ok_or(Reason::InvalidToken("the token names no user"))?,
            issuer: self.name.clone(),
            roles: list(&names.roles, None)?,
            permissions,
            scopes: None,
            plan: claims.id(&names.plan),
            session,
            token_id,
            version: version.unwrap_or_default(),
            expires,
            scheme,
            claims: claims.kept(&names.keep),
        })
        .map_err(|invalid| Reason::InvalidToken(invalid.0))
    }
}
