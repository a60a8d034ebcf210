//! Who a request proved to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::Timestamp;

/// How an identity was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `Authorization: Bearer` with a JWT.
    Bearer,
    /// An access token in our own cookie: ambient, so unsafe methods need CSRF protection.
    Cookie,
    /// An API key, as `Authorization: Bearer` or `X-API-Key`.
    ApiKey,
    /// A server session's cookie: opaque, and ambient like [`Scheme::Cookie`].
    Session,
    /// A certificate in the handshake of TLS. A browser that has one sends it by itself, so it is ambient too.
    Certificate,
}

impl Scheme {
    /// A stable word for records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Cookie => "cookie",
            Self::ApiKey => "api_key",
            Self::Session => "session",
            Self::Certificate => "certificate",
        }
    }

    /// Whether a browser sends it by itself, whoever's page makes the browser send the request.
    #[must_use]
    pub const fn is_ambient(self) -> bool {
        matches!(self, Self::Cookie | Self::Session | Self::Certificate)
    }
}

/// What a verified credential says, before it becomes a [`Principal`].
#[derive(Clone, Debug)]
pub struct PrincipalParts {
    /// The user's id (`sub`).
    pub subject: Box<str>,
    /// The name of the issuer, as configured; `None` for our own tokens.
    pub issuer: Option<Arc<str>>,
    /// The roles it holds. Permissions are resolved at each request from the policy of the day, never stored here.
    pub roles: SmallVec<[Box<str>; 2]>,
    /// Permissions or scopes that the credential itself carries.
    pub permissions: Vec<Box<str>>,
    /// What it is restricted to (an API key's scopes): a permission is held only if one of these covers it too, and no role
    /// is. `None`: to nothing.
    pub scopes: Option<Box<[Box<str>]>>,
    /// The plan (`plan` or `tier` claim), which chooses quotas.
    pub plan: Option<Box<str>>,
    /// The session (`sid`).
    pub session: Option<Box<str>>,
    /// The token's own id (`jti`), or the API key's.
    pub token_id: Option<Box<str>>,
    /// The user's version at issue (`ver`); a higher one on record revokes this token.
    pub version: u64,
    /// When the credential ceases to be good (`exp`, leeway not included).
    pub expires: Timestamp,
    /// How it was presented.
    pub scheme: Scheme,
    /// Further claims that the configuration names (for limit keys and policies), as text.
    pub claims: BTreeMap<Box<str>, Box<str>>,
}

impl PrincipalParts {
    /// Somebody of whom a credential says no more than who it is: without an issuer, roles, permissions, a plan or a session.
    #[must_use]
    pub fn of(subject: &str, scheme: Scheme, expires: Timestamp) -> Self {
        Self {
            subject: subject.into(),
            issuer: None,
            roles: SmallVec::new(),
            permissions: Vec::new(),
            scopes: None,
            plan: None,
            session: None,
            token_id: None,
            version: 0,
            expires,
            scheme,
            claims: BTreeMap::new(),
        }
    }
}

/// A verified identity. Shared between requests by the token cache, so it is immutable and cheap to clone behind an
/// `Arc`.
#[derive(Clone, Debug)]
pub struct Principal {
    parts: PrincipalParts,
    subject_header: HeaderValue,
    roles_header: HeaderValue,
    plan_header: Option<HeaderValue>,
}

/// A claim that cannot be told to an upstream in a header as it is: it holds control characters, begins or ends with
/// white space, is too long or, for a role, holds a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claim `{0}` holds characters that cannot be sent in a header")]
pub struct InvalidPrincipal(pub &'static str);

/// OpenID Connect Core §2 allows a `sub` of at most 255 characters.
const MAX_SUBJECT_BYTES: usize = 255;

impl Principal {
    /// Checks that every part can be told to an upstream and renders the header values once.
    ///
    /// # Errors
    /// [`InvalidPrincipal`] names the claim that holds control characters, begins or ends with white space, is empty where
    /// it must not be, is too long (a subject of more than 255 bytes), or (a role) holds the comma that separates roles.
    pub fn new(parts: PrincipalParts) -> Result<Self, InvalidPrincipal> {
        if parts.subject.is_empty() || parts.subject.len() > MAX_SUBJECT_BYTES {
            return Err(InvalidPrincipal("sub"));
        }
        if parts.roles.iter().any(|role| role.is_empty() || role.contains(',') || !survives_a_header(role)) {
            return Err(InvalidPrincipal("role"));
        }
        let subject_header = header_value(&parts.subject).ok_or(InvalidPrincipal("sub"))?;
        // An upstream that is told a role would grant what the scopes withhold.
        let told = if parts.scopes.is_some() { String::new() } else { parts.roles.join(",") };
        let roles_header = header_value(&told).ok_or(InvalidPrincipal("role"))?;
        let plan_header = match &parts.plan {
            Some(plan) => Some(header_value(plan).ok_or(InvalidPrincipal("plan"))?),
            None => None,
        };
        Ok(Self { parts, subject_header, roles_header, plan_header })
    }

    /// The user's id.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.parts.subject
    }

    /// All that the credential said.
    #[must_use]
    pub const fn parts(&self) -> &PrincipalParts {
        &self.parts
    }

    /// Whether it holds the role. What is restricted to scopes holds none: a role is more than any scope names.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.parts.scopes.is_none() && self.parts.roles.iter().any(|held| &**held == role)
    }

    /// Whether this identity comes from our own accounts.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.parts.issuer.is_none()
    }

    /// The value of `X-User-Id`.
    #[must_use]
    pub const fn subject_header(&self) -> &HeaderValue {
        &self.subject_header
    }

    /// The value of `X-User-Role`: all roles, separated by commas; empty for what is restricted to scopes.
    #[must_use]
    pub const fn roles_header(&self) -> &HeaderValue {
        &self.roles_header
    }

    /// The value of `X-User-Plan`, where the credential names a plan.
    #[must_use]
    pub const fn plan_header(&self) -> Option<&HeaderValue> {
        self.plan_header.as_ref()
    }
}

/// The text as a header value, `None` if an upstream would read another text from it.
fn header_value(text: &str) -> Option<HeaderValue> {
    survives_a_header(text).then(|| HeaderValue::from_bytes(text.as_bytes()).ok())?
}

/// Whether an upstream reads the very text that we wrote. White space at the ends is not part of a field's value (RFC
/// 9110 §5.5), so `" ann"` here would be `"ann"` there: two people for us, one for the API.
fn survives_a_header(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(subject: &str, role: &str, plan: Option<&str>) -> Result<Principal, InvalidPrincipal> {
        Principal::new(PrincipalParts {
            roles: std::iter::once(role.into()).collect(),
            plan: plan.map(Into::into),
            ..PrincipalParts::of(subject, Scheme::Bearer, Timestamp::MAX)
        })
    }

    #[test]
    fn z5_an_upstream_reads_the_very_identity_that_was_proven() {
        assert!(made("Ann Müller", "team lead", Some("gold")).is_ok());
        for subject in ["", " ann", "ann ", "\tann", "an\nn", "an\0n", "\u{85}ann", "ann\u{a0}", &"a".repeat(256)] {
            assert_eq!(made(subject, "viewer", None).unwrap_err(), InvalidPrincipal("sub"), "{subject:?}");
        }
        for role in ["", " admin", "admin ", "viewer,admin", "admin\r"] {
            assert_eq!(made("ann", role, None).unwrap_err(), InvalidPrincipal("role"), "{role:?}");
        }
        assert_eq!(made("ann", "viewer", Some(" gold")).unwrap_err(), InvalidPrincipal("plan"));
    }
}
